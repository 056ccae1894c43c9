//! Files and streams of entries, into the dataset or into one that is not in force yet.

use crate::clock;
use crate::log;
use crate::script::libraries::LibrarySet;
use crate::server::Server;
use keyspace::Keyspace;
use keyspace::types::Limits;
use persistence::rdb::{LoadReport, LoadedEntry, ReadOptions, Reader, Sink};
use protocol::Slot;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

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

/// Notes what was read from an RDB file: what INFO and the log tell of it.
pub fn note_load(filler: &Filler<'_>, report: &LoadReport) {
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
    super::flush(server);
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
