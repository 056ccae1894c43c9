//! The append-only file: the write log on disk.
//!
//! One thread reads the log at its cursor, like a replica, and writes what it reads. A rewrite is a snapshot
//! whose beginning coincides with the switch to a new increment.

use crate::clock;
use crate::config::{AppendFsync, Settings};
use crate::exec::cx::AtRest;
use crate::exec::{Batch, Executor, Outcome, Session, SessionFlags};
use crate::log;
use crate::net::Mail;
use crate::server::Server;
use crate::snapshot::{self, Filler, Job, Purpose, Shape, read_options};
use crate::write_log::Cursor;
use parking_lot::Mutex;
use persistence::aof::{AofError, AofNames, AofReader, AofWriter, Plan, PlannedFile, Record, plan};
use persistence::rdb::{RdbVersion, Reader, SavedBy, Writer};
use persistence::storage::{Disk, Storage, StorageFile};
use protocol::ArgVec;
use protocol::reply::write_command;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much of the log is written at once.
const CHUNK_BYTES: usize = 4 << 20;
/// Longest wait for something to write: in time for the next sync.
const IDLE: Duration = Duration::from_millis(100);
/// Between two writes: whoever appends to the log need not wake the thread more often.
const PACE: Duration = Duration::from_millis(1);
/// After a failed write, so long until the next try.
const RETRY: Duration = Duration::from_secs(1);

/// After a failed rewrite of an AOF that waits for its first base, so long until the next try.
const REWRITE_RETRY_MS: i64 = 5_000;

/// The AOF of this server.
#[derive(Default)]
pub struct Aof {
    core: Mutex<Option<Core>>,
    /// The number of the rewrite that is wanted; 0 for none.
    rewriting: AtomicU64,
    rewrites_begun: AtomicU64,
    /// The number of the rewrite that is being made, wanted or not.
    running: AtomicU64,
    /// The rewrite asked for has not begun: another snapshot is being taken.
    scheduled: AtomicBool,
    /// It has increments only, until the rewrite under way gives it its first base.
    waits_for_base: AtomicBool,
    pub last_rewrite_failed: AtomicBool,
    rewrite_failed_at_ms: AtomicI64,
    pub rewrites: AtomicU64,
    /// Bytes of base and increments after the last rewrite, and now.
    pub base_bytes: AtomicU64,
    pub current_bytes: AtomicU64,
}

struct Core {
    writer: AofWriter<Disk>,
    cursor: Cursor,
    /// Read from the log, and not written yet.
    pending: Vec<u8>,
    synced: Instant,
    /// `pending` ends with the end of a command; and so does what was written before it.
    is_pending_whole: bool,
    is_whole: bool,
    /// The last time that was written down, in seconds.
    noted_s: i64,
    /// Offset in the log of what was written, and of what is known to be on disk.
    written_offset: u64,
}

fn names(settings: &Settings) -> AofNames {
    AofNames {
        folder: settings.appenddirname.clone(),
        file: settings.appendfilename.clone(),
        rdb_base: settings.aof_use_rdb_preamble,
    }
}

/// What a new file begins with. A file that is read begins in database 0, but our master's stream may be in
/// another one by now, and need not say so again.
fn select_of_stream(server: &Server) -> Vec<u8> {
    let db = server.replication.stream_db.load(Ordering::Relaxed);
    let mut select = Vec::new();
    if server.replication.is_replica() && db != 0 {
        write_command(&mut select, [&b"SELECT"[..], db.to_string().as_bytes()].into_iter());
    }
    select
}

/// Reads the AOF in, if there is one, and goes on writing it. The server must be loading.
pub fn open(server: &Arc<Server>) -> Result<(), String> {
    let settings = server.settings();
    let names = names(&settings);
    let storage = Disk::new(&settings.dir);
    let found = plan(&storage, &names).map_err(|error| format!("{error}"))?;
    for name in &found.leftovers {
        log::notice(&format!("Removing {name}, which a rewrite that came to nothing has left behind"));
        let removed = storage.remove(&names.path(name));
        removed.unwrap_or_else(|error| log::warning(&format!("Can't remove {name}: {error}")));
    }
    let started = clock::monotonic();
    let mut place = None;
    for file in &found.files {
        place = load_file(server, &settings, &storage, &names, file, None)?;
    }
    if let Some(place) = place {
        server.replication.resume(server, &place.replid, place.offset, place.stream_db);
    }
    if !found.files.is_empty() {
        log::notice(&format!(
            "DB loaded from append only file: {:.3} seconds",
            started.elapsed().as_secs_f64()
        ));
    }
    begin(server, storage, names, found).map_err(|error| format!("Can't open the append only file: {error}"))
}

