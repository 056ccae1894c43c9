//! What threads meet at in `gate.rs`, `net/mailbox.rs` and `write_log.rs`.
//!
//! Those three files are also compiled in `tests/models`, where the names below are loom's. They take them from here and
//! nowhere else.

pub use mio::Waker;
pub use parking_lot::{Condvar, Mutex, MutexGuard};
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub use std::thread::sleep;
