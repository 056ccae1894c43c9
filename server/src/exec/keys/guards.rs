//! The locks of slots: which are held, and how more are taken.

use super::Keys;
use crate::server::Server;
use keyspace::{Db, SlotGuard};
use protocol::Slot;

/// A slot of a numbered database; also the order in which locks are taken.
pub type Place = (usize, Slot);

/// What is locked.
pub enum Guards<'a> {
    One(SlotGuard<'a>),
    /// In order of their places.
    Many(Vec<(Place, SlotGuard<'a>)>),
}

/// A slow script holds the slot.
#[derive(Debug)]
pub struct SlotBusy;

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

#[inline]
pub(super) fn database(server: &Server, db: usize) -> &Db {
    server.keyspace.db(db).expect("a session's database exists")
}

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