/// Reads the AOF as it is now into the dataset. The world is at rest.
pub fn read_again(server: &Arc<Server>, world: &mut dyn AtRest) -> Result<(), String> {
    server.aof.finish(server).map_err(|error| error.to_string())?;
    let settings = server.settings();
    let names = names(&settings);
    let storage = Disk::new(&settings.dir);
    let found = plan(&storage, &names).map_err(|error| error.to_string())?;
    if found.files.is_empty() {
        return Err("there is no append only file".into());
    }
    found.files.iter().try_for_each(|file| {
        load_file(server, &settings, &storage, &names, file, Some(&mut *world)).map(|_| ())
    })
}

/// Starts to write, after what was found has been read.
fn begin(server: &Arc<Server>, storage: Disk, names: AofNames, found: Plan) -> io::Result<()> {
    let size: u64 = found.files.iter().map(|file| file.size_bytes).sum();
    let rdb_base = names.rdb_base;
    let empty_base = |file: &mut <Disk as Storage>::File| {
        if !rdb_base {
            return Ok(());
        }
        let mut writer = Writer::new(file, RdbVersion::V11, true)?;
        writer.saved_by(&SavedBy {
            ctime_s: clock::now_ms() / 1000,
            used_memory_bytes: crate::memory::used_bytes(),
            replication: None,
            is_aof_base: true,
        })?;
        writer.finish().map(|_| ())
    };
    let writer = AofWriter::open(storage, names, found.manifest, None, empty_base)?;
    server.aof.base_bytes.store(size, Ordering::Relaxed);
    server.aof.current_bytes.store(size, Ordering::Relaxed);
    start_writing(server, writer)
}

/// Puts the writer at the end of the log, and the log to work.
fn start_writing(server: &Arc<Server>, writer: AofWriter<Disk>) -> io::Result<()> {
    server.log.set_active(true);
    server.log.forget_db();
    let end = server.log.end();
    let cursor = server.log.cursor_at(end).map_err(|_| io::Error::other("the log has moved"))?;
    let pending = select_of_stream(server);
    let core = Core {
        writer,
        cursor,
        pending,
        synced: clock::monotonic(),
        is_pending_whole: true,
        is_whole: true,
        noted_s: 0,
        written_offset: end,
    };
    server.persistence.set_durable_offset(end);
    *server.aof.core.lock() = Some(core);
    Ok(())
}

/// The place in a history that a dataset has. A server that ends in order writes it down as the last line of its AOF, as an
/// annotation that others skip: anything behind it, and it is void.
struct Place {
    replid: String,
    offset: u64,
    stream_db: usize,
}

impl Place {
    const NAME: &str = "#balas-repl:";

    /// With the world at rest and the log written to its end.
    fn now(server: &Server) -> Place {
        let replication = &server.replication;
        Place {
            replid: replication.history().replid,
            offset: server.log.end(),
            stream_db: replication.stream_db.load(Ordering::Relaxed),
        }
    }

    fn line(&self) -> String {
        format!("{}{} {} {}\r\n", Self::NAME, self.replid, self.offset, self.stream_db)
    }

    fn parse(line: &[u8]) -> Option<Place> {
        let text = std::str::from_utf8(line).ok()?.strip_prefix(Self::NAME)?;
        let mut words = text.split_ascii_whitespace();
        let (replid, offset, stream_db) = (words.next()?, words.next()?, words.next()?);
        let replid = Some(replid.to_owned()).filter(|id| id.len() == 40)?;
        Some(Place { replid, offset: offset.parse().ok()?, stream_db: stream_db.parse().ok()? })
    }
}

