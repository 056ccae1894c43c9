//! Connections as commands see them from outside: who is there, and CLIENT LIST's line for each.

use crate::client_memory::Footprint;
use crate::config::{BufferLimit, Settings};
use crate::exec::session::Session;
use crate::exec::{Cx, SessionFlags};
use crate::net::{Conn, Mail};
use crate::pubsub::Space;
use crate::server::Server;
use protocol::Argv;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64};

/// What a client is for, as CLIENT LIST TYPE and output buffer limits tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientType {
    Normal,
    Replica,
    Pubsub,
    Master,
}

impl ClientType {
    pub fn named(name: &[u8]) -> Option<ClientType> {
        const NAMES: [(&str, ClientType); 5] = [
            ("normal", ClientType::Normal),
            ("slave", ClientType::Replica),
            ("replica", ClientType::Replica),
            ("pubsub", ClientType::Pubsub),
            ("master", ClientType::Master),
        ];
        let named = NAMES.iter().find(|(text, _)| text.as_bytes().eq_ignore_ascii_case(name))?;
        Some(named.1)
    }

    pub fn of(session: &Session) -> ClientType {
        match () {
            () if session.is(SessionFlags::MASTER) => ClientType::Master,
            () if session.is(SessionFlags::REPLICA) && !session.is(SessionFlags::MONITOR) => {
                ClientType::Replica
            }
            () if session.is(SessionFlags::SUBSCRIBED) => ClientType::Pubsub,
            () => ClientType::Normal,
        }
    }

    /// `client-output-buffer-limit` for such a client.
    pub fn output_limit(self, settings: &Settings) -> &BufferLimit {
        const NONE: &BufferLimit = &BufferLimit { hard_bytes: 0, soft_bytes: 0, soft_seconds: 0 };
        match self {
            ClientType::Normal => &settings.buffer_limit_normal,
            ClientType::Replica => &settings.buffer_limit_replica,
            ClientType::Pubsub => &settings.buffer_limit_pubsub,
            ClientType::Master => NONE,
        }
    }
}

/// A connection to be shown.
pub struct View<'a> {
    pub session: &'a Session,
    /// `None` for the client that asks: it is being served.
    conn: Option<&'a Conn>,
    held: Footprint,
}

impl<'a> View<'a> {
    pub fn own(session: &'a Session) -> View<'a> {
        View { session, conn: None, held: Footprint::asking(session, 0, 0) }
    }

    /// The client that asks, by the command `argv`.
    pub fn asking(session: &'a Session, argv: Argv<'_>) -> View<'a> {
        let mut query = Vec::new();
        protocol::reply::write_command(&mut query, argv.iter());
        let argv_bytes = argv.iter().map(<[u8]>::len).sum();
        View { session, conn: None, held: Footprint::asking(session, query.len(), argv_bytes) }
    }

    pub fn of(conn: &'a Conn) -> View<'a> {
        View { session: &conn.session, conn: Some(conn), held: Footprint::of(conn) }
    }

    pub fn client_type(&self) -> ClientType {
        ClientType::of(self.session)
    }

    /// The connection's line, fields and order as in Redis 7.2.
    pub fn line(&self, now_ms: i64) -> String {
        let (s, held) = (self.session, &self.held);
        let seconds = |since_ms: i64| (now_ms - since_ms).max(0) / 1000;
        let multi = s.multi.as_ref().map_or(-1, |multi| multi.queue.len() as i64);
        let subscribed = |space: Space| s.subscriptions.as_ref().map_or(0, |own| own.of(space).len());
        let events = if held.output > 0 { "rw" } else { "r" };
        let command = s.last_command.map_or("NULL", |command| &command.full_name);
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={multi} \
             qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={room} rbp={room} obl=0 oll={} omem={} tot-mem={} \
             events={events} cmd={command} user={} redir={} resp={} lib-name={} lib-ver={}",
            s.id,
            s.peer,
            s.local,
            s.fd,
            s.name,
            seconds(s.created_ms),
            if self.conn.is_some() { seconds(s.last_used_ms) } else { 0 },
            self.flags(),
            s.db,
            subscribed(Space::Channels),
            subscribed(Space::Patterns),
            subscribed(Space::Shard),
            held.query,
            held.query_free,
            held.argv,
            held.multi,
            usize::from(held.output > 0),
            held.output,
            held.total,
            String::from_utf8_lossy(s.user_name()),
            redirect(s),
            s.resp.number(),
            s.lib_name,
            s.lib_version,
            room = held.output_room,
        )
    }

