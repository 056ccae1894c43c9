//! A machine on real sockets, and a stock server beside it.
#![allow(clippy::disallowed_methods, reason = "this is the adapter that reads the clock")]

use balas_cluster_bus::wire::Deframer;
use balas_cluster_bus::{Action, Config, Cx, Event, LinkId, Machine, MasterLink, NodeIp, ReplicationFacts};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The stock server: Debian's, or the one `BALAS_STOCK` names.
pub fn stock_path() -> String {
    std::env::var("BALAS_STOCK").unwrap_or_else(|_| "/usr/bin/redis-server".to_owned())
}

/// Timeout of all nodes in these tests.
pub const NODE_TIMEOUT_MS: i64 = 2000;

pub fn stock_is_here() -> bool {
    let here = std::path::Path::new(&stock_path()).exists();
    if !here {
        eprintln!("skipped: {} is not installed", stock_path());
    }
    here
}

/// A client port whose bus port is free as well.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 21_000 + (std::process::id() % 1000) as u16 * 20;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed);
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A stock server in a folder of its own, killed when dropped.
pub struct Stock {
    child: Child,
    pub port: u16,
    pub dir: PathBuf,
}

impl Stock {
    pub fn start(extra: &[&str]) -> Stock {
        let port = free_port();
        let dir = std::env::temp_dir().join(format!("balas-bus-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Stock::start_in(dir, port, extra)
    }

    pub fn start_in(dir: PathBuf, port: u16, extra: &[&str]) -> Stock {
        let child = Command::new(stock_path())
            .args(["--port", &port.to_string(), "--cluster-enabled", "yes", "--save", ""])
            .args(["--cluster-node-timeout", &NODE_TIMEOUT_MS.to_string(), "--logfile", "log"])
            .args(["--bind", "127.0.0.1", "--cluster-replica-validity-factor", "0"])
            .args(extra)
            .arg("--dir")
            .arg(&dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stock = Stock { child, port, dir };
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "stock server does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        stock
    }

    /// Runs a command and gives the reply as text, errors included.
    pub fn run(&self, command: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "{command}\r\nQUIT\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let reply = reply.strip_suffix("+OK\r\n").unwrap_or(&reply);
        match reply.split_once("\r\n") {
            Some((head, body)) if head.starts_with('$') => body.trim_end().to_owned(),
            _ => reply.trim_end().to_owned(),
        }
    }

    pub fn ok(&self, command: &str) {
        assert_eq!(self.run(command), "+OK", "{command}");
    }

    pub fn id(&self) -> String {
        self.run("CLUSTER MYID")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

struct Connection {
    stream: TcpStream,
    deframer: Deframer,
    unsent: Vec<u8>,
}

/// A machine with sockets, driven by [`Live::poll`].
pub struct Live {
    pub machine: Machine,
    pub port: u16,
    pub rng: fastrand::Rng,
    pub facts: ReplicationFacts,
    /// Every action but messages and dials, in order.
    pub seen: Vec<Action>,
    /// Frames received.
    pub frames: Vec<Vec<u8>>,
    listener: TcpListener,
    connections: HashMap<LinkId, Connection>,
    incoming: u64,
    last_tick_ms: i64,
}

impl Live {
    pub fn start(seed: u64) -> Live {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port + 10_000)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let config =
            Config { tcp_port: port, bus_port: port + 10_000, ..Config::for_node_timeout(NODE_TIMEOUT_MS) };
        // Node ids must differ between nodes and between test processes.
        let mut rng =
            fastrand::Rng::with_seed((u64::from(std::process::id()) << 32) + (seed << 16) + u64::from(port));
        let mut out = Vec::new();
        let machine = Machine::new(&mut Cx::new(now_ms(), &mut rng, &mut out), config);
        Live {
            machine,
            port,
            rng,
            facts: ReplicationFacts::default(),
            seen: out,
            frames: Vec::new(),
            listener,
            connections: HashMap::new(),
            incoming: 0,
            last_tick_ms: 0,
        }
    }

    pub fn id(&self) -> String {
        self.machine.my_id().to_string()
    }

    /// Calls the machine and carries out what it says.
    pub fn call<T>(&mut self, f: impl FnOnce(&mut Machine, &mut Cx<'_>) -> T) -> T {
        let mut out = Vec::new();
        let result = f(&mut self.machine, &mut Cx::new(now_ms(), &mut self.rng, &mut out));
        out.into_iter().for_each(|action| self.carry_out(action));
        result
    }

    fn step(&mut self, event: Event<'_>) {
        self.call(|machine, cx| machine.step(cx, event));
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Connect { link, ip, bus_port } => self.connect(link, ip, bus_port),
            Action::Send { link, frame } => {
                if let Some(connection) = self.connections.get_mut(&link) {
                    connection.unsent.extend_from_slice(&frame);
                }
            }
            Action::Close { link } => {
                self.connections.remove(&link);
            }
            Action::PauseWrites { .. } => {
                let repl_offset = self.facts.repl_offset;
                self.step(Event::WritesPaused { repl_offset });
            }
            Action::ReplicateFrom { .. } => {
                self.facts.master_link = MasterLink::Up { last_interaction_ms: now_ms() };
                self.seen.push(action);
            }
            other => self.seen.push(other),
        }
    }

    fn connect(&mut self, link: LinkId, ip: NodeIp, bus_port: u16) {
        let address = SocketAddr::new(ip.as_str().parse().unwrap(), bus_port);
        match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            Ok(stream) => {
                self.adopt(link, stream);
                self.step(Event::LinkUp { link });
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.step(Event::ConnectRefused { link });
            }
            Err(_) => self.step(Event::LinkDown { link }),
        }
    }

    fn adopt(&mut self, link: LinkId, stream: TcpStream) {
        stream.set_nonblocking(true).unwrap();
        let connection = Connection { stream, deframer: Deframer::default(), unsent: Vec::new() };
        self.connections.insert(link, connection);
    }

    /// What the machine logged.
    pub fn log(&self) -> String {
        let line = |action: &Action| match action {
            Action::Log { level, text } => Some(format!("{level:?} {text}\n")),
            _ => None,
        };
        self.seen.iter().filter_map(line).collect()
    }

    /// Moves whatever can be moved without waiting.
    pub fn poll(&mut self) {
        while let Ok((stream, peer)) = self.listener.accept() {
            self.incoming += 1;
            let link = LinkId::incoming(self.incoming);
            let local_ip = stream.local_addr().unwrap().ip().into();
            self.adopt(link, stream);
            self.step(Event::IncomingOpened { link, peer_ip: peer.ip().into(), local_ip });
        }
        if now_ms() - self.last_tick_ms >= 100 {
            self.last_tick_ms = now_ms();
            if let MasterLink::Up { last_interaction_ms } = &mut self.facts.master_link {
                *last_interaction_ms = now_ms();
            }
            let facts = self.facts;
            self.step(Event::Replication(facts));
            self.step(Event::Tick);
        }
        let links: Vec<LinkId> = self.connections.keys().copied().collect();
        links.into_iter().for_each(|link| self.pump(link));
    }

    fn pump(&mut self, link: LinkId) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        let mut buffer = [0; 16 * 1024];
        let mut open = true;
        loop {
            match connection.stream.read(&mut buffer) {
                Ok(0) => open = false,
                Ok(n) => {
                    connection.deframer.push(&buffer[..n]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => open = false,
            }
            break;
        }
        let mut frames = Vec::new();
        while let Some(frame) = connection.deframer.next_frame().unwrap() {
            frames.push(frame.to_vec());
        }
        for frame in frames {
            self.step(Event::Packet { link, frame: &frame });
            self.frames.push(frame);
        }
        if let Some(connection) = self.connections.get_mut(&link) {
            match connection.stream.write(&connection.unsent) {
                Ok(n) => drop(connection.unsent.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => open = false,
            }
        }
        if !open && self.connections.remove(&link).is_some() {
            self.step(Event::LinkDown { link });
        }
    }
}

/// Drives the nodes until `done` holds, which is asked now and then.
pub fn drive_until(what: &str, nodes: &mut [Live], mut done: impl FnMut(&[Live]) -> bool) {
    let started = Instant::now();
    let mut asked = Instant::now();
    loop {
        nodes.iter_mut().for_each(Live::poll);
        if asked.elapsed() > Duration::from_millis(50) {
            asked = Instant::now();
            if done(nodes) {
                return;
            }
        }
        if started.elapsed() > Duration::from_secs(40) {
            let views: Vec<String> = nodes.iter().map(|node| node.machine.nodes_text(false)).collect();
            let logs: Vec<String> = nodes.iter().map(Live::log).collect();
            panic!("waited in vain until {what}\n{}\n{}", views.join("\n---\n"), logs.join("\n---\n"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
