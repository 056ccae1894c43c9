//! Cluster mode: the bus's state machine given sockets, a clock and a file, and the routing of commands.
//!
//! ```text
//!  bus thread (tokio)            applier thread                IO threads
//!  sockets, ticks ──▶ Machine ──▶ role, routing, slots ──▶ batches see a new table
//!        ▲              │ lock       behind the gate
//!        └── Connect, Send, Close ◀── CLUSTER commands step the machine too, and carry out what it
//!                                     decides before they answer
//! ```
//!
//! **Invariant:** the bus thread never waits for the gate. A slow command delays what the machine decided
//! here, but not what it says to its peers.

mod apply;
mod bus;
mod conf_file;
mod outgoing;
pub mod route;

pub use apply::{run as run_applier, settle};
pub use bus::run as run_bus;
pub use cluster_bus::RoutingTable as Routing;

use crate::clock;
use crate::config::Settings;
use crate::log;
use apply::{Apply, Decisions};
use arc_swap::ArcSwap;
use cluster_bus::{
    Action, Config as BusConfig, Cx as BusCx, Event, LogLevel, Machine, NodeIp, NodesConf, RefusalEvidence,
};
use conf_file::ConfFile;
use outgoing::Outgoing;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc as tokio_mpsc;

/// How far the bus port is from the clients' port, unless `cluster-port` says otherwise.
const BUS_PORT_OFFSET: u16 = 10_000;

pub struct Cluster {
    core: Mutex<Core>,
    routing: ArcSwap<Routing>,
    /// What concerns sockets, for the bus thread.
    to_bus: tokio_mpsc::UnboundedSender<Action>,
    bus_end: Mutex<Option<tokio_mpsc::UnboundedReceiver<Action>>>,
    pub outgoing: Outgoing,
    /// What concerns the data.
    decisions: Decisions,
    conf: ConfFile,
}

struct Core {
    machine: Machine,
    rng: fastrand::Rng,
}

