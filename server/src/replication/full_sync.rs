//! Full syncs: one snapshot for all replicas that wait for one.
//!
//! ```text
//!          repl-diskless-sync-delay is over, or there are enough
//!  waits ─────────────────────────────────────────────────────▶ streamed to all at once ─▶ marked ─▶ online
//!    │                                                                                              ▲
//!    └──────▶ written to a file, others may join meanwhile ─────▶ sent to all at once ──────────────┘
//!          no `eof`, or repl-diskless-sync no
//! ```
//!
//! **Invariant:** the IO thread that owns a replica's socket writes to it only while the replica waits or its file is being
//! written (empty lines, to show that we are alive) and once it is online; in between the socket is the helper's. States
//! change with the world at rest.

use crate::clock;
use crate::gate::World;
use crate::log;
use crate::net::{FeedState, Mail, Socket};
use crate::server::Server;
use crate::snapshot::{self, Job, Purpose, Shape, take};
use parking_lot::Mutex;
use persistence::rdb::RdbVersion;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes given to the sockets at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What replicas must have in common to share a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// Sent as it is made, with a mark behind it; otherwise from a file, with its length before it.
    pub streamed: bool,
    /// The keys are left out.
    pub functions_only: bool,
}

/// A replica that waits for a snapshot.
pub struct Waiting {
    pub client: u64,
    /// Another handle on its socket.
    pub socket: Socket,
    pub kind: Kind,
    /// +FULLRESYNC goes before it all.
    pub announced: bool,
    pub label: String,
    pub since_ms: i64,
}

/// The full syncs of this node as a master.
#[derive(Default)]
pub struct FullSyncs {
    waiting: Mutex<Vec<Waiting>>,
    running: Mutex<Option<Running>>,
    /// A job for those who wait has been submitted and has not begun.
    submitted: AtomicBool,
}

/// The one that is being made.
struct Running {
    kind: Kind,
    clients: Vec<u64>,
    /// Where in the log the snapshot is, while it is being made.
    offset: Option<u64>,
    /// Came after it had begun.
    joined: Vec<Waiting>,
    cancelled: bool,
}

/// How a replica that asks for a full sync will get it.
pub enum Taken {
    Waits,
    /// From the snapshot that is being written now, which is at this offset.
    Joined(u64),
}

impl FullSyncs {
    /// A snapshot for replicas is being made.
    pub fn is_running(&self) -> bool {
        self.running.lock().is_some()
    }

    /// Takes in a replica that asks for a full sync.
    pub fn ask(&self, server: &Arc<Server>, replica: Waiting) -> Taken {
        if let Some(running) = &mut *self.running.lock()
            && let Some(offset) = running.offset
            && running.kind == replica.kind
            && !replica.kind.streamed
            && replica.announced
            && !running.cancelled
        {
            log::notice("Waiting for end of BGSAVE for SYNC");
            running.clients.push(replica.client);
            running.joined.push(replica);
            return Taken::Joined(offset);
        }
        let settings = server.settings();
        if replica.kind.streamed && settings.repl_diskless_sync_delay_seconds > 0 {
            log::notice("Delay next BGSAVE for diskless SYNC");
        }
        self.waiting.lock().push(replica);
        self.start_if_due(server, clock::now_ms());
        Taken::Waits
    }

    /// The replica is gone.
    pub fn forget(&self, client: u64) {
        self.waiting.lock().retain(|replica| replica.client != client);
    }

    /// Starts a snapshot if those who wait for one have waited long enough. Call it some times a second.
    pub fn start_if_due(&self, server: &Arc<Server>, now_ms: i64) {
        let settings = server.settings();
        let (delay_ms, enough) = (
            settings.repl_diskless_sync_delay_seconds as i64 * 1000,
            settings.repl_diskless_sync_max_replicas,
        );
        let is_due = {
            let waiting = self.waiting.lock();
            let streamed = waiting.iter().filter(|replica| replica.kind.streamed);
            let is_enough = enough > 0 && streamed.count() >= enough;
            let is_due = |replica: &Waiting| {
                !replica.kind.streamed || is_enough || now_ms - replica.since_ms >= delay_ms
            };
            waiting.iter().any(is_due)
        };
        if is_due && !self.submitted.swap(true, Ordering::AcqRel) {
            server.snapshots.submit(Job::Sync);
        }
    }

