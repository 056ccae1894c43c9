//! Birth and rebirth: a machine from nothing or from nodes.conf, and back to nodes.conf.

use super::election::Election;
use super::links::Links;
use super::manual::ManualFailover;
use super::node::{Node, NodeIdx, NodeTable};
use super::slot_table::SlotTable;
use super::state::ClusterState;
use super::{Action, Config, Cx, Machine, ReplicationFacts, Stats, Todo, notice};
use crate::flags::NodeFlags;
use crate::id::{Epoch, NodeId, NodeIp, ShardId};
use crate::nodes_conf::{NodeRecord, NodesConf};
use std::collections::BTreeMap;

impl Machine {
    /// A node that knows nobody, under a fresh random name.
    pub fn new(cx: &mut Cx<'_>, config: Config) -> Machine {
        let (id, shard) = (NodeId::random(cx.rng), ShardId::random(cx.rng));
        let flags = NodeFlags::MYSELF.with(NodeFlags::MASTER);
        let mut nodes = NodeTable::default();
        let me = nodes.add(Node::new(id, shard, flags, cx.now_ms));
        let mut machine = Machine::assemble(nodes, me, config);
        notice(cx, format!("No cluster configuration found, I'm {id}"));
        cx.out.push(Action::SaveConfig { fsync: true });
        machine.apply_config();
        machine
    }

    /// The node that nodes.conf remembers.
    pub fn restore(cx: &mut Cx<'_>, config: Config, conf: &NodesConf) -> Machine {
        let mut nodes = NodeTable::default();
        let mut me = None;
        for record in &conf.nodes {
            let idx = nodes.add(revive(cx, record));
            if record.flags.any(NodeFlags::MYSELF) {
                me = Some(idx);
            }
        }
        // The parser sees to it that there is one.
        let me = me.unwrap_or_else(|| {
            let (id, shard) = (NodeId::random(cx.rng), ShardId::random(cx.rng));
            nodes.add(Node::new(id, shard, NodeFlags::MYSELF.with(NodeFlags::MASTER), cx.now_ms))
        });
        let mut machine = Machine::assemble(nodes, me, config);
        machine.current_epoch = conf.current_epoch;
        machine.last_vote_epoch = conf.last_vote_epoch;
        conf.nodes.iter().for_each(|record| machine.restore_ties(cx, record));
        machine.current_epoch = machine.max_epoch();
        machine.state.size = machine.count_masters().0;
        machine.pfail_nodes = machine.nodes.iter().filter(|(_, node)| node.is_pfail()).count();
        machine.todo = Todo::default();
        machine.apply_config();
        notice(cx, format!("Node configuration loaded, I'm {}", machine.me().id));
        machine
    }

    fn assemble(nodes: NodeTable, me: NodeIdx, config: Config) -> Machine {
        Machine {
            config,
            me,
            nodes,
            slots: SlotTable::default(),
            links: Links::default(),
            current_epoch: Epoch(0),
            last_vote_epoch: Epoch(0),
            state: ClusterState::default(),
            election: Election::default(),
            manual: ManualFailover::default(),
            replication: ReplicationFacts::default(),
            replicating: false,
            blacklist: BTreeMap::new(),
            stats: Stats::default(),
            heartbeats_sent: 0,
            last_sample_ms: 0,
            pfail_nodes: 0,
            last_alarm_ms: 0,
            alarm_pending: false,
            todo: Todo::default(),
        }
    }

    /// Masters, slots and moves of one record, now that all nodes exist.
    fn restore_ties(&mut self, cx: &mut Cx<'_>, record: &NodeRecord) {
        let Some(idx) = self.nodes.find(&record.id) else { return };
        if let Some(master) = record.master.filter(|master| *master != record.id) {
            let master = self.find_or_add(cx, &master);
            self.add_replica(master, idx);
            self.nodes[idx].master = Some(master);
            self.nodes[idx].shard = self.nodes[master].shard;
            // A replica's own epoch means nothing.
            self.nodes[idx].config_epoch = Epoch(0);
        }
        for slot in record.slots.iter() {
            self.assign(slot, idx);
        }
        for (slot, target) in &record.migrating {
            let target = self.find_or_add(cx, target);
            self.slots.migrating.insert(*slot, target);
        }
        for (slot, source) in &record.importing {
            let source = self.find_or_add(cx, source);
            self.slots.importing.insert(*slot, source);
        }
    }

