//! Snapshots: BGSAVE, full syncs and AOF rewrites are one mechanism, one at a time, on one helper thread.
//!
//! The world rests for the moment in which a snapshot begins. Then the helper walks the slots while writers go
//! on; both put encoded entries into one queue, from which the helper writes them out. The result is the
//! dataset at the write log's offset at the beginning.

mod load;
mod progress;
mod sheet;

pub use load::{Filler, Loaded, Staged, load_file, load_staged, note_load, read_into_dataset, read_options};
pub use progress::Progress;
use sheet::{Form, Sheet};

use crate::clock;
use crate::config::Settings;
use crate::gate::World;
use crate::log;
use crate::replication::{full_sync, transfer};
use crate::server::Server;
use keyspace::table::Item;
use keyspace::{Entry, Object, SharedObject, SlotSaver, ValueRef};
use parking_lot::Mutex;
use persistence::rdb::{RdbVersion, ReplicationInfo, SavedBy};
use protocol::Slot;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// A collection of more elements is encoded outside its slot's lock.
const LARGE_ELEMENTS: usize = 256;
/// A string of more bytes, likewise.
const LARGE_BYTES: usize = 16 * 1024;

/// What a small entry takes, or a little more.
const SMALL_BYTES: usize = 96;
/// Small saves are collected up to this size.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a snapshot is taken for.
pub enum Job {
    /// Announced by [`Snapshots::announce_save`], or to wait for its turn.
    Save { is_announced: bool },
    /// For the replicas that wait for one.
    Sync,
    /// Runs between snapshots: an AOF rewrite takes its own.
    Other(Box<Task>),
}

/// What runs on the helper thread.
type Task = dyn FnOnce(&Arc<Server>) + Send;

/// The queue of jobs.
#[derive(Default)]
pub struct Snapshots {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    /// The save that runs is of no use any more.
    save_cancelled: AtomicBool,
    /// Held while the file of a background save is made, or gets its name; true once there is to be none any more.
    ended: Mutex<bool>,
    /// A job is being done.
    busy: AtomicBool,
    taken: AtomicU64,
    pub progress: Arc<Progress>,
}

impl Snapshots {
    /// Whether a job that is submitted now has to wait.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// How many have been begun.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// A BGSAVE is about to run: from here on it can be seen and cancelled, even if its thread comes to it later.
    pub fn announce_save(&self, keys_total: u64) {
        self.save_cancelled.store(false, Ordering::Relaxed);
        self.progress.begin(keys_total);
    }

    /// Ends the BGSAVE that runs, if one does, without a file: what it saves is out of date.
    pub fn cancel_save(&self) {
        // One that is getting its name now has come in time; from here on none does.
        let _naming = self.ended.lock();
        self.save_cancelled.store(true, Ordering::Relaxed);
    }

    /// The process ends: what has no name yet will have none, and does not stay behind.
    pub fn end(&self, settings: &Settings) {
        *self.ended.lock() = true;
        let names = [temporary_background_name(), full_sync::temporary_name(), transfer::temporary_name()];
        for name in names {
            let _ = std::fs::remove_file(settings.dir.join(name));
        }
    }

    /// The right to make a file, or give it its name, while this is held; an error once the process ends.
    pub fn claim_files(&self) -> io::Result<impl Drop> {
        let ended = self.ended.lock();
        if *ended { Err(io::ErrorKind::Interrupted.into()) } else { Ok(ended) }
    }

    /// As [`Snapshots::claim_files`], for the file of a BGSAVE: an error too when that has been cancelled.
    fn claim_dump(&self) -> io::Result<impl Drop> {
        let claim = self.claim_files()?;
        if self.save_cancelled.load(Ordering::Relaxed) {
            Err(io::ErrorKind::Interrupted.into())
        } else {
            Ok(claim)
        }
    }

    pub fn submit(&self, job: Job) {
        if let Some(queue) = &*self.queue.lock() {
            // Fails only while the process ends.
            let _ = queue.send(job);
        }
    }
}

