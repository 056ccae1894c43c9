//! Bytes nobody vouches for, to every codec of values: nothing panics, memory stays in proportion to the input, and
//! what is accepted can be used.
//!
//! Inputs come from a corpus of real payloads and a mutator by seed. `tests/run` takes some thousands of each;
//! an hour of it is
//!
//! ```text
//! BALAS_FUZZ_INPUTS=20000000 BALAS_FUZZ_SEED=7 cargo test --profile ci -p balas-tests --test fuzz
//! ```
//!
//! A failure names the input: its seed, and the bytes.

mod fuzz_use;

use balas_tests::mutate::{Mutator, corpus, corpus_folder, with_footer};
use balas_tests::process::{Server, stock};
use balas_tests::resp::{Client, Value};
use keyspace::intset::Intset;
use keyspace::listpack::Listpack;
use keyspace::types::Limits;
use persistence::lzf;
use persistence::rdb::{Event, ReadOptions, Reader, restore};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One entry at a time: the allocator counts for all threads.
static ALONE: Mutex<()> = Mutex::new(());

/// Inputs of an entry, unless `BALAS_FUZZ_INPUTS` says otherwise.
const INPUTS: u64 = 20_000;

/// What decoding may allocate, all in all, freed or not: a fixed part for buffers and tables, and some for each byte of
/// input. LZF gives 88 bytes for one, and a collection is then built of them.
const FIXED_BYTES: usize = 4 << 20;
const BYTES_PER_BYTE: usize = 2_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Feeds mutated inputs to `decode`, which says whether it took them for right, and then uses what it made of them.
fn fuzz(name: &str, corpus: &[Vec<u8>], mut decode: impl FnMut(&[u8], &mut fastrand::Rng) -> Outcome) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let first_seed = variable("BALAS_FUZZ_SEED").unwrap_or(1) << 40;
    let inputs = variable("BALAS_FUZZ_INPUTS").unwrap_or(INPUTS);
    let (mut accepted, mut most_bytes) = (0, 0);
    for seed in first_seed..first_seed + inputs {
        let mut mutator = Mutator::new(seed);
        let (base, other) = (mutator.rng.usize(..corpus.len()), mutator.rng.usize(..corpus.len()));
        // The corpus itself comes first.
        let input = match corpus.get((seed - first_seed) as usize) {
            Some(intact) => intact.clone(),
            None => mutator.mutate(&corpus[base], &corpus[other]),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| decode(&input, &mut mutator.rng)));
        let Ok(outcome) = outcome else {
            panic!("{name}: seed {seed} panics: \"{}\"", input.escape_ascii());
        };
        let allowed = FIXED_BYTES + BYTES_PER_BYTE * input.len();
        let taken = outcome.allocated_bytes;
        assert!(taken <= allowed, "{name}: seed {seed} takes {taken} bytes: \"{}\"", input.escape_ascii());
        most_bytes = most_bytes.max(taken);
        accepted += u64::from(outcome.accepted);
    }
    println!("{name}: {inputs} inputs, {accepted} accepted, at most {most_bytes} bytes allocated for one");
    assert!(accepted >= corpus.len() as u64 / 2, "{name}: what is right is refused");
    assert!(accepted < inputs, "{name}: nothing is refused");
}

struct Outcome {
    accepted: bool,
    allocated_bytes: usize,
}

/// Decodes, counting what that allocates, and lets `exercise` use what came of it.
fn decoded<T, E>(decode: impl FnOnce() -> Result<T, E>, exercise: impl FnOnce(T)) -> Outcome {
    let region = Region::new(ALLOCATOR);
    let decoded = decode();
    let allocated_bytes = region.change().bytes_allocated;
    let accepted = decoded.is_ok();
    if let Ok(value) = decoded {
        exercise(value);
    }
    Outcome { accepted, allocated_bytes }
}

/// Thresholds under which small collections stay small, and under which they change over.
fn limits(rng: &mut fastrand::Rng) -> Limits {
    match rng.bool() {
        true => Limits::default(),
        false => Limits {
            list_max_listpack_size: 3,
            list_plain_node_bytes: 40,
            hash_max_listpack_entries: 2,
            set_max_intset_entries: 2,
            set_max_listpack_entries: 3,
            zset_max_listpack_entries: 2,
            stream_node_max_entries: 3,
            ..Limits::default()
        },
    }
}

