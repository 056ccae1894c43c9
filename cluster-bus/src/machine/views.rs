//! What the server shows: CLUSTER NODES, INFO, SLOTS, SHARDS, REPLICAS, LINKS, and the routing table.

use super::commands::lossy;
use super::node::NodeIdx;
use super::{CommandError, LinkId, Machine, Stats};
use crate::flags::NodeFlags;
use crate::id::{Address, Epoch, NodeId, ShardId};
use crate::nodes_conf::LineFor;
use crate::routing::{NOBODY, RouteNode, RoutingTable};
use crate::wire::MessageType;
use protocol::{SLOT_COUNT, Slot};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::RangeInclusive;

/// A node as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    pub id: NodeId,
    pub shard: ShardId,
    pub address: Address,
    pub hostname: String,
    pub flags: NodeFlags,
    pub master: Option<NodeId>,
    pub repl_offset: u64,
    pub connected: bool,
}

impl NodeView {
    pub fn is_master(&self) -> bool {
        self.flags.any(NodeFlags::MASTER)
    }

    /// The word of CLUSTER SHARDS.
    pub fn health(&self) -> &'static str {
        if self.flags.any(NodeFlags::FAIL) {
            "fail"
        } else if self.flags.any(NodeFlags::REPLICA) && self.repl_offset == 0 {
            "loading"
        } else {
            "online"
        }
    }

    /// A replica that CLUSTER SLOTS lists: not failed, and past its first synchronization.
    pub fn is_available_replica(&self) -> bool {
        !self.flags.any(NodeFlags::FAIL) && self.repl_offset != 0
    }
}

/// A run of slots with one owner, for CLUSTER SLOTS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRangeView {
    pub slots: RangeInclusive<u16>,
    pub master: NodeView,
    /// Available ones only.
    pub replicas: Vec<NodeView>,
}

/// A shard, for CLUSTER SHARDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardView {
    pub slots: Vec<RangeInclusive<u16>>,
    pub nodes: Vec<NodeView>,
}

/// A link, for CLUSTER LINKS. Buffer sizes are the caller's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkView {
    pub link: LinkId,
    pub node: NodeId,
    pub created_ms: i64,
}

impl Machine {
    /// CLUSTER MYID.
    pub fn my_id(&self) -> NodeId {
        self.me().id
    }

    /// CLUSTER MYSHARDID.
    pub fn my_shard_id(&self) -> ShardId {
        self.me().shard
    }

    pub fn is_master(&self) -> bool {
        self.me().is_master()
    }

    pub fn is_state_ok(&self) -> bool {
        self.state.ok
    }

    pub fn current_epoch(&self) -> Epoch {
        self.current_epoch
    }

    pub fn last_vote_epoch(&self) -> Epoch {
        self.last_vote_epoch
    }

    /// This node's own, or its master's if it is a replica.
    pub fn config_epoch(&self) -> Epoch {
        self.my_master().map_or(Epoch(0), |idx| self.nodes[idx].config_epoch)
    }

    pub fn known_nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn config(&self) -> &super::Config {
        &self.config
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// CLUSTER NODES. `tls_primary`: show the TLS port, as to a client that came over TLS.
    pub fn nodes_text(&self, tls_primary: bool) -> String {
        let mut text = String::new();
        for (idx, _) in self.nodes.iter() {
            self.record(idx).write_line(&mut text, LineFor::Client, tls_primary);
            text.push('\n');
        }
        text
    }

    /// CLUSTER REPLICAS: the lines of a master's replicas.
    pub fn replica_lines(&self, id: &[u8], tls_primary: bool) -> Result<Vec<String>, CommandError> {
        let idx = self.lookup(id).ok_or_else(|| CommandError::UnknownNode { id: lossy(id) })?;
        if self.nodes[idx].is_replica() {
            return Err(CommandError::NotAMaster);
        }
        let line = |replica: &NodeIdx| {
            let mut text = String::new();
            self.record(*replica).write_line(&mut text, LineFor::Client, tls_primary);
            text
        };
        Ok(self.nodes[idx].replicas.iter().map(line).collect())
    }

    /// CLUSTER INFO.
    pub fn info_text(&self) -> String {
        let mut text = String::new();
        let mut put = |name: &str, value: u64| {
            let _ = write!(text, "{name}:{value}\r\n");
        };
        let (mut assigned, mut pfail, mut fail) = (0, 0, 0);
        for (_, node) in self.nodes.iter() {
            let slots = node.slots.len() as u64;
            assigned += slots;
            if node.is_failed() {
                fail += slots;
            } else if node.is_pfail() {
                pfail += slots;
            }
        }
        put("cluster_slots_assigned", assigned);
        put("cluster_slots_ok", assigned - pfail - fail);
        put("cluster_slots_pfail", pfail);
        put("cluster_slots_fail", fail);
        put("cluster_known_nodes", self.nodes.len() as u64);
        put("cluster_size", self.count_masters().0 as u64);
        put("cluster_current_epoch", self.current_epoch.0);
        put("cluster_my_epoch", self.config_epoch().0);
        let sent: fn(&Stats, MessageType) -> u64 = Stats::sent;
        for (way, count) in [("sent", sent), ("received", Stats::received)] {
            let mut total = 0;
            for message_type in MessageType::ALL.into_iter().filter(|t| count(&self.stats, *t) > 0) {
                let n = count(&self.stats, message_type);
                total += n;
                put(&format!("cluster_stats_messages_{message_type}_{way}"), n);
            }
            put(&format!("cluster_stats_messages_{way}"), total);
        }
        put("total_cluster_links_buffer_limit_exceeded", self.stats.links_buffer_limit_exceeded);
        let state = if self.state.ok { "ok" } else { "fail" };
        format!("cluster_state:{state}\r\n{text}")
    }

    /// A node by its id.
    pub fn node(&self, id: &NodeId) -> Option<NodeView> {
        self.nodes.find(id).map(|idx| self.view(idx))
    }

    /// All known nodes, those in handshake included.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.nodes.iter().map(|(idx, _)| self.view(idx)).collect()
    }

