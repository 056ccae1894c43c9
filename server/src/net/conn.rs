//! A connection: its socket, its session, and what has not been read or written yet.
//!
//! An idle connection owns no buffers. Bytes are read into the thread's buffer and replies written from the
//! thread's; only what is left over moves into the connection.

use crate::exec::Session;
use crate::write_log::Cursor;
use foldhash::HashMap;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use protocol::request::Progress;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};

/// A connected socket of either kind.
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub fn source(&mut self) -> &mut dyn Source {
        match self {
            Socket::Tcp(stream) => stream,
            Socket::Unix(stream) => stream,
        }
    }
}

impl Socket {
    /// Ends the connection, whoever else has a handle on the socket.
    pub fn shutdown(&self) {
        // Fails where the peer was faster.
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// Another handle on the same socket, for a helper that writes to it.
    pub fn duplicate(&self) -> io::Result<Socket> {
        use std::os::fd::AsFd;
        Ok(match self {
            Socket::Tcp(stream) => {
                let stream = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
                Socket::Tcp(TcpStream::from_std(stream))
            }
            Socket::Unix(stream) => {
                let stream = std::os::unix::net::UnixStream::from(stream.as_fd().try_clone_to_owned()?);
                Socket::Unix(UnixStream::from_std(stream))
            }
        })
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buf),
            Socket::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(buf),
            Socket::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A replica reading the write log.
pub struct Feed {
    /// `None` until its snapshot has begun.
    pub cursor: Option<Cursor>,
    pub state: FeedState,
    pub acked_offset: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedState {
    /// Its snapshot has not begun.
    Waits,
    /// Its snapshot is being written to a file.
    WaitsForFile,
    /// A snapshot is being sent by a helper; the log waits at the cursor.
    Snapshot,
    /// It has the snapshot up to the mark. A stock replica looks for the mark at the end of what it has read, so
    /// nothing may follow before it has acknowledged.
    Marked,
    /// It is sent what is written.
    Online,
}

pub struct Conn {
    pub socket: Socket,
    pub session: Box<Session>,
    /// Bytes read and not understood yet.
    pub input: Vec<u8>,
    /// How far the command at the front of `input` has been read.
    pub progress: Option<Box<Progress>>,
    /// Bytes to be written when the socket takes them, or when the log is durable so far.
    pub output: Vec<u8>,
    /// Nothing of `output` may leave before the log is durable up to here.
    pub held_until: u64,
    /// Set while the client waits for something other than its socket.
    pub waiting: Option<Waiting>,
    /// Set when this is a replica.
    pub feed: Option<Box<Feed>>,
    /// Set when this is our master: how much of the stream was applied.
    pub master: Option<Box<crate::replication::MasterLink>>,
    /// When the output buffer went over its soft limit.
    pub soft_limit_since_ms: Option<i64>,
    /// What the thread's account of client memory has of it.
    pub counted_bytes: u64,
    pub doomed: bool,
}

/// What a waiting client is waiting for.
pub struct Waiting {
    pub wait: crate::exec::cx::Wait,
}

impl Conn {
    pub fn new(socket: Socket, session: Session) -> Conn {
        Conn {
            socket,
            session: Box::new(session),
            input: Vec::new(),
            progress: None,
            output: Vec::new(),
            held_until: 0,
            waiting: None,
            feed: None,
            master: None,
            soft_limit_since_ms: None,
            counted_bytes: 0,
            doomed: false,
        }
    }

    /// Writes what `output` holds, as far as the socket takes it.
    pub fn flush(&mut self) -> io::Result<usize> {
        let written = write_some(&mut self.socket, &self.output)?;
        self.output.drain(..written);
        if self.output.is_empty() && self.output.capacity() > 4096 {
            self.output = Vec::new();
        }
        Ok(written)
    }
}

/// Writes until all is written or the socket takes no more.
pub fn write_some(socket: &mut Socket, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// The connections of one IO thread. They sit behind the thread's cell of the gate.
#[derive(Default)]
pub struct IoState {
    /// By token. A connection is taken out while it is being served.
    conns: Vec<Option<Box<Conn>>>,
    free: Vec<usize>,
    by_id: HashMap<u64, usize>,
}

impl IoState {
    /// Makes room for a connection and returns its token; [`IoState::put`] it there.
    pub fn reserve(&mut self, id: u64) -> usize {
        let token = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        self.by_id.insert(id, token);
        token
    }

    /// Takes a connection out to serve it.
    #[inline]
    pub fn take(&mut self, token: usize) -> Option<Box<Conn>> {
        self.conns.get_mut(token)?.take()
    }

    #[inline]
    pub fn put(&mut self, token: usize, conn: Box<Conn>) {
        self.conns[token] = Some(conn);
    }

    /// Forgets a connection that was taken out.
    pub fn release(&mut self, token: usize, id: u64) {
        self.by_id.remove(&id);
        self.free.push(token);
    }

    pub fn get_mut(&mut self, id: u64) -> Option<&mut Conn> {
        let token = self.token_of(id)?;
        self.conns[token].as_deref_mut()
    }

    pub fn token_of(&self, id: u64) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.conns.iter().filter_map(|conn| conn.as_deref())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Conn)> {
        self.conns
            .iter_mut()
            .enumerate()
            .filter_map(|(token, conn)| conn.as_deref_mut().map(|conn| (token, conn)))
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
