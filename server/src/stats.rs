//! Counters. Each thread that runs commands writes its own, without sharing a cache line; INFO adds them up.

use crate::exec::table::table;
use crate::histogram::{Distribution, Histogram};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A counter with one writer.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub fn add(&self, n: u64) {
        // One writer: no read-modify-write cycle on the bus is needed.
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Sets it where `n` is more.
    #[inline]
    pub fn raise(&self, n: u64) {
        if n > self.get() {
            self.set(n);
        }
    }

    pub fn reset(&self) {
        self.set(0);
    }
}

/// What one command has cost on one thread.
#[derive(Default)]
pub struct CommandStats {
    pub calls: Counter,
    pub nanos: Counter,
    pub rejected: Counter,
    pub failed: Counter,
    /// How its running times are distributed; made with the first call.
    times: OnceLock<Histogram>,
}

/// What a thread's turns have cost: batches of commands, or rounds of periodic work.
#[derive(Default)]
pub struct Cycles {
    pub count: Counter,
    pub nanos: Counter,
    /// Most commands in one turn, and the longest turn.
    pub commands_max: Counter,
    pub nanos_max: Counter,
    commands_before: Counter,
}

impl Cycles {
    /// A turn that took so long has ended.
    #[inline]
    pub fn end(&self, stats: &ThreadStats, took: Duration) {
        let nanos = took.as_nanos() as u64;
        let commands = stats.processed.get();
        self.count.add(1);
        self.nanos.add(nanos);
        self.nanos_max.raise(nanos);
        self.commands_max.raise(commands.saturating_sub(self.commands_before.get()));
        self.commands_before.set(commands);
    }

    fn all(&self) -> [&Counter; 5] {
        [&self.count, &self.nanos, &self.commands_max, &self.nanos_max, &self.commands_before]
    }
}

/// One thread's counters.
#[derive(Default)]
pub struct ThreadStats {
    /// By [`crate::exec::table::Command::id`].
    pub commands: Box<[CommandStats]>,
    pub processed: Counter,
    pub hits: Counter,
    pub misses: Counter,
    pub net_in_bytes: Counter,
    pub net_out_bytes: Counter,
    pub repl_in_bytes: Counter,
    pub repl_out_bytes: Counter,
    pub connections: Counter,
    pub error_replies: Counter,
    pub expired: Counter,
    pub reads: Counter,
    pub writes: Counter,
    /// Changes made to the dataset. Saving goes by them, so CONFIG RESETSTAT leaves them alone.
    pub changes: Counter,
    pub output_limit_disconnections: Counter,
    pub query_limit_disconnections: Counter,
    pub cycles: Cycles,
    /// Time spent in commands.
    pub command_nanos: Counter,
    /// Time spent in periodic work, and in writing the AOF, by the threads that do that.
    pub cron_nanos: Counter,
    pub aof_nanos: Counter,
    /// `latency-tracking`.
    tracks_times: AtomicBool,
}

impl ThreadStats {
    fn new() -> ThreadStats {
        ThreadStats {
            commands: (0..table().count()).map(|_| CommandStats::default()).collect(),
            ..ThreadStats::default()
        }
    }

    fn reset(&self) {
        for command in &self.commands {
            [&command.calls, &command.nanos, &command.rejected, &command.failed]
                .into_iter()
                .for_each(Counter::reset);
            command.times.get().into_iter().for_each(Histogram::reset);
        }
        let all = [
            &self.processed,
            &self.hits,
            &self.misses,
            &self.net_in_bytes,
            &self.net_out_bytes,
            &self.repl_in_bytes,
            &self.repl_out_bytes,
            &self.connections,
            &self.error_replies,
            &self.expired,
            &self.reads,
            &self.writes,
            &self.output_limit_disconnections,
            &self.query_limit_disconnections,
            &self.command_nanos,
            &self.cron_nanos,
            &self.aof_nanos,
        ];
        all.into_iter().chain(self.cycles.all()).for_each(Counter::reset);
    }

    /// So many calls of a command in a row have taken so long together.
    #[inline]
    pub fn ran(&self, command: usize, nanos: u64, calls: u32) {
        let stats = &self.commands[command];
        stats.nanos.add(nanos);
        self.command_nanos.add(nanos);
        if self.tracks_times.load(Ordering::Relaxed) {
            stats.times.get_or_init(Histogram::default).add(nanos / u64::from(calls), u64::from(calls));
        }
    }
}

