//! What a snapshot is written as.

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
    pub fn rdb(version: RdbVersion, compress: bool) -> Form {
        Form::Rdb(Encoder::new(EncodeOptions { version, compress, ..EncodeOptions::default() }))
    }

    pub fn entry(&self, out: &mut Vec<u8>, entry: &Entry) {
        match self {
            Form::Rdb(encoder) => encoder.entry(out, entry),
            Form::Commands => commands::entry(out, entry),
        }
    }

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

/// The file or stream around them.
pub enum Sheet<W> {
    Rdb(Writer<W>),
    Commands(W),
}

impl<W: Write> Sheet<W> {
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

    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        match self {
            Sheet::Rdb(writer) => writer.function(code),
            Sheet::Commands(out) => {
                let mut bytes = Vec::new();
                commands::function(&mut bytes, code);
                out.write_all(&bytes)
            }
        }
    }

    pub fn select_db(&mut self, db: u64) -> io::Result<()> {
        match self {
            Sheet::Rdb(writer) => writer.select_db(db),
            Sheet::Commands(out) => {
                let mut bytes = Vec::new();
                commands::select_db(&mut bytes, db);
                out.write_all(&bytes)
            }
        }
    }

    pub fn entries(&mut self, encoded: &[u8]) -> io::Result<()> {
        match self {
            Sheet::Rdb(writer) => writer.entries(encoded),
            Sheet::Commands(out) => out.write_all(encoded),
        }
    }

    pub fn finish(self) -> io::Result<W> {
        match self {
            Sheet::Rdb(writer) => writer.finish(),
            Sheet::Commands(out) => Ok(out),
        }
    }
}
