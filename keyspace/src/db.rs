//! `Keyspace`, its databases, and the lock of a slot.
//!
//! ```text
//!  Keyspace ─▶ Db 0 ─▶ 16,384 × SlotCell (mutex + SlotData, one cache line each)   allocated when first used
//!              Db 1 …        censuses of keys, of expiring keys, of hashes with expiring fields
//! ```
//!
//! **Invariant:** nothing but its lock guards a slot. Whoever holds several locks took them in order of
//! database, then slot.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use protocol::slot::{SLOT_COUNT, Slot};

use crate::census::Census;
use crate::entry::Entry;
use crate::prefetch::prefetch;
use crate::slot::SlotData;
use crate::snapshot::Snapshots;
use crate::table::Table;

/// Low bits of a client's SCAN cursor that name the slot; the position in the slot's table is above them.
const SLOT_BITS: u32 = SLOT_COUNT.ilog2();

/// All databases of a node.
pub struct Keyspace {
    dbs: Box<[Db]>,
    pub(crate) snapshots: Arc<Snapshots>,
}

/// One numbered database.
pub struct Db {
    index: usize,
    slots: OnceLock<Slots>,
    snapshots: Arc<Snapshots>,
}

struct Slots {
    cells: Box<[SlotCell]>,
    keys: Census,
    expires: Census,
    timed: Census,
}

/// A cache line, so that threads on neighbouring slots do not disturb each other.
#[derive(Default)]
#[repr(align(64))]
struct SlotCell(Mutex<SlotData>);

const _: () = assert!(size_of::<SlotCell>() == 64);

impl Keyspace {
    pub fn new(databases: usize) -> Keyspace {
        let snapshots = Arc::new(Snapshots::default());
        let db = |index| Db { index, slots: OnceLock::new(), snapshots: snapshots.clone() };
        Keyspace { dbs: (0..databases).map(db).collect(), snapshots: snapshots.clone() }
    }

    /// `None` beyond the number of databases.
    #[inline]
    pub fn db(&self, index: usize) -> Option<&Db> {
        self.dbs.get(index)
    }

    pub fn dbs(&self) -> &[Db] {
        &self.dbs
    }

    /// Keys of all databases.
    pub fn len(&self) -> usize {
        self.dbs.iter().map(Db::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// SWAPDB: exchanges the entries of two databases. Side tables stay with the number. To be one moment for
    /// clients, this needs the world at rest. False if there is no such database.
    pub fn swap(&self, a: usize, b: usize) -> bool {
        let (low, high) = (a.min(b), a.max(b));
        let (Some(first), Some(second)) = (self.db(low), self.db(high)) else { return false };
        if low == high || first.is_empty() && second.is_empty() {
            return true;
        }
        for slot in Slot::all() {
            if first.key_count(slot) + second.key_count(slot) > 0 {
                let (mut one, mut other) = (first.lock_write(slot), second.lock_write(slot));
                one.swap_entries(&mut other);
            }
        }
        true
    }
}

impl Db {
    /// The number SELECT takes.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }

    pub fn len(&self) -> usize {
        self.slots.get().map_or(0, |slots| slots.keys.total())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys with an expiry.
    pub fn expires(&self) -> usize {
        self.slots.get().map_or(0, |slots| slots.expires.total())
    }

    /// Without taking the slot's lock.
    #[inline]
    pub fn key_count(&self, slot: Slot) -> usize {
        self.slots.get().map_or(0, |slots| slots.keys.count(slot))
    }

    /// The census of keys; `None` while the database was never used.
    pub fn keys_census(&self) -> Option<&Census> {
        self.slots.get().map(|slots| &slots.keys)
    }

    /// The census of keys with an expiry; `None` while the database was never used.
    pub fn expires_census(&self) -> Option<&Census> {
        self.slots.get().map(|slots| &slots.expires)
    }

    /// Hashes with fields that expire, and a few that had such fields.
    pub fn timed(&self) -> usize {
        self.slots.get().map_or(0, |slots| slots.timed.total())
    }

    /// The census of those; `None` while the database was never used.
    pub fn timed_census(&self) -> Option<&Census> {
        self.slots.get().map(|slots| &slots.timed)
    }

    /// Locks a slot for reading. Before anything is changed under this lock, [`SlotGuard::ensure_saved`].
    #[inline]
    pub fn lock(&self, slot: Slot) -> SlotGuard<'_> {
        let slots = self.slots.get_or_init(Slots::new);
        self.guard(slots, slot, slots.cells[slot.index()].0.lock())
    }

    #[inline]
    fn guard<'a>(&'a self, slots: &'a Slots, slot: Slot, data: MutexGuard<'a, SlotData>) -> SlotGuard<'a> {
        let (keys, expires, timed) = (data.len() as u32, data.expires() as u32, data.timed() as u32);
        SlotGuard { keys, expires, timed, data, slots, slot, db: self }
    }

