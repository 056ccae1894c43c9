//! Replication: who follows whom, from where in the write log.
//!
//! ```text
//!  master                                      replica
//!  ┌──────────────┐  PSYNC replid offset   ┌──────────────────┐
//!  │ write log    │ ◀───────────────────── │ link thread      │ handshake, snapshot
//!  │ ▲ ▲ cursors  │ ─── +CONTINUE ───────▶ │                  │
//!  │ │ └ replica  │ ─── snapshot ────────▶ │ loads it, then   │
//!  │ └── AOF      │ ─── stream ──────────▶ │ IO thread 0      │ applies the stream
//!  └──────────────┘ ◀── REPLCONF ACK ───── └──────────────────┘
//! ```
//!
//! A replica appends the stream as it came to its own log: its offset is its master's, and it can serve
//! partial resyncs the moment it is promoted.

pub mod failover;
pub mod full_sync;
mod link;
mod master;
pub mod transfer;

pub use link::{MasterLink, run as run_link};
pub use master::{Replica, label, serve_request};

use crate::clock;
use crate::exec::cx::AtRest;
use crate::log;
use crate::net::Mail;
use crate::server::Server;
use crate::write_log::PING;
use parking_lot::{Condvar, Mutex};
use protocol::{Reply, ReplyError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// Replication's state of this node.
pub struct Replication {
    is_replica: AtomicBool,
    link_up: AtomicBool,
    /// Replicas whose last acknowledgement is recent enough for `min-replicas-to-write`.
    pub good_replicas: AtomicUsize,
    history: Mutex<History>,
    replicas: Mutex<BTreeMap<u64, Replica>>,
    has_replicas: AtomicBool,
    target: Mutex<Target>,
    target_changed: Condvar,
    /// When something last came from the master.
    pub master_io_ms: AtomicI64,
    /// Bytes of the stream that are here and not applied yet.
    pub unapplied_bytes: AtomicU64,
    /// Since when the link is down.
    pub link_down_since_ms: AtomicI64,
    /// A snapshot is being received.
    pub syncing: AtomicBool,
    /// The master is being dialled, and whether it has taken the connection.
    dialling: AtomicBool,
    handshaking: AtomicBool,
    /// The dataset has no place in any history: there is nothing to go on from.
    pub lacks_history: AtomicBool,
    /// Something was received from the present master at least once.
    pub ever_synced: AtomicBool,
    /// The database that the master's stream is in, or was in when the link broke.
    pub stream_db: AtomicUsize,
    pub failover: failover::Failover,
    pub full_syncs: full_sync::FullSyncs,
}

/// The names of the stream: what a replica must know to go on where it was.
#[derive(Clone, Debug)]
pub struct History {
    pub replid: String,
    /// The stream that this one continued, valid up to `second_offset`.
    pub replid2: String,
    pub second_offset: i64,
}

/// Whom to follow.
#[derive(Clone, Default)]
struct Target {
    /// Raised with every change: whatever was begun for an older one is void.
    generation: u64,
    master: Option<(String, u16)>,
    /// The connection that carries the master's stream.
    link: Option<u64>,
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
            has_replicas: AtomicBool::new(false),
            target: Mutex::default(),
            target_changed: Condvar::new(),
            master_io_ms: AtomicI64::new(0),
            unapplied_bytes: AtomicU64::new(0),
            link_down_since_ms: AtomicI64::new(0),
            syncing: AtomicBool::new(false),
            dialling: AtomicBool::new(false),
            handshaking: AtomicBool::new(false),
            lacks_history: AtomicBool::new(false),
            ever_synced: AtomicBool::new(false),
            stream_db: AtomicUsize::new(0),
            failover: Default::default(),
            full_syncs: Default::default(),
        }
    }

    #[inline]
    pub fn is_replica(&self) -> bool {
        self.is_replica.load(Ordering::Relaxed)
    }

    /// This is a replica, and its master cannot be reached.
    #[inline]
    pub fn is_link_down(&self) -> bool {
        self.is_replica() && !self.is_link_up()
    }

    pub fn is_link_up(&self) -> bool {
        self.link_up.load(Ordering::Relaxed)
    }

    /// How far a replica is with its master, as ROLE names it.
    pub fn link_state_name(&self) -> &'static str {
        match () {
            () if self.is_link_up() => "connected",
            () if self.syncing.load(Ordering::Relaxed) => "sync",
            () if self.handshaking.load(Ordering::Relaxed) => "handshake",
            () if self.dialling.load(Ordering::Relaxed) => "connecting",
            () => "connect",
        }
    }

    #[inline]
    pub fn has_replicas(&self) -> bool {
        self.has_replicas.load(Ordering::Relaxed)
    }

    /// Gives the stream another name, as if it had no past.
    pub fn change_id(&self, replid: String) {
        *self.history.lock() = History { replid, replid2: "0".repeat(40), second_offset: -1 };
    }

    /// Goes on with the history that the dataset belongs to, at the offset where it was saved. A master's new writes
    /// are its own: they get a new name, and the old one stays good up to here.
    pub fn resume(&self, server: &Server, replid: &str, offset: u64, stream_db: usize) {
        let was_replica = server.settings().replicaof.is_some()
            || server.cluster.as_ref().is_some_and(|cluster| cluster.view(|machine| !machine.is_master()));
        {
            let mut history = self.history.lock();
            if was_replica {
                history.replid = replid.to_owned();
            } else {
                history.replid2 = replid.to_owned();
                history.second_offset = offset as i64 + 1;
            }
        }
        server.log.set_active(true);
        server.log.restart_at(offset);
        self.stream_db.store(stream_db, Ordering::Relaxed);
        log::notice(&format!(
            "The dataset is at offset {offset} of {replid}: replicas and masters of that history can go on from there"
        ));
    }

    pub fn history(&self) -> History {
        self.history.lock().clone()
    }

    pub fn master(&self) -> Option<(String, u16)> {
        self.target.lock().master.clone()
    }

    /// How many replicas have acknowledged the log up to `offset`.
    pub fn acked_by(&self, offset: u64) -> usize {
        self.replicas
            .lock()
            .values()
            .filter(|replica| replica.online && replica.acked_offset >= offset)
            .count()
    }

    pub fn has_replica(&self, client: u64) -> bool {
        self.replicas.lock().contains_key(&client)
    }

    /// How many replicas have the log up to `offset` on disk.
    pub fn on_disk_by(&self, offset: u64) -> usize {
        let replicas = self.replicas.lock();
        let has = |replica: &&Replica| replica.on_disk_offset.is_some_and(|on_disk| on_disk >= offset);
        replicas.values().filter(|replica| replica.online).filter(has).count()
    }

    /// Replicas in the order they came.
    pub fn replicas(&self) -> Vec<Replica> {
        self.replicas.lock().values().cloned().collect()
    }

    pub fn replica_gone(&self, server: &Server, client: u64) {
        let mut replicas = self.replicas.lock();
        if let Some(replica) = replicas.remove(&client) {
            log::notice(&format!("Connection with replica {}:{} lost.", replica.ip, replica.port));
        }
        self.has_replicas.store(!replicas.is_empty(), Ordering::Relaxed);
        drop(replicas);
        self.full_syncs.forget(client);
        self.count_good(server, clock::now_ms());
    }

    /// Counts the replicas whose last sign of life is recent enough for `min-replicas-to-write`.
    pub fn count_good(&self, server: &Server, now_ms: i64) {
        let max_lag_seconds = server.config.settings().min_replicas_max_lag_seconds as i64;
        // In whole seconds, as lag is shown.
        let is_good =
            |replica: &&Replica| replica.online && now_ms / 1000 - replica.acked_ms / 1000 <= max_lag_seconds;
        let good = self.replicas.lock().values().filter(is_good).count();
        self.good_replicas.store(good, Ordering::Relaxed);
    }

    /// The connection to the master is gone.
    pub fn link_lost(&self, client: u64, db: usize) {
        let mut target = self.target.lock();
        if target.link == Some(client) {
            target.link = None;
            self.stream_db.store(db, Ordering::Relaxed);
            self.unapplied_bytes.store(0, Ordering::Relaxed);
            self.link_up.store(false, Ordering::Relaxed);
            self.link_down_since_ms.store(clock::now_ms(), Ordering::Relaxed);
            log::notice("Connection with master lost.");
            self.target_changed.notify_all();
        }
    }

    /// Follows this master from now on.
    pub fn follow(&self, server: &Arc<Server>, host: &str, port: u16) {
        let mut world = server.gate.stop_world();
        self.follow_at_rest(server, &mut world, host, port);
    }

    /// As [`Replication::follow`], with the world at rest. Does nothing when it follows it already.
    pub fn follow_at_rest(&self, server: &Arc<Server>, world: &mut dyn AtRest, host: &str, port: u16) {
        if self.master().is_some_and(|(h, p)| h == host && p == port) {
            return;
        }
        crate::blocking::release_all(server, world);
        let mut target = self.target.lock();
        target.master = Some((host.to_owned(), port));
        target.generation += 1;
        self.is_replica.store(true, Ordering::Relaxed);
        self.link_up.store(false, Ordering::Relaxed);
        self.ever_synced.store(false, Ordering::Relaxed);
        self.link_down_since_ms.store(clock::now_ms(), Ordering::Relaxed);
        log::set_role(log::Role::Replica);
        self.role_changed(server);
        if server.cluster.is_none() {
            server.config.note_master(Some((host, port)));
        }
        self.target_changed.notify_all();
        let link = target.link.take();
        // Our replicas stay: they may have what comes next as well. If not, they are told to come back then.
        self.kill(server, link.into_iter());
    }

    /// Stops following: from now on this node's own writes make the stream.
    pub fn promote(&self, server: &Arc<Server>) {
        let _world = server.gate.stop_world();
        self.promote_at_rest(server);
    }

    /// As [`Replication::promote`], with the world at rest. Replicas reconnect and go on under the stream's
    /// new name.
    pub fn promote_at_rest(&self, server: &Arc<Server>) {
        let mut target = self.target.lock();
        if !self.is_replica() {
            return;
        }
        target.master = None;
        target.generation += 1;
        self.is_replica.store(false, Ordering::Relaxed);
        self.link_up.store(false, Ordering::Relaxed);
        log::set_role(log::Role::Master);
        self.role_changed(server);
        if server.cluster.is_none() {
            server.config.note_master(None);
        }
        self.shift_history(server);
        self.lacks_history.store(false, Ordering::Relaxed);
        server.log.forget_db();
        self.target_changed.notify_all();
        let link = target.link.take();
        self.kill(server, link.into_iter().chain(self.replica_ids()));
        log::notice("MASTER MODE enabled");
    }

    fn role_changed(&self, server: &Server) {
        // The log says so when it cannot be done; the role changes all the same.
        let _ = crate::process::oom::adjust(&server.settings(), self.is_replica());
    }

    /// Gives the stream a new name, remembering the old one up to here.
    fn shift_history(&self, server: &Server) {
        let mut history = self.history.lock();
        let replid = random_id();
        let old = std::mem::replace(&mut history.replid, replid);
        history.replid2 = old;
        history.second_offset = server.log.end() as i64 + 1;
        log::notice(&format!(
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
            history.replid2, history.second_offset, history.replid
        ));
    }

    fn replica_ids(&self) -> Vec<u64> {
        self.replicas.lock().keys().copied().collect()
    }

    fn kill(&self, server: &Server, clients: impl Iterator<Item = u64>) {
        for client in clients {
            server.post_all(|| Mail::Kill { client });
        }
    }

    /// What is due about once a second.
    pub fn cron(&self, server: &Arc<Server>, now_ms: i64, second: u64) {
        let settings = server.settings();
        let timeout_ms = settings.repl_timeout_seconds as i64 * 1000;
        if self.is_replica() {
            if let Some(link) = self.target.lock().link {
                let mut ack = Vec::new();
                let words = acknowledgement(server);
                protocol::reply::write_command(&mut ack, words.iter().map(String::as_bytes));
                server.post(0, Mail::Push { client: link, bytes: ack });
                if now_ms - self.master_io_ms.load(Ordering::Relaxed) > timeout_ms {
                    log::warning("MASTER timeout: no data nor PING received...");
                    server.post(0, Mail::Kill { client: link });
                }
            }
        } else if self.has_replicas()
            && second.is_multiple_of(settings.repl_ping_period_seconds.max(1))
            // Whoever waits for replicas to have everything waits for an end that stays.
            && !server.are_writes_paused()
        {
            server.log.append_transient(PING);
            server.post_all(|| Mail::LogMoved);
        }
        self.count_good(server, now_ms);
        let mut silent = Vec::new();
        for (client, replica) in self.replicas.lock().iter() {
            let lag_ms = now_ms - replica.acked_ms;
            if replica.online && lag_ms > timeout_ms {
                log::warning(&format!(
                    "Disconnecting timedout replica (streaming sync): {}:{}",
                    replica.ip, replica.port
                ));
                silent.push(*client);
            }
        }
        self.kill(server, silent.into_iter());
    }
}

