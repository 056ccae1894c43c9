//! Client-side caching: who is told when a key it has read changes.
//!
//! ```text
//!  GET k ──▶ k's slot notes the client          (default: only what it has read)
//!  SET k ──▶ the slot forgets it; Effects ──▶ Mail::Invalidate ──▶ the client's thread ──▶ its connection,
//!                                                                                    or the one it redirects to
//!  SET a:1 ──▶ prefixes that `a:1` begins with  (BCAST: whatever was read)
//! ```
//!
//! The clients that have read a key are in the side table of the key's slot, so reading and noting, writing and telling
//! are one under the slot's lock. A read that saw the old value is noted before the write takes effect, and its reply
//! goes out before the thread reads its mail: nobody keeps what is out of date.
//!
//! Unlike in stock, a key of one database is not the key of the same name in another.

use crate::exec::{Session, SessionFlags};
use crate::net::Mail;
use crate::server::Server;
use foldhash::HashMap;
use keyspace::SlotGuard;
use parking_lot::{Mutex, RwLock};
use protocol::reply::write_command;
use protocol::slot::SLOT_COUNT;
use protocol::{Reply, Resp, Slot};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many keys one command may give up at most to bring the table below its limit.
const TRIM_KEYS_MAX: usize = 100;

/// What a client has asked for.
#[derive(Clone, Default)]
pub struct Wishes {
    pub is_broadcast: bool,
    pub opts_in: bool,
    pub opts_out: bool,
    /// What it changes itself it need not be told.
    pub no_loop: bool,
    /// The client that is told in its place, with the thread that owns it.
    pub redirect: Option<(u64, usize)>,
    pub is_redirect_broken: bool,
    /// CLIENT CACHING was said, and holds for the next command.
    pub caching: bool,
    pub prefixes: Vec<Box<[u8]>>,
}

impl Wishes {
    /// Whether what the client reads now is to be noted.
    fn remembers(&self) -> bool {
        let is_wanted = match (self.opts_in, self.opts_out) {
            (true, _) => self.caching,
            (_, true) => !self.caching,
            _ => true,
        };
        is_wanted && !self.is_broadcast
    }

    /// A command is over: CLIENT CACHING holds for the next one that is not about the client itself, or for the next
    /// transaction.
    pub fn end_command(&mut self, is_queueing: bool, is_of_client: bool) {
        self.caching &= is_queueing || is_of_client;
    }
}

/// A listener to a prefix.
#[derive(Clone, Copy)]
struct Listener {
    client: u64,
    thread: usize,
    no_loop: bool,
}

/// Everybody who tracks.
#[derive(Default)]
pub struct Tracking {
    /// With the threads that own them, and whether they listen to prefixes.
    clients: RwLock<HashMap<u64, (usize, bool)>>,
    prefixes: RwLock<BTreeMap<Box<[u8]>, Vec<Listener>>>,
    prefix_count: AtomicUsize,
    /// Keys noted in slots, and clients noted for keys.
    keys: AtomicUsize,
    items: AtomicUsize,
    /// The slot in which keys are given up next when there are too many.
    trim_at: Mutex<(usize, u16)>,
}

/// What INFO says.
pub struct Summary {
    pub clients: usize,
    pub keys: usize,
    pub items: usize,
    pub prefixes: usize,
}

/// What a command has changed that somebody may want to know.
#[derive(Default)]
pub struct Changes {
    /// Clients to be told of a key; whether the client that ran the command changed it, not time.
    told: Vec<(u64, Arc<[u8]>, bool)>,
    /// All keys, while anybody listens to prefixes.
    all: Vec<(Arc<[u8]>, bool)>,
    /// A database was emptied.
    flushed: bool,
    /// The length of all keys.
    key_bytes: usize,
}

impl Changes {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.told.is_empty() && self.all.is_empty() && !self.flushed
    }

    pub fn flush(&mut self) {
        self.flushed = true;
    }

    /// Heap bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.key_bytes + size_of_val(&*self.told) + size_of_val(&*self.all)
    }

    fn push(&mut self, clients: impl IntoIterator<Item = u64>, key: &[u8], by_client: bool) {
        let key: Arc<[u8]> = key.into();
        self.key_bytes += key.len();
        self.told.extend(clients.into_iter().map(|client| (client, key.clone(), by_client)));
    }
}

