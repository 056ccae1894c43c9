//! What connections hold in memory, and which are closed when that is too much (`maxmemory-clients`).
//!
//! ```text
//!  a connection was served, or sent something ──▶ its thread's account ──▶ all accounts at the limit?
//!                                                                            │ yes: with the world at rest
//!                                        the largest are closed first ◀──────┘ all are counted anew
//! ```
//!
//! Without a limit nothing is counted but once a second, for INFO. Replicas and masters never count: what they are
//! sent is in the write log.

use crate::clients::{self, ClientType, View};
use crate::exec::cx::AtRest;
use crate::exec::{Session, SessionFlags};
use crate::net::{Conn, IoState};
use crate::pubsub::Space;
use crate::server::Server;
use crate::stats::Counter;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A name listened to or watched, or a prefix: what refers to it, here and where it is looked up. The name itself is
/// shared.
const NAME_BYTES: usize = 64;
/// Clients are closed in order of their memory's magnitude: these bits make no difference.
const SMALLEST_BITS: u32 = 15;
/// Seconds over which INFO shows the largest buffers.
const RECENT_SECONDS: usize = 8;

/// What a connection holds, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Footprint {
    /// Read, but not part of a whole argument yet; and room for more.
    pub query: usize,
    pub query_free: usize,
    /// Whole arguments of a command that is not complete.
    pub argv: usize,
    /// Commands queued by MULTI, and what is under WATCH.
    pub multi: usize,
    /// On its way to the client; and the room that takes.
    pub output: usize,
    pub output_room: usize,
    pub total: usize,
}

impl Footprint {
    pub fn of(conn: &Conn) -> Footprint {
        let read = conn.progress.as_ref().map_or(0, |progress| progress.understood());
        let argv = conn.progress.as_ref().map_or(0, |progress| progress.argument_bytes());
        let (input, output) = (&conn.input, &conn.output);
        Footprint {
            query: input.len().saturating_sub(read),
            query_free: input.capacity() - input.len(),
            argv,
            output: output.len(),
            output_room: output.capacity(),
            ..Footprint::default()
        }
        .with(&conn.session, input.capacity() + output.capacity())
    }

    /// Of a client whose command of so many bytes is being run, with these arguments.
    pub fn asking(session: &Session, query: usize, argv: usize) -> Footprint {
        Footprint { query, argv, ..Footprint::default() }.with(session, query + argv)
    }

    /// Adds what the session holds to these bytes of buffers.
    fn with(self, session: &Session, buffers: usize) -> Footprint {
        let queued = session.multi.as_ref().map_or(0, |multi| multi.memory_bytes());
        let multi = queued + session.watched.len() * NAME_BYTES;
        let listens = session
            .subscriptions
            .as_ref()
            .map_or(0, |all| Space::ALL.into_iter().map(|space| all.of(space).len()).sum());
        let prefixes = session.tracking.as_ref().map_or(0, |wishes| wishes.prefixes.len());
        let names = (listens + prefixes) * NAME_BYTES;
        let total = size_of::<Conn>() + size_of::<Session>() + buffers + multi + names;
        Footprint { multi, total, ..self }
    }
}

/// One thread's account.
#[derive(Default)]
struct Account {
    /// Held by clients that are neither replicas nor masters.
    bytes: Counter,
    /// The largest buffers of a client, second by second in turn.
    input_max: [Counter; RECENT_SECONDS],
    output_max: [Counter; RECENT_SECONDS],
}

/// What all clients hold, by the thread that owns them.
pub struct ClientMemory {
    threads: Box<[CachePadded<Account>]>,
    /// Clients closed for what they held.
    pub evicted: AtomicU64,
}

impl ClientMemory {
    pub fn new(threads: usize) -> ClientMemory {
        let threads = (0..threads).map(|_| CachePadded::default()).collect();
        ClientMemory { threads, evicted: AtomicU64::new(0) }
    }

    /// Counts a connection of `thread` as large as it is now. Call it on that thread, or with the world at rest.
    pub fn count(&self, thread: usize, conn: &mut Conn) {
        let counts = matches!(ClientType::of(&conn.session), ClientType::Normal | ClientType::Pubsub);
        let bytes = if counts && !conn.doomed { Footprint::of(conn).total as u64 } else { 0 };
        self.recount(thread, conn, bytes);
    }