    /// As [`Db::lock`], if nobody holds the slot now.
    #[inline]
    pub fn try_lock(&self, slot: Slot) -> Option<SlotGuard<'_>> {
        let slots = self.slots.get_or_init(Slots::new);
        Some(self.guard(slots, slot, slots.cells[slot.index()].0.try_lock()?))
    }

    /// Asks for the memory of a slot that is about to be locked.
    #[inline]
    pub fn prefetch_slot(&self, slot: Slot) {
        if let Some(slots) = self.slots.get() {
            prefetch(&slots.cells[slot.index()]);
        }
    }

    /// The step after [`Db::prefetch_slot`]: the bucket of a key of this hash. Nothing happens where the slot is locked.
    #[inline]
    pub fn prefetch_bucket(&self, slot: Slot, hash: u64) {
        if let Some(slots) = self.slots.get()
            && let Some(data) = slots.cells[slot.index()].0.try_lock()
        {
            data.prefetch_bucket(hash);
        }
    }

    /// The step after [`Db::prefetch_bucket`]: the entry of a key of this hash.
    #[inline]
    pub fn prefetch_entry(&self, slot: Slot, hash: u64) {
        if let Some(slots) = self.slots.get()
            && let Some(data) = slots.cells[slot.index()].0.try_lock()
        {
            data.prefetch_entry(hash);
        }
    }

    /// Locks a slot for writing: a running snapshot gets what it needs of it first.
    #[inline]
    pub fn lock_write(&self, slot: Slot) -> SlotGuard<'_> {
        let mut guard = self.lock(slot);
        guard.ensure_saved();
        guard
    }

    /// As [`Db::lock`], if the lock is free within so long.
    pub fn try_lock_for(&self, slot: Slot, patience: Duration) -> Option<SlotGuard<'_>> {
        let slots = self.slots.get_or_init(Slots::new);
        Some(self.guard(slots, slot, slots.cells[slot.index()].0.try_lock_for(patience)?))
    }

    /// FLUSHDB: takes everything out, for whoever drops it. Side tables stay. To be one moment for clients,
    /// this needs the world at rest.
    pub fn take_all(&self) -> Vec<Table<Entry>> {
        let mut taken = Vec::new();
        let Some(slots) = self.slots.get() else { return taken };
        let mut from = 0;
        while let Some(slot) = slots.keys.next(from) {
            taken.push(self.lock_write(slot).take());
            from = slot.index() + 1;
        }
        taken
    }

    /// SCAN: visits the entries of one bucket and returns the cursor of the next, 0 after the last. With the
    /// guarantee of [`Table::scan`], and a cursor below 2^62.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Slot, &Entry)) -> u64 {
        let Some(census) = self.keys_census() else { return 0 };
        let (mut slot, mut position) = ((cursor % SLOT_COUNT as u64) as usize, cursor >> SLOT_BITS);
        if position == 0 {
            let Some(next) = census.next(slot) else { return 0 };
            slot = next.index();
        }
        let slot = Slot::new(slot as u16).expect("14 bits");
        position = self.lock(slot).scan(position, |entry| visit(slot, entry));
        if position != 0 {
            return position << SLOT_BITS | slot.get() as u64;
        }
        census.next(slot.index() + 1).map_or(0, |next| next.get() as u64)
    }

    /// RANDOMKEY: shows `visit` a random entry; `None` if there is none.
    pub fn random<R>(&self, rng: &mut fastrand::Rng, visit: impl FnOnce(Slot, &Entry) -> R) -> Option<R> {
        const TRIES: usize = 16;
        let census = self.keys_census()?;
        // But what if another thread empties the slot meanwhile? Then another one, a few times.
        for _ in 0..TRIES {
            let slot = census.pick(rng)?;
            let guard = self.lock(slot);
            if let Some(entry) = guard.random(rng) {
                return Some(visit(slot, entry));
            }
        }
        None
    }
}

impl Slots {
    fn new() -> Slots {
        let cells = (0..SLOT_COUNT).map(|_| SlotCell::default()).collect();
        Slots { cells, keys: Census::new(), expires: Census::new(), timed: Census::new() }
    }
}

/// A locked slot. The censuses learn of changes when it is let go.
pub struct SlotGuard<'a> {
    data: MutexGuard<'a, SlotData>,
    slots: &'a Slots,
    db: &'a Db,
    slot: Slot,
    /// As they were when it was locked.
    keys: u32,
    expires: u32,
    timed: u32,
}

impl SlotGuard<'_> {
    #[inline]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The number of the slot's database.
    #[inline]
    pub fn db_index(&self) -> usize {
        self.db.index
    }

    /// Gives a running snapshot what it needs of this slot. To be called before a change made under a lock
    /// for reading, such as lazy expiry.
    #[inline]
    pub fn ensure_saved(&mut self) {
        if let Some(epoch) = self.db.snapshots.running()
            && self.data.epoch != epoch
        {
            self.db.snapshots.save(epoch, self.db.index, self.slot, &mut self.data);
        }
    }
}

impl SlotGuard<'_> {
    /// Tells the censuses what has changed so far.
    #[inline]
    pub fn update_census(&mut self) {
        let (keys, expires) = (self.data.len() as u32, self.data.expires() as u32);
        if keys != self.keys {
            self.slots.keys.set(self.slot, keys);
            self.keys = keys;
        }
        if expires != self.expires {
            self.slots.expires.set(self.slot, expires);
            self.expires = expires;
        }
        let timed = self.data.timed() as u32;
        if timed != self.timed {
            self.slots.timed.set(self.slot, timed);
            self.timed = timed;
        }
    }
}

impl Deref for SlotGuard<'_> {
    type Target = SlotData;

    #[inline]
    fn deref(&self) -> &SlotData {
        &self.data
    }
}

impl DerefMut for SlotGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut SlotData {
        &mut self.data
    }
}

impl Drop for SlotGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.update_census();
    }
}

#[cfg(test)]
#[path = "db_tests.rs"]
mod tests;