impl Cluster {
    /// Takes up the cluster that nodes.conf remembers, or becomes a node of its own.
    pub fn open(settings: &Settings) -> io::Result<Cluster> {
        check_ports(settings).map_err(io::Error::other)?;
        let (conf, bytes) = ConfFile::open(&settings.dir, &settings.cluster_config_file)?;
        let now_ms = clock::now_ms();
        let mut rng =
            fastrand::Rng::with_seed(clock::now_micros() as u64 ^ u64::from(std::process::id()) << 32);
        let mut actions = Vec::new();
        let mut cx = BusCx::new(now_ms, &mut rng, &mut actions);
        let machine = if bytes.is_empty() {
            Machine::new(&mut cx, bus_config(settings))
        } else {
            let conf = NodesConf::parse(&bytes, false).map_err(|error| {
                let path = conf.path().display();
                let text = format!("Unrecoverable error: corrupted cluster config file {path}: {error}");
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            Machine::restore(&mut cx, bus_config(settings), &conf)
        };
        let (to_bus, bus_end) = tokio_mpsc::unbounded_channel();
        let cluster = Cluster {
            routing: ArcSwap::from_pointee(machine.routing()),
            core: Mutex::new(Core { machine, rng }),
            to_bus,
            bus_end: Mutex::new(Some(bus_end)),
            outgoing: Outgoing::default(),
            decisions: Decisions::default(),
            conf,
        };
        {
            let core = cluster.core.lock();
            cluster.conf.save(&core.machine.nodes_conf_text(), true)?;
            cluster.perform(&core.machine, actions);
        }
        Ok(cluster)
    }

    pub fn routing(&self) -> Arc<Routing> {
        self.routing.load_full()
    }

    /// What the links to other nodes take, in bytes.
    pub fn links_bytes(&self) -> u64 {
        let (links, waiting) = self.outgoing.total();
        (links * bus::LINK_BYTES + waiting) as u64
    }

    /// Looks at the machine.
    pub fn view<R>(&self, f: impl FnOnce(&Machine) -> R) -> R {
        f(&self.core.lock().machine)
    }

    /// Steps the machine, and sees to it that what it decides is done.
    pub fn with<R>(&self, f: impl FnOnce(&mut Machine, &mut BusCx<'_>) -> R) -> R {
        let mut core = self.core.lock();
        let Core { machine, rng } = &mut *core;
        let mut actions = Vec::new();
        let result = f(machine, &mut BusCx::new(clock::now_ms(), rng, &mut actions));
        self.perform(machine, actions);
        result
    }

    pub fn event(&self, event: Event<'_>) {
        self.with(|machine, cx| machine.step(cx, event));
    }

    /// What the machine has decided about roles and routing is in force.
    pub fn is_settled(&self) -> bool {
        self.decisions.is_empty()
    }

    /// Publishes the machine's routing table. The world must be at rest.
    pub fn refresh_routing(&self) {
        let table = self.core.lock().machine.routing();
        self.routing.store(Arc::new(table));
    }

    /// Settles what slots the keys read at start are in.
    pub fn account_for_keys(&self, server: &crate::server::Server) {
        let Some(db) = server.keyspace.db(0) else { return };
        let held: Vec<_> = protocol::Slot::all().filter(|&slot| db.key_count(slot) > 0).collect();
        self.with(|machine, cx| machine.account_for_keys(cx, &held));
    }

    /// Writes nodes.conf now.
    pub fn save(&self) -> io::Result<()> {
        self.conf.save(&self.core.lock().machine.nodes_conf_text(), true)
    }

    pub fn reconfigure(&self, settings: &Settings) {
        let config = bus_config(settings);
        self.with(|machine, cx| machine.reconfigure(cx, config));
    }

    fn perform(&self, machine: &Machine, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::SaveConfig { fsync } => {
                    if let Err(error) = self.conf.save(&machine.nodes_conf_text(), fsync) {
                        // Going on would mean to forget votes and epochs: no node at all is safer than that.
                        log::warning(&format!("Fatal: can't update cluster config file: {error}"));
                        std::process::exit(1);
                    }
                }
                Action::Log { level, text } => log::line(level_of(level), &text),
                Action::Connect { .. }
                | Action::Send { .. }
                | Action::Close { .. }
                | Action::DeliverPublish { .. } => {
                    if let Action::Send { link, frame } = &action {
                        self.outgoing.add(*link, frame.len());
                    }
                    // Fails only while the process ends.
                    let _ = self.to_bus.send(action);
                }
                other => {
                    if let Some(apply) = Apply::of(other) {
                        self.decisions.add(apply);
                    }
                }
            }
        }
    }
}

fn level_of(level: LogLevel) -> log::Level {
    match level {
        LogLevel::Debug => log::Level::Debug,
        LogLevel::Verbose => log::Level::Verbose,
        LogLevel::Notice => log::Level::Notice,
        LogLevel::Warning => log::Level::Warning,
    }
}

/// A node has to listen for its peers, next to where it listens for clients.
fn check_ports(settings: &Settings) -> Result<(), &'static str> {
    if settings.cluster_port == 0 && settings.port > u16::MAX - BUS_PORT_OFFSET {
        return Err(
            "Redis port number too high. Cluster communication port is 10,000 port numbers higher than your \
             Redis port. Your Redis port number must be 55535 or less.",
        );
    }
    if settings.bind.is_empty() {
        return Err("No bind address is configured, but it is required for the Cluster bus.");
    }
    Ok(())
}

/// The bus port of this node.
pub fn bus_port(settings: &Settings) -> u16 {
    match settings.cluster_port {
        0 => settings.port.saturating_add(BUS_PORT_OFFSET),
        port => port,
    }
}

fn bus_config(settings: &Settings) -> BusConfig {
    let or = |announced: u16, own: u16| if announced == 0 { own } else { announced };
    let node_timeout_ms = settings.cluster_node_timeout_ms as i64;
    BusConfig {
        node_timeout_ms,
        ping_interval_ms: settings.cluster_ping_interval_ms as i64,
        replica_validity_factor: settings.cluster_replica_validity_factor as i64,
        repl_ping_period_ms: settings.repl_ping_period_seconds as i64 * 1000,
        migration_barrier: settings.cluster_migration_barrier,
        allow_replica_migration: settings.cluster_allow_replica_migration,
        require_full_coverage: settings.cluster_require_full_coverage,
        replica_no_failover: settings.cluster_replica_no_failover,
        announce_ip: NodeIp::new(&settings.cluster_announce_ip).filter(|ip| !ip.is_empty()),
        tcp_port: or(settings.cluster_announce_port, settings.port),
        tls_port: 0,
        bus_port: or(settings.cluster_announce_bus_port, bus_port(settings)),
        tls_cluster: false,
        tls_replication: false,
        hostname: settings.cluster_announce_hostname.clone(),
        human_nodename: settings.cluster_announce_human_nodename.clone(),
        refusal_evidence: Some(RefusalEvidence::for_node_timeout(node_timeout_ms)),
    }
}