/// Returns the place in a history that the file ends with.
fn load_file(
    server: &Arc<Server>,
    settings: &Settings,
    storage: &Disk,
    names: &AofNames,
    file: &PlannedFile,
    world: Option<&mut dyn AtRest>,
) -> Result<Option<Place>, String> {
    let path = names.path(&file.name);
    let mut source =
        storage.read(&path).map_err(|error| format!("Fatal error: can't open {path}: {error}"))?;
    let mut head = [0; 5];
    let len = read_head(&mut source, &mut head)
        .map_err(|error| format!("Fatal error: can't read {path}: {error}"))?;
    let whole = io::Read::chain(io::Cursor::new(head[..len].to_vec()), source);
    if &head[..len] != b"REDIS" {
        return replay(server, settings, storage, &path, file, (whole, 0), world);
    }
    log::notice("Reading RDB base file on AOF loading...");
    let mut reader = Reader::new(whole, read_options(server));
    // What has expired since may have been changed in time by the commands that follow.
    let mut filler = Filler::new(server).keeping_expired();
    let report = persistence::rdb::load(&mut reader, &mut filler).map_err(|error| {
        format!("Error reading the RDB preamble of the AOF file {}, AOF loading aborted: {error}", file.name)
    })?;
    snapshot::note_load(&filler, &report);
    let offset = reader.offset();
    let (buffered, rest) = reader.into_parts();
    let rest = io::Cursor::new(buffered).chain(rest);
    replay(server, settings, storage, &path, file, (rest, offset), world)
}

fn read_head(source: &mut impl Read, head: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < head.len() {
        match source.read(&mut head[len..])? {
            0 => break,
            n => len += n,
        }
    }
    Ok(len)
}

/// Runs the commands of a file: from `source`, which begins at `offset` in it. With `world`, that is at rest already.
fn replay(
    server: &Arc<Server>,
    settings: &Settings,
    storage: &Disk,
    path: &str,
    file: &PlannedFile,
    (source, offset): (impl Read, u64),
    mut world: Option<&mut dyn AtRest>,
) -> Result<Option<Place>, String> {
    let mut executor = Executor::new(server.clone(), 0);
    let mut session = Session::new(u64::MAX, String::new(), String::new(), clock::now_ms());
    session.flags = SessionFlags::LOADER | SessionFlags::AUTHENTICATED;
    let mut reader = AofReader::new(source, offset);
    let mut reply = Vec::new();
    let batch = Batch::begin(server);
    let mut place = None;
    loop {
        let argv = match reader.next() {
            Ok(None) => return Ok(place),
            Ok(Some(Record::Annotation(line))) => {
                place = Place::parse(line);
                continue;
            }
            Ok(Some(Record::Command(command))) => command.iter().collect::<ArgVec>(),
            Ok(Some(_)) => continue,
            Err(AofError::Truncated { valid_up_to }) if file.is_last && settings.aof_load_truncated => {
                log::warning(&format!("!!! Warning: short read while loading the AOF file {}!!!", file.name));
                log::warning(&format!(
                    "AOF {} loaded anyway because aof-load-truncated is enabled; truncating it from offset {valid_up_to}",
                    file.name
                ));
                return storage
                    .truncate(path, valid_up_to)
                    .map(|()| None)
                    .map_err(|error| format!("Can't truncate {path}: {error}"));
            }
            Err(AofError::Truncated { valid_up_to }) => {
                return Err(format!(
                    "Unexpected end of file reading the append only file {} (whole up to offset {valid_up_to}). You can: \
                     1) Make a backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>. \
                     2) Alternatively you can set the 'aof-load-truncated' configuration option to yes and restart the server.",
                    file.name
                ));
            }
            Err(error) => {
                return Err(format!(
                    "Bad file format reading the append only file {}: {error}: make a backup of your AOF file, then use \
                     ./redis-check-aof --fix <filename.manifest>",
                    file.name
                ));
            }
        };
        place = None;
        let argv = argv.as_argv();
        reply.clear();
        // Spelled out, because only a bare reference is shortened to the lifetime of the call.
        let at_rest: Option<&mut dyn AtRest> = match &mut world {
            Some(world) => Some(&mut **world),
            None => None,
        };
        let mut outcome = executor.execute(&batch, &mut session, argv, &mut reply, at_rest);
        if matches!(outcome, Outcome::NeedsWorld) {
            let mut world = server.gate.stop_world();
            outcome = executor.execute(&batch, &mut session, argv, &mut reply, Some(&mut world));
        }
        let _ = outcome;
        if reply.starts_with(b"-ERR unknown command") {
            let name = String::from_utf8_lossy(argv.name()).into_owned();
            return Err(format!("Unknown command '{name}' reading the append only file {}", file.name));
        }
    }
}

