//! The loop of an IO thread: wait for sockets, run what they sent, write the replies.

mod limits;

use super::attendant::SocketAttendant;
use super::conn::{Conn, FeedState, IoState, Waiting, write_some};
use super::lookahead::Lookahead;
use super::{Mail, Mailbox};
use crate::clock;
use crate::exec::cx::Wait;
use crate::exec::dispatch::settle_reply;
use crate::exec::{Batch, Executor, Outcome, Session, SessionFlags};
use crate::gate::World;
use crate::pubsub::shard_channel_gone;
use crate::replication::{no_aof, on_disks, reply_on_disks};
use crate::server::Server;
use crate::tracking;
use limits::{ClientLimit, keep_input, over};
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::MutexGuard;
use protocol::request::{Limits, Progress, Step};
use protocol::{Argv, Reply, ReplyError};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Bytes read from a socket at once.
const READ_BYTES: usize = 64 * 1024;
/// Room for replies that a thread keeps at least.
const OUT_BYTES: usize = 64 * 1024;
/// Replies are written out early when a batch has made this many bytes of them.
const FLUSH_BYTES: usize = 256 * 1024;
/// Replies of no more than this many bytes are in no limit's way, as in stock, where a client has a buffer for them.
pub const SMALL_REPLIES_BYTES: usize = 16 * 1024;
/// How much of the write log goes to a replica at once.
const FEED_BYTES: usize = 256 * 1024;
const WAKER: Token = Token(usize::MAX);
/// Waiting clients are looked at this often at least, in milliseconds.
const TICK_MS: u64 = 100;

/// A connection is to be closed: by its peer, by an error, or by us.
struct Closed;

pub struct IoThread {
    index: usize,
    poll: Poll,
    mailbox: Arc<Mailbox>,
    executor: Executor,
    inbuf: Box<[u8]>,
    out: Vec<u8>,
    progress: Progress,
    ahead: Lookahead,
    mail: Vec<Mail>,
    /// Connections whose socket may hold more than was read.
    unread: Vec<usize>,
    /// Tokens of connections that are replicas.
    replicas: Vec<usize>,
    /// Tokens of connections that wait for something other than keys.
    waiting: Vec<usize>,
    /// Tokens of connections that were sent messages and have not been written to yet.
    pushed: Vec<usize>,
    /// When clients that wait for keys give up.
    deadlines: BTreeSet<(i64, u64)>,
    client_limit: ClientLimit,
}

/// A thread's turn: its cell of the gate, and what the batch sees.
struct Turn<'s> {
    server: &'s Arc<Server>,
    index: usize,
    cell: Option<MutexGuard<'s, IoState>>,
    batch: Batch,
}

