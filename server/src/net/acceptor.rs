//! The acceptor: one thread that takes connections and deals them out to the IO threads.

use super::conn::{Conn, Socket};
use super::io_thread::refusal;
use super::mailbox::Mail;
use crate::clock;
use crate::config::Settings;
use crate::exec::{Session, SessionFlags};
use crate::server::Server;
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token};
use protocol::ReplyError;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The sockets the server listens on.
pub struct Listeners {
    tcp: Vec<TcpListener>,
    unix: Option<UnixListener>,
}

impl Listeners {
    /// Binds every address of `bind`; one that starts with `-` may be missing on this machine.
    pub fn bind(settings: &Settings) -> io::Result<Listeners> {
        let mut tcp = Vec::new();
        if settings.port != 0 {
            for name in &settings.bind {
                let (name, optional) =
                    name.strip_prefix('-').map_or((name.as_str(), false), |name| (name, true));
                match listen(bind_address(name)?, settings) {
                    Ok(listener) => tcp.push(TcpListener::from_std(listener)),
                    Err(error) if optional && is_absent(&error) => {}
                    Err(error) => {
                        let text = format!("Failed listening on port {} (tcp), aborting.", settings.port);
                        crate::log::warning(&format!(
                            "Warning: Could not create server TCP listening socket {name}:{}: {error}",
                            settings.port
                        ));
                        return Err(io::Error::new(error.kind(), text));
                    }
                }
            }
        }
        let unix = if settings.unixsocket.is_empty() {
            None
        } else {
            let _ = std::fs::remove_file(&settings.unixsocket);
            Some(UnixListener::bind(&settings.unixsocket)?)
        };
        Ok(Listeners { tcp, unix })
    }
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

/// The address, or its whole family, does not exist here.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || matches!(
            error.raw_os_error(),
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOPROTOOPT)
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
pub fn accept_forever(server: &Arc<Server>, mut listeners: Listeners) -> io::Result<()> {
    const UNIX: Token = Token(usize::MAX);
    let mut poll = Poll::new()?;
    for (i, listener) in listeners.tcp.iter_mut().enumerate() {
        poll.registry().register(listener, Token(i), Interest::READABLE)?;
    }
    if let Some(listener) = &mut listeners.unix {
        poll.registry().register(listener, UNIX, Interest::READABLE)?;
    }
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
                let accepted = match event.token() {
                    UNIX => listeners.unix.as_ref().expect("it has an event").accept().map(|(stream, _)| {
                        let path = server.config.settings().unixsocket.clone();
                        (Socket::Unix(stream), format!("{path}:0"), format!("{path}:0"), None)
                    }),
                    Token(i) => listeners.tcp[i].accept().map(|(stream, peer)| {
                        let local = stream.local_addr().map_or(String::new(), |addr| addr.to_string());
                        (Socket::Tcp(stream), peer.to_string(), local, Some(peer.ip()))
                    }),
                };
                match accepted {
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
