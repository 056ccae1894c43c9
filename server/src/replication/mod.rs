//! Replication: who follows whom, from where in the write log.

use crate::exec::session::Request;
use crate::net::Conn;
use crate::server::Server;
use foldhash::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Replication's state of this node.
pub struct Replication {
    is_replica: AtomicBool,
    link_up: AtomicBool,
    /// Replicas whose last acknowledgement is recent enough.
    pub good_replicas: AtomicUsize,
    history: Mutex<History>,
    replicas: Mutex<HashMap<u64, Replica>>,
}

/// The names of the stream: what replicas must know to go on where they were.
#[derive(Clone, Debug)]
pub struct History {
    pub replid: String,
    /// The stream this one continued, valid up to `second_offset`.
    pub replid2: String,
    pub second_offset: i64,
}

/// A replica of this node.
#[derive(Clone, Debug)]
pub struct Replica {
    pub ip: String,
    pub port: u16,
    pub online: bool,
    pub acked_offset: u64,
    pub acked_ms: i64,
}

impl Replication {
    pub fn new(replid: &str) -> Replication {
        Replication {
            is_replica: AtomicBool::new(false),
            link_up: AtomicBool::new(false),
            good_replicas: AtomicUsize::new(0),
            history: Mutex::new(History {
                replid: replid.to_owned(),
                replid2: "0".repeat(40),
                second_offset: -1,
            }),
            replicas: Mutex::default(),
        }
    }

    #[inline]
    pub fn is_replica(&self) -> bool {
        self.is_replica.load(Ordering::Relaxed)
    }

    /// This is a replica, and its master cannot be reached.
    #[inline]
    pub fn is_link_down(&self) -> bool {
        self.is_replica() && !self.link_up.load(Ordering::Relaxed)
    }

    pub fn has_replicas(&self) -> bool {
        !self.replicas.lock().is_empty()
    }

    pub fn history(&self) -> History {
        self.history.lock().clone()
    }

    /// How many replicas have acknowledged the log up to `offset`.
    pub fn acked_by(&self, offset: u64) -> usize {
        self.replicas
            .lock()
            .values()
            .filter(|replica| replica.online && replica.acked_offset >= offset)
            .count()
    }

    pub fn replicas(&self) -> Vec<Replica> {
        self.replicas.lock().values().cloned().collect()
    }

    pub fn replica_gone(&self, client: u64) {
        self.replicas.lock().remove(&client);
    }

    pub fn link_lost(&self, _server: &Arc<Server>, _client: u64) {
        self.link_up.store(false, Ordering::Relaxed);
    }
}

/// The link to our master, as the IO thread that owns it sees it.
#[derive(Default)]
pub struct MasterLink {
    /// Bytes of a transaction that has not ended.
    held: Vec<u8>,
    reply_wanted: bool,
}

impl MasterLink {
    pub fn applied(&mut self, server: &Server, bytes: &[u8], in_transaction: bool) {
        self.held.extend_from_slice(bytes);
        if !in_transaction {
            server.log.append_stream(&self.held);
            self.held.clear();
        }
    }

    pub fn take_reply_wanted(&mut self) -> bool {
        std::mem::take(&mut self.reply_wanted)
    }
}

/// Makes a connection what its command asked for.
pub fn serve_request(_server: &Arc<Server>, _conn: &mut Conn, _request: Request) {}
