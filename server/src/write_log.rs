//! The one write log: every write in RESP, appended under its slot's lock, at one offset.
//!
//! The offset is the replication offset. Replicas and the AOF are readers of the log, each at a cursor of its
//! own, so there is no copy per replica; the part kept behind the slowest of them is the backlog.
//!
//! ```text
//!   first                                                end
//!     │ chunk │ chunk │ chunk │ chunk │ … bytes so far    │
//!             ▲ replica             ▲ AOF
//! ```
//!
//! **Invariants:** offsets never fall within one history; a byte once at an offset stays the same; chunks are
//! dropped from the front only, and never while a reader that is within its limit still needs them.
//!
//! In `tests/models` this file is run through every order of its threads' steps.

use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};
use protocol::reply::write_command;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// A chunk is closed when it has this many bytes, or a sixteenth of the backlog: it is kept or dropped as a whole.
const CHUNK_BYTES: u64 = 256 * 1024;
const SMALLEST_CHUNK_BYTES: u64 = 16 * 1024;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

pub struct WriteLog {
    /// Somebody reads the log; without a reader nothing is encoded.
    active: AtomicBool,
    end: AtomicU64,
    tail: Mutex<Tail>,
    grown: Condvar,
}

/// Whom a part of what is appended is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Audience {
    #[default]
    All,
    Replicas,
    Aof,
}

struct Tail {
    chunks: VecDeque<Chunk>,
    /// What the chunks' bytes have room for.
    chunk_room_bytes: usize,
    /// Offset of the first byte still held.
    first: u64,
    end: u64,
    /// The database the stream is in, once a SELECT has said so.
    db: Option<usize>,
    /// For the AOF alone, to come before the next byte.
    aside: Vec<Box<[u8]>>,
    /// Bytes kept for replicas that come back.
    backlog_bytes: u64,
    readers: Vec<Arc<AtomicU64>>,
    /// A reader waits on `grown`.
    waited_for: bool,
}

struct Chunk {
    start: u64,
    bytes: Vec<u8>,
    /// In the order of their offsets.
    exceptions: Vec<Exception>,
}

/// What not every reader is to see.
enum Exception {
    /// These offsets are for replicas only (pings).
    Replicas(Range<u64>),
    /// For the AOF only, before the byte at this offset. It has no offsets of its own: those are the replicas'.
    Aof(u64, Box<[u8]>),
}

/// For replicas: it makes the offset move, and nothing else.
pub const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// The bytes asked for are gone: the reader was too slow.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost;

/// A place in the log that keeps what lies after it from being dropped.
pub struct Cursor {
    offset: Arc<AtomicU64>,
}

impl Cursor {
    pub fn get(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }
}

