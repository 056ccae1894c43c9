//! Persistence: the RDB and AOF formats byte by byte, storage that survives crashes, the check tools.
//!
//! **Invariant:** no client, no socket, no clock, no thread of its own.

pub mod aof;
pub mod check;
pub mod crc64;
pub mod lzf;
pub mod rdb;
pub mod storage;

/// Property tests draw the same cases in every run. `PROPTEST_RNG_SEED` draws others.
#[cfg(test)]
pub(crate) fn test_config() -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};
    let config = Config::default();
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0x6261_6c61_735f_7264),
        fixed => fixed,
    };
    Config { failure_persistence: None, rng_seed, ..config }
}
