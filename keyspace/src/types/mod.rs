//! One folder per type. A type owns its encodings: commands see operations, never a listpack.

pub mod geo;
pub mod hash;
pub mod hyperloglog;
mod limits;
pub mod list;
pub mod number;
mod packed;
mod pairs;
mod random;
pub mod set;
pub mod stream;
pub mod zset;

pub use limits::Limits;

use std::fmt;

/// Bytes that are not the encoding they claim to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt {
    /// Where in the bytes the trouble was met.
    pub offset: usize,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "corrupt encoding at offset {}", self.offset)
    }
}

impl std::error::Error for Corrupt {}

/// Makes room for `extra_bytes` more: all that the allocator would hand out for them.
pub(crate) fn grow_for(bytes: &mut Vec<u8>, extra_bytes: usize) {
    let needed = bytes.len() + extra_bytes;
    if needed > bytes.capacity() {
        bytes.reserve_exact(allocated(needed) - bytes.len());
    }
}

/// What a block of `bytes` takes of an allocator: they hand out steps of 8 at first, and then four sizes to each
/// power of two (mimalloc, and jemalloc with steps of 16).
pub(crate) fn allocated(bytes: usize) -> usize {
    const EVEN: usize = 64;
    if bytes <= EVEN {
        return bytes.next_multiple_of(8);
    }
    let below = (bytes - 1).ilog2();
    bytes.next_multiple_of(1 << (below - 2))
}

/// Model tests draw the same cases in every run. `PROPTEST_RNG_SEED` draws others.
#[cfg(test)]
pub(crate) fn test_config() -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};
    let config = Config::default();
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0x6261_6c61_735f_7479),
        fixed => fixed,
    };
    Config { failure_persistence: None, rng_seed, ..config }
}

#[cfg(test)]
pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