/// Writes the log to the file. Runs until the process ends.
pub fn run(server: &Arc<Server>) {
    let stats = server.stats.thread();
    loop {
        let settings = server.settings();
        let began = clock::monotonic();
        let step = server.aof.core.lock().as_mut().map(|core| core.step(server, &settings));
        if step.is_some() {
            stats.aof_nanos.add(began.elapsed().as_nanos() as u64);
        }
        match step {
            Some(Step::Wrote) if settings.appendfsync == AppendFsync::Always => {}
            Some(Step::Wrote) => std::thread::sleep(PACE),
            Some(Step::Failed) => std::thread::sleep(RETRY),
            Some(Step::Idle) | None => server.log.wait_for_growth(server.aof.position(server), IDLE),
        }
    }
}

#[derive(Clone, Copy)]
enum Step {
    Idle,
    Wrote,
    Failed,
}

impl Aof {
    fn position(&self, server: &Server) -> u64 {
        self.core.lock().as_ref().map_or_else(|| server.log.end(), |core| core.cursor.get())
    }

    pub fn is_rewriting(&self) -> bool {
        self.rewriting.load(Ordering::Relaxed) != 0 && !self.is_scheduled()
    }

    pub fn is_scheduled(&self) -> bool {
        self.scheduled.load(Ordering::Relaxed)
    }

    /// The rewrite that is being made is still of use.
    pub fn is_rewrite_wanted(&self) -> bool {
        self.rewriting.load(Ordering::Acquire) == self.running.load(Ordering::Acquire)
    }

    /// What it is to hold exists nowhere else on disk, but will as soon as the rewrite under way is done.
    pub fn writes_first_base(&self) -> bool {
        self.waits_for_base.load(Ordering::Relaxed) && self.is_rewriting()
    }

    /// How far the log is on disk in a form that would be read at the next start; `None` where it is not kept.
    pub fn durable_offset(&self, server: &Server) -> Option<u64> {
        let kept = self.is_open() && !self.waits_for_base.load(Ordering::Relaxed);
        kept.then(|| server.durable_offset())
    }

    pub fn is_open(&self) -> bool {
        self.core.lock().is_some()
    }

    /// The process ends: half a rewrite is of no use to the next start.
    pub fn end(&self, server: &Server) {
        let mut core = self.core.lock();
        let Some(core) = core.take() else { return };
        let settings = server.settings();
        let (storage, names) = (Disk::new(&settings.dir), names(&settings));
        let _ = storage.remove(&names.path(&names.temporary_base()));
        if core.writer.is_waiting() {
            let _ = storage.remove(&names.path(&names.temporary_incr()));
        }
    }

    /// As [`Aof::finish`], when nothing will be written any more: the next start knows where it goes on.
    pub fn finish_for_good(&self, server: &Server) -> io::Result<()> {
        if let Some(core) = &mut *self.core.lock() {
            core.drain(server)?;
            core.writer.write(Place::now(server).line().as_bytes())?;
        }
        self.finish(server)
    }

    /// Writes and syncs all there is. The world must be at rest.
    pub fn finish(&self, server: &Server) -> io::Result<()> {
        match &mut *self.core.lock() {
            None => Ok(()),
            Some(core) => {
                core.drain(server)?;
                core.sync(server)
            }
        }
    }
}

impl Core {
    fn step(&mut self, server: &Server, settings: &Settings) -> Step {
        let written = match self.write_some(server) {
            Ok(written) => written,
            Err(error) => return self.failed(server, "writing to", &error),
        };
        let due = match settings.appendfsync {
            AppendFsync::Always => true,
            AppendFsync::Everysec => self.synced.elapsed() >= Duration::from_secs(1),
            AppendFsync::No => false,
        };
        // What others have written and synced is not durable by their word: whoever waits has to be told.
        if due
            && server.durable_offset() < self.written_offset
            && let Err(error) = self.sync(server)
        {
            return self.failed(server, "syncing", &error);
        }
        if !server.persistence.aof_write_ok.swap(true, Ordering::Relaxed) {
            log::warning("AOF write error looks solved. The server can write again.");
        }
        if written > 0 { Step::Wrote } else { Step::Idle }
    }