/// A message to one client.
pub struct Invalidation {
    /// An array of keys as RESP has it, or that all keys are invalid.
    keys: Option<Arc<[u8]>>,
}

impl Tracking {
    #[inline]
    pub fn has_prefixes(&self) -> bool {
        self.prefix_count.load(Relaxed) > 0
    }

    pub fn summary(&self) -> Summary {
        Summary {
            clients: self.clients.read().len(),
            keys: self.keys.load(Relaxed),
            items: self.items.load(Relaxed),
            prefixes: self.prefix_count.load(Relaxed),
        }
    }

    /// The session tracks from now on, by its wishes.
    pub fn begin(&self, session: &mut Session, wishes: Wishes) {
        let mut wishes = Box::new(wishes);
        if let Some(before) = session.tracking.take() {
            self.leave_prefixes(session.id, &before);
            wishes.prefixes.extend(before.prefixes);
        }
        self.clients.write().insert(session.id, (session.thread, wishes.is_broadcast));
        session.flags.insert(SessionFlags::TRACKING);
        wishes.prefixes.sort_unstable();
        wishes.prefixes.dedup();
        let listener = Listener { client: session.id, thread: session.thread, no_loop: wishes.no_loop };
        let mut prefixes = self.prefixes.write();
        for prefix in &wishes.prefixes {
            prefixes.entry(prefix.clone()).or_default().push(listener);
        }
        self.prefix_count.store(prefixes.len(), Relaxed);
        session.tracking = Some(wishes);
    }

    /// The session tracks no more. What slots have noted of it is forgotten when the keys change.
    pub fn end(&self, session: &mut Session) {
        let Some(wishes) = session.tracking.take() else { return };
        session.flags.remove(SessionFlags::TRACKING);
        self.clients.write().remove(&session.id);
        self.leave_prefixes(session.id, &wishes);
    }

    fn leave_prefixes(&self, client: u64, wishes: &Wishes) {
        if wishes.prefixes.is_empty() {
            return;
        }
        let mut prefixes = self.prefixes.write();
        for prefix in &wishes.prefixes {
            if let Some(listeners) = prefixes.get_mut(prefix) {
                listeners.retain(|listener| listener.client != client);
                if listeners.is_empty() {
                    prefixes.remove(prefix);
                }
            }
        }
        self.prefix_count.store(prefixes.len(), Relaxed);
    }

    /// Notes that a client has read a key, in the key's slot.
    pub fn remember(&self, slot: &mut SlotGuard<'_>, key: &[u8], session: &Session) {
        if !session.tracking.as_ref().is_some_and(|wishes| wishes.remembers()) {
            return;
        }
        let tracked = &mut slot.side_mut().tracked;
        self.keys.fetch_add(usize::from(tracked.get(key).is_empty()), Relaxed);
        self.items.fetch_add(usize::from(tracked.add(key, session.id)), Relaxed);
    }

    /// Notes who is to be told that a key has changed. Call it with the slot locked.
    #[inline]
    pub fn changed(&self, slot: &mut SlotGuard<'_>, key: &[u8], by_client: bool, changes: &mut Changes) {
        if slot.side().is_some_and(|side| !side.tracked.get(key).is_empty()) {
            changes.push(self.take(slot, key), key, by_client);
        }
        if self.has_prefixes() {
            changes.key_bytes += key.len();
            changes.all.push((key.into(), by_client));
        }
    }

    #[cold]
    fn take(&self, slot: &mut SlotGuard<'_>, key: &[u8]) -> Vec<u64> {
        let clients = slot.side_mut().tracked.take(key);
        slot.trim();
        self.keys.fetch_sub(1, Relaxed);
        self.items.fetch_sub(clients.len(), Relaxed);
        clients
    }

