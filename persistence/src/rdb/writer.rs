//! The frame of an RDB file around entries that were encoded elsewhere.

use std::io::{self, Write};

use super::encode::{EncodeOptions, Encoder, put_len};
use super::format::{MAGIC, RdbVersion, opcode};
use crate::crc64::crc64;

/// Small records are gathered up to this many bytes before they are written.
const GATHERED_BYTES: usize = 16 << 10;
/// The version of Redis that files say they were written by.
const REDIS_VERSION: &str = "7.2.4";

/// Where in the replication stream the dataset is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicationInfo {
    /// 40 hexadecimal digits.
    pub id: String,
    pub offset: u64,
    /// The database the stream has selected; -1 for none.
    pub stream_db: i64,
}

/// The state of the server that saves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedBy {
    /// Seconds since the Unix epoch.
    pub ctime_s: i64,
    pub used_memory_bytes: u64,
    pub replication: Option<ReplicationInfo>,
    /// The file is the base of an AOF.
    pub is_aof_base: bool,
}

/// Writes header, records and checksum. Nothing is flushed or synced but by the caller, after
/// [`Writer::finish`].
pub struct Writer<W> {
    inner: W,
    gathered: Vec<u8>,
    encoder: Encoder,
    /// `None` if the file is to have no checksum.
    crc: Option<u64>,
    written_bytes: u64,
}

impl<W: Write> Writer<W> {
    /// `sum` is `rdbchecksum`: without it, the file has 0 for a checksum.
    pub fn new(inner: W, version: RdbVersion, sum: bool) -> io::Result<Self> {
        let encoder = Encoder::new(EncodeOptions { version, ..EncodeOptions::default() });
        let gathered = Vec::with_capacity(GATHERED_BYTES);
        let mut writer = Writer { inner, gathered, encoder, crc: sum.then_some(0), written_bytes: 0 };
        writer.gathered.extend_from_slice(MAGIC);
        writer.gathered.extend_from_slice(version.to_string().as_bytes());
        writer.flush_if_full()?;
        Ok(writer)
    }

    pub fn aux(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.gathered.push(opcode::AUX);
        self.encoder.string(&mut self.gathered, name);
        self.encoder.string(&mut self.gathered, value);
        self.flush_if_full()
    }

    /// The fields stock puts at the start of every file.
    pub fn saved_by(&mut self, info: &SavedBy) -> io::Result<()> {
        self.aux(b"redis-ver", REDIS_VERSION.as_bytes())?;
        let mut number = |name: &str, value: i128| self.aux(name.as_bytes(), value.to_string().as_bytes());
        number("redis-bits", 64)?;
        number("ctime", i128::from(info.ctime_s))?;
        number("used-mem", i128::from(info.used_memory_bytes))?;
        if let Some(replication) = &info.replication {
            number("repl-stream-db", i128::from(replication.stream_db))?;
            self.aux(b"repl-id", replication.id.as_bytes())?;
            self.aux(b"repl-offset", replication.offset.to_string().as_bytes())?;
        }
        self.aux(b"aof-base", if info.is_aof_base { b"1" } else { b"0" })
    }

    /// The code of a function library.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.gathered.push(opcode::FUNCTION2);
        self.encoder.string(&mut self.gathered, code);
        self.flush_if_full()
    }

    /// The entries that follow are of this database.
    pub fn select_db(&mut self, db: u64) -> io::Result<()> {
        self.gathered.push(opcode::SELECTDB);
        put_len(&mut self.gathered, db);
        self.flush_if_full()
    }

    /// A hint at how many keys the database has, and how many of them expire.
    pub fn resize(&mut self, keys: u64, expires: u64) -> io::Result<()> {
        self.gathered.push(opcode::RESIZEDB);
        put_len(&mut self.gathered, keys);
        put_len(&mut self.gathered, expires);
        self.flush_if_full()
    }

    /// Entries of the selected database as an [`Encoder`] of the same version made them.
    pub fn entries(&mut self, encoded: &[u8]) -> io::Result<()> {
        if self.gathered.len() + encoded.len() <= GATHERED_BYTES {
            self.gathered.extend_from_slice(encoded);
            return Ok(());
        }
        self.flush_gathered()?;
        self.write(encoded)
    }

    /// Bytes of the file so far.
    pub fn len(&self) -> u64 {
        self.written_bytes + self.gathered.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the file is written to: to sync it now and then, or to see how it fares.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Writes end and checksum. The file is complete then, though not yet safe on disk.
    pub fn finish(mut self) -> io::Result<W> {
        self.gathered.push(opcode::EOF);
        self.flush_gathered()?;
        self.inner.write_all(&self.crc.unwrap_or(0).to_le_bytes())?;
        Ok(self.inner)
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.gathered.len() >= GATHERED_BYTES { self.flush_gathered() } else { Ok(()) }
    }

    fn flush_gathered(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let result = self.write(&gathered);
        self.gathered = gathered;
        self.gathered.clear();
        result
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc = self.crc.map(|crc| crc64(crc, bytes));
        self.inner.write_all(bytes)?;
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }
}
