//! Machines, their disks and servers, and the event queue.

use super::check::{Checker, Violation};
use super::net::{Delays, End, Host, Network};
use crate::{
    Action, Config, Cx, Event, LinkId, Machine, MasterLink, NodeFlags, NodeId, NodeIp, NodesConf,
    RefusalEvidence, ReplicationFacts,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// How the world behaves.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    pub hosts: usize,
    pub node_timeout_ms: i64,
    pub tick_ms: i64,
    pub delays: Delays,
    /// Of a million frames, how many break their link.
    pub breaks_per_million: u32,
    /// Of a million frames, how many arrive twice.
    pub duplicates_per_million: u32,
    pub refusal_evidence: bool,
    pub validity_factor: i64,
    /// Print what the nodes log.
    pub verbose: bool,
}

const BUS_PORT: u16 = 16379;
const CLIENT_PORT: u16 = 6379;
/// Time until an unanswered dial fails.
const DIAL_TIMEOUT_MS: i64 = 3000;
/// Virtual time starts here, so that no time is 0.
const START_MS: i64 = 1_000_000;

/// Whether a host's process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Power {
    Running,
    /// The process died; the host refuses connections.
    Crashed,
    /// The host is gone; packets to it vanish.
    Dark,
}

/// nodes.conf on disk: what is sure to survive, and what may.
#[derive(Default)]
struct Disk {
    durable: String,
    written: Option<String>,
}

/// The replication half of a server, as far as the bus cares.
#[derive(Default)]
struct Server {
    offset: u64,
    follows: Option<NodeId>,
    link: MasterLink,
    paused: bool,
}

pub(super) struct Node {
    pub machine: Option<Machine>,
    pub id: NodeId,
    pub power: Power,
    pub stalled_until_ms: i64,
    life: u32,
    ip: NodeIp,
    incoming: u64,
    disk: Disk,
    server: Server,
    rng: fastrand::Rng,
}

enum What {
    Tick { host: Host, life: u32 },
    Dialled { connection: u64 },
    DialTimeout { connection: u64 },
    Arrival { connection: u64, sender: usize },
    Broken { host: Host, life: u32, link: LinkId },
    Paused { host: Host, life: u32 },
}

struct Due {
    at_ms: i64,
    serial: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.at_ms, self.serial) == (other.at_ms, other.serial)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at_ms, self.serial).cmp(&(other.at_ms, other.serial))
    }
}

/// The simulated cluster.
pub struct World {
    pub config: WorldConfig,
    pub now_ms: i64,
    pub rng: fastrand::Rng,
    pub network: Network,
    pub checker: Checker,
    /// Steps taken by all machines.
    pub steps: u64,
    pub(super) nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<Due>>,
    serial: u64,
    violation: Option<Violation>,
}

impl World {
    /// Hosts that know nobody.
    pub fn new(seed: u64, config: WorldConfig) -> World {
        let mut world = World {
            now_ms: START_MS,
            rng: fastrand::Rng::with_seed(seed),
            network: Network::default(),
            checker: Checker::default(),
            steps: 0,
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            serial: 0,
            violation: None,
            config,
        };
        for host in 0..world.config.hosts {
            let mut rng = world.rng.fork();
            let id = NodeId::random(&mut rng);
            world.nodes.push(Node {
                machine: None,
                id,
                power: Power::Crashed,
                stalled_until_ms: 0,
                life: 0,
                ip: NodeIp::EMPTY,
                incoming: 0,
                disk: Disk::default(),
                server: Server::default(),
                rng,
            });
            world.move_host(host);
            world.boot(host);
        }
        world
    }

    fn machine_config(&self) -> Config {
        let evidence = RefusalEvidence::for_node_timeout(self.config.node_timeout_ms);
        Config {
            node_timeout_ms: self.config.node_timeout_ms,
            refusal_evidence: self.config.refusal_evidence.then_some(evidence),
            replica_validity_factor: self.config.validity_factor,
            tcp_port: CLIENT_PORT,
            bus_port: BUS_PORT,
            ..Config::default()
        }
    }

