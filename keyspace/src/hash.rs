//! The one hash of keys, members and fields, seeded once per process.

use std::hash::Hasher;
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// Used by whoever never sets a seed: tests and offline tools.
const DEFAULT_SEED: u64 = 0x6261_6c61_732d_7263;

static SEED: OnceLock<SharedSeed> = OnceLock::new();

/// Seeds the hash for the life of the process, so that nobody outside can choose colliding keys. False, and
/// without effect, when a key has been hashed already.
pub fn set_hash_seed(seed: u64) -> bool {
    SEED.set(SharedSeed::from_u64(seed)).is_ok()
}

/// The hash by which every [`Table`](crate::table::Table) finds `key`.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    let seed = SEED.get_or_init(|| SharedSeed::from_u64(DEFAULT_SEED));
    let mut hasher = FoldHasher::with_seed(DEFAULT_SEED, seed);
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_set_at_most_once() {
        let before = hash(b"key");
        assert!(!set_hash_seed(7), "a key has been hashed, tables may rely on the seed");
        assert_eq!(hash(b"key"), before);
    }

    #[test]
    fn low_and_high_bits_are_spread() {
        // Tables take their bucket from the low bits and the fingerprint from the high ones.
        let (mut low, mut high) = ([0u32; 256], [0u32; 256]);
        for i in 0..256 * 100 {
            let h = hash(format!("user:{i}").as_bytes());
            low[h as usize & 255] += 1;
            high[(h >> 56) as usize] += 1;
        }
        for count in low.into_iter().chain(high) {
            assert!((40..=170).contains(&count), "{count} of an expected 100");
        }
    }
}