    /// Tells everybody concerned. What is for `session` itself is appended to `own`: it follows the reply.
    #[cold]
    pub fn tell(
        &self,
        server: &Server,
        changes: &mut Changes,
        session: Option<&mut Session>,
        own: &mut Vec<u8>,
    ) {
        let changes = std::mem::take(changes);
        let (id, quiet) = session.as_ref().map_or((0, false), |session| {
            (session.id, session.tracking.as_ref().is_some_and(|wishes| wishes.no_loop))
        });
        let mut told: Vec<(u64, usize, Invalidation)> = Vec::new();
        let clients = self.clients.read();
        // One message for all clients that are told of a key: they follow each other.
        let (mut latest_key, mut latest): (_, Option<Arc<[u8]>>) = (None, None);
        for (client, key, by_client) in &changes.told {
            let is_spared = *client == id && quiet && *by_client;
            // Who listens to prefixes now may have read keys before.
            if let Some(&(thread, false)) = clients.get(client).filter(|_| !is_spared) {
                let is_same = latest_key.is_some_and(|latest: &Arc<[u8]>| Arc::ptr_eq(latest, key));
                let keys = latest.take().filter(|_| is_same).unwrap_or_else(|| array([&**key].into_iter()));
                latest_key = Some(key);
                latest = Some(keys.clone());
                told.push((*client, thread, Invalidation { keys: Some(keys) }));
            }
        }
        if changes.flushed {
            told.extend(
                clients.iter().map(|(&client, &(thread, _))| (client, thread, Invalidation { keys: None })),
            );
        }
        drop(clients);
        if !changes.all.is_empty() {
            self.address_prefixes(&changes, id, &mut told);
        }
        let mut session = session;
        for (client, thread, invalidation) in told {
            match &mut session {
                Some(session) if client == id => give(server, session, &invalidation, own),
                _ => server.post(thread, Mail::Invalidate { client, invalidation }),
            }
        }
    }

    /// Tells everybody concerned of what no client has done.
    #[inline]
    pub fn tell_if_any(&self, server: &Server, changes: &mut Changes) {
        if !changes.is_empty() {
            self.tell(server, changes, None, &mut Vec::new());
        }
    }

    /// One message for each listener of each prefix: all keys that begin with it.
    fn address_prefixes(&self, changes: &Changes, id: u64, told: &mut Vec<(u64, usize, Invalidation)>) {
        for (prefix, listeners) in self.prefixes.read().iter() {
            let mut keys: BTreeMap<&[u8], bool> = BTreeMap::new();
            for (key, by_client) in changes.all.iter().filter(|(key, _)| key.starts_with(prefix)) {
                keys.insert(key, *by_client);
            }
            if keys.is_empty() {
                continue;
            }
            let all = array(keys.keys().copied());
            for listener in listeners {
                let keys = if listener.no_loop && listener.client == id {
                    let others: Vec<&[u8]> =
                        keys.iter().filter(|(_, by_client)| !**by_client).map(|(key, _)| *key).collect();
                    if others.is_empty() {
                        continue;
                    }
                    array(others.into_iter())
                } else {
                    all.clone()
                };
                told.push((listener.client, listener.thread, Invalidation { keys: Some(keys) }));
            }
        }
    }

    /// A database is empty: nothing in its slots is noted any more. The world is at rest.
    pub fn forget_all(&self, server: &Server, db: usize) {
        let Some(db) = server.keyspace.db(db).filter(|_| self.keys.load(Relaxed) > 0) else { return };
        for slot in Slot::all() {
            let mut guard = db.lock(slot);
            let tracked = guard.side().map_or(0, |side| side.tracked.iter().count());
            if tracked > 0 {
                let tracked = std::mem::take(&mut guard.side_mut().tracked);
                self.keys.fetch_sub(tracked.iter().count(), Relaxed);
                self.items.fetch_sub(tracked.iter().map(|(_, clients)| clients.len()).sum(), Relaxed);
                guard.trim();
            }
        }
    }

    /// Whether more keys are noted than may be.
    #[inline]
    pub fn is_over(&self, max_keys: usize) -> bool {
        max_keys > 0 && self.keys.load(Relaxed) > max_keys
    }

    /// Gives some keys up: their clients are to be told that they are invalid. No slot may be locked.
    #[cold]
    pub fn trim(&self, server: &Server, max_keys: usize, databases: usize) -> Changes {
        let mut changes = Changes::default();
        let Some(mut at) = self.trim_at.try_lock() else { return changes };
        let mut given_up = 0;
        for _ in 0..databases * SLOT_COUNT {
            if !self.is_over(max_keys) || given_up >= TRIM_KEYS_MAX {
                break;
            }
            let (db, slot) = *at;
            *at = if usize::from(slot) + 1 < SLOT_COUNT { (db, slot + 1) } else { ((db + 1) % databases, 0) };
            let (Some(db), Some(slot)) = (server.keyspace.db(db), Slot::new(slot)) else { continue };
            let mut guard = db.lock(slot);
            while self.is_over(max_keys) && given_up < TRIM_KEYS_MAX {
                let first = guard.side().and_then(|side| side.tracked.iter().next());
                let Some(key) = first.map(|(key, _)| Box::<[u8]>::from(key)) else { break };
                changes.push(self.take(&mut guard, &key), &key, false);
                given_up += 1;
            }
        }
        changes
    }
}

