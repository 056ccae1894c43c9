//! Snapshots: BGSAVE, full syncs and AOF rewrites are one mechanism, one at a time, on one helper thread.
//!
//! The world rests for the moment in which a snapshot begins. Then the helper walks the slots while writers go
//! on; both put encoded entries into one queue, from which the helper writes them out. The result is the
//! dataset at the write log's offset at the beginning.

use crate::clock;
use crate::config::Settings;
use crate::gate::World;
use crate::log;
use crate::script::libraries::LibrarySet;
use crate::server::Server;
use keyspace::table::Item;
use keyspace::types::Limits;
use keyspace::{Entry, Keyspace, Object, SlotSaver, ValueRef};
use parking_lot::Mutex;
use persistence::rdb::{
    EncodeOptions, Encoder, LoadReport, LoadedEntry, RdbVersion, ReadOptions, Reader, ReplicationInfo,
    SavedBy, Sink, Writer,
};
use protocol::Slot;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
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
    Save,
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
    /// A job is being done.
    busy: AtomicBool,
    taken: AtomicU64,
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

    /// Ends the BGSAVE that runs, if one does, without a file: what it saves is out of date.
    pub fn cancel_save(&self) {
        self.save_cancelled.store(true, Ordering::Relaxed);
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
                Job::Save => background_save(&server),
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
    encoder: Encoder,
    /// How many entries have come.
    entries: AtomicU64,
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
        object: Arc<Object>,
    },
}

impl Collector {
    fn new(version: RdbVersion, compress: bool) -> Arc<Collector> {
        let encoder = Encoder::new(EncodeOptions { version, compress, ..EncodeOptions::default() });
        Arc::new(Collector { encoder, entries: AtomicU64::new(0), queue: Mutex::default() })
    }