    /// Whoever waits for the snapshot that is being made gets none: what it holds is out of date. A file that is whole
    /// is sent all the same.
    pub fn cancel(&self) {
        if let Some(running) = &mut *self.running.lock() {
            running.cancelled |= running.offset.is_some();
        }
    }

    /// Somebody still waits for the snapshot that is being made.
    pub fn is_wanted(&self, server: &Server) -> bool {
        let running = self.running.lock();
        let Some(running) = &*running else { return false };
        // A file becomes the dump where dumps are kept.
        let is_dump = !running.kind.streamed && keeps_file(server);
        !running.cancelled
            && (is_dump || running.clients.iter().any(|&client| server.replication.has_replica(client)))
    }

    /// Those who share the next snapshot: whoever can, with the one who has waited longest.
    fn take_group(&self, server: &Server) -> Vec<Waiting> {
        self.submitted.store(false, Ordering::Release);
        let mut waiting = self.waiting.lock();
        waiting.retain(|replica| server.replication.has_replica(replica.client));
        let Some(kind) = waiting.first().map(|replica| replica.kind) else { return Vec::new() };
        let (group, rest) = std::mem::take(&mut *waiting).into_iter().partition(|other| other.kind == kind);
        *waiting = rest;
        let clients = group.iter().map(|replica: &Waiting| replica.client).collect();
        *self.running.lock() =
            Some(Running { kind, clients, offset: None, joined: Vec::new(), cancelled: false });
        group
    }
}

/// Makes the next snapshot, on the helper thread.
pub fn run(server: &Arc<Server>) {
    let syncs = &server.replication.full_syncs;
    let group = syncs.take_group(server);
    let Some(kind) = group.first().map(|replica| replica.kind) else { return };
    let target = if kind.streamed { "replicas sockets" } else { "disk" };
    log::notice(&format!("Starting BGSAVE for SYNC with target: {target}"));
    let clients: Vec<u64> = group.iter().map(|replica| replica.client).collect();
    let result =
        if kind.streamed { stream(server, kind, group) } else { write_and_send(server, kind, group) };
    let running = syncs.running.lock().take();
    if let Err(error) = result {
        log::warning(&format!("SYNC failed: {error}"));
        let joined = running.iter().flat_map(|running| running.joined.iter().map(|replica| replica.client));
        // They come back and ask again.
        clients.into_iter().chain(joined).for_each(|client| server.post_all(|| Mail::Kill { client }));
    }
    // Those who came meanwhile may have waited long enough.
    syncs.start_if_due(server, clock::now_ms());
}

fn shape(kind: Kind) -> Shape {
    let purpose = if kind.functions_only { Purpose::FunctionsForReplicas } else { Purpose::Replicas };
    // A 7.0 replica reads version 10, and all later ones do too.
    Shape { version: RdbVersion::V10, purpose, is_commands: false }
}

/// The moment of the snapshot: puts the cursor of each replica there, and forgets those who are gone.
fn begin(
    server: &Server,
    world: &mut World<'_>,
    group: &mut Vec<Waiting>,
    state: FeedState,
) -> io::Result<u64> {
    server.log.set_active(true);
    server.log.forget_db();
    let offset = server.log.end();
    let mut result = Ok(offset);
    group.retain(|replica| {
        let conn = world.threads.iter_mut().find_map(|thread| thread.get_mut(replica.client));
        let Some(feed) = conn.and_then(|conn| conn.feed.as_mut()) else { return false };
        match server.log.cursor_at(offset) {
            Ok(cursor) => feed.cursor = Some(cursor),
            Err(_) => result = Err(io::Error::other("the log has moved")),
        }
        feed.state = state;
        true
    });
    if let Some(running) = &mut *server.replication.full_syncs.running.lock() {
        running.offset = Some(offset);
    }
    if group.is_empty() { Err(io::Error::other("the replicas are gone")) } else { result }
}