/// The bodies whose names begin so.
fn bodies(prefixes: &[&str]) -> Vec<Vec<u8>> {
    let of = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let found: Vec<_> = corpus().into_iter().filter(|(name, _)| of(name)).map(|(_, body)| body).collect();
    assert!(!found.is_empty(), "{prefixes:?} are in the corpus");
    found
}

fn fuzz_values(name: &str, prefixes: &[&str]) {
    fuzz(name, &bodies(prefixes), |body, rng| {
        let payload = with_footer(body.to_vec());
        let limits = limits(rng);
        decoded(|| restore(&payload, &limits), |value| fuzz_use::value(value, rng, &limits))
    });
}

#[test]
fn values_of_any_type() {
    fuzz_values("any value", &[""]);
}

#[test]
fn strings() {
    fuzz_values("string", &["string"]);
}

#[test]
fn lists() {
    fuzz_values("list", &["list"]);
}

#[test]
fn sets() {
    fuzz_values("set", &["set"]);
}

#[test]
fn sorted_sets() {
    fuzz_values("sorted set", &["zset"]);
}

#[test]
fn hashes() {
    fuzz_values("hash", &["hash"]);
}

#[test]
fn streams() {
    fuzz_values("stream", &["stream"]);
}

#[test]
fn listpacks() {
    let mut corpus = Vec::new();
    for len in [0, 1, 3, 40] {
        let mut pack = Listpack::new();
        (0..len).for_each(|n| pack.push_back(&b"some words 123"[..n % 15]));
        (0..len as i64).for_each(|n| pack.push_back_int((n - 20).pow(n as u32 % 9)));
        pack.push_back(&vec![b'x'; len * 150]);
        corpus.push(pack.into_bytes());
    }
    fuzz("listpack", &corpus, |bytes, rng| {
        let owned = bytes.to_vec();
        decoded(|| Listpack::from_bytes(owned), |pack| fuzz_use::listpack(pack, rng))
    });
}

#[test]
fn intsets() {
    let mut corpus = Vec::new();
    for step in [1, 1 << 14, 1 << 40] {
        let mut ints = Intset::new();
        (-10..10).for_each(|n| assert!(ints.insert(n * step)));
        corpus.push(ints.as_bytes().to_vec());
    }
    fuzz("intset", &corpus, |bytes, rng| {
        let owned = bytes.to_vec();
        decoded(|| Intset::from_bytes(owned), |ints| fuzz_use::intset(ints, rng))
    });
}

#[test]
fn compressed_strings() {
    // The length that is stated, in two bytes, and what is compressed.
    let compressed = |text: &[u8]| {
        let mut out = (text.len() as u16).to_le_bytes().to_vec();
        assert!(lzf::compress(text, usize::MAX, &mut out));
        out
    };
    let corpus = [&b"abcabcabc".repeat(20)[..], &[7; 3000], b"a short one"].map(compressed);
    fuzz("lzf", &corpus, |bytes, _| {
        let (stated, compressed) = bytes.split_at(bytes.len().min(2));
        let stated = stated.iter().rev().fold(0, |len, &byte| len << 8 | usize::from(byte));
        decoded(|| lzf::decompress(compressed, stated), |text| assert_eq!(text.len(), stated))
    });
}

#[test]
fn files() {
    let folder = corpus_folder().join("../../persistence/tests/fixtures");
    let files = std::fs::read_dir(folder).expect("persistence's fixtures");
    let mut corpus: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    corpus.retain(|path| path.extension().is_some_and(|extension| extension == "rdb"));
    corpus.sort();
    let corpus: Vec<_> = corpus.iter().map(|path| std::fs::read(path).expect("a file")).collect();
    fuzz("file", &corpus, |bytes, rng| {
        let limits = limits(rng);
        let read = || {
            let options = ReadOptions { limits, ..ReadOptions::default() };
            let mut reader = Reader::new(bytes, options);
            let mut entries = Vec::new();
            loop {
                match reader.next() {
                    Ok(Event::Entry(entry)) => entries.push(entry),
                    Ok(Event::Eof(_)) => return Ok(entries),
                    Ok(_) => {}
                    Err(error) => return Err(error),
                }
            }
        };
        decoded(read, |entries| {
            entries.into_iter().for_each(|entry| fuzz_use::value(entry.value, rng, &limits))
        })
    });
}

