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
use libmimalloc_sys::*;
use protocol::slot::Slot;

/// mimalloc, with sums of the bytes asked for and the bytes given.
struct Counting;

static ASKED_BYTES: AtomicUsize = AtomicUsize::new(0);
static GIVEN_BYTES: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What every block of mimalloc is aligned to, unasked.
const NATURAL_ALIGN: usize = 8;

// SAFETY: mimalloc fulfils the contract; `mi_malloc` aligns to NATURAL_ALIGN at least.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and any power of two will do.
        let block = unsafe {
            // Asked for an alignment, mimalloc 3 takes a larger block even where it need not.
            if layout.align() <= NATURAL_ALIGN {
                mi_malloc(layout.size())
            } else {
                mi_malloc_aligned(layout.size(), layout.align())
            }
        };
        ASKED_BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the block is fresh.
        GIVEN_BYTES.fetch_add(unsafe { mi_usable_size(block) }, Relaxed);
        block.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ASKED_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the block is one of ours, given back once.
        unsafe {
            GIVEN_BYTES.fetch_sub(mi_usable_size(block.cast()), Relaxed);
            mi_free(block.cast());
        }
    }
}

const KEYS: u64 = 2_000_000;
const VALUE: [u8; 32] = [b'v'; 32];

/// 16 bytes, of which `n` is the decimal end.
fn key(mut n: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
    key
}

fn set(keyspace: &Keyspace, key: &[u8]) {
    let db = keyspace.db(0).expect("the first one");
    db.lock_write(Slot::of(key)).upsert(key, NewValue::Str(&VALUE), None);
}

/// Heap per key of a cluster node's keyspace at several sizes, and of a single slot behind one hash tag.
fn print_bytes_per_key() {
    println!("bytes per key of 16 bytes with a value of 32: asked for, given");
    let print = |what: String, keys: u64, (asked, given): (usize, usize)| {
        let per_key = |now: &AtomicUsize, before| (now.load(Relaxed) - before) as f64 / keys as f64;
        println!("  {what:>16} {:>8.2} {:>8.2}", per_key(&ASKED_BYTES, asked), per_key(&GIVEN_BYTES, given));
    };
    let before = (ASKED_BYTES.load(Relaxed), GIVEN_BYTES.load(Relaxed));
    let keyspace = Keyspace::new(16);
    for n in 1..=KEYS {
        set(&keyspace, &key(n));
        if [50_000, 200_000, 500_000, 1_000_000, 1_300_000, 1_600_000, KEYS].contains(&n) {
            print(format!("{n} keys"), n, before);
        }
    }
    drop(keyspace);
    let before = (ASKED_BYTES.load(Relaxed), GIVEN_BYTES.load(Relaxed));
    let mut table = Table::new();
    for n in 1..=KEYS {
        table.insert(hash(&key(n)), Entry::new(&key(n), NewValue::Str(&VALUE), None));
    }
    print("one slot".into(), KEYS, before);
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
