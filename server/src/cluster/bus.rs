//! The bus thread: tokio gives the machine its sockets and its clock.

use super::outgoing::Waiting;
use super::{Cluster, bus_port};
use crate::clock;
use crate::config::Settings;
use crate::log;
use crate::server::Server;
use cluster_bus::wire::Deframer;
use cluster_bus::{Action, Event, LinkId, MasterLink, NodeIp, ReplicationFacts};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Stock's cadence.
const TICK: Duration = Duration::from_millis(100);
/// A frame longer than this is not believed.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Bytes waiting to be sent on a link, after which it is given up, where `cluster-link-sendbuf-limit` sets no limit.
const PENDING_BYTES_MAX: usize = 256 << 20;

/// Room that a link has for what arrives.
const READ_BYTES: usize = 16 * 1024;
/// What a link takes, besides what waits to be sent on it.
pub const LINK_BYTES: usize = READ_BYTES + size_of::<Link>();

/// What a link's task tells the thread.
enum FromLink {
    Up,
    Frame(Vec<u8>),
    Refused,
    Down,
}

/// A link that is up or on its way.
struct Link {
    frames: mpsc::UnboundedSender<Arc<[u8]>>,
    waiting: Arc<Waiting>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs the bus until the process ends.
pub fn run(server: &Arc<Server>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Some(cluster) = &server.cluster else { return Ok(()) };
    runtime.block_on(Bus::new(server, cluster)?.serve())
}

/// Binds the bus port on every address clients are served on.
fn listeners(settings: &Settings) -> io::Result<Vec<TcpListener>> {
    let port = bus_port(settings);
    crate::net::bind_each(settings, port, "cluster", |ip| listen(SocketAddr::new(ip, port)))
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if addr.is_ipv6() {
        socket2::SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(511)
}

struct Bus<'s> {
    server: &'s Arc<Server>,
    cluster: &'s Cluster,
    actions: mpsc::UnboundedReceiver<Action>,
    links: HashMap<LinkId, Link>,
    from_links: mpsc::UnboundedReceiver<(LinkId, FromLink)>,
    to_thread: mpsc::UnboundedSender<(LinkId, FromLink)>,
    accepted: u64,
}

impl<'s> Bus<'s> {
    fn new(server: &'s Arc<Server>, cluster: &'s Cluster) -> io::Result<Bus<'s>> {
        let actions = cluster.bus_end.lock().take().ok_or(io::ErrorKind::AlreadyExists)?;
        let (to_thread, from_links) = mpsc::unbounded_channel();
        Ok(Bus { server, cluster, actions, links: HashMap::new(), from_links, to_thread, accepted: 0 })
    }

