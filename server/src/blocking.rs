//! Clients that wait for keys.
//!
//! A command that finds nothing leaves a [`Blocked`] with its session, its client in the side table of each key's
//! slot, and asks for [`Wait::Key`](crate::exec::cx::Wait::Key). It stays at the front of the connection's input
//! and is run again when one of the keys has changed or its time is up. Once it has run through, it is forgotten
//! here.

use crate::exec::Session;
use crate::net::mailbox::Mail;
use crate::server::Server;
use keyspace::side::{ClientId, SideTables};
use keyspace::types::stream::StreamId;
use protocol::{ReplyError, Slot};

/// What a command that waits has to know when it runs again.
pub struct Blocked {
    /// When to give up.
    pub deadline_ms: Option<i64>,
    /// Database and key.
    pub keys: Vec<(usize, Box<[u8]>)>,
    /// Behind which entry of each stream to read: what `$` meant at first.
    pub after: Vec<StreamId>,
    /// The reply, when somebody has ended the waiting with an error.
    pub refusal: Option<ReplyError>,
}

impl Blocked {
    pub fn is_over(&self, now_ms: i64) -> bool {
        self.refusal.is_some() || self.deadline_ms.is_some_and(|deadline_ms| now_ms >= deadline_ms)
    }
}

/// A key has changed: those who wait for it are to look again. Call it with the slot locked: they look when it is
/// free.
#[inline]
pub fn wake(server: &Server, side: &SideTables, key: &[u8]) {
    let clients = side.blocked.get(key);
    if !clients.is_empty() {
        post(server, clients);
    }
}

#[cold]
fn post(server: &Server, clients: &[ClientId]) {
    for &client in clients {
        // Only its own thread knows the client.
        server.post_all(|| Mail::KeyChanged { client });
    }
}

/// The client waits no more. No slot may be locked.
pub fn forget(server: &Server, session: &mut Session) {
    let Some(blocked) = session.blocked.take() else { return };
    for (db, key) in blocked.keys {
        if let Some(db) = server.keyspace.db(db) {
            let mut slot = db.lock(Slot::of(&key));
            slot.side_mut().blocked.remove(&key, session.id);
            slot.trim();
        }
    }
}
