//! Clients that wait for keys.
//!
//! A command that finds nothing leaves a [`Waiter`]: the command itself, the client as far as the command needs it,
//! and the keys it waits for. Its number is in the side table of each key's slot, in the order of arrival; the
//! waiter is in [`Waiters`]. The connection reads nothing until it has its reply.
//!
//! ```text
//!  BLPOP k 0 ──▶ wait ──▶ k's slot: [7, 9, …]          Waiters: 7 ─▶ command, keys, thread
//!                                     │
//!  RPUSH k v ──▶ Keys::ready ──▶ serve: 7's command runs here ──▶ log: RPUSH, LPOP ──▶ Mail::Unblock to 7's thread
//! ```
//!
//! **Who makes a key ready serves those who wait for it** ([`crate::exec::serve`]): after its whole command,
//! transaction or script, with its slots still locked, first come first served, whichever threads they belong to. So
//! the log has the pop right behind the push, and nobody sees the element in between. A command that was served may
//! make another key ready, whose turn comes next.
//!
//! **Invariant:** a waiter is added, run and taken out only with the slots of all the keys of its command locked.
//! So two threads cannot serve it at once, and a client whose time is up either finds its waiter, and nobody
//! serves it any more, or does not, and its reply is in the mail.
//!
//! But what if the other keys of a waiting command are in slots that are not locked? That is possible outside
//! cluster mode. They are locked too if they are free. Otherwise everything is let go and locked in order, and for
//! that moment the element is there for all to see. Who would wait for the key and finds others before him
//! joins the queue then ([`must_queue`]), and serves it himself.
//!
//! Who takes a key away on another thread's behalf, as the expire cycle does, cannot run commands; it asks a
//! thread that can ([`tell`]).

use crate::exec::cx::{AtRest, Cx, Wait};
use crate::exec::dispatch::collect_places;
use crate::exec::keys::Place;
use crate::exec::session::{Session, SessionFlags};
use crate::exec::table::Command;
use crate::net::Conn;
use crate::net::Mail;
use crate::server::Server;
use crate::stats::ThreadStats;
use foldhash::HashMap;
use keyspace::Type;
use keyspace::side::{ClientId, SideTables};
use parking_lot::Mutex;
use protocol::{ArgVec, Reply, ReplyError, Resp, Slot};
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

/// What has to be at a key before a command that waits for it is run again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum For {
    List,
    SortedSet,
    Stream,
    /// A stream with its consumer group: the command wants to know when they are gone, too.
    Group,
}

impl For {
    pub fn is_met_by(self, found: Option<Type>) -> bool {
        match self {
            For::List => found == Some(Type::List),
            For::SortedSet => found == Some(Type::ZSet),
            For::Stream => found == Some(Type::Stream),
            For::Group => true,
        }
    }
}

/// A command that waits.
pub struct Waiter {
    /// The client that sent it.
    pub session: Session,
    pub command: &'static Command,
    pub argv: ArgVec,
    pub awaits: For,
    /// What it waits for, in database `session.db`.
    pub keys: Vec<Box<[u8]>>,
    /// The slots of all keys of the command, in order.
    pub places: Vec<Place>,
    /// When to give up.
    pub deadline_ms: Option<i64>,
}

/// All waiters, by client.
#[derive(Default)]
pub struct Waiters {
    by_client: Mutex<HashMap<ClientId, Arc<Waiter>>>,
    /// Where commands are counted that no IO thread ends.
    stats: OnceLock<Arc<ThreadStats>>,
}

/// What INFO says of them.
#[derive(Default)]
pub struct Summary {
    pub keys: usize,
    /// Keys of which somebody wants to know when they are gone.
    pub keys_on_nokey: usize,
    pub with_deadline: usize,
}

impl Waiters {
    pub fn get(&self, client: ClientId) -> Option<Arc<Waiter>> {
        self.by_client.lock().get(&client).cloned()
    }

    /// Takes a waiter out, with its slots locked. Its keys' side tables are the caller's business.
    pub fn remove(&self, server: &Server, client: ClientId) -> bool {
        let found = self.by_client.lock().remove(&client).is_some();
        if found {
            server.stats.blocked.fetch_sub(1, Relaxed);
        }
        found
    }

    /// All keys that somebody waits for, with their databases.
    pub fn keys(&self) -> Vec<(usize, Box<[u8]>)> {
        let by_client = self.by_client.lock();
        let mut waiters: Vec<_> = by_client.values().collect();
        waiters.sort_unstable_by_key(|waiter| waiter.session.id);
        waiters.iter().flat_map(|w| w.keys.iter().map(|key| (w.session.db, key.clone()))).collect()
    }

    pub fn summary(&self) -> Summary {
        let by_client = self.by_client.lock();
        let (mut keys, mut on_nokey) = (HashSet::new(), HashSet::new());
        let mut with_deadline = 0;
        for waiter in by_client.values() {
            with_deadline += usize::from(waiter.deadline_ms.is_some());
            for key in &waiter.keys {
                keys.insert((waiter.session.db, key));
                if waiter.awaits == For::Group {
                    on_nokey.insert((waiter.session.db, key));
                }
            }
        }
        Summary { keys: keys.len(), keys_on_nokey: on_nokey.len(), with_deadline }
    }
}

