//! `redis-check-aof`

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::rdb::check_open_rdb;
use super::{EXIT_FAILURE, EXIT_OK};
use crate::aof::Manifest;

/// Bytes of the longest line with a count or a length, line feed included.
const MAX_NUMBER_LINE: u64 = 127;
/// Bytes of the longest annotation.
const MAX_ANNOTATION: u64 = 1023;
/// An RDB preamble takes at least so many bytes.
const MIN_RDB_BYTES: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AofMode {
    Check,
    /// Cut the last file where it stops being valid, after asking.
    Fix,
    /// Cut the last file at the first timestamp beyond this one, in seconds since the Unix epoch.
    TruncateToTimestamp(i64),
}

/// The command: `arguments` are those behind the program's name. Returns the exit code.
pub fn check_aof_command(
    program: &str,
    arguments: &[String],
    now_ms: i64,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> io::Result<i32> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (mode, path) = match words[..] {
        [path] => (AofMode::Check, path),
        ["--fix", path] => (AofMode::Fix, path),
        ["--truncate-to-timestamp", at_s, path] => match at_s.parse() {
            Ok(at_s) => (AofMode::TruncateToTimestamp(at_s), path),
            Err(_) => {
                writeln!(out, "Invalid timestamp, aborting...")?;
                return Ok(EXIT_FAILURE);
            }
        },
        _ => {
            writeln!(
                out,
                "Usage: {program} [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>"
            )?;
            return Ok(EXIT_FAILURE);
        }
    };
    check_aof(path, mode, now_ms, input, out)
}

/// Checks a manifest with all its files, or one file from before there were manifests. Returns the exit code.
/// `input` is asked before anything is cut.
pub fn check_aof(
    path: &str,
    mode: AofMode,
    now_ms: i64,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> io::Result<i32> {
    let mut check = Check { mode, now_ms, input, out, line: 1 };
    match check.run(path) {
        Ok(()) => Ok(EXIT_OK),
        Err(Stop::Failed) => Ok(EXIT_FAILURE),
        Err(Stop::Io(error)) => Err(error),
    }
}

enum Stop {
    /// What there is to say has been said.
    Failed,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Io(error)
    }
}

enum Outcome {
    Valid,
    Empty,
    Truncated,
    TruncatedToTimestamp,
}

struct Check<'a> {
    mode: AofMode,
    now_ms: i64,
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    /// Counted through all files.
    line: u64,
}

// ---- Files -----------------------------------------------------------------------------------------------

