//! The master's side: a replica is a connection with a cursor in the write log.

use super::Replication;
use super::full_sync::{Kind, Taken, Waiting, announcement};
use crate::clock;
use crate::exec::SessionFlags;
use crate::exec::session::{ReplicaHandshake, Request};
use crate::log;
use crate::net::{Conn, Feed, FeedState, Mail};
use crate::server::Server;
use crate::write_log::Cursor;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A replica of this node.
#[derive(Clone, Debug)]
pub struct Replica {
    pub ip: String,
    pub port: u16,
    /// Past its snapshot.
    pub online: bool,
    /// It is sent the file its snapshot was written to.
    pub sending: bool,
    pub acked_offset: u64,
    /// What it has on disk; `None` when it keeps no AOF.
    pub on_disk_offset: Option<u64>,
    pub acked_ms: i64,
}

/// Makes a connection what its command asked for.
pub fn serve_request(server: &Arc<Server>, conn: &mut Conn, request: Request) {
    match request {
        Request::Feed(cursor) => start_feed(server, conn, Some(cursor)),
        Request::FullSync { framed, announced } => start_full_sync(server, conn, framed, announced),
        Request::Ack { offset, on_disk } => {
            let now_ms = clock::now_ms();
            if let Some(feed) = &mut conn.feed {
                feed.acked_offset = feed.acked_offset.max(offset);
                if feed.state == FeedState::Marked {
                    feed.state = FeedState::Online;
                }
            }
            server.replication.acked(server, conn.session.id, offset, on_disk, now_ms);
            // Whoever waits for acknowledgements may be on any thread.
            server.post_all(|| Mail::LogMoved);
        }
        // Not about replication.
        Request::Debug => {}
        Request::AckMaster => {
            if let Some(master) = &mut conn.master {
                master.want_reply();
            }
        }
    }
}

fn start_full_sync(server: &Arc<Server>, conn: &mut Conn, framed: bool, announced: bool) {
    start_feed(server, conn, None);
    let socket = match conn.socket.duplicate() {
        Ok(socket) => socket,
        Err(error) => {
            log::warning(&format!("Can't hand a replica's socket to the snapshot: {error}"));
            conn.doomed = true;
            return;
        }
    };
    let handshake = conn.session.replica.as_deref();
    let functions_only = handshake.is_some_and(|said| said.functions_only);
    // What is left of the dataset must not become the dump.
    let streamed = !framed && (functions_only || server.settings().repl_diskless_sync);
    let kind = Kind { streamed, functions_only };
    let label = label(handshake, &conn.session.peer);
    let (client, since_ms) = (conn.session.id, clock::now_ms());
    let waiting = Waiting { client, socket, kind, announced, label, since_ms };
    if let Taken::Joined(offset) = server.replication.full_syncs.ask(server, waiting) {
        // It may be out of reach if all for whom it was kept are gone: then it comes back.
        let cursor = server.log.cursor_at(offset).ok();
        conn.doomed = cursor.is_none();
        conn.output.extend_from_slice(announcement(server, offset).as_bytes());
        conn.doomed |= conn.flush().is_err();
        if let Some(feed) = &mut conn.feed {
            (feed.cursor, feed.state) = (cursor, FeedState::WaitsForFile);
        }
    }
}

fn start_feed(server: &Arc<Server>, conn: &mut Conn, cursor: Option<Cursor>) {
    let handshake = conn.session.replica.as_deref().cloned().unwrap_or_default();
    let online = cursor.is_some();
    let ip = if handshake.ip_address.is_empty() {
        peer_ip(&conn.session.peer)
    } else {
        handshake.ip_address.clone()
    };
    let replica = Replica {
        ip,
        port: handshake.listening_port,
        online,
        sending: false,
        acked_offset: cursor.as_ref().map_or(0, Cursor::get),
        on_disk_offset: None,
        acked_ms: clock::now_ms(),
    };
    server.replication.add(conn.session.id, replica);
    conn.session.flags.insert(SessionFlags::REPLICA);
    let state = if online { FeedState::Online } else { FeedState::Waits };
    conn.feed = Some(Box::new(Feed { cursor, state, acked_offset: 0 }));
}

fn peer_ip(peer: &str) -> String {
    peer.rsplit_once(':').map_or(peer, |(ip, _)| ip).trim_matches(['[', ']']).to_owned()
}

impl Replication {
    fn add(&self, client: u64, replica: Replica) {
        self.replicas.lock().insert(client, replica);
        self.has_replicas.store(true, Ordering::Relaxed);
    }

    fn acked(&self, server: &Server, client: u64, offset: u64, on_disk: Option<u64>, now_ms: i64) {
        if let Some(replica) = self.replicas.lock().get_mut(&client) {
            replica.acked_offset = replica.acked_offset.max(offset);
            replica.on_disk_offset = on_disk;
            replica.acked_ms = now_ms;
        }
        self.count_good(server, now_ms);
    }

    /// The replica is sent the file of its snapshot.
    pub fn set_sending(&self, client: u64) {
        if let Some(replica) = self.replicas.lock().get_mut(&client) {
            replica.sending = true;
        }
    }

    /// The replica has its snapshot.
    pub fn set_online(&self, server: &Server, client: u64) {
        let now_ms = clock::now_ms();
        if let Some(replica) = self.replicas.lock().get_mut(&client) {
            replica.online = true;
            replica.acked_ms = now_ms;
        }
        self.count_good(server, now_ms);
    }

    /// Where a replica that knows `replid` up to before `offset` can go on, if it can.
    pub fn partial_resync(&self, server: &Server, replid: &[u8], offset: i64) -> Option<Cursor> {
        let history = self.history();
        let end = server.log.end() as i64;
        let known = replid == history.replid.as_bytes() && offset <= end + 1
            || replid == history.replid2.as_bytes() && offset <= history.second_offset;
        if !known || offset < 1 || !server.log.is_active() {
            return None;
        }
        server.log.cursor_at(offset as u64 - 1).ok()
    }
}

impl Replica {
    /// As INFO names it.
    pub fn state_name(&self) -> &'static str {
        match () {
            () if self.online => "online",
            () if self.sending => "send_bulk",
            () => "wait_bgsave",
        }
    }
}

/// The name by which log lines call a replica.
pub fn label(handshake: Option<&ReplicaHandshake>, peer: &str) -> String {
    let ip = handshake.map(|h| h.ip_address.as_str()).filter(|ip| !ip.is_empty());
    let port = handshake.map_or(0, |h| h.listening_port);
    format!("{}:{port}", ip.map_or_else(|| peer_ip(peer), str::to_owned))
}