    /// Syncs what is written, and tells those whose replies wait for that.
    fn sync(&mut self, server: &Server) -> io::Result<()> {
        if self.writer.synced_bytes() < self.writer.size_bytes() {
            self.writer.sync()?;
        }
        self.synced = clock::monotonic();
        server.persistence.set_durable_offset(self.written_offset);
        server.post_all(|| Mail::LogMoved);
        Ok(())
    }

    fn failed(&self, server: &Server, doing: &str, error: &io::Error) -> Step {
        if server.persistence.aof_failed(error) {
            log::warning(&format!("Error {doing} the append only file: {error}"));
        }
        Step::Failed
    }

    /// Writes the next piece of the log; returns its length.
    fn write_some(&mut self, server: &Server) -> io::Result<usize> {
        if self.pending.is_empty() {
            let moved = server.log.read_durable(&self.cursor, CHUNK_BYTES, &mut self.pending);
            let moved = moved.map_err(|_| io::Error::other("the log was cut before it was written"))?;
            self.is_pending_whole = moved < CHUNK_BYTES;
        }
        let len = self.pending.len();
        if len > 0 {
            self.note_time(server)?;
            self.writer.write(&self.pending)?;
            self.pending.clear();
            self.is_whole = self.is_pending_whole;
            server.aof.current_bytes.fetch_add(len as u64, Ordering::Relaxed);
        }
        self.written_offset = self.cursor.get();
        Ok(len)
    }

    /// Writes down what time it is, if that is wanted: once a second, between commands.
    fn note_time(&mut self, server: &Server) -> io::Result<()> {
        let now_s = clock::now_ms() / 1000;
        if self.is_whole && self.noted_s != now_s && server.config.settings().aof_timestamp_enabled {
            self.noted_s = now_s;
            self.writer.write(format!("#TS:{now_s}\r\n").as_bytes())?;
        }
        Ok(())
    }

    fn drain(&mut self, server: &Server) -> io::Result<()> {
        while self.write_some(server)? > 0 {}
        Ok(())
    }
}

/// What came of the wish for a rewrite.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    Started,
    /// It begins when the snapshot that is being taken is done.
    Scheduled,
    /// There is one already.
    UnderWay,
}

/// Starts a rewrite unless one is under way.
pub fn start_rewrite(server: &Arc<Server>) -> Rewrite {
    ask_for_rewrite(server, false)
}

/// As [`start_rewrite`]; `later` when the world will not rest before the caller has done something else.
pub fn ask_for_rewrite(server: &Arc<Server>, later: bool) -> Rewrite {
    let number = server.aof.rewrites_begun.fetch_add(1, Ordering::Relaxed) + 1;
    if server.aof.rewriting.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_err() {
        return Rewrite::UnderWay;
    }
    let scheduled = later || must_wait(server);
    server.aof.scheduled.store(scheduled, Ordering::Relaxed);
    server.snapshots.submit(Job::Other(Box::new(move |server| {
        if server.aof.rewriting.load(Ordering::Acquire) != number {
            return;
        }
        server.aof.scheduled.store(false, Ordering::Relaxed);
        log::notice("Background append only file rewriting started");
        server.aof.running.store(number, Ordering::Release);
        let result = rewrite(server, number);
        server.aof.running.store(0, Ordering::Release);
        let is_wanted = server.aof.rewriting.load(Ordering::Acquire) == number;
        if result.is_ok() || is_wanted {
            server.aof.last_rewrite_failed.store(result.is_err(), Ordering::Relaxed);
        }
        match result {
            Ok(()) => {
                server.aof.rewrites.fetch_add(1, Ordering::Relaxed);
                log::notice("Background AOF rewrite finished successfully");
            }
            Err(_) if !is_wanted => log::notice("Background AOF rewrite was ended: the AOF was switched off"),
            Err(error) => {
                server.aof.rewrite_failed_at_ms.store(clock::now_ms(), Ordering::Relaxed);
                log::warning(&format!("Background AOF rewrite failed: {error}"));
            }
        }
        // If it was ended meanwhile, another one may have been asked for.
        let _ = server.aof.rewriting.compare_exchange(number, 0, Ordering::AcqRel, Ordering::Acquire);
    })));
    if scheduled { Rewrite::Scheduled } else { Rewrite::Started }
}

/// Another snapshot has to end before a rewrite can begin.
fn must_wait(server: &Server) -> bool {
    // A rewrite that is not wanted any more ends at once.
    let is_ending = server.aof.running.load(Ordering::Acquire) != 0;
    let is_busy = server.snapshots.is_busy() || server.persistence.saving.load(Ordering::Acquire);
    is_busy && !is_ending
}

