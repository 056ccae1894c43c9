//! Commands out of an AOF file.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

/// Bytes of the longest line that is no argument: annotations, counts, lengths.
const MAX_LINE_BYTES: u64 = 1024;
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes of an argument that are allocated before they have arrived.
const TRUSTED_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub enum AofError {
    /// The file ends in the middle of a command or of a transaction. Cut to `valid_up_to` bytes it is whole.
    Truncated {
        valid_up_to: u64,
    },
    /// Something else stands where a command should.
    Format {
        offset: u64,
    },
    Io {
        offset: u64,
        source: io::Error,
    },
}

impl fmt::Display for AofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AofError::Truncated { valid_up_to } => {
                write!(f, "unexpected end of the append only file, valid up to offset {valid_up_to}")
            }
            AofError::Format { offset } => {
                write!(f, "bad file format of the append only file at offset {offset}")
            }
            AofError::Io { offset, source } => {
                write!(f, "cannot read the append only file at offset {offset}: {source}")
            }
        }
    }
}

impl std::error::Error for AofError {}

/// What comes next in a file.
#[derive(Debug)]
pub enum Record<'a> {
    Command(Command<'a>),
    /// Seconds since the Unix epoch: what follows was written then or later.
    Timestamp(i64),
    /// A line of another kind that begins with `#`.
    Annotation(&'a [u8]),
}

/// A command's arguments, its name the first of them.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    bytes: &'a [u8],
    /// Where each argument ends.
    ends: &'a [usize],
}

impl<'a> Command<'a> {
    #[expect(clippy::len_without_is_empty, reason = "a command is never empty")]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.bytes[start..end])
    }

    pub fn name(&self) -> &'a [u8] {
        self.get(0).unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let command = *self;
        (0..command.len()).filter_map(move |index| command.get(index))
    }
}

/// Reads one file, or the tail of one behind an RDB preamble.
pub struct AofReader<R> {
    input: BufReader<R>,
    offset: u64,
    /// Where the last whole command ended; within a transaction, where that began.
    valid_up_to: u64,
    in_multi: bool,
    line: Vec<u8>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Why reading stopped, before it is known how that is to be told.
enum Stop {
    End,
    Format,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Stop::End } else { Stop::Io(error) }
    }
}

impl<R: Read> AofReader<R> {
    /// `offset` is where in the file `inner` stands: 0 but for the tail behind a preamble.
    pub fn new(inner: R, offset: u64) -> Self {
        AofReader {
            input: BufReader::with_capacity(BUFFER_BYTES, inner),
            offset,
            valid_up_to: offset,
            in_multi: false,
            line: Vec::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes up to the end of the last whole command or transaction.
    pub fn valid_up_to(&self) -> u64 {
        self.valid_up_to
    }

    /// Whether MULTI was read and its EXEC was not.
    pub fn in_multi(&self) -> bool {
        self.in_multi
    }

    /// The next record; `None` at the end of a whole file. MULTI and EXEC are records as any other: what is
    /// between them is to be applied when EXEC comes.
    #[expect(clippy::should_implement_trait, reason = "records borrow from the reader")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, AofError> {
        let start = self.offset;
        match self.read_record() {
            Ok(true) => {}
            Ok(false) if self.in_multi => {
                return Err(AofError::Truncated { valid_up_to: self.valid_up_to });
            }
            Ok(false) => return Ok(None),
            Err(Stop::End) => return Err(AofError::Truncated { valid_up_to: self.valid_up_to }),
            Err(Stop::Format) => return Err(AofError::Format { offset: start }),
            Err(Stop::Io(source)) => return Err(AofError::Io { offset: self.offset, source }),
        }
        if self.line[0] == b'#' {
            self.mark_valid();
            return Ok(Some(annotation(&self.line)));
        }
        let command = Command { bytes: &self.bytes, ends: &self.ends };
        let name = command.name();
        if name.eq_ignore_ascii_case(b"multi") {
            self.in_multi = true;
        } else if name.eq_ignore_ascii_case(b"exec") || name.eq_ignore_ascii_case(b"discard") {
            self.in_multi = false;
        }
        self.mark_valid();
        Ok(Some(Record::Command(Command { bytes: &self.bytes, ends: &self.ends })))
    }

    fn mark_valid(&mut self) {
        if !self.in_multi {
            self.valid_up_to = self.offset;
        }
    }

    /// Reads a record into the buffers; false at the end of the file.
    fn read_record(&mut self) -> Result<bool, Stop> {
        self.line.clear();
        if self.input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.read_line()?;
        if self.line[0] == b'#' {
            return Ok(true);
        }
        let count = number(&self.line, b'*').filter(|&count| count > 0).ok_or(Stop::Format)?;
        self.bytes.clear();
        self.ends.clear();
        for _ in 0..count {
            self.read_line()?;
            let len = number(&self.line, b'$').ok_or(Stop::Format)?;
            self.read_argument(len)?;
        }
        Ok(true)
    }

    fn read_line(&mut self) -> Result<(), Stop> {
        self.line.clear();
        let read = (&mut self.input).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line)?;
        self.offset += read as u64;
        match self.line.last() {
            Some(b'\n') => Ok(()),
            _ if read as u64 == MAX_LINE_BYTES => Err(Stop::Format),
            _ => Err(Stop::End),
        }
    }