/// What a replica tells its master: how far it is, and how far on disk, where it keeps an AOF.
pub fn acknowledgement(server: &Server) -> Vec<String> {
    let end = server.log.end();
    let mut words = vec!["REPLCONF".into(), "ACK".into(), end.to_string()];
    if server.settings().appendonly {
        let on_disk = server.aof.durable_offset(server).unwrap_or(0).min(end);
        words.extend(["FACK".into(), on_disk.to_string()]);
    }
    words
}

/// How many disks have the log up to `offset`: our own, 0 or 1, and those of replicas.
pub fn on_disks(server: &Server, offset: u64) -> (usize, usize) {
    let own = server.aof.durable_offset(server).is_some_and(|durable| durable >= offset);
    (usize::from(own), server.replication.on_disk_by(offset))
}

/// WAITAOF's reply.
pub fn reply_on_disks(reply: &mut Reply<'_>, own: usize, replicas: usize) {
    reply.array(2);
    reply.integer(own as i64);
    reply.integer(replicas as i64);
}

/// What WAITAOF is told where there is no AOF to wait for.
pub fn no_aof() -> ReplyError {
    ReplyError::fixed("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
}

/// 40 random hex digits.
pub fn random_id() -> String {
    let mut rng =
        fastrand::Rng::with_seed(clock::now_micros() as u64 ^ u64::from(std::process::id()).rotate_left(40));
    (0..40).map(|_| char::from_digit(rng.u32(..16), 16).expect("below 16")).collect()
}
