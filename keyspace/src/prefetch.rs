//! Asking the processor for memory ahead of its use.
//!
//! A key costs three cache misses one after the other: its slot, its bucket, its entry. Whoever knows the next few keys
//! asks for the lines of all of them, step by step ([`crate::Db::prefetch_slot`] and its like), and pays for three
//! misses once.
#![allow(unsafe_code)]

/// Has the cache line at `place` fetched. Nothing else happens, whatever is there.
#[inline]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint to the caches. It neither reads nor faults, so any address will do.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
