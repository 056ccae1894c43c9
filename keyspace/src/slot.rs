//! `SlotData`: what one hash slot of one database holds.
//!
//! ```text
//!  SlotCell, one cache line
//!  ┌───────┬───────┬─────────┬───────┬────────┐
//!  │ mutex │ table │ expires │ epoch │ extras │
//!  │ 8     │ 40    │ 4       │ 4     │ 8      │
//!  └───────┴───────┴─────────┴───────┴────────┘
//! ```
//!
//! An empty slot owns no memory. Each operation hashes its key once.

use std::collections::BTreeSet;
use std::mem;
use std::ops::Bound;

use crate::entry::{Entry, NewValue, ValueRef};
use crate::hash::hash;
use crate::object::Object;
use crate::side::SideTables;
use crate::snapshot::SlowSave;
use crate::table::{Item, Table};

/// The data of one slot, to be changed under its lock only.
#[derive(Default)]
pub struct SlotData {
    table: Table<Entry>,
    /// Entries with an expiry.
    expires: u32,
    /// The last snapshot that has what it needs of this slot.
    pub(crate) epoch: u32,
    extras: Option<Box<Extras>>,
}

/// What few slots have.
#[derive(Default)]
struct Extras {
    side: SideTables,
    slow_save: Option<SlowSave>,
    /// Keys of hashes with fields that expire, and of some that had such fields.
    timed: BTreeSet<Box<[u8]>>,
}

impl Extras {
    fn is_empty(&self) -> bool {
        self.side.is_empty() && self.slow_save.is_none() && self.timed.is_empty()
    }
}

const _: () = assert!(size_of::<parking_lot::Mutex<SlotData>>() == 64);

