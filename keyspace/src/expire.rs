//! The active expire cycle: deletes what has expired and nobody asks for.
//!
//! It goes round the slots that hold expiring keys, which the census knows, in steps of one short lock each.
//! How many steps, and when, is for the caller, who has the clock:
//!
//! ```text
//!  loop over steps until   the time budget is spent,
//!                          or a lap is done,
//!                          or little of what the last steps met had expired
//! ```

use crate::db::{Keyspace, SlotGuard};
use crate::entry::{Entry, ValueRef};
use crate::object::Object;
use crate::table::Item;

/// Where the cycle is on its way round the keyspace.
#[derive(Default)]
pub struct ExpireCycle {
    db: usize,
    slot: usize,
    /// In the slot's table, see [`crate::table::Table::scan`].
    cursor: u64,
}

/// What a step met.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Step {
    /// Entries looked at that have an expiry.
    pub met: usize,
    /// Entries handed to the caller because it has passed.
    pub expired: usize,
    /// The step before this one was the last of a lap.
    pub is_new_lap: bool,
}

impl ExpireCycle {
    /// Looks at about `entries` entries of the next slot that has expiring ones. Calls `on_expired` with each
    /// key that has expired, under the slot's lock and after a snapshot got what it needs, to delete and log
    /// it. `None` if no key of any database has an expiry.
    pub fn step(
        &mut self,
        keyspace: &Keyspace,
        now_ms: i64,
        entries: usize,
        mut on_expired: impl FnMut(&mut SlotGuard<'_>, &[u8]),
    ) -> Option<Step> {
        let (mut guard, is_new_lap) = self.next_slot(keyspace)?;
        let mut step = Step { is_new_lap, ..Step::default() };
        let mut expired: Vec<Box<[u8]>> = Vec::new();
        let mut looked_at = 0;
        loop {
            self.cursor = guard.scan(self.cursor, |entry| {
                looked_at += 1;
                step.met += entry.expire_at_ms().is_some() as usize;
                if entry.is_expired(now_ms) {
                    expired.push(entry.key().into());
                }
            });
            if self.cursor == 0 || looked_at >= entries {
                break;
            }
        }
        if self.cursor == 0 {
            self.slot += 1;
        }
        step.expired = expired.len();
        if !expired.is_empty() {
            guard.ensure_saved();
        }
        for key in &expired {
            on_expired(&mut guard, key);
        }
        Some(step)
    }

    /// Locks the slot the cycle is at, or the next one with expiring keys. True if that began a new lap.
    fn next_slot<'k>(&mut self, keyspace: &'k Keyspace) -> Option<(SlotGuard<'k>, bool)> {
        let count = keyspace.dbs().len();
        let mut is_new_lap = false;
        // Once around, and the rest of the database it began in.
        for _ in 0..=count {
            let db = keyspace.db(self.db)?;
            if let Some(slot) = db.expires_census().and_then(|census| census.next(self.slot)) {
                if slot.index() != self.slot {
                    (self.slot, self.cursor) = (slot.index(), 0);
                }
                return Some((db.lock(slot), is_new_lap));
            }
            (self.db, self.slot, self.cursor) = ((self.db + 1) % count, 0, 0);
            is_new_lap |= self.db == 0;
        }
        None
    }
}

/// Where the cycle that removes fields of hashes is on its way round the keyspace.
#[derive(Default)]
pub struct FieldCycle {
    db: usize,
    slot: usize,
    /// The last hash that was looked at in the slot.
    key: Option<Box<[u8]>>,
}

