//! Reading requests: RESP arrays of bulk strings, and inline commands.
//!
//! Parsing is resumable and never scans a byte twice. [`Progress`] remembers where it stood within the
//! command at the front of the caller's buffer; arguments stay in that buffer and are handed out as ranges
//! relative to the command's first byte. The caller drops a command's bytes when it has run.

use crate::args::{ArgVec, Range};
use crate::error::ReplyError;
use crate::number::parse_i64;

/// Longest inline command, and longest header line, in bytes.
const LINE_MAX: usize = 64 * 1024;
/// Before a client has authenticated: most arguments, and longest argument in bytes.
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_MAX: i64 = 16_384;
/// Room reserved for arguments ahead of their arrival; more is made as they come.
const ARGS_RESERVED_MAX: usize = 1024;

/// What a request may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest argument in bytes (`proto-max-bulk-len`).
    pub bulk_max: i64,
    /// The connection still has to authenticate.
    pub unauthenticated: bool,
}

/// What the bytes at hand amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole command of `consumed` bytes; its arguments are [`Progress::ranges`].
    Command { consumed: usize },
    /// A whole inline command. Its quoting is undone, so it owns its bytes.
    Inline { consumed: usize, args: ArgVec },
    /// An empty line or an empty array: skip the bytes, there is nothing to run.
    Nothing { consumed: usize },
    /// The command goes on beyond the buffer.
    NeedMore,
}

/// How far the command at the front of the buffer has been read.
#[derive(Default, Debug)]
pub struct Progress {
    /// Bytes of the command already understood.
    at: usize,
    /// Arguments still to come; 0 before the array's head is read.
    remaining: i64,
    /// Length of the argument being read, once its head is.
    bulk: Option<usize>,
    /// Where the arguments read so far lie, from the command's first byte.
    pub ranges: Vec<Range>,
}

impl Progress {
    /// Forgets the command, keeping the allocation.
    #[inline]
    pub fn reset(&mut self) {
        self.at = 0;
        self.remaining = 0;
        self.bulk = None;
        self.ranges.clear();
    }

    /// Keeps no more room for arguments than common commands need.
    pub fn give_back_room(&mut self) {
        if self.ranges.capacity() > ARGS_RESERVED_MAX {
            self.ranges = Vec::new();
        }
    }

    /// Nothing of the next command has been read.
    pub fn is_fresh(&self) -> bool {
        self.at == 0
    }

    /// How many bytes of the command have been understood.
    pub fn understood(&self) -> usize {
        self.at
    }

    /// The length of all arguments read so far.
    pub fn argument_bytes(&self) -> usize {
        self.ranges.iter().map(|&(start, end)| (end - start) as usize).sum()
    }

    /// How many more bytes the argument at hand needs before `advance` can do anything, when known.
    pub fn wants(&self, have: usize) -> Option<usize> {
        self.bulk.map(|len| (self.at + len + 2).saturating_sub(have))
    }

