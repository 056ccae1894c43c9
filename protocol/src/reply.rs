//! Writing replies: each call appends one RESP value to the caller's buffer, in the client's version.

use crate::error::ReplyError;

/// The protocol version a connection speaks, chosen with HELLO.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Resp {
    #[default]
    V2,
    V3,
}

impl Resp {
    /// The number clients use for it.
    pub fn number(self) -> i64 {
        match self {
            Resp::V2 => 2,
            Resp::V3 => 3,
        }
    }
}

/// A writer of replies. Types that RESP2 lacks are written as RESP2 clients expect them: maps as flat
/// arrays, doubles and booleans as bulk strings and integers.
pub struct Reply<'b> {
    pub out: &'b mut Vec<u8>,
    pub resp: Resp,
}

impl<'b> Reply<'b> {
    pub fn new(out: &'b mut Vec<u8>, resp: Resp) -> Reply<'b> {
        Reply { out, resp }
    }

    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// `+text`; the text must hold no line break.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `+text` of bytes that may hold anything: line breaks become spaces.
    pub fn simple_bytes(&mut self, text: &[u8]) {
        self.out.push(b'+');
        self.out.extend(text.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
        self.crlf();
    }

    pub fn error(&mut self, error: &ReplyError) {
        self.line(b'-', error.as_bytes());
    }

    #[inline]
    pub fn integer(&mut self, n: i64) {
        self.number_line(b':', n);
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.number_line(b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.crlf();
    }

    /// An integer as a bulk string, as INCR'd values are read.
    pub fn bulk_integer(&mut self, n: i64) {
        self.bulk(itoa::Buffer::new().format(n).as_bytes());
    }

    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.resp {
            Resp::V2 => b"$-1\r\n",
            Resp::V3 => b"_\r\n",
        });
    }

    /// The null that stands where an array would: `*-1` in RESP2.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.resp {
            Resp::V2 => b"*-1\r\n",
            Resp::V3 => b"_\r\n",
        });
    }

    /// The head of an array; `len` values follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.number_line(b'*', len as i64);
    }

    /// The head of a map; `pairs` keys and values follow alternately.
    pub fn map(&mut self, pairs: usize) {
        match self.resp {
            Resp::V2 => self.array(pairs * 2),
            Resp::V3 => self.number_line(b'%', pairs as i64),
        }
    }

    /// The head of a set; `len` values follow.
    pub fn set(&mut self, len: usize) {
        match self.resp {
            Resp::V2 => self.array(len),
            Resp::V3 => self.number_line(b'~', len as i64),
        }
    }

    /// The head of an out-of-band push; `len` values follow.
    pub fn push(&mut self, len: usize) {
        match self.resp {
            Resp::V2 => self.array(len),
            Resp::V3 => self.number_line(b'>', len as i64),
        }
    }

    /// The head of an attribute (RESP3 only; write nothing of it to a RESP2 client).
    pub fn attribute(&mut self, pairs: usize) {
        self.number_line(b'|', pairs as i64);
    }

    pub fn boolean(&mut self, value: bool) {
        match self.resp {
            Resp::V2 => self.integer(i64::from(value)),
            Resp::V3 => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A double whose text the caller has made: how many digits is the type's decision.
    pub fn double_text(&mut self, text: &[u8]) {
        match self.resp {
            Resp::V2 => self.bulk(text),
            Resp::V3 => self.line(b',', text),
        }
    }

    pub fn big_number(&mut self, digits: &[u8]) {
        match self.resp {
            Resp::V2 => self.bulk(digits),
            Resp::V3 => self.line(b'(', digits),
        }
    }

    /// Text with its format, three letters such as `txt`.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        match self.resp {
            Resp::V2 => self.bulk(text),
            Resp::V3 => {
                self.number_line(b'=', text.len() as i64 + 4);
                self.out.extend_from_slice(&format.as_bytes()[..3]);
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.crlf();
            }
        }
    }

    /// A bulk string of a text known beforehand.
    pub fn text(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.crlf();
    }

    #[inline]
    fn number_line(&mut self, kind: u8, n: i64) {
        // One-digit numbers are most heads and many replies.
        if (0..10).contains(&n) {
            self.out.extend_from_slice(&[kind, b'0' + n as u8, b'\r', b'\n']);
            return;
        }
        self.out.push(kind);
        self.out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        self.crlf();
    }

    #[inline]
    fn crlf(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Appends a command as clients and the write log spell it: an array of bulk strings.
pub fn write_command<'a>(out: &mut Vec<u8>, args: impl ExactSizeIterator<Item = &'a [u8]>) {
    let mut reply = Reply::new(out, Resp::V2);
    reply.array(args.len());
    for arg in args {
        reply.bulk(arg);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(resp: Resp, f: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut out = Vec::new();
        f(&mut Reply::new(&mut out, resp));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_version_has_its_own_spelling() {
        for (v2, v3, write) in [
            ("$-1\r\n", "_\r\n", (|r| r.null()) as fn(&mut Reply<'_>)),
            ("*-1\r\n", "_\r\n", |r| r.null_array()),
            ("*4\r\n", "%2\r\n", |r| r.map(2)),
            ("*2\r\n", "~2\r\n", |r| r.set(2)),
            (":1\r\n", "#t\r\n", |r| r.boolean(true)),
            ("$3\r\n1.5\r\n", ",1.5\r\n", |r| r.double_text(b"1.5")),
            ("$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n", |r| r.verbatim("txt", b"hi")),
            (":-12\r\n", ":-12\r\n", |r| r.integer(-12)),
        ] {
            assert_eq!(written(Resp::V2, write), v2);
            assert_eq!(written(Resp::V3, write), v3);
        }
    }

    #[test]
    fn a_quoted_line_break_cannot_end_an_error_early() {
        let error = ReplyError::unknown_command(b"a\r\nb", [&b"c\nd"[..]].into_iter());
        let text = written(Resp::V2, |r| r.error(&error));
        assert_eq!(text, "-ERR unknown command 'a  b', with args beginning with: 'c d' \r\n");
    }
}
