//! Connections to our replicas and to our master.

use super::limits::over;
use super::{Closed, IoThread, Turn};
use crate::net::Conn;
use crate::net::conn::{FeedState, write_some};
use crate::server::Server;
use protocol::Argv;
use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;

/// How much of the write log goes to a replica at once.
const FEED_BYTES: usize = 256 * 1024;

impl IoThread {
    /// Sends each replica what has been written since.
    pub(super) fn feed_replicas(&mut self, turn: &mut Turn<'_>) {
        for token in self.replicas.clone() {
            let Some(mut conn) = turn.state().take(token) else { continue };
            let result = self.feed(turn, &mut conn);
            self.put_back(turn, token, conn, result);
        }
    }

    pub(super) fn feed(&mut self, turn: &mut Turn<'_>, conn: &mut Conn) -> Result<(), Closed> {
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
    pub(super) fn reassure_replicas(&mut self, turn: &mut Turn<'_>) {
        for (_, conn) in turn.state().iter_mut() {
            let state = conn.feed.as_ref().map(|feed| feed.state);
            if matches!(state, Some(FeedState::Waits | FeedState::WaitsForFile)) {
                // A socket that takes nothing has a peer that has not read for long.
                let _ = conn.socket.write(b"\n");
            }
        }
    }

    /// Our master's stream is passed on to our own replicas and the AOF as it came.
    pub(super) fn applied(&mut self, turn: &mut Turn<'_>, conn: &mut Conn, bytes: &[u8]) {
        if let Some(master) = &mut conn.master {
            master.applied(turn.server, bytes, conn.session.db, conn.session.multi.is_some());
            // A master gets no replies, except what it asked for.
            if !master.take_reply_wanted() {
                self.out.clear();
            }
        }
    }

    /// There is a reply (behind `start`) to our master or to a replica, who are not to get any. An error means that from now on the
    /// datasets may differ.
    #[cold]
    pub(super) fn overheard(&mut self, server: &Server, conn: &mut Conn, argv: Argv<'_>, start: usize) {
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
}
