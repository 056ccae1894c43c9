//! Counters. Each thread that runs commands writes its own, without sharing a cache line; INFO adds them up.

use crate::exec::table::table;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

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

    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// What one command has cost on one thread.
#[derive(Default)]
pub struct CommandStats {
    pub calls: Counter,
    pub nanos: Counter,
    pub rejected: Counter,
    pub failed: Counter,
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
    pub evicted: Counter,
    pub reads: Counter,
    pub writes: Counter,
    /// Changes made to the dataset.
    pub changes: Counter,
    pub output_limit_disconnections: Counter,
    pub query_limit_disconnections: Counter,
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
            &self.evicted,
            &self.reads,
            &self.writes,
            &self.changes,
            &self.output_limit_disconnections,
            &self.query_limit_disconnections,
        ];
        all.into_iter().for_each(Counter::reset);
    }
}

/// All threads' counters, and those that are rare enough to share.
#[derive(Default)]
pub struct Stats {
    threads: Mutex<Vec<Arc<ThreadStats>>>,
    pub connected: AtomicI64,
    pub rejected_connections: AtomicU64,
    pub blocked: AtomicI64,
    pub replicas: AtomicI64,
    pub sync_full: AtomicU64,
    pub sync_partial_ok: AtomicU64,
    pub sync_partial_err: AtomicU64,
    pub peak_memory_bytes: AtomicU64,
    /// In use when the process was ready to serve.
    pub startup_memory_bytes: AtomicU64,
    errors: Mutex<std::collections::BTreeMap<Vec<u8>, u64>>,
    rates: Mutex<Rates>,
}

/// What `instantaneous_*` shows: per second, over the last 16 samples.
#[derive(Default)]
struct Rates {
    last_ms: i64,
    last: [u64; 3],
    samples: [[u64; 16]; 3],
    at: usize,
}

/// Codes of errors counted apart at most.
const ERROR_CODES_MAX: usize = 128;

impl Stats {
    /// Counters for a thread that is about to run commands.
    pub fn thread(&self) -> Arc<ThreadStats> {
        let stats = Arc::new(ThreadStats::new());
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
        let now = [self.sum(|t| &t.processed), self.sum(|t| &t.net_in_bytes), self.sum(|t| &t.net_out_bytes)];
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

    /// Commands, bytes in and bytes out, per second.
    pub fn rates(&self) -> [u64; 3] {
        self.rates.lock().samples.map(|samples| samples.iter().sum::<u64>() / 16)
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        self.threads.lock().iter().for_each(|thread| thread.reset());
        self.errors.lock().clear();
        for counter in
            [&self.rejected_connections, &self.sync_full, &self.sync_partial_ok, &self.sync_partial_err]
        {
            counter.store(0, Ordering::Relaxed);
        }
        *self.rates.lock() = Rates::default();
    }
}