/// Starts the helper thread.
pub fn start(server: &Arc<Server>) -> io::Result<()> {
    let (queue, jobs) = mpsc::channel();
    *server.snapshots.queue.lock() = Some(queue);
    let server = server.clone();
    std::thread::Builder::new().name("snapshot".into()).spawn(move || {
        while let Ok(job) = jobs.recv() {
            server.snapshots.busy.store(true, Ordering::Relaxed);
            match job {
                Job::Save { is_announced } => background_save(&server, is_announced),
                Job::Sync => crate::replication::full_sync::run(&server),
                Job::Other(run) => run(&server),
            }
            server.snapshots.busy.store(false, Ordering::Relaxed);
        }
    })?;
    Ok(())
}

/// Entries on their way into a snapshot.
struct Collector {
    form: Form,
    progress: Arc<Progress>,
    /// Who walks: what others save, they save because they are about to change it.
    walker: ThreadId,
    queue: Mutex<VecDeque<Chunk>>,
}

enum Chunk {
    Encoded {
        db: usize,
        bytes: Vec<u8>,
    },
    /// Shared with the keyspace until it is encoded: a writer that changes it meanwhile makes its own copy.
    Large {
        db: usize,
        key: Box<[u8]>,
        expire_at_ms: Option<i64>,
        access: u32,
        object: SharedObject,
    },
}

impl Collector {
    fn new(server: &Server, form: Form) -> Arc<Collector> {
        let progress = server.snapshots.progress.clone();
        progress.begin(server.keyspace.len() as u64);
        Arc::new(Collector { form, progress, walker: std::thread::current().id(), queue: Mutex::default() })
    }

    /// Writes out what has been collected so far. `pace` is called between chunks.
    fn drain<W: Write>(
        &self,
        writer: &mut Sheet<W>,
        current_db: &mut Option<usize>,
        mut pace: impl FnMut(),
    ) -> io::Result<()> {
        loop {
            pace();
            let Some(chunk) = self.queue.lock().pop_front() else { return Ok(()) };
            let (db, bytes) = match chunk {
                Chunk::Encoded { db, bytes } => (db, bytes),
                Chunk::Large { db, key, expire_at_ms, access, object } => {
                    let mut bytes = Vec::new();
                    self.form.parts(&mut bytes, &key, expire_at_ms, access, ValueRef::Object(&object));
                    (db, bytes)
                }
            };
            if *current_db != Some(db) {
                writer.select_db(db as u64)?;
                *current_db = Some(db);
            }
            writer.entries(&bytes)?;
        }
    }
}

impl SlotSaver for Collector {
    fn save(&self, db: usize, _slot: Slot, entries: &mut dyn Iterator<Item = &Entry>) {
        let mut bytes = Vec::with_capacity(SMALL_BYTES * entries.size_hint().0);
        let mut large = Vec::new();
        let mut string_bytes = 0;
        for entry in entries {
            self.progress.keys_processed.fetch_add(1, Ordering::Relaxed);
            match entry.object_arc().filter(|object| is_large(object)) {
                Some(object) => large.push(Chunk::Large {
                    db,
                    key: entry.key().into(),
                    expire_at_ms: entry.expire_at_ms(),
                    access: entry.access(),
                    object: object.clone(),
                }),
                None => {
                    self.form.entry(&mut bytes, entry);
                    string_bytes += string_len(entry);
                }
            }
        }
        if std::thread::current().id() != self.walker {
            // What is compressed was read and held all the same.
            let copied = bytes.len().max(string_bytes);
            self.progress.copied_bytes.fetch_add(copied as u64, Ordering::Relaxed);
        }
        let mut queue = self.queue.lock();
        if !bytes.is_empty() {
            match queue.back_mut() {
                Some(Chunk::Encoded { db: last_db, bytes: last })
                    if *last_db == db && last.len() + bytes.len() <= CHUNK_BYTES =>
                {
                    last.extend_from_slice(&bytes);
                }
                _ => queue.push_back(Chunk::Encoded { db, bytes }),
            }
        }
        queue.extend(large);
    }
}

fn string_len(entry: &Entry) -> usize {
    match entry.value() {
        ValueRef::Bytes(bytes) => bytes.len(),
        ValueRef::Object(Object::Str(bytes)) => bytes.len(),
        _ => 0,
    }
}

fn is_large(object: &Object) -> bool {
    match object {
        Object::Str(bytes) => bytes.len() > LARGE_BYTES,
        object => object.len() > LARGE_ELEMENTS,
    }
}