impl Check<'_> {
    fn run(&mut self, path: &str) -> Result<(), Stop> {
        let file = Path::new(path);
        if self.starts(file, is_manifest)? {
            return self.multi_part(file);
        }
        let has_preamble = self.starts(file, is_rdb)?;
        writeln!(self.out, "Start checking Old-Style AOF")?;
        let outcome = self.file(path, file, true, has_preamble)?;
        self.conclude(outcome, path, "AOF")
    }

    /// Asks a question about the first bytes of a file.
    fn starts(
        &mut self,
        path: &Path,
        question: fn(&mut dyn BufRead) -> io::Result<bool>,
    ) -> Result<bool, Stop> {
        match File::open(path) {
            Ok(file) => Ok(question(&mut BufReader::new(file))?),
            Err(error) => {
                writeln!(self.out, "Cannot open file {}: {}", path.display(), error_text(&error))?;
                Err(Stop::Failed)
            }
        }
    }

    fn multi_part(&mut self, path: &Path) -> Result<(), Stop> {
        writeln!(self.out, "Start checking Multi Part AOF")?;
        let manifest = match Manifest::parse(&std::fs::read(path)?) {
            Ok(manifest) => manifest,
            Err(error) => {
                writeln!(self.out, "\n*** FATAL AOF MANIFEST FILE ERROR ***\n\n{error}")?;
                return Err(Stop::Failed);
            }
        };
        let place = |name: &str| -> PathBuf { path.parent().unwrap_or(Path::new(".")).join(name) };
        if let Some(base) = &manifest.base {
            let file = place(&base.name);
            let is_rdb = self.starts(&file, is_rdb)?;
            let format = if is_rdb { "RDB" } else { "RESP" };
            writeln!(self.out, "Start to check BASE AOF ({format} format).")?;
            let outcome = self.file(&base.name, &file, manifest.incrs.is_empty(), is_rdb)?;
            self.conclude(outcome, &base.name, "BASE AOF")?;
        }
        if !manifest.incrs.is_empty() {
            writeln!(self.out, "Start to check INCR files.")?;
        }
        for (index, incr) in manifest.incrs.iter().enumerate() {
            let is_last = index + 1 == manifest.incrs.len();
            let outcome = self.file(&incr.name, &place(&incr.name), is_last, false)?;
            self.conclude(outcome, &incr.name, "INCR AOF")?;
        }
        writeln!(self.out, "All AOF files and manifest are valid")?;
        Ok(())
    }

    fn conclude(&mut self, outcome: Outcome, name: &str, what: &str) -> Result<(), Stop> {
        match outcome {
            Outcome::Valid => writeln!(self.out, "{what} {name} is valid")?,
            Outcome::Empty => writeln!(self.out, "{what} {name} is empty")?,
            Outcome::Truncated => writeln!(self.out, "Successfully truncated AOF {name}")?,
            Outcome::TruncatedToTimestamp => {
                let at_s = self.timestamp().unwrap_or(0);
                writeln!(self.out, "Successfully truncated AOF {name} to timestamp {at_s}")?;
            }
        }
        Ok(())
    }

    fn timestamp(&self) -> Option<i64> {
        match self.mode {
            AofMode::TruncateToTimestamp(at_s) if at_s != 0 => Some(at_s),
            _ => None,
        }
    }

    fn file(&mut self, name: &str, path: &Path, is_last: bool, preamble: bool) -> Result<Outcome, Stop> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) => {
                let (path, error) = (path.display(), error_text(&error));
                writeln!(self.out, "Cannot open file {path}: {error}, aborting...")?;
                return Err(Stop::Failed);
            }
        };
        let size = file.metadata()?.len();
        if size == 0 {
            return Ok(Outcome::Empty);
        }
        let start = if preamble { self.preamble(path, &file)? } else { 0 };
        file.seek(SeekFrom::Start(start))?;
        let mut walk = Walk { input: BufReader::new(&file), offset: start, last_at: start, line: self.line };
        let walked = walk.run(self.timestamp());
        self.line = walk.line;
        match walked? {
            Walked::Timestamp { offset, text } => self.cut_at_timestamp(&file, path, offset, &text, is_last),
            Walked::BadTimestamp => {
                writeln!(self.out, "Invalid timestamp annotation")?;
                Err(Stop::Failed)
            }
            Walked::End { valid_up_to, error } => {
                match error {
                    Some(WalkError::Format) => writeln!(self.out, "AOF {name} format error")?,
                    Some(WalkError::Multi { at, which }) => {
                        let path = path.display();
                        writeln!(self.out, "0x{at:16x}: Unexpected {which} in AOF {path}")?;
                    }
                    Some(WalkError::At { at, text }) => writeln!(self.out, "0x{at:16x}: {text}")?,
                    None => {}
                }
                self.end(&file, name, size, valid_up_to, is_last)
            }
        }
    }

    /// Where the preamble ends.
    fn preamble(&mut self, path: &Path, file: &File) -> Result<u64, Stop> {
        writeln!(self.out, "[offset 0] Checking RDB file {}", path.display())?;
        match check_open_rdb(file, self.now_ms, self.out)? {
            Some(end) => {
                writeln!(self.out, "RDB preamble is OK, proceeding with AOF tail...")?;
                Ok(end)
            }
            None => {
                writeln!(self.out, "RDB preamble of AOF file is not sane, aborting.")?;
                Err(Stop::Failed)
            }
        }
    }

    fn cut_at_timestamp(
        &mut self,
        file: &File,
        path: &Path,
        offset: u64,
        at_s: &str,
        is_last: bool,
    ) -> Result<Outcome, Stop> {
        let path = path.display();
        if offset == 0 {
            writeln!(self.out, "AOF {path} has nothing before timestamp {at_s}, aborting...")?;
            return Err(Stop::Failed);
        }
        if !is_last {
            writeln!(
                self.out,
                "Failed to truncate AOF {path} to timestamp {at_s} to offset {offset} because it is not the \
                 last file.\nIf you insist, please delete all files after this file according to the manifest \
                 file and delete the corresponding records in manifest file manually. Then re-run \
                 redis-check-aof."
            )?;
            return Err(Stop::Failed);
        }
        if cut(file, offset).is_err() {
            writeln!(self.out, "Failed to truncate AOF {path} to timestamp {at_s}")?;
            return Err(Stop::Failed);
        }
        Ok(Outcome::TruncatedToTimestamp)
    }

    fn end(
        &mut self,
        file: &File,
        name: &str,
        size: u64,
        valid_up_to: u64,
        is_last: bool,
    ) -> Result<Outcome, Stop> {
        let invalid = size - valid_up_to;
        if let (0, Some(at_s)) = (invalid, self.timestamp()) {
            writeln!(self.out, "Truncate nothing in AOF {name} to timestamp {at_s}")?;
            return Ok(Outcome::Valid);
        }
        writeln!(
            self.out,
            "AOF analyzed: filename={name}, size={size}, ok_up_to={valid_up_to}, ok_up_to_line={}, \
             diff={invalid}",
            self.line
        )?;
        if invalid == 0 {
            return Ok(Outcome::Valid);
        }
        if self.mode != AofMode::Fix {
            writeln!(self.out, "AOF {name} is not valid. Use the --fix option to try fixing it.")?;
            return Err(Stop::Failed);
        }
        if !is_last {
            writeln!(self.out, "Failed to truncate AOF {name} because it is not the last file")?;
            return Err(Stop::Failed);
        }
        self.ask(&format!(
            "This will shrink the AOF {name} from {size} bytes, with {invalid} bytes, to {valid_up_to} bytes"
        ))?;
        if cut(file, valid_up_to).is_err() {
            writeln!(self.out, "Failed to truncate AOF {name}")?;
            return Err(Stop::Failed);
        }
        Ok(Outcome::Truncated)
    }

    fn ask(&mut self, what: &str) -> Result<(), Stop> {
        write!(self.out, "{what}\nContinue? [y/N]: ")?;
        self.out.flush()?;
        let mut answer = String::new();
        self.input.read_line(&mut answer)?;
        if answer.starts_with(['y', 'Y']) {
            return Ok(());
        }
        writeln!(self.out, "Aborting...")?;
        Err(Stop::Failed)
    }
}

