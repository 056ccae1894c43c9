//! The server: event loops, command families, dispatch, configuration, replication, and the glue between the
//! crates below.

mod aof;
mod blocking;
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
mod info;
mod lazyfree;
pub mod log;
mod memory;
mod net;
mod notify;
mod persist;
pub mod process;
mod pubsub;
mod replication;
mod secrets;
mod server;
mod slowlog;
mod snapshot;
mod start;
mod stats;
mod switches;
mod watch;
mod write_log;

/// The version of Redis whose behaviour this server has.
pub const REDIS_VERSION: &str = "7.2.4";
pub const BALAS_VERSION: &str = env!("CARGO_PKG_VERSION");
