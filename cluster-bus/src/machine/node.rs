//! The table of nodes.

use crate::flags::NodeFlags;
use crate::id::{Address, Epoch, NodeId, ShardId};
use crate::machine::LinkId;
use crate::slot_set::SlotSet;
use std::collections::HashMap;
use std::ops::{Index, IndexMut};

/// Position of a node in the [`NodeTable`], stable for the node's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct NodeIdx(pub u16);

/// What a peer's heartbeats told about the ping extensions it understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Dialect {
    /// No heartbeat yet: everything is sent.
    #[default]
    Unknown,
    /// Sends no shard id (7.0): knows host names only, and logs a warning for each other extension.
    HostnamesOnly,
    /// Sends its shard id (7.2 and later).
    Full,
}

/// Refused dials in a row, since the node was last seen alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Refusals {
    pub count: u32,
    pub since_ms: i64,
}

/// All that is known of one node. Times are Unix milliseconds; 0 is "never".
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub id: NodeId,
    pub shard: ShardId,
    pub flags: NodeFlags,
    pub created_ms: i64,
    pub config_epoch: Epoch,
    pub slots: SlotSet,
    pub master: Option<NodeIdx>,
    pub replicas: Vec<NodeIdx>,
    /// When the pending ping was sent; 0 when none is pending.
    pub ping_sent_ms: i64,
    pub pong_received_ms: i64,
    pub data_received_ms: i64,
    pub fail_ms: i64,
    /// When this node last voted for a replica of that master.
    pub voted_ms: i64,
    pub orphaned_ms: i64,
    pub repl_offset: u64,
    pub address: Address,
    pub hostname: String,
    pub human_nodename: String,
    /// The link this side opened.
    pub link: Option<LinkId>,
    /// The link the peer opened.
    pub inbound: Option<LinkId>,
    /// Masters that cannot reach it, and when they last said so.
    pub fail_reports: Vec<(NodeIdx, i64)>,
    pub dialect: Dialect,
    pub refusals: Refusals,
    /// It answered in person in this process's life.
    pub seen_alive: bool,
    /// The operator had this node MEET it, then, and it has not called back yet.
    pub met_ms: Option<i64>,
    /// Serial of the last heartbeat it was gossiped in.
    pub gossiped_in: u64,
}

impl Node {
    pub fn new(id: NodeId, shard: ShardId, flags: NodeFlags, now_ms: i64) -> Node {
        Node {
            id,
            shard,
            flags,
            created_ms: now_ms,
            config_epoch: Epoch(0),
            slots: SlotSet::default(),
            master: None,
            replicas: Vec::new(),
            ping_sent_ms: 0,
            pong_received_ms: 0,
            data_received_ms: 0,
            fail_ms: 0,
            voted_ms: 0,
            orphaned_ms: 0,
            repl_offset: 0,
            address: Address::default(),
            hostname: String::new(),
            human_nodename: String::new(),
            link: None,
            inbound: None,
            fail_reports: Vec::new(),
            dialect: Dialect::default(),
            refusals: Refusals::default(),
            seen_alive: false,
            met_ms: None,
            gossiped_in: 0,
        }
    }

    pub fn has(&self, flags: NodeFlags) -> bool {
        self.flags.any(flags)
    }

    pub fn is_master(&self) -> bool {
        self.has(NodeFlags::MASTER)
    }

    pub fn is_replica(&self) -> bool {
        self.has(NodeFlags::REPLICA)
    }

    pub fn is_failed(&self) -> bool {
        self.has(NodeFlags::FAIL)
    }

    pub fn is_pfail(&self) -> bool {
        self.has(NodeFlags::PFAIL)
    }

    pub fn in_handshake(&self) -> bool {
        self.has(NodeFlags::HANDSHAKE)
    }

    /// Takes part in votes: a master with at least one slot.
    pub fn is_voter(&self) -> bool {
        self.is_master() && !self.slots.is_empty()
    }
}

/// All known nodes, this one included.
#[derive(Default)]
pub(crate) struct NodeTable {
    slab: Vec<Option<Box<Node>>>,
    live: Vec<NodeIdx>,
    by_id: HashMap<NodeId, NodeIdx>,
}

impl NodeTable {
    /// Most nodes a table takes: one less than an index can name.
    pub const MAX_NODES: usize = u16::MAX as usize - 1;

    pub fn len(&self) -> usize {
        self.live.len()
    }

    pub fn is_full(&self) -> bool {
        self.live.len() >= Self::MAX_NODES
    }

    /// Adds a node under its id. The caller has checked that the id is free and the table not full.
    pub fn add(&mut self, node: Node) -> NodeIdx {
        debug_assert!(!self.by_id.contains_key(&node.id));
        let free = self.slab.iter().position(Option::is_none);
        let idx = NodeIdx(free.unwrap_or(self.slab.len()) as u16);
        self.by_id.insert(node.id, idx);
        self.live.push(idx);
        match free {
            Some(at) => self.slab[at] = Some(Box::new(node)),
            None => self.slab.push(Some(Box::new(node))),
        }
        idx
    }

    pub fn remove(&mut self, idx: NodeIdx) {
        if let Some(node) = self.slab[usize::from(idx.0)].take() {
            self.by_id.remove(&node.id);
            self.live.retain(|&other| other != idx);
        }
    }

    pub fn rename(&mut self, idx: NodeIdx, id: NodeId) {
        let old = std::mem::replace(&mut self[idx].id, id);
        self.by_id.remove(&old);
        self.by_id.insert(id, idx);
    }

    pub fn find(&self, id: &NodeId) -> Option<NodeIdx> {
        self.by_id.get(id).copied()
    }

    /// Positions of all nodes, as of now.
    pub fn indices(&self) -> Vec<NodeIdx> {
        self.live.clone()
    }

    pub fn iter(&self) -> impl Iterator<Item = (NodeIdx, &Node)> {
        self.live.iter().map(|&idx| (idx, &self[idx]))
    }

    /// Any node, each as likely as the others.
    pub fn random(&self, rng: &mut fastrand::Rng) -> NodeIdx {
        self.live[rng.usize(..self.live.len())]
    }
}

impl Index<NodeIdx> for NodeTable {
    type Output = Node;

    /// **Invariant:** whoever removes a node also removes every index of it (`Machine::delete_node`).
    fn index(&self, idx: NodeIdx) -> &Node {
        self.slab[usize::from(idx.0)].as_deref().expect("an index outlived its node")
    }
}

impl IndexMut<NodeIdx> for NodeTable {
    fn index_mut(&mut self, idx: NodeIdx) -> &mut Node {
        self.slab[usize::from(idx.0)].as_deref_mut().expect("an index outlived its node")
    }
}
