//! Making room: eviction before a command, in bounded slices, and what accesses are stamped with.

use crate::config::Settings;
use crate::latency::Event;
use crate::notify::Classes;
use crate::server::Server;
use crate::tracking::Changes;
use keyspace::access::{self, LfuKnobs};
use keyspace::evict::{Evictor, Knobs, Policy};
use parking_lot::Mutex;
use protocol::Slot;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

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
    /// Since when memory has been over the limit, in microseconds of the clock; 0 while it is not. And for how long it
    /// was before.
    exceeded_since: AtomicI64,
    exceeded_micros: AtomicU64,
}

impl Eviction {
    pub fn new(seed: u64) -> Eviction {
        let evictor = Mutex::new((Evictor::default(), fastrand::Rng::with_seed(seed)));
        Eviction {
            evictor,
            evicted: AtomicU64::new(0),
            exceeded_since: AtomicI64::new(0),
            exceeded_micros: AtomicU64::new(0),
        }
    }

    /// For how many microseconds memory was over the limit, altogether and at the moment.
    pub fn exceeded_micros(&self) -> (u64, u64) {
        let since = self.exceeded_since.load(Relaxed);
        let current = if since == 0 { 0 } else { (crate::clock::now_micros() - since).max(0) as u64 };
        (self.exceeded_micros.load(Relaxed) + current, current)
    }

    #[inline]
    fn note(&self, exceeds: bool) {
        if exceeds != (self.exceeded_since.load(Relaxed) != 0) {
            self.note_change(exceeds);
        }
    }

    #[cold]
    fn note_change(&self, exceeds: bool) {
        let now = crate::clock::now_micros();
        let since = self.exceeded_since.swap(if exceeds { now } else { 0 }, Relaxed);
        if since != 0 {
            self.exceeded_micros.fetch_add((now - since).max(0) as u64, Relaxed);
        }
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        self.evicted.store(0, Relaxed);
        self.exceeded_since.store(0, Relaxed);
        self.exceeded_micros.store(0, Relaxed);
    }
}

/// How making room ended.
enum Room {
    Enough,
    /// The time for one command is spent, but it was progress: writes go on, and the next command frees more.
    Later,
    No,
}

/// Frees memory until it is below the limit. False when it is not, and no more can be freed in this slice.
/// The caller holds no slot, and tells those concerned of what is in `told` afterwards.
pub fn make_room(server: &Server, settings: &Settings, now_ms: i64, told: &mut Changes) -> bool {
    let limit = settings.maxmemory_bytes;
    if limit == 0 {
        return true;
    }
    if crate::memory::used_bytes() <= limit {
        server.eviction.note(false);
        return true;
    }
    let room = free(server, settings, now_ms, told);
    server.eviction.note(!matches!(room, Room::Enough));
    !matches!(room, Room::No)
}

/// Bytes in use that the limit is about: not what the write log holds for readers that lag. Evicting would not free
/// that, it would make it more.
fn counted_bytes(server: &Server) -> u64 {
    let uncounted = if server.log.is_active() { server.log.memory_bytes().1 } else { 0 };
    crate::memory::used_bytes().saturating_sub(uncounted)
}

#[cold]
fn free(server: &Server, settings: &Settings, now_ms: i64, told: &mut Changes) -> Room {
    if counted_bytes(server) <= settings.maxmemory_bytes {
        return Room::Enough;
    }
    if server.replication.is_replica() && settings.replica_ignore_maxmemory {
        return Room::No;
    }
    let started = crate::clock::monotonic();
    let slice = time_slice(settings.maxmemory_eviction_tenacity);
    if await_flush(server, started, slice) {
        return if counted_bytes(server) <= settings.maxmemory_bytes { Room::Enough } else { Room::Later };
    }
    if settings.maxmemory_policy == Policy::NoEviction {
        return Room::No;
    }
    let room = evict(server, settings, now_ms, started, slice, told);
    let micros = started.elapsed().as_micros() as u64;
    server.latency.note(settings.latency_monitor_threshold_ms, Event::EvictionCycle, micros);
    room
}

/// Memory may be over the limit for so long, while a database that was emptied is being freed.
const FLUSH_MICROS: u64 = 1_000_000;

/// Waits for such a database, as long as one command may spend on eviction. False when there is none, or it takes too
/// long: then what is there has to make room for what is on its way out already.
fn await_flush(server: &Server, started: Instant, slice: Option<Duration>) -> bool {
    const STEP: Duration = Duration::from_micros(50);
    if !crate::lazyfree::is_flushing() || server.eviction.exceeded_micros().1 >= FLUSH_MICROS {
        return false;
    }
    let at_most = slice.map_or(STEP * 100, |slice| slice.max(STEP));
    while crate::lazyfree::is_flushing() && started.elapsed() < at_most {
        std::thread::sleep(STEP);
    }
    true
}

fn evict(
    server: &Server,
    settings: &Settings,
    now_ms: i64,
    started: Instant,
    slice: Option<Duration>,
    told: &mut Changes,
) -> Room {
    let knobs = Knobs {
        policy: settings.maxmemory_policy,
        samples: settings.maxmemory_samples,
        lfu: LfuKnobs { log_factor: settings.lfu_log_factor, decay_time_min: settings.lfu_decay_minutes },
    };
    let mut state = server.eviction.evictor.lock();
    let (evictor, rng) = &mut *state;
    loop {
        for _ in 0..16 {
            // Evicting more would not make what is to be told less.
            if counted_bytes(server).saturating_sub(told.memory_bytes() as u64) <= settings.maxmemory_bytes {
                return Room::Enough;
            }
            let Some(victim) = evictor.pick(&server.keyspace, knobs, now_ms, rng) else { return Room::No };
            timed(server, settings, || delete(server, settings, victim.db, &victim.key, told));
        }
        if slice.is_some_and(|slice| started.elapsed() > slice) {
            return Room::Later;
        }
    }
}

/// Deletes a key; how long that takes is measured where somebody wants to know.
fn timed(server: &Server, settings: &Settings, delete: impl FnOnce()) {
    let threshold_ms = settings.latency_monitor_threshold_ms;
    if threshold_ms == 0 {
        return delete();
    }
    let started = crate::clock::monotonic();
    delete();
    server.latency.note(threshold_ms, Event::EvictionDel, started.elapsed().as_micros() as u64);
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

fn delete(server: &Server, settings: &Settings, db: usize, key: &[u8], told: &mut Changes) {
    let Some(database) = server.keyspace.db(db) else { return };
    let mut slot = database.lock_write(Slot::of(key));
    let Some(entry) = slot.remove(key) else { return };
    server.tracking.changed(&mut slot, key, false, told);
    if let Some(side) = slot.side() {
        server.watches.touch(side, key);
        crate::blocking::tell(server, side, db, key);
    }
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
    server.eviction.evicted.fetch_add(1, Relaxed);
}
