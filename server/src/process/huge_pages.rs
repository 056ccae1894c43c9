//! Huge pages (`disable-thp`), which the process does without unless it is told otherwise, as stock.
//!
//! Addresses are translated faster in them. But whoever touches one first waits until two megabytes are cleared, which
//! can take milliseconds, and each kind of block the allocator hands out begins steps of 2 MiB of its own.

use nix::sys::prctl::set_thp_disable;

/// Does without huge pages from here on. To be called before much is allocated.
pub fn disable() {
    if let Err(error) = set_thp_disable(true) {
        crate::log::warning(&format!("Cannot do without huge pages: {error}"));
    }
}