    /// Gives a host an address nobody had before.
    pub(super) fn move_host(&mut self, host: Host) {
        self.network.addresses.retain(|_, other| *other != host);
        self.serial += 1;
        let [_, b, c, d] = (self.serial as u32).to_be_bytes();
        let ip = NodeIp::from(std::net::IpAddr::from([10, b, c, d]));
        self.nodes[host].ip = ip;
        self.network.addresses.insert((ip, BUS_PORT), host);
    }

    pub(super) fn ip(&self, host: Host) -> NodeIp {
        self.nodes[host].ip
    }

    pub(super) fn is_running(&self, host: Host) -> bool {
        self.nodes[host].power == Power::Running
    }

    pub(super) fn machine(&self, host: Host) -> Option<&Machine> {
        self.nodes[host].machine.as_ref()
    }

    pub(super) fn host_of(&self, id: &NodeId) -> Option<Host> {
        self.nodes.iter().position(|node| node.id == *id)
    }

    /// Starts a host's process from what its disk holds.
    pub(super) fn boot(&mut self, host: Host) {
        if self.is_running(host) {
            return;
        }
        let config = self.machine_config();
        let (now_ms, tick_ms) = (self.now_ms, self.config.tick_ms);
        let node = &mut self.nodes[host];
        node.life += 1;
        node.power = Power::Running;
        node.stalled_until_ms = 0;
        node.server.link = MasterLink::Never;
        node.server.follows = None;
        node.server.paused = false;
        let life = node.life;
        let mut out = Vec::new();
        let mut cx = Cx::new(now_ms, &mut node.rng, &mut out);
        let machine = if node.disk.durable.is_empty() {
            Machine::new(&mut cx, config)
        } else {
            match NodesConf::parse(node.disk.durable.as_bytes(), false) {
                Ok(conf) => Machine::restore(&mut cx, config, &conf),
                Err(error) => return self.fail("nodes-conf", format!("node {host}: {error}")),
            }
        };
        node.id = machine.my_id();
        node.machine = Some(machine);
        let first_tick_ms = self.rng.i64(0..tick_ms);
        self.push(first_tick_ms, What::Tick { host, life });
        self.carry_out(host, out);
    }

    /// Replaces what a host remembers, before its first tick. For clusters too large to be met one by one.
    pub(super) fn impose(&mut self, host: Host, conf: &NodesConf) {
        self.crash(host, Power::Crashed);
        self.nodes[host].disk = Disk { durable: conf.text(false), written: None };
        self.boot(host);
    }

    /// Ends a host's process. What was written but not synced survives or not.
    pub(super) fn crash(&mut self, host: Host, how: Power) {
        if !self.is_running(host) {
            return;
        }
        let node = &mut self.nodes[host];
        node.machine = None;
        node.power = how;
        let written = node.disk.written.take();
        if let Some(written) = written.filter(|_| self.rng.bool()) {
            self.nodes[host].disk.durable = written;
        }
        self.checker.crashed(host);
        for id in self.network.of_host(host) {
            let Some(connection) = self.network.close(id) else { continue };
            if how == Power::Crashed {
                self.tell_broken(
                    connection.ends.into_iter().flatten().filter(|end| end.host != host).collect(),
                );
            } else {
                // Peers of a dark host hear nothing; their ends hang until they give up.
                let survivors = connection.ends.into_iter().flatten().filter(|end| end.host != host);
                for end in survivors {
                    let ghost = self.network.open(end, connection.target);
                    self.push(DIAL_TIMEOUT_MS * 10, What::DialTimeout { connection: ghost });
                }
            }
        }
    }

    fn tell_broken(&mut self, ends: Vec<End>) {
        for end in ends {
            let delay_ms = self.delay();
            self.push(delay_ms, What::Broken { host: end.host, life: end.life, link: end.link });
        }
    }

    fn delay(&mut self) -> i64 {
        let Delays { min_ms, max_ms } = self.config.delays;
        self.rng.i64(min_ms..=max_ms)
    }

    fn push(&mut self, delay_ms: i64, what: What) {
        self.serial += 1;
        self.queue.push(Reverse(Due { at_ms: self.now_ms + delay_ms, serial: self.serial, what }));
    }

