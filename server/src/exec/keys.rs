//! The keys a command works on: their slots locked, and the rules of looking them up.
//!
//! The dispatcher locks the slots of the keys a command names, in slot order, before the handler runs. With
//! the world at rest, slots are locked when they are first touched: nobody else can hold two.

mod databases;
mod expiry;
mod guards;
mod side;

pub use expiry::remove_fields;
pub use guards::{Guards, Place, SlotBusy, lock};

use super::effects::Effects;
use crate::notify::Classes;
use crate::server::Server;
use keyspace::object::TypedValue;
use keyspace::table::Item;
use keyspace::{Entry, EntryMut, NewValue, SharedObject, SlotGuard, ValueRef};
use protocol::{ReplyError, Slot};

/// How lookups behave for this client and this node.
#[derive(Clone, Copy)]
pub struct Rules {
    pub now_ms: i64,
    /// What an access is stamped with, by the eviction policy in force.
    pub access: crate::evict::AccessClock,
    /// A replica hides expired keys but leaves their removal to its master.
    pub removes_expired: bool,
    /// Expired keys are seen as if they were alive: the stream of our master must apply as it is.
    pub ignores_expiry: bool,
    pub touches: bool,
    /// Classes of events that are published, if anybody listens.
    pub notify: Classes,
    pub writes: bool,
}

pub struct Keys<'a> {
    pub server: &'a Server,
    pub rng: &'a mut fastrand::Rng,
    pub db: usize,
    guards: Guards<'a>,
    /// Slots may be locked on demand.
    at_rest: bool,
    pub rules: Rules,
    /// What the last look-up found instead of what is stored ([`Keys::without_overdue`]).
    view: Option<Entry>,
    pub effects: &'a mut Effects,
}

