//! WATCH: who is to be told when a key changes.
//!
//! The keys are in the side table of their slot, under its lock; here is only what turns a client's number
//! into its flag.

use crate::exec::Session;
use foldhash::HashMap;
use keyspace::side::SideTables;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Default)]
pub struct Watches {
    broken: Mutex<HashMap<u64, Arc<AtomicBool>>>,
}

impl Watches {
    /// A client is about to watch keys.
    pub fn register(&self, session: &Session) {
        self.broken.lock().insert(session.id, session.watch_broken.clone());
    }

    /// The client watches nothing any more. The caller takes it out of the side tables of its keys: where it stays, nobody
    /// is told.
    pub fn forget(&self, session: &mut Session) {
        if !session.watched.is_empty() {
            self.broken.lock().remove(&session.id);
        }
        if !session.watched.is_empty() || session.watch_broken.load(Ordering::Acquire) {
            session.watch_broken = Arc::default();
        }
    }

    /// A key has changed: breaks the transactions of those who watch it. Call it with the slot locked.
    #[inline]
    pub fn touch(&self, side: &SideTables, key: &[u8]) {
        let clients = side.watched.get(key);
        if !clients.is_empty() {
            self.break_all(clients);
        }
    }

    #[cold]
    fn break_all(&self, clients: &[u64]) {
        let broken = self.broken.lock();
        for client in clients {
            if let Some(flag) = broken.get(client) {
                flag.store(true, Ordering::Release);
            }
        }
    }
}
