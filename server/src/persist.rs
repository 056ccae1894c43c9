//! Persistence, as far as the server's state goes: what was saved when, and whether writes are to be refused.

use crate::config::{Settings, strerror};
use crate::server::Server;
use crate::snapshot::Job;
use protocol::ReplyError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};

pub struct Persistence {
    /// How far the log is known to be on disk.
    durable: AtomicU64,
    pub last_save_ms: AtomicI64,
    pub last_bgsave_ok: AtomicBool,
    pub aof_write_ok: AtomicBool,
    /// What the system said when that became false.
    aof_errno: AtomicI32,
    /// Changes made up to the last save.
    pub changes_at_save: AtomicU64,
    pub saving: AtomicBool,
    /// A BGSAVE waits for what has to end before it can begin.
    pub save_scheduled: AtomicBool,
    /// Entries that the last RDB file held, and those of them that had expired.
    pub loaded_keys: AtomicU64,
    pub loaded_expired: AtomicU64,
    pub saves: AtomicU64,
    pub loading: LoadProgress,
    last_try_ms: AtomicI64,
}

/// How far the reading of a dataset is.
#[derive(Default)]
pub struct LoadProgress {
    pub began_ms: AtomicI64,
    /// 0 where that is not known.
    pub total_bytes: AtomicU64,
    pub loaded_bytes: AtomicU64,
}

impl LoadProgress {
    pub fn begin(&self, now_ms: i64, total_bytes: u64) {
        self.began_ms.store(now_ms, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
        self.loaded_bytes.store(0, Ordering::Relaxed);
    }
}

impl Persistence {
    pub fn new(now_ms: i64) -> Persistence {
        Persistence {
            durable: AtomicU64::new(u64::MAX),
            last_save_ms: AtomicI64::new(now_ms),
            last_bgsave_ok: AtomicBool::new(true),
            aof_write_ok: AtomicBool::new(true),
            aof_errno: AtomicI32::new(0),
            changes_at_save: AtomicU64::new(0),
            saving: AtomicBool::new(false),
            save_scheduled: AtomicBool::new(false),
            loaded_keys: AtomicU64::new(0),
            loaded_expired: AtomicU64::new(0),
            saves: AtomicU64::new(0),
            loading: LoadProgress::default(),
            last_try_ms: AtomicI64::new(0),
        }
    }

    #[inline]
    pub fn durable_offset(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub fn set_durable_offset(&self, offset: u64) {
        self.durable.store(offset, Ordering::Release);
    }

    /// The disk failed, and by configuration clients are to be told.
    pub fn refuses_writes(&self, settings: &Settings) -> bool {
        let save_failed = settings.stop_writes_on_bgsave_error
            && !settings.save.is_empty()
            && !self.last_bgsave_ok.load(Ordering::Relaxed);
        save_failed || settings.appendonly && !self.aof_write_ok.load(Ordering::Relaxed)
    }

    /// The AOF could not be written or synced. Returns whether it was in order before.
    pub fn aof_failed(&self, error: &std::io::Error) -> bool {
        // What follows a failed sync says nothing of its own.
        if let Some(errno) = error.raw_os_error() {
            self.aof_errno.store(errno, Ordering::Relaxed);
        }
        self.aof_write_ok.swap(false, Ordering::Relaxed)
    }

    /// What a write is told while they are refused.
    pub fn write_refusal(&self, settings: &Settings) -> ReplyError {
        if !settings.appendonly || self.aof_write_ok.load(Ordering::Relaxed) {
            ReplyError::fixed(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                 Commands that may modify the data set are disabled, because this instance is configured to report \
                 errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check \
                 the Redis logs for details about the RDB error.",
            )
        } else {
            let error = std::io::Error::from_raw_os_error(self.aof_errno.load(Ordering::Relaxed));
            ReplyError::new(format!("MISCONF Errors writing to the AOF file: {}", strerror(&error)))
        }
    }
}

/// Starts a snapshot to disk unless one is running. Returns whether it did.
pub fn start_save(server: &Arc<Server>) -> bool {
    if server.persistence.saving.swap(true, Ordering::AcqRel) {
        return false;
    }
    let is_announced = !server.snapshots.is_busy();
    if is_announced {
        server.snapshots.announce_save(server.keyspace.len() as u64);
    }
    server.snapshots.submit(Job::Save { is_announced });
    true
}

/// Starts the BGSAVE that was put off, once nothing stands in its way any more.
pub fn start_scheduled_save(server: &Arc<Server>) {
    let scheduled = &server.persistence.save_scheduled;
    if scheduled.load(Ordering::Relaxed) && !server.aof.is_rewriting() && start_save(server) {
        scheduled.store(false, Ordering::Relaxed);
    }
}

/// What is due about once a second: the save points.
pub fn cron(server: &Arc<Server>, settings: &Settings, now_ms: i64) {
    /// After a failed save, so long until the next try.
    const RETRY_MS: i64 = 5_000;
    crate::aof::cron(server, settings, now_ms);
    let persistence = &server.persistence;
    let changes = server.changes().saturating_sub(persistence.changes_at_save.load(Ordering::Relaxed));
    let since_ms = now_ms - persistence.last_save_ms.load(Ordering::Relaxed);
    let retried = persistence.last_try_ms.load(Ordering::Relaxed);
    let may_try = persistence.last_bgsave_ok.load(Ordering::Relaxed) || now_ms - retried > RETRY_MS;
    let due =
        settings.save.iter().find(|save| changes >= save.changes.max(1) && since_ms > save.seconds * 1000);
    let may_try = may_try && !server.loading.load(Ordering::Relaxed) && !server.aof.is_rewriting();
    if let Some(save) = due.filter(|_| may_try) {
        crate::log::notice(&format!("{} changes in {} seconds. Saving...", save.changes, save.seconds));
        persistence.last_try_ms.store(now_ms, Ordering::Relaxed);
        start_save(server);
    }
}