impl SlotData {
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// How many entries have an expiry.
    #[inline]
    pub fn expires(&self) -> usize {
        self.expires as usize
    }

    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.table.find(hash(key), key)
    }

    #[inline]
    pub fn get_mut(&mut self, key: &[u8]) -> Option<EntryMut<'_>> {
        let hash = hash(key);
        self.before_change(hash, key);
        let entry = self.table.find_mut(hash, key)?;
        Some(EntryMut { entry, expires: &mut self.expires })
    }

    /// See [`crate::Db::prefetch_bucket`].
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: u64) {
        self.table.prefetch_bucket(hash);
    }

    /// See [`crate::Db::prefetch_entry`].
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: u64) {
        if let Some(entry) = self.table.candidate(hash) {
            entry.prefetch();
        }
    }

    /// Sets value and expiry of a key. True if the key is new.
    pub fn upsert(
        &mut self,
        key: &[u8],
        value: NewValue<'_>,
        expire_at_ms: Option<i64>,
    ) -> (EntryMut<'_>, bool) {
        let hash = hash(key);
        self.before_change(hash, key);
        self.forget_timed(key);
        let mut value = Some(value);
        let mut value = move || value.take().expect("made once");
        let (entry, is_new) =
            self.table.find_or_insert_with(hash, key, || Entry::new(key, value(), expire_at_ms));
        if is_new {
            self.expires += expire_at_ms.is_some() as u32;
        }
        let mut entry = EntryMut { entry, expires: &mut self.expires };
        if !is_new {
            entry.replace(value(), expire_at_ms);
        }
        (entry, is_new)
    }

    /// The entry of a key, made with `value` and without expiry where absent. True if it was made.
    pub fn get_or_insert_with<'v>(
        &mut self,
        key: &[u8],
        value: impl FnOnce() -> NewValue<'v>,
    ) -> (EntryMut<'_>, bool) {
        let hash = hash(key);
        self.before_change(hash, key);
        let make = || Entry::new(key, value(), None);
        let (entry, is_new) = self.table.find_or_insert_with(hash, key, make);
        (EntryMut { entry, expires: &mut self.expires }, is_new)
    }

    /// Puts a whole entry in, from RENAME, RESTORE or a file. Returns the one it replaces.
    pub fn insert_entry(&mut self, entry: Entry) -> Option<Entry> {
        let hash = hash(entry.key());
        self.before_change(hash, entry.key());
        match has_timed_fields(&entry) {
            true => self.note_timed(entry.key()),
            false => self.forget_timed(entry.key()),
        }
        self.expires += entry.expire_at_ms().is_some() as u32;
        let replaced = self.table.replace(hash, entry);
        self.expires -= replaced.as_ref().is_some_and(|entry| entry.expire_at_ms().is_some()) as u32;
        replaced
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let hash = hash(key);
        self.before_change(hash, key);
        self.forget_timed(key);
        let removed = self.table.remove(hash, key)?;
        self.expires -= removed.expire_at_ms().is_some() as u32;
        Some(removed)
    }

    /// False if the key is absent. `at_ms` is milliseconds since the Unix epoch.
    pub fn set_expire(&mut self, key: &[u8], at_ms: Option<i64>) -> bool {
        self.get_mut(key).map(|mut entry| entry.set_expire(at_ms)).is_some()
    }

    /// See [`Table::scan`].
    #[inline]
    pub fn scan(&self, cursor: u64, visit: impl FnMut(&Entry)) -> u64 {
        self.table.scan(cursor, visit)
    }

    #[inline]
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<&Entry> {
        self.table.random(rng)
    }

    /// An entry with an expiry. Where these are few among many, one near a random place.
    pub fn random_expiring(&self, rng: &mut fastrand::Rng) -> Option<&Entry> {
        const TRIES: usize = 16;
        if self.expires == 0 {
            return None;
        }
        let drawn = (0..TRIES).find_map(|_| self.random(rng).filter(|entry| entry.expire_at_ms().is_some()));
        drawn.or_else(|| self.table.find_from(rng.u64(..), |entry| entry.expire_at_ms().is_some()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
    }

    /// Bytes of heap behind this slot, entry by entry: for reports, not for the hot path.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.table.iter().map(Entry::memory_bytes).sum::<usize>()
    }

    /// Empties the slot. Its side tables stay.
    pub fn take(&mut self) -> Table<Entry> {
        self.finish_slow_save();
        self.expires = 0;
        if let Some(extras) = &mut self.extras {
            extras.timed.clear();
            self.trim();
        }
        mem::take(&mut self.table)
    }

    /// Exchanges the entries of two slots. Side tables stay where they are.
    pub fn swap_entries(&mut self, other: &mut SlotData) {
        self.finish_slow_save();
        other.finish_slow_save();
        mem::swap(&mut self.table, &mut other.table);
        mem::swap(&mut self.expires, &mut other.expires);
        if self.has_timed() || other.has_timed() {
            let (one, two) = (self.extras.get_or_insert_default(), other.extras.get_or_insert_default());
            mem::swap(&mut one.timed, &mut two.timed);
            self.trim();
            other.trim();
        }
    }

    #[inline]
    pub fn side(&self) -> Option<&SideTables> {
        self.extras.as_ref().map(|extras| &extras.side)
    }

    /// Made where absent: call [`SlotData::trim`] after removing from them.
    pub fn side_mut(&mut self) -> &mut SideTables {
        &mut self.extras.get_or_insert_default().side
    }

    /// Frees side tables that are empty.
    pub fn trim(&mut self) {
        if self.extras.as_ref().is_some_and(|extras| extras.is_empty()) {
            self.extras = None;
        }
    }
}

/// Hashes with fields that expire. Their keys are kept beside the table; a key may stay there when its hash has
/// changed, until somebody looks.
impl SlotData {
    /// How many keys are kept.
    #[inline]
    pub fn timed(&self) -> usize {
        self.extras.as_ref().map_or(0, |extras| extras.timed.len())
    }

    #[inline]
    pub fn has_timed(&self) -> bool {
        self.timed() > 0
    }