/// Has the client wait for `keys`; `argv` is what to run when one may be ready. For a command that has waited
/// already, nothing changes.
pub fn wait(cx: &mut Cx<'_>, awaits: For, keys: &[&[u8]], deadline_ms: Option<i64>, argv: ArgVec) {
    cx.wait = Some(Wait::Keys);
    if cx.is_retry {
        return;
    }
    let (db, client) = (cx.session.db, cx.session.id);
    let mut awaited: Vec<Box<[u8]>> = Vec::with_capacity(keys.len());
    for &key in keys {
        if cx.keys.block(key, client) {
            awaited.push(key.into());
        }
    }
    let mut places = Vec::with_capacity(keys.len());
    collect_places(cx.command, argv.as_argv(), db, &mut places);
    places.sort_unstable();
    places.dedup();
    let (session, command) = (cx.session.stand_in(), cx.command);
    let waiter = Arc::new(Waiter { session, command, argv, awaits, keys: awaited, places, deadline_ms });
    cx.server.waiters.by_client.lock().insert(client, waiter.clone());
    cx.server.stats.blocked.fetch_add(1, Relaxed);
    cx.session.blocked = Some(waiter);
}

/// Whether others wait for what is at `key`. They are being served then, by a thread that had to let go of the
/// slot for a moment, and the command is to wait behind them.
pub fn must_queue(cx: &mut Cx<'_>, awaits: For, key: &[u8]) -> bool {
    if cx.is_retry || !cx.may_wait() {
        return false;
    }
    let db = cx.session.db;
    let server = cx.server;
    let is_rival =
        |&client: &ClientId| server.waiters.get(client).is_some_and(|other| other.awaits == awaits);
    let queues = cx.keys.waiting_for(db, key).iter().any(is_rival);
    if queues {
        cx.keys.wake(key);
    }
    queues
}

/// Takes the client's waiter away. False if there is none any more: it has been served. No slot may be locked.
pub fn forget(server: &Server, session: &mut Session) -> bool {
    let Some(waiter) = session.blocked.take() else { return false };
    let lock = |&(db, slot): &Place| Some(((db, slot), server.keyspace.db(db)?.lock(slot)));
    let mut slots: Vec<_> = waiter.places.iter().filter_map(lock).collect();
    if !server.waiters.remove(server, session.id) {
        return false;
    }
    for key in &waiter.keys {
        let place = (waiter.session.db, Slot::of(key));
        if let Ok(at) = slots.binary_search_by_key(&place, |(place, _)| *place) {
            let slot = &mut slots[at].1;
            slot.side_mut().blocked.remove(key, session.id);
            slot.trim();
        }
    }
    true
}

/// A key is gone, and whoever took it cannot run commands: a thread that can is asked to look after those who
/// wait for it. Call it with the slot locked: they look when it is free.
pub fn tell(server: &Server, side: &SideTables, db: usize, key: &[u8]) {
    if let Some(&first) = side.blocked.get(key).first()
        && let Some(waiter) = server.waiters.get(first)
    {
        server.post(waiter.session.thread, Mail::KeyReady { db, key: key.into() });
    }
}

/// What a command says whose time is up.
pub fn timeout_reply(resp: Resp) -> Vec<u8> {
    let mut out = Vec::new();
    Reply::new(&mut out, resp).null_array();
    out
}

/// Counts a command that ended without being run again.
pub fn count_end(server: &Server, stats: &ThreadStats, waiter: &Waiter, error: Option<&ReplyError>) {
    let command = &stats.commands[waiter.command.id];
    stats.processed.add(1);
    command.calls.add(1);
    server.slowlog.record_waited(&server.settings(), crate::clock::now_ms(), waiter);
    if let Some(error) = error {
        command.failed.add(1);
        stats.error_replies.add(1);
        server.stats.count_error(error.code());
    }
}

/// Ends a client's waiting, with an error or as if its time were up. The world is at rest. False if it does not
/// wait for keys.
pub fn release(server: &Server, stats: &ThreadStats, conn: &mut Conn, error: Option<&ReplyError>) -> bool {
    let Some(waiter) = conn.session.blocked.clone() else { return false };
    if !forget(server, &mut conn.session) {
        return false;
    }
    count_end(server, stats, &waiter, error);
    let reply = match error {
        None => timeout_reply(conn.session.resp),
        Some(error) => {
            let mut out = Vec::new();
            Reply::new(&mut out, conn.session.resp).error(error);
            out
        }
    };
    let client = conn.session.id;
    server.post(conn.session.thread, Mail::Unblock { client, reply, write_offset: None });
    true
}

/// This node becomes a replica: what clients wait for would not happen here. They are told so and disconnected.
pub fn release_all(server: &Server, world: &mut dyn AtRest) {
    let error = ReplyError::fixed(
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    );
    let stats = server.waiters.stats.get_or_init(|| server.stats.thread());
    for state in world.threads() {
        for (_, conn) in state.iter_mut() {
            let client = conn.session.id;
            let waits_for_replicas =
                conn.waiting.as_ref().is_some_and(|waiting| matches!(waiting.wait, Wait::Replicas { .. }));
            if waits_for_replicas {
                let mut reply = Vec::new();
                Reply::new(&mut reply, conn.session.resp).error(&error);
                server.post(conn.session.thread, Mail::Unblock { client, reply, write_offset: None });
            } else if !release(server, stats, conn, Some(&error)) {
                continue;
            }
            conn.session.flags.insert(SessionFlags::CLOSE_AFTER_REPLY);
        }
    }
}

/// The routing has changed: who waits for keys that are not served here any more is told where to go.
pub fn redirect(server: &Server, world: &mut dyn AtRest) {
    let Some(cluster) = &server.cluster else { return };
    let (routing, settings) = (cluster.routing(), server.settings());
    let stats = server.waiters.stats.get_or_init(|| server.stats.thread());
    for state in world.threads() {
        for (_, conn) in state.iter_mut() {
            let Some(waiter) = &conn.session.blocked else { continue };
            if let Some(error) = crate::cluster::route::of_waiter(&routing, &settings, waiter) {
                release(server, stats, conn, Some(&error));
            }
        }
    }
}