impl WriteLog {
    pub fn new(backlog_bytes: u64) -> WriteLog {
        WriteLog {
            active: AtomicBool::new(false),
            end: AtomicU64::new(0),
            tail: Mutex::new(Tail {
                chunks: VecDeque::new(),
                chunk_room_bytes: 0,
                first: 0,
                end: 0,
                db: None,
                aside: Vec::new(),
                backlog_bytes,
                readers: Vec::new(),
                waited_for: false,
            }),
            grown: Condvar::new(),
        }
    }

    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Starts or stops the log. The world must be at rest: a write under way has already decided.
    pub fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Relaxed);
        if !active {
            let mut tail = self.tail.lock();
            tail.clear();
            tail.first = tail.end;
            tail.db = None;
        }
    }

    /// The offset after the last byte.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The offset of the first byte still held.
    pub fn first(&self) -> u64 {
        self.tail.lock().first
    }

    pub fn set_backlog_bytes(&self, bytes: u64) {
        let mut tail = self.tail.lock();
        tail.backlog_bytes = bytes;
        tail.trim();
    }

    /// Drops what nobody needs any more, where a reader has gone.
    pub fn trim(&self) {
        self.tail.lock().trim();
    }

    /// Bytes held at the moment.
    pub fn held_bytes(&self) -> u64 {
        let tail = self.tail.lock();
        tail.end - tail.first
    }

    /// Bytes of memory the log takes, and how many of those are not its backlog's: what readers that lag make it hold.
    pub fn memory_bytes(&self) -> (u64, u64) {
        let tail = self.tail.lock();
        let total = (tail.chunks.capacity() * size_of::<Chunk>() + tail.chunk_room_bytes) as u64;
        (total, total.saturating_sub(tail.backlog_bytes))
    }

    /// Appends whole commands that begin in database `first_db` and end in `last_db`; a SELECT goes before them
    /// where the stream is elsewhere. Returns the offset after them. Call it with the slots of the commands'
    /// keys locked.
    pub fn append(&self, first_db: usize, last_db: usize, commands: &[u8]) -> u64 {
        let mut tail = self.tail.lock();
        tail.select(first_db, last_db);
        tail.push(commands);
        self.publish(tail)
    }

    /// As [`WriteLog::append`], for commands that are one unit. A SELECT stands within it, as in stock.
    pub fn append_transaction(&self, first_db: usize, last_db: usize, commands: &[u8]) -> u64 {
        let mut tail = self.tail.lock();
        tail.push(MULTI);
        tail.select(first_db, last_db);
        tail.push(commands);
        tail.push(EXEC);
        self.publish(tail)
    }

    /// As the others, for commands of which some ranges, in their order, are not for all; `is_unit` for a transaction.
    pub fn append_parts(
        &self,
        (first_db, last_db): (usize, usize),
        is_unit: bool,
        commands: &[u8],
        parts: &[(Range<usize>, Audience)],
    ) -> u64 {
        let mut tail = self.tail.lock();
        if is_unit {
            tail.push(MULTI);
        }
        tail.select(first_db, last_db);
        let mut at = 0;
        for (range, audience) in parts {
            tail.push(&commands[at..range.start]);
            let part = &commands[range.clone()];
            match audience {
                Audience::All => tail.push(part),
                Audience::Replicas => tail.push_transient(part),
                Audience::Aof => tail.aside.push(part.into()),
            }
            at = range.end;
        }
        tail.push(&commands[at..]);
        if is_unit {
            tail.push(EXEC);
        }
        if !tail.aside.is_empty() {
            // Readers learn of what is new by the offset.
            tail.push_transient(PING);
        }
        self.publish(tail)
    }

    /// Appends bytes of a stream made elsewhere, our master's, as they are.
    pub fn append_stream(&self, bytes: &[u8]) -> u64 {
        let mut tail = self.tail.lock();
        tail.push(bytes);
        self.publish(tail)
    }

    /// Appends what only replicas are to see.
    pub fn append_transient(&self, bytes: &[u8]) -> u64 {
        let mut tail = self.tail.lock();
        tail.push_transient(bytes);
        self.publish(tail)
    }

    fn publish(&self, mut tail: MutexGuard<'_, Tail>) -> u64 {
        tail.trim();
        self.tell_end(&mut tail)
    }

    /// Tells where the log ends now, and wakes whoever waits for it to end elsewhere.
    fn tell_end(&self, tail: &mut Tail) -> u64 {
        self.end.store(tail.end, Ordering::Release);
        if tail.waited_for {
            tail.waited_for = false;
            self.grown.notify_all();
        }
        tail.end
    }

    /// The next SELECT is written even if the stream is in the right database already: whoever starts to read
    /// here does not know.
    pub fn forget_db(&self) {
        self.tail.lock().db = None;
    }

    /// Starts another history at `offset`, forgetting all that is held.
    pub fn restart_at(&self, offset: u64) {
        let mut tail = self.tail.lock();
        tail.clear();
        tail.first = offset;
        tail.end = offset;
        tail.db = None;
        for reader in &tail.readers {
            reader.store(offset, Ordering::Relaxed);
        }
        self.tell_end(&mut tail);
    }

    /// A cursor at `offset`; [`Lost`] when the log does not reach back that far, or not yet up to it.
    pub fn cursor_at(&self, offset: u64) -> Result<Cursor, Lost> {
        let mut tail = self.tail.lock();
        if offset < tail.first || offset > tail.end {
            return Err(Lost);
        }
        let shared = Arc::new(AtomicU64::new(offset));
        tail.readers.push(shared.clone());
        Ok(Cursor { offset: shared })
    }

    /// Appends up to `max` bytes after the cursor to `out` and moves the cursor over them.
    /// Returns how many bytes the cursor moved.
    pub fn read(&self, cursor: &Cursor, max: usize, out: &mut Vec<u8>) -> Result<usize, Lost> {
        self.read_parts(cursor, max, |bytes, audience| {
            if audience != Audience::Aof {
                out.extend_from_slice(bytes);
            }
        })
    }

    /// As [`WriteLog::read`], for the AOF: without what only replicas are to see.
    pub fn read_durable(&self, cursor: &Cursor, max: usize, out: &mut Vec<u8>) -> Result<usize, Lost> {
        self.read_parts(cursor, max, |bytes, audience| {
            if audience != Audience::Replicas {
                out.extend_from_slice(bytes);
            }
        })
    }

    fn read_parts(
        &self,
        cursor: &Cursor,
        max: usize,
        mut part: impl FnMut(&[u8], Audience),
    ) -> Result<usize, Lost> {
        let tail = self.tail.lock();
        let from = cursor.get();
        if from < tail.first {
            return Err(Lost);
        }
        let to = tail.end.min(from + max as u64);
        let mut at = from;
        let first_chunk = tail.chunks.partition_point(|chunk| chunk.end() <= from);
        for chunk in tail.chunks.range(first_chunk..) {
            let chunk_to = to.min(chunk.end());
            for exception in &chunk.exceptions {
                match exception {
                    Exception::Replicas(range) => {
                        let (start, end) = (range.start.clamp(at, chunk_to), range.end.clamp(at, chunk_to));
                        part(chunk.slice(at, start), Audience::All);
                        part(chunk.slice(start, end), Audience::Replicas);
                        at = end;
                    }
                    Exception::Aof(place, bytes) if (at..chunk_to).contains(place) => {
                        part(chunk.slice(at, *place), Audience::All);
                        part(bytes, Audience::Aof);
                        at = *place;
                    }
                    Exception::Aof(..) => {}
                }
            }
            part(chunk.slice(at, chunk_to), Audience::All);
            at = chunk_to;
            if at == to {
                break;
            }
        }
        cursor.offset.store(to, Ordering::Relaxed);
        Ok((to - from) as usize)
    }

    /// Waits until the log does not end at `position` any more, at most so long.
    pub fn wait_for_growth(&self, position: u64, at_most: Duration) {
        let mut tail = self.tail.lock();
        if tail.end == position {
            tail.waited_for = true;
            self.grown.wait_for(&mut tail, at_most);
        }
    }

    /// Whether a replica at `offset` can go on from there.
    pub fn reaches(&self, offset: u64) -> bool {
        let tail = self.tail.lock();
        (tail.first..=tail.end).contains(&offset)
    }
}

