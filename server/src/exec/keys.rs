//! The keys a command works on: their slots locked, and the rules of looking them up.
//!
//! The dispatcher locks the slots of the keys a command names, in slot order, before the handler runs. With
//! the world at rest, slots are locked when they are first touched: nobody else can hold two.

use super::effects::Effects;
use super::session::Session;
use crate::notify::Classes;
use crate::server::Server;
use keyspace::object::TypedValue;
use keyspace::table::{Item, Table};
use keyspace::types::hash::HashValue;
use keyspace::{Db, Entry, EntryMut, NewValue, Object, SharedObject, SlotGuard, Type, ValueRef};
use protocol::{ReplyError, Slot};

/// A slot of a numbered database; also the order in which locks are taken.
pub type Place = (usize, Slot);

/// What is locked.
pub enum Guards<'a> {
    One(SlotGuard<'a>),
    /// In order of their places.
    Many(Vec<(Place, SlotGuard<'a>)>),
}

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
    pub counts_lookups: bool,
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

    /// Locks one slot of the current database. Nothing may be locked yet.
    #[inline]
    pub fn lock_one(&mut self, slot: Slot) -> Result<(), SlotBusy> {
        self.guards = Guards::one(self.server, (self.db, slot), self.rules.writes)?;
        Ok(())
    }

    /// Locks all `places`, in order. Nothing may be locked yet.
    pub fn lock_many(&mut self, places: &mut Vec<Place>) -> Result<(), SlotBusy> {
        self.guards = Guards::all(self.server, places, self.rules.writes)?;
        Ok(())
    }

    /// Whether this slot is locked already.
    pub fn is_locked(&self, place: Place) -> bool {
        match &self.guards {
            Guards::One(guard) => place == (guard.db_index(), guard.slot()),
            Guards::Many(guards) => guards.binary_search_by_key(&place, |(place, _)| *place).is_ok(),
        }
    }

    /// The one slot that is locked, if it is one.
    pub fn only_slot(&self) -> Option<Slot> {
        match &self.guards {
            Guards::One(guard) => Some(guard.slot()),
            Guards::Many(guards) => match &guards[..] {
                [((_, slot), _)] => Some(*slot),
                _ => None,
            },
        }
    }

    pub fn is_any_locked(&self) -> bool {
        match &self.guards {
            Guards::One(..) => true,
            Guards::Many(guards) => !guards.is_empty(),
        }
    }

    /// Locks another slot beside those locked by [`Keys::lock_many`], in whatever order: nobody who holds it may
    /// wait for one of ours.
    pub fn lock_more(&mut self, place: Place) {
        let guard = lock_unless_held(self.server, place, self.rules.writes);
        self.put_guard(place, guard);
    }

    /// As [`Keys::lock_more`], but gives up after a while. Returns whether the slot is locked.
    pub fn try_lock_more(&mut self, place: Place, patience: std::time::Duration) -> bool {
        let guard = database(self.server, place.0).try_lock_for(place.1, patience);
        let is_locked = guard.is_some();
        if let Some(mut guard) = guard {
            guard.ensure_saved();
            self.put_guard(place, guard);
        }
        is_locked
    }

    fn put_guard(&mut self, place: Place, guard: SlotGuard<'a>) {
        if let Guards::Many(guards) = &mut self.guards
            && let Err(at) = guards.binary_search_by_key(&place, |(place, _)| *place)
        {
            guards.insert(at, (place, guard));
        }
    }

    /// Lets go of all slots.
    pub fn unlock(&mut self) {
        self.guards = Guards::none();
    }

    #[inline]
    fn slot_in(&mut self, db: usize, key: &[u8]) -> &mut SlotGuard<'a> {
        self.guards.of(self.server, self.at_rest.then_some(self.rules.writes), db, key)
    }

    #[inline]
    fn slot(&mut self, key: &[u8]) -> &mut SlotGuard<'a> {
        self.slot_in(self.db, key)
    }

    /// Removes `key` if its time has come. Returns whether lookups may go on to find it.
    #[inline]
    fn settle(&mut self, key: &[u8]) -> bool {
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
    fn without_overdue(&mut self, key: &[u8]) -> Option<&Entry> {
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
            self.effects.hits += u64::from(rules.counts_lookups && found);
            self.effects.misses += u64::from(rules.counts_lookups && !found);
            return if self.view.is_some() { self.view.as_ref() } else { self.held(key) };
        }
        let on_demand = self.at_rest.then_some(rules.writes);
        let slot = self.guards.of(self.server, on_demand, self.db, key);
        match slot.get_mut(key) {
            Some(mut entry) if settled => {
                self.effects.hits += u64::from(rules.counts_lookups);
                if rules.touches {
                    entry.set_access(rules.access.touched(entry.access(), self.rng));
                }
                Some(entry.into_ref())
            }
            _ => {
                self.effects.misses += u64::from(rules.counts_lookups);
                if rules.counts_lookups && rules.notify.contains(Classes::KEY_MISS) {
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
            Guards::Many(guards) => {
                let place = (self.db, Slot::of(key));
                let at = guards.binary_search_by_key(&place, |(place, _)| *place).ok()?;
                &guards[at].1
            }
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
        let access = self.rules.access;
        let (mut entry, is_new) = self.slot(key).upsert(key, value, expire_at_ms);
        entry.set_access(access.created());
        if is_new {
            self.event(Classes::NEW, "new", key);
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

    /// The master of a replica does not know what the replica's own clients have given a time.
    #[inline]
    fn note_own_expiry(&self, db: usize, key: &[u8]) {
        if !self.rules.removes_expired && !self.rules.ignores_expiry {
            self.server.own_expiries.note(db, key);
        }
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

impl<'a> Guards<'a> {
    #[inline]
    pub fn none() -> Guards<'a> {
        Guards::Many(Vec::new())
    }

    /// Locks one slot, to write or to read.
    #[inline]
    pub fn one(server: &'a Server, place: Place, writes: bool) -> Result<Guards<'a>, SlotBusy> {
        Ok(Guards::One(lock(server, place, writes)?))
    }

    /// Locks all `places`, in order, to write or to read.
    pub fn all(server: &'a Server, places: &mut Vec<Place>, writes: bool) -> Result<Guards<'a>, SlotBusy> {
        if let [place] = places[..] {
            return Ok(Guards::Many(vec![(place, lock(server, place, writes)?)]));
        }
        places.sort_unstable();
        places.dedup();
        let locked = places.iter().map(|&place| Ok((place, lock(server, place, writes)?)));
        Ok(Guards::Many(locked.collect::<Result<_, SlotBusy>>()?))
    }

    /// All that is locked, by place.
    fn many(&mut self) -> &mut Vec<(Place, SlotGuard<'a>)> {
        if let Guards::One(..) = self
            && let Guards::One(guard) = std::mem::replace(self, Guards::none())
        {
            *self = Guards::Many(vec![((guard.db_index(), guard.slot()), guard)]);
        }
        match self {
            Guards::Many(guards) => guards,
            Guards::One(..) => unreachable!("turned into many"),
        }
    }

    /// The locked slot of `key` in database `db`. `on_demand` allows to lock it now, to write or to read.
    #[inline]
    fn of(
        &mut self,
        server: &'a Server,
        on_demand: Option<bool>,
        db: usize,
        key: &[u8],
    ) -> &mut SlotGuard<'a> {
        match self {
            Guards::One(guard) => {
                debug_assert!(guard.slot() == Slot::of(key), "a key outside the locked slot");
                guard
            }
            Guards::Many(guards) => {
                // One is locked, and no other can be: it is the one.
                let at = if on_demand.is_none() && guards.len() == 1 {
                    debug_assert!(
                        guards[0].0 == (db, Slot::of(key)),
                        "only keys that were named are touched"
                    );
                    0
                } else {
                    place_among(guards, server, on_demand, (db, Slot::of(key)))
                };
                &mut guards[at].1
            }
        }
    }
}

/// Where a slot is among those locked; it is locked now if it may be.
fn place_among<'a>(
    guards: &mut Vec<(Place, SlotGuard<'a>)>,
    server: &'a Server,
    on_demand: Option<bool>,
    place: Place,
) -> usize {
    guards.binary_search_by_key(&place, |(place, _)| *place).unwrap_or_else(|at| {
        let writes = on_demand.expect("only keys that were named are touched");
        guards.insert(at, (place, lock_unless_held(server, place, writes)));
        at
    })
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

#[inline]
fn database(server: &Server, db: usize) -> &Db {
    server.keyspace.db(db).expect("a session's database exists")
}

/// A slow script holds the slot.
#[derive(Debug)]
pub struct SlotBusy;

/// Locks a slot, unless a slow script holds it.
#[inline]
fn lock(server: &Server, (db, slot): Place, writes: bool) -> Result<SlotGuard<'_>, SlotBusy> {
    let db = database(server, db);
    let mut guard = match db.try_lock(slot) {
        Some(guard) => guard,
        None => wait_for(server, db, slot)?,
    };
    if writes {
        guard.ensure_saved();
    }
    Ok(guard)
}

#[cold]
fn wait_for<'a>(server: &Server, db: &'a Db, slot: Slot) -> Result<SlotGuard<'a>, SlotBusy> {
    const LOOK: std::time::Duration = std::time::Duration::from_millis(10);
    loop {
        if let Some(guard) = db.try_lock_for(slot, LOOK) {
            return Ok(guard);
        }
        if server.scripts.busy.is_any() {
            return Err(SlotBusy);
        }
    }
}

/// Locks a slot where nobody is who could hold it for long.
fn lock_unless_held(server: &Server, (db, slot): Place, writes: bool) -> SlotGuard<'_> {
    let db = database(server, db);
    if writes { db.lock_write(slot) } else { db.lock(slot) }
}

/// Whole databases. Needs the world at rest; nothing stays locked.
impl Keys<'_> {
    /// Takes everything out of a database.
    pub fn take_all(&mut self, db: usize) -> Vec<Table<Entry>> {
        self.unlock();
        self.tell_watchers(db, &[db]);
        database(self.server, db).take_all()
    }

    /// Exchanges the entries of two databases.
    pub fn swap(&mut self, a: usize, b: usize) {
        self.unlock();
        if a == b {
            return;
        }
        self.settle_watched(&[a, b]);
        self.unlock();
        for db in [a, b] {
            self.tell_watchers(db, &[a.min(b), a.max(b)]);
        }
        self.server.keyspace.swap(a, b);
    }

    /// Removes what has expired among the keys that somebody watches in one of `dbs`, from all of them: what is not there
    /// is not moved.
    fn settle_watched(&mut self, dbs: &[usize]) {
        let mut watched: Vec<Box<[u8]>> = Vec::new();
        for db in dbs.iter().map(|&db| database(self.server, db)) {
            let used = Slot::all()
                .filter(|&slot| dbs.iter().any(|&db| database(self.server, db).key_count(slot) > 0));
            for slot in used {
                let guard = db.lock(slot);
                watched.extend(
                    guard.side().into_iter().flat_map(|side| side.watched.iter()).map(|(key, _)| key.into()),
                );
            }
        }
        for (key, &db) in watched.iter().flat_map(|key| dbs.iter().map(move |db| (key, db))) {
            self.exists_in(db, key);
        }
    }

    /// Tells those who watch keys of `watched_db`, or wait for them, that exist in one of `dbs`.
    fn tell_watchers(&mut self, watched_db: usize, dbs: &[usize]) {
        let count =
            |slot: Slot| dbs.iter().map(|&db| database(self.server, db).key_count(slot)).sum::<usize>();
        for slot in Slot::all().filter(|&slot| count(slot) > 0) {
            let guards: Vec<_> = dbs.iter().map(|&db| (db, database(self.server, db).lock(slot))).collect();
            let Some((_, watched)) = guards.iter().find(|(db, _)| *db == watched_db) else { continue };
            let Some(side) = watched.side() else { continue };
            // What has expired elsewhere does not come to life by being moved here.
            let now_ms = self.rules.now_ms;
            let is_there = |db: usize, entry: &Entry| db == watched_db || !entry.is_expired(now_ms);
            let exists = |key: &[u8]| {
                guards.iter().any(|(db, guard)| guard.get(key).is_some_and(|e| is_there(*db, e)))
            };
            for (key, _) in side.watched.iter().filter(|(key, _)| exists(key)) {
                self.server.watches.touch(side, key);
            }
            let awaited = side.blocked.iter().filter(|(key, _)| exists(key));
            self.effects.ready.extend(awaited.map(|(key, _)| (watched_db, key.into())));
        }
    }

    /// Keys of the current database, those of this transaction included.
    pub fn count(&mut self) -> usize {
        if let Guards::Many(guards) = &mut self.guards {
            guards.iter_mut().for_each(|(_, guard)| guard.update_census());
        }
        database(self.server, self.db).len()
    }
}

/// Those who wait for keys.
impl<'a> Keys<'a> {
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

    /// Makes ready for commands that write, whatever the command was that has been running.
    pub fn begin_writes(&mut self) {
        if std::mem::replace(&mut self.rules.writes, true) {
            return;
        }
        match &mut self.guards {
            Guards::One(guard) => guard.ensure_saved(),
            Guards::Many(guards) => guards.iter_mut().for_each(|(_, guard)| guard.ensure_saved()),
        }
    }

    /// Locks `places` besides what is locked. False if that was possible only by letting go of everything first:
    /// then nothing but `places` is locked, and anything may have happened in between.
    pub fn lock_also(&mut self, places: &[Place]) -> bool {
        let server = self.server;
        let guards = self.guards.many();
        for &place in places {
            let Err(at) = guards.binary_search_by_key(&place, |(place, _)| *place) else { continue };
            let db = database(server, place.0);
            // With the world at rest nobody else holds a slot for long.
            let locked = if self.at_rest { Some(db.lock(place.1)) } else { db.try_lock(place.1) };
            let Some(mut guard) = locked else {
                self.unlock();
                // Whoever is served here has no reply to be refused with: it waits for a slow script, if need be.
                while self.lock_many(&mut places.to_vec()).is_err() {}
                return false;
            };
            if self.rules.writes {
                guard.ensure_saved();
            }
            guards.insert(at, (place, guard));
        }
        true
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