impl<'s> Turn<'s> {
    fn begin(server: &'s Arc<Server>, index: usize) -> Turn<'s> {
        let cell = Some(server.gate.enter(index));
        Turn { server, index, cell, batch: Batch::begin(server) }
    }

    fn state(&mut self) -> &mut IoState {
        self.cell.as_mut().expect("only absent while the world is at rest")
    }

    /// Runs `f` with the world at rest, then begins a new batch. `None` when a slow script keeps the world from it.
    fn with_world<R>(&mut self, f: impl FnOnce(&mut World<'_>, &Batch) -> R) -> Option<R> {
        self.cell = None;
        let world = loop {
            match self.server.gate.try_stop_world() {
                Some(world) => break Some(world),
                None if self.server.scripts.busy.is_any() => break None,
                None => {}
            }
        };
        let result = world.map(|mut world| f(&mut world, &Batch::begin(self.server)));
        self.cell = Some(self.server.gate.enter(self.index));
        self.batch = Batch::begin(self.server);
        result
    }
}

impl IoThread {
    pub fn new(server: Arc<Server>, index: usize) -> io::Result<(IoThread, Arc<Mailbox>)> {
        let poll = Poll::new()?;
        let mailbox = Arc::new(Mailbox::new(Waker::new(poll.registry(), WAKER)?));
        let seed = clock::now_micros() as u64 ^ (index as u64) << 48;
        let thread = IoThread {
            index,
            poll,
            mailbox: mailbox.clone(),
            executor: Executor::new(server, seed),
            inbuf: vec![0; READ_BYTES].into_boxed_slice(),
            out: Vec::with_capacity(OUT_BYTES),
            progress: Progress::default(),
            ahead: Lookahead::default(),
            mail: Vec::new(),
            unread: Vec::new(),
            replicas: Vec::new(),
            waiting: Vec::new(),
            pushed: Vec::new(),
            deadlines: BTreeSet::new(),
            client_limit: ClientLimit::default(),
        };
        Ok((thread, mailbox))
    }

    /// Serves until told to stop.
    pub fn run(mut self) -> io::Result<()> {
        let server = self.executor.server.clone();
        let mut events = Events::with_capacity(1024);
        loop {
            let patience = match self.unread.is_empty() {
                true => self.next_look_ms().map(Duration::from_millis),
                false => Some(Duration::ZERO),
            };
            let waited = self.mailbox.wait(|may_sleep| {
                self.poll.poll(&mut events, if may_sleep { patience } else { Some(Duration::ZERO) })?;
                Ok(events.iter().any(|event| event.token() == WAKER))
            });
            let has_mail = match waited {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            let mut turn = Turn::begin(&server, self.index);
            let log_end = server.log.end();
            self.executor.start_batch();
            // Before what clients have sent since: they may know of what the mail is about.
            if has_mail && self.read_mail(&mut turn) {
                return Ok(());
            }
            for token in std::mem::take(&mut self.unread) {
                self.serve(&mut turn, token, true, false);
            }
            for event in events.iter().filter(|event| event.token() != WAKER) {
                let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                self.serve(&mut turn, event.token().0, readable, event.is_writable());
            }
            if !self.waiting.is_empty() {
                self.look_after_waiting(&mut turn);
            }
            if !self.deadlines.is_empty() {
                self.give_up_waiting(&mut turn);
            }
            self.executor.end_batch();
            let grown = server.log.end() != log_end;
            if grown && server.replication.has_replicas() {
                server.post_all_but(self.index, || Mail::LogMoved);
            }
            if !self.replicas.is_empty() {
                self.feed_replicas(&mut turn);
            }
        }
    }

    /// Handles messages of other threads. True when the thread is to end.
    fn read_mail(&mut self, turn: &mut Turn<'_>) -> bool {
        let mut mail = std::mem::take(&mut self.mail);
        self.mailbox.take(&mut mail);
        for message in mail.drain(..) {
            match message {
                Mail::Connection(conn) => self.adopt(turn, conn),
                Mail::Deliver { delivery, publisher } => {
                    for &client in delivery.clients.iter().filter(|&&client| client != publisher) {
                        self.push(turn, client, |session, out| delivery.give(session, out));
                    }
                }
                Mail::ShardChannelGone { name, clients } => {
                    for &client in clients.iter() {
                        self.push(turn, client, |session, out| shard_channel_gone(session, &name, out));
                    }
                }
                Mail::Invalidate { client, invalidation } => {
                    let server = turn.server;
                    self.push(turn, client, |session, out| {
                        tracking::give(server, session, &invalidation, out)
                    });
                }
                Mail::Redirected { client, origin: (origin, thread), keys } => {
                    if turn.state().token_of(client).is_none() {
                        turn.server.post(thread, Mail::RedirectBroke { client: origin, target: client });
                    }
                    self.push(turn, client, |session, out| tracking::give_redirected(session, &keys, out));
                }
                Mail::RedirectBroke { client, target } => {
                    self.push(turn, client, |session, out| tracking::redirect_broke(session, target, out));
                }
                Mail::Monitored { client, bytes } => self.push(turn, client, |session, out| {
                    if session.is(SessionFlags::MONITOR) {
                        out.extend_from_slice(&bytes);
                    }
                }),
                Mail::Push { client, bytes } => self.with_conn(turn, client, |conn, _| {
                    conn.output.extend_from_slice(&bytes);
                    conn.flush().map(|_| ()).map_err(|_| Closed)
                }),
                Mail::Unblock { client, reply, write_offset } => {
                    self.answer(turn, client, &reply, write_offset);
                }
                Mail::KeyReady { db, key } => self.executor.serve_key(&turn.batch, db, key),
                Mail::Kill { client } => self.kill(turn, client),
                Mail::LogMoved => self.release_held(turn),
                Mail::Sweep => {
                    self.sweep(turn);
                    self.reassure_replicas(turn);
                }
                Mail::Stop => return true,
            }
        }
        self.mail = mail;
        self.write_pushed(turn);
        self.limit_clients(turn);
        false
    }

    /// Appends to what goes to a client that has sent nothing. It is written when the mail has been read.
    fn push(&mut self, turn: &mut Turn<'_>, client: u64, append: impl FnOnce(&mut Session, &mut Vec<u8>)) {
        let Some(token) = turn.state().token_of(client) else { return };
        let Some(mut conn) = turn.state().take(token) else { return };
        let was_empty = conn.output.is_empty();
        append(&mut conn.session, &mut conn.output);
        // What lies there already is written when the socket takes it; but too much closes it at once.
        if was_empty && !conn.output.is_empty() || !was_empty && self.over_limit(turn, &mut conn) {
            self.pushed.push(token);
        }
        self.put_back(turn, token, conn, Ok(()));
    }

    fn write_pushed(&mut self, turn: &mut Turn<'_>) {
        for token in std::mem::take(&mut self.pushed) {
            let Some(mut conn) = turn.state().take(token) else { continue };
            let result = self.send(turn, &mut conn);
            self.put_back(turn, token, conn, result);
        }
    }

    /// Ends the waiting of a client with its reply, and runs what it has sent meanwhile.
    fn answer(&mut self, turn: &mut Turn<'_>, client: u64, reply: &[u8], write_offset: Option<u64>) {
        let Some(token) = turn.state().token_of(client) else { return };
        let Some(mut conn) = turn.state().take(token) else { return };
        self.stop_waiting(turn.server, &mut conn);
        self.waiting.retain(|&other| other != token);
        if let Some(offset) = write_offset {
            conn.session.last_write_offset = offset;
        }
        let start = self.out.len();
        self.out.extend_from_slice(reply);
        settle_reply(&mut conn.session, &mut self.out, start);
        let result = self.run_arrived(turn, &mut conn);
        if result.is_ok() && conn.waiting.is_some() && !self.waiting.contains(&token) {
            self.note_waiting(token, &conn);
        }
        self.put_back(turn, token, conn, result);
    }

    /// Runs what arrived while the client waited, and sends all replies there are.
    fn run_arrived(&mut self, turn: &mut Turn<'_>, conn: &mut Conn) -> Result<(), Closed> {
        let input = std::mem::take(&mut conn.input);
        let used = self.run_input(turn, conn, &input)?;
        conn.input = input[used..].to_vec();
        if let Some(master) = &conn.master {
            master.received(turn.server, conn.input.len());
        }
        self.send(turn, conn)
    }

    fn start_waiting(&mut self, turn: &Turn<'_>, conn: &mut Conn, wait: Wait) {
        match (&wait, &conn.session.blocked) {
            // Counted where they are served.
            (Wait::Keys, Some(waiter)) => {
                self.deadlines.extend(waiter.deadline_ms.map(|deadline_ms| (deadline_ms, conn.session.id)));
            }
            _ => {
                turn.server.stats.blocked.fetch_add(1, Relaxed);
            }
        }
        conn.waiting = Some(Waiting { wait });
    }

    fn stop_waiting(&mut self, server: &Server, conn: &mut Conn) -> Option<Wait> {
        let Waiting { wait } = conn.waiting.take()?;
        if !matches!(wait, Wait::Keys) {
            server.stats.blocked.fetch_sub(1, Relaxed);
        }
        if let Some(waiter) = conn.session.blocked.take()
            && let Some(deadline_ms) = waiter.deadline_ms
        {
            self.deadlines.remove(&(deadline_ms, conn.session.id));
        }
        Some(wait)
    }

    fn note_waiting(&mut self, token: usize, conn: &Conn) {
        let waits_for_keys = conn.waiting.as_ref().is_some_and(|waiting| matches!(waiting.wait, Wait::Keys));
        if !waits_for_keys {
            self.waiting.push(token);
        }
    }

    /// Closes a connection. A replica gets first what was written for it until now.
    fn kill(&mut self, turn: &mut Turn<'_>, client: u64) {
        let Some(token) = turn.state().token_of(client) else { return };
        let Some(mut conn) = turn.state().take(token) else { return };
        if conn.feed.is_some() {
            let _ = self.feed(turn, &mut conn);
        }
        self.put_back(turn, token, conn, Err(Closed));
    }

    fn with_conn(
        &mut self,
        turn: &mut Turn<'_>,
        client: u64,
        f: impl FnOnce(&mut Conn, &Batch) -> Result<(), Closed>,
    ) {
        let Some(token) = turn.state().token_of(client) else { return };
        let Some(mut conn) = turn.state().take(token) else { return };
        let result = f(&mut conn, &turn.batch);
        self.put_back(turn, token, conn, result);
    }

    fn adopt(&mut self, turn: &mut Turn<'_>, mut conn: Box<Conn>) {
        conn.session.thread = self.index;
        // Rights may have changed while it was on its way.
        conn.session.refresh_rights(&turn.server.acl);
        let token = turn.state().reserve(conn.session.id);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(conn.socket.source(), Token(token), interest).is_err() {
            return self.put_back(turn, token, conn, Err(Closed));
        }
        self.executor.stats.connections.add(1);
        turn.state().put(token, conn);
        // The socket may have become readable before it was registered.
        self.unread.push(token);
    }

    fn put_back(
        &mut self,
        turn: &mut Turn<'_>,
        token: usize,
        mut conn: Box<Conn>,
        result: Result<(), Closed>,
    ) {
        if result.is_ok() && !conn.doomed {
            if turn.batch.settings.client_memory_limit_bytes > 0 {
                turn.server.client_memory.count(self.index, &mut conn);
            }
            return turn.state().put(token, conn);
        }
        // What could not be sent is nobody else's.
        self.out.clear();
        let _ = self.poll.registry().deregister(conn.socket.source());
        self.replicas.retain(|&other| other != token);
        self.waiting.retain(|&other| other != token);
        turn.state().release(token, conn.session.id);
        crate::blocking::forget(turn.server, &mut conn.session);
        self.stop_waiting(turn.server, &mut conn);
        turn.server.connection_closed(&mut conn);
    }

    fn serve(&mut self, turn: &mut Turn<'_>, token: usize, readable: bool, writable: bool) {
        let Some(mut conn) = turn.state().take(token) else { return };
        let mut result = Ok(());
        if writable && !conn.output.is_empty() && conn.held_until <= turn.server.durable_offset() {
            result =
                conn.flush().map(|n| self.executor.stats.net_out_bytes.add(n as u64)).map_err(|_| Closed);
        }
        if result.is_ok() && readable {
            result = self.read_and_run(turn, token, &mut conn);
        }
        if result.is_ok() && conn.feed.is_some() && !self.replicas.contains(&token) {
            self.replicas.push(token);
        }
        if result.is_ok() && conn.waiting.is_some() && !self.waiting.contains(&token) {
            self.note_waiting(token, &conn);
        }
        self.put_back(turn, token, conn, result);
        self.limit_clients(turn);
    }

    fn read_and_run(&mut self, turn: &mut Turn<'_>, token: usize, conn: &mut Conn) -> Result<(), Closed> {
        let n = match conn.socket.read(&mut self.inbuf) {
            Ok(0) => return Err(Closed),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.unread.push(token);
                return Ok(());
            }
            Err(_) => return Err(Closed),
        };
        if n == READ_BYTES {
            self.unread.push(token);
        }
        self.executor.stats.net_in_bytes.add(n as u64);
        self.executor.stats.reads.add(1);
        conn.session.last_used_ms = turn.batch.now_ms;
        if n == 0 && conn.input.is_empty() {
            return Ok(());
        }
        // Parse where the bytes lie: in the thread's buffer, or behind what the connection had left.
        if conn.input.is_empty() {
            let inbuf = std::mem::take(&mut self.inbuf);
            let used = self.run_input(turn, conn, &inbuf[..n]);
            if let Ok(used) = used
                && used < n
            {
                keep_input(conn, &inbuf[used..n]);
            }
            self.inbuf = inbuf;
            used?;
        } else {
            let mut input = std::mem::take(&mut conn.input);
            input.extend_from_slice(&self.inbuf[..n]);
            let used = self.run_input(turn, conn, &input)?;
            if used < input.len() {
                input.drain(..used);
                conn.input = input;
                keep_input(conn, &[]);
            }
        }
        if let Some(master) = &conn.master {
            master.received(turn.server, conn.input.len());
        } else if conn.input.len() > turn.batch.settings.query_buffer_limit_bytes {
            return Err(self.close_for_query(turn, conn));
        }
        self.send(turn, conn)
    }

    /// Runs the commands in `data`; returns how many bytes they took.
    fn run_input(&mut self, turn: &mut Turn<'_>, conn: &mut Conn, data: &[u8]) -> Result<usize, Closed> {
        let mut at = 0;
        let mut progress = match conn.progress.take() {
            Some(progress) => *progress,
            None => std::mem::take(&mut self.progress),
        };
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.clear();
        while conn.waiting.is_none() && !conn.session.is(SessionFlags::CLOSE_AFTER_REPLY) && !conn.doomed {
            let limits = Limits {
                bulk_max: turn.batch.settings.proto_max_bulk_len,
                unauthenticated: !conn.session.is(SessionFlags::AUTHENTICATED) && !conn.session.is_obeyed(),
            };
            let buf = &data[at..];
            if self.out.len() >= FLUSH_BYTES {
                self.send(turn, conn)?;
                if self.is_client_limit_reached(turn, conn) {
                    break;
                }
            }
            let foreseen = match ahead.pop() {
                Some(foreseen) => Some(foreseen),
                None if progress.is_fresh() && !limits.unauthenticated => {
                    ahead.fill(buf, &limits, turn.server.keyspace.db(conn.session.db));
                    ahead.pop()
                }
                None => None,
            };
            if let Some(foreseen) = foreseen {
                self.executor.expect_slot(foreseen.slot);
                if self.run_command(turn, conn, foreseen.argv(buf)) {
                    self.applied(turn, conn, &buf[..foreseen.consumed]);
                    at += foreseen.consumed;
                }
                continue;
            }
            match progress.advance(buf, &limits) {
                Ok(Step::Command { consumed }) => {
                    if self.run_command(turn, conn, Argv::new(buf, &progress.ranges)) {
                        self.applied(turn, conn, &buf[..consumed]);
                        at += consumed;
                    }
                }
                Ok(Step::Inline { consumed, args }) => {
                    if self.run_command(turn, conn, args.as_argv()) {
                        at += consumed;
                    }
                }
                Ok(Step::Nothing { consumed }) => {
                    self.applied(turn, conn, &buf[..consumed]);
                    at += consumed;
                }
                Ok(Step::NeedMore) => break,
                Err(error) => {
                    Reply::new(&mut self.out, conn.session.resp).error(&error);
                    conn.session.flags.insert(SessionFlags::CLOSE_AFTER_REPLY);
                    at = data.len();
                    break;
                }
            }
            progress.reset();
        }
        self.ahead = ahead;
        if progress.is_fresh() || conn.session.is(SessionFlags::CLOSE_AFTER_REPLY) {
            progress.reset();
            self.progress = progress;
        } else {
            conn.progress = Some(Box::new(progress));
        }
        Ok(at)
    }

    /// Runs one command. False when it is to be run again later: it stays in the input.
    fn run_command(&mut self, turn: &mut Turn<'_>, conn: &mut Conn, argv: Argv<'_>) -> bool {
        let Conn { session, .. } = conn;
        let start = self.out.len();
        let mut outcome = self.executor.execute(&turn.batch, session, argv, &mut self.out, None);
        if matches!(outcome, Outcome::NeedsAttendant) {
            let own = turn.cell.as_deref_mut();
            let mut attendant = SocketAttendant::new(turn.server, turn.index, own);
            let (executor, out) = (&mut self.executor, &mut self.out);
            outcome = executor.execute_attended(&turn.batch, session, argv, out, None, &mut attendant);
        }
        if matches!(outcome, Outcome::NeedsWorld) {
            let (executor, out) = (&mut self.executor, &mut self.out);
            let (server, index) = (turn.server, turn.index);
            let rested = turn.with_world(|world, batch| {
                let mut attendant = SocketAttendant::new(server, index, None);
                executor.execute_attended(batch, session, argv, out, Some(world), &mut attendant)
            });
            // Somebody's slow script is in the way: run it again among the busy, which tells the client so.
            outcome = rested.unwrap_or_else(|| {
                let mut batch = Batch::begin(server);
                batch.busy = true;
                executor.execute(&batch, session, argv, out, None)
            });
        }
        match outcome {
            Outcome::Postponed => {
                self.start_waiting(turn, conn, Wait::Unpaused);
                return false;
            }
            Outcome::Wait(wait) => self.start_waiting(turn, conn, wait),
            _ => {}
        }
        const SILENT: SessionFlags = SessionFlags::MASTER.union(SessionFlags::REPLICA);
        if conn.session.flags.intersects(SILENT) && self.out.len() > start {
            self.overheard(turn.server, conn, argv, start);
        }
        turn.server.after_command(conn);
        true
    }

    /// There is a reply (behind `start`) to our master or to a replica, who are not to get any. An error means that from now on the
    /// datasets may differ.
    #[cold]
    fn overheard(&mut self, server: &Server, conn: &mut Conn, argv: Argv<'_>, start: usize) {
        let (us, them) = if conn.master.is_some() { ("replica", "master") } else { ("master", "replica") };
        let name = conn.session.last_command.map_or_else(
            || String::from_utf8_lossy(argv.name()).to_ascii_lowercase(),
            |command| command.full_name.to_string(),
        );
        if self.out[start] == b'-' {
            let line = self.out[start + 1..].split(|b| *b == b'\r').next().unwrap_or_default();
            server.stats.unexpected_errors.fetch_add(1, Relaxed);
            crate::log::warning(&format!(
                "== CRITICAL == This {us} is sending an error to its {them}: '{}' after processing the command '{name}'",
                String::from_utf8_lossy(line),
            ));
        }
        if conn.feed.is_some() {
            crate::log::warning(&format!(
                "Replica generated a reply to command '{name}', disconnecting it: id={} addr={}",
                conn.session.id, conn.session.peer
            ));
            self.out.truncate(start);
            conn.doomed = true;
        }
    }

    /// Our master's stream is passed on to our own replicas and the AOF as it came.
    fn applied(&mut self, turn: &mut Turn<'_>, conn: &mut Conn, bytes: &[u8]) {
        if let Some(master) = &mut conn.master {
            master.applied(turn.server, bytes, conn.session.db, conn.session.multi.is_some());
            // A master gets no replies, except what it asked for.
            if !master.take_reply_wanted() {
                self.out.clear();
            }
        }
    }

    /// Sends what the batch has made for this connection, or keeps it until the log is durable.
    fn send(&mut self, turn: &mut Turn<'_>, conn: &mut Conn) -> Result<(), Closed> {
        let closing = conn.session.is(SessionFlags::CLOSE_AFTER_REPLY);
        if self.out.len() > SMALL_REPLIES_BYTES && self.over_hard_limit(turn, conn) {
            self.out = Vec::with_capacity(OUT_BYTES);
            return Err(self.close_for_output(turn, conn));
        }
        let held = turn.server.holds_replies(&turn.batch, conn.session.last_write_offset);
        if held {
            conn.held_until = conn.session.last_write_offset;
        }
        if held || !conn.output.is_empty() || conn.held_until > turn.server.durable_offset() {
            conn.output.append(&mut self.out);
            if conn.held_until <= turn.server.durable_offset() {
                conn.flush().map_err(|_| Closed)?;
            }
        } else if !self.out.is_empty() {
            let written = write_some(&mut conn.socket, &self.out).map_err(|_| Closed)?;
            self.executor.stats.net_out_bytes.add(written as u64);
            self.executor.stats.writes.add(1);
            conn.output.extend_from_slice(&self.out[written..]);
            self.out.clear();
            if self.out.capacity() > 4 * FLUSH_BYTES {
                self.out = Vec::with_capacity(OUT_BYTES);
            }
        }
        if !conn.output.is_empty() && self.over_limit(turn, conn) {
            return Err(self.close_for_output(turn, conn));
        }
        if closing { Err(Closed) } else { Ok(()) }
    }

    /// Sends replies that waited for the log to be durable.
    fn release_held(&mut self, turn: &mut Turn<'_>) {
        let durable = turn.server.durable_offset();
        let mut released = Vec::new();
        for (token, conn) in turn.state().iter_mut() {
            if conn.held_until > 0 && conn.held_until <= durable && !conn.output.is_empty() {
                released.push(token);
            }
        }
        for token in released {
            self.serve(turn, token, false, true);
        }
    }

    /// Sends each replica what has been written since.
    fn feed_replicas(&mut self, turn: &mut Turn<'_>) {
        for token in self.replicas.clone() {
            let Some(mut conn) = turn.state().take(token) else { continue };
            let result = self.feed(turn, &mut conn);
            self.put_back(turn, token, conn, result);
        }
    }

    fn feed(&mut self, turn: &mut Turn<'_>, conn: &mut Conn) -> Result<(), Closed> {
        let Some(feed) = &conn.feed else { return Ok(()) };
        let Some(cursor) = &feed.cursor else { return Ok(()) };
        let behind_bytes = turn.server.log.end().saturating_sub(cursor.get());
        let settings = &turn.batch.settings;
        // What the backlog keeps anyhow is not held against it.
        let limit = settings.buffer_limit_replica.at_least(settings.repl_backlog_bytes);
        if over(&limit, behind_bytes, turn.batch.now_ms, &mut conn.soft_limit_since_ms) {
            // The log may not grow without bound for one replica; it comes back with a full sync.
            crate::log::warning(&format!(
                "Replica {} is {behind_bytes} bytes behind and is disconnected \
                 (client-output-buffer-limit replica, repl-backlog-size)",
                conn.session.peer
            ));
            self.executor.stats.output_limit_disconnections.add(1);
            return Err(Closed);
        }
        if feed.state != FeedState::Online {
            return Ok(());
        }
        // What the socket does not take stays in the log, not in a buffer of its own.
        while conn.output.is_empty() {
            let moved = turn.server.log.read(cursor, FEED_BYTES, &mut conn.output);
            if moved.map_err(|_| Closed)? == 0 {
                break;
            }
            let written = write_some(&mut conn.socket, &conn.output).map_err(|_| Closed)?;
            self.executor.stats.repl_out_bytes.add(written as u64);
            conn.output.drain(..written);
        }
        Ok(())
    }

    /// Shows replicas that wait for their snapshot that we are alive: once a second, whatever they are used to.
    fn reassure_replicas(&mut self, turn: &mut Turn<'_>) {
        for (_, conn) in turn.state().iter_mut() {
            let state = conn.feed.as_ref().map(|feed| feed.state);
            if matches!(state, Some(FeedState::Waits | FeedState::WaitsForFile)) {
                // A socket that takes nothing has a peer that has not read for long.
                let _ = conn.socket.write(b"\n");
            }
        }
    }

    /// Milliseconds until somebody who waits has to be looked at.
    fn next_look_ms(&self) -> Option<u64> {
        let tick_ms = (!self.waiting.is_empty()).then_some(TICK_MS);
        let deadline_ms = self
            .deadlines
            .first()
            .map(|(deadline_ms, _)| u64::try_from(deadline_ms.saturating_sub(clock::now_ms())).unwrap_or(0));
        tick_ms.into_iter().chain(deadline_ms).min()
    }

    /// Answers clients that have waited for keys as long as they wanted to.
    fn give_up_waiting(&mut self, turn: &mut Turn<'_>) {
        while let Some(&(deadline_ms, client)) = self.deadlines.first()
            && deadline_ms <= turn.batch.now_ms
        {
            self.deadlines.pop_first();
            let Some(conn) = turn.state().get_mut(client) else { continue };
            let Some(waiter) = conn.session.blocked.clone() else { continue };
            // Otherwise it has been served, and its reply is in the mail.
            if crate::blocking::forget(&self.executor.server, &mut conn.session) {
                let reply = crate::blocking::timeout_reply(conn.session.resp);
                crate::blocking::count_end(turn.server, &self.executor.stats, waiter.command, None);
                self.answer(turn, client, &reply, None);
            }
        }
    }

    /// Answers clients whose waiting for replicas, or for the end of a pause, is over.
    fn look_after_waiting(&mut self, turn: &mut Turn<'_>) {
        for token in self.waiting.clone() {
            let Some(mut conn) = turn.state().take(token) else { continue };
            let over = conn.waiting.as_ref().is_none_or(|waiting| wait_is_over(turn.server, &waiting.wait));
            if !over {
                turn.state().put(token, conn);
                continue;
            }
            self.waiting.retain(|&other| other != token);
            if let Some(Wait::Replicas { offset, disks, .. }) = self.stop_waiting(turn.server, &mut conn) {
                let mut reply = Reply::new(&mut self.out, conn.session.resp);
                match disks {
                    None => reply.integer(turn.server.replication.acked_by(offset) as i64),
                    Some(disks) if disks.own && !turn.batch.settings.appendonly => reply.error(&no_aof()),
                    Some(_) => {
                        let (own, replicas) = on_disks(turn.server, offset);
                        reply_on_disks(&mut reply, own, replicas);
                    }
                }
            }
            // Commands that arrived meanwhile are run now.
            turn.batch.writes_paused = turn.server.are_writes_paused();
            turn.batch.all_paused = turn.server.pause.holds_all();
            let result = self.run_arrived(turn, &mut conn);
            if result.is_ok() && conn.waiting.is_some() {
                self.note_waiting(token, &conn);
            }
            self.put_back(turn, token, conn, result);
        }
    }
}

fn wait_is_over(server: &Server, wait: &Wait) -> bool {
    match wait {
        Wait::Replicas { replicas, offset, deadline_ms, disks } => {
            let enough = match disks {
                None => server.replication.acked_by(*offset) >= *replicas,
                Some(disks) => {
                    let (own, others) = on_disks(server, *offset);
                    let pointless = disks.own && !server.settings().appendonly;
                    pointless || others >= *replicas && own >= usize::from(disks.own)
                }
            };
            enough || deadline_ms.is_some_and(|deadline_ms| clock::now_ms() >= deadline_ms)
        }
        Wait::Unpaused => !server.are_writes_paused(),
        Wait::Keys | Wait::World => false,
    }
}

/// The reply to a client that cannot be taken.
pub fn refusal(error: &ReplyError) -> Vec<u8> {
    let mut out = Vec::new();
    Reply::new(&mut out, protocol::Resp::V2).error(error);
    out
}
