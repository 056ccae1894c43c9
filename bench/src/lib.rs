//! Balas and stock servers side by side, on the same machine in the same minutes.
//!
//! Throughput is what a client sees and swings with the machine; CPU time per command is what the server costs and
//! swings less. Both are shown as ratios to the first stock server, medians of several rounds whose order alternates.

#![forbid(unsafe_code)]

pub mod bgsave;
pub mod clock;
pub mod data;
pub mod error;
pub mod memory;
pub mod proc;
pub mod script;
pub mod server;
pub mod serving;
pub mod speed;
pub mod stats;
pub mod table;

pub use error::BenchError;
