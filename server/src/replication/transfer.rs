//! The replica's side of a full sync: the snapshot on its way from the socket into the dataset.
//!
//! ```text
//!  repl-diskless-load   disabled        socket ─▶ file ─▶ (old dataset dropped) ─▶ dataset
//!                       swapdb, or on-empty-db and we have nothing
//!                                       socket ─▶ a keyspace beside the old one ─▶ exchanged with it at the end
//! ```
//!
//! What fails before the old dataset is dropped or exchanged leaves it, and its place in the history, as they were.

use super::History;
use super::link::{Dial, MARK_LEN, fault};
use crate::clock;
use crate::config::DisklessLoad;
use crate::gate::World;
use crate::log;
use crate::process::supervised;
use crate::server::Server;
use crate::snapshot::{self, Loaded, Staged};
use crate::tracking::Changes;
use keyspace::Keyspace;
use protocol::Slot;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The socket to the master while the link is being made.
pub type Wire<'s> = BufReader<Patient<'s>>;

/// Reads as long as the master says something within `repl-timeout`, and is the one we want.
pub struct Patient<'s> {
    pub stream: TcpStream,
    server: &'s Arc<Server>,
    generation: u64,
    heard: Instant,
}

impl Patient<'_> {
    /// How often it looks whether there is still a reason to wait.
    const TICK: Duration = Duration::from_millis(100);

    pub fn wire(stream: TcpStream, server: &Arc<Server>, generation: u64) -> io::Result<Wire<'_>> {
        stream.set_read_timeout(Some(Self::TICK))?;
        let patient = Patient { stream, server, generation, heard: clock::monotonic() };
        Ok(BufReader::with_capacity(64 * 1024, patient))
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = self.stream.read(buf);
            self.server.replication.still_follows(self.generation)?;
            match result {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    let patience = Duration::from_secs(self.server.config.settings().repl_timeout_seconds);
                    if self.heard.elapsed() > patience {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(n) => {
                    self.heard = clock::monotonic();
                    self.server.replication.master_io_ms.store(clock::now_ms(), Ordering::Relaxed);
                    return Ok(n);
                }
                error => return error,
            }
        }
    }
}

/// How the end of the snapshot is known.
enum Extent {
    Bytes(u64),
    UpTo(Vec<u8>),
}

