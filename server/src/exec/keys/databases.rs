//! Whole databases, emptied, exchanged or counted.

use super::Keys;
use super::guards::database;
use keyspace::table::Table;
use keyspace::{Entry, SlotGuard};
use protocol::Slot;

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
        self.guards.each_mut(SlotGuard::update_census);
        database(self.server, self.db).len()
    }
}
