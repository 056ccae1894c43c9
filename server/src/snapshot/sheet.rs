//! What a snapshot is written as: an RDB file or stream, or commands.
//!
//! But what if a trait did this? The configuration chooses between the two while the server runs, so they would be boxed, and
//! encoders, which all threads share, would need a second trait beside the writers'.

use keyspace::{Entry, ValueRef};
use persistence::aof::commands;
use persistence::rdb::{EncodeOptions, Encoder, RdbVersion, SavedBy, Writer};
use std::io::{self, Write};

/// How entries are encoded, in any thread.
#[derive(Clone, Copy)]
pub enum Form {
    Rdb(Encoder),
    /// As the commands that make them.
    Commands,
}

impl Form {
    /// As in an RDB file of this version; strings compressed where that makes them shorter and `compress` allows it.
    pub fn rdb(version: RdbVersion, compress: bool) -> Form {
        Form::Rdb(Encoder::new(EncodeOptions { version, compress, ..EncodeOptions::default() }))
    }

    /// Appends an entry.
    pub fn entry(&self, out: &mut Vec<u8>, entry: &Entry) {
        match self {
            Form::Rdb(encoder) => encoder.entry(out, entry),
            Form::Commands => commands::entry(out, entry),
        }
    }

    /// As [`Form::entry`], of an entry whose object was pinned and whose lock was given back. `access` is its LRU or LFU
    /// field, which commands do not keep.
    pub fn parts(
        &self,
        out: &mut Vec<u8>,
        key: &[u8],
        expire_at_ms: Option<i64>,
        access: u32,
        value: ValueRef<'_>,
    ) {
        match self {
            Form::Rdb(encoder) => encoder.parts(out, key, expire_at_ms, access, value),
            Form::Commands => commands::parts(out, key, expire_at_ms, value),
        }
    }
}

/// The file or stream around them, written from start to end: [`Sheet::head`], functions, for each database
/// [`Sheet::select_db`] and its entries, [`Sheet::finish`].
pub enum Sheet<W> {
    Rdb(Writer<W>),
    Commands(W),
}

impl<W: Write> Sheet<W> {
    /// Around entries of this `form`, in `version` where that is an RDB, with a checksum if `sum`.
    pub fn new(form: Form, out: W, version: RdbVersion, sum: bool) -> io::Result<Sheet<W>> {
        match form {
            Form::Rdb(_) => Writer::new(out, version, sum).map(Sheet::Rdb),
            Form::Commands => Ok(Sheet::Commands(out)),
        }
    }

    /// How it begins. Commands say no more than when, where `timestamped`.
    pub fn head(&mut self, info: &SavedBy, timestamped: bool) -> io::Result<()> {
        match self {
            Sheet::Rdb(writer) => writer.saved_by(info),
            Sheet::Commands(out) if timestamped => write!(out, "#TS:{}\r\n", info.ctime_s),
            Sheet::Commands(_) => Ok(()),
        }
    }

    /// The code of a function library.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        match self {
            Sheet::Rdb(writer) => writer.function(code),
            Sheet::Commands(out) => write_made(out, |bytes| commands::function(bytes, code)),
        }
    }

    /// The entries that follow are of this database.
    pub fn select_db(&mut self, db: u64) -> io::Result<()> {
        match self {
            Sheet::Rdb(writer) => writer.select_db(db),
            Sheet::Commands(out) => write_made(out, |bytes| commands::select_db(bytes, db)),
        }
    }

    /// Entries of that database, as [`Form::entry`] made them.
    pub fn entries(&mut self, encoded: &[u8]) -> io::Result<()> {
        match self {
            Sheet::Rdb(writer) => writer.entries(encoded),
            Sheet::Commands(out) => out.write_all(encoded),
        }
    }

    /// Writes what ends it. It is complete then, though not yet safe on disk.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Sheet::Rdb(writer) => writer.finish(),
            Sheet::Commands(out) => Ok(out),
        }
    }
}

fn write_made(out: &mut impl Write, make: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
    let mut bytes = Vec::new();
    make(&mut bytes);
    out.write_all(&bytes)
}