    fn flags(&self) -> String {
        let s = self.session;
        let waits = self.conn.is_some_and(|conn| conn.waiting.is_some());
        let doomed = self.conn.is_some_and(|conn| conn.doomed);
        let wishes = s.tracking.as_deref();
        let letters = [
            ('O', s.is(SessionFlags::MONITOR)),
            ('S', self.client_type() == ClientType::Replica),
            ('M', s.is(SessionFlags::MASTER)),
            ('P', s.is(SessionFlags::SUBSCRIBED)),
            ('x', s.multi.is_some()),
            ('b', waits),
            ('t', wishes.is_some()),
            ('R', wishes.is_some_and(|wishes| wishes.is_redirect_broken)),
            ('B', wishes.is_some_and(|wishes| wishes.is_broadcast)),
            ('d', s.watch_broken.load(Relaxed)),
            ('c', s.is(SessionFlags::CLOSE_AFTER_REPLY)),
            ('A', doomed),
            ('U', s.is(SessionFlags::UNIX_SOCKET)),
            ('r', s.is(SessionFlags::READONLY)),
            ('e', s.is(SessionFlags::NO_EVICT)),
            ('T', s.is(SessionFlags::NO_TOUCH)),
        ];
        let shown: String = letters.into_iter().filter(|(_, on)| *on).map(|(letter, _)| letter).collect();
        if shown.is_empty() { "N".into() } else { shown }
    }
}

/// The client that is told of invalid keys in place of this one; 0 when it is told itself, -1 when it tracks nothing.
pub fn redirect(session: &Session) -> i64 {
    session.tracking.as_ref().map_or(-1, |wishes| wishes.redirect.map_or(0, |(client, _)| client as i64))
}

/// Shows every connection, the caller's own first. The world is at rest.
pub fn each(cx: &mut Cx<'_>, mut show: impl FnMut(View<'_>)) {
    show(View::asking(cx.session, cx.argv));
    each_other(cx, |_, conn| show(View::of(conn)));
}

/// Closes a connection of a thread. The world is at rest.
pub fn doom(server: &Server, thread: usize, conn: &mut Conn) {
    conn.doomed = true;
    if let Some(feed) = &mut conn.feed {
        // The log need not wait for it any more.
        feed.cursor = None;
        server.log.trim();
    }
    // Nothing is to be popped or published for it any more.
    crate::blocking::forget(server, &mut conn.session);
    server.pubsub.forget(&mut conn.session);
    // Nor does the log keep for it what is written from here on.
    if let Some(feed) = &mut conn.feed {
        feed.cursor = None;
    }
    server.post(thread, Mail::Kill { client: conn.session.id });
}

/// Every connection but the caller's own and those that are being closed, with the thread that owns it. The world is at rest.
pub fn each_other(cx: &mut Cx<'_>, mut visit: impl FnMut(usize, &mut Conn)) {
    let Some(world) = &mut cx.world else { return };
    for (thread, state) in world.threads().into_iter().enumerate() {
        let alive = state.iter_mut().filter(|(_, conn)| !conn.doomed);
        alive.for_each(|(_, conn)| visit(thread, conn));
    }
}

/// CLIENT PAUSE: until when commands wait, and which.
#[derive(Default)]
pub struct Pause {
    until_ms: AtomicI64,
    /// Reads wait too.
    all: AtomicBool,
}

impl Pause {
    /// Holds commands back until `until_ms`. A pause under way is made longer and stricter, never the opposite.
    pub fn begin(&self, until_ms: i64, all: bool) {
        let stricter = all || self.holds_all();
        self.all.store(stricter, Relaxed);
        self.until_ms.fetch_max(until_ms, Relaxed);
    }

    pub fn end(&self) {
        self.until_ms.store(0, Relaxed);
        self.all.store(false, Relaxed);
    }

    #[inline]
    pub fn holds_writes(&self) -> bool {
        let until_ms = self.until_ms.load(Relaxed);
        until_ms != 0 && crate::clock::now_ms() < until_ms
    }

    #[inline]
    pub fn holds_all(&self) -> bool {
        self.all.load(Relaxed) && self.holds_writes()
    }
}
