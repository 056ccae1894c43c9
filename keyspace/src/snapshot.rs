//! Snapshots without fork: copy-on-write by slot.
//!
//! ```text
//!  begin (world at rest)      walk, on a helper thread             end
//!  epoch := n ───────────────▶ for each slot with keys: ──────────▶ no epoch
//!                              lock, save if not marked n, mark
//!                                     ▲
//!  a writer that locks a slot ────────┘ saves it first, if it is not marked n
//! ```
//!
//! A slot too large to be saved under one lock is saved in steps, along the line of [`Table::scan`]. What is
//! left of the step's cursor is saved. A writer that is about to change an entry to its right saves that
//! one entry, and the walk leaves it out later; then it takes a small step itself. Splits and merges do not move an entry on that line, so the
//! table grows and shrinks as ever.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use protocol::slot::Slot;

use crate::db::{Db, Keyspace};
use crate::entry::Entry;
use crate::hash::hash;
use crate::slot::SlotData;
use crate::table::{Item, Table, position};
use crate::thin::ThinBytes;

/// Keys of the largest slot that is saved under one lock, and so by one writer.
const LARGE: usize = 16;
/// Entries the walk saves under one lock in a larger one.
const STEP: usize = 64;
/// Entries a writer saves besides its own: so a slot that is written to all the time is soon saved, and its list
/// of keys saved out of turn stays short.
const WRITER_STEP: usize = 2;

/// Takes the entries of a snapshot, from the walk and from writers alike.
pub trait SlotSaver: Send + Sync {
    /// Called under the slot's lock, so it should be brief: serialize what is small, clone the `Arc` of what
    /// is large. Never called twice for an entry; a large slot comes in several calls.
    fn save(&self, db: usize, slot: Slot, entries: &mut dyn Iterator<Item = &Entry>);
}

/// Names a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotId(u32);

/// The snapshot that is running, if any.
#[derive(Default)]
pub struct Snapshots {
    /// 0 while none is running.
    epoch: AtomicU32,
    last: AtomicU32,
    saver: RwLock<Option<Arc<dyn SlotSaver>>>,
}

impl Keyspace {
    /// Begins a snapshot of all entries as they are now. The caller holds the world at rest: no slot is
    /// locked, none is changed. `None` while another one is running.
    pub fn begin_snapshot(&self, saver: Arc<dyn SlotSaver>) -> Option<SnapshotId> {
        let mut current = self.snapshots.saver.write();
        if current.is_some() {
            return None;
        }
        *current = Some(saver);
        // Slots are born with mark 0, which no snapshot may have.
        let epoch = self.snapshots.last.load(Relaxed).wrapping_add(1).max(1);
        self.snapshots.last.store(epoch, Relaxed);
        self.snapshots.epoch.store(epoch, Relaxed);
        Some(SnapshotId(epoch))
    }

    /// Saves all that writers have not saved yet. `pace` is called between locks: it may wait, and it may
    /// break the walk off, which a snapshot that was ended meanwhile does by itself. True when all is saved.
    pub fn walk_snapshot(&self, id: SnapshotId, mut pace: impl FnMut() -> ControlFlow<()>) -> bool {
        for db in self.dbs() {
            let mut from = 0;
            while let Some(slot) = db.keys_census().and_then(|census| census.next(from)) {
                while !self.walk_slot(id, db, slot) {
                    if pace().is_break() {
                        return false;
                    }
                }
                if self.snapshots.running() != Some(id.0) || pace().is_break() {
                    return false;
                }
                from = slot.index() + 1;
            }
        }
        true
    }

    /// Ends a snapshot, finished or not. The world need not be at rest.
    pub fn end_snapshot(&self, id: SnapshotId) {
        let mut saver = self.snapshots.saver.write();
        if self.snapshots.running() == Some(id.0) {
            self.snapshots.epoch.store(0, Relaxed);
            *saver = None;
        }
    }

    pub fn is_snapshot_running(&self) -> bool {
        self.snapshots.running().is_some()
    }

    /// Saves a slot, or a step of it. True when all of it is saved.
    fn walk_slot(&self, id: SnapshotId, db: &Db, slot: Slot) -> bool {
        if self.snapshots.running() != Some(id.0) {
            return true;
        }
        let mut guard = db.lock_write(slot);
        guard.step_slow_save(STEP)
    }
}

impl Snapshots {
    #[inline]
    pub(crate) fn running(&self) -> Option<u32> {
        // Relaxed will do: it is set while the world is at rest, and the gate that sees to this synchronizes.
        match self.epoch.load(Relaxed) {
            0 => None,
            epoch => Some(epoch),
        }
    }

    /// Saves a slot that is not marked with `epoch`, and marks it.
    #[cold]
    pub(crate) fn save(self: &Arc<Self>, epoch: u32, db: usize, slot: Slot, data: &mut SlotData) {
        let Some(saver) = self.saver.read().clone() else { return };
        data.epoch = epoch;
        if data.len() > LARGE {
            let saver = Arc::downgrade(&saver);
            data.start_slow_save(SlowSave { saver, db, slot, cursor: 0, saved: Table::new() });
        } else if !data.is_empty() {
            saver.save(db, slot, &mut data.iter());
        }
    }
}

/// A large slot on its way into a snapshot.
pub(crate) struct SlowSave {
    /// Gone when the snapshot has ended.
    saver: Weak<dyn SlotSaver>,
    db: usize,
    slot: Slot,
    /// Entries left of it on the line of [`Table::scan`] are saved.
    cursor: u64,
    /// Keys to its right that are not to be saved any more: a writer has changed or added them.
    saved: Table<ThinBytes>,
}

impl SlowSave {
    /// Saves the next `count` entries or a few more. True when there is nothing left to do.
    pub(crate) fn step(&mut self, table: &Table<Entry>, count: usize) -> bool {
        let Some(saver) = self.saver.upgrade() else { return true };
        let (mut met, mut entries) = (0, Vec::with_capacity(2 * count.min(STEP)));
        while met < count {
            let saved = &mut self.saved;
            self.cursor = table.scan(self.cursor, |entry| {
                met += 1;
                if saved.remove(hash(entry.key()), entry.key()).is_none() {
                    entries.push(entry);
                }
            });
            if self.cursor == 0 {
                break;
            }
        }
        saver.save(self.db, self.slot, &mut entries.into_iter());
        self.cursor == 0
    }

    /// The entry of `key` is about to be changed, removed or added. True when there is nothing left to do.
    pub(crate) fn before_change(&mut self, table: &Table<Entry>, hash: u64, key: &[u8]) -> bool {
        if position(hash) >= self.cursor && self.saved.find(hash, key).is_none() {
            let Some(saver) = self.saver.upgrade() else { return true };
            if let Some(entry) = table.find(hash, key) {
                saver.save(self.db, self.slot, &mut std::iter::once(entry));
            }
            self.saved.insert(hash, ThinBytes::new(key));
        }
        self.step(table, WRITER_STEP)
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
