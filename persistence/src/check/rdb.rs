//! `redis-check-rdb`

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::{EXIT_FAILURE, EXIT_OK};
use crate::rdb::format::kind;
use crate::rdb::{Checksum, Doing, Event, RdbError, ReadOptions, Reader};

/// The command: `arguments` are those behind the program's name. Returns the exit code.
pub fn check_rdb_command(
    program: &str,
    arguments: &[String],
    version: &str,
    now_ms: i64,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<i32> {
    match arguments {
        [flag] if flag == "-v" || flag == "--version" => {
            writeln!(out, "redis-check-rdb {version}")?;
            Ok(EXIT_OK)
        }
        [path] => check_rdb(Path::new(path), now_ms, out),
        _ => {
            writeln!(err, "Usage: {program} <rdb-file-name>")?;
            Ok(EXIT_FAILURE)
        }
    }
}

/// Reads all of a file and tells what it found. Returns the exit code. `now_ms` is milliseconds since the Unix
/// epoch, to count the keys that have expired.
pub fn check_rdb(path: &Path, now_ms: i64, out: &mut dyn Write) -> io::Result<i32> {
    writeln!(out, "[offset 0] Checking RDB file {}", path.display())?;
    let Ok(file) = File::open(path) else { return Ok(EXIT_FAILURE) };
    let end = check_open_rdb(file, now_ms, out)?;
    Ok(if end.is_some() { EXIT_OK } else { EXIT_FAILURE })
}

/// As [`check_rdb`], for the preamble of an AOF; returns where that ends if it is sound.
pub(super) fn check_open_rdb(file: impl Read, now_ms: i64, out: &mut dyn Write) -> io::Result<Option<u64>> {
    let reader = Reader::new(file, ReadOptions { skip_modules: true, ..ReadOptions::default() });
    let mut check = Check { reader, out, figures: Figures::default(), now_ms };
    let is_sound = check.run()?;
    Ok(is_sound.then(|| check.reader.offset()))
}

#[derive(Default)]
struct Figures {
    keys: u64,
    expires: u64,
    already_expired: u64,
}

struct Check<'a, R> {
    reader: Reader<R>,
    out: &'a mut dyn Write,
    figures: Figures,
    now_ms: i64,
}

impl<R: Read> Check<'_, R> {
    fn run(&mut self) -> io::Result<bool> {
        loop {
            match self.reader.next() {
                Ok(Event::Eof(checksum)) => return self.sound(checksum),
                Ok(Event::EmptyKey { key, kind }) => {
                    self.figures.keys += 1;
                    let (offset, what) = (self.reader.offset(), UNEXPECTED_END);
                    self.report(offset, what, Some(&key), Some(kind))?;
                    return Ok(false);
                }
                Ok(event) => self.event(event)?,
                Err(error) => return self.unsound(error),
            }
        }
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Entry(entry) => self.count(entry.expire_at_ms),
            Event::ModuleKey { expire_at_ms, .. } => self.count(expire_at_ms),
            Event::SelectDb(db) => self.info(&format!("Selecting DB ID {db}"))?,
            Event::Aux { name, value } => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(c_string(bytes)).into_owned();
                self.info(&format!("AUX FIELD {} = '{}'", text(&name), text(&value)))?;
            }
            Event::ModuleAux { name } => self.info(&format!("MODULE AUX for: {name}"))?,
            Event::Resize { .. } | Event::Function(_) | Event::EmptyKey { .. } | Event::Eof(_) => {}
        }
        Ok(())
    }

    fn count(&mut self, expire_at_ms: Option<i64>) {
        self.figures.keys += 1;
        if let Some(at_ms) = expire_at_ms {
            self.figures.expires += 1;
            self.figures.already_expired += u64::from(at_ms < self.now_ms);
        }
    }

    fn sound(&mut self, checksum: Checksum) -> io::Result<bool> {
        match checksum {
            Checksum::Ok => self.info("Checksum OK")?,
            Checksum::Disabled => {
                self.info("RDB file was saved with checksum disabled: no check performed.")?;
            }
            Checksum::Unchecked => {}
        }
        self.info("\\o/ RDB looks OK! \\o/")?;
        self.figures()?;
        Ok(true)
    }

    fn unsound(&mut self, error: RdbError) -> io::Result<bool> {
        let here = self.reader.offset();
        let (offset, what) = match error {
            RdbError::Eof { offset } if self.reader.doing() == Doing::ReadFunctions => {
                (offset, "Failed loading library, Failed loading library payload".to_owned())
            }
            RdbError::Eof { offset } => (offset, UNEXPECTED_END.to_owned()),
            RdbError::Io { offset, .. } => (offset, UNEXPECTED_END.to_owned()),
            RdbError::Corrupt { offset, what } => {
                (offset, format!("Internal error in RDB reading offset {offset} -> {what}"))
            }
            RdbError::UnknownType { offset, kind } => (offset, format!("Invalid object type: {kind}")),
            RdbError::Checksum { .. } => (here, "RDB CRC error".to_owned()),
            RdbError::Unsupported { offset, what } => (offset, what.to_string()),
            error @ (RdbError::Signature | RdbError::Version(_)) => (here, error.to_string()),
        };
        let key = self.reader.key().map(<[u8]>::to_vec);
        self.figures.keys += u64::from(key.is_some());
        self.report(offset, &what, key.as_deref(), self.reader.kind())?;
        Ok(false)
    }

    fn report(&mut self, offset: u64, what: &str, key: Option<&[u8]>, kind: Option<u8>) -> io::Result<()> {
        let out = &mut *self.out;
        writeln!(out, "--- RDB ERROR DETECTED ---")?;
        writeln!(out, "[offset {offset}] {what}")?;
        writeln!(out, "[additional info] While doing: {}", self.reader.doing().name())?;
        if let Some(key) = key {
            let key = String::from_utf8_lossy(c_string(key));
            writeln!(out, "[additional info] Reading key '{key}'")?;
        }
        // Stock's note of the type starts out as 0, which it takes for one.
        if let Some(kind) = kind.or((self.figures.keys == 0).then_some(0)) {
            writeln!(out, "[additional info] Reading type {kind} ({})", kind::name(kind))?;
        }
        self.figures()
    }

    fn figures(&mut self) -> io::Result<()> {
        let Figures { keys, expires, already_expired } = self.figures;
        writeln!(self.out, "[info] {keys} keys read")?;
        writeln!(self.out, "[info] {expires} expires")?;
        writeln!(self.out, "[info] {already_expired} already expired")
    }

    fn info(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "[offset {}] {text}", self.reader.offset())
    }
}

const UNEXPECTED_END: &str = "Unexpected EOF reading RDB file";

/// Bytes as C prints them: up to the first NUL.
fn c_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}