    /// Writes out what has been collected so far. `pace` is called between chunks.
    fn drain<W: Write>(
        &self,
        writer: &mut Writer<W>,
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
                    self.encoder.parts(&mut bytes, &key, expire_at_ms, access, ValueRef::Object(&object));
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
        for entry in entries {
            self.entries.fetch_add(1, Ordering::Relaxed);
            match entry.object_arc().filter(|object| is_large(object)) {
                Some(object) => large.push(Chunk::Large {
                    db,
                    key: entry.key().into(),
                    expire_at_ms: entry.expire_at_ms(),
                    access: entry.access(),
                    object: object.clone(),
                }),
                None => self.encoder.entry(&mut bytes, entry),
            }
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
        let saved = collector.entries.load(Ordering::Relaxed);
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
            // It is taken away when the AOF is switched off.
            Purpose::AofBase => server.aof.is_open(),
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
        let collector = Collector::new(version, settings.rdb_compression);
        let id = server.keyspace.begin_snapshot(collector.clone());
        let id = id.ok_or_else(|| io::Error::other("another snapshot is running"))?;
        server.snapshots.taken.fetch_add(1, Ordering::Relaxed);
        (collector, version, id, begun, StreamPlace::now(server), server.scripts.libraries.current())
    };
    let result = (|| {
        let mut writer = Writer::new(out(&begun)?, version, settings.rdb_checksum)?;
        writer.saved_by(&saved_by(server, shape, at))?;
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

const ON_DISK: Shape = Shape { version: RdbVersion::V11, purpose: Purpose::Dump };

/// SAVE and the save at shutdown: the world is at rest, and stays so.
pub fn save_at_rest(server: &Server) -> io::Result<()> {
    let settings = server.settings();
    let version = version_for(server, ON_DISK.version);
    let collector = Collector::new(version, settings.rdb_compression);
    let path = settings.dir.join(&settings.dbfilename);
    let changes = server.changes();
    server.snapshots.cancel_save();
    let result = write_atomically(&path, &temporary_name(), |file| {
        let mut drag = Drag::default();
        let mut writer = Writer::new(file, version, settings.rdb_checksum)?;
        writer.saved_by(&saved_by(server, &ON_DISK, StreamPlace::now(server)))?;
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
    });
    note_save(server, &result, changes);
    result
}

fn background_save(server: &Arc<Server>) {
    log::notice(&format!("Background saving started by pid {}", std::process::id()));
    let settings = server.settings();
    let path = settings.dir.join(&settings.dbfilename);
    let mut changes = 0;
    server.snapshots.save_cancelled.store(false, Ordering::Relaxed);
    let name = format!("temp-bgsave-{}.rdb", std::process::id());
    let result = write_atomically(&path, &name, |file| {
        take(
            server,
            &ON_DISK,
            |()| Ok(&mut *file),
            |_| {
                changes = server.changes();
                Ok(())
            },
        )
        .map(|_| ())
    });
    let is_cancelled = server.snapshots.save_cancelled.load(Ordering::Relaxed);
    if result.is_ok() || !is_cancelled {
        note_save(server, &result, changes);
    }
    match &result {
        Err(_) if is_cancelled => log::notice("Background saving was ended: it has been overtaken"),
        Ok(()) => log::notice("Background saving terminated with success"),
        Err(error) => log::warning(&format!("Background saving error: {error}")),
    }
    server.persistence.saving.store(false, Ordering::Release);
}

/// Notes how a save of the dataset ended; `changes` had been made when it began.
pub fn note_save(server: &Server, result: &io::Result<()>, changes: u64) {
    let persistence = &server.persistence;
    persistence.last_bgsave_ok.store(result.is_ok(), Ordering::Relaxed);
    match result {
        Ok(()) => {
            persistence.saves.fetch_add(1, Ordering::Relaxed);
            persistence.changes_at_save.store(changes, Ordering::Relaxed);
            persistence.last_save_ms.store(clock::now_ms(), Ordering::Relaxed);
            log::notice("DB saved on disk");
        }
        Err(error) => log::warning(&format!("Error saving DB on disk: {error}")),
    }
}

/// The name of what SAVE and the save at shutdown write, until it is whole.
pub fn temporary_name() -> String {
    format!("temp-{}.rdb", std::process::id())
}

/// Writes a file under a temporary name, and gives it its own when all of it is on disk.
pub fn write_atomically(
    path: &Path,
    name: &str,
    write: impl FnOnce(&mut io::BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary: PathBuf = dir.join(name);
    let written = (|| {
        let mut file = io::BufWriter::with_capacity(256 * 1024, File::create(&temporary)?);
        write(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
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

/// Puts entries of a file into the keyspace.
pub struct Filler<'s> {
    server: &'s Server,
    keyspace: &'s Keyspace,
    /// Where libraries go that are not to be in force yet.
    libraries: Option<LibrarySet>,
    db: usize,
    now_ms: i64,
    /// A master forgets what has expired; a replica waits to be told.
    drops_expired: bool,
    /// What to do with a key that is there already: replace it, or fail.
    replaces: bool,
    pub expired: u64,
    entries: u64,
    /// Those keys, where somebody has to be told of them.
    expired_keys: Option<Vec<(usize, Vec<u8>)>>,
    /// What the file says of the history it belongs to.
    pub repl_id: Option<String>,
    pub repl_offset: Option<u64>,
    /// The database of what comes after it in the stream.
    pub stream_db: usize,
}

impl<'s> Filler<'s> {
    pub fn new(server: &'s Server) -> Filler<'s> {
        Filler {
            server,
            keyspace: &server.keyspace,
            libraries: None,
            db: 0,
            now_ms: clock::now_ms(),
            drops_expired: !server.replication.is_replica(),
            replaces: true,
            expired: 0,
            entries: 0,
            expired_keys: None,
            repl_id: None,
            repl_offset: None,
            stream_db: 0,
        }
    }

    /// Keys whose time has come are taken in: somebody else will remove them.
    pub fn keeping_expired(self) -> Filler<'s> {
        Filler { drops_expired: false, ..self }
    }
}

impl Sink for Filler<'_> {
    type Error = String;

    fn entry(&mut self, entry: LoadedEntry) -> Result<(), String> {
        if self.drops_expired && entry.expire_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
            self.expired += 1;
            self.expired_keys.iter_mut().for_each(|keys| keys.push((self.db, entry.key.to_vec())));
            return Ok(());
        }
        let db = self.keyspace.db(self.db).ok_or("database out of range")?;
        let mut slot = db.lock_write(Slot::of(&entry.key));
        if !self.replaces && slot.get(&entry.key).is_some() {
            return Err(format!(
                "Duplicated key '{}' found in RDB file",
                String::from_utf8_lossy(&entry.key)
            ));
        }
        let mut made = entry.value.into_entry(&entry.key, entry.expire_at_ms);
        made.set_access(keyspace::access::lru(self.now_ms));
        slot.insert_entry(made);
        drop(slot);
        self.entries += 1;
        let micros = match self.server.config.settings().key_load_delay_micros {
            0 => return Ok(()),
            delay if delay > 0 => delay as u64,
            every => u64::from(self.entries.is_multiple_of(every.unsigned_abs())),
        };
        std::thread::sleep(Duration::from_micros(micros));
        Ok(())
    }

    fn empty_key(&mut self, key: &[u8]) {
        log::warning(&format!("skipping empty key: {}", String::from_utf8_lossy(key)));
    }

    fn function(&mut self, code: Vec<u8>) -> Result<(), String> {
        let scripts = &self.server.scripts;
        if let Some(set) = &mut self.libraries {
            let loaded = scripts.load_library(set, &code, self.replaces, None);
            return loaded.map(|_| ()).map_err(|text| String::from_utf8_lossy(&text).into_owned());
        }
        let mut set = LibrarySet::clone(&scripts.libraries.current());
        let loaded = scripts.load_library(&mut set, &code, self.replaces, None);
        loaded.map_err(|text| String::from_utf8_lossy(&text).into_owned())?;
        scripts.libraries.replace(set);
        Ok(())
    }

    fn select_db(&mut self, db: u64) -> Result<(), String> {
        self.db = usize::try_from(db).ok().filter(|&db| self.server.keyspace.db(db).is_some()).ok_or_else(|| {
            format!("FATAL: Data file was created with a Redis server configured to handle more than {db} databases.")
        })?;
        Ok(())
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(value).into_owned();
        match name {
            b"repl-id" => self.repl_id = Some(text),
            b"repl-offset" => self.repl_offset = text.parse().ok(),
            b"repl-stream-db" => {
                let db = text.parse().ok().filter(|&db| self.server.keyspace.db(db).is_some());
                self.stream_db = db.unwrap_or(0);
            }
            _ => {}
        }
        Ok(())
    }

    fn progress(&mut self, offset: u64) -> Result<(), String> {
        self.server.persistence.loading.loaded_bytes.store(offset, Ordering::Relaxed);
        Ok(())
    }
}

/// How a file is to be read here.
pub fn read_options(server: &Server) -> ReadOptions {
    let settings = server.settings();
    let limits: Limits = settings.limits;
    let unverified = server.switches.skip_checksums.load(Ordering::Relaxed);
    ReadOptions { limits, verify_checksum: settings.rdb_checksum && !unverified, ..ReadOptions::default() }
}

/// Reads an RDB file into the dataset as it is; a key that is there already is replaced or an error.
pub fn read_into_dataset(server: &Server, path: &Path, replaces: bool) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut reader = Reader::new(file, read_options(server));
    let mut filler = Filler { replaces, ..Filler::new(server) };
    let report = persistence::rdb::load(&mut reader, &mut filler).map_err(|error| error.to_string())?;
    note_load(&filler, &report);
    Ok(())
}

fn note_load(filler: &Filler<'_>, report: &LoadReport) {
    let keys = report.keys - filler.expired;
    let persistence = &filler.server.persistence;
    persistence.loaded_keys.store(keys, Ordering::Relaxed);
    persistence.loaded_expired.store(filler.expired, Ordering::Relaxed);
    log::notice(&format!(
        "Done loading RDB, keys loaded: {keys}, keys expired: {}, empty keys skipped: {}.",
        filler.expired, report.empty_keys_skipped
    ));
}

/// Replaces the dataset by that of an RDB file. The server must be loading.
pub fn load_file(server: &Server, path: &Path) -> Result<Loaded, String> {
    flush(server);
    server.scripts.libraries.replace(LibrarySet::default());
    let file = File::open(path).map_err(|error| error.to_string())?;
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    let mut reader = Reader::new(file, read_options(server));
    let expired_keys = server.settings().replicaof.is_none().then(Vec::new);
    let mut filler = Filler { expired_keys, ..Filler::new(server) };
    server.persistence.loading.begin(clock::now_ms(), len);
    let report = persistence::rdb::load(&mut reader, &mut filler).map_err(|error| error.to_string())?;
    note_load(&filler, &report);
    Ok(Loaded::from_filler(&mut filler))
}

/// A dataset that is not in force yet.
pub struct Staged {
    pub keyspace: Keyspace,
    pub libraries: LibrarySet,
}

/// Reads an RDB file into a dataset of its own. Returns what was read behind it, too.
pub fn load_staged(server: &Server, source: impl Read) -> Result<(Staged, Loaded, Vec<u8>), String> {
    let keyspace = Keyspace::new(server.settings().databases);
    let libraries = Some(LibrarySet::default());
    let mut reader = Reader::new(source, read_options(server));
    let mut filler = Filler { keyspace: &keyspace, libraries, drops_expired: false, ..Filler::new(server) };
    server.persistence.loading.begin(clock::now_ms(), 0);
    let report = persistence::rdb::load(&mut reader, &mut filler).map_err(|error| {
        log::warning(&format!("Internal error in RDB reading offset {}, -> {error}", reader.offset()));
        error.to_string()
    })?;
    note_load(&filler, &report);
    let loaded = Loaded::from_filler(&mut filler);
    let libraries = filler.libraries.take().unwrap_or_default();
    let (leftover, _) = reader.into_parts();
    Ok((Staged { keyspace, libraries }, loaded, leftover))
}

/// What an RDB file says besides its entries.
pub struct Loaded {
    /// The database of what comes after it in the stream.
    pub stream_db: usize,
    /// The history it belongs to, and where in it.
    pub repl_id: Option<String>,
    pub repl_offset: Option<u64>,
    /// Keys that were left out because their time had come, by database.
    pub expired: Vec<(usize, Vec<u8>)>,
}

impl Loaded {
    fn from_filler(filler: &mut Filler<'_>) -> Loaded {
        Loaded {
            stream_db: filler.stream_db,
            repl_id: filler.repl_id.take(),
            repl_offset: filler.repl_offset,
            expired: filler.expired_keys.take().unwrap_or_default(),
        }
    }
}
