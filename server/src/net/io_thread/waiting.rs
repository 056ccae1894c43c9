//! Clients that wait, for keys, replicas or the end of a pause, and how that ends.

use super::{Closed, IoThread, Turn};
use crate::clock;
use crate::exec::cx::Wait;
use crate::exec::dispatch::settle_reply;
use crate::net::Conn;
use crate::net::conn::Waiting;
use crate::replication::{no_aof, on_disks, reply_on_disks};
use crate::server::Server;
use protocol::Reply;
use std::sync::atomic::Ordering::Relaxed;

/// Waiting clients are looked at this often at least, in milliseconds.
const TICK_MS: u64 = 100;

impl IoThread {
    pub(super) fn start_waiting(&mut self, turn: &Turn<'_>, conn: &mut Conn, wait: Wait) {
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

    pub(super) fn note_waiting(&mut self, token: usize, conn: &Conn) {
        let waits_for_keys = conn.waiting.as_ref().is_some_and(|waiting| matches!(waiting.wait, Wait::Keys));
        if !waits_for_keys {
            self.waiting.push(token);
        }
    }

    pub(super) fn stop_waiting(&mut self, server: &Server, conn: &mut Conn) -> Option<Wait> {
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

    /// Milliseconds until somebody who waits has to be looked at.
    pub(super) fn next_look_ms(&self) -> Option<u64> {
        let tick_ms = (!self.waiting.is_empty()).then_some(TICK_MS);
        let deadline_ms = self
            .deadlines
            .first()
            .map(|(deadline_ms, _)| u64::try_from(deadline_ms.saturating_sub(clock::now_ms())).unwrap_or(0));
        tick_ms.into_iter().chain(deadline_ms).min()
    }

    /// Answers clients whose waiting for replicas, or for the end of a pause, is over.
    pub(super) fn look_after_waiting(&mut self, turn: &mut Turn<'_>) {
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

    /// Answers clients that have waited for keys as long as they wanted to.
    pub(super) fn give_up_waiting(&mut self, turn: &mut Turn<'_>) {
        while let Some(&(deadline_ms, client)) = self.deadlines.first()
            && deadline_ms <= turn.batch.now_ms
        {
            self.deadlines.pop_first();
            let Some(conn) = turn.state().get_mut(client) else { continue };
            let Some(waiter) = conn.session.blocked.clone() else { continue };
            // Otherwise it has been served, and its reply is in the mail.
            if crate::blocking::forget(&self.executor.server, &mut conn.session) {
                let reply = crate::blocking::timeout_reply(conn.session.resp);
                crate::blocking::count_end(turn.server, &self.executor.stats, &waiter, None);
                self.answer(turn, client, &reply, None);
            }
        }
    }

    /// Ends the waiting of a client with its reply, and runs what it has sent meanwhile.
    pub(super) fn answer(
        &mut self,
        turn: &mut Turn<'_>,
        client: u64,
        reply: &[u8],
        write_offset: Option<u64>,
    ) {
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
