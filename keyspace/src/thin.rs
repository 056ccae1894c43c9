//! `ThinBytes`: an owned byte string behind one thin pointer.
//!
//! `Box<[u8]>` is two words. Set members and hash fields are many and short, so their length lives in their
//! block, and `Option<ThinBytes>` is one word:
//!
//! ```text
//!  ptr ──▶ ┌─────────────┬──────────────────┐
//!          │ length      │ bytes            │   one allocation, aligned to 1
//!          │ 1 2 4 or 8  │ length           │
//!          └─────────────┴──────────────────┘
//!  0xxxxxxx                      7 bits
//!  10xxxxxx + 1 byte            14 bits
//!  110xxxxx + 3 bytes           29 bits        big-endian, the highest bits in the first byte
//!  111xxxxx + 7 bytes           61 bits
//! ```
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

use crate::table::Item;

/// Owned bytes, one word wide.
pub struct ThinBytes(NonNull<u8>);

const _: () = assert!(size_of::<Option<ThinBytes>>() == 8);

// SAFETY: a `ThinBytes` owns its block alone.
unsafe impl Send for ThinBytes {}
// SAFETY: as above: shared access only reads.
unsafe impl Sync for ThinBytes {}

impl ThinBytes {
    pub fn new(bytes: &[u8]) -> ThinBytes {
        ThinBytes::from_parts(&[bytes])
    }

    /// The parts one after the other, in one allocation.
    pub fn from_parts(parts: &[&[u8]]) -> ThinBytes {
        let len = parts.iter().map(|part| part.len()).sum();
        let prefix = Prefix::of(len);
        let layout = prefix.layout();
        // SAFETY: the layout is never empty: a prefix is at least one byte.
        let Some(block) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let encoded = prefix.encode();
        // SAFETY: the block is `width + len` bytes long, exactly what the prefix and the parts fill, and
        // nothing else points into fresh memory.
        unsafe {
            let mut at = block.as_ptr();
            ptr::copy_nonoverlapping(encoded[8 - prefix.width..].as_ptr(), at, prefix.width);
            at = at.add(prefix.width);
            for part in parts {
                ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
                at = at.add(part.len());
            }
        }
        ThinBytes(block)
    }

    /// Bytes of heap behind this pointer.
    pub fn memory_bytes(&self) -> usize {
        self.prefix().layout().size()
    }

    #[inline]
    fn prefix(&self) -> Prefix {
        // SAFETY: every block begins with a prefix, whose first byte tells its width.
        let first = unsafe { *self.0.as_ptr() };
        if first < 0x80 {
            return Prefix { width: 1, len: first as usize };
        }
        let width = match first {
            0x80..0xc0 => 2,
            0xc0..0xe0 => 4,
            _ => 8,
        };
        // SAFETY: the block starts with `width` initialised bytes.
        let encoded = unsafe { slice::from_raw_parts(self.0.as_ptr(), width) };
        Prefix::decode(encoded)
    }
}

/// The length of the bytes, and of its own encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Prefix {
    width: usize,
    len: usize,
}

impl Prefix {
    fn of(len: usize) -> Prefix {
        let width = match len {
            0..0x80 => 1,
            0x80..0x4000 => 2,
            0x4000..0x2000_0000 => 4,
            _ => 8,
        };
        Prefix { width, len }
    }

    /// Right-aligned: the last `width` bytes count.
    fn encode(self) -> [u8; 8] {
        let mark: u64 = match self.width {
            1 => 0,
            2 => 0x8000,
            4 => 0xc000_0000,
            _ => 0xe000_0000_0000_0000,
        };
        (self.len as u64 | mark).to_be_bytes()
    }

    fn decode(encoded: &[u8]) -> Prefix {
        let mask = match encoded.len() {
            2 => 0x3f,
            4 | 8 => 0x1f,
            _ => 0x7f,
        };
        let high = (encoded[0] & mask) as usize;
        let len = encoded[1..].iter().fold(high, |len, &byte| len << 8 | byte as usize);
        Prefix { width: encoded.len(), len }
    }

    fn layout(self) -> Layout {
        let size = self.width.checked_add(self.len).expect("a length that was allocated");
        Layout::array::<u8>(size).expect("a length that was allocated")
    }
}

impl Drop for ThinBytes {
    fn drop(&mut self) {
        // SAFETY: the block came from `alloc` with the layout its prefix tells.
        unsafe { dealloc(self.0.as_ptr(), self.prefix().layout()) }
    }
}

impl Deref for ThinBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let Prefix { width, len } = self.prefix();
        // SAFETY: `len` initialised bytes follow the prefix, and live as long as `self`.
        unsafe { slice::from_raw_parts(self.0.as_ptr().add(width), len) }
    }
}

impl DerefMut for ThinBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let Prefix { width, len } = self.prefix();
        // SAFETY: as in `deref`, and nobody else sees the block while `self` is borrowed mutably. The prefix, which
        // says how long the block is, stays out of reach.
        unsafe { slice::from_raw_parts_mut(self.0.as_ptr().add(width), len) }
    }
}

impl Clone for ThinBytes {
    fn clone(&self) -> ThinBytes {
        ThinBytes::new(self)
    }
}

impl Item for ThinBytes {
    #[inline]
    fn key(&self) -> &[u8] {
        self
    }
}

impl AsRef<[u8]> for ThinBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for ThinBytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for ThinBytes {
    fn from(bytes: &[u8]) -> ThinBytes {
        ThinBytes::new(bytes)
    }
}

impl PartialEq for ThinBytes {
    fn eq(&self, other: &ThinBytes) -> bool {
        **self == **other
    }
}

impl Eq for ThinBytes {}

impl PartialOrd for ThinBytes {
    fn partial_cmp(&self, other: &ThinBytes) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ThinBytes {
    fn cmp(&self, other: &ThinBytes) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

/// As the bytes hash, which `Borrow<[u8]>` demands.
impl std::hash::Hash for ThinBytes {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for ThinBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_width_keeps_its_bytes() {
        for len in [0, 1, 127, 128, 129, 16_383, 16_384, 70_000] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            let thin = ThinBytes::new(&bytes);
            assert_eq!(*thin, bytes, "{len} bytes");
            assert_eq!(thin.clone(), thin);
            let width = if len < 128 {
                1
            } else if len < 16_384 {
                2
            } else {
                4
            };
            assert_eq!(thin.memory_bytes(), width + len);
        }
    }

    #[test]
    fn lengths_survive_their_prefix() {
        for bits in 0..61 {
            for len in [(1usize << bits) - 1, 1 << bits] {
                let prefix = Prefix::of(len);
                assert_eq!(Prefix::decode(&prefix.encode()[8 - prefix.width..]), prefix, "{len}");
            }
        }
    }

    #[test]
    fn parts_are_joined() {
        assert_eq!(*ThinBytes::from_parts(&[b"field", b"", b"=", b"value"]), *b"field=value");
        assert_eq!(*ThinBytes::from_parts(&[]), *b"");
    }

    #[test]
    fn shows_bytes_as_text() {
        assert_eq!(format!("{:?}", ThinBytes::new(b"a\r\n")), r#""a\r\n""#);
    }
}