/// All threads' counters, and those that are rare enough to share.
#[derive(Default)]
pub struct Stats {
    threads: Mutex<Vec<Arc<ThreadStats>>>,
    tracks_times: AtomicBool,
    pub connected: AtomicI64,
    pub rejected_connections: AtomicU64,
    pub blocked: AtomicI64,
    pub replicas: AtomicI64,
    pub sync_full: AtomicU64,
    pub sync_partial_ok: AtomicU64,
    pub sync_partial_err: AtomicU64,
    /// Commands of our master that could not be carried out.
    pub unexpected_errors: AtomicU64,
    pub peak_memory_bytes: AtomicU64,
    /// In use when the process was ready to serve.
    pub startup_memory_bytes: AtomicU64,
    errors: Mutex<std::collections::BTreeMap<Vec<u8>, u64>>,
    rates: Mutex<Rates>,
}

/// How many things are shown as rates.
const RATES: usize = 7;

/// What `instantaneous_*` shows: per second, over the last 16 samples.
#[derive(Default)]
struct Rates {
    last_ms: i64,
    last: [u64; RATES],
    samples: [[u64; 16]; RATES],
    at: usize,
}

/// Codes of errors counted apart at most.
const ERROR_CODES_MAX: usize = 128;

impl Stats {
    /// Counters for a thread that is about to run commands.
    pub fn thread(&self) -> Arc<ThreadStats> {
        let stats = Arc::new(ThreadStats::new());
        stats.tracks_times.store(self.tracks_times.load(Ordering::Relaxed), Ordering::Relaxed);
        self.threads.lock().push(stats.clone());
        stats
    }

    /// A counter added up over all threads.
    pub fn sum(&self, counter: impl Fn(&ThreadStats) -> &Counter) -> u64 {
        self.threads.lock().iter().map(|thread| counter(thread).get()).sum()
    }

    /// Calls, nanoseconds, rejected and failed calls of a command.
    pub fn command(&self, id: usize) -> [u64; 4] {
        let sum = |counter: fn(&CommandStats) -> &Counter| self.sum(|thread| counter(&thread.commands[id]));
        [sum(|c| &c.calls), sum(|c| &c.nanos), sum(|c| &c.rejected), sum(|c| &c.failed)]
    }

    /// Whether running times are counted one by one, for percentiles. What was counted stays.
    pub fn track_times(&self, on: bool) {
        self.tracks_times.store(on, Ordering::Relaxed);
        self.threads.lock().iter().for_each(|thread| thread.tracks_times.store(on, Ordering::Relaxed));
    }

    /// How a command's running times are distributed; `None` when none was counted.
    pub fn times(&self, id: usize) -> Option<Distribution> {
        let threads = self.threads.lock();
        let mut counted = threads.iter().filter_map(|thread| thread.commands[id].times.get()).peekable();
        counted.peek()?;
        Some(Distribution::of(counted)).filter(|times| times.total() > 0)
    }

    /// The largest value of a counter among all threads.
    pub fn max(&self, counter: impl Fn(&ThreadStats) -> &Counter) -> u64 {
        self.threads.lock().iter().map(|thread| counter(thread).get()).max().unwrap_or(0)
    }

    pub fn count_error(&self, code: &[u8]) {
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(code.to_vec(), 1);
        }
    }

    /// Errors by code.
    pub fn errors(&self) -> Vec<(Vec<u8>, u64)> {
        self.errors.lock().iter().map(|(code, count)| (code.clone(), *count)).collect()
    }

    /// Notes commands and bytes so far; call it about ten times a second.
    pub fn sample(&self, now_ms: i64) {
        let now = [
            self.sum(|t| &t.processed),
            self.sum(|t| &t.net_in_bytes),
            self.sum(|t| &t.net_out_bytes),
            self.sum(|t| &t.repl_in_bytes),
            self.sum(|t| &t.repl_out_bytes),
            self.sum(|t| &t.cycles.count),
            self.sum(|t| &t.cycles.nanos),
        ];
        let mut rates = self.rates.lock();
        let elapsed_ms = (now_ms - rates.last_ms).max(1) as u64;
        let at = rates.at;
        for (i, n) in now.into_iter().enumerate() {
            rates.samples[i][at] = n.saturating_sub(rates.last[i]) * 1000 / elapsed_ms;
        }
        rates.last = now;
        rates.last_ms = now_ms;
        rates.at = (at + 1) % 16;
    }

    /// Per second: commands, bytes in and out, of replication in and out, turns of threads, nanoseconds of those.
    pub fn rates(&self) -> [u64; RATES] {
        self.rates.lock().samples.map(|samples| samples.iter().sum::<u64>() / 16)
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        self.threads.lock().iter().for_each(|thread| thread.reset());
        self.errors.lock().clear();
        for counter in [
            &self.rejected_connections,
            &self.sync_full,
            &self.sync_partial_ok,
            &self.sync_partial_err,
            &self.unexpected_errors,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        *self.rates.lock() = Rates::default();
    }
}