    /// Runs until the given time, or the first violation.
    pub fn run_until(&mut self, until_ms: i64) -> Result<(), Violation> {
        while let Some(Reverse(due)) = self.queue.peek() {
            if due.at_ms > until_ms {
                break;
            }
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.now_ms = self.now_ms.max(due.at_ms);
            self.handle(due.what);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.now_ms = self.now_ms.max(until_ms);
        Ok(())
    }

    /// Runs for some time.
    pub fn run_for(&mut self, duration_ms: i64) -> Result<(), Violation> {
        self.run_until(self.now_ms + duration_ms)
    }

    fn handle(&mut self, what: What) {
        if let Some(host) = self.receiver(&what) {
            let resumes_ms = self.nodes[host].stalled_until_ms;
            if resumes_ms > self.now_ms {
                return self.push(resumes_ms - self.now_ms, what);
            }
        }
        match what {
            What::Tick { host, life } => self.tick(host, life),
            What::Dialled { connection } => self.dialled(connection),
            What::DialTimeout { connection } => self.dial_failed(connection, false),
            What::Arrival { connection, sender } => self.arrive(connection, sender),
            What::Broken { host, life, link } => {
                if self.nodes[host].life == life {
                    self.step(host, Event::LinkDown { link });
                }
            }
            What::Paused { host, life } => {
                if self.nodes[host].life == life {
                    self.nodes[host].server.paused = true;
                    let repl_offset = self.nodes[host].server.offset;
                    self.step(host, Event::WritesPaused { repl_offset });
                }
            }
        }
    }

    /// The host that must be awake for this.
    fn receiver(&self, what: &What) -> Option<Host> {
        match what {
            What::Tick { host, .. } | What::Broken { host, .. } | What::Paused { host, .. } => Some(*host),
            What::Arrival { connection, sender } => {
                self.network.connections.get(connection)?.ends[1 - sender].map(|end| end.host)
            }
            What::Dialled { .. } | What::DialTimeout { .. } => None,
        }
    }

    fn tick(&mut self, host: Host, life: u32) {
        if self.nodes[host].life != life || !self.is_running(host) {
            return;
        }
        self.replicate(host);
        let server = &self.nodes[host].server;
        let facts = ReplicationFacts { repl_offset: server.offset, master_link: server.link };
        self.step(host, Event::Replication(facts));
        self.step(host, Event::Tick);
        self.push(self.config.tick_ms, What::Tick { host, life });
    }

    /// A master produces a stream; a replica has what its master has, as long as it reaches it.
    fn replicate(&mut self, host: Host) {
        let now_ms = self.now_ms;
        let Some(follows) = self.nodes[host].server.follows else {
            let server = &mut self.nodes[host].server;
            server.offset += u64::from(!server.paused) * 10;
            return;
        };
        let source = self.host_of(&follows).filter(|&source| {
            let stalled = self.nodes[source].stalled_until_ms > now_ms;
            self.is_running(source) && !stalled && self.network.can_talk(host, source)
        });
        match source {
            Some(source) => {
                let offset = self.nodes[source].server.offset;
                let server = &mut self.nodes[host].server;
                server.offset = offset;
                server.link = MasterLink::Up { last_interaction_ms: now_ms };
            }
            None => {
                let server = &mut self.nodes[host].server;
                if let MasterLink::Up { last_interaction_ms } = server.link {
                    server.link = MasterLink::Down { since_ms: last_interaction_ms };
                }
            }
        }
    }

    fn dialled(&mut self, id: u64) {
        let Some(connection) = self.network.connections.get(&id) else { return };
        let [Some(dialler), None] = connection.ends else { return };
        let target = self.network.addresses.get(&connection.target).copied();
        let Some(target) = target.filter(|target| self.network.can_talk(dialler.host, *target)) else {
            return;
        };
        match self.nodes[target].power {
            Power::Dark => {}
            Power::Crashed => self.dial_failed(id, true),
            Power::Running => self.accept(id, dialler, target),
        }
    }

    fn accept(&mut self, id: u64, dialler: End, target: Host) {
        let node = &mut self.nodes[target];
        node.incoming += 1;
        let link = LinkId::incoming(node.incoming);
        let end = End { host: target, life: node.life, link };
        if let Some(connection) = self.network.connections.get_mut(&id) {
            connection.ends[1] = Some(end);
        }
        self.network.by_link.insert((target, link), id);
        let (peer_ip, local_ip) = (self.ip(dialler.host), self.ip(target));
        self.step(target, Event::IncomingOpened { link, peer_ip, local_ip });
        self.step(dialler.host, Event::LinkUp { link: dialler.link });
    }

    fn dial_failed(&mut self, id: u64, refused: bool) {
        let unanswered = self.network.connections.get(&id).is_some_and(|c| c.ends[1].is_none());
        if !unanswered {
            return;
        }
        let Some(connection) = self.network.close(id) else { return };
        let Some(dialler) = connection.ends[0] else { return };
        let link = dialler.link;
        if self.nodes[dialler.host].life == dialler.life {
            let event = if refused { Event::ConnectRefused { link } } else { Event::LinkDown { link } };
            self.step(dialler.host, event);
        }
    }

    fn arrive(&mut self, id: u64, sender: usize) {
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        let [Some(from), Some(to)] = [connection.ends[sender], connection.ends[1 - sender]] else { return };
        if self.network.blocked.contains(&(from.host, to.host)) {
            // Retransmission: try again later, in order.
            return self.push(200, What::Arrival { connection: id, sender });
        }
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        let Some((_, frame)) = connection.in_flight[sender].pop_front() else { return };
        if self.rng.u32(..1_000_000) < self.config.breaks_per_million {
            if let Some(connection) = self.network.close(id) {
                self.tell_broken(connection.ends.into_iter().flatten().collect());
            }
            return;
        }
        self.step(to.host, Event::Packet { link: to.link, frame: &frame });
        if self.rng.u32(..1_000_000) < self.config.duplicates_per_million {
            self.step(to.host, Event::Packet { link: to.link, frame: &frame });
        }
    }

    fn step(&mut self, host: Host, event: Event<'_>) {
        self.call(host, |machine, cx| machine.step(cx, event));
    }

    /// Calls a running host's machine, checks what it did and carries it out.
    pub(super) fn call<T>(
        &mut self,
        host: Host,
        f: impl FnOnce(&mut Machine, &mut Cx<'_>) -> T,
    ) -> Option<T> {
        self.steps += 1;
        let node = &mut self.nodes[host];
        let machine = node.machine.as_mut()?;
        let mut out = Vec::new();
        let result = f(machine, &mut Cx::new(self.now_ms, &mut node.rng, &mut out));
        let network = &self.network;
        let to = |action: &Action| {
            let Action::Send { link, .. } = action else { return None };
            let connection = network.connections.get(network.by_link.get(&(host, *link))?)?;
            connection.ends.iter().flatten().map(|end| end.host).find(|other| *other != host)
        };
        if let Err((checker, detail)) = self.checker.check_step(host, machine, &out, to) {
            self.fail(checker, detail);
        }
        self.carry_out(host, out);
        Some(result)
    }

    pub(super) fn fail(&mut self, checker: &'static str, detail: String) {
        let at_ms = self.now_ms - START_MS;
        self.violation.get_or_insert(Violation { checker, at_ms, detail });
    }

    fn carry_out(&mut self, host: Host, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::SaveConfig { fsync } => self.save(host, fsync),
                Action::Connect { link, ip, bus_port } => self.connect(host, link, (ip, bus_port)),
                Action::Send { link, frame } => self.send(host, link, frame),
                Action::Close { link } => self.hang_up(host, link),
                Action::ReplicateFrom { node, .. } => {
                    let server = &mut self.nodes[host].server;
                    if server.follows != Some(node) {
                        server.link = MasterLink::Never;
                    }
                    server.follows = Some(node);
                }
                Action::BecomeMaster => self.nodes[host].server.follows = None,
                Action::PauseWrites { .. } => {
                    let life = self.nodes[host].life;
                    let delay_ms = self.rng.i64(0..20);
                    self.push(delay_ms, What::Paused { host, life });
                }
                Action::ResumeWrites => self.nodes[host].server.paused = false,
                Action::Log { level, text } if self.config.verbose => {
                    let at_ms = self.now_ms - START_MS;
                    println!(
                        "{at_ms:>7} node {host} {} {level:?} {text}",
                        &self.nodes[host].id.as_str()[..4]
                    );
                }
                Action::Log { .. }
                | Action::FlushData
                | Action::DeleteSlotKeys { .. }
                | Action::RoutingChanged
                | Action::DeliverPublish { .. } => {}
            }
        }
    }