fn cut(file: &File, size: u64) -> io::Result<()> {
    file.set_len(size)?;
    file.sync_all()
}

/// The text C has for an error, without the number Rust adds.
fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Whether the first line that is no comment is one of a manifest.
fn is_manifest(file: &mut dyn BufRead) -> io::Result<bool> {
    loop {
        let mut line = Vec::new();
        if file.take(1024).read_until(b'\n', &mut line)? == 0 {
            return Ok(false);
        }
        if line[0] != b'#' {
            return Ok(line.starts_with(b"file"));
        }
    }
}

fn is_rdb(file: &mut dyn BufRead) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(MIN_RDB_BYTES as u64).read_to_end(&mut start)?;
    Ok(start.len() == MIN_RDB_BYTES && start.starts_with(b"REDIS"))
}

// ---- One file's commands ---------------------------------------------------------------------------------

/// Goes through the commands of a file.
struct Walk<R> {
    input: R,
    offset: u64,
    /// Where the last line or argument began.
    last_at: u64,
    line: u64,
}

enum Walked {
    End {
        valid_up_to: u64,
        error: Option<WalkError>,
    },
    /// An annotation beyond the timestamp that was asked for stands at `offset`.
    Timestamp {
        offset: u64,
        text: String,
    },
    BadTimestamp,
}

enum WalkError {
    Format,
    Multi { at: u64, which: &'static str },
    At { at: u64, text: String },
}

/// Why a command could not be read: with nothing to say if the file just ends.
type Broken = Option<WalkError>;

impl<R: BufRead> Walk<R> {
    fn run(&mut self, timestamp: Option<i64>) -> io::Result<Walked> {
        let (mut valid_up_to, mut in_multi) = (self.offset, false);
        loop {
            if !in_multi {
                valid_up_to = self.offset;
            }
            let error = match self.input.fill_buf()?.first() {
                None if in_multi => Some(self.open_transaction()),
                None => None,
                Some(b'#') => match self.annotation(timestamp)? {
                    Some(stop) => return Ok(stop),
                    None => continue,
                },
                Some(b'*') => match self.command(&mut in_multi)? {
                    Ok(()) => continue,
                    Err(None) if in_multi => Some(self.open_transaction()),
                    Err(error) => error,
                },
                Some(_) => Some(WalkError::Format),
            };
            return Ok(Walked::End { valid_up_to, error });
        }
    }

    fn open_transaction(&self) -> WalkError {
        WalkError::At { at: self.last_at, text: "Reached EOF before reading EXEC for MULTI".to_owned() }
    }