/// Gives replicas another state.
fn set_state(server: &Arc<Server>, world: &mut World<'_>, clients: &[u64], state: FeedState) {
    for &client in clients {
        let conn = world.threads.iter_mut().find_map(|thread| thread.get_mut(client));
        let Some(feed) = conn.and_then(|conn| conn.feed.as_mut()) else { continue };
        feed.state = state;
        match state {
            FeedState::Snapshot => server.replication.set_sending(client),
            FeedState::Marked | FeedState::Online => server.replication.set_online(server, client),
            FeedState::Waits | FeedState::WaitsForFile => {}
        }
    }
}

pub fn announcement(server: &Server, offset: u64) -> String {
    format!("+FULLRESYNC {} {offset}\r\n", server.replication.history().replid)
}

fn stream(server: &Arc<Server>, kind: Kind, group: Vec<Waiting>) -> io::Result<()> {
    log::notice(&format!("Background RDB transfer started by pid {}", std::process::id()));
    let mark = super::random_id();
    let group = RefCell::new(group);
    let head = |offset: &u64| {
        let mut fanout = Fanout::new(server, group.take());
        let announcement = announcement(server, *offset);
        fanout.announce(&announcement);
        fanout.write_all(format!("$EOF:{mark}\r\n").as_bytes())?;
        Ok(io::BufWriter::with_capacity(PIECE_BYTES, fanout))
    };
    let begin = |world: &mut World<'_>| begin(server, world, &mut group.borrow_mut(), FeedState::Snapshot);
    let sent = take(server, &shape(kind), head, begin).and_then(|(mut out, _)| {
        out.write_all(mark.as_bytes())?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    });
    let fanout = sent.inspect_err(|error| {
        // Their threads may not have closed the connections yet.
        let are_lost = error.kind() == io::ErrorKind::NotConnected;
        if are_lost || !server.replication.full_syncs.is_wanted(server) {
            log::warning("Diskless rdb transfer, last replica dropped, killing fork child.");
        }
    })?;
    let clients = fanout.clients();
    log::notice(&format!(
        "Diskless rdb transfer, done reading from pipe, {} replicas still up.",
        clients.len()
    ));
    log::notice("Background RDB transfer terminated with success");
    let mut world = server.gate.stop_world();
    set_state(server, &mut world, &clients, FeedState::Marked);
    fanout.tell_success();
    Ok(())
}

/// The name of the file for replicas, until all have it.
pub fn temporary_name() -> String {
    format!("temp-sync-{}.rdb", std::process::id())
}

/// The file a snapshot was written to stays as the dump where dumps are kept.
fn keeps_file(server: &Server) -> bool {
    let settings = server.settings();
    !settings.save.is_empty() && !settings.rdb_del_sync_files
}

fn write_and_send(server: &Arc<Server>, kind: Kind, group: Vec<Waiting>) -> io::Result<()> {
    let settings = server.settings();
    let path = settings.dir.join(temporary_name());
    let group = RefCell::new(group);
    let mut changes = 0;
    let create = |offset: &u64| {
        let announcement = announcement(server, *offset);
        group.borrow_mut().iter_mut().for_each(|replica| replica.announce(&announcement));
        let file = server.snapshots.claim_files().and_then(|_claim| File::create(&path))?;
        Ok(io::BufWriter::with_capacity(256 * 1024, file))
    };
    let begin = |world: &mut World<'_>| {
        changes = server.changes();
        begin(server, world, &mut group.borrow_mut(), FeedState::WaitsForFile)
    };
    let written = take(server, &shape(kind), create, begin)
        .and_then(|(file, _)| file.into_inner().map_err(io::IntoInnerError::into_error));
    if written.is_err() {
        let _ = std::fs::remove_file(&path);
    }
    written?;
    let mut file = File::open(&path)?;
    if keeps_file(server) && !kind.functions_only {
        let claim = server.snapshots.claim_files();
        let kept = claim.and_then(|_claim| snapshot::keep_dump(&path, &settings));
        snapshot::note_background_save(server, &kept, changes);
    } else {
        let _ = std::fs::remove_file(&path);
    }
    let mut group = group.into_inner();
    {
        let mut world = server.gate.stop_world();
        // From here on nobody can join.
        if let Some(running) = &mut *server.replication.full_syncs.running.lock() {
            running.offset = None;
            group.append(&mut running.joined);
        }
        let clients: Vec<u64> = group.iter().map(|replica| replica.client).collect();
        set_state(server, &mut world, &clients, FeedState::Snapshot);
    }
    let mut fanout = Fanout::new(server, group);
    if fanout.lines.is_empty() {
        return Ok(());
    }
    fanout.write_all(format!("${}\r\n", file.metadata()?.len()).as_bytes())?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            n => fanout.write_all(&piece[..n])?,
        }
    }
    let mut world = server.gate.stop_world();
    set_state(server, &mut world, &fanout.clients(), FeedState::Online);
    fanout.tell_success();
    server.post_all(|| Mail::LogMoved);
    Ok(())
}

