//! How far a snapshot is, and how the last ones went: what INFO tells.

use crate::clock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

#[derive(Default)]
pub struct Progress {
    /// 0 while there is none.
    began_ms: AtomicI64,
    keys_total: AtomicU64,
    pub keys_processed: AtomicU64,
    /// Bytes that writers had to save out of turn, before they changed what was there.
    pub copied_bytes: AtomicU64,
    copied_peak_bytes: AtomicU64,
    rdb: Past,
    aof: Past,
}

/// How the last snapshots of a kind went.
#[derive(Default)]
struct Past {
    /// 0 for none, otherwise one more than the seconds it took.
    took_s_and_one: AtomicI64,
    copied_bytes: AtomicU64,
}

/// What INFO shows of the snapshot that is being made; all is 0 where there is none.
#[derive(Default)]
pub struct Now {
    pub keys_total: u64,
    pub keys_processed: u64,
    pub copied_bytes: u64,
    pub copied_peak_bytes: u64,
    pub seconds: i64,
}

impl Now {
    pub fn percent(&self) -> f64 {
        if self.keys_total == 0 { 0.0 } else { self.keys_processed as f64 * 100.0 / self.keys_total as f64 }
    }
}

impl Progress {
    pub fn begin(&self, keys_total: u64) {
        for counter in [&self.keys_processed, &self.copied_bytes, &self.copied_peak_bytes] {
            counter.store(0, Relaxed);
        }
        self.keys_total.store(keys_total, Relaxed);
        self.began_ms.store(clock::now_ms(), Relaxed);
    }

    /// Does nothing where there is none.
    pub fn end(&self, is_aof: bool) {
        let began_ms = self.began_ms.swap(0, Relaxed);
        if began_ms == 0 {
            return;
        }
        let seconds = (clock::now_ms() - began_ms).max(0) / 1000;
        let past = if is_aof { &self.aof } else { &self.rdb };
        past.took_s_and_one.store(seconds + 1, Relaxed);
        past.copied_bytes.store(self.copied_bytes.load(Relaxed), Relaxed);
    }

    pub fn now(&self) -> Now {
        let began_ms = self.began_ms.load(Relaxed);
        if began_ms == 0 {
            return Now::default();
        }
        let copied_bytes = self.copied_bytes.load(Relaxed);
        Now {
            keys_total: self.keys_total.load(Relaxed),
            keys_processed: self.keys_processed.load(Relaxed),
            copied_bytes,
            copied_peak_bytes: self.copied_peak_bytes.fetch_max(copied_bytes, Relaxed).max(copied_bytes),
            seconds: (clock::now_ms() - began_ms).max(0) / 1000,
        }
    }

    /// Seconds the last one took, -1 for none, and bytes copied meanwhile.
    pub fn last(&self, is_aof: bool) -> (i64, u64) {
        let past = if is_aof { &self.aof } else { &self.rdb };
        (past.took_s_and_one.load(Relaxed) - 1, past.copied_bytes.load(Relaxed))
    }
}
