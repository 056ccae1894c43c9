//! The replica's side: the thread that dials the master, and the link once it stands.

use super::Replication;
use super::transfer::{Patient, Wire};
use crate::clock;
use crate::exec::{Session, SessionFlags};
use crate::log;
use crate::net::{Conn, Mail, Socket};
use crate::process::supervised;
use crate::server::Server;
use protocol::reply::write_command;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Pause between attempts.
const RETRY: Duration = Duration::from_millis(500);
/// Longest line of a handshake.
const LINE_MAX: usize = 1024;
/// Length of the mark that ends a snapshot of unknown length.
pub(super) const MARK_LEN: usize = 40;

/// The link to our master, as the IO thread that owns it sees it.
#[derive(Default)]
pub struct MasterLink {
    /// Bytes of a transaction that has not ended.
    held: Vec<u8>,
    reply_wanted: bool,
}

impl MasterLink {
    /// Something came, and so many bytes are still to be applied: while writes are paused, they wait.
    pub fn received(&self, server: &Server, unapplied_bytes: usize) {
        server.replication.master_io_ms.store(clock::now_ms(), Ordering::Relaxed);
        server.replication.unapplied_bytes.store(unapplied_bytes as u64, Ordering::Relaxed);
    }

    /// These bytes of the stream were applied; after them it is in database `db`.
    pub fn applied(&mut self, server: &Server, bytes: &[u8], db: usize, in_transaction: bool) {
        if in_transaction {
            // Nobody may resume in the middle of a transaction.
            self.held.extend_from_slice(bytes);
            return;
        }
        server.replication.stream_db.store(db, Ordering::Relaxed);
        if self.held.is_empty() {
            server.log.append_stream(bytes);
        } else {
            self.held.extend_from_slice(bytes);
            server.log.append_stream(&self.held);
            self.held.clear();
        }
    }

    pub fn want_reply(&mut self) {
        self.reply_wanted = true;
    }

    pub fn take_reply_wanted(&mut self) -> bool {
        std::mem::take(&mut self.reply_wanted)
    }
}

/// Keeps the link up while there is a master to follow. Runs until the process ends.
pub fn run(server: &Arc<Server>) {
    let replication = &server.replication;
    loop {
        let (generation, host, port) = replication.wait_for_work();
        replication.dialling.store(true, Ordering::Relaxed);
        let result = (Dial { server, generation }).sync(&host, port);
        replication.dialling.store(false, Ordering::Relaxed);
        replication.handshaking.store(false, Ordering::Relaxed);
        match result {
            Ok(()) => {}
            Err(error) => {
                let in_snapshot = replication.syncing.swap(false, Ordering::Relaxed);
                match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if in_snapshot => {
                        log::warning(
                            "Timeout receiving bulk data from MASTER... If the problem persists try to set the \
                             'repl-timeout' parameter in redis.conf to a larger value.",
                        );
                    }
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        log::warning("Timeout connecting to the MASTER...");
                    }
                    _ => log::warning(&format!("Error condition on socket for SYNC: {error}")),
                }
                replication.pause(generation, RETRY);
            }
        }
    }
}

impl Replication {
    /// Waits until there is a master and no link to it.
    fn wait_for_work(&self) -> (u64, String, u16) {
        let mut target = self.target.lock();
        loop {
            if let (Some((host, port)), None) = (&target.master, target.link) {
                return (target.generation, host.clone(), *port);
            }
            self.target_changed.wait(&mut target);
        }
    }

    /// Fails when the target is not the one of `generation` any more.
    pub(super) fn still_follows(&self, generation: u64) -> io::Result<()> {
        if self.target.lock().generation == generation {
            Ok(())
        } else {
            Err(fault("the master to follow has changed"))
        }
    }

    /// Waits a little, unless the target changes.
    fn pause(&self, generation: u64, at_most: Duration) {
        let mut target = self.target.lock();
        if target.generation == generation {
            self.target_changed.wait_for(&mut target, at_most);
        }
    }
}

/// One attempt at a link.
pub(super) struct Dial<'s> {
    pub(super) server: &'s Arc<Server>,
    pub(super) generation: u64,
}

