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
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let after = &key[open + 1..];
    match memchr::memchr(b'}', after) {
        Some(close) if close > 0 => &after[..close],
        _ => key,
    }
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
}
