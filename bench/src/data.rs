//! `--data`: what commands on large and many values cost, and what values of each type take.

use crate::error::BenchError;
use crate::proc;
use crate::script::Script;
use crate::server::Server;
use crate::stats::median;
use crate::table;
use std::path::Path;

type Step = fn(&mut Script<'_>, u64) -> Result<(), BenchError>;

/// Commands in one pipeline.
const PIPELINE: usize = 16;

/// Commands of one kind on data of one kind. Workloads of the same data stand in a row.
pub struct Workload {
    pub name: &'static str,
    /// What the data is made by, called with 0, 1, 2 … so many times.
    fill: (u64, Step),
    /// What is measured, likewise.
    run: (u64, Step),
}

/// Elements of the large collections.
const MILLION: u64 = 1_000_000;
const HUNDRED_THOUSAND: u64 = 100_000;

const fn workload(name: &'static str, fill: (u64, Step), run: (u64, Step)) -> Workload {
    Workload { name, fill, run }
}

const NOTHING: (u64, Step) = (0, |_, _| Ok(()));
const STRINGS: (u64, Step) = (HUNDRED_THOUSAND, |s, n| s.words(&format!("SET key:{n} {n}")));
const BIG_ZSET: (u64, Step) = (MILLION, |s, n| s.words(&format!("ZADD z {} member:{n}", n * 7919 % MILLION)));
const BIG_HASH: (u64, Step) = (MILLION, |s, n| s.words(&format!("HSET h field:{n} value:{n}")));
const BIG_SET: (u64, Step) = (MILLION, |s, n| s.words(&format!("SADD s member:{n}")));
const LIST: (u64, Step) = (HUNDRED_THOUSAND, |s, n| s.words(&format!("RPUSH l element:{n}")));
const TWO_SETS: (u64, Step) =
    (2 * HUNDRED_THOUSAND, |s, n| s.words(&format!("SADD s{} member:{}", n % 2, n * 3 / 4)));
const TWO_ZSETS: (u64, Step) =
    (2 * HUNDRED_THOUSAND, |s, n| s.words(&format!("ZADD z{} {n} member:{}", n % 2, n * 3 / 4)));
const POINTS: (u64, Step) = (HUNDRED_THOUSAND, |s, n| {
    let (lon, lat) = (s.rng.f64() * 2.0 + 12.0, s.rng.f64() * 2.0 + 41.0);
    s.words(&format!("GEOADD g {lon:.6} {lat:.6} place:{n}"))
});
const LOGS: (u64, Step) = (HUNDRED_THOUSAND, |s, n| s.words(&format!("PFADD hll{} element:{n}", n % 2)));
const NUMBERS: (u64, Step) = (10_000, |s, n| s.words(&format!("RPUSH numbers {}", n * 7919 % 10_007)));
const BITMAPS: (u64, Step) =
    (2, |s, n| s.send(&[b"SET".to_vec(), format!("bits{n}").into_bytes(), vec![0x5a + n as u8; 1 << 20]]));
const STREAM: (u64, Step) =
    (HUNDRED_THOUSAND, |s, n| s.words(&format!("XADD x {}-1 user {n} action click", n + 1)));

fn any(s: &mut Script<'_>, below: u64) -> u64 {
    s.rng.u64(..below)
}

/// Commands on data, beside those of redis-benchmark's default list.
#[rustfmt::skip]
pub const WORKLOADS: &[Workload] = &[
    workload("EXISTS", STRINGS, (200_000, |s, _| { let n = any(s, HUNDRED_THOUSAND); s.words(&format!("EXISTS key:{n}")) })),
    workload("EXPIRE", STRINGS, (200_000, |s, _| { let n = any(s, HUNDRED_THOUSAND); s.words(&format!("EXPIRE key:{n} 1000")) })),
    workload("MGET 10", STRINGS, (50_000, |s, _| { let n = any(s, HUNDRED_THOUSAND); s.words(&format!("MGET key:{n} key:1 key:2 key:3 key:4 key:5 key:6 key:7 key:8 key:9")) })),
    workload("APPEND", NOTHING, (200_000, |s, n| s.words(&format!("APPEND text:{} 0123456789", n % 1000)))),
    workload("GETRANGE", BITMAPS, (200_000, |s, _| { let n = any(s, 1 << 20); s.words(&format!("GETRANGE bits0 {n} {}", n + 50)) })),
    workload("SETBIT", BITMAPS, (200_000, |s, _| { let n = any(s, 1 << 23); s.words(&format!("SETBIT bits0 {n} 1")) })),
    workload("BITCOUNT 1 MB", BITMAPS, (500, |s, _| s.words("BITCOUNT bits0"))),
    workload("BITOP AND 1 MB", BITMAPS, (500, |s, _| s.words("BITOP AND bits2 bits0 bits1"))),
    workload("PFADD", NOTHING, (200_000, |s, n| s.words(&format!("PFADD hll element:{n}")))),
    workload("PFCOUNT", LOGS, (2_000, |s, _| s.words("PFCOUNT hll0 hll1"))),
    workload("PFMERGE", LOGS, (2_000, |s, _| s.words("PFMERGE hll2 hll0 hll1"))),
    workload("LINDEX middle", LIST, (5_000, |s, _| s.words("LINDEX l 50000"))),
    workload("LRANGE 100", LIST, (20_000, |s, _| s.words("LRANGE l 0 99"))),
    workload("LRANGE 300", LIST, (10_000, |s, _| s.words("LRANGE l 0 299"))),
    workload("LRANGE 500", LIST, (10_000, |s, _| s.words("LRANGE l 0 499"))),
    workload("LRANGE 600", LIST, (10_000, |s, _| s.words("LRANGE l 0 599"))),
    workload("LMOVE", LIST, (200_000, |s, _| s.words("LMOVE l l LEFT RIGHT"))),
    workload("HGET of 1 M", BIG_HASH, (200_000, |s, _| { let n = any(s, MILLION); s.words(&format!("HGET h field:{n}")) })),
    workload("HINCRBY", NOTHING, (200_000, |s, n| s.words(&format!("HINCRBY h field:{} 1", n % 1000)))),
    workload("HGETALL 1000", (1000, |s, n| s.words(&format!("HSET h field:{n} value:{n}"))), (3_000, |s, _| s.words("HGETALL h"))),
    workload("HGETALL 20", (20, |s, n| s.words(&format!("HSET h field:{n} value:{n}"))), (100_000, |s, _| s.words("HGETALL h"))),
    workload("SISMEMBER of 1 M", BIG_SET, (200_000, |s, _| { let n = any(s, MILLION); s.words(&format!("SISMEMBER s member:{n}")) })),
    workload("SINTER 100 k", TWO_SETS, (20, |s, _| s.words("SINTER s0 s1"))),
    workload("SUNIONSTORE 100 k", TWO_SETS, (20, |s, _| s.words("SUNIONSTORE s2 s0 s1"))),
    workload("SDIFFSTORE 100 k", TWO_SETS, (20, |s, _| s.words("SDIFFSTORE s2 s0 s1"))),
    workload("ZADD in 1 M", BIG_ZSET, (200_000, |s, _| { let (n, m) = (any(s, MILLION), any(s, MILLION)); s.words(&format!("ZADD z {n} member:{m}")) })),
    workload("ZINCRBY in 1 M", BIG_ZSET, (200_000, |s, _| { let m = any(s, MILLION); s.words(&format!("ZINCRBY z 10 member:{m}")) })),
    workload("ZSCORE in 1 M", BIG_ZSET, (200_000, |s, _| { let m = any(s, MILLION); s.words(&format!("ZSCORE z member:{m}")) })),
    workload("ZRANK in 1 M", BIG_ZSET, (200_000, |s, _| { let m = any(s, MILLION); s.words(&format!("ZRANK z member:{m}")) })),
    workload("ZRANGE 10 in 1 M", BIG_ZSET, (100_000, |s, _| { let n = any(s, MILLION); s.words(&format!("ZRANGE z {n} {}", n + 9)) })),
    workload("ZRANGEBYSCORE in 1 M", BIG_ZSET, (100_000, |s, _| { let n = any(s, MILLION); s.words(&format!("ZRANGEBYSCORE z {n} {} WITHSCORES", n + 9)) })),
    workload("ZUNIONSTORE 100 k", TWO_ZSETS, (10, |s, _| s.words("ZUNIONSTORE z2 2 z0 z1"))),
    workload("ZINTERSTORE 100 k", TWO_ZSETS, (10, |s, _| s.words("ZINTERSTORE z2 2 z0 z1"))),
    workload("XADD", NOTHING, (200_000, |s, n| s.words(&format!("XADD x * user {n} action click")))),
    workload("XRANGE 10", STREAM, (50_000, |s, _| { let n = any(s, HUNDRED_THOUSAND); s.words(&format!("XRANGE x {n} + COUNT 10")) })),
    workload("XADD, XREADGROUP, XACK", (1, |s, _| s.words("XGROUP CREATE q g $ MKSTREAM")), (150_000, |s, n| match n % 3 {
        0 => s.words(&format!("XADD q {}-0 task {n}", n / 3 + 1)),
        1 => s.words("XREADGROUP GROUP g c COUNT 1 STREAMS q >"),
        _ => s.words(&format!("XACK q g {}-0", n / 3 + 1)),
    })),
    workload("GEOADD", NOTHING, (100_000, |s, n| { let lon = s.rng.f64() * 100.0; s.words(&format!("GEOADD g {lon:.6} 41.5 place:{n}")) })),
    workload("GEOSEARCH in 100 k", POINTS, (2_000, |s, _| { let lon = s.rng.f64() + 12.5; s.words(&format!("GEOSEARCH g FROMLONLAT {lon:.6} 42 BYRADIUS 5 km ASC")) })),
    workload("GEODIST", POINTS, (100_000, |s, _| { let n = any(s, HUNDRED_THOUSAND); s.words(&format!("GEODIST g place:{n} place:1 km")) })),
    workload("SORT 10 k", NUMBERS, (100, |s, _| s.words("SORT numbers"))),
    workload("SORT 10 k LIMIT", NUMBERS, (100, |s, _| s.words("SORT numbers LIMIT 0 10"))),
    workload("SCAN", STRINGS, (20_000, |s, n| s.words(&format!("SCAN {} COUNT 10", n * 4)))),
];

/// A collection, or many, and what an element is.
pub struct Elements {
    pub name: &'static str,
    count: u64,
    add: Step,
}

#[rustfmt::skip]
pub const ELEMENTS: &[Elements] = &[
    Elements { name: "hash of 1 M fields", count: MILLION, add: BIG_HASH.1 },
    Elements { name: "set of 1 M strings", count: MILLION, add: BIG_SET.1 },
    Elements { name: "sorted set of 1 M", count: MILLION, add: BIG_ZSET.1 },
    Elements { name: "list of 1 M", count: MILLION, add: |s, n| s.words(&format!("RPUSH l element:{n}")) },
    Elements { name: "stream of 1 M entries", count: MILLION, add: |s, n| s.words(&format!("XADD x {}-1 user {n} action click", n + 1)) },
    Elements { name: "set of 1 M integers", count: MILLION, add: |s, n| s.words(&format!("SADD s {}", n * 7919)) },
    Elements { name: "100 k hashes of 20 fields", count: 2 * MILLION, add: |s, n| s.words(&format!("HSET hash:{} field:{} value:{n}", n / 20, n % 20)) },
    Elements { name: "10 k sorted sets of 300", count: 3 * MILLION, add: |s, n| s.words(&format!("ZADD zset:{} {} member:{}", n / 300, n * 31 % 300, n % 300)) },
];

/// Prints CPU time per command of every workload whose name holds one of `only`, all if there is none.
pub fn compare_speed(
    servers: &[Server],
    base: usize,
    only: &[String],
    rounds: u32,
) -> Result<(), BenchError> {
    println!("\nCommands on data, -P {PIPELINE}, medians of {rounds} rounds");
    let mut rows = Vec::new();
    for workload in WORKLOADS.iter().filter(|workload| is_chosen(workload.name, only)) {
        let mut samples = vec![Vec::new(); servers.len()];
        for round in 0..rounds as usize {
            for turn in 0..servers.len() {
                let i = (turn + round) % servers.len();
                match measure(&servers[i], workload) {
                    // A server of an older version has a dash.
                    Err(BenchError::Failed(text)) if text.contains("unknown command") => {}
                    sample => samples[i].extend(sample?),
                }
            }
        }
        let medians: Vec<_> = samples.iter().map(|of| median(of)).collect();
        let mut row = vec![workload.name.to_owned()];
        for us in &medians {
            row.extend([table::number(*us, 2), table::ratio(*us, medians[base])]);
        }
        rows.push(row);
        eprint!(".");
    }
    eprintln!();
    let mut head = vec!["command".to_owned()];
    for server in servers {
        head.extend([format!("{}: CPU µs", server.name), "×".into()]);
    }
    table::print(&head, &rows);
    Ok(())
}

fn is_chosen(name: &str, only: &[String]) -> bool {
    let name = name.to_ascii_lowercase();
    only.is_empty() || only.iter().any(|part| name.contains(&part.to_ascii_lowercase()))
}

/// Server CPU time per command in µs; `None` where the system does not tell.
fn measure(server: &Server, workload: &Workload) -> Result<Option<f64>, BenchError> {
    server.run(&["FLUSHALL"])?;
    let mut script = Script::new(server)?;
    repeat(&mut script, workload.fill)?;
    script.set_window(PIPELINE);
    let before = proc::cpu_ns(server.pid());
    repeat(&mut script, workload.run)?;
    let used_ns = proc::cpu_ns(server.pid()).zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok(used_ns.map(|ns| ns as f64 / 1000.0 / workload.run.0 as f64))
}

fn repeat(script: &mut Script<'_>, (times, step): (u64, Step)) -> Result<(), BenchError> {
    (0..times).try_for_each(|n| step(script, n))?;
    script.flush()
}

/// Elements that are there before the others are counted.
const FIRST: u64 = 1000;

/// Prints resident bytes per element of every kind of collection, each in a fresh server.
pub fn compare_memory(programs: &[&Path], base: usize, only: &[String]) -> Result<(), BenchError> {
    println!("\nResident bytes per element");
    let (mut rows, mut head) = (Vec::new(), vec!["values".to_owned()]);
    for elements in ELEMENTS.iter().filter(|elements| is_chosen(elements.name, only)) {
        let mut measured = Vec::new();
        head.truncate(1);
        for program in programs {
            let server = Server::start(program)?;
            head.extend([format!("{}: bytes", server.name), "×".into()]);
            // What the first ones bring with them is not the others': tables, buffers, the program's own pages.
            let mut script = Script::new(&server)?;
            repeat(&mut script, (500, STRINGS.1))?;
            repeat(&mut script, (FIRST, elements.add))?;
            let first = proc::rss_bytes(server.pid());
            (FIRST..elements.count).try_for_each(|n| (elements.add)(&mut script, n))?;
            script.flush()?;
            let all = proc::rss_bytes(server.pid());
            let grown = all.zip(first).map(|(all, first)| all.saturating_sub(first));
            measured.push(grown.map(|bytes| bytes as f64 / (elements.count - FIRST) as f64));
            eprint!(".");
        }
        let mut row = vec![elements.name.to_owned()];
        for bytes in &measured {
            row.extend([table::number(*bytes, 1), table::ratio(*bytes, measured[base])]);
        }
        rows.push(row);
    }
    eprintln!();
    table::print(&head, &rows);
    Ok(())
}
