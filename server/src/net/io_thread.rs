//! The loop of an IO thread: wait for sockets, run what they sent, write the replies.

mod limits;
mod mail;
mod replication;
mod waiting;

use super::Mailbox;
use super::attendant::SocketAttendant;
use super::conn::{Conn, IoState, write_some};
use super::lookahead::Lookahead;
use super::mail::Mail;
use crate::clock;
use crate::exec::cx::Wait;
use crate::exec::spec::Flags;
use crate::exec::{Batch, Executor, Outcome, Session, SessionFlags};
use crate::gate::World;
use crate::server::Server;
use limits::{ClientLimit, keep_input};
use mio::{Events, Poll, Token, Waker};
use parking_lot::MutexGuard;
use protocol::request::{Limits, Progress, Step};
use protocol::{Argv, Reply, ReplyError};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

/// Bytes read from a socket at once.
const READ_BYTES: usize = 64 * 1024;
/// Room for replies that a thread keeps at least.
const OUT_BYTES: usize = 64 * 1024;
/// Replies are written out early when a batch has made this many bytes of them.
const FLUSH_BYTES: usize = 256 * 1024;
/// Replies of no more than this many bytes are in no limit's way, as in stock, where a client has a buffer for them.
pub const SMALL_REPLIES_BYTES: usize = 16 * 1024;
const WAKER: Token = Token(usize::MAX);

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
                    // A script's name is no key.
                    let is_key_first = !runs_scripts(&conn.session);
                    let db = turn.server.keyspace.db(conn.session.db).filter(|_| is_key_first);
                    ahead.fill(buf, &limits, db);
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
                    self.executor.refuse_bytes(&mut conn.session, &error, &mut self.out);
                    at = data.len();
                    break;
                }
            }
            progress.reset();
        }
        self.ahead = ahead;
        if progress.is_fresh() || conn.session.is(SessionFlags::CLOSE_AFTER_REPLY) {
            progress.reset();
            progress.give_back_room();
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
        let mut outcome = match runs_scripts(session) {
            true => Outcome::NeedsAttendant,
            false => self.executor.execute(&turn.batch, session, argv, &mut self.out, None),
        };
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
}

/// Whether the next command is likely to run a script: the last one did.
#[inline]
fn runs_scripts(session: &Session) -> bool {
    session.last_command.is_some_and(|last| last.has(Flags::RUNS_SCRIPT))
}

/// The reply to a client that cannot be taken.
pub fn refusal(error: &ReplyError) -> Vec<u8> {
    let mut out = Vec::new();
    Reply::new(&mut out, protocol::Resp::V2).error(error);
    out
}