/// What the master answers to PSYNC.
enum Psync {
    Continue { replid: Option<String> },
    Full { replid: String, offset: u64 },
}

pub(super) fn fault(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

impl Dial<'_> {
    fn sync(&self, host: &str, port: u16) -> io::Result<()> {
        log::notice(&format!("Connecting to MASTER {host}:{port}"));
        let settings = self.server.settings();
        let timeout = Duration::from_secs(settings.repl_timeout_seconds.max(1));
        let address = (host, port).to_socket_addrs()?.next().ok_or_else(|| fault("no address"))?;
        let stream = connect(address, &settings.bind_source_addr, timeout.min(Duration::from_secs(5)))?;
        self.server.replication.handshaking.store(true, Ordering::Relaxed);
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(timeout))?;
        log::notice("MASTER <-> REPLICA sync started");
        let mut wire = Patient::wire(stream, self.server, self.generation)?;
        self.handshake(&mut wire)?;
        let mut leftover = Vec::new();
        match self.psync(&mut wire)? {
            Psync::Continue { replid } => {
                log::notice("Successful partial resynchronization with master.");
                supervised::notify(
                    "STATUS=MASTER <-> REPLICA sync: Partial Resynchronization accepted. Ready to accept connections in \
                     read-write mode.\n",
                );
                if let Some(replid) = replid {
                    self.rename_history(replid);
                }
            }
            Psync::Full { replid, offset } => {
                log::notice(&format!("Full resync from master: {replid}:{offset}"));
                self.server.replication.syncing.store(true, Ordering::Relaxed);
                leftover = self.transfer(&mut wire, replid, offset)?;
                self.server.replication.syncing.store(false, Ordering::Relaxed);
            }
        }
        self.hand_over(wire, leftover, host, port)
    }

    fn handshake(&self, wire: &mut Wire<'_>) -> io::Result<()> {
        let settings = self.server.settings();
        let pong = self.ask(wire, &[b"PING"])?;
        // A master that wants a password says so here; we have one to give, or will fail below.
        if !pong.starts_with('+') && !pong.starts_with("-NOAUTH") && !pong.starts_with("-NOPERM") {
            return Err(fault(format!("Error reply to PING from master: '{pong}'")));
        }
        if !settings.masterauth.is_empty() {
            let password = settings.masterauth.as_bytes();
            let answer = if settings.masteruser.is_empty() {
                self.ask(wire, &[b"AUTH", password])?
            } else {
                self.ask(wire, &[b"AUTH", settings.masteruser.as_bytes(), password])?
            };
            if answer.starts_with('-') {
                return Err(fault(format!("Unable to AUTH to MASTER: {answer}")));
            }
        }
        let port =
            if settings.replica_announce_port != 0 { settings.replica_announce_port } else { settings.port };
        let port = port.to_string();
        let answer = self.ask(wire, &[b"REPLCONF", b"listening-port", port.as_bytes()])?;
        if answer.starts_with('-') {
            log::notice(&format!(
                "(Non critical) Master does not understand REPLCONF listening-port: {answer}"
            ));
        }
        if !settings.replica_announce_ip.is_empty() {
            self.ask(wire, &[b"REPLCONF", b"ip-address", settings.replica_announce_ip.as_bytes()])?;
        }
        self.ask(wire, &[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"])?;
        Ok(())
    }

    fn psync(&self, wire: &mut Wire<'_>) -> io::Result<Psync> {
        let (replid, offset) = match self.server.replication.lacks_history.load(Ordering::Relaxed) {
            true => ("?".to_owned(), "-1".to_owned()),
            false => (self.server.replication.history().replid, (self.server.log.end() + 1).to_string()),
        };
        log::notice(&match &*replid {
            "?" => "Partial resynchronization not possible (no history to go on with)".to_owned(),
            _ => format!("Trying a partial resynchronization (request {replid}:{offset})."),
        });
        let failover = self.server.replication.failover.asks_target();
        let mut words: Vec<&[u8]> = vec![b"PSYNC", replid.as_bytes(), offset.as_bytes()];
        words.extend(failover.then_some(&b"FAILOVER"[..]));
        let answer = self.ask(wire, &words)?;
        if failover {
            self.failover_answered(&answer)?;
        }
        let mut words = answer.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("+CONTINUE"), replid, _) => Ok(Psync::Continue { replid: replid.map(str::to_owned) }),
            (Some("+FULLRESYNC"), Some(replid), Some(offset)) if replid.len() == MARK_LEN => {
                let offset = offset.parse().map_err(|_| fault(format!("bad offset in '{answer}'")))?;
                Ok(Psync::Full { replid: replid.to_owned(), offset })
            }
            _ => Err(fault(format!("Unexpected reply to PSYNC from master: {answer}"))),
        }
    }

    /// The target of a failover has taken over, or will not.
    fn failover_answered(&self, answer: &str) -> io::Result<()> {
        let failover = &self.server.replication.failover;
        if answer.starts_with("+CONTINUE") || answer.starts_with("+FULLRESYNC") {
            failover.done(self.server);
            return Ok(());
        }
        let _world = self.server.gate.stop_world();
        failover.abort_at_rest(self.server, "Failover target rejected psync request");
        Err(fault(format!("the target of the failover answered '{answer}'")))
    }

    fn ask(&self, wire: &mut Wire<'_>, args: &[&[u8]]) -> io::Result<String> {
        let mut command = Vec::new();
        write_command(&mut command, args.iter().copied());
        wire.get_mut().stream.write_all(&command)?;
        self.line(wire)
    }

    /// The next line that is not empty: a busy master sends empty ones to show that it is alive.
    pub(super) fn line(&self, wire: &mut Wire<'_>) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            wire.read_exact(&mut byte)?;
            match byte[0] {
                b'\n' if line.is_empty() => {}
                b'\n' => break,
                b'\r' => {}
                _ if line.len() == LINE_MAX => return Err(fault("line too long from master")),
                b => line.push(b),
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn rename_history(&self, replid: String) {
        let mut history = self.server.replication.history.lock();
        if history.replid != replid {
            log::notice("Master replication ID changed to the new one");
            let old = std::mem::replace(&mut history.replid, replid);
            history.replid2 = old;
            history.second_offset = self.server.log.end() as i64 + 1;
            drop(history);
            // They come back at once, and learn the new name.
            let replication = &self.server.replication;
            replication.kill(self.server, replication.replica_ids().into_iter());
        }
    }

    /// Gives the link to IO thread 0, which applies the stream.
    fn hand_over(&self, wire: Wire<'_>, mut leftover: Vec<u8>, host: &str, port: u16) -> io::Result<()> {
        let server = self.server;
        leftover.extend_from_slice(wire.buffer());
        let stream = wire.into_inner().stream;
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        let local = stream.local_addr()?.to_string();
        stream.set_nonblocking(true)?;
        let socket = Socket::Tcp(mio::net::TcpStream::from_std(stream));
        let mut session =
            Session::new(server.next_client_id(), format!("{host}:{port}"), local, clock::now_ms());
        session.flags = SessionFlags::MASTER | SessionFlags::AUTHENTICATED;
        session.db = server.replication.stream_db.load(Ordering::Relaxed);
        let id = session.id;
        let mut conn = Box::new(Conn::new(socket, session));
        conn.input = leftover;
        conn.master = Some(Box::default());
        let ack = super::acknowledgement(server);
        write_command(&mut conn.output, ack.iter().map(String::as_bytes));
        let mut target = server.replication.target.lock();
        if target.generation != self.generation {
            return Err(fault("the master to follow has changed"));
        }
        target.link = Some(id);
        server.replication.link_up.store(true, Ordering::Relaxed);
        server.replication.ever_synced.store(true, Ordering::Relaxed);
        server.stats.connected.fetch_add(1, Ordering::Relaxed);
        server.post(0, Mail::Connection(conn));
        Ok(())
    }
}

/// Connects from the address `source` names, or from wherever the system likes when that is empty or cannot be used.
fn connect(address: SocketAddr, source: &str, timeout: Duration) -> io::Result<TcpStream> {
    let Some(ip) = (!source.is_empty()).then(|| crate::net::bind_address(source)).transpose()? else {
        return TcpStream::connect_timeout(&address, timeout);
    };
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(ip, 0).into())?;
    socket.connect_timeout(&address.into(), timeout)?;
    Ok(socket.into())
}
