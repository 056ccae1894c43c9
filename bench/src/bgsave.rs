//! `--bgsave`: what a snapshot costs those who write meanwhile.

use crate::clock::{Stopwatch, sleep_ms, sleep_us};
use crate::error::BenchError;
use crate::memory::{self, VALUE_BYTES};
use crate::proc;
use crate::server::Server;
use crate::stats::percentile;
use crate::table;
use admin::info::Info;
use protocol::reply::write_command;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Connections that write all the time, each with this many commands in flight.
const WRITERS: u64 = 4;
const PIPELINE: usize = 16;

/// Each connection sends a batch this often: 50,000 SETs a second in all, before the snapshot and during it. A load
/// that takes all it can get would be another one while a snapshot shares the core, and on a virtual machine measures
/// what the host takes away from two busy cores.
const BATCH_EVERY_US: u64 = 1280;

/// How long the load runs without a snapshot.
const QUIET_MS: u64 = 5000;

/// A snapshot that takes longer than this is given up.
const BGSAVE_TIMEOUT_MS: u64 = 120_000;

/// Between two looks at the server's memory.
const SAMPLE_MS: u64 = 20;

/// Round trips of batches under load.
struct Latencies {
    p999_us: Option<u64>,
    max_us: Option<u64>,
}

impl Latencies {
    fn of(mut values_us: Vec<u64>) -> Latencies {
        Latencies { p999_us: percentile(&mut values_us, 0.999), max_us: percentile(&mut values_us, 1.0) }
    }
}

/// Prints, for a fresh server of each program holding `keys` keys, the latency of SETs without and with a BGSAVE, and
/// how much memory the BGSAVE took.
pub fn compare(programs: &[&Path], keys: u64) -> Result<(), BenchError> {
    println!(
        "\nBGSAVE: {keys} keys, {WRITERS} clients with -P {PIPELINE} SETs, 50,000 a second; milliseconds per batch"
    );
    let mut rows = Vec::new();
    for program in programs {
        let server = Server::start(program)?;
        rows.push(if server.knows(&["INFO", "persistence"])? && server.knows(&["BGSAVE"])? {
            row(&server, keys)?
        } else {
            vec![server.name.clone(), "lacks BGSAVE".into()]
        });
        eprint!(".");
    }
    eprintln!();
    let head = ["server", "p99.9", "max", "p99.9 in BGSAVE", "max", "BGSAVE s", "memory growth"];
    table::print(&head.map(str::to_owned), &rows);
    Ok(())
}

fn row(server: &Server, keys: u64) -> Result<Vec<String>, BenchError> {
    wait_saved(server)?;
    memory::fill(server, keys)?;
    let (quiet, _) =
        under_load(server, keys, || watch_until(server, || (), |elapsed_ms, _| elapsed_ms > QUIET_MS))?;
    let bgsave = |sample: &mut dyn FnMut()| {
        server.run(&["BGSAVE"])?;
        watch_until(server, sample, |_, is_saving| !is_saving)
    };
    let (busy, saved_ms) = under_load(server, keys, || bgsave(&mut || ()))?;
    // A run of its own: to sum up a process's pages takes milliseconds, which the clients would feel.
    let before = proc::family_bytes(server.pid());
    let mut peak = before;
    under_load(server, keys, || bgsave(&mut || peak = peak.max(proc::family_bytes(server.pid()))))?;
    let ms = |us: Option<u64>| table::number(us.map(|us| us as f64 / 1000.0), 2);
    let growth = peak.zip(before).map(|(peak, before)| (peak - before) as f64 * 100.0 / before as f64);
    Ok(vec![
        server.name.clone(),
        ms(quiet.p999_us),
        ms(quiet.max_us),
        ms(busy.p999_us),
        ms(busy.max_us),
        table::number(Some(saved_ms as f64 / 1000.0), 1),
        growth.map_or("-".into(), |percent| format!("{percent:.0} %")),
    ])
}

fn is_saving(server: &Server) -> Result<bool, BenchError> {
    let text =
        server.client()?.call(&["INFO", "persistence"]).map_err(BenchError::client(&server.name))?.text();
    Ok(Info::parse(&text).text("rdb_bgsave_in_progress") == "1")
}

/// Samples and asks whether a BGSAVE is running, again and again until it is `over`. Returns how long that took.
fn watch_until(
    server: &Server,
    mut sample: impl FnMut(),
    over: impl Fn(u64, bool) -> bool,
) -> Result<u64, BenchError> {
    let watch = Stopwatch::start();
    while !over(watch.elapsed_ms(), is_saving(server)?) {
        if watch.elapsed_ms() > BGSAVE_TIMEOUT_MS {
            return Err(BenchError::Failed(format!("{}: BGSAVE does not end", server.name)));
        }
        sample();
        sleep_ms(SAMPLE_MS);
    }
    Ok(watch.elapsed_ms())
}

/// The probe for BGSAVE has started one.
fn wait_saved(server: &Server) -> Result<(), BenchError> {
    while is_saving(server)? {
        sleep_ms(SAMPLE_MS);
    }
    Ok(())
}

/// Runs `during` while the writers write; gives their latencies and its result.
fn under_load<T>(
    server: &Server,
    keys: u64,
    during: impl FnOnce() -> Result<T, BenchError>,
) -> Result<(Latencies, T), BenchError> {
    let (stop, seed) = (AtomicBool::new(false), AtomicU64::new(1));
    std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..WRITERS).map(|_| scope.spawn(|| write_until(server, keys, &stop, &seed))).collect();
        let result = during();
        stop.store(true, Ordering::Relaxed);
        let mut latencies_us = Vec::new();
        for writer in writers {
            latencies_us.extend(writer.join().expect("a writer does not panic")?);
        }
        Ok((Latencies::of(latencies_us), result?))
    })
}

/// Writes over existing keys in batches; gives each batch's round trip in microseconds.
fn write_until(
    server: &Server,
    keys: u64,
    stop: &AtomicBool,
    seed: &AtomicU64,
) -> Result<Vec<u64>, BenchError> {
    let mut client = server.client()?;
    let mut latencies_us = Vec::new();
    let (mut batch, value) = (Vec::new(), [b'w'; VALUE_BYTES]);
    // A full-period walk (Knuth's multiplier) is random enough to touch all pages, and the same in each run.
    let mut state = seed.fetch_add(1, Ordering::Relaxed);
    let (watch, mut due_us) = (Stopwatch::start(), 0);
    while !stop.load(Ordering::Relaxed) {
        batch.clear();
        for _ in 0..PIPELINE {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            write_command(&mut batch, [&b"SET"[..], &memory::key((state >> 33) % keys), &value].into_iter());
        }
        due_us += BATCH_EVERY_US;
        let early_us = due_us.saturating_sub(watch.elapsed_us());
        if early_us > 0 {
            sleep_us(early_us);
        }
        // One that could not be sent in time has been waiting since it was due.
        let sent_us = if early_us > 0 { watch.elapsed_us() } else { due_us };
        client.pipeline(&batch, PIPELINE).map_err(BenchError::client(&server.name))?;
        latencies_us.push(watch.elapsed_us() - sent_us);
    }
    Ok(latencies_us)
}
