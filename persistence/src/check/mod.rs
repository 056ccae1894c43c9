//! `redis-check-rdb` and `redis-check-aof`: the texts and exit codes of stock.

mod aof;
mod rdb;

pub use aof::{AofMode, check_aof, check_aof_command};
pub use rdb::{check_rdb, check_rdb_command};

/// The file is as it should be, or was made so.
pub const EXIT_OK: i32 = 0;
pub const EXIT_FAILURE: i32 = 1;
