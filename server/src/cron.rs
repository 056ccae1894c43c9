//! What has to be done from time to time: expiry, statistics, save points.

use crate::clock;
use crate::exec::keys::remove_fields;
use crate::latency::Event;
use crate::net::Mail;
use crate::notify::Classes;
use crate::server::Server;
use crate::tracking::Changes;
use keyspace::expire::{ExpireCycle, FieldCycle, Step};
use protocol::reply::write_command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Runs until the process ends.
pub fn run(server: &Arc<Server>) {
    let (mut expiry, mut field_expiry) = (ExpireCycle::default(), FieldCycle::default());
    let stats = server.stats.thread();
    let (mut own_expiry, mut second) = (None, 0);
    loop {
        let settings = server.settings();
        let period = Duration::from_millis(1000 / settings.hz);
        std::thread::sleep(period);
        if server.switches.cron_paused.load(Ordering::Relaxed) {
            continue;
        }
        let (began, now_ms, log_end) = (clock::monotonic(), clock::now_ms(), server.log.end());
        server.stats.sample(now_ms);
        server.stats.peak_memory_bytes.fetch_max(crate::memory::used_bytes(), Ordering::Relaxed);
        server.replication.failover.cron(server, now_ms);
        server.replication.full_syncs.start_if_due(server, now_ms);
        crate::persist::start_scheduled_save(server);
        if now_ms / 1000 != second {
            second = now_ms / 1000;
            server.post_all(|| Mail::Sweep);
            server.replication.cron(server, now_ms, second as u64);
            crate::persist::cron(server, &settings, now_ms);
        }
        if settings.maxmemory_bytes > 0 && !server.loading.load(Ordering::Relaxed) {
            // The limit may have been lowered, and no command may come.
            let _no_world_at_rest = server.gate.enter_background();
            let mut told = Changes::default();
            crate::evict::make_room(server, &settings, now_ms, &mut told);
            server.tracking.tell_if_any(server, &mut told);
        }
        if server.tracking.is_over(settings.tracking_table_max_keys) {
            let _no_world_at_rest = server.gate.enter_background();
            let max_keys = settings.tracking_table_max_keys;
            let mut given_up = server.tracking.trim(server, max_keys, settings.databases);
            server.tracking.tell_if_any(server, &mut given_up);
        }
        let may_expire = !server.are_writes_paused()
            && !server.replication.is_replica()
            && !server.loading.load(Ordering::Relaxed);
        if may_expire && server.active_expire.load(Ordering::Relaxed) {
            stats.expired.add(expire(server, &mut expiry, now_ms, period / 4));
            expire_fields(server, &mut field_expiry, now_ms, period / 4);
        }
        if server.replication.is_replica() {
            stats.expired.add(crate::own_expiry::expire(server, &mut own_expiry, now_ms));
        } else if own_expiry.take().is_some() || server.own_expiries.len() > 0 {
            server.own_expiries.forget();
        }
        if server.log.end() != log_end && server.replication.has_replicas() {
            // Who serves no client meanwhile does not look by itself whether there is more for replicas.
            server.post_all(|| Mail::LogMoved);
        }
        let took = began.elapsed();
        stats.cron_nanos.add(took.as_nanos() as u64);
        stats.cycles.end(&stats, took);
    }
}

/// Entries looked at under one lock.
const STEP: usize = 20;

/// Goes on with a cycle as long as more than a tenth of what it meets has expired, for at most `budget` and a lap.
fn while_worthwhile(started: Instant, budget: Duration, mut step: impl FnMut() -> Option<Step>) {
    let (mut met, mut expired) = (0, 0);
    while let Some(step) = step() {
        met += step.met;
        expired += step.expired;
        let worthwhile = expired * 10 > met || met < 10 * STEP;
        if step.is_new_lap && met > 0 || !worthwhile || started.elapsed() > budget {
            return;
        }
    }
}

/// One turn of the expire cycle, for at most `budget`. Returns how many keys it removed.
fn expire(server: &Server, cycle: &mut ExpireCycle, now_ms: i64, budget: Duration) -> u64 {
    let _no_world_at_rest = server.gate.enter_background();
    let settings = server.settings();
    let (started, notify, lazy) = (clock::monotonic(), settings.notify, settings.lazyfree_expire);
    let mut removed = 0;
    while_worthwhile(started, budget, || {
        cycle.step(&server.keyspace, now_ms, STEP, |slot, key| {
            let entry = slot.remove(key);
            if lazy {
                entry.into_iter().for_each(crate::lazyfree::drop_entry);
            }
            crate::tracking::key_gone(server, slot, key);
            removed += 1;
            if let Some(side) = slot.side() {
                server.watches.touch(side, key);
                crate::blocking::tell(server, side, slot.db_index(), key);
            }
            crate::notify::publish(server, notify, Classes::EXPIRED, slot.db_index(), "expired", key);
            if server.log.is_active() {
                let mut del = Vec::with_capacity(key.len() + 32);
                write_command(&mut del, [crate::lazyfree::deletion(lazy), key].into_iter());
                server.log.append(slot.db_index(), slot.db_index(), &del);
            }
        })
    });
    let micros = started.elapsed().as_micros() as u64;
    server.latency.note(server.settings().latency_monitor_threshold_ms, Event::ExpireCycle, micros);
    removed
}

/// One turn of the cycle that removes fields, for at most `budget`.
fn expire_fields(server: &Server, cycle: &mut FieldCycle, now_ms: i64, budget: Duration) {
    /// Fields removed of one hash under one lock.
    const FIELDS: usize = 100;
    if server.keyspace.dbs().iter().all(|db| db.timed() == 0) {
        return;
    }
    let _no_world_at_rest = server.gate.enter_background();
    let (started, notify) = (clock::monotonic(), server.settings().notify);
    while_worthwhile(started, budget, || {
        cycle.step(&server.keyspace, now_ms, STEP, FIELDS, |slot, key, fields| {
            let is_gone = remove_fields(slot, key, fields);
            crate::tracking::key_gone(server, slot, key);
            if let Some(side) = slot.side() {
                server.watches.touch(side, key);
            }
            crate::notify::publish(server, notify, Classes::HASH, slot.db_index(), "hexpired", key);
            if is_gone {
                crate::notify::publish(server, notify, Classes::GENERIC, slot.db_index(), "del", key);
            }
            if server.log.is_active() {
                let mut hdel = Vec::with_capacity(key.len() + 32);
                let head = [&b"HDEL"[..], key];
                let words: Vec<&[u8]> = head.into_iter().chain(fields.iter().map(|field| &**field)).collect();
                write_command(&mut hdel, words.into_iter());
                server.log.append(slot.db_index(), slot.db_index(), &hdel);
            }
        })
    });
}