/// The AOF that rewrite `number` is about: none once it was switched off, be it on again.
fn rewritten<'a>(server: &Server, core: &'a mut Option<Core>, number: u64) -> io::Result<&'a mut Core> {
    let is_wanted = server.aof.rewriting.load(Ordering::Acquire) == number;
    core.as_mut().filter(|_| is_wanted).ok_or_else(|| io::Error::other("the AOF was switched off"))
}

fn rewrite(server: &Arc<Server>, number: u64) -> io::Result<()> {
    // What can be synced before the world stops need not be while it does.
    if let Some(core) = &mut *server.aof.core.lock() {
        core.drain(server)?;
        core.sync(server)?;
    }
    if !server.aof.is_open() {
        let writer = open_waiting(server)?;
        let _world = server.gate.stop_world();
        // It may have been switched on meanwhile.
        if !server.aof.is_open() {
            begin_waiting(server, writer)?;
        }
    }
    let done = write_base(server, number).and_then(|has_rdb_base| take_up_base(server, number, has_rdb_base));
    done.inspect_err(|_| give_up_base(server))
}

/// The temporary base is whole and safe: it takes the place of all before the increment being written.
fn take_up_base(server: &Server, number: u64, has_rdb_base: bool) -> io::Result<()> {
    let settings = server.settings();
    let mut core = server.aof.core.lock();
    let core_ref = rewritten(server, &mut core, number)?;
    core_ref.writer.set_rdb_base(has_rdb_base);
    core_ref.writer.finish_rewrite(None)?;
    server.aof.waits_for_base.store(false, Ordering::Relaxed);
    let storage = Disk::new(&settings.dir);
    let names = names(&settings);
    let manifest = core_ref.writer.manifest();
    let files = manifest.base.iter().chain(&manifest.incrs);
    let size = files.filter_map(|info| storage.size(&names.path(&info.name)).ok().flatten()).sum();
    server.aof.base_bytes.store(size, Ordering::Relaxed);
    server.aof.current_bytes.store(size, Ordering::Relaxed);
    if !settings.appendonly {
        // BGREWRITEAOF with the AOF switched off makes one, but does not go on with it.
        *core = None;
    }
    Ok(())
}

/// Writes the dataset as it is to a temporary base, while writes go to a new increment. Returns whether it is an RDB
/// file.
fn write_base(server: &Arc<Server>, number: u64) -> io::Result<bool> {
    let rdb_base = server.settings().aof_use_rdb_preamble;
    let shape = Shape { version: RdbVersion::V11, purpose: Purpose::AofBase, is_commands: !rdb_base };
    let begin = |_: &mut crate::gate::World<'_>| {
        let mut core = server.aof.core.lock();
        let core = rewritten(server, &mut core, number)?;
        core.drain(server)?;
        core.writer.rotate(None)?;
        server.log.forget_db();
        core.pending = select_of_stream(server);
        Ok(())
    };
    let create = |&(): &()| {
        let mut core = server.aof.core.lock();
        rewritten(server, &mut core, number)?.writer.create_base()
    };
    let (mut base, ()) = snapshot::take(server, &shape, create, begin)?;
    base.sync()?;
    Ok(rdb_base)
}

/// A rewrite has failed: what it wrote goes, and what was waiting for it where nobody wants that any more.
fn give_up_base(server: &Server) {
    let settings = server.settings();
    let names = names(&settings);
    // It may never have come to be.
    let _ = Disk::new(&settings.dir).remove(&names.path(&names.temporary_base()));
    let mut core = server.aof.core.lock();
    let is_useless =
        |core: &Core| core.writer.is_waiting() && (!settings.appendonly || core.writer.is_poisoned());
    if core.as_ref().is_some_and(is_useless) {
        *core = None;
        forget_waiting(server, &settings);
    }
}

/// What would have waited for a base is closed: its file goes, and nobody waits for it.
fn forget_waiting(server: &Server, settings: &Settings) {
    let names = names(settings);
    let _ = Disk::new(&settings.dir).remove(&names.path(&names.temporary_incr()));
    server.aof.waits_for_base.store(false, Ordering::Relaxed);
    server.persistence.set_durable_offset(u64::MAX);
    server.post_all(|| Mail::LogMoved);
}