    fn view(&self, idx: NodeIdx) -> NodeView {
        let node = &self.nodes[idx];
        NodeView {
            id: node.id,
            shard: node.shard,
            address: node.address,
            hostname: node.hostname.clone(),
            flags: node.flags,
            master: node.master.map(|master| self.nodes[master].id),
            repl_offset: if idx == self.me { self.replication.repl_offset } else { node.repl_offset },
            connected: idx == self.me || self.link_to(idx).is_some(),
        }
    }

    /// CLUSTER SLOTS.
    pub fn slot_ranges(&self) -> Vec<SlotRangeView> {
        let mut runs: Vec<(NodeIdx, RangeInclusive<u16>)> = Vec::new();
        for slot in Slot::all() {
            let Some(owner) = self.slots.owner(slot) else { continue };
            match runs.last_mut() {
                Some((last, run)) if *last == owner && *run.end() + 1 == slot.get() => {
                    *run = *run.start()..=slot.get();
                }
                _ => runs.push((owner, slot.get()..=slot.get())),
            }
        }
        let range = |(owner, slots): (NodeIdx, RangeInclusive<u16>)| {
            let replicas = self.nodes[owner].replicas.iter().map(|idx| self.view(*idx));
            let replicas = replicas.filter(NodeView::is_available_replica).collect();
            SlotRangeView { slots, master: self.view(owner), replicas }
        };
        runs.into_iter().map(range).collect()
    }

    /// CLUSTER SHARDS: masters with their replicas, then replicas whose master is unknown.
    pub fn shards(&self) -> Vec<ShardView> {
        let heads = self.nodes.iter().filter(|(_, node)| !node.in_handshake() && node.master.is_none());
        let shard = |(idx, node): (NodeIdx, &super::Node)| ShardView {
            slots: node.slots.ranges(),
            nodes: std::iter::once(&idx).chain(&node.replicas).map(|idx| self.view(*idx)).collect(),
        };
        heads.map(shard).collect()
    }

    /// CLUSTER LINKS: links whose peer is known.
    pub fn links(&self) -> Vec<LinkView> {
        let mut views = Vec::new();
        for (_, node) in self.nodes.iter() {
            for link in [node.link, node.inbound].into_iter().flatten() {
                if let Some(entry) = self.links.get(link).filter(|entry| entry.up) {
                    views.push(LinkView { link, node: node.id, created_ms: entry.created_ms });
                }
            }
        }
        views
    }

    /// The routing table as of now.
    pub fn routing(&self) -> RoutingTable {
        // Positions in the node table have holes; those in the routing table have none.
        let settled: Vec<NodeIdx> =
            self.nodes.iter().filter(|(_, node)| !node.in_handshake()).map(|(idx, _)| idx).collect();
        let mut position = BTreeMap::new();
        for (at, idx) in settled.iter().enumerate() {
            position.insert(*idx, at as u16);
        }
        let nodes = settled.iter().map(|idx| {
            let node = &self.nodes[*idx];
            RouteNode {
                id: node.id,
                address: node.address,
                hostname: node.hostname.clone(),
                is_master: node.is_master(),
                master: node.master.and_then(|master| position.get(&master).copied()),
                failed: node.is_failed(),
            }
        });
        let mut owners = Box::new([NOBODY; SLOT_COUNT]);
        for (idx, node) in self.nodes.iter() {
            let Some(at) = position.get(&idx) else { continue };
            node.slots.iter().for_each(|slot| owners[slot.index()] = *at);
        }
        let moves = |map: &BTreeMap<Slot, NodeIdx>| {
            map.iter().filter_map(|(slot, idx)| Some((*slot, *position.get(idx)?))).collect()
        };
        RoutingTable {
            owners,
            nodes: nodes.collect(),
            me: position[&self.me],
            migrating: moves(&self.slots.migrating),
            importing: moves(&self.slots.importing),
            state_ok: self.state.ok,
            current_epoch: self.current_epoch,
        }
    }
}