    /// To be told when a field of the hash at `key` begins to expire.
    pub fn note_timed(&mut self, key: &[u8]) {
        self.extras.get_or_insert_default().timed.insert(key.into());
    }

    #[inline]
    fn forget_timed(&mut self, key: &[u8]) {
        if let Some(extras) = &mut self.extras
            && extras.timed.remove(key)
        {
            self.trim();
        }
    }

    /// The next key behind `after` of a hash with fields that expire. Keys of others are forgotten on the way.
    pub fn next_timed(&mut self, after: Option<&[u8]>) -> Option<Box<[u8]>> {
        loop {
            let extras = self.extras.as_ref()?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let key = extras.timed.range::<[u8], _>((from, Bound::Unbounded)).next()?.clone();
            if self.get(&key).is_some_and(has_timed_fields) {
                return Some(key);
            }
            self.forget_timed(&key);
        }
    }
}

fn has_timed_fields(entry: &Entry) -> bool {
    matches!(entry.value(), ValueRef::Object(Object::Hash(hash)) if hash.expires())
}

/// A snapshot that takes this slot in steps ([`SlowSave`]).
impl SlotData {
    pub(crate) fn start_slow_save(&mut self, save: SlowSave) {
        self.extras.get_or_insert_default().slow_save = Some(save);
    }

    /// Saves the next entries, at least `count` of them if there are as many. True when all are saved.
    pub(crate) fn step_slow_save(&mut self, count: usize) -> bool {
        let Some(extras) = &mut self.extras else { return true };
        let Some(save) = &mut extras.slow_save else { return true };
        let is_done = save.step(&self.table, count);
        if is_done {
            extras.slow_save = None;
            self.trim();
        }
        is_done
    }

    fn finish_slow_save(&mut self) {
        self.step_slow_save(usize::MAX);
    }

    /// Every change of an entry, of its presence too, comes through here first.
    #[inline]
    fn before_change(&mut self, hash: u64, key: &[u8]) {
        if let Some(extras) = &mut self.extras
            && let Some(save) = &mut extras.slow_save
            && save.before_change(&self.table, hash, key)
        {
            extras.slow_save = None;
            self.trim();
        }
    }
}

/// An entry of a slot, open to change. The slot's count of expiring entries follows.
pub struct EntryMut<'a> {
    entry: &'a mut Entry,
    expires: &'a mut u32,
}

impl<'a> EntryMut<'a> {
    /// See [`Entry::set_value`].
    pub fn set_value(&mut self, value: NewValue<'_>) {
        self.entry.set_value(value);
    }

    /// See [`Entry::replace`].
    pub fn replace(&mut self, value: NewValue<'_>, expire_at_ms: Option<i64>) {
        self.count_expire(expire_at_ms);
        self.entry.replace(value, expire_at_ms);
    }

    /// See [`Entry::set_expire`].
    pub fn set_expire(&mut self, at_ms: Option<i64>) {
        self.count_expire(at_ms);
        self.entry.set_expire(at_ms);
    }

    /// See [`Entry::set_access`].
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        self.entry.set_access(access);
    }

    /// See [`Entry::string_mut`].
    pub fn string_mut<R>(&mut self, edit: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        self.entry.string_mut(edit)
    }

    /// See [`Entry::object_mut`].
    #[inline]
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        self.entry.object_mut()
    }

    /// As [`EntryMut::object_mut`], for as long as the slot is borrowed.
    #[inline]
    pub fn into_object_mut(self) -> Option<&'a mut Object> {
        self.entry.object_mut()
    }

    /// For as long as the slot is borrowed.
    #[inline]
    pub fn into_ref(self) -> &'a Entry {
        self.entry
    }

    fn count_expire(&mut self, new: Option<i64>) {
        *self.expires += new.is_some() as u32;
        *self.expires -= self.entry.expire_at_ms().is_some() as u32;
    }
}

impl std::ops::Deref for EntryMut<'_> {
    type Target = Entry;

    #[inline]
    fn deref(&self) -> &Entry {
        self.entry
    }
}
