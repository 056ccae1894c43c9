//! Who serves clients while a script takes its time.
//!
//! The script holds its thread, and with the world at rest all threads. So the run itself looks after the
//! connections it can reach, from the interpreter's instruction hook: it reads what they have sent, runs what is
//! allowed beside a slow script, and refuses the rest with BUSY. What was read stays consistent with
//! the thread's own loop: sockets are edge-triggered, and a wake-up for bytes already read is harmless.

use super::conn::{Conn, IoState, write_some};
use super::mail::Mail;
use crate::clock;
use crate::exec::cx::{AtRest, Attendant};
use crate::exec::{Batch, Executor, SessionFlags};
use crate::server::Server;
use protocol::Argv;
use protocol::request::{Limits, Progress, Step};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two rounds, at least.
const REST: Duration = Duration::from_millis(5);
/// A round may take one part in so many of the script's time.
const SHARE: u32 = 20;
/// Bytes read from a connection in one round.
const READ_BYTES: usize = 16 * 1024;

pub struct SocketAttendant<'t> {
    server: &'t Arc<Server>,
    thread: usize,
    /// The thread's own connections, unless the world is at rest.
    own: Option<&'t mut IoState>,
    work: Option<Box<Work>>,
}

/// Made when a script turns out to be slow.
struct Work {
    executor: Executor,
    /// Connections that arrived meanwhile, with the threads they are for.
    guests: Vec<(usize, Box<Conn>)>,
    next_round: Instant,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl<'t> SocketAttendant<'t> {
    pub fn new(server: &'t Arc<Server>, thread: usize, own: Option<&'t mut IoState>) -> SocketAttendant<'t> {
        SocketAttendant { server, thread, own, work: None }
    }

    fn work(&mut self) -> Box<Work> {
        self.work.take().unwrap_or_else(|| {
            let executor = self.server.scripts.attendant.lock().take();
            let seed = clock::now_micros() as u64;
            Box::new(Work {
                executor: executor.unwrap_or_else(|| Executor::new(self.server.clone(), seed)),
                guests: Vec::new(),
                next_round: clock::monotonic(),
                out: Vec::new(),
                buffer: vec![0; READ_BYTES],
            })
        })
    }
}

impl Drop for SocketAttendant<'_> {
    /// Connections that arrived meanwhile go where they belong.
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        let Work { executor, guests, .. } = *work;
        for (thread, conn) in guests {
            self.server.post(thread, Mail::Connection(conn));
        }
        *self.server.scripts.attendant.lock() = Some(executor);
    }
}

impl Attendant for SocketAttendant<'_> {
    fn attend(&mut self, world: Option<&mut dyn AtRest>) {
        let started = clock::monotonic();
        if self.work.as_ref().is_some_and(|work| started < work.next_round) {
            return;
        }
        let mut work = self.work();
        let mut batch = Batch::begin(self.server);
        batch.busy = true;
        let is_world = world.is_some();
        match world {
            Some(world) => {
                world.threads().into_iter().for_each(|state| work.serve_all(&batch, state));
            }
            None => self.own.iter_mut().for_each(|state| work.serve_all(&batch, state)),
        }
        for thread in 0..self.server.gate.threads() {
            if is_world || thread == self.thread {
                self.server.take_arrivals(thread, |conn| work.guests.push((thread, conn)));
            }
        }
        let mut guests = std::mem::take(&mut work.guests);
        guests.iter_mut().for_each(|(_, conn)| work.serve(&batch, conn));
        work.guests = guests;
        let now = clock::monotonic();
        work.next_round = now + REST.max((now - started) * SHARE);
        self.work = Some(work);
    }
}

impl Work {
    fn serve_all(&mut self, batch: &Batch, state: &mut IoState) {
        state.iter_mut().for_each(|(_, conn)| self.serve(batch, conn));
    }

    /// Reads and answers. Whatever goes wrong with the socket is left for the loop that owns it.
    fn serve(&mut self, batch: &Batch, conn: &mut Conn) {
        if conn.feed.is_some() {
            return self.listen_to_replica(conn);
        }
        let is_client = conn.master.is_none() && conn.waiting.is_none() && !conn.doomed;
        if !is_client || conn.session.is(SessionFlags::CLOSE_AFTER_REPLY) {
            return;
        }
        match conn.socket.read(&mut self.buffer) {
            Ok(n) => conn.input.extend_from_slice(&self.buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        if !conn.input.is_empty() {
            self.run(batch, conn);
            self.send(conn);
        }
    }

    /// A replica that is gone counts no longer. What it says is looked at later.
    fn listen_to_replica(&mut self, conn: &mut Conn) {
        match conn.socket.read(&mut self.buffer) {
            Ok(0) => {
                let server = &self.executor.server;
                server.replication.replica_gone(server, conn.session.id);
            }
            Ok(n) => conn.input.extend_from_slice(&self.buffer[..n]),
            Err(_) => {}
        }
    }

    fn run(&mut self, batch: &Batch, conn: &mut Conn) {
        let input = std::mem::take(&mut conn.input);
        let mut progress = conn.progress.take().map_or_else(Progress::default, |progress| *progress);
        let mut at = 0;
        while !conn.session.is(SessionFlags::CLOSE_AFTER_REPLY) && conn.waiting.is_none() {
            let limits = Limits {
                bulk_max: batch.settings.proto_max_bulk_len,
                unauthenticated: !conn.session.is(SessionFlags::AUTHENTICATED),
            };
            let buf = &input[at..];
            let consumed = match progress.advance(buf, &limits) {
                Ok(Step::Command { consumed }) => {
                    let argv = Argv::new(buf, &progress.ranges);
                    self.executor.execute(batch, &mut conn.session, argv, &mut self.out, None);
                    consumed
                }
                Ok(Step::Inline { consumed, args }) => {
                    self.executor.execute(batch, &mut conn.session, args.as_argv(), &mut self.out, None);
                    consumed
                }
                Ok(Step::Nothing { consumed }) => consumed,
                Ok(Step::NeedMore) => break,
                Err(error) => {
                    self.executor.refuse_bytes(&mut conn.session, &error, &mut self.out);
                    buf.len()
                }
            };
            at += consumed;
            progress.reset();
        }
        conn.input = input[at..].to_vec();
        if !progress.is_fresh() {
            conn.progress = Some(Box::new(progress));
        }
    }

    fn send(&mut self, conn: &mut Conn) {
        conn.output.append(&mut self.out);
        if let Ok(written) = write_some(&mut conn.socket, &conn.output) {
            conn.output.drain(..written);
        }
    }
}
