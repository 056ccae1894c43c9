//! What a slot knows of clients: who waits for its keys, watches them or may have cached them.

use super::Keys;
use crate::exec::session::Session;
use keyspace::{Entry, Type};

/// Those who wait for keys.
impl Keys<'_> {
    /// Notes that a client waits for `key`. False when it does already.
    pub fn block(&mut self, key: &[u8], client: u64) -> bool {
        self.slot(key).side_mut().blocked.add(key, client)
    }

    /// Notes that it does no more.
    pub fn unblock_in(&mut self, db: usize, key: &[u8], client: u64) {
        let slot = self.slot_in(db, key);
        slot.side_mut().blocked.remove(key, client);
        slot.trim();
    }

    /// Who waits for a key, in the order of arrival.
    pub fn waiting_for(&mut self, db: usize, key: &[u8]) -> &[u64] {
        self.slot_in(db, key).side().map_or(&[], |side| side.blocked.get(key))
    }

    /// The type of what is at a key and has not expired by `now_ms`. No access, and what has expired stays.
    pub fn type_in(&mut self, db: usize, key: &[u8], now_ms: i64) -> Option<Type> {
        let entry = self.slot_in(db, key).get(key).filter(|entry| !entry.is_expired(now_ms));
        entry.map(Entry::type_of)
    }
}

/// Client-side caching.
impl Keys<'_> {
    /// Notes that a client has read a key it named.
    pub fn remember(&mut self, key: &[u8], session: &Session) {
        let server = self.server;
        server.tracking.remember(self.slot(key), key, session);
    }
}

/// WATCH's side of the keys.
impl Keys<'_> {
    /// Notes that a client watches `key`. False when it does already.
    pub fn watch(&mut self, key: &[u8], client: u64) -> bool {
        self.slot(key).side_mut().watched.add(key, client)
    }

    pub fn unwatch_in(&mut self, db: usize, key: &[u8], client: u64) {
        let slot = self.slot_in(db, key);
        slot.side_mut().watched.remove(key, client);
        slot.trim();
    }

    /// The key is there, but its time has come.
    pub fn is_expired_in(&mut self, db: usize, key: &[u8]) -> bool {
        let now_ms = self.rules.now_ms;
        self.slot_in(db, key).get(key).is_some_and(|entry| entry.is_expired(now_ms))
    }
}
