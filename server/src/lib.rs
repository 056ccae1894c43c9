//! The server: event loops, command families, dispatch, configuration, replication, and the glue between the
//! crates below.

mod acl;
mod aof;
mod blocking;
mod client_memory;
mod clients;
mod clock;
mod cluster;
mod commands;
pub mod config;
mod cron;
mod digest;
mod evict;
mod exec;
mod gate;
mod histogram;
mod info;
mod latency;
mod lazyfree;
pub mod log;
mod memory;
mod monitor;
mod net;
mod notify;
mod own_expiry;
mod persist;
pub mod process;
mod pubsub;
mod replication;
mod script;
mod secrets;
mod server;
mod slowlog;
mod snapshot;
mod start;
mod stats;
mod switches;
mod sync;
mod tracking;
mod watch;
mod write_log;

/// The version of Redis whose behaviour this server has.
pub const REDIS_VERSION: &str = "7.2.4";

/// The same as a number, a byte for each part.
pub const REDIS_VERSION_NUM: i64 = 0x0007_0204;
pub const BALAS_VERSION: &str = env!("CARGO_PKG_VERSION");
