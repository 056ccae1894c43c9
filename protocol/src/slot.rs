//! Hash slots: CRC16 of the key, or of its `{tag}`, modulo 16,384 (Redis Cluster specification).

use std::fmt;

/// How many slots a keyspace is cut into.
pub const SLOT_COUNT: usize = 16_384;

/// A hash slot, always below [`SLOT_COUNT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slot(u16);

impl Slot {
    /// `None` unless `n` is below [`SLOT_COUNT`].
    pub const fn new(n: u16) -> Option<Slot> {
        if (n as usize) < SLOT_COUNT { Some(Slot(n)) } else { None }
    }

    /// The slot of a key.
    #[inline]
    pub fn of(key: &[u8]) -> Slot {
        slot_of(key)
    }

    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }

    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All slots in order.
    pub fn all() -> impl DoubleEndedIterator<Item = Slot> + ExactSizeIterator {
        (0..SLOT_COUNT as u16).map(Slot)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Sixteen tables take sixteen bytes at a step: every command hashes its key, and byte by byte that was a
/// twentieth of a GET.
static CRC16: crc::Crc<u16, crc::Table<16>> = crc::Crc::<u16, crc::Table<16>>::new(&crc::CRC_16_XMODEM);

/// The slot of `key`. When the key holds a non-empty `{tag}` (from its first `{` to the first `}` after
/// it), only the tag counts, so that a client can keep keys together.
#[inline]
pub fn slot_of(key: &[u8]) -> Slot {
    Slot(CRC16.checksum(hashed_part(key)) & (SLOT_COUNT as u16 - 1))
}

#[inline]
fn hashed_part(key: &[u8]) -> &[u8] {
    if !may_hold_tag(key) {
        return key;
    }
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let after = &key[open + 1..];
    match memchr::memchr(b'}', after) {
        Some(close) if close > 0 => &after[..close],
        _ => key,
    }
}

/// False if there is no `{` in `key`; asks only those keys that a search would cost more than it takes, which are most.
#[inline]
fn may_hold_tag(key: &[u8]) -> bool {
    if key.len() > 16 {
        return true;
    }
    match (key.first_chunk(), key.last_chunk()) {
        (Some(&first), Some(&last)) => holds_brace(first) || holds_brace(last),
        _ => key.contains(&b'{'),
    }
}

/// Whether one of eight bytes is a `{`.
#[inline]
fn holds_brace(bytes: [u8; 8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    const BRACES: u64 = ONES * b'{' as u64;
    // Taking one from each byte sets a highest bit that was clear only if one of them is zero.
    let zero_if_brace = u64::from_ne_bytes(bytes) ^ BRACES;
    zero_if_brace.wrapping_sub(ONES) & !zero_if_brace & (ONES << 7) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_match_the_specification() {
        // Values of CLUSTER KEYSLOT on a stock server.
        for (key, slot) in [("foo", 12182), ("bar", 5061), ("123456789", 12739), ("", 0), ("hello", 866)] {
            assert_eq!(slot_of(key.as_bytes()).get(), slot, "{key}");
        }
    }

    #[test]
    fn only_a_non_empty_first_tag_counts() {
        let same = |a: &str, b: &str| assert_eq!(slot_of(a.as_bytes()), slot_of(b.as_bytes()), "{a} {b}");
        same("{user1000}.following", "user1000");
        same("foo{bar}{zap}", "bar");
        same("foo{{bar}}zap", "{bar");
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"));
        assert_ne!(slot_of(b"foo{bar"), slot_of(b"bar"));
    }

    #[test]
    fn a_tag_is_found_wherever_it_is_in_keys_of_any_length() {
        for length in 3..40 {
            // Bytes whose neighbours or high bits might be taken for a brace.
            for filler in [0, b'z', b'|', b'{' ^ 0x80, 0xff] {
                let plain = vec![filler; length];
                assert_eq!(slot_of(&plain), Slot(CRC16.checksum(&plain) % SLOT_COUNT as u16), "{plain:?}");
                for at in 0..length - 2 {
                    let mut key = plain.clone();
                    key[at..at + 3].copy_from_slice(b"{a}");
                    assert_eq!(slot_of(&key), slot_of(b"a"), "{key:?}");
                }
            }
        }
    }
}