    /// Reads on. `buf` starts with the command's first byte and holds at least what it held before.
    ///
    /// An error is the reply to send before closing the connection.
    pub fn advance(&mut self, buf: &[u8], limits: &Limits) -> Result<Step, ReplyError> {
        if self.remaining == 0 {
            match buf.first() {
                None => return Ok(Step::NeedMore),
                Some(b'*') => {}
                Some(_) => return inline(buf),
            }
            // By far the most commands have fewer than ten arguments.
            let (count, next) = match *buf {
                [_, digit @ b'1'..=b'9', b'\r', b'\n', ..] => (i64::from(digit - b'0'), 4),
                _ => match self.array_head(buf)? {
                    Some(head) => head,
                    None => return Ok(Step::NeedMore),
                },
            };
            if limits.unauthenticated && count > UNAUTHENTICATED_ARGS_MAX {
                return Err(protocol_error("unauthenticated multibulk length"));
            }
            if count <= 0 {
                return Ok(Step::Nothing { consumed: next });
            }
            self.at = next;
            self.remaining = count;
            self.ranges.reserve((count as usize).min(ARGS_RESERVED_MAX));
        }
        while self.remaining > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.bulk_head(buf, limits)? {
                    Some(len) => len,
                    None => return Ok(Step::NeedMore),
                },
            };
            if buf.len() - self.at < len + 2 {
                self.bulk = Some(len);
                return Ok(Step::NeedMore);
            }
            self.ranges.push(range(self.at, len)?);
            self.at += len + 2;
            self.bulk = None;
            self.remaining -= 1;
        }
        Ok(Step::Command { consumed: self.at })
    }

    /// How many arguments there are, and where the first begins.
    fn array_head(&self, buf: &[u8]) -> Result<Option<(i64, usize)>, ReplyError> {
        let Some((count, next)) = self.head(buf, "too big mbulk count string")? else { return Ok(None) };
        let count = count.filter(|&n| n <= i64::from(i32::MAX));
        Ok(Some((count.ok_or_else(|| protocol_error("invalid multibulk length"))?, next)))
    }

    #[inline]
    fn bulk_head(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ReplyError> {
        // By far the most arguments are `$`, one or two digits, CRLF.
        if let Some(&[b'$', a, b, c, d, ..]) = buf.get(self.at..) {
            if b == b'\r' && a.is_ascii_digit() && c == b'\n' {
                self.at += 4;
                return Ok(Some(usize::from(a - b'0')));
            }
            if c == b'\r' && d == b'\n' && (b'1'..=b'9').contains(&a) && b.is_ascii_digit() {
                self.at += 5;
                return Ok(Some(usize::from(a - b'0') * 10 + usize::from(b - b'0')));
            }
        }
        let Some((len, next)) = self.head(buf, "too big bulk count string")? else { return Ok(None) };
        if buf[self.at] != b'$' {
            return Err(protocol_error(&format!("expected '$', got '{}'", buf[self.at] as char)));
        }
        let len = len
            .filter(|&n| (0..=limits.bulk_max).contains(&n))
            .ok_or_else(|| protocol_error("invalid bulk length"))?;
        if limits.unauthenticated && len > UNAUTHENTICATED_BULK_MAX {
            return Err(protocol_error("unauthenticated bulk length"));
        }
        self.at = next;
        Ok(Some(len as usize))
    }

    /// The number on the line that starts at `self.at`, after its first byte, and where the next line
    /// starts. The number is `None` when the text is none.
    fn head(&self, buf: &[u8], too_long: &str) -> Result<Option<(Option<i64>, usize)>, ReplyError> {
        let line = &buf[self.at..];
        match line.iter().take(LINE_MAX + 1).position(|&b| b == b'\r') {
            Some(end) if end + 1 < line.len() => {
                Ok(Some((parse_i64(line.get(1..end).unwrap_or_default()), self.at + end + 2)))
            }
            None if line.len() > LINE_MAX => Err(protocol_error(too_long)),
            _ => Ok(None),
        }
    }
}

#[inline]
fn range(start: usize, len: usize) -> Result<Range, ReplyError> {
    match (u32::try_from(start), u32::try_from(start + len)) {
        (Ok(start), Ok(end)) => Ok((start, end)),
        _ => Err(protocol_error("command of more than 4 GB")),
    }
}

fn protocol_error(what: &str) -> ReplyError {
    ReplyError::new(format!("ERR Protocol error: {what}"))
}

fn inline(buf: &[u8]) -> Result<Step, ReplyError> {
    let Some(end) = buf.iter().take(LINE_MAX + 1).position(|&b| b == b'\n') else {
        if buf.len() > LINE_MAX {
            return Err(protocol_error("too big inline request"));
        }
        return Ok(Step::NeedMore);
    };
    let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
    let args = split_quoted(line).ok_or_else(|| protocol_error("unbalanced quotes in request"))?;
    let consumed = end + 1;
    Ok(if args.is_empty() { Step::Nothing { consumed } } else { Step::Inline { consumed, args } })
}

/// Splits a line into words as inline commands and redis.conf do: blanks separate, `"…"` understands
/// `\n \r \t \b \a \\ \" \xHH`, `'…'` understands `\'`. `None` when a quote is not closed, or is closed in
/// the middle of a word.
pub fn split_quoted(line: &[u8]) -> Option<ArgVec> {
    let mut args = ArgVec::default();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|&&b| is_blank(b)).count();
        rest = &rest[blanks..];
        // A NUL ends the line, as it ends a C string.
        if rest.first().is_none_or(|&b| b == 0) {
            return Some(args);
        }
        let (word, used) = word(rest)?;
        args.push(&word);
        rest = &rest[used..];
    }
}

fn is_blank(b: u8) -> bool {
    b.is_ascii_whitespace() || b == 0x0b
}

/// The word at the front of `text` and how many bytes it takes.
fn word(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    let mut i = 0;
    while let Some(&b) = text.get(i) {
        match b {
            b'"' | b'\'' => {
                i += 1 + quoted(&text[i + 1..], b, &mut word)?;
                let closed_before_blank = text.get(i).is_none_or(|&b| is_blank(b) || b == 0);
                return closed_before_blank.then_some((word, i));
            }
            0 => break,
            b if is_blank(b) => break,
            b => word.push(b),
        }
        i += 1;
    }
    Some((word, i))
}