impl<'a> Keys<'a> {
    pub fn new(
        server: &'a Server,
        rng: &'a mut fastrand::Rng,
        db: usize,
        guards: Guards<'a>,
        at_rest: bool,
        rules: Rules,
        effects: &'a mut Effects,
    ) -> Keys<'a> {
        Keys { server, rng, db, guards, at_rest, rules, view: None, effects }
    }

    #[inline]
    fn slot_in(&mut self, db: usize, key: &[u8]) -> &mut SlotGuard<'a> {
        self.guards.of(self.server, self.at_rest.then_some(self.rules.writes), db, key)
    }

    #[inline]
    fn slot(&mut self, key: &[u8]) -> &mut SlotGuard<'a> {
        self.slot_in(self.db, key)
    }

    /// Whether a key is there that a walk has met, which holds no slot: if the key's time has come, its end is logged
    /// before its slot is let go. At rest nobody else can write to it, and a transaction stays one unit.
    pub fn meet(&mut self, key: &[u8]) -> Result<bool, SlotBusy> {
        self.lock_one(Slot::of(key))?;
        let is_present = self.settle(key) && self.slot(key).get(key).is_some();
        if !self.at_rest {
            self.effects.append_to(&self.server.log);
        }
        self.unlock();
        Ok(is_present)
    }

    /// Looks a key up to read it: counts a hit or a miss and notes the access.
    #[inline]
    pub fn get(&mut self, key: &[u8]) -> Option<&Entry> {
        let rules = self.rules;
        let settled = self.settle(key);
        let hides_fields = !rules.removes_expired && !rules.ignores_expiry;
        if hides_fields && settled && self.slot(key).has_timed() {
            let found = self.without_overdue(key).is_some();
            self.effects.hits += u64::from(found);
            self.effects.misses += u64::from(!found);
            return if self.view.is_some() { self.view.as_ref() } else { self.held(key) };
        }
        let on_demand = self.at_rest.then_some(rules.writes);
        let slot = self.guards.of(self.server, on_demand, self.db, key);
        match slot.get_mut(key) {
            Some(mut entry) if settled => {
                self.effects.hits += 1;
                if rules.touches {
                    entry.set_access(rules.access.touched(entry.access(), self.rng));
                }
                Some(entry.into_ref())
            }
            _ => {
                self.effects.misses += 1;
                if rules.notify.contains(Classes::KEY_MISS) {
                    let deliveries = &mut self.effects.deliveries;
                    crate::notify::address(self.server, rules.notify, self.db, "keymiss", key, deliveries);
                }
                None
            }
        }
    }

    /// Looks a key up without leaving a trace, for OBJECT, TYPE and their like.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        if !self.settle(key) {
            return None;
        }
        self.slot(key).get(key)
    }

    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// Looks a key up to tell something about it: counts a hit or a miss, but is no access.
    pub fn look(&mut self, key: &[u8]) -> Option<&Entry> {
        let touches = std::mem::replace(&mut self.rules.touches, false);
        let found = self.get(key).is_some();
        self.rules.touches = touches;
        if found { self.held(key) } else { None }
    }

    /// The entry of a key whose slot is locked, expired or not: for a second look at a key that a first one
    /// has found, when several are to be seen at once.
    pub fn held(&self, key: &[u8]) -> Option<&Entry> {
        let guard = match &self.guards {
            Guards::One(guard) => guard,
            Guards::Many(many) => many.get(self.db, key)?,
        };
        guard.get(key)
    }

    /// As [`Keys::held`], for a key a first look has found to be a `T`.
    pub fn held_typed<T: TypedValue>(&self, key: &[u8]) -> Option<&T> {
        match self.held(key)?.value() {
            ValueRef::Object(object) => T::from_object(object),
            _ => None,
        }
    }

    /// Looks a key up to change its value in place. Call [`Keys::changed`] after a change.
    #[inline]
    pub fn get_mut(&mut self, key: &[u8]) -> Option<EntryMut<'_>> {
        let rules = self.rules;
        if !self.settle(key) {
            return None;
        }
        let on_demand = self.at_rest.then_some(rules.writes);
        let mut entry = self.guards.of(self.server, on_demand, self.db, key).get_mut(key)?;
        if rules.touches {
            entry.set_access(rules.access.touched(entry.access(), self.rng));
        }
        Some(entry)
    }

    /// The collection at `key`, to read.
    #[inline]
    pub fn typed<T: TypedValue>(&mut self, key: &[u8]) -> Result<Option<&T>, ReplyError> {
        match self.get(key).map(Entry::value) {
            None => Ok(None),
            Some(ValueRef::Object(object)) => T::from_object(object).map(Some).ok_or(ReplyError::WRONG_TYPE),
            Some(_) => Err(ReplyError::WRONG_TYPE),
        }
    }

    /// The collection at `key`, to change. Call [`Keys::changed`] after a change, and
    /// [`Keys::remove_if_empty`] when elements may have gone.
    #[inline]
    pub fn typed_mut<T: TypedValue>(&mut self, key: &[u8]) -> Result<Option<&mut T>, ReplyError> {
        match self.get_mut(key) {
            None => Ok(None),
            Some(entry) => {
                let object = entry.into_object_mut().ok_or(ReplyError::WRONG_TYPE)?;
                T::from_object_mut(object).map(Some).ok_or(ReplyError::WRONG_TYPE)
            }
        }
    }

    /// The collection at `key`, made empty where there is none. Something must be put into it.
    pub fn get_or_create<T: TypedValue>(&mut self, key: &[u8]) -> Result<&mut T, ReplyError> {
        let empty = || NewValue::Object(SharedObject::new(T::new().into_object()));
        if !self.settle(key) {
            self.insert(key, empty(), None);
        }
        let Rules { access, touches, notify, writes, .. } = self.rules;
        let slot = self.guards.of(self.server, self.at_rest.then_some(writes), self.db, key);
        let (mut entry, is_new) = slot.get_or_insert_with(key, empty);
        if is_new {
            entry.set_access(access.created());
            if notify.intersects(Classes::NEW) {
                let deliveries = &mut self.effects.deliveries;
                crate::notify::address(self.server, notify, self.db, "new", key, deliveries);
            }
        } else if touches {
            entry.set_access(access.touched(entry.access(), self.rng));
        }
        entry.into_object_mut().and_then(T::from_object_mut).ok_or(ReplyError::WRONG_TYPE)
    }

    /// Removes the collection at `key` when nothing is left in it. Returns whether it did.
    pub fn remove_if_empty(&mut self, key: &[u8]) -> bool {
        let empty = match self.slot(key).get(key).map(Entry::value) {
            Some(ValueRef::Object(object)) => object.is_empty(),
            _ => false,
        };
        if empty {
            self.slot(key).remove(key);
            self.event(Classes::GENERIC, "del", key);
        }
        empty
    }

    /// Puts a value at `key`, in place of any other, with this expiry or none.
    #[inline]
    pub fn insert(&mut self, key: &[u8], value: NewValue<'_>, expire_at_ms: Option<i64>) {
        if expire_at_ms.is_some() {
            self.note_own_expiry(self.db, key);
        }
        // What has expired ends before something else begins.
        self.settle(key);
        let Rules { access, touches, writes, .. } = self.rules;
        let slot = self.guards.of(self.server, self.at_rest.then_some(writes), self.db, key);
        let (mut entry, is_new) = slot.upsert(key, value, expire_at_ms);
        if is_new {
            entry.set_access(access.created());
            self.event(Classes::NEW, "new", key);
        } else if touches {
            // How often a key is used does not go with its value.
            entry.set_access(access.touched(entry.access(), self.rng));
        }
    }

    /// Puts an entry made elsewhere in place of any other under its key.
    pub fn insert_entry(&mut self, db: usize, entry: Entry) {
        let key: Box<[u8]> = entry.key().into();
        if entry.expire_at_ms().is_some() {
            self.note_own_expiry(db, &key);
        }
        self.slot_in(db, &key).insert_entry(entry);
    }

    /// Takes a key out. An expired one counts as absent.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        if !self.settle(key) {
            return None;
        }
        self.slot(key).remove(key)
    }

    pub fn set_expire(&mut self, key: &[u8], at_ms: Option<i64>) -> bool {
        if at_ms.is_some() {
            self.note_own_expiry(self.db, key);
        }
        self.slot(key).set_expire(key, at_ms)
    }

    /// Whether a key exists in another database.
    pub fn exists_in(&mut self, db: usize, key: &[u8]) -> bool {
        let current = std::mem::replace(&mut self.db, db);
        let exists = self.exists(key);
        self.db = current;
        exists
    }

    /// Notes that `key` was changed: watchers are told and the event published.
    #[inline]
    pub fn changed(&mut self, key: &[u8], class: Classes, event: &str) {
        self.effects.dirty += 1;
        self.signal(key);
        self.event(class, event, key);
    }

    /// As [`Keys::changed`], for so many changes at once.
    #[inline]
    pub fn changed_by(&mut self, changes: usize, key: &[u8], class: Classes, event: &str) {
        self.effects.dirty += changes as u64;
        self.signal(key);
        self.event(class, event, key);
    }

    /// Tells those who watch `key`.
    #[inline]
    pub fn signal(&mut self, key: &[u8]) {
        self.signal_in(self.db, key);
    }

    pub fn signal_in(&mut self, db: usize, key: &[u8]) {
        self.signal_by(true, db, key);
    }

    /// As [`Keys::signal_in`]; `by_client` unless it was time that changed the key.
    #[inline]
    fn signal_by(&mut self, by_client: bool, db: usize, key: &[u8]) {
        let server = self.server;
        let slot = self.guards.of(server, self.at_rest.then_some(self.rules.writes), db, key);
        server.tracking.changed(slot, key, by_client, &mut self.effects.tracked);
        if let Some(side) = slot.side() {
            server.watches.touch(side, key);
            if !side.blocked.get(key).is_empty() {
                self.note_ready(db, key);
            }
        }
    }

    /// Has those who wait for `key` looked after, without a word to those who watch it.
    pub fn wake(&mut self, key: &[u8]) {
        if !self.waiting_for(self.db, key).is_empty() {
            self.note_ready(self.db, key);
        }
    }

    #[cold]
    fn note_ready(&mut self, db: usize, key: &[u8]) {
        if !self.effects.ready.iter().any(|(other_db, other)| *other_db == db && **other == *key) {
            self.effects.ready.push_back((db, key.into()));
        }
    }

    /// Notes that a field of the hash at `key` expires.
    pub fn note_timed(&mut self, key: &[u8]) {
        self.slot(key).note_timed(key);
    }

    /// Publishes a keyspace event, if anybody asked for its class.
    #[inline]
    pub fn event(&mut self, class: Classes, event: &str, key: &[u8]) {
        self.event_in(self.db, class, event, key);
    }

    #[inline]
    pub fn event_in(&mut self, db: usize, class: Classes, event: &str, key: &[u8]) {
        if self.rules.notify.intersects(class) {
            let deliveries = &mut self.effects.deliveries;
            crate::notify::address(self.server, self.rules.notify, db, event, key, deliveries);
        }
    }
}
