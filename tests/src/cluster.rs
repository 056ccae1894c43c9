//! Nodes and clusters as processes: started on free ports, each in a folder of its own, killed when dropped.
//!
//! A test waits on conditions, with a deadline: [`wait_until`]. A failed test shows the end of every node's log.

use crate::process;
use crate::resp::{Client, Value};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How far the bus port is from the clients' port.
const BUS_PORT_OFFSET: u16 = 10_000;
/// Ports of clients. Neither they nor the bus ports are among those the system gives to outgoing connections,
/// so that a node that is started again finds its ports still free.
const PORTS: std::ops::Range<u16> = 10_100..20_000;
/// How long anything may take that should happen soon. Machines that run tests are slow.
pub const SOON: Duration = Duration::from_secs(30);

#[allow(clippy::disallowed_methods)] // The tests' only clock.
pub fn now() -> Instant {
    Instant::now()
}

/// Polls until the condition holds; panics when it does not in time. Returns how long it took.
pub fn wait_until(what: &str, at_most: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let begun = now();
    while !condition() {
        assert!(now() - begun < at_most, "not within {at_most:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    now() - begun
}

/// A port that is free, as is its bus port, and that no other test of this process was given.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Test processes that run side by side look in different places.
    let mut rng = fastrand::Rng::with_seed(u64::from(std::process::id()) << 16 | taken.len() as u64);
    loop {
        let port = rng.u16(PORTS);
        // Listening to find out would leave a listener behind in a process another test is starting right now.
        let is_free = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_err();
        if !taken.contains(&port) && is_free(port) && is_free(port + BUS_PORT_OFFSET) {
            taken.insert(port);
            return port;
        }
    }
}

/// Which server a node runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Balas,
    Stock,
}

impl Kind {
    fn binary(self) -> PathBuf {
        match self {
            Kind::Balas => process::balas(),
            Kind::Stock => process::stock(),
        }
    }
}

/// A server's process. It can be killed and started again in the same folder, on the same port.
pub struct Node {
    pub kind: Kind,
    pub port: u16,
    pub folder: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// Starts a server with these directives beside port and folder, and waits until it answers.
    pub fn start(kind: Kind, directives: &[&str]) -> Node {
        let mut node = Node::spawn(kind, directives);
        node.wait_ready();
        node
    }

    fn spawn(kind: Kind, directives: &[&str]) -> Node {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("balas-e2e-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the server");
        let mut conf = format!("port {port}\nbind 127.0.0.1\ndir {}\n", folder.display());
        conf += "save \"\"\nrepl-diskless-sync-delay 0\n";
        for directive in directives {
            let _ = writeln!(conf, "{directive}");
        }
        fs::write(folder.join("redis.conf"), conf).expect("a configuration file");
        let mut node = Node { kind, port, folder, child: None };
        node.launch();
        node
    }

    /// Starts it again, and waits for nothing.
    pub fn launch(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let binary = self.kind.binary();
        let child = Command::new(&binary)
            .arg(self.folder.join("redis.conf"))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        self.child = Some(child);
    }

    /// Waits until the server answers and has its dataset.
    pub fn wait_ready(&mut self) {
        let begun = now();
        loop {
            if self.try_call(&["PING"]).is_ok_and(|reply| !reply.is_error()) {
                return;
            }
            let child = self.child.as_mut().expect("the node runs");
            if let Ok(Some(status)) = child.try_wait() {
                panic!("{:?} ended with {status}:\n{}", self.kind, self.log());
            }
            assert!(now() - begun < SOON, "{:?} on {} does not answer", self.kind, self.port);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process gone at once, as by kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The process hangs: it does nothing, but its connections stay.
    pub fn pause(&self) {
        self.signal("-STOP");
        wait_until("the process stands still", SOON, || self.threads_stand_still());
    }

    /// A signal has been sent when its sender goes on; the threads stop a little later.
    fn threads_stand_still(&self) -> bool {
        let pid = self.child.as_ref().expect("the node runs").id();
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the threads of a process");
        tasks.flatten().all(|task| {
            // The state is behind the name, which ends with the last parenthesis.
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        })
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("the node runs").id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {name} works");
    }

    /// Asks the process to end, and waits until it has.
    pub fn terminate(&mut self) {
        self.signal("-TERM");
        let Some(mut child) = self.child.take() else { return };
        wait_until("the server ends", SOON, || matches!(child.try_wait(), Ok(Some(_))));
    }

    /// Starts the process again.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        self.launch();
        self.wait_ready();
    }

    /// Starts it again as another kind of server.
    pub fn restart_as(&mut self, kind: Kind) {
        self.kind = kind;
        self.restart();
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|error| panic!("{:?} on {}: {error}", self.kind, self.port))
    }