/// Keeps the helper out of the way of clients where both share a core.
struct Pace {
    shares_a_core: bool,
    since: Instant,
    processed: u64,
    last_busy: Instant,
}

impl Pace {
    /// Longest stretch of work while clients wait.
    const WORK: Duration = Duration::from_micros(50);
    const REST: Duration = Duration::from_micros(500);
    /// Without a command for so long, nobody waits. Shorter than that says nothing: while the helper works, a
    /// thread on the same core cannot.
    const QUIET: Duration = Duration::from_millis(20);

    fn new(server: &Server) -> Pace {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let now = clock::monotonic();
        Pace { shares_a_core: cores <= server.gate.threads(), since: now, processed: 0, last_busy: now }
    }

    /// Rests a little when it has worked for a while and commands were run meanwhile.
    fn keep(&mut self, server: &Server) {
        if !self.shares_a_core || self.since.elapsed() < Self::WORK {
            return;
        }
        let processed = server.stats.sum(|thread| &thread.processed);
        self.since = clock::monotonic();
        if processed != self.processed {
            (self.processed, self.last_busy) = (processed, self.since);
        }
        if self.since.duration_since(self.last_busy) < Self::QUIET {
            std::thread::sleep(Self::REST);
            self.since = clock::monotonic();
        }
    }
}

/// `rdb-key-save-delay`: makes saving slow, for tests of what happens meanwhile.
#[derive(Default)]
struct Drag {
    saved: u64,
}

impl Drag {
    /// How long nobody looks whether there is still a reason to go on.
    const STEP: Duration = Duration::from_millis(10);

    /// Waits for what has been collected since, or until the setting is changed. False when there is no reason to go on
    /// any more.
    fn wait(&mut self, server: &Server, collector: &Collector, mut is_wanted: impl FnMut() -> bool) -> bool {
        let setting = || server.config.settings().rdb_key_save_delay_micros;
        let delay_micros = setting();
        let saved = collector.progress.keys_processed.load(Ordering::Relaxed);
        let new = saved - std::mem::replace(&mut self.saved, saved);
        let micros = match delay_micros {
            0 => 0,
            delay if delay > 0 => new.saturating_mul(delay as u64),
            every => new / every.unsigned_abs(),
        };
        let mut left = Duration::from_micros(micros);
        while !left.is_zero() && setting() == delay_micros {
            if !is_wanted() {
                return false;
            }
            let step = left.min(Self::STEP);
            std::thread::sleep(step);
            left -= step;
        }
        is_wanted()
    }
}

/// What a snapshot is to look like.
pub struct Shape {
    pub version: RdbVersion,
    pub purpose: Purpose,
    /// Commands instead of an RDB file.
    pub is_commands: bool,
}

/// Whom a snapshot is for: without them there is no reason to go on with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Dump,
    AofBase,
    Replicas,
    /// Replicas that want the functions, and nothing else.
    FunctionsForReplicas,
}

impl Purpose {
    fn is_wanted(self, server: &Server) -> bool {
        match self {
            Purpose::Dump => !server.snapshots.save_cancelled.load(Ordering::Relaxed),
            Purpose::AofBase => server.aof.is_rewrite_wanted(),
            Purpose::Replicas | Purpose::FunctionsForReplicas => {
                server.replication.full_syncs.is_wanted(server)
            }
        }
    }
}

