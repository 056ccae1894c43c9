//! A whole file into a keyspace, or into whatever else takes entries.

use std::fmt;
use std::io::Read;

use super::error::RdbError;
use super::reader::{Checksum, Event, LoadedEntry, Reader};

/// Takes what a file holds. Everything but entries may be ignored.
pub trait Sink {
    type Error;

    fn entry(&mut self, entry: LoadedEntry) -> Result<(), Self::Error>;

    /// The entries that follow are of this database.
    fn select_db(&mut self, db: u64) -> Result<(), Self::Error>;

    fn aux(&mut self, _name: &[u8], _value: &[u8]) -> Result<(), Self::Error> {
        Ok(())
    }

    fn resize(&mut self, _keys: u64, _expires: u64) -> Result<(), Self::Error> {
        Ok(())
    }

    fn function(&mut self, _code: Vec<u8>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// A collection without elements, which is left out.
    fn empty_key(&mut self, _key: &[u8]) {}

    /// Called after each event with the bytes read so far: to answer clients meanwhile, or to give up.
    fn progress(&mut self, _offset: u64) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[derive(Debug)]
pub enum LoadError<E> {
    Rdb(RdbError),
    Sink(E),
}

impl<E> From<RdbError> for LoadError<E> {
    fn from(error: RdbError) -> Self {
        LoadError::Rdb(error)
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Rdb(error) => error.fmt(f),
            LoadError::Sink(error) => error.fmt(f),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadReport {
    pub version: u32,
    /// Entries handed to the sink.
    pub keys: u64,
    pub empty_keys_skipped: u64,
    pub bytes: u64,
    pub checksum: Checksum,
}

/// Reads to the end of the RDB file. What follows it, as in an AOF with a preamble, is in
/// [`Reader::into_parts`].
pub fn load<R: Read, S: Sink>(
    reader: &mut Reader<R>,
    sink: &mut S,
) -> Result<LoadReport, LoadError<S::Error>> {
    let (mut keys, mut empty_keys_skipped) = (0, 0);
    let checksum = loop {
        let event = reader.next()?;
        let taken = match event {
            Event::Entry(entry) => {
                keys += 1;
                sink.entry(entry)
            }
            Event::EmptyKey { key, .. } => {
                empty_keys_skipped += 1;
                sink.empty_key(&key);
                Ok(())
            }
            Event::Aux { name, value } => sink.aux(&name, &value),
            Event::SelectDb(db) => sink.select_db(db),
            Event::Resize { keys, expires } => sink.resize(keys, expires),
            Event::Function(code) => sink.function(code),
            Event::ModuleAux { .. } | Event::ModuleKey { .. } => Ok(()),
            Event::Eof(checksum) => break checksum,
        };
        taken.and_then(|()| sink.progress(reader.offset())).map_err(LoadError::Sink)?;
    };
    Ok(LoadReport { version: reader.version(), keys, empty_keys_skipped, bytes: reader.offset(), checksum })
}