    pub fn try_call<T: AsRef<[u8]>>(&self, argv: &[T]) -> io::Result<Value> {
        Client::connect(self.port)?.call(argv)
    }

    /// Calls a command on a connection of its own.
    pub fn call<T: AsRef<[u8]>>(&self, argv: &[T]) -> Value {
        self.client().call(argv).unwrap_or_else(|error| panic!("{:?} on {}: {error}", self.kind, self.port))
    }

    /// As [`Node::call`], the reply as text; an error begins with `-`.
    pub fn ask<T: AsRef<[u8]>>(&self, argv: &[T]) -> String {
        text(&self.call(argv))
    }

    /// Calls a command that must answer OK.
    pub fn ok<T: AsRef<[u8]>>(&self, argv: &[T]) {
        let words: Vec<_> =
            argv.iter().map(|arg| String::from_utf8_lossy(arg.as_ref()).into_owned()).collect();
        assert_eq!(self.ask(argv), "OK", "{} on {}", words.join(" "), self.port);
    }

    /// A field of INFO or CLUSTER INFO; empty when it is not there.
    pub fn field(&self, section: &str, name: &str) -> String {
        let reply = match section {
            "cluster" => self.try_call(&["CLUSTER", "INFO"]),
            section => self.try_call(&["INFO", section]),
        };
        let all = reply.map(|reply| text(&reply)).unwrap_or_default();
        let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    }

    pub fn number(&self, section: &str, name: &str) -> i64 {
        self.field(section, name).parse().unwrap_or(-1)
    }

    pub fn id(&self) -> String {
        self.ask(&["CLUSTER", "MYID"])
    }

    pub fn is_master(&self) -> bool {
        self.field("replication", "role") == "master"
    }

    /// The cluster as this node sees it.
    pub fn view(&self) -> Vec<NodeLine> {
        let lines = self.try_call(&["CLUSTER", "NODES"]).map(|reply| text(&reply)).unwrap_or_default();
        lines.lines().map(NodeLine::parse).collect()
    }

    pub fn myself(&self) -> NodeLine {
        self.view().into_iter().find(|line| line.has("myself")).expect("a node knows itself")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(40);
            let mut end = String::new();
            for line in log.lines().skip(from) {
                let _ = writeln!(end, "    {line}");
            }
            eprintln!("the log of {:?} on {} ends with\n{end}", self.kind, self.port);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A line of CLUSTER NODES.
#[derive(Clone, Debug)]
pub struct NodeLine {
    pub id: String,
    pub port: u16,
    pub flags: Vec<String>,
    pub master: String,
    pub epoch: u64,
    pub link: String,
    pub slots: Vec<String>,
}

impl NodeLine {
    fn parse(line: &str) -> NodeLine {
        let words: Vec<&str> = line.split(' ').collect();
        let port = words[1].split('@').next().and_then(|address| address.rsplit(':').next()?.parse().ok());
        NodeLine {
            id: words[0].to_owned(),
            port: port.unwrap_or(0),
            flags: words[2].split(',').map(str::to_owned).collect(),
            master: words[3].to_owned(),
            epoch: words[6].parse().unwrap_or(0),
            link: words[7].to_owned(),
            slots: words[8..].iter().map(|&slots| slots.to_owned()).collect(),
        }
    }

    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }
}

/// A reply as text; an error begins with `-`, an array is one item a line.
pub fn text(value: &Value) -> String {
    match value {
        Value::Line(b'-', line) => format!("-{}", String::from_utf8_lossy(line)),
        Value::Line(_, line) => String::from_utf8_lossy(line).into_owned(),
        Value::Blob(b'=', body) => String::from_utf8_lossy(body.get(4..).unwrap_or_default()).into_owned(),
        Value::Blob(_, body) => String::from_utf8_lossy(body).into_owned(),
        Value::List(_, items) => items.iter().map(text).collect::<Vec<_>>().join("\n"),
    }
}

/// A cluster's nodes.
pub struct Cluster {
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Starts nodes that do not know each other yet.
    pub fn start(kinds: &[Kind], directives: &[&str]) -> Cluster {
        let mut all = vec!["cluster-enabled yes", "cluster-node-timeout 2000"];
        all.extend(directives);
        let mut nodes: Vec<Node> = kinds.iter().map(|&kind| Node::spawn(kind, &all)).collect();
        nodes.iter_mut().for_each(Node::wait_ready);
        Cluster { nodes }
    }

    /// Six nodes of ours: three masters, and node `n + 3` a replica of node `n`.
    pub fn of_six(directives: &[&str]) -> Cluster {
        let cluster = Cluster::start(&[Kind::Balas; 6], directives);
        cluster.form(3);
        cluster
    }