// ---- The corpus ------------------------------------------------------------------------------------------

/// What makes the values of the corpus. A line is a name and a command on a key of that name.
const RECIPES: &str = "
    string-int8 SET _ 12
    string-int16 SET _ -1234
    string-int32 SET _ 123456789
    string-int64 SET _ 1234567890123
    string-short SET _ hello
    string-lzf SET _ aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
    string-bits SETBIT _ 300 1
    list-one RPUSH _ element
    list-pack RPUSH _ a b 1 2 300 70000 5000000000 -1 a-longer-element-of-the-list-that-is-long-enough-for-twelve-bits-of-length
    list-nodes RPUSH _ 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20
    list-plain RPUSH _ a {plain} b
    set-int16 SADD _ 1 2 3
    set-int32 SADD _ 1 70000 -70000
    set-int64 SADD _ 1 5000000000 -5000000000
    set-table SADD _ a b c 1 2 3 some-longer-member
    zset-pack ZADD _ 1 a 2 b 2.5 c -inf d inf e
    zset-tree ZADD _ 1 {long} 2 b 3 c 0.1 d -5 e
    hash-pack HSET _ a 1 b 2 c three field value
    hash-table HSET _ a 1 b {long} c three
    stream-entries XADD _ 1-1 a 1 b 2
    stream-entries XADD _ 2-1 a 1 b 2
    stream-entries XADD _ 2-2 other field
    stream-entries XADD _ 300-1 a 1 b 2
    stream-entries XDEL _ 2-1
    stream-groups XADD _ 1-1 a 1
    stream-groups XADD _ 2-1 b 2
    stream-groups XADD _ 3-1 c 3
    stream-groups XADD _ 4-1 c 4
    stream-groups XGROUP CREATE _ g1 0
    stream-groups XGROUP CREATE _ g2 2 ENTRIESREAD 2
    stream-groups XREADGROUP GROUP g1 alice COUNT 2 STREAMS _ >
    stream-groups XREADGROUP GROUP g1 bob STREAMS _ >
    stream-groups XREADGROUP GROUP g2 alice STREAMS _ >
    stream-groups XACK _ g1 1-1
    stream-empty XGROUP CREATE _ g $ MKSTREAM
    string-hll-sparse PFADD _ a b c d e f g
";

/// Makes `tests/corpus/` anew from the stock server's DUMP. What comes from elsewhere stays.
#[test]
#[ignore = "writes tests/corpus"]
fn make_the_corpus() {
    let server = Server::start(
        &stock(),
        &[
            "--list-max-listpack-size",
            "6",
            "--stream-node-max-entries",
            "3",
            "--zset-max-listpack-value",
            "100",
        ],
    );
    let mut client = server.client();
    let long = "long ".repeat(60);
    let plain = "plain ".repeat(2000);
    let mut names = Vec::new();
    for line in RECIPES.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let argv: Vec<&str> = words[1..]
            .iter()
            .map(|&word| match word {
                "_" => words[0],
                "{long}" => &long,
                "{plain}" => &plain,
                word => word,
            })
            .collect();
        let reply = client.call(&argv).expect("the server answers");
        assert!(!reply.is_error(), "{line}: {reply:?}");
        names.push(words[0]);
    }
    let fields: Vec<String> = (0..5000).map(|n| format!("element-{n}")).collect();
    let many: Vec<&str> = fields.iter().map(String::as_str).collect();
    client.call(&[&["PFADD", "string-hll-dense"], &many[..]].concat()).expect("the server answers");
    names.push("string-hll-dense");
    names.iter().for_each(|name| keep(&mut client, name));
}

fn keep(client: &mut Client, name: &str) {
    let Ok(Value::Blob(_, payload)) = client.call(&["DUMP", name]) else { panic!("no payload of {name}") };
    std::fs::write(corpus_folder().join(name), payload).expect("a file in tests/corpus");
}
