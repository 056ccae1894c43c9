//! What goes into the machine and what comes out.

use crate::id::{NodeId, NodeIp};
use protocol::Slot;
use std::fmt;
use std::sync::Arc;

/// Time, randomness and the place for answers: what every call of the machine needs.
pub struct Cx<'a> {
    /// Unix time. It may stand still between calls; it should not run backwards.
    pub now_ms: i64,
    pub rng: &'a mut fastrand::Rng,
    /// Actions are appended here, in the order they must be carried out.
    pub out: &'a mut Vec<Action>,
}

impl<'a> Cx<'a> {
    pub fn new(now_ms: i64, rng: &'a mut fastrand::Rng, out: &'a mut Vec<Action>) -> Cx<'a> {
        Cx { now_ms, rng, out }
    }
}

/// A connection between two nodes. Outgoing links are named by the machine ([`Action::Connect`]), incoming
/// ones by the caller ([`LinkId::incoming`]); the two never meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

impl LinkId {
    const INCOMING: u64 = 1 << 63;

    /// The name of the caller's `serial`-th incoming connection. Serials must not be reused.
    pub const fn incoming(serial: u64) -> LinkId {
        LinkId(serial | Self::INCOMING)
    }

    pub(crate) const fn outgoing(serial: u64) -> LinkId {
        LinkId(serial & !Self::INCOMING)
    }

    pub const fn is_incoming(self) -> bool {
        self.0 & Self::INCOMING != 0
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.is_incoming() { "from" } else { "to" };
        write!(f, "link {way} #{}", self.0 & !Self::INCOMING)
    }
}

/// Something that happened outside. Events about links that are gone are ignored.
#[derive(Debug)]
pub enum Event<'a> {
    /// Time passed. Any cadence works; stock's is 100 ms and a coarser one delays what it triggers.
    Tick,
    /// An outgoing connection stands. `local_ip` is this side's address.
    LinkUp { link: LinkId },
    /// A connection ended, either way, or could not be made for lack of time or route.
    LinkDown { link: LinkId },
    /// The peer's host refused an outgoing connection: it is up and nobody listens there.
    ConnectRefused { link: LinkId },
    /// The caller closed a link because its send queue passed `cluster-link-sendbuf-limit`.
    LinkOverflowed { link: LinkId },
    /// A peer connected. The addresses are those of the socket.
    IncomingOpened { link: LinkId, peer_ip: NodeIp, local_ip: NodeIp },
    /// A whole frame arrived, as cut by [`Deframer`](crate::wire::Deframer).
    Packet { link: LinkId, frame: &'a [u8] },
    /// How replication stands. Send it before each tick, and whenever the offset moves while
    /// [`Machine::wants_offsets`](super::Machine::wants_offsets) says so.
    Replication(ReplicationFacts),
    /// The answer to [`Action::PauseWrites`]: no write runs any more, and this is the final offset.
    WritesPaused { repl_offset: u64 },
}

/// Replication as the server sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReplicationFacts {
    /// A master's produced offset, a replica's processed offset.
    pub repl_offset: u64,
    pub master_link: MasterLink,
}

/// The link of a replica to its master.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MasterLink {
    /// Never synchronized with this master (or this node is a master).
    #[default]
    Never,
    Up {
        last_interaction_ms: i64,
    },
    Down {
        since_ms: i64,
    },
}

/// Severity of a log line, with stock's names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// Something the caller must do, in the given order.
///
/// **Invariant:** within one call's actions, [`SaveConfig`](Action::SaveConfig) comes first, so a vote or a
/// new epoch is on disk before any peer hears of it; then role changes; then
/// [`RoutingChanged`](Action::RoutingChanged); then messages.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Write [`Machine::nodes_conf`](super::Machine::nodes_conf) to disk, before what follows.
    SaveConfig {
        fsync: bool,
    },
    /// Start to replicate from this node, or go on from its new address.
    ReplicateFrom {
        node: NodeId,
        ip: NodeIp,
        port: u16,
    },
    /// Stop replicating and accept writes.
    BecomeMaster,
    /// Drop the whole dataset (a replica was reset).
    FlushData,
    /// Hold writes for a manual failover until the time given or [`Action::ResumeWrites`], and answer with
    /// [`Event::WritesPaused`] once none runs any more.
    PauseWrites {
        until_ms: i64,
    },
    ResumeWrites,
    /// Slots this node no longer owns: delete the keys it still has there.
    DeleteSlotKeys {
        slots: Vec<Slot>,
    },
    /// Take a new [`RoutingTable`](crate::RoutingTable).
    RoutingChanged,
    /// Dial a node. Answer with `LinkUp`, `ConnectRefused` or `LinkDown`.
    Connect {
        link: LinkId,
        ip: NodeIp,
        bus_port: u16,
    },
    Send {
        link: LinkId,
        frame: Arc<[u8]>,
    },
    /// Close the link; no event is expected.
    Close {
        link: LinkId,
    },
    /// A peer published: deliver to local subscribers.
    DeliverPublish {
        channel: Vec<u8>,
        message: Vec<u8>,
        sharded: bool,
    },
    Log {
        level: LogLevel,
        text: String,
    },
}

impl Action {
    /// Place in the order of one call's actions.
    pub(crate) fn phase(&self) -> u8 {
        match self {
            Action::SaveConfig { .. } => 0,
            Action::ReplicateFrom { .. } | Action::BecomeMaster | Action::FlushData => 1,
            Action::PauseWrites { .. } | Action::ResumeWrites => 1,
            Action::RoutingChanged => 2,
            Action::DeleteSlotKeys { .. } => 3,
            _ => 4,
        }
    }
}
