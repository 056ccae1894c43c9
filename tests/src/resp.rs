//! A client that keeps replies as they came.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A reply. Two are equal exactly if their bytes were.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `+`, `-`, `:`, `,`, `#`, `(` and the nulls: a kind and the rest of the line.
    Line(u8, Vec<u8>),
    /// `$` or `=`, with a body.
    Blob(u8, Vec<u8>),
    /// `*`, `~`, `%` or `>`; of a map, keys and values alternately.
    List(u8, Vec<Value>),
}

impl Value {
    pub fn is_error(&self) -> bool {
        matches!(self, Value::Line(b'-', _))
    }

    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Line(b':', text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Blob(_, text) | Value::Line(b',' | b'+' | b':', text) => Some(text),
            _ => None,
        }
    }

    pub fn items(&self) -> &[Value] {
        match self {
            Value::List(_, items) => items,
            _ => &[],
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Line(kind, text) => write!(f, "{}{}", *kind as char, text.escape_ascii()),
            Value::Blob(kind, text) => write!(f, "{}\"{}\"", *kind as char, text.escape_ascii()),
            Value::List(kind, items) => {
                write!(f, "{}", *kind as char)?;
                f.debug_list().entries(items).finish()
            }
        }
    }
}

pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        // No test waits: a reply that takes so long is one that never comes.
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client { stream: BufReader::with_capacity(1 << 16, stream) })
    }

    pub fn send<T: AsRef<[u8]>>(&mut self, argv: &[T]) -> io::Result<()> {
        let mut out = Vec::new();
        encode(argv, &mut out);
        self.stream.get_mut().write_all(&out)
    }

    /// Sends commands in one piece, as a pipeline.
    pub fn send_all<T: AsRef<[u8]>>(&mut self, commands: &[&Vec<T>]) -> io::Result<()> {
        let mut out = Vec::new();
        commands.iter().for_each(|argv| encode(argv, &mut out));
        self.stream.get_mut().write_all(&out)
    }

    pub fn receive(&mut self) -> io::Result<Value> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        let Some(line) = line.strip_suffix(b"\r\n").filter(|line| !line.is_empty()) else {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection is gone"));
        };
        let (kind, rest) = (line[0], &line[1..]);
        let len = || std::str::from_utf8(rest).ok()?.parse::<usize>().ok();
        match (kind, len()) {
            (b'$' | b'=', Some(len)) => {
                let mut body = vec![0; len + 2];
                self.stream.read_exact(&mut body)?;
                body.truncate(len);
                Ok(Value::Blob(kind, body))
            }
            (b'*' | b'~' | b'>', Some(len)) => self.list(kind, len),
            (b'%', Some(len)) => self.list(kind, 2 * len),
            _ => Ok(Value::Line(kind, rest.to_vec())),
        }
    }

    fn list(&mut self, kind: u8, len: usize) -> io::Result<Value> {
        Ok(Value::List(kind, (0..len).map(|_| self.receive()).collect::<io::Result<_>>()?))
    }

    /// Sends a command and waits for its reply.
    pub fn call<T: AsRef<[u8]>>(&mut self, argv: &[T]) -> io::Result<Value> {
        self.send(argv)?;
        self.receive()
    }
}

fn encode<T: AsRef<[u8]>>(argv: &[T], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", argv.len()).as_bytes());
    for arg in argv {
        out.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
        out.extend_from_slice(arg.as_ref());
        out.extend_from_slice(b"\r\n");
    }
}