impl Tail {
    /// Puts a SELECT before what begins in `first_db` and ends in `last_db`, where the stream is elsewhere.
    fn select(&mut self, first_db: usize, last_db: usize) {
        if self.db.replace(last_db) != Some(first_db) {
            let mut select = Vec::with_capacity(32);
            let number = first_db.to_string();
            write_command(&mut select, [&b"SELECT"[..], number.as_bytes()].into_iter());
            self.push(&select);
        }
    }

    fn push_transient(&mut self, bytes: &[u8]) {
        let start = self.end;
        self.push(bytes);
        let range = start..self.end;
        if let Some(chunk) = self.chunks.back_mut().filter(|_| !range.is_empty()) {
            chunk.exceptions.push(Exception::Replicas(range));
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let chunk_bytes = self.chunk_bytes() as usize;
        let open = self.chunks.back().is_some_and(|chunk| chunk.bytes.len() + bytes.len() <= chunk_bytes);
        if !open {
            // A small log should not hold a whole chunk of memory: the vector grows to its size.
            self.chunks.push_back(Chunk { start: self.end, bytes: Vec::new(), exceptions: Vec::new() });
        }
        let chunk = self.chunks.back_mut().expect("pushed above");
        if !self.aside.is_empty() {
            let place = self.end;
            chunk.exceptions.extend(self.aside.drain(..).map(|bytes| Exception::Aof(place, bytes)));
        }
        let room_before = chunk.bytes.capacity();
        chunk.bytes.extend_from_slice(bytes);
        self.chunk_room_bytes += chunk.bytes.capacity() - room_before;
        self.end += bytes.len() as u64;
    }

    fn clear(&mut self) {
        self.chunks.clear();
        self.chunk_room_bytes = 0;
    }

    fn chunk_bytes(&self) -> u64 {
        (self.backlog_bytes / 16).clamp(SMALLEST_CHUNK_BYTES, CHUNK_BYTES)
    }

    /// Drops chunks from the front that are neither backlog nor still to be read.
    fn trim(&mut self) {
        if self.end - self.first <= self.backlog_bytes + self.chunk_bytes() {
            return;
        }
        self.readers.retain(|reader| Arc::strong_count(reader) > 1);
        let needed =
            self.readers.iter().map(|reader| reader.load(Ordering::Relaxed)).min().unwrap_or(self.end);
        while let Some(chunk) = self.chunks.front() {
            if chunk.end() > needed || self.end - chunk.end() < self.backlog_bytes {
                break;
            }
            self.first = chunk.end();
            self.chunk_room_bytes -= chunk.bytes.capacity();
            self.chunks.pop_front();
        }
    }
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn slice(&self, from: u64, to: u64) -> &[u8] {
        &self.bytes[(from - self.start) as usize..(to - self.start) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(log: &WriteLog, cursor: &Cursor) -> String {
        let mut out = Vec::new();
        log.read(cursor, usize::MAX >> 1, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_select_goes_before_the_first_write_to_another_database() {
        let log = WriteLog::new(1 << 20);
        let cursor = log.cursor_at(0).unwrap();
        log.append(0, 0, b"a");
        log.append(0, 0, b"b");
        log.append(2, 2, b"c");
        assert_eq!(
            text(&log, &cursor),
            "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\nab*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\nc"
        );
        assert_eq!(cursor.get(), log.end());
    }

    #[test]
    fn a_transaction_begins_before_its_select() {
        let log = WriteLog::new(1 << 20);
        let cursor = log.cursor_at(0).unwrap();
        log.append_transaction(1, 1, b"ab");
        log.append_transaction(1, 1, b"c");
        assert_eq!(
            text(&log, &cursor),
            "*1\r\n$5\r\nMULTI\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\nab*1\r\n$4\r\nEXEC\r\n\
             *1\r\n$5\r\nMULTI\r\nc*1\r\n$4\r\nEXEC\r\n"
        );
    }

    #[test]
    fn a_small_backlog_has_small_chunks() {
        let log = WriteLog::new(16 * 1024);
        let slow = log.cursor_at(0).unwrap();
        for _ in 0..1024 {
            log.append_stream(&[b'x'; 1024]);
        }
        assert_eq!(log.first(), 0);
        drop(slow);
        log.trim();
        assert!(log.held_bytes() <= 2 * 16 * 1024, "{}", log.held_bytes());
    }

    #[test]
    fn what_is_transient_is_for_replicas_only() {
        let log = WriteLog::new(1 << 20);
        let (replica, aof) = (log.cursor_at(0).unwrap(), log.cursor_at(0).unwrap());
        log.append_stream(b"one");
        log.append_transient(b"ping");
        log.append_stream(b"two");
        assert_eq!(text(&log, &replica), "onepingtwo");
        // In pieces too: a piece may end within a ping.
        let mut out = Vec::new();
        while log.read_durable(&aof, 2, &mut out).unwrap() > 0 {}
        assert_eq!(out, b"onetwo");
    }

    #[test]
    fn the_aof_sees_what_is_for_it_alone_once_and_in_its_place() {
        let parts = [(1..2, Audience::Aof), (3..4, Audience::Replicas), (4..5, Audience::Aof)];
        for max in [1, 2, 3, 7, 1000] {
            let log = WriteLog::new(1 << 20);
            let (replica, aof) = (log.cursor_at(0).unwrap(), log.cursor_at(0).unwrap());
            log.append_stream(b"-");
            log.tail.lock().db = Some(0);
            log.append_parts((0, 0), false, b"abcde", &parts);
            log.append_parts((0, 0), true, b"f", &[(0..1, Audience::Aof)]);
            log.append_stream(b"+");
            assert_eq!(text(&log, &replica), format!("-acd{0}{1}{2}+", ping(), MULTI_TEXT, EXEC_TEXT));
            let mut out = Vec::new();
            while log.read_durable(&aof, max, &mut out).unwrap() > 0 {}
            assert_eq!(out, format!("-abce{MULTI_TEXT}f{EXEC_TEXT}+").into_bytes(), "{max} at a time");
        }
    }

    const MULTI_TEXT: &str = "*1\r\n$5\r\nMULTI\r\n";
    const EXEC_TEXT: &str = "*1\r\n$4\r\nEXEC\r\n";

    fn ping() -> &'static str {
        std::str::from_utf8(PING).unwrap()
    }

    #[test]
    fn the_backlog_is_bounded_but_a_reader_keeps_what_it_needs() {
        let log = WriteLog::new(1000);
        let line = vec![b'x'; 1000];
        let slow = log.cursor_at(0).unwrap();
        for _ in 0..2000 {
            log.append_stream(&line);
        }
        assert_eq!(log.first(), 0);
        drop(slow);
        log.append_stream(&line);
        assert!(log.held_bytes() <= 1000 + 2 * SMALLEST_CHUNK_BYTES, "{}", log.held_bytes());
        assert!(!log.reaches(0) && log.reaches(log.end()));
        let (total, beyond_backlog) = log.memory_bytes();
        assert!(total > log.held_bytes() && beyond_backlog == total - 1000, "{total} {beyond_backlog}");
        assert_eq!(log.cursor_at(0).err(), Some(Lost));
    }
}