    fn save(&mut self, host: Host, fsync: bool) {
        let Some(machine) = &self.nodes[host].machine else { return };
        let text = machine.nodes_conf_text();
        let disk = &mut self.nodes[host].disk;
        if fsync {
            *disk = Disk { durable: text, written: None };
        } else {
            disk.written = Some(text);
        }
    }

    fn connect(&mut self, host: Host, link: LinkId, target: (NodeIp, u16)) {
        let life = self.nodes[host].life;
        let connection = self.network.open(End { host, life, link }, target);
        let delay_ms = self.delay() + self.delay();
        self.push(delay_ms, What::Dialled { connection });
        self.push(DIAL_TIMEOUT_MS, What::DialTimeout { connection });
    }

    fn send(&mut self, host: Host, link: LinkId, frame: Arc<[u8]>) {
        let Some(id) = self.network.by_link.get(&(host, link)).copied() else { return };
        let delay_ms = self.delay();
        let now_ms = self.now_ms;
        let Some(connection) = self.network.connections.get_mut(&id) else { return };
        let sender = usize::from(connection.ends[0].is_none_or(|end| end.host != host || end.link != link));
        let at_ms = (now_ms + delay_ms).max(connection.last_arrival_ms[sender]);
        connection.last_arrival_ms[sender] = at_ms;
        connection.in_flight[sender].push_back((at_ms, frame));
        self.push(at_ms - now_ms, What::Arrival { connection: id, sender });
    }

