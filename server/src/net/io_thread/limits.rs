//! What an IO thread does to keep its connections within their limits: output buffers, memory, idle time.

use super::{Closed, IoThread, Turn};
use crate::client_memory;
use crate::clients::{ClientType, View};
use crate::config::{BufferLimit, Settings};
use crate::exec::SessionFlags;
use crate::log;
use crate::net::Conn;

/// A connection idle for so long keeps no room for what may come.
const SPARE_ROOM_MS: i64 = 2_000;
/// Room made at once for an argument that has been announced and has not arrived. More is made as it comes.
const AHEAD_BYTES: usize = 4 << 20;
/// Shorter arguments are not worth it.
const LARGE_ARGUMENT_BYTES: usize = 32 * 1024;
/// Closing clients for their memory did not help: it is tried again after so long.
const RETRY_MS: i64 = 100;

/// How a thread stands with `maxmemory-clients`.
#[derive(Default)]
pub struct ClientLimit {
    /// The limit of the last look; another one has to be enforced at once.
    bytes: u64,
    /// When to try again, after trying was of no use.
    retry_ms: i64,
}

impl IoThread {
    /// Whether what waits to be sent is too much, at once or for too long.
    pub(super) fn over_limit(&self, turn: &Turn<'_>, conn: &mut Conn) -> bool {
        let limit = limit_of(&turn.batch.settings, conn);
        over(limit, conn.output.len() as u64, turn.batch.now_ms, &mut conn.soft_limit_since_ms)
    }

    /// Whether the replies made are more than the client may be sent at once. It gets none of them.
    pub(super) fn over_hard_limit(&self, turn: &Turn<'_>, conn: &Conn) -> bool {
        let limit_bytes = limit_of(&turn.batch.settings, conn).hard_bytes;
        limit_bytes > 0 && (conn.output.len() + self.out.len()) as u64 > limit_bytes
    }

    /// A client does not take what it is sent.
    #[cold]
    pub(super) fn close_for_output(&self, turn: &Turn<'_>, conn: &Conn) -> Closed {
        self.executor.stats.output_limit_disconnections.add(1);
        log::warning(&format!(
            "Client {} scheduled to be closed ASAP for overcoming of output buffer limits.",
            View::of(conn).line(turn.batch.now_ms)
        ));
        Closed
    }

    /// A client sends more than may be kept for it.
    #[cold]
    pub(super) fn close_for_query(&self, turn: &Turn<'_>, conn: &Conn) -> Closed {
        const SHOWN_BYTES: usize = 64;
        self.executor.stats.query_limit_disconnections.add(1);
        let first = &conn.input[..conn.input.len().min(SHOWN_BYTES)];
        log::warning(&format!(
            "Closing client that reached max query buffer length: {} (qbuf initial bytes: \"{}\")",
            View::of(conn).line(turn.batch.now_ms),
            first.escape_ascii()
        ));
        Closed
    }

    /// Whether what a client holds by now, in the middle of its commands, is too much together with what others hold.
    /// Then it stops here, and goes on when some have been closed; it may be among them.
    pub(super) fn is_client_limit_reached(&mut self, turn: &mut Turn<'_>, conn: &mut Conn) -> bool {
        let limit_bytes = turn.batch.settings.client_memory_limit_bytes;
        if limit_bytes == 0 {
            return false;
        }
        turn.server.client_memory.count(self.index, conn);
        let is_reached = turn.server.client_memory.is_over(limit_bytes);
        if is_reached {
            self.unread.extend(turn.state().token_of(conn.session.id));
        }
        is_reached
    }

    /// Closes clients when all together hold too much.
    #[inline]
    pub(super) fn limit_clients(&mut self, turn: &mut Turn<'_>) {
        let limit_bytes = turn.batch.settings.client_memory_limit_bytes;
        if limit_bytes > 0 || self.client_limit.bytes > 0 {
            self.enforce_client_limit(turn, limit_bytes);
        }
    }