    /// A node that is mentioned but has no line of its own: all that is known is its name.
    fn find_or_add(&mut self, cx: &mut Cx<'_>, id: &NodeId) -> NodeIdx {
        self.nodes.find(id).unwrap_or_else(|| {
            self.nodes.add(Node::new(*id, ShardId::random(cx.rng), NodeFlags::NOADDR, cx.now_ms))
        })
    }

    /// Takes over into this node's own entry what is configured.
    pub(super) fn apply_config(&mut self) {
        let config = &self.config;
        let me = &mut self.nodes[self.me];
        let before = (me.flags, me.address, me.hostname.clone(), me.human_nodename.clone());
        me.address.tcp_port = config.tcp_port;
        me.address.tls_port = config.tls_port;
        me.address.bus_port = config.bus_port;
        if let Some(ip) = config.announce_ip {
            me.address.ip = ip;
        }
        me.hostname.clone_from(&config.hostname);
        me.human_nodename.clone_from(&config.human_nodename);
        me.flags.remove(NodeFlags::NOFAILOVER);
        if config.replica_no_failover {
            me.flags.insert(NodeFlags::NOFAILOVER);
        }
        if before != (me.flags, me.address, me.hostname.clone(), me.human_nodename.clone()) {
            self.todo.save_and_update();
        }
    }

    /// Forgets this node's own address, to learn it anew from the peers: `cluster-announce-ip` was unset.
    pub fn forget_own_ip(&mut self) {
        self.me_mut().address.ip = NodeIp::EMPTY;
    }

    /// What nodes.conf must say now.
    pub fn nodes_conf(&self) -> NodesConf {
        let settled = self.nodes.iter().filter(|(_, node)| !node.in_handshake());
        NodesConf {
            nodes: settled.map(|(idx, _)| self.record(idx)).collect(),
            current_epoch: self.current_epoch,
            last_vote_epoch: self.last_vote_epoch,
            saw_vars: true,
        }
    }

    /// The text of nodes.conf.
    pub fn nodes_conf_text(&self) -> String {
        self.nodes_conf().text(self.config.tls_cluster)
    }

    pub(super) fn record(&self, idx: NodeIdx) -> NodeRecord {
        let node = &self.nodes[idx];
        let speaks_for = node.master.filter(|_| node.is_replica()).map_or(node, |master| &self.nodes[master]);
        let moves = |map: &BTreeMap<protocol::Slot, NodeIdx>| {
            if idx != self.me {
                return Vec::new();
            }
            map.iter().map(|(slot, peer)| (*slot, self.nodes[*peer].id)).collect()
        };
        NodeRecord {
            id: node.id,
            address: node.address,
            hostname: node.hostname.clone(),
            human_nodename: node.human_nodename.clone(),
            // Redis 7.2 refuses a file where a replica is in another shard than its master.
            shard: Some(speaks_for.shard),
            flags: node.flags,
            master: node.master.map(|master| self.nodes[master].id),
            ping_sent_ms: node.ping_sent_ms,
            pong_received_ms: node.pong_received_ms,
            config_epoch: speaks_for.config_epoch,
            connected: idx == self.me || self.link_to(idx).is_some(),
            slots: node.slots.clone(),
            migrating: moves(&self.slots.migrating),
            importing: moves(&self.slots.importing),
        }
    }
}

fn revive(cx: &mut Cx<'_>, record: &NodeRecord) -> Node {
    let shard = record.shard.unwrap_or_else(|| ShardId::random(cx.rng));
    let mut node = Node::new(record.id, shard, record.flags, cx.now_ms);
    node.address = record.address;
    node.hostname.clone_from(&record.hostname);
    node.human_nodename.clone_from(&record.human_nodename);
    node.config_epoch = record.config_epoch;
    // Clocks may have been set since: pending pings and pongs start anew.
    if record.ping_sent_ms != 0 {
        node.ping_sent_ms = cx.now_ms;
    }
    if record.pong_received_ms != 0 {
        node.pong_received_ms = cx.now_ms;
    }
    if record.flags.any(NodeFlags::FAIL) {
        node.fail_ms = cx.now_ms;
    }
    node
}
