//! Replies in RESP2, read off a stream.

use std::io::{self, BufRead, ErrorKind, Read};

/// What one reply may hold at most, before anything is allocated for it.
const BULK_BYTES_MAX: usize = 512 << 20;
const ARRAY_LEN_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 16;
const LINE_BYTES_MAX: usize = 64 << 10;

/// A reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Value>),
}

impl Value {
    /// The text of a status or a bulk string; empty for anything else.
    pub fn text(&self) -> String {
        match self {
            Value::Status(text) => text.clone(),
            Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }
}

/// Reads one reply.
pub fn read(stream: &mut impl BufRead) -> io::Result<Value> {
    read_nested(stream, 0)
}

fn read_nested(stream: &mut impl BufRead, depth: usize) -> io::Result<Value> {
    let line = line(stream)?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| corrupt("an empty line"))?;
    match kind {
        "+" => Ok(Value::Status(rest.to_owned())),
        "-" => Ok(Value::Error(rest.to_owned())),
        ":" => Ok(Value::Integer(rest.parse().map_err(|_| corrupt("a bad integer"))?)),
        "$" => Ok(match length(rest, BULK_BYTES_MAX)? {
            Some(len) => Value::Bulk(bulk(stream, len)?),
            None => Value::Null,
        }),
        "*" => match length(rest, ARRAY_LEN_MAX)? {
            None => Ok(Value::Null),
            Some(_) if depth == DEPTH_MAX => Err(corrupt("arrays nested too deep")),
            Some(len) => {
                (0..len).map(|_| read_nested(stream, depth + 1)).collect::<io::Result<_>>().map(Value::Array)
            }
        },
        _ => Err(corrupt("an unknown kind of reply")),
    }
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    stream.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed"));
    }
    let text = bytes.strip_suffix(b"\r\n").ok_or_else(|| corrupt("a line without an end"))?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// A length, `None` for the -1 that means null.
fn length(text: &str, max: usize) -> io::Result<Option<usize>> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(len) if len >= 0 && len as usize <= max => Ok(Some(len as usize)),
        _ => Err(corrupt("a bad length")),
    }
}

fn bulk(stream: &mut impl BufRead, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(len as u64 + 2).read_to_end(&mut bytes)?;
    if bytes.len() != len + 2 || !bytes.ends_with(b"\r\n") {
        return Err(corrupt("a bulk string without an end"));
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn corrupt(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not a Redis node: it sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> io::Result<Value> {
        read(&mut &bytes[..])
    }

    #[test]
    fn every_kind_is_read() {
        assert_eq!(parse(b"+OK\r\n").unwrap(), Value::Status("OK".into()));
        assert_eq!(parse(b"-ERR no\r\n").unwrap(), Value::Error("ERR no".into()));
        assert_eq!(parse(b":-7\r\n").unwrap(), Value::Integer(-7));
        assert_eq!(parse(b"$3\r\na\r\n\r\n").unwrap(), Value::Bulk(b"a\r\n".to_vec()));
        assert_eq!(parse(b"$-1\r\n").unwrap(), Value::Null);
        assert_eq!(
            parse(b"*2\r\n:1\r\n*1\r\n$0\r\n\r\n").unwrap(),
            Value::Array(vec![Value::Integer(1), Value::Array(vec![Value::Bulk(vec![])])])
        );
    }

    #[test]
    fn nonsense_is_an_error_and_never_an_allocation() {
        for bytes in [
            &b""[..],
            b"\r\n",
            b"HTTP/1.1 400\r\n",
            b":x\r\n",
            b"$99999999999\r\n",
            b"$5\r\nab\r\n",
            b"$-2\r\n",
            b"*9999999999\r\n",
            b"*2\r\n:1\r\n",
            b"+OK",
        ] {
            assert!(parse(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        assert!(parse(&b"*1\r\n".repeat(1000)).is_err());
    }
}
