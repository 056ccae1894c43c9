//! What expires on a writable replica by its own doing.
//!
//! A replica leaves expired keys to its master, which knows nothing of keys that clients of the replica have given a
//! time. They are noted here, and removed by the replica itself. Most of the time there are none.

use crate::notify::Classes;
use crate::server::Server;
use parking_lot::Mutex;
use protocol::Slot;
use std::collections::BTreeSet;

/// Keys looked at in one turn.
const STEP: usize = 64;

type Place = (usize, Box<[u8]>);

#[derive(Default)]
pub struct OwnExpiries {
    keys: Mutex<BTreeSet<Place>>,
}

impl OwnExpiries {
    /// Notes a key of database `db` that a client has given a time.
    pub fn note(&self, db: usize, key: &[u8]) {
        self.keys.lock().insert((db, key.into()));
    }

    /// Keys that are noted: `slave_expires_tracked_keys` of INFO.
    pub fn len(&self) -> usize {
        self.keys.lock().len()
    }

    /// A master knows of all its keys.
    pub fn forget(&self) {
        self.keys.lock().clear();
    }

    /// Up to [`STEP`] keys behind `last`, in order.
    fn next(&self, last: Option<&Place>) -> Vec<Place> {
        use std::ops::Bound::{Excluded, Unbounded};
        let keys = self.keys.lock();
        let from = last.map_or(Unbounded, Excluded);
        keys.range((from, Unbounded)).take(STEP).cloned().collect()
    }

    fn drop_noted(&self, place: &Place) {
        self.keys.lock().remove(place);
    }
}

/// One turn: removes those of the next keys behind `last` whose time has come, and returns how many. `last` moves on.
/// Nothing is logged, as no write of a replica's own clients is.
pub fn expire(server: &Server, last: &mut Option<(usize, Box<[u8]>)>, now_ms: i64) -> u64 {
    let noted = server.own_expiries.next(last.as_ref());
    *last = noted.last().filter(|_| noted.len() == STEP).cloned();
    if noted.is_empty() {
        return 0;
    }
    let _no_world_at_rest = server.gate.enter_background();
    noted.iter().map(|place| u64::from(look_at(server, place, now_ms))).sum()
}

fn look_at(server: &Server, place: &(usize, Box<[u8]>), now_ms: i64) -> bool {
    let (db, key) = (place.0, &*place.1);
    let Some(database) = server.keyspace.db(db) else { return false };
    let mut slot = database.lock_write(Slot::of(key));
    let has_time = slot.get(key).is_some_and(|entry| entry.expire_at_ms().is_some());
    let is_expired = slot.get(key).is_some_and(|entry| entry.is_expired(now_ms));
    if !has_time || is_expired {
        server.own_expiries.drop_noted(place);
    }
    if !is_expired {
        return false;
    }
    slot.remove(key);
    if let Some(side) = slot.side() {
        server.watches.touch(side, key);
        crate::blocking::tell(server, side, db, key);
    }
    crate::notify::publish(server, server.settings().notify, Classes::EXPIRED, db, "expired", key);
    true
}
