//! Huge pages: a large dataset is looked up faster in them, a small one wastes memory.
//!
//! The allocator asks for huge pages, which come in steps of 2 MiB, and each kind of block it hands out begins steps of its
//! own. To a node of ten megabytes that is a sixth on top; to one of a hundred it is nothing, and a pipelined GET costs
//! a twelfth less, as fewer addresses have to be translated. So the process does without until it has grown.

use nix::sys::prctl::set_thp_disable;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes in use above which huge pages are worth it.
const LARGE_BYTES: u64 = 64 << 20;

static HELD_BACK: AtomicBool = AtomicBool::new(false);

/// Does without huge pages for now. To be called before much is allocated.
pub fn hold_back() {
    // Where the system does not know of this, there is nothing to hold back.
    HELD_BACK.store(set_thp_disable(true).is_ok(), Ordering::Relaxed);
}

/// Takes huge pages from here on, if so many bytes are in use that they are worth it.
pub fn allow_if_worth_it(used_bytes: u64) {
    if used_bytes > LARGE_BYTES && HELD_BACK.swap(false, Ordering::Relaxed) {
        let _ = set_thp_disable(false);
    }
}
