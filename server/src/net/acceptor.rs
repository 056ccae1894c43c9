//! The acceptor: one thread that takes connections and deals them out to the IO threads.

use super::conn::{Conn, Socket};
use super::io_thread::refusal;
use super::mail::Mail;
use crate::clock;
use crate::config::{Settings, strerror};
use crate::exec::{Session, SessionFlags};
use crate::server::Server;
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Registry, Token};
use parking_lot::Mutex;
use protocol::ReplyError;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const UNIX: Token = Token(usize::MAX);

/// The sockets the server listens on. Whoever changes them tells the acceptor's poll.
pub struct Listeners {
    registry: Registry,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    tcp: Vec<(Token, TcpListener)>,
    unix: Option<UnixListener>,
    /// Tokens are never given twice: an event may be older than its socket.
    tokens: usize,
}

impl Listeners {
    /// Binds every address of `bind`, and the Unix socket.
    pub fn bind(settings: &Settings) -> io::Result<(Listeners, Poll)> {
        let poll = Poll::new()?;
        let listeners = Listeners { registry: poll.registry().try_clone()?, open: Mutex::default() };
        listeners.listen_to(settings)?;
        if !settings.unixsocket.is_empty() {
            let _ = std::fs::remove_file(&settings.unixsocket);
            let mut unix = UnixListener::bind(&settings.unixsocket).map_err(|error| {
                let text = format!("Failed opening Unix socket: bind: {}", strerror(&error));
                io::Error::new(error.kind(), text)
            })?;
            listeners.registry.register(&mut unix, UNIX, Interest::READABLE)?;
            listeners.open.lock().unix = Some(unix);
        }
        if listeners.is_none_open() {
            return Err(io::Error::other("Configured to not listen anywhere, exiting."));
        }
        Ok((listeners, poll))
    }

    /// Listens to the port and addresses of `settings` instead of those so far. They are given up first, as the new
    /// ones may overlap with them; after an error nothing but the Unix socket is listened to.
    pub fn listen_to(&self, settings: &Settings) -> io::Result<()> {
        let mut open = self.open.lock();
        open.tcp.clear();
        for listener in bind_all(settings)? {
            let mut listener = TcpListener::from_std(listener);
            let token = Token(open.tokens);
            open.tokens += 1;
            self.registry.register(&mut listener, token, Interest::READABLE)?;
            open.tcp.push((token, listener));
        }
        Ok(())
    }

    fn is_none_open(&self) -> bool {
        let open = self.open.lock();
        open.tcp.is_empty() && open.unix.is_none()
    }

    /// Whoever comes from here on is refused.
    pub fn close(&self) {
        let mut open = self.open.lock();
        open.tcp.clear();
        open.unix = None;
    }

    /// The next connection of a listener, and the Unix socket's path where it came by that.
    fn accept(&self, token: Token, unixsocket: &str) -> io::Result<Accepted> {
        let open = self.open.lock();
        if let Some(unix) = open.unix.as_ref().filter(|_| token == UNIX) {
            let name = format!("{unixsocket}:0");
            return unix.accept().map(|(stream, _)| (Socket::Unix(stream), name.clone(), name, None));
        }
        let listener = open.tcp.iter().find(|(other, _)| *other == token);
        let (_, listener) = listener.ok_or(io::ErrorKind::WouldBlock)?;
        listener.accept().map(|(stream, peer)| {
            let local = stream.local_addr().map_or(String::new(), |addr| addr.to_string());
            (Socket::Tcp(stream), peer.to_string(), local, Some(peer.ip()))
        })
    }
}

/// A socket, the names of its peer and of our side, and the peer's address where it has one.
type Accepted = (Socket, String, String, Option<IpAddr>);

/// Sockets for every address of `bind`, where there is a port.
fn bind_all(settings: &Settings) -> io::Result<Vec<std::net::TcpListener>> {
    match settings.port {
        0 => Ok(Vec::new()),
        port => bind_each(settings, port, "tcp", |ip| listen(ip, settings)),
    }
}