    fn read_argument(&mut self, len: usize) -> Result<(), Stop> {
        let start = self.bytes.len();
        self.bytes.try_reserve(len.min(TRUSTED_BYTES)).map_err(|_| Stop::Format)?;
        let read = (&mut self.input).take(len as u64).read_to_end(&mut self.bytes)?;
        self.offset += read as u64;
        if self.bytes.len() - start < len {
            return Err(Stop::End);
        }
        self.ends.push(self.bytes.len());
        let mut line_end = [0; 2];
        self.input.read_exact(&mut line_end)?;
        self.offset += 2;
        if line_end == *b"\r\n" { Ok(()) } else { Err(Stop::Format) }
    }
}

/// `*3\r\n`, `$12\r\n`.
fn number(line: &[u8], mark: u8) -> Option<usize> {
    let digits = line.strip_prefix(&[mark])?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn annotation(line: &[u8]) -> Record<'_> {
    let timestamp = line.strip_prefix(b"#TS:").and_then(|rest| rest.strip_suffix(b"\r\n"));
    let seconds = timestamp.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    seconds.map_or(Record::Annotation(line), Record::Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    const MULTI: &str = "*1\r\n$5\r\nMULTI\r\n";
    const EXEC: &str = "*1\r\n$4\r\nexec\r\n";

    /// Names of the commands, and how it ended.
    fn read(text: &str) -> (Vec<String>, Option<AofError>) {
        let mut reader = AofReader::new(text.as_bytes(), 0);
        let mut names = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(Record::Command(command))) => {
                    names.push(String::from_utf8_lossy(command.name()).into_owned());
                }
                Ok(Some(Record::Timestamp(at_s))) => names.push(at_s.to_string()),
                Ok(Some(Record::Annotation(_))) => names.push("#".to_owned()),
                Ok(None) => return (names, None),
                Err(error) => return (names, Some(error)),
            }
        }
    }

    #[test]
    fn commands_and_annotations() {
        let text = format!("#TS:1700000000\r\n{SET}# hello\r\n{MULTI}{SET}{EXEC}");
        let (names, error) = read(&text);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(names, ["1700000000", "SET", "#", "MULTI", "SET", "exec"]);
        let mut reader = AofReader::new(SET.as_bytes(), 0);
        let Ok(Some(Record::Command(command))) = reader.next() else { panic!("no command") };
        assert_eq!(command.iter().collect::<Vec<_>>(), [&b"SET"[..], b"k", b"v"]);
    }

    #[test]
    fn a_torn_tail_is_cut_after_the_last_whole_command() {
        let text = format!("{SET}{SET}");
        for cut in SET.len() + 1..text.len() {
            let (names, error) = read(&text[..cut]);
            assert_eq!(names.len(), 1);
            let valid = SET.len() as u64;
            assert!(
                matches!(error, Some(AofError::Truncated { valid_up_to }) if valid_up_to == valid),
                "{cut}"
            );
        }
    }

    #[test]
    fn an_open_transaction_is_cut_as_a_whole() {
        let text = format!("{SET}{MULTI}{SET}{SET}{EXEC}");
        for cut in SET.len() + 1..text.len() {
            let (_, error) = read(&text[..cut]);
            let valid = SET.len() as u64;
            assert!(
                matches!(error, Some(AofError::Truncated { valid_up_to }) if valid_up_to == valid),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_corrupt_middle_is_no_torn_tail() {
        let at = SET.len() as u64;
        for bad in ["garbage\r\n", "*0\r\n", "*-1\r\n", "*x\r\n", "*1\r\n:5\r\n", "*1\r\n$1\r\nkk\r\n"] {
            let (names, error) = read(&format!("{SET}{bad}{SET}"));
            assert_eq!(names, ["SET"]);
            assert!(matches!(error, Some(AofError::Format { offset }) if offset == at), "{bad:?}: {error:?}");
        }
    }

    #[test]
    fn lengths_are_not_believed() {
        for text in ["*1\r\n$9999999999999\r\nabc", "*9999999999999\r\n$1\r\na\r\n"] {
            assert!(matches!(read(text).1, Some(AofError::Truncated { valid_up_to: 0 })));
        }
        assert!(matches!(read(&"*1".repeat(2000)).1, Some(AofError::Format { offset: 0 })));
    }
}
