//! Memory in use, counted by the allocator. A leaf module: the one place where the server is unsafe.
//!
//! Each thread counts on a line of its own; the sum is what INFO calls `used_memory` and what eviction goes by.
#![allow(unsafe_code)]

use crossbeam_utils::CachePadded;
use libmimalloc_sys as mi;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// Lines to count on. Each but the last belongs to one thread for good.
const LINES: usize = 256;
/// The line of threads that came too late for their own.
const SHARED: usize = LINES - 1;

static COUNTS: [CachePadded<AtomicI64>; LINES] = [const { CachePadded::new(AtomicI64::new(0)) }; LINES];
static NEXT_LINE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static LINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// mimalloc, with a count of the bytes it has handed out.
pub struct CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Alignment that every block has anyway. For more, mimalloc takes larger blocks, so it is asked for only then;
/// `.cargo/config.toml` builds mimalloc with the same figure.
const PLAIN_ALIGN: usize = 8;

// SAFETY: every call is passed on to mimalloc with the size and alignment it was made with, which upholds the
// contract; counting touches atomics and a const-initialised thread-local only, and allocates nothing.
unsafe impl GlobalAlloc for CountingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller upholds `alloc`'s contract: the size is not zero, the alignment a power of two.
        unsafe {
            match layout.align() {
                ..=PLAIN_ALIGN => mi::mi_malloc(layout.size()).cast(),
                align => mi::mi_malloc_aligned(whole(layout.size(), align), align).cast(),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller upholds `dealloc`'s contract, and `ptr` came from mimalloc.
        unsafe { mi::mi_free(ptr.cast()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as for `alloc`.
        unsafe {
            match layout.align() {
                ..=PLAIN_ALIGN => mi::mi_zalloc(layout.size()).cast(),
                align => mi::mi_zalloc_aligned(whole(layout.size(), align), align).cast(),
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as i64 - layout.size() as i64);
        // SAFETY: the caller upholds `realloc`'s contract, and `ptr` came from mimalloc.
        unsafe {
            match layout.align() {
                ..=PLAIN_ALIGN => mi::mi_realloc(ptr.cast(), new_size).cast(),
                align => mi::mi_realloc_aligned(ptr.cast(), whole(new_size, align), align).cast(),
            }
        }
    }
}

/// A size that is a multiple of the alignment: mimalloc has blocks of such a size at hand that are aligned already.
#[inline]
fn whole(size: usize, align: usize) -> usize {
    size.next_multiple_of(align)
}

#[inline]
fn count(bytes: i64) {
    // A thread that is ending has no line any more; any line will do.
    let line = LINE.try_with(line_of).unwrap_or(SHARED);
    let count = &COUNTS[line];
    if line == SHARED {
        count.fetch_add(bytes, Ordering::Relaxed);
    } else {
        // One writer: no locked instruction is needed.
        count.store(count.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }
}

#[inline]
fn line_of(line: &Cell<usize>) -> usize {
    if line.get() == usize::MAX {
        line.set(NEXT_LINE.fetch_add(1, Ordering::Relaxed).min(SHARED));
    }
    line.get()
}

/// Bytes handed out by the allocator and not given back.
pub fn used_bytes() -> u64 {
    let lines = NEXT_LINE.load(Ordering::Relaxed).min(SHARED);
    COUNTS[..lines]
        .iter()
        .chain([&COUNTS[SHARED]])
        .map(|count| count.load(Ordering::Relaxed))
        .sum::<i64>()
        .max(0) as u64
}

/// Has the allocator give back to the system what the calling thread holds and does not use.
pub fn purge() {
    // SAFETY: mi_collect has no preconditions.
    unsafe { mi::mi_collect(true) }
}

/// The allocator's own statistics, as text.
pub fn allocator_stats() -> String {
    unsafe extern "C" fn append(text: *const c_char, into: *mut c_void) {
        // SAFETY: mimalloc passes a C string, and as `into` what it was given below: a vector that nobody else uses.
        let (text, into) = unsafe { (CStr::from_ptr(text), &mut *into.cast::<Vec<u8>>()) };
        into.extend_from_slice(text.to_bytes());
    }
    let mut text: Vec<u8> = Vec::with_capacity(16 * 1024);
    // SAFETY: `append` is called before this returns, with the pointer to `text`, which lives longer.
    unsafe { mi::mi_stats_print_out(Some(append), (&raw mut text).cast()) };
    String::from_utf8_lossy(&text).into_owned()
}

/// Bytes of this process in physical memory.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * page_bytes()
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf has no preconditions.
    (unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).max(4096) as u64
}