impl FieldCycle {
    /// Looks at the next `hashes` that have fields that expire, of one slot. Calls `on_overdue` with each key and
    /// up to `fields` of its fields, under the slot's lock and after a snapshot got what it needs, to remove and
    /// log them. `None` if no hash of any database has such fields.
    pub fn step(
        &mut self,
        keyspace: &Keyspace,
        now_ms: i64,
        hashes: usize,
        fields: usize,
        mut on_overdue: impl FnMut(&mut SlotGuard<'_>, &[u8], &[Box<[u8]>]),
    ) -> Option<Step> {
        let (mut guard, is_new_lap) = self.next_slot(keyspace)?;
        let mut step = Step { is_new_lap, ..Step::default() };
        for _ in 0..hashes {
            let Some(key) = guard.next_timed(self.key.as_deref()) else {
                (self.slot, self.key) = (self.slot + 1, None);
                break;
            };
            step.met += 1;
            let overdue = match guard.get(&key).map(Entry::value) {
                Some(ValueRef::Object(Object::Hash(hash))) => hash.overdue(now_ms, fields),
                _ => Vec::new(),
            };
            if !overdue.is_empty() {
                step.expired += 1;
                guard.ensure_saved();
                on_overdue(&mut guard, &key, &overdue);
            }
            // What is left of a hash has to wait for the next lap, lest one holds up all others.
            self.key = Some(key);
        }
        Some(step)
    }

    fn next_slot<'k>(&mut self, keyspace: &'k Keyspace) -> Option<(SlotGuard<'k>, bool)> {
        let count = keyspace.dbs().len();
        let mut is_new_lap = false;
        for _ in 0..=count {
            let db = keyspace.db(self.db)?;
            if let Some(slot) = db.timed_census().and_then(|census| census.next(self.slot)) {
                if slot.index() != self.slot {
                    (self.slot, self.key) = (slot.index(), None);
                }
                return Some((db.lock(slot), is_new_lap));
            }
            (self.db, self.slot, self.key) = ((self.db + 1) % count, 0, None);
            is_new_lap |= self.db == 0;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::object::SharedObject;
    use std::collections::HashSet;

    use protocol::slot::Slot;

    use super::*;
    use crate::entry::NewValue;
    use crate::object::TypedValue;
    use crate::types::Limits;
    use crate::types::hash::HashValue;

    fn set(keyspace: &Keyspace, db: usize, key: &str, at_ms: Option<i64>) {
        let mut guard = keyspace.db(db).unwrap().lock_write(Slot::of(key.as_bytes()));
        guard.upsert(key.as_bytes(), NewValue::Int(1), at_ms);
    }

    #[test]
    fn nothing_to_do_is_known_at_once() {
        let keyspace = Keyspace::new(16);
        let mut cycle = ExpireCycle::default();
        set(&keyspace, 3, "key", None);
        assert_eq!(cycle.step(&keyspace, i64::MAX, 10, |_, _| panic!("nothing expires")), None);
        set(&keyspace, 3, "key", Some(5));
        let step = cycle.step(&keyspace, 5, 10, |_, _| panic!("not yet")).unwrap();
        assert_eq!((step.met, step.expired), (1, 0));
    }

    #[test]
    fn a_lap_meets_everything_in_bounded_steps() {
        const BOUND: usize = 20;
        /// Entries of one bucket with its overflow, by which a step may go beyond.
        const BUCKET: usize = 24;
        let keyspace = Keyspace::new(4);
        let mut expected = HashSet::new();
        for n in 0..6_000 {
            let key = if n % 2 == 0 { format!("{{tag}}{n}") } else { format!("key:{n}") };
            let at_ms = [None, Some(1_000), Some(3_000)][n % 3];
            set(&keyspace, n % 4, &key, at_ms);
            if at_ms == Some(1_000) {
                expected.insert((n % 4, key.into_bytes()));
            }
        }
        let mut cycle = ExpireCycle::default();
        let mut laps = 0;
        while laps < 1 {
            let mut in_step = 0;
            let step = cycle.step(&keyspace, 2_000, BOUND, |guard, key| {
                in_step += 1;
                assert!(expected.remove(&(guard.db_index(), key.to_vec())), "{}", key.escape_ascii());
                assert!(guard.remove(key).is_some());
            });
            let step = step.unwrap();
            assert!(step.met <= BOUND + BUCKET && step.expired == in_step, "{step:?}");
            laps += step.is_new_lap as u32;
        }
        assert!(expected.is_empty(), "{} left", expected.len());
        assert_eq!(
            (keyspace.len(), keyspace.dbs().iter().map(|db| db.expires()).sum::<usize>()),
            (4_000, 2_000)
        );
    }

    fn set_timed(keyspace: &Keyspace, db: usize, key: &str, times: &[i64]) {
        let mut hash = HashValue::new();
        hash.set(b"stays", b"", &Limits::default());
        for (n, at_ms) in times.iter().enumerate() {
            let name = n.to_string();
            hash.set(name.as_bytes(), b"", &Limits::default());
            hash.expire_at(name.as_bytes(), *at_ms);
        }
        let entry = Entry::new(key.as_bytes(), NewValue::Object(SharedObject::new(Object::Hash(hash))), None);
        keyspace.db(db).unwrap().lock_write(Slot::of(key.as_bytes())).insert_entry(entry);
    }

    #[test]
    fn a_lap_meets_every_hash_with_fields_that_expire() {
        let keyspace = Keyspace::new(3);
        let mut cycle = FieldCycle::default();
        set_timed(&keyspace, 0, "without", &[]);
        assert_eq!(cycle.step(&keyspace, i64::MAX, 10, 10, |_, _, _| panic!("nothing expires")), None);
        for n in 0..900 {
            let key = if n % 2 == 0 { format!("{{tag}}{n}") } else { format!("key:{n}") };
            set_timed(&keyspace, n % 3, &key, &[1_000, 1_000, 3_000][..n % 4]);
        }
        let timed = || keyspace.dbs().iter().map(|db| db.timed()).sum::<usize>();
        assert_eq!(timed(), 675);
        let (mut removed, mut laps) = (0, 0);
        // A field at a time, so twice around, once more to forget, and from the middle of a lap on.
        while laps < 4 {
            let step = cycle.step(&keyspace, 2_000, 7, 1, |guard, key, fields| {
                assert_eq!(fields.len(), 1);
                let hash = guard.get_mut(key).unwrap().into_object_mut().and_then(HashValue::from_object_mut);
                assert!(hash.unwrap().remove(&fields[0]));
                removed += 1;
            });
            laps += u32::from(step.unwrap().is_new_lap);
        }
        assert_eq!(removed, 225 + 2 * 450);
        assert_eq!(timed(), 225, "those with a field of 3000 are left");
        // They go where their entries go.
        keyspace.swap(0, 1);
        assert_eq!(timed(), 225);
        keyspace.dbs().iter().for_each(|db| drop(db.take_all()));
        assert_eq!(timed(), 0);
    }
}