impl Waiting {
    /// The line is short: a socket that does not take it has a peer that has not read for long.
    pub fn announce(&mut self, announcement: &str) {
        if self.announced {
            let _ = self.socket.write(announcement.as_bytes());
        }
    }
}

/// Writes the same to several replicas, each as fast as the slowest.
struct Fanout<'s> {
    server: &'s Arc<Server>,
    lines: Vec<Line>,
}

struct Line {
    replica: Waiting,
    /// Bytes of the present piece that it has.
    sent: usize,
    /// When its socket last took something.
    progress: Instant,
}

impl Fanout<'_> {
    fn new(server: &Arc<Server>, group: Vec<Waiting>) -> Fanout<'_> {
        let now = clock::monotonic();
        let lines = group.into_iter().map(|replica| Line { replica, sent: 0, progress: now }).collect();
        Fanout { server, lines }
    }

    fn announce(&mut self, announcement: &str) {
        self.lines.iter_mut().for_each(|line| line.replica.announce(announcement));
    }

    fn clients(&self) -> Vec<u64> {
        self.lines.iter().map(|line| line.replica.client).collect()
    }

    fn tell_success(&self) {
        for line in &self.lines {
            log::notice(&format!("Synchronization with replica {} succeeded", line.replica.label));
        }
    }
}

impl Line {
    /// Sends what the socket takes. False when the replica is lost.
    fn go_on(&mut self, server: &Server, piece: &[u8], patience: Duration) -> bool {
        if !server.replication.has_replica(self.replica.client) {
            return false;
        }
        while self.sent < piece.len() {
            match self.replica.socket.write(&piece[self.sent..]) {
                Ok(0) => return false,
                Ok(n) => {
                    self.sent += n;
                    self.progress = clock::monotonic();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::warning(&format!(
                        "Diskless rdb transfer, write error sending DB to replica: {error}"
                    ));
                    return false;
                }
            }
        }
        if self.sent < piece.len() && self.progress.elapsed() > patience {
            log::warning(&format!("Disconnecting timedout replica (full sync): {}", self.replica.label));
            return false;
        }
        true
    }
}

impl Write for Fanout<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        const PAUSE: Duration = Duration::from_millis(1);
        self.lines.iter_mut().for_each(|line| line.sent = 0);
        loop {
            let patience = Duration::from_secs(self.server.config.settings().repl_timeout_seconds.max(1));
            self.lines.retain_mut(|line| {
                let is_there = line.go_on(self.server, piece, patience);
                if !is_there {
                    let client = line.replica.client;
                    self.server.post_all(|| Mail::Kill { client });
                }
                is_there
            });
            let are_lost = self.lines.is_empty();
            // Who has the last piece may go on at once, with a FLUSHALL that makes the snapshot unwanted.
            if !are_lost && self.lines.iter().all(|line| line.sent == piece.len()) {
                return Ok(piece.len());
            }
            if are_lost || !self.server.replication.full_syncs.is_wanted(self.server) {
                return Err(io::Error::new(io::ErrorKind::NotConnected, "nobody waits for it any more"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