/// A key has gone that no client took away. Call it with the slot locked.
#[inline]
pub fn key_gone(server: &Server, slot: &mut SlotGuard<'_>, key: &[u8]) {
    let mut changes = Changes::default();
    server.tracking.changed(slot, key, false, &mut changes);
    server.tracking.tell_if_any(server, &mut changes);
}

/// The whole dataset has gone, by no command. The world is at rest.
pub fn all_gone(server: &Server) {
    for db in server.keyspace.dbs() {
        server.tracking.forget_all(server, db.index());
    }
    let mut changes = Changes::default();
    changes.flush();
    server.tracking.tell_if_any(server, &mut changes);
}

fn array<'a>(keys: impl ExactSizeIterator<Item = &'a [u8]>) -> Arc<[u8]> {
    let mut bytes = Vec::new();
    write_command(&mut bytes, keys);
    bytes.into()
}

/// Has a client know what is invalid: by its own connection, or by the one it redirects to.
pub fn give(server: &Server, session: &mut Session, invalidation: &Invalidation, out: &mut Vec<u8>) {
    let Some(wishes) = &session.tracking else { return };
    let null = if session.resp == Resp::V3 { b"_\r\n".as_slice() } else { b"$-1\r\n" };
    if let Some((target, thread)) = wishes.redirect {
        let keys = invalidation.keys.clone().unwrap_or_else(|| null.into());
        let origin = (session.id, session.thread);
        server.post(thread, Mail::Redirected { client: target, origin, keys });
    } else if session.resp == Resp::V3 {
        write_push(out, invalidation.keys.as_deref().unwrap_or(null));
    }
}

fn write_push(out: &mut Vec<u8>, keys: &[u8]) {
    let mut reply = Reply::new(out, Resp::V3);
    reply.push(2);
    reply.bulk(b"invalidate");
    out.extend_from_slice(keys);
}

/// As [`give`], to the client that another one redirects to. RESP2 needs it to be listening.
pub fn give_redirected(session: &Session, keys: &[u8], out: &mut Vec<u8>) {
    if session.resp == Resp::V3 {
        write_push(out, keys);
    } else if session.is(SessionFlags::SUBSCRIBED) {
        let mut reply = Reply::new(out, Resp::V2);
        reply.array(3);
        reply.bulk(b"message");
        reply.bulk(b"__redis__:invalidate");
        out.extend_from_slice(keys);
    }
}

/// The client that this one redirects to is gone.
pub fn redirect_broke(session: &mut Session, target: u64, out: &mut Vec<u8>) {
    let Some(wishes) = &mut session.tracking else { return };
    if wishes.redirect.is_some_and(|(redirect, _)| redirect == target) {
        wishes.is_redirect_broken = true;
        if session.resp == Resp::V3 {
            let mut reply = Reply::new(out, Resp::V3);
            reply.push(2);
            reply.bulk(b"tracking-redir-broken");
            reply.integer(target as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caching_holds_for_one_command_or_one_transaction() {
        let mut wishes = Wishes { opts_in: true, ..Wishes::default() };
        assert!(!wishes.remembers());
        wishes.caching = true;
        wishes.end_command(false, true);
        assert!(wishes.remembers(), "the next command");
        wishes.end_command(true, false);
        assert!(wishes.remembers(), "a transaction is being queued");
        wishes.end_command(false, false);
        assert!(!wishes.remembers());
    }

    #[test]
    fn only_resp3_or_listeners_are_told() {
        let mut session = Session::new(1, String::new(), String::new(), 0);
        let mut out = Vec::new();
        give_redirected(&session, b"*1\r\n$1\r\nk\r\n", &mut out);
        assert!(out.is_empty());
        session.flags.insert(SessionFlags::SUBSCRIBED);
        give_redirected(&session, b"*1\r\n$1\r\nk\r\n", &mut out);
        assert_eq!(out, b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n");
        out.clear();
        session.resp = Resp::V3;
        give_redirected(&session, b"*1\r\n$1\r\nk\r\n", &mut out);
        assert_eq!(out, b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
    }
}
