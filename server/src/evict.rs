//! Making room: eviction before a command, in bounded slices, and what accesses are stamped with.

use crate::config::Settings;
use crate::notify::Classes;
use crate::server::Server;
use keyspace::access::{self, LfuKnobs};
use keyspace::evict::{Evictor, Knobs, Policy};
use parking_lot::Mutex;
use protocol::Slot;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What an access leaves on an entry, by the policy in force.
#[derive(Clone, Copy, Debug)]
pub struct AccessClock {
    now_ms: i64,
    lru: u32,
    lfu: Option<LfuKnobs>,
}

impl AccessClock {
    pub fn new(settings: &Settings, now_ms: i64) -> AccessClock {
        let knobs =
            LfuKnobs { log_factor: settings.lfu_log_factor, decay_time_min: settings.lfu_decay_minutes };
        AccessClock {
            now_ms,
            lru: access::lru(now_ms),
            lfu: settings.maxmemory_policy.is_lfu().then_some(knobs),
        }
    }

    /// The access bits of an entry that had `before` and is used now.
    #[inline]
    pub fn touched(&self, before: u32, rng: &mut fastrand::Rng) -> u32 {
        match self.lfu {
            None => self.lru,
            Some(knobs) => access::lfu_touch(before, self.now_ms, knobs, rng),
        }
    }

    /// The access bits of an entry made now.
    #[inline]
    pub fn created(&self) -> u32 {
        match self.lfu {
            None => self.lru,
            Some(_) => access::lfu_new(self.now_ms),
        }
    }
}

/// The state of eviction, shared by all threads: candidates found by one serve all.
pub struct Eviction {
    evictor: Mutex<(Evictor, fastrand::Rng)>,
    pub evicted: AtomicU64,
}

impl Eviction {
    pub fn new(seed: u64) -> Eviction {
        let evictor = Mutex::new((Evictor::default(), fastrand::Rng::with_seed(seed)));
        Eviction { evictor, evicted: AtomicU64::new(0) }
    }
}

/// Frees memory until it is below the limit. False when it is not, and no more can be freed in this slice.
/// The caller holds no slot.
pub fn make_room(server: &Server, settings: &Settings, now_ms: i64) -> bool {
    let limit = settings.maxmemory_bytes;
    if limit == 0 || crate::memory::used_bytes() <= limit {
        return true;
    }
    if settings.maxmemory_policy == Policy::NoEviction
        || server.replication.is_replica() && settings.replica_ignore_maxmemory
    {
        return false;
    }
    evict(server, settings, now_ms)
}

#[cold]
fn evict(server: &Server, settings: &Settings, now_ms: i64) -> bool {
    let knobs = Knobs {
        policy: settings.maxmemory_policy,
        samples: settings.maxmemory_samples,
        lfu: LfuKnobs { log_factor: settings.lfu_log_factor, decay_time_min: settings.lfu_decay_minutes },
    };
    let slice = time_slice(settings.maxmemory_eviction_tenacity);
    let started = crate::clock::monotonic();
    let mut state = server.eviction.evictor.lock();
    let (evictor, rng) = &mut *state;
    loop {
        for _ in 0..16 {
            if crate::memory::used_bytes() <= settings.maxmemory_bytes {
                return true;
            }
            let Some(victim) = evictor.pick(&server.keyspace, knobs, now_ms, rng) else { return false };
            delete(server, victim.db, &victim.key);
        }
        // The slice is spent, but it was progress: writes go on, and the next command frees more.
        if slice.is_some_and(|slice| started.elapsed() > slice) {
            return true;
        }
    }
}

/// How long one command may spend on eviction; `None` at a tenacity of 100. Stock's curve: up to 10 in steps
/// of 50 µs, then growing by 15 % a step.
fn time_slice(tenacity: u32) -> Option<Duration> {
    match tenacity {
        0..=10 => Some(Duration::from_micros(50 * u64::from(tenacity))),
        11..=99 => Some(Duration::from_micros((500.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64)),
        _ => None,
    }
}

fn delete(server: &Server, db: usize, key: &[u8]) {
    let Some(database) = server.keyspace.db(db) else { return };
    let mut slot = database.lock_write(Slot::of(key));
    let Some(entry) = slot.remove(key) else { return };
    crate::tracking::key_gone(server, &mut slot, key);
    if let Some(side) = slot.side() {
        server.watches.touch(side, key);
        crate::blocking::tell(server, side, db, key);
    }
    let settings = server.settings();
    let lazy = settings.lazyfree_eviction;
    if server.log.is_active() && !server.replication.is_replica() {
        let mut del = Vec::with_capacity(key.len() + 32);
        protocol::reply::write_command(&mut del, [crate::lazyfree::deletion(lazy), key].into_iter());
        server.log.append(db, db, &del);
    }
    crate::notify::publish(server, settings.notify, Classes::EVICTED, db, "evicted", key);
    drop(slot);
    if lazy {
        crate::lazyfree::drop_entry(entry);
    }
    server.eviction.evicted.fetch_add(1, Ordering::Relaxed);
}