    fn hang_up(&mut self, host: Host, link: LinkId) {
        let Some(id) = self.network.by_link.get(&(host, link)).copied() else { return };
        let Some(connection) = self.network.close(id) else { return };
        let others = connection.ends.into_iter().flatten().filter(|end| (end.host, end.link) != (host, link));
        self.tell_broken(others.collect());
    }

    /// Whether all running nodes agree on everything, and it is well. `Err` says what is amiss.
    pub(super) fn agreement(&self) -> Result<(), String> {
        let running: Vec<Host> = (0..self.nodes.len()).filter(|host| self.is_running(*host)).collect();
        let ids: Vec<NodeId> = running.iter().map(|host| self.nodes[*host].id).collect();
        let mut first: Option<Vec<_>> = None;
        for &host in &running {
            let Some(machine) = self.machine(host) else { continue };
            if !machine.is_state_ok() {
                return Err(format!("node {host} sees the cluster down"));
            }
            let view = self.view(host, machine, &ids)?;
            match &first {
                None => first = Some(view),
                Some(first) if *first != view => return Err(format!("node {host} sees it differently")),
                Some(_) => {}
            }
        }
        self.owners_are_sound(&running)
    }

    /// What a node thinks of the running ones: roles, masters and slots.
    fn view(&self, host: Host, machine: &Machine, ids: &[NodeId]) -> Result<Vec<String>, String> {
        let mut view = Vec::new();
        for id in ids {
            let Some(node) = machine.node(id) else { return Err(format!("node {host} does not know {id}")) };
            if node.flags.any(NodeFlags::FAILING) || !node.connected {
                return Err(format!("node {host} does not reach {id} ({})", node.flags));
            }
            view.push(format!("{id} {} {:?}", node.is_master(), node.master));
        }
        let ranges = machine.slot_ranges();
        view.extend(ranges.iter().map(|range| format!("{:?} {}", range.slots, range.master.id)));
        Ok(view)
    }

    /// One owner per slot and epoch: running masters with slots have distinct epochs, and every slot's owner
    /// runs.
    fn owners_are_sound(&self, running: &[Host]) -> Result<(), String> {
        let Some(machine) = running.first().and_then(|host| self.machine(*host)) else { return Ok(()) };
        for range in machine.slot_ranges() {
            let alive = self.host_of(&range.master.id).is_some_and(|host| self.is_running(host));
            if !alive {
                return Err(format!("slots {:?} belong to a dead node", range.slots));
            }
        }
        let mut epochs: Vec<_> = running
            .iter()
            .filter_map(|host| self.machine(*host))
            .filter(|machine| machine.is_master())
            .map(Machine::config_epoch)
            .collect();
        epochs.sort();
        match epochs.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("two masters have {:?}", pair[0])),
            None => Ok(()),
        }
    }
}