    fn annotation(&mut self, timestamp: Option<i64>) -> io::Result<Option<Walked>> {
        let offset = self.offset;
        let line = self.read_line(MAX_ANNOTATION)?;
        let (Some(limit_s), Some(text)) = (timestamp, line.strip_prefix(b"#TS:")) else { return Ok(None) };
        let digits = text.split(|&byte| byte == b'\r').next().unwrap_or_default();
        let at_s = match std::str::from_utf8(digits) {
            Ok("") => Some(0),
            Ok(digits) => digits.parse::<i64>().ok(),
            Err(_) => None,
        };
        Ok(match at_s.filter(|_| digits.len() < text.len()) {
            None => Some(Walked::BadTimestamp),
            Some(at_s) if at_s <= limit_s => None,
            Some(_) => Some(Walked::Timestamp { offset, text: limit_s.to_string() }),
        })
    }

    fn command(&mut self, in_multi: &mut bool) -> io::Result<Result<(), Broken>> {
        let count = match self.number(b'*')? {
            Ok(count) => count,
            Err(broken) => return Ok(Err(broken)),
        };
        for index in 0..count {
            let (at, argument) = match self.argument()? {
                Ok(argument) => argument,
                Err(broken) => return Ok(Err(broken)),
            };
            if index > 0 {
                continue;
            }
            if argument.eq_ignore_ascii_case(b"multi") {
                if *in_multi {
                    return Ok(Err(Some(WalkError::Multi { at, which: "MULTI" })));
                }
                *in_multi = true;
            } else if argument.eq_ignore_ascii_case(b"exec") {
                if !*in_multi {
                    return Ok(Err(Some(WalkError::Multi { at, which: "EXEC" })));
                }
                *in_multi = false;
            }
        }
        Ok(Ok(()))
    }

    /// Where the argument begins, and its first bytes: enough to tell MULTI from EXEC.
    fn argument(&mut self) -> io::Result<Result<(u64, Vec<u8>), Broken>> {
        const KEPT: u64 = 16;
        let length_at = self.offset;
        let len = match self.number(b'$')? {
            Ok(len) => len,
            Err(broken) => return Ok(Err(broken)),
        };
        let at = self.offset;
        self.last_at = at;
        let Some(with_end) = (0..=i64::MAX - 2).contains(&len).then(|| len as u64 + 2) else {
            let text = format!("Expected to read string of {len} bytes, which is not in the suitable range");
            return Ok(Err(Some(WalkError::At { at: length_at, text })));
        };
        let mut start = Vec::new();
        let mut read = (&mut self.input).take(KEPT.min(len as u64)).read_to_end(&mut start)? as u64;
        read += io::copy(&mut (&mut self.input).take(len as u64 - read), &mut io::sink())?;
        let mut line_end = Vec::new();
        read += (&mut self.input).take(with_end - read.min(len as u64)).take(2).read_to_end(&mut line_end)?
            as u64;
        self.offset += read;
        if read < with_end {
            let text = format!("Expected to read {with_end} bytes, got {read} bytes");
            return Ok(Err(Some(WalkError::At { at, text })));
        }
        Ok(self.line_end(at, &line_end).map(|()| (at, start)))
    }

    fn number(&mut self, prefix: u8) -> io::Result<Result<i64, Broken>> {
        let at = self.offset;
        let line = self.read_line(MAX_NUMBER_LINE)?;
        let Some((&first, rest)) = line.split_first() else { return Ok(Err(None)) };
        if first != prefix {
            let (expected, got) = (char::from(prefix), char::from(first));
            let text = format!("Expected prefix '{expected}', got: '{got}'");
            return Ok(Err(Some(WalkError::At { at, text })));
        }
        let sign = usize::from(matches!(rest.first(), Some(b'-' | b'+')));
        let digits = rest[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, end) = rest.split_at(if digits == 0 { 0 } else { sign + digits });
        let number = std::str::from_utf8(number).unwrap_or_default();
        let value = if number.is_empty() { 0 } else { number.parse().unwrap_or(i64::MAX) };
        Ok(self.line_end(at, end).map(|()| value))
    }

    fn line_end(&mut self, at: u64, end: &[u8]) -> Result<(), Broken> {
        if end.starts_with(b"\r\n") {
            self.line += 1;
            return Ok(());
        }
        let byte = |index: usize| end.get(index).copied().unwrap_or(0) as i8;
        let text = format!("Expected \\r\\n, got: {:02x}{:02x}", i32::from(byte(0)), i32::from(byte(1)));
        Err(Some(WalkError::At { at, text }))
    }

    fn read_line(&mut self, most_bytes: u64) -> io::Result<Vec<u8>> {
        self.last_at = self.offset;
        let mut line = Vec::new();
        let read = (&mut self.input).take(most_bytes).read_until(b'\n', &mut line)?;
        self.offset += read as u64;
        Ok(line)
    }
}