    async fn serve(mut self) -> io::Result<()> {
        let (to_accepted, mut accepted) = mpsc::channel(64);
        for listener in listeners(&self.server.settings())? {
            let to_accepted = to_accepted.clone();
            tokio::spawn(async move {
                loop {
                    match listener.accept().await {
                        Ok((stream, peer)) => {
                            if to_accepted.send((stream, peer)).await.is_err() {
                                return;
                            }
                        }
                        // Out of descriptors, most likely: peers try again.
                        Err(_) => tokio::time::sleep(TICK).await,
                    }
                }
            });
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let facts = facts(self.server);
                    self.cluster.event(Event::Replication(facts));
                    self.cluster.event(Event::Tick);
                }
                Some(action) = self.actions.recv() => self.perform(action),
                Some((link, message)) = self.from_links.recv() => self.hear(link, message),
                Some((stream, peer)) = accepted.recv() => self.accept(stream, peer),
            }
            if self.cluster.view(|machine| machine.wants_offsets()) {
                self.cluster.event(Event::Replication(facts(self.server)));
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Connect { link, ip, bus_port } => self.dial(link, &ip, bus_port),
            Action::Send { link, frame } => {
                let Some(open) = self.links.get(&link) else {
                    return self.cluster.outgoing.forget(link);
                };
                let before = open.waiting.bytes().saturating_sub(frame.len());
                let limit = match self.server.config.settings().cluster_link_sendbuf_limit_bytes {
                    0 => PENDING_BYTES_MAX,
                    limit => limit,
                };
                if before > limit {
                    self.remove(link);
                    self.cluster.event(Event::LinkOverflowed { link });
                } else if open.frames.send(frame).is_err() {
                    self.remove(link);
                    self.cluster.event(Event::LinkDown { link });
                }
            }
            Action::Close { link } => {
                self.remove(link);
            }
            Action::DeliverPublish { channel, message, sharded } => {
                self.server.publish(sharded, &channel, &message);
            }
            _ => {}
        }
    }

    fn hear(&mut self, link: LinkId, message: FromLink) {
        if !self.links.contains_key(&link) {
            return;
        }
        match message {
            FromLink::Up => self.cluster.event(Event::LinkUp { link }),
            FromLink::Frame(frame) if self.is_dropped(&frame) => {}
            FromLink::Frame(frame) => self.cluster.event(Event::Packet { link, frame: &frame }),
            FromLink::Refused => {
                self.remove(link);
                self.cluster.event(Event::ConnectRefused { link });
            }
            FromLink::Down => {
                self.remove(link);
                self.cluster.event(Event::LinkDown { link });
            }
        }
    }

    fn remove(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.cluster.outgoing.forget(link);
    }

    /// DEBUG DROP-CLUSTER-PACKET-FILTER: messages of a type, or all, never arrive.
    fn is_dropped(&self, frame: &[u8]) -> bool {
        match self.server.switches.dropped_bus_messages.load(Ordering::Relaxed) {
            -1 => false,
            -2 => true,
            kind => cluster_bus::wire::raw_type(frame).is_some_and(|raw| i32::from(raw) == kind),
        }
    }

    fn dial(&mut self, link: LinkId, ip: &NodeIp, port: u16) {
        let Ok(ip) = ip.as_str().parse::<IpAddr>() else {
            self.cluster.event(Event::LinkDown { link });
            return;
        };
        let timeout = Duration::from_millis(self.server.settings().cluster_node_timeout_ms.max(500));
        let address = SocketAddr::new(ip, port);
        self.start(link, move |to_thread| async move {
            match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let _ = to_thread.send((link, FromLink::Up));
                    Some(stream)
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    let _ = to_thread.send((link, FromLink::Refused));
                    None
                }
                _ => {
                    let _ = to_thread.send((link, FromLink::Down));
                    None
                }
            }
        });
    }

    fn accept(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        self.accepted += 1;
        let link = LinkId::incoming(self.accepted);
        let (peer_ip, local_ip) =
            (NodeIp::from(peer.ip().to_canonical()), NodeIp::from(local.ip().to_canonical()));
        self.start(link, move |_| async move { Some(stream) });
        self.cluster.event(Event::IncomingOpened { link, peer_ip, local_ip });
    }

    /// Starts the task of a link: `open` gives the socket, then frames go both ways until it ends.
    fn start<F>(&mut self, link: LinkId, open: impl FnOnce(mpsc::UnboundedSender<(LinkId, FromLink)>) -> F)
    where
        F: Future<Output = Option<TcpStream>> + Send + 'static,
    {
        let (frames, to_send) = mpsc::unbounded_channel();
        let waiting = self.cluster.outgoing.of(link);
        let to_thread = self.to_thread.clone();
        let opened = open(to_thread.clone());
        let unsent = waiting.clone();
        let task = tokio::spawn(async move {
            let Some(stream) = opened.await else { return };
            let _ = stream.set_nodelay(true);
            if let Err(error) = carry(link, stream, to_send, &unsent, &to_thread).await {
                log::debug(&format!("I/O error on a cluster link: {error}"));
            }
            let _ = to_thread.send((link, FromLink::Down));
        });
        self.links.insert(link, Link { frames, waiting, task });
    }
}

/// Carries frames both ways until the link ends.
async fn carry(
    link: LinkId,
    stream: TcpStream,
    mut to_send: mpsc::UnboundedReceiver<Arc<[u8]>>,
    waiting: &Waiting,
    to_thread: &mpsc::UnboundedSender<(LinkId, FromLink)>,
) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let read = async {
        let mut deframer = Deframer::new(FRAME_BYTES_MAX);
        let mut buf = vec![0; READ_BYTES];
        loop {
            let n = reader.read(&mut buf).await?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            deframer.push(&buf[..n]);
            while let Some(frame) = deframer.next_frame().map_err(io::Error::other)? {
                if to_thread.send((link, FromLink::Frame(frame.to_vec()))).is_err() {
                    return Ok(());
                }
            }
        }
    };
    let write = async {
        while let Some(frame) = to_send.recv().await {
            writer.write_all(&frame).await?;
            waiting.sent(frame.len());
        }
        Ok(())
    };
    tokio::select! {
        result = read => result,
        result = write => result,
    }
}

/// How replication stands, as elections go by it.
fn facts(server: &Server) -> ReplicationFacts {
    let replication = &server.replication;
    let master_link = if !replication.is_replica() || !replication.ever_synced.load(Ordering::Relaxed) {
        MasterLink::Never
    } else if replication.is_link_up() {
        MasterLink::Up {
            last_interaction_ms: replication.master_io_ms.load(Ordering::Relaxed).min(clock::now_ms()),
        }
    } else {
        MasterLink::Down { since_ms: replication.link_down_since_ms.load(Ordering::Relaxed) }
    };
    ReplicationFacts { repl_offset: server.log.end(), master_link }
}