/// Takes a snapshot into `out`. `begin` runs in the moment of the snapshot, with the world at rest.
pub fn take<W: Write, T>(
    server: &Arc<Server>,
    shape: &Shape,
    out: impl FnOnce(&T) -> io::Result<W>,
    begin: impl FnOnce(&mut World<'_>) -> io::Result<T>,
) -> io::Result<(W, T)> {
    let settings = server.settings();
    let (collector, version, id, begun, at, libraries) = {
        let mut world = server.gate.stop_world();
        let begun = begin(&mut world)?;
        let version = version_for(server, shape.version);
        let form = match shape.is_commands {
            true => Form::Commands,
            false => Form::rdb(version, settings.rdb_compression),
        };
        let collector = Collector::new(server, form);
        let id = server.keyspace.begin_snapshot(collector.clone());
        let id = id.ok_or_else(|| io::Error::other("another snapshot is running"))?;
        server.snapshots.taken.fetch_add(1, Ordering::Relaxed);
        (collector, version, id, begun, StreamPlace::now(server), server.scripts.libraries.current())
    };
    let result = (|| {
        let mut writer = Sheet::new(collector.form, out(&begun)?, version, settings.rdb_checksum)?;
        writer.head(&saved_by(server, shape, at), settings.aof_timestamp_enabled)?;
        libraries.iter().try_for_each(|library| writer.function(&library.body))?;
        let mut db = None;
        let mut failed = None;
        let (mut pace, mut drag) = (Pace::new(server), Drag::default());
        if shape.purpose == Purpose::FunctionsForReplicas {
            return writer.finish();
        }
        server.keyspace.walk_snapshot(id, || {
            if !drag.wait(server, &collector, || shape.purpose.is_wanted(server)) {
                failed = Some(io::Error::new(io::ErrorKind::Interrupted, "nobody waits for it any more"));
                return ControlFlow::Break(());
            }
            match collector.drain(&mut writer, &mut db, || pace.keep(server)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        match failed {
            Some(error) => Err(error),
            None => {
                collector.drain(&mut writer, &mut db, || pace.keep(server))?;
                writer.finish()
            }
        }
    })();
    server.keyspace.end_snapshot(id);
    server.snapshots.progress.end(shape.purpose == Purpose::AofBase);
    result.map(|out| (out, begun))
}

/// The version it has to be for what is there now, with the world at rest: at least the one asked for.
fn version_for(server: &Server, version: RdbVersion) -> RdbVersion {
    let fields_expire = server.keyspace.dbs().iter().any(|db| db.timed() > 0);
    if fields_expire { RdbVersion::V12 } else { version }
}

/// Where in the stream a snapshot was taken.
#[derive(Clone, Copy)]
struct StreamPlace {
    offset: u64,
    /// The database of what comes next, where that does not say so itself: our own writes do, our master's
    /// need not.
    db: usize,
}

impl StreamPlace {
    /// With the world at rest.
    fn now(server: &Server) -> StreamPlace {
        let replication = &server.replication;
        let db = if replication.is_replica() { replication.stream_db.load(Ordering::Relaxed) } else { 0 };
        StreamPlace { offset: server.log.end(), db }
    }
}

fn saved_by(server: &Server, shape: &Shape, at: StreamPlace) -> SavedBy {
    let id = server.replication.history().replid;
    // A dataset that nobody follows has no place in a history.
    let has_history = server.log.is_active() || server.replication.is_replica();
    let replication =
        has_history.then_some(ReplicationInfo { id, offset: at.offset, stream_db: at.db as i64 });
    SavedBy {
        ctime_s: clock::now_ms() / 1000,
        used_memory_bytes: crate::memory::used_bytes(),
        replication,
        is_aof_base: shape.purpose == Purpose::AofBase,
    }
}

const ON_DISK: Shape = Shape { version: RdbVersion::V11, purpose: Purpose::Dump, is_commands: false };

/// SAVE and the save at shutdown: the world is at rest, and stays so.
pub fn save_at_rest(server: &Server) -> io::Result<()> {
    let settings = server.settings();
    let version = version_for(server, ON_DISK.version);
    let form = Form::rdb(version, settings.rdb_compression);
    let collector = Collector::new(server, form);
    let path = settings.dir.join(&settings.dbfilename);
    let changes = server.changes();
    server.snapshots.cancel_save();
    let result = write_atomically(
        &path,
        &temporary_name(),
        || Ok(()),
        |file| {
            let mut drag = Drag::default();
            let mut writer = Sheet::new(form, file, version, settings.rdb_checksum)?;
            writer.head(&saved_by(server, &ON_DISK, StreamPlace::now(server)), false)?;
            let libraries = server.scripts.libraries.current();
            libraries.iter().try_for_each(|library| writer.function(&library.body))?;
            let mut current = None;
            for db in server.keyspace.dbs().iter().filter(|db| !db.is_empty()) {
                for slot in Slot::all().filter(|&slot| db.key_count(slot) > 0) {
                    collector.save(db.index(), slot, &mut db.lock(slot).iter());
                    drag.wait(server, &collector, || true);
                    collector.drain(&mut writer, &mut current, || ())?;
                }
            }
            writer.finish().map(|_| ())
        },
    );
    server.snapshots.progress.end(false);
    match &result {
        Ok(()) => note_saved(server, changes),
        Err(error) => log::warning(&format!("Error saving DB on disk: {error}")),
    }
    result
}

fn background_save(server: &Arc<Server>, is_announced: bool) {
    log::notice(&format!("Background saving started by pid {}", std::process::id()));
    let settings = server.settings();
    let path = settings.dir.join(&settings.dbfilename);
    let mut changes = 0;
    if !is_announced {
        server.snapshots.announce_save(server.keyspace.len() as u64);
    }
    let name = temporary_background_name();
    let claim = || server.snapshots.claim_dump();
    let result = write_atomically(&path, &name, claim, |file| {
        take(
            server,
            &ON_DISK,
            |()| Ok(&mut *file),
            |_| {
                changes = server.changes();
                match Purpose::Dump.is_wanted(server) {
                    true => Ok(()),
                    false => Err(io::ErrorKind::Interrupted.into()),
                }
            },
        )
        .map(|_| ())
    });
    server.snapshots.progress.end(false);
    let is_cancelled = server.snapshots.save_cancelled.load(Ordering::Relaxed);
    if result.is_ok() || !is_cancelled {
        note_background_save(server, &result, changes);
    }
    match &result {
        Err(_) if is_cancelled => log::notice("Background saving was ended: it has been overtaken"),
        Ok(()) => log::notice("Background saving terminated with success"),
        Err(error) => log::warning(&format!("Background saving error: {error}")),
    }
    server.persistence.saving.store(false, Ordering::Release);
}

/// Notes how a background save ended; `changes` had been made when it began. That one failed is held against the
/// server until another succeeds; whoever asks for a save and waits for it is told himself.
pub fn note_background_save(server: &Server, result: &io::Result<()>, changes: u64) {
    match result {
        Ok(()) => note_saved(server, changes),
        Err(error) => {
            server.persistence.last_bgsave_ok.store(false, Ordering::Relaxed);
            log::warning(&format!("Error saving DB on disk: {error}"));
        }
    }
}

fn note_saved(server: &Server, changes: u64) {
    let persistence = &server.persistence;
    persistence.last_bgsave_ok.store(true, Ordering::Relaxed);
    persistence.saves.fetch_add(1, Ordering::Relaxed);
    persistence.changes_at_save.store(changes, Ordering::Relaxed);
    persistence.last_save_ms.store(clock::now_ms(), Ordering::Relaxed);
    log::notice("DB saved on disk");
}

/// The name of what SAVE and the save at shutdown write, until it is whole.
pub fn temporary_name() -> String {
    format!("temp-{}.rdb", std::process::id())
}

/// The name of what BGSAVE writes, until it is whole.
fn temporary_background_name() -> String {
    format!("temp-bgsave-{}.rdb", std::process::id())
}

/// Writes a file under a temporary name, and gives it its own when all of it is on disk. What `claim` returns is held
/// while the file is made, and while it is named.
fn write_atomically<C>(
    path: &Path,
    name: &str,
    claim: impl Fn() -> io::Result<C>,
    write: impl FnOnce(&mut io::BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary: PathBuf = dir.join(name);
    let written = (|| {
        let created = claim().and_then(|_claim| File::create(&temporary))?;
        let mut file = io::BufWriter::with_capacity(256 * 1024, created);
        write(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        claim().and_then(|_claim| std::fs::rename(&temporary, path))?;
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Gives what was written elsewhere, to its end, the name of the dump.
pub fn keep_dump(written: &Path, settings: &Settings) -> io::Result<()> {
    File::open(written)?.sync_all()?;
    std::fs::rename(written, settings.dir.join(&settings.dbfilename))?;
    File::open(&settings.dir)?.sync_all()
}

/// Takes everything out of all databases; the memory is freed elsewhere.
pub fn flush(server: &Server) {
    let taken: Vec<_> = server.keyspace.dbs().iter().flat_map(|db| db.take_all()).collect();
    std::thread::spawn(move || drop(taken));
}
