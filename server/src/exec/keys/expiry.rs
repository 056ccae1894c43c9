//! Keys and fields whose time has come: removed when they are met, or hidden where a master is to remove them.

use super::Keys;
use crate::notify::Classes;
use keyspace::object::TypedValue;
use keyspace::types::hash::HashValue;
use keyspace::{Entry, NewValue, Object, SharedObject, SlotGuard, ValueRef};

impl Keys<'_> {
    /// Removes `key` if its time has come. Returns whether lookups may go on to find it.
    #[inline]
    pub(super) fn settle(&mut self, key: &[u8]) -> bool {
        let rules = self.rules;
        let slot = self.slot(key);
        let has_timed = slot.has_timed();
        if slot.expires() == 0 && !has_timed || rules.ignores_expiry {
            return true;
        }
        if !slot.get(key).is_some_and(|entry| entry.is_expired(rules.now_ms)) {
            return !has_timed || self.settle_fields(key);
        }
        if rules.removes_expired {
            self.remove_expired(key);
        }
        false
    }

    #[cold]
    fn remove_expired(&mut self, key: &[u8]) {
        let slot = self.slot(key);
        slot.ensure_saved();
        let entry = slot.remove(key);
        self.effects.expired += 1;
        let lazy = self.server.settings().lazyfree_expire;
        if lazy {
            entry.into_iter().for_each(crate::lazyfree::drop_entry);
        }
        self.effects.also(self.db, &[crate::lazyfree::deletion(lazy), key]);
        self.signal_by(false, self.db, key);
        self.event(Classes::EXPIRED, "expired", key);
    }

    /// As [`Keys::settle`], for the fields of a hash.
    #[cold]
    fn settle_fields(&mut self, key: &[u8]) -> bool {
        let rules = self.rules;
        let Some(ValueRef::Object(Object::Hash(hash))) = self.slot(key).get(key).map(Entry::value) else {
            return true;
        };
        let overdue = hash.overdue(rules.now_ms, usize::MAX);
        if overdue.is_empty() {
            return true;
        }
        if !rules.removes_expired {
            return overdue.len() < hash.len();
        }
        let slot = self.slot(key);
        slot.ensure_saved();
        let is_gone = remove_fields(slot, key, &overdue);
        let mut hdel: Vec<&[u8]> = vec![b"HDEL", key];
        hdel.extend(overdue.iter().map(|field| &**field));
        self.effects.also(self.db, &hdel);
        self.signal(key);
        self.event(Classes::HASH, "hexpired", key);
        if is_gone {
            self.event(Classes::GENERIC, "del", key);
        }
        true
    }

    /// What a reader on a replica sees of a hash: fields that are overdue stay until the master removes them.
    #[cold]
    pub(super) fn without_overdue(&mut self, key: &[u8]) -> Option<&Entry> {
        let now_ms = self.rules.now_ms;
        let entry = self.slot(key).get(key)?;
        let view = match entry.value() {
            ValueRef::Object(Object::Hash(hash)) if hash.first_expiry_ms().is_some_and(|ms| ms < now_ms) => {
                let visible = Object::Hash(hash.without_overdue(now_ms));
                Some(Entry::new(key, NewValue::Object(SharedObject::new(visible)), entry.expire_at_ms()))
            }
            _ => None,
        };
        self.view = view;
        match self.view {
            Some(_) => self.view.as_ref(),
            None => self.held(key),
        }
    }

    /// The master of a replica does not know what the replica's own clients have given a time.
    #[inline]
    pub(super) fn note_own_expiry(&self, db: usize, key: &[u8]) {
        if !self.rules.removes_expired && !self.rules.ignores_expiry {
            self.server.own_expiries.note(db, key);
        }
    }
}

/// Takes fields out of the hash at `key`, and the hash with the last one; true if it went.
pub fn remove_fields(slot: &mut SlotGuard<'_>, key: &[u8], fields: &[Box<[u8]>]) -> bool {
    let Some(entry) = slot.get_mut(key) else { return false };
    let Some(hash) = entry.into_object_mut().and_then(HashValue::from_object_mut) else { return false };
    for field in fields {
        hash.remove(field);
    }
    hash.is_empty() && slot.remove(key).is_some()
}
