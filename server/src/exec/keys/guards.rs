//! The locks of slots: which are held, and how more are taken.

use super::Keys;
use crate::server::Server;
use keyspace::{Db, SlotGuard};
use protocol::Slot;
use protocol::slot::SLOT_COUNT;

/// A slot of a numbered database; also the order in which locks are taken.
pub type Place = (usize, Slot);

/// What is locked.
pub enum Guards<'a> {
    One(SlotGuard<'a>),
    Many(Many<'a>),
}

/// Several locked slots, or none.
#[derive(Default)]
pub struct Many<'a> {
    /// In order of their places.
    guards: Vec<(Place, SlotGuard<'a>)>,
    /// The one that is meant, whatever the key, while only its keys are touched.
    focus: Option<usize>,
}

/// A number for each place, in the order of places.
#[inline]
fn rank((db, slot): Place) -> usize {
    db * SLOT_COUNT + slot.index()
}

/// A slow script holds the slot.
#[derive(Debug)]
pub struct SlotBusy;

impl<'a> Guards<'a> {
    #[inline]
    pub fn none() -> Guards<'a> {
        Guards::Many(Many::default())
    }

    /// Locks one slot, to write or to read.
    #[inline]
    pub fn one(server: &'a Server, place: Place, writes: bool) -> Result<Guards<'a>, SlotBusy> {
        Ok(Guards::One(lock(server, place, writes)?))
    }

    /// Locks all `places`, in order, to write or to read.
    pub fn all(server: &'a Server, places: &mut Vec<Place>, writes: bool) -> Result<Guards<'a>, SlotBusy> {
        places.sort_unstable_by_key(|&place| rank(place));
        places.dedup();
        if let [place] = places[..] {
            return Guards::one(server, place, writes);
        }
        let mut guards = Vec::with_capacity(places.len());
        for &place in &*places {
            guards.push((place, lock(server, place, writes)?));
        }
        Ok(Guards::Many(Many { guards, focus: None }))
    }

    /// All that is locked, so that more can be.
    fn many(&mut self) -> &mut Many<'a> {
        if let Guards::One(..) = self
            && let Guards::One(guard) = std::mem::replace(self, Guards::none())
        {
            let guards = vec![((guard.db_index(), guard.slot()), guard)];
            *self = Guards::Many(Many { guards, focus: None });
        }
        match self {
            Guards::Many(many) => many,
            Guards::One(..) => unreachable!("turned into many"),
        }
    }

    /// Shows all that is locked.
    pub(super) fn each_mut(&mut self, f: impl FnMut(&mut SlotGuard<'a>)) {
        match self {
            Guards::One(guard) => std::iter::once(guard).for_each(f),
            Guards::Many(many) => many.guards.iter_mut().map(|(_, guard)| guard).for_each(f),
        }
    }

    /// The locked slot of `key` in database `db`. `on_demand` allows to lock it now, to write or to read.
    #[inline]
    pub(super) fn of(
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
            Guards::Many(many) => many.of(server, on_demand, db, key),
        }
    }
}

impl<'a> Many<'a> {
    /// Where a slot is among those locked, or would be.
    #[inline]
    fn find(&self, place: Place) -> Result<usize, usize> {
        self.guards.binary_search_by_key(&rank(place), |&(other, _)| rank(other))
    }

    /// Puts a locked slot among the others.
    fn insert(&mut self, at: usize, place: Place, guard: SlotGuard<'a>) {
        self.guards.insert(at, (place, guard));
        self.focus = None;
    }

    /// As [`Guards::of`].
    #[inline]
    fn of(
        &mut self,
        server: &'a Server,
        on_demand: Option<bool>,
        db: usize,
        key: &[u8],
    ) -> &mut SlotGuard<'a> {
        let at = match self.focus {
            Some(at) => at,
            // One is locked, and no other can be: it is the one.
            None if on_demand.is_none() && self.guards.len() == 1 => 0,
            None => self.find_or_lock(server, on_demand, (db, Slot::of(key))),
        };
        debug_assert!(self.guards[at].0 == (db, Slot::of(key)), "only keys that were named are touched");
        &mut self.guards[at].1
    }

    /// Where a slot is among those locked; it is locked now if it may be.
    fn find_or_lock(&mut self, server: &'a Server, on_demand: Option<bool>, place: Place) -> usize {
        self.find(place).unwrap_or_else(|at| {
            let writes = on_demand.expect("only keys that were named are touched");
            self.insert(at, place, lock_unless_held(server, place, writes));
            at
        })
    }

    /// The slot of `key` in database `db`, if it is locked.
    pub(super) fn get(&self, db: usize, key: &[u8]) -> Option<&SlotGuard<'a>> {
        let at = match self.focus {
            Some(at) => at,
            None => self.find((db, Slot::of(key))).ok()?,
        };
        Some(&self.guards[at].1)
    }
}

/// Locking.
impl<'a> Keys<'a> {
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
            Guards::Many(many) => many.find(place).is_ok(),
        }
    }

    /// The one slot that is locked, if it is one.
    pub fn only_slot(&self) -> Option<Slot> {
        match &self.guards {
            Guards::One(guard) => Some(guard.slot()),
            Guards::Many(many) => match &many.guards[..] {
                [((_, slot), _)] => Some(*slot),
                _ => None,
            },
        }
    }

    pub fn is_any_locked(&self) -> bool {
        match &self.guards {
            Guards::One(..) => true,
            Guards::Many(many) => !many.guards.is_empty(),
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
        let many = self.guards.many();
        if let Err(at) = many.find(place) {
            many.insert(at, place, guard);
        }
    }

    /// Says that only keys of this slot of the current database are touched from here on, which is locked; or, with
    /// `None`, of any slot that is.
    #[inline]
    pub fn focus(&mut self, slot: Option<Slot>) {
        let db = self.db;
        if let Guards::Many(many) = &mut self.guards
            && !self.at_rest
        {
            many.focus = slot.and_then(|slot| many.find((db, slot)).ok());
        }
    }

    /// Lets go of all slots.
    pub fn unlock(&mut self) {
        self.guards = Guards::none();
    }

    /// Makes ready for commands that write, whatever the command was that has been running.
    pub fn begin_writes(&mut self) {
        if std::mem::replace(&mut self.rules.writes, true) {
            return;
        }
        self.guards.each_mut(SlotGuard::ensure_saved);
    }

    /// Locks `places` besides what is locked. False if that was possible only by letting go of everything first:
    /// then nothing but `places` is locked, and anything may have happened in between.
    pub fn lock_also(&mut self, places: &[Place]) -> bool {
        let server = self.server;
        let many = self.guards.many();
        for &place in places {
            let Err(at) = many.find(place) else { continue };
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
            many.insert(at, place, guard);
        }
        true
    }
}

#[inline]
pub(super) fn database(server: &Server, db: usize) -> &Db {
    server.keyspace.db(db).expect("a session's database exists")
}

/// Locks a slot, unless a slow script holds it.
#[inline]
pub fn lock(server: &Server, (db, slot): Place, writes: bool) -> Result<SlotGuard<'_>, SlotBusy> {
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
