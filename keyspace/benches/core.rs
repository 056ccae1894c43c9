//! Tables, entries, slots: nanoseconds per operation and bytes per key.
//!
//! `cargo bench -p balas-keyspace --bench core`, with `bytes` as an argument for the bytes alone.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use balas_keyspace::hash::hash;
use balas_keyspace::table::{Item, Table};
use balas_keyspace::{Entry, Keyspace, NewValue};
use criterion::{BatchSize, Criterion, Throughput};
use protocol::slot::Slot;

/// mimalloc, with a sum of the bytes asked for.
struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to mimalloc as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { mimalloc::MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE_BYTES.fetch_add(size.wrapping_sub(layout.size()), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { mimalloc::MiMalloc.realloc(block, layout, size) }
    }
}

const KEYS: u64 = 2_000_000;
const VALUE: [u8; 32] = [b'v'; 32];

/// 16 bytes.
fn key(n: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let digits = n.to_string();
    key[16 - digits.len()..].copy_from_slice(digits.as_bytes());
    key
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn set(keyspace: &Keyspace, key: &[u8]) {
    let db = keyspace.db(0).expect("the first one");
    db.lock_write(Slot::of(key)).upsert(key, NewValue::Str(&VALUE), None);
}

/// Heap per key of a cluster node's keyspace, and of a single slot behind one hash tag, at several sizes.
fn print_bytes_per_key() {
    println!("bytes per key of 16 bytes with a value of 32: heap asked for, resident");
    let (heap, resident) = (LIVE_BYTES.load(Relaxed), resident_bytes());
    let keyspace = Keyspace::new(16);
    for n in 1..=KEYS {
        set(&keyspace, &key(n));
        if [50_000, 200_000, 500_000, 1_000_000, 1_300_000, 1_600_000, KEYS].contains(&n) {
            let per_key = |now: usize, before: usize| (now - before) as f64 / n as f64;
            let heap = per_key(LIVE_BYTES.load(Relaxed), heap);
            println!("  {n:>8} keys {heap:>8.2} {:>8.2}", per_key(resident_bytes(), resident));
        }
    }
    drop(keyspace);
    let heap = LIVE_BYTES.load(Relaxed);
    let mut table = Table::new();
    for n in 1..=KEYS {
        table.insert(hash(&key(n)), Entry::new(&key(n), NewValue::Str(&VALUE), None));
    }
    println!("  one slot      {:>8.2}", (LIVE_BYTES.load(Relaxed) - heap) as f64 / KEYS as f64);
}

fn bench_table(c: &mut Criterion) {
    let mut group = c.benchmark_group("table");
    for size in [100, 1_000_000] {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut table = Table::new();
        for n in 0..size {
            table.insert(hash(&key(n)), Entry::new(&key(n), NewValue::Str(&VALUE), None));
        }
        group.bench_function(format!("find, {size} keys"), |b| {
            b.iter(|| {
                let key = key(rng.u64(..size));
                black_box(table.find(hash(&key), &key).map(|entry| entry.access()));
            });
        });
        group.bench_function(format!("find absent, {size} keys"), |b| {
            b.iter(|| {
                let key = key(size + rng.u64(..size));
                black_box(table.find(hash(&key), &key).is_none());
            });
        });
        group.bench_function(format!("remove and insert, {size} keys"), |b| {
            b.iter(|| {
                let key = key(rng.u64(..size));
                let hash = hash(&key);
                let entry = table.remove(hash, &key).expect("present");
                table.insert(hash, entry);
            });
        });
        group.bench_function(format!("random, {size} keys"), |b| {
            b.iter(|| black_box(table.random(&mut rng).map(|entry| entry.key().len())));
        });
    }
    const GROWN: u64 = 100_000;
    group.throughput(Throughput::Elements(GROWN));
    let entries = || (0..GROWN).map(|n| Entry::new(&key(n), NewValue::Int(1), None)).collect::<Vec<_>>();
    group.bench_function("grow from nothing", |b| {
        b.iter_batched(
            entries,
            |entries| {
                let mut table = Table::new();
                for entry in entries {
                    table.insert(hash(entry.key()), entry);
                }
                table
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn bench_entry(c: &mut Criterion) {
    let mut group = c.benchmark_group("entry");
    let key = key(1);
    group.bench_function("new", |b| {
        b.iter(|| black_box(Entry::new(black_box(&key), NewValue::Str(&VALUE), None)));
    });
    let mut entry = Entry::new(&key, NewValue::Str(&VALUE), None);
    group.bench_function("set, same length", |b| {
        b.iter(|| entry.set_value(NewValue::Str(black_box(&VALUE))));
    });
    let mut len = 0;
    group.bench_function("set, other lengths", |b| {
        b.iter(|| {
            len = (len + 9) % VALUE.len();
            entry.set_value(NewValue::Plain(black_box(&VALUE[len..])));
        });
    });
    let mut counter = Entry::new(&key, NewValue::Int(0), None);
    let mut n = 0;
    group.bench_function("increment", |b| {
        b.iter(|| {
            n += 1;
            counter.set_value(NewValue::Int(n));
        });
    });
    group.finish();
}

fn bench_keyspace(c: &mut Criterion) {
    let mut group = c.benchmark_group("keyspace");
    const SIZE: u64 = 1_000_000;
    let keyspace = Keyspace::new(1);
    (0..SIZE).for_each(|n| set(&keyspace, &key(n)));
    let db = keyspace.db(0).expect("the first one");
    let mut rng = fastrand::Rng::with_seed(1);
    group.bench_function("get", |b| {
        b.iter(|| {
            let key = key(rng.u64(..SIZE));
            black_box(db.lock(Slot::of(&key)).get(&key).map(Entry::access));
        });
    });
    group.bench_function("set over", |b| {
        b.iter(|| set(&keyspace, &key(rng.u64(..SIZE))));
    });
    group.bench_function("delete and set", |b| {
        b.iter(|| {
            let key = key(rng.u64(..SIZE));
            db.lock_write(Slot::of(&key)).remove(&key);
            set(&keyspace, &key);
        });
    });
    group.bench_function("random key", |b| {
        b.iter(|| black_box(db.random(&mut rng, |_, entry| entry.key().len())));
    });
    group.bench_function("number of keys", |b| b.iter(|| black_box(db.len())));
    group.finish();
}

fn main() {
    print_bytes_per_key();
    if std::env::args().any(|argument| argument == "bytes") {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    bench_table(&mut criterion);
    bench_entry(&mut criterion);
    bench_keyspace(&mut criterion);
    criterion.final_summary();
}