/// Makes the file of an AOF that has no base yet: the rewrite that follows gives it one.
fn open_waiting(server: &Server) -> io::Result<AofWriter<Disk>> {
    let settings = server.settings();
    let storage = Disk::new(&settings.dir);
    let names = names(&settings);
    let found = plan(&storage, &names).map_err(|error| io::Error::other(error.to_string()))?;
    AofWriter::open_waiting(storage, names, found.manifest)
}

/// With the world at rest.
fn begin_waiting(server: &Arc<Server>, writer: AofWriter<Disk>) -> io::Result<()> {
    server.aof.waits_for_base.store(true, Ordering::Relaxed);
    start_writing(server, writer)
}

/// `appendonly` was switched on while the server runs; the world is at rest. After an error there is no AOF.
pub fn switch_on(server: &Arc<Server>) -> io::Result<()> {
    if !server.persistence.aof_write_ok.swap(true, Ordering::Relaxed) {
        log::warning("AOF reopen, just ignore the last error.");
    }
    // A rewrite that waits for another snapshot opens the files when its turn has come.
    if !server.aof.is_open() && !must_wait(server) {
        open_waiting(server).and_then(|writer| begin_waiting(server, writer)).inspect_err(|error| {
            log::warning(&format!(
                "Can't open the append-only file: {error}. Redis needs to enable the AOF but can't trigger a background \
                 AOF rewrite operation."
            ));
        })?;
    }
    if start_rewrite(server) == Rewrite::Scheduled {
        log::notice(
            "AOF was enabled but there is already another background operation. An AOF background was scheduled to \
             start when possible.",
        );
    }
    Ok(())
}

/// As [`switch_on`] where nobody could be told that it failed: it is tried again from time to time.
pub fn resume(server: &Arc<Server>) {
    if server.settings().appendonly {
        let _ = switch_on(server);
    }
}

/// `appendonly` was switched off, or what the AOF holds is of a dataset that is no more; the world is at rest.
pub fn switch_off(server: &Arc<Server>) {
    let mut core = server.aof.core.lock();
    if server.aof.is_rewriting() {
        log::notice(&format!("Killing running AOF rewrite child: {}", std::process::id()));
    }
    server.aof.rewriting.store(0, Ordering::Release);
    server.aof.scheduled.store(false, Ordering::Relaxed);
    let Some(mut core) = core.take() else { return };
    if core.writer.is_waiting() {
        forget_waiting(server, &server.settings());
        return;
    }
    let _ = core.drain(server).and_then(|()| core.writer.close());
    server.persistence.set_durable_offset(u64::MAX);
    server.post_all(|| Mail::LogMoved);
}

/// `appendfsync` was changed: replies that wait for the disk because of `always` wait no longer than for this.
pub fn fsync_changed(server: &Server, old: AppendFsync) {
    if old == AppendFsync::Always
        && let Err(error) = server.aof.finish(server)
    {
        log::warning(&format!("Error syncing the append only file: {error}"));
    }
}

/// Rewrites when the file has grown by as much as the configuration says, or when there should be one and is
/// not, or none with a base: what would have made it failed, or a full sync came in between.
pub fn cron(server: &Arc<Server>, settings: &Settings, now_ms: i64) {
    let is_rewriting = server.aof.rewriting.load(Ordering::Acquire) != 0;
    let lacks_base = !server.aof.is_open() || server.aof.waits_for_base.load(Ordering::Relaxed);
    let failed_ms = server.aof.rewrite_failed_at_ms.load(Ordering::Relaxed);
    if settings.appendonly
        && lacks_base
        && !is_rewriting
        && now_ms - failed_ms > REWRITE_RETRY_MS
        && !server.loading.load(Ordering::Relaxed)
    {
        start_rewrite(server);
        return;
    }
    let current = server.aof.current_bytes.load(Ordering::Relaxed);
    let base = server.aof.base_bytes.load(Ordering::Relaxed).max(1);
    if settings.aof_rewrite_percentage == 0
        || current < settings.aof_rewrite_min_bytes
        || !server.aof.is_open()
    {
        return;
    }
    let growth = current.saturating_sub(base) * 100 / base;
    if growth >= settings.aof_rewrite_percentage && !is_rewriting {
        log::notice(&format!("Starting automatic rewriting of AOF on {growth}% growth"));
        start_rewrite(server);
    }
}