impl Dial<'_> {
    /// Replaces the dataset by the master's. Returns bytes of the stream that were read with it.
    pub(super) fn transfer(&self, wire: &mut Wire<'_>, replid: String, offset: u64) -> io::Result<Vec<u8>> {
        let extent = self.extent(wire)?;
        let settings = self.server.settings();
        let directly = match settings.repl_diskless_load {
            DisklessLoad::Disabled => false,
            DisklessLoad::OnEmptyDb => self.server.keyspace.is_empty(),
            DisklessLoad::SwapDb => true,
        };
        if directly {
            return self.load_stream(wire, extent, replid, offset);
        }
        let file = self.receive(wire, extent)?;
        let loaded = self.load(&file, replid, offset);
        let _ = std::fs::remove_file(&file);
        loaded.map(|()| Vec::new())
    }

    fn extent(&self, wire: &mut Wire<'_>) -> io::Result<Extent> {
        let head = self.line(wire)?;
        let payload =
            head.strip_prefix('$').ok_or_else(|| fault(format!("Bad protocol from MASTER: '{head}'")))?;
        match payload.strip_prefix("EOF:") {
            Some(mark) if mark.len() == MARK_LEN => {
                log::notice("MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF");
                Ok(Extent::UpTo(mark.as_bytes().to_vec()))
            }
            Some(_) => Err(fault("bad end mark from MASTER")),
            None => {
                let len = payload.parse().map_err(|_| fault(format!("bad length from MASTER: '{head}'")))?;
                log::notice(&format!("MASTER <-> REPLICA sync: receiving {len} bytes from master"));
                Ok(Extent::Bytes(len))
            }
        }
    }

    /// Reads the snapshot into a file; nothing of the old dataset is given up before all of it is here.
    fn receive(&self, wire: &mut Wire<'_>, extent: Extent) -> io::Result<PathBuf> {
        let path = self.server.settings().dir.join(temporary_name());
        let mut file = self.server.snapshots.claim_files().and_then(|_claim| File::create(&path))?;
        let received = match extent {
            Extent::UpTo(mark) => receive_until(wire, &mut file, &mark),
            Extent::Bytes(len) => receive_exactly(wire, &mut file, len),
        };
        match received {
            Ok(len) => {
                log::notice(&format!("MASTER <-> REPLICA sync: received {len} bytes from master"));
                Ok(path)
            }
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Replaces the dataset by the snapshot in a file, and the history by the master's.
    ///
    /// A small one is loaded in one go. Stock lets clients in when it has read so much, and those of a replica that has
    /// little to load are never told that it is loading.
    fn load(&self, file: &Path, replid: String, offset: u64) -> io::Result<()> {
        let server = self.server;
        server.replication.still_follows(self.generation)?;
        log::notice("MASTER <-> REPLICA sync: Flushing old data");
        let settings = server.settings();
        let is_small = settings.key_load_delay_micros == 0
            && file.metadata().is_ok_and(|found| found.len() <= settings.loading_interval_bytes);
        let at_rest = {
            let world = server.gate.stop_world();
            server.loading.store(true, Ordering::Relaxed);
            // What it holds and where it was in the log are of a history that ends here.
            crate::aof::switch_off(server);
            server.replication.kill(server, server.replication.replica_ids().into_iter());
            is_small.then_some(world)
        };
        log::notice("MASTER <-> REPLICA sync: Loading DB in memory");
        let loaded = snapshot::load_file(server, file);
        let mut world = at_rest.unwrap_or_else(|| server.gate.stop_world());
        crate::tracking::all_gone(server);
        if let Ok(loaded) = &loaded {
            take_over_history(server, &mut world, replid, offset, loaded);
        } else {
            // Half a dataset is none, and nobody's history: a partial resync would build on what is not there.
            snapshot::flush(server);
            server.replication.change_id(super::random_id());
            server.replication.lacks_history.store(true, Ordering::Relaxed);
        }
        server.loading.store(false, Ordering::Relaxed);
        crate::aof::resume(server);
        loaded
            .map(|_| ())
            .map_err(|error| fault(format!("Failed trying to load the MASTER synchronization DB: {error}")))
    }

    /// Reads the snapshot into a keyspace beside ours, and exchanges the two. Meanwhile ours is served, if it is of the same
    /// history; otherwise it is kept in case this fails. Returns bytes of the stream that were read with it.
    fn load_stream(
        &self,
        wire: &mut Wire<'_>,
        extent: Extent,
        replid: String,
        offset: u64,
    ) -> io::Result<Vec<u8>> {
        let server = self.server;
        let is_served = server.replication.history().replid == replid;
        let in_progress = if is_served { &server.async_loading } else { &server.loading };
        {
            let _world = server.gate.stop_world();
            in_progress.store(true, Ordering::Relaxed);
        }
        log::notice("MASTER <-> REPLICA sync: Loading DB in memory");
        let read = read_staged(server, wire, &extent);
        let mut world = server.gate.stop_world();
        let result = match read {
            Ok((staged, loaded, leftover)) => {
                crate::aof::switch_off(server);
                log::notice("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
                exchange(server, &staged.keyspace);
                crate::tracking::all_gone(server);
                server.scripts.libraries.replace(staged.libraries);
                take_over_history(server, &mut world, replid, offset, &loaded);
                log::notice("MASTER <-> REPLICA sync: Discarding old DB in background");
                std::thread::spawn(move || drop(staged.keyspace));
                crate::aof::resume(server);
                Ok(leftover)
            }
            Err(error) => {
                log::notice("MASTER <-> REPLICA sync: Discarding temporary DB in background");
                Err(error)
            }
        };
        in_progress.store(false, Ordering::Relaxed);
        result
    }
}

/// The name of the file that a master's snapshot is received into.
pub fn temporary_name() -> String {
    format!("temp-repl-{}.rdb", std::process::id())
}

/// Reads a snapshot from the wire into a keyspace of its own. Returns what was read behind it, too.
fn read_staged(
    server: &Arc<Server>,
    wire: &mut Wire<'_>,
    extent: &Extent,
) -> io::Result<(Staged, Loaded, Vec<u8>)> {
    let len = match extent {
        Extent::Bytes(len) => *len,
        // Nothing follows the mark before we have acknowledged it.
        Extent::UpTo(_) => u64::MAX,
    };
    let failed = |error: String| {
        fault(format!("Failed trying to load the MASTER synchronization DB from socket: {error}"))
    };
    let (staged, loaded, mut leftover) =
        snapshot::load_staged(server, Read::take(&mut *wire, len)).map_err(failed)?;
    if let Extent::UpTo(mark) = extent {
        let mut found = leftover.drain(..leftover.len().min(mark.len())).collect::<Vec<u8>>();
        let read = found.len();
        found.resize(mark.len(), 0);
        wire.read_exact(&mut found[read..])?;
        if found != *mark {
            return Err(failed("Replication stream EOF marker is broken".into()));
        }
    } else if !leftover.is_empty() {
        return Err(failed("there is more than the dataset in it".into()));
    }
    Ok((staged, loaded, leftover))
}

/// The dataset is the master's at `offset`, and so is the history from here on.
fn take_over_history(
    server: &Arc<Server>,
    world: &mut World<'_>,
    replid: String,
    offset: u64,
    loaded: &Loaded,
) {
    let replication = &server.replication;
    *replication.history.lock() = History { replid, replid2: "0".repeat(40), second_offset: -1 };
    replication.lacks_history.store(false, Ordering::Relaxed);
    server.log.set_active(true);
    server.log.restart_at(offset);
    forget_offsets(world, offset);
    replication.stream_db.store(loaded.stream_db, Ordering::Relaxed);
    // Replicas of ours have followed another history.
    replication.kill(server, replication.replica_ids().into_iter());
    log::notice("MASTER <-> REPLICA sync: Finished with success");
    supervised::notify(
        "STATUS=MASTER <-> REPLICA sync: Finished with success. Ready to accept connections in read-write mode.\n",
    );
}

/// Exchanges the dataset with another one, with the world at rest. Whoever watches a key of either learns of it, and so does
/// everybody who caches.
fn exchange(server: &Server, other: &Keyspace) {
    for (ours, theirs) in server.keyspace.dbs().iter().zip(other.dbs()) {
        for slot in Slot::all().filter(|&slot| ours.key_count(slot) + theirs.key_count(slot) > 0) {
            let (mut old, mut new) = (ours.lock_write(slot), theirs.lock_write(slot));
            if let Some(side) = old.side() {
                let is_there = |key: &[u8]| old.get(key).is_some() || new.get(key).is_some();
                for (key, _) in side.watched.iter().filter(|(key, _)| is_there(key)) {
                    server.watches.touch(side, key);
                }
            }
            old.swap_entries(&mut new);
        }
        server.tracking.forget_all(server, ours.index());
    }
    let mut changes = Changes::default();
    changes.flush();
    server.tracking.tell(server, &mut changes, None, &mut Vec::new());
}

fn receive_exactly(wire: &mut Wire<'_>, file: &mut File, len: u64) -> io::Result<u64> {
    let copied = io::copy(&mut Read::take(wire, len), file)?;
    if copied < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(len) }
}

/// Reads up to the mark. The mark's last byte is the last of what the master sends before the stream, so
/// whatever is read can end with the mark, but never go beyond it unless the stream has begun.
fn receive_until(wire: &mut Wire<'_>, file: &mut File, mark: &[u8]) -> io::Result<u64> {
    let mut window = Vec::with_capacity(128 * 1024);
    let mut written = 0;
    loop {
        // Peek, so that bytes of the stream after the mark stay in the reader.
        let peeked = {
            let bytes = wire.fill_buf()?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let before = window.len();
            window.extend_from_slice(bytes);
            match find(&window, mark) {
                Some(at) => {
                    let taken = at + mark.len() - before;
                    file.write_all(&window[..at])?;
                    wire.consume(taken);
                    return Ok(written + at as u64);
                }
                None => window.len() - before,
            }
        };
        wire.consume(peeked);
        // The mark may have begun in what was read.
        let settled = window.len().saturating_sub(mark.len() - 1);
        file.write_all(&window[..settled])?;
        written += settled as u64;
        window.drain(..settled);
    }
}

/// Another history has begun at `offset`: nobody's reply waits for what was written in the one before.
fn forget_offsets(world: &mut World<'_>, offset: u64) {
    for state in &mut world.threads {
        for (_, conn) in state.iter_mut() {
            conn.held_until = conn.held_until.min(offset);
            conn.session.last_write_offset = conn.session.last_write_offset.min(offset);
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