/// What `listen` makes of every address of `bind`. One that starts with `-` may be missing on this machine, and so may
/// the family of any. `what` is what `port` is for.
pub fn bind_each<L>(
    settings: &Settings,
    port: u16,
    what: &str,
    listen: impl Fn(IpAddr) -> io::Result<L>,
) -> io::Result<Vec<L>> {
    let mut bound = Vec::new();
    for name in &settings.bind {
        let (name, optional) = name.strip_prefix('-').map_or((name.as_str(), false), |name| (name, true));
        match bind_address(name).and_then(&listen) {
            Ok(listener) => bound.push(listener),
            Err(error) => {
                crate::log::warning(&format!(
                    "Warning: Could not create server TCP listening socket {name}:{port}: {}",
                    failure(&error)
                ));
                if is_family_absent(&error) || optional && error.kind() == io::ErrorKind::AddrNotAvailable {
                    continue;
                }
                let text = format!("Failed listening on port {port} ({what}), aborting.");
                return Err(io::Error::new(error.kind(), text));
            }
        }
    }
    Ok(bound)
}

/// The address a word of `bind` names.
pub fn bind_address(name: &str) -> io::Result<IpAddr> {
    match name {
        "*" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        "::*" => Ok(Ipv6Addr::UNSPECIFIED.into()),
        name => match name.parse() {
            Ok(ip) => Ok(ip),
            Err(_) => std::net::ToSocketAddrs::to_socket_addrs(&(name, 0))?
                .next()
                .map(|addr| addr.ip())
                .ok_or_else(|| io::ErrorKind::NotFound.into()),
        },
    }
}

/// What went wrong, as stock puts it: what the kernel refuses it refuses to `bind`.
fn failure(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => format!("bind: {}", strerror(error)),
        None => error.to_string(),
    }
}

/// There are no addresses of this family here; `bind` may name them all the same.
fn is_family_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOPROTOOPT
                | libc::EPROTONOSUPPORT
                | libc::ESOCKTNOSUPPORT
                | libc::EPFNOSUPPORT
                | libc::EAFNOSUPPORT
        )
    )
}

fn listen(ip: IpAddr, settings: &Settings) -> io::Result<std::net::TcpListener> {
    let addr = SocketAddr::new(ip, settings.port);
    let socket = RawSocket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(settings.tcp_backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Takes connections until the process ends.
pub fn accept_forever(server: &Arc<Server>, mut poll: Poll) -> io::Result<()> {
    let listeners = server.listeners.get().expect("bound before this thread was started");
    let mut events = Events::with_capacity(16);
    let mut next_thread = 0;
    loop {
        if let Err(error) = poll.poll(&mut events, None)
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
        for event in &events {
            loop {
                match listeners.accept(event.token(), &server.config.settings().unixsocket) {
                    Ok((socket, peer, local, ip)) => {
                        if let Some(conn) = welcome(server, socket, peer, local, ip) {
                            server.post(next_thread, Mail::Connection(conn));
                            next_thread = (next_thread + 1) % server.gate.threads();
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        // Out of descriptors: the connection stays in the backlog; spinning on it helps nobody.
                        crate::log::warning(&format!("Accepting client connection: {error}"));
                        std::thread::sleep(Duration::from_millis(10));
                        break;
                    }
                }
            }
        }
    }
}

/// A connection for a socket just accepted, or nothing when it has to be turned away.
fn welcome(
    server: &Arc<Server>,
    mut socket: Socket,
    peer: String,
    local: String,
    ip: Option<IpAddr>,
) -> Option<Box<Conn>> {
    let settings = server.config.settings_shared();
    if let Socket::Tcp(stream) = &socket {
        let socket = SockRef::from(stream);
        let _ = socket.set_tcp_nodelay(true);
        if settings.tcp_keepalive_seconds > 0 {
            let every = Duration::from_secs(settings.tcp_keepalive_seconds);
            let probes = Duration::from_secs((settings.tcp_keepalive_seconds / 3).max(1));
            let keepalive = TcpKeepalive::new().with_time(every).with_interval(probes).with_retries(3);
            let _ = socket.set_tcp_keepalive(&keepalive);
        }
    }
    let refused = if server.stats.connected.load(Ordering::Relaxed) >= settings.maxclients as i64 {
        Some(ReplyError::fixed("ERR max number of clients reached"))
    } else {
        let outside = ip.is_some_and(|ip| !ip.to_canonical().is_loopback());
        (settings.protected_mode && server.acl.default.rules().needs_no_password && outside)
            .then(ReplyError::protected_mode)
    };
    if let Some(error) = refused {
        let _ = socket.write(&refusal(&error));
        server.stats.rejected_connections.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    server.stats.connected.fetch_add(1, Ordering::Relaxed);
    let mut session = Session::new(server.next_client_id(), peer, local, clock::now_ms());
    session.fd = socket.as_raw_fd();
    session.log_out(&server.acl);
    session.flags.set(SessionFlags::UNIX_SOCKET, ip.is_none());
    Some(Box::new(Conn::new(socket, session)))
}
