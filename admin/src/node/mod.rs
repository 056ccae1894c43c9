//! A node of this machine: its redis.conf, its folder, its process.

pub mod conf;
pub mod folder;
pub mod process;
