//! What DEBUG switches on and off, for tests.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64};

pub struct Switches {
    /// Checksums of RDB files and RESTORE payloads are not looked at.
    pub skip_checksums: AtomicBool,
    /// Nothing periodic is done.
    pub cron_paused: AtomicBool,
    /// Microseconds to sleep before the AOF is written.
    pub aof_flush_sleep_micros: AtomicU64,
    /// The type of bus messages that are dropped on arrival; -1 for none, -2 for all.
    pub dropped_bus_messages: AtomicI32,
    /// Scripts may call what is denied to them.
    pub scripts_not_denied: AtomicBool,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches {
            skip_checksums: AtomicBool::new(false),
            cron_paused: AtomicBool::new(false),
            aof_flush_sleep_micros: AtomicU64::new(0),
            dropped_bus_messages: AtomicI32::new(-1),
            scripts_not_denied: AtomicBool::new(false),
        }
    }
}