    /// Forms the cluster by commands: the first `masters` nodes share the slots, the others follow them in turn.
    pub fn form(&self, masters: usize) {
        let per_master = 16384_usize.div_ceil(masters);
        for (n, node) in self.nodes.iter().enumerate() {
            node.ok(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            if n < masters {
                let (first, last) = (n * per_master, ((n + 1) * per_master).min(16384) - 1);
                node.ok(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            }
            if n > 0 {
                self.nodes[0].ok(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string()]);
            }
        }
        wait_until("all nodes know each other", SOON, || {
            self.nodes.iter().all(|node| {
                let view = node.view();
                view.len() == self.nodes.len() && !view.iter().any(|line| line.has("handshake"))
            })
        });
        for (n, node) in self.nodes.iter().enumerate().skip(masters) {
            node.ok(&["CLUSTER", "REPLICATE", &self.nodes[(n - masters) % masters].id()]);
        }
        self.wait_ok();
    }

    /// Forms the cluster by `redis-cli --cluster create`, in the order of the nodes.
    pub fn create(&self, replicas: usize) {
        let addresses: Vec<String> = self.nodes.iter().map(Node::address).collect();
        let mut args = vec!["--cluster", "create"];
        args.extend(addresses.iter().map(String::as_str));
        let replicas = replicas.to_string();
        args.extend(["--cluster-replicas", &replicas, "--cluster-yes"]);
        redis_cli(&args);
        self.wait_ok();
    }

    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    /// Waits until every running node finds the cluster in order, all of them agree about who is what, and
    /// every replica follows its master.
    pub fn wait_ok(&self) {
        let begun = now();
        while let Err(trouble) = self.check() {
            assert!(now() - begun < SOON, "the cluster is not in order: {trouble}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn check(&self) -> Result<(), String> {
        let mut views = BTreeSet::new();
        for node in self.running() {
            let state = node.field("cluster", "cluster_state");
            if state != "ok" || node.field("cluster", "cluster_slots_ok") != "16384" {
                return Err(format!("{} finds it {state}", node.port));
            }
            let view = node.view();
            if let Some(line) =
                view.iter().find(|line| self.of_port(line.port).is_some() && line.link != "connected")
            {
                return Err(format!("{} has no link to {}", node.port, line.port));
            }
            let mut roles: Vec<_> =
                view.iter().map(|line| (line.port, line.master.clone(), line.slots.join(" "))).collect();
            roles.sort();
            views.insert(format!("{roles:?}"));
            if !node.is_master() && node.field("replication", "master_link_status") != "up" {
                return Err(format!("{} has no link to its master", node.port));
            }
            if node.is_master() != node.myself().has("master") {
                return Err(format!("{} has not changed its role yet", node.port));
            }
        }
        if views.len() == 1 { Ok(()) } else { Err(format!("the views differ: {views:#?}")) }
    }

    fn of_port(&self, port: u16) -> Option<&Node> {
        self.running().find(|node| node.port == port)
    }

    /// The index of the node that runs as the master of the slot of `key`.
    pub fn owner_of(&self, key: &str) -> usize {
        let slot = protocol::slot_of(key.as_bytes()).get();
        let holds = |node: &Node| {
            node.is_running() && node.myself().slots.iter().any(|range| holds_slot(range, slot))
        };
        self.nodes.iter().position(holds).expect("every slot has an owner")
    }

    /// The ports of all nodes, running or not.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// Waits until `replica` has become a master and its shard is in order. Returns how long that took.
    pub fn wait_promoted(&self, replica: usize, at_most: Duration) -> Duration {
        wait_until("the replica is promoted", at_most, || {
            let node = &self.nodes[replica];
            node.is_master() && node.myself().has("master") && !node.myself().slots.is_empty()
        })
    }
}

fn holds_slot(range: &str, slot: u16) -> bool {
    if range.starts_with('[') {
        return false;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().expect("a slot");
    (number(first)..=number(last)).contains(&slot)
}

/// Runs stock's redis-cli, which must succeed. Returns what it said.
pub fn redis_cli(args: &[&str]) -> String {
    let output = try_redis_cli(args);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "redis-cli {}\n{said}{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Runs stock's redis-cli, saying yes to the one question that `--cluster-yes` does not answer.
pub fn try_redis_cli(args: &[&str]) -> Output {
    let mut child = Command::new("redis-cli")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli is there");
    if let Some(mut stdin) = child.stdin.take().filter(|_| args.contains(&"fix")) {
        let _ = io::Write::write_all(&mut stdin, b"yes\n");
    }
    child.wait_with_output().expect("redis-cli ends")
}