    #[cold]
    fn enforce_client_limit(&mut self, turn: &mut Turn<'_>, limit_bytes: u64) {
        let is_new = limit_bytes != std::mem::replace(&mut self.client_limit.bytes, limit_bytes);
        let now_ms = turn.batch.now_ms;
        let is_due = turn.server.client_memory.is_over(limit_bytes) && now_ms >= self.client_limit.retry_ms;
        if limit_bytes == 0 || !is_new && !is_due {
            return;
        }
        let server = turn.server;
        let done = turn.with_world(|world, _| client_memory::evict(server, world, limit_bytes, now_ms));
        self.client_limit.retry_ms = if done == Some(true) { 0 } else { now_ms + RETRY_MS };
    }

    /// Closes connections that have been idle for too long, and those whose output has been over its soft limit for too
    /// long. Nothing else need happen to them. Counts what the others hold.
    pub(super) fn sweep(&mut self, turn: &mut Turn<'_>) {
        let idle_ms = turn.batch.settings.timeout_seconds as i64 * 1000;
        let now_ms = turn.batch.now_ms;
        let mut suspects = Vec::new();
        for (token, conn) in turn.state().iter_mut() {
            if now_ms - conn.session.last_used_ms > SPARE_ROOM_MS {
                conn.input.shrink_to_fit();
                conn.output.shrink_to_fit();
            }
            if !conn.output.is_empty() || is_idle(conn, now_ms, idle_ms) {
                suspects.push(token);
            }
        }
        for token in suspects {
            let Some(mut conn) = turn.state().take(token) else { continue };
            let mut result = Ok(());
            if is_idle(&conn, now_ms, idle_ms) {
                result = Err(Closed);
            } else if self.over_limit(turn, &mut conn) {
                result = Err(self.close_for_output(turn, &conn));
            }
            self.put_back(turn, token, conn, result);
        }
        let (server, thread) = (turn.server, self.index);
        server.client_memory.survey(thread, turn.state(), now_ms);
        self.limit_clients(turn);
    }
}

/// Keeps bytes that are no whole command yet, with room for the rest of an argument that was announced.
pub fn keep_input(conn: &mut Conn, rest: &[u8]) {
    conn.input.extend_from_slice(rest);
    let have = conn.input.len();
    if let Some(missing) = conn.progress.as_ref().and_then(|progress| progress.wants(have))
        && missing >= LARGE_ARGUMENT_BYTES
    {
        conn.input.reserve_exact(missing.min(AHEAD_BYTES.max(have)));
    }
}

fn limit_of<'s>(settings: &'s Settings, conn: &Conn) -> &'s BufferLimit {
    match conn.feed {
        Some(_) => &settings.buffer_limit_replica,
        None => ClientType::of(&conn.session).output_limit(settings),
    }
}

/// Whether a client has said nothing for so long. Replicas, monitors, listeners and those who wait may be silent.
fn is_idle(conn: &Conn, now_ms: i64, idle_ms: i64) -> bool {
    const SILENT: SessionFlags = SessionFlags::REPLICA
        .union(SessionFlags::MONITOR)
        .union(SessionFlags::MASTER)
        .union(SessionFlags::SUBSCRIBED);
    idle_ms > 0
        && now_ms - conn.session.last_used_ms > idle_ms
        && !conn.session.flags.intersects(SILENT)
        && conn.waiting.is_none()
        && conn.feed.is_none()
}

/// Whether so many bytes on their way to a client are too many, at once or for too long.
pub fn over(limit: &BufferLimit, bytes: u64, now_ms: i64, soft_since_ms: &mut Option<i64>) -> bool {
    if limit.hard_bytes > 0 && bytes > limit.hard_bytes {
        return true;
    }
    if limit.soft_bytes == 0 || bytes <= limit.soft_bytes {
        *soft_since_ms = None;
        return false;
    }
    now_ms - *soft_since_ms.get_or_insert(now_ms) > limit.soft_seconds as i64 * 1000
}
