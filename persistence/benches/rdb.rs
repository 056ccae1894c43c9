//! How many megabytes a second are encoded, written and read. `cargo bench -p balas-persistence`
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use balas_persistence::crc64::crc64;
use balas_persistence::rdb::*;
use keyspace::object::TypedValue;
use keyspace::types::Limits;
use keyspace::types::hash::HashValue;
use keyspace::types::zset::ZSetValue;
use keyspace::{Entry, NewValue, SharedObject};
use std::hint::black_box;
use std::time::Instant;

fn main() {
    let noise: Vec<u8> = (0..64u64 << 20).step_by(8).flat_map(|n| mix(n).to_le_bytes()).collect();
    report("crc64", noise.len(), || crc64(0, &noise));
    for (name, entries) in [
        ("strings of 64 random bytes", strings(|n| noise[n * 64..n * 64 + 64].to_vec())),
        (
            "strings of 64 bytes of text",
            strings(|n| {
                format!("{{\"user\":{n},\"name\":\"somebody\",\"mail\":\"somebody@example.org\"}}")
                    .into_bytes()
            }),
        ),
        ("hashes of 10 fields", objects(small_hash)),
        ("hashes of 1000 fields", objects_of(500, large_hash)),
        ("sorted sets of 1000 members", objects_of(500, large_zset)),
    ] {
        println!("{name}");
        for compress in [false, true] {
            let options = EncodeOptions { compress, ..EncodeOptions::default() };
            let mut encoded = Vec::new();
            encode(&entries, options, &mut encoded);
            let len = encoded.len();
            let label = if compress { "compressed" } else { "plain" };
            report(&format!("  encode, {label}"), len, || {
                encoded.clear();
                encode(&entries, options, &mut encoded);
            });
            let mut writer = Writer::new(Vec::new(), RdbVersion::V11, true).unwrap();
            encoded.chunks(64 << 10).for_each(|chunk| writer.entries(chunk).unwrap());
            let file = writer.finish().unwrap();
            report(&format!("  read, {label}"), len, || read(&file));
        }
    }
}

fn mix(seed: u64) -> u64 {
    let mixed = (seed ^ seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB)
}

fn strings(value: impl Fn(usize) -> Vec<u8>) -> Vec<Entry> {
    (0..200_000)
        .map(|n| Entry::new(format!("key:{n:012}").as_bytes(), NewValue::Str(&value(n)), None))
        .collect()
}

fn objects<T: TypedValue>(value: impl Fn(usize) -> T) -> Vec<Entry> {
    objects_of(50_000, value)
}

fn objects_of<T: TypedValue>(count: usize, value: impl Fn(usize) -> T) -> Vec<Entry> {
    let object = |n| NewValue::Object(SharedObject::new(value(n).into_object()));
    (0..count).map(|n| Entry::new(format!("key:{n:012}").as_bytes(), object(n), None)).collect()
}

fn small_hash(n: usize) -> HashValue {
    hash(n, 10)
}

fn large_hash(n: usize) -> HashValue {
    hash(n, 1000)
}

fn hash(n: usize, fields: usize) -> HashValue {
    let mut hash = HashValue::new();
    for field in 0..fields {
        hash.set(
            format!("field:{field}").as_bytes(),
            format!("{:x}", mix((n * fields + field) as u64)).as_bytes(),
            &Limits::default(),
        );
    }
    hash
}

fn large_zset(n: usize) -> ZSetValue {
    let mut zset = ZSetValue::new();
    for member in 0..1000u64 {
        zset.insert(
            format!("member:{member}").as_bytes(),
            (mix(member + n as u64) >> 40) as f64,
            &Limits::default(),
        );
    }
    zset
}

fn encode(entries: &[Entry], options: EncodeOptions, out: &mut Vec<u8>) {
    let encoder = Encoder::new(options);
    entries.iter().for_each(|entry| encoder.entry(out, entry));
}

fn read(file: &[u8]) -> usize {
    let mut reader = Reader::new(file, ReadOptions::default());
    let mut count = 0;
    loop {
        match reader.next().unwrap() {
            Event::Entry(entry) => {
                black_box(entry.value.into_entry(&entry.key, entry.expire_at_ms));
                count += 1;
            }
            Event::Eof(_) => return count,
            _ => {}
        }
    }
}

/// The best of a few rounds.
fn report<R>(what: &str, bytes: usize, mut run: impl FnMut() -> R) {
    let best = (0..5).map(|_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed()
    });
    let seconds = best.min().unwrap_or_default().as_secs_f64();
    println!("{what:32} {:7.0} MB/s  ({:.1} MB)", bytes as f64 / seconds / 1e6, bytes as f64 / 1e6);
}