/// Appends what stands up to the closing `quote`; how many bytes that takes, the quote included.
fn quoted(text: &[u8], quote: u8, word: &mut Vec<u8>) -> Option<usize> {
    let mut i = 0;
    loop {
        match (*text.get(i)?, text.get(i + 1).copied()) {
            (b, _) if b == quote => return Some(i + 1),
            (0, _) => return None,
            (b'\\', Some(b'x')) if quote == b'"' && hex_pair(text.get(i + 2..i + 4)).is_some() => {
                word.extend(hex_pair(text.get(i + 2..i + 4)));
                i += 4;
            }
            (b'\\', Some(escaped)) if quote == b'"' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                i += 2;
            }
            (b'\\', Some(b'\'')) if quote == b'\'' => {
                word.push(b'\'');
                i += 2;
            }
            (b, _) => {
                word.push(b);
                i += 1;
            }
        }
    }
}

fn hex_pair(digits: Option<&[u8]>) -> Option<u8> {
    let digits = digits?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Argv;
    use proptest::prelude::*;

    const OPEN: Limits = Limits { bulk_max: 512 << 20, unauthenticated: false };

    /// Runs all of `bytes` through in pieces that end at `cuts`, as a connection would.
    fn parse(bytes: &[u8], cuts: &[usize], limits: &Limits) -> Result<Vec<Vec<Vec<u8>>>, ReplyError> {
        let mut commands = Vec::new();
        let (mut progress, mut start) = (Progress::default(), 0);
        for &end in cuts.iter().chain([&bytes.len()]) {
            loop {
                let buf = &bytes[start..end];
                let consumed = match progress.advance(buf, limits)? {
                    Step::NeedMore => break,
                    Step::Nothing { consumed } => consumed,
                    Step::Inline { consumed, args } => {
                        commands.push(args.as_argv().iter().map(<[u8]>::to_vec).collect());
                        consumed
                    }
                    Step::Command { consumed } => {
                        commands.push(Argv::new(buf, &progress.ranges).iter().map(<[u8]>::to_vec).collect());
                        consumed
                    }
                };
                start += consumed;
                progress.reset();
            }
        }
        Ok(commands)
    }

    fn error(bytes: &[u8], limits: &Limits) -> String {
        parse(bytes, &[], limits).unwrap_err().to_string()
    }

    #[test]
    fn faults_have_their_stock_texts() {
        let shy = Limits { unauthenticated: true, ..OPEN };
        assert_eq!(error(b"*x\r\n", &OPEN), "ERR Protocol error: invalid multibulk length");
        assert_eq!(error(b"*3000000000\r\n", &OPEN), "ERR Protocol error: invalid multibulk length");
        assert_eq!(error(b"*1\r\n:1\r\n", &OPEN), "ERR Protocol error: expected '$', got ':'");
        assert_eq!(error(b"*1\r\n$-1\r\n", &OPEN), "ERR Protocol error: invalid bulk length");
        assert_eq!(error(b"*1\r\n$536870913\r\n", &OPEN), "ERR Protocol error: invalid bulk length");
        assert_eq!(error(b"*11\r\n", &shy), "ERR Protocol error: unauthenticated multibulk length");
        assert_eq!(error(b"*1\r\n$16385\r\n", &shy), "ERR Protocol error: unauthenticated bulk length");
        assert_eq!(error(b"set \"a\r\n", &OPEN), "ERR Protocol error: unbalanced quotes in request");
        assert_eq!(error(&[b'a'; LINE_MAX + 1], &OPEN), "ERR Protocol error: too big inline request");
        let mut long = b"*1".to_vec();
        long.resize(LINE_MAX + 2, b'1');
        assert_eq!(error(&long, &OPEN), "ERR Protocol error: too big mbulk count string");
    }

    #[test]
    fn empty_requests_are_skipped() {
        let got = parse(b"\r\n\n*0\r\n*-1\r\n   \r\nPING\n", &[], &OPEN).unwrap();
        assert_eq!(got, [[b"PING".to_vec()]]);
    }

    #[test]
    fn inline_words_may_be_quoted() {
        let split = |line: &str| {
            split_quoted(line.as_bytes())
                .map(|args| args.as_argv().iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        assert_eq!(split(r#"a "b c" 'd\'e' "\x41\n\q""#).unwrap(), [&b"a"[..], b"b c", b"d'e", b"A\nq"]);
        assert_eq!(split(r#""" x"#).unwrap(), [&b""[..], b"x"]);
        assert_eq!(split(r#"ab"cd" e"#).unwrap(), [&b"abcd"[..], b"e"]);
        assert_eq!(split(r#""a"b"#), None);
        assert_eq!(split("'a"), None);
    }

    proptest! {
        #[test]
        fn commands_survive_any_fragmentation(
            commands in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 1..6), 1..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            for command in &commands {
                crate::reply::write_command(&mut bytes, command.iter().map(Vec::as_slice));
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.sort_unstable();
            prop_assert_eq!(parse(&bytes, &cuts, &OPEN).unwrap(), commands);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1')], 0..200)) {
            let _ = parse(&bytes, &[bytes.len() / 2], &OPEN);
        }
    }
}