    /// The connection is gone, or as good as gone.
    pub fn forget(&self, thread: usize, conn: &mut Conn) {
        self.recount(thread, conn, 0);
    }

    fn recount(&self, thread: usize, conn: &mut Conn, bytes: u64) {
        let Some(account) = self.threads.get(thread) else { return };
        account.bytes.set((account.bytes.get() + bytes).saturating_sub(conn.counted_bytes));
        conn.counted_bytes = bytes;
    }

    /// Counts all connections of a thread, and notes the largest buffers of this second.
    pub fn survey(&self, thread: usize, state: &mut IoState, now_ms: i64) {
        let (mut input_max, mut output_max) = (0, 0);
        for (_, conn) in state.iter_mut() {
            self.count(thread, conn);
            input_max = input_max.max(conn.input.capacity());
            output_max = output_max.max(conn.output.capacity());
        }
        let Some(account) = self.threads.get(thread) else { return };
        let second = (now_ms / 1000) as usize % RECENT_SECONDS;
        account.input_max[second].set(input_max as u64);
        account.output_max[second].set(output_max as u64);
    }

    /// Bytes held by all clients.
    pub fn total(&self) -> u64 {
        self.threads.iter().map(|account| account.bytes.get()).sum()
    }

    /// The largest buffers for input and for output that a client had lately.
    pub fn recent_max(&self) -> (u64, u64) {
        let max = |of: fn(&Account) -> &[Counter]| {
            self.threads.iter().flat_map(|account| of(account)).map(Counter::get).max().unwrap_or(0)
        };
        (max(|account| &account.input_max), max(|account| &account.output_max))
    }

    /// Whether clients hold as much as they may not; 0 is no limit.
    #[inline]
    pub fn is_over(&self, limit_bytes: u64) -> bool {
        limit_bytes > 0 && self.total() >= limit_bytes
    }
}

/// Closes clients until the others are below the limit, the largest first, as far as they may be closed. False when
/// that was not enough. The world is at rest.
pub fn evict(server: &Server, world: &mut dyn AtRest, limit_bytes: u64, now_ms: i64) -> bool {
    let account = &server.client_memory;
    let mut threads = world.threads();
    let mut victims = Vec::new();
    for (thread, state) in threads.iter_mut().enumerate() {
        for (token, conn) in state.iter_mut() {
            account.count(thread, conn);
            if conn.counted_bytes > 0 && !conn.session.is(SessionFlags::NO_EVICT) {
                victims.push((magnitude(conn.counted_bytes), conn.session.id, thread, token));
            }
        }
    }
    victims.sort_unstable_by_key(|&(magnitude, id, ..)| (std::cmp::Reverse(magnitude), id));
    for (_, id, thread, _) in victims {
        if !account.is_over(limit_bytes) {
            break;
        }
        let Some(conn) = threads[thread].get_mut(id) else { continue };
        crate::log::notice(&format!("Evicting client: {}", View::of(conn).line(now_ms)));
        clients::doom(server, thread, conn);
        // Its memory is needed now, not when its thread gets round to closing it.
        (conn.input, conn.output) = (Vec::new(), Vec::new());
        account.forget(thread, conn);
        account.evicted.fetch_add(1, Relaxed);
    }
    let is_below = !account.is_over(limit_bytes);
    if !is_below {
        crate::log::warning("Over client maxmemory after evicting all evictable clients");
    }
    is_below
}

fn magnitude(bytes: u64) -> u32 {
    (u64::BITS - bytes.leading_zeros()).max(SMALLEST_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_holds_what_it_has_queued_and_listens_to() {
        let mut session = Session::new(1, String::new(), String::new(), 0);
        let before = Footprint::asking(&session, 26, 10);
        assert_eq!((before.query, before.argv, before.multi), (26, 10, 0));
        session.watched.push((0, Box::from(&b"key"[..])));
        let after = Footprint::asking(&session, 26, 10);
        assert_eq!((after.multi, after.total - before.total), (NAME_BYTES, NAME_BYTES));
    }

    #[test]
    fn magnitudes_double_and_small_clients_are_alike() {
        assert_eq!(magnitude(0), magnitude((1 << 15) - 1));
        assert_eq!(magnitude(1 << 15), magnitude(0) + 1);
        assert_eq!(magnitude(3 << 20), magnitude(1 << 20) + 1);
    }
}
