//! Parsing of requests and hashing of keys: nanoseconds, and bytes per second.
//!
//! `cargo bench -p balas-bench --bench protocol`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::reply::write_command;
use protocol::request::{Limits, Progress, Step};
use protocol::slot_of;
use std::hint::black_box;

const LIMITS: Limits = Limits { bulk_max: 512 << 20, unauthenticated: false };

fn commands(args: &[&[u8]], count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    (0..count).for_each(|_| write_command(&mut bytes, args.iter().copied()));
    bytes
}

/// Reads every command of a buffer; gives how many there were.
fn parse(bytes: &[u8], progress: &mut Progress) -> usize {
    let (mut start, mut count) = (0, 0);
    while start < bytes.len() {
        progress.reset();
        match progress.advance(&bytes[start..], &LIMITS) {
            Ok(Step::Command { consumed } | Step::Inline { consumed, .. } | Step::Nothing { consumed }) => {
                black_box(&progress.ranges);
                start += consumed;
                count += 1;
            }
            Ok(Step::NeedMore) | Err(_) => unreachable!("whole commands only"),
        }
    }
    count
}

fn bench_parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    let value = [b'v'; 64];
    let pairs = vec![&value[..16]; 20];
    let many: Vec<&[u8]> = [&b"MSET"[..]].into_iter().chain(pairs).collect();
    for (name, bytes, count) in [
        ("PING", commands(&[b"PING"], 1), 1),
        ("inline PING", b"PING\r\n".to_vec(), 1),
        ("GET", commands(&[b"GET", b"key:000000000001"], 1), 1),
        ("SET of 64 bytes", commands(&[b"SET", b"key:000000000001", &value], 1), 1),
        ("16 times SET of 64 bytes", commands(&[b"SET", b"key:000000000001", &value], 16), 16),
        ("MSET of 10 keys", commands(&many, 1), 1),
    ] {
        let mut progress = Progress::default();
        assert_eq!(parse(&bytes, &mut progress), count);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| b.iter(|| parse(black_box(&bytes), &mut progress)));
    }
    group.finish();
}

fn bench_slot(c: &mut Criterion) {
    let mut group = c.benchmark_group("slot");
    let long = [b'k'; 128];
    for (name, key) in [
        ("4 bytes", &b"user"[..]),
        ("16 bytes", b"key:000000000001"),
        ("16 bytes of which 4 are a tag", b"key:{0000}:00001"),
        ("128 bytes", &long),
    ] {
        group.throughput(Throughput::Bytes(key.len() as u64));
        group.bench_function(name, |b| b.iter(|| slot_of(black_box(key))));
    }
    group.finish();
}

criterion_group!(benches, bench_parse, bench_slot);
criterion_main!(benches);
