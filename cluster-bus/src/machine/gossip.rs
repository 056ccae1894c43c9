//! Gossip: what to tell about third nodes, and what to make of what others tell.

use super::node::{Node, NodeIdx};
use super::{Cx, LogLevel, Machine, log};
use crate::flags::NodeFlags;
use crate::id::{Address, ShardId};
use crate::wire::Gossip;

/// Entries per heartbeat, however small the cluster.
const MIN_ENTRIES: usize = 3;

/// How far in the future a peer's pong may lie before its clock is not believed.
const CLOCK_TOLERANCE_MS: i64 = 500;

impl Machine {
    /// About a tenth of the nodes at random, and every node in PFAIL: suspicion must spread fast, and a
    /// tenth suffices for a majority to hear of a failure within twice the node timeout.
    pub(super) fn pick_gossip(&mut self, cx: &mut Cx<'_>) -> Vec<Gossip> {
        self.heartbeats_sent += 1;
        let serial = self.heartbeats_sent;
        // Neither this node nor the receiver is gossiped about.
        let mut fresh = self.nodes.len().saturating_sub(2);
        let wanted = (self.nodes.len() / 10).max(MIN_ENTRIES).min(fresh);
        let mut entries = Vec::with_capacity(wanted + self.pfail_nodes);
        for _ in 0..wanted * 3 {
            if entries.len() >= wanted || fresh == 0 {
                break;
            }
            let idx = self.nodes.random(cx.rng);
            let node = &self.nodes[idx];
            if idx == self.me || node.is_pfail() || node.gossiped_in == serial {
                continue;
            }
            fresh -= 1;
            let strange = node.has(NodeFlags::HANDSHAKE.with(NodeFlags::NOADDR));
            if strange || (node.link.is_none() && node.slots.is_empty()) {
                continue;
            }
            entries.push(self.gossip_about(node));
            self.nodes[idx].gossiped_in = serial;
        }
        if self.pfail_nodes > 0 {
            let suspects = self.nodes.iter().filter(|(_, node)| is_gossiped_suspect(node));
            entries.extend(suspects.map(|(_, node)| self.gossip_about(node)));
        }
        entries
    }

    fn gossip_about(&self, node: &Node) -> Gossip {
        let (port, second_port) = self.ports_for_wire(node.address.tcp_port, node.address.tls_port);
        Gossip {
            node: node.id,
            ping_sent_s: (node.ping_sent_ms / 1000) as u32,
            pong_received_s: (node.pong_received_ms / 1000) as u32,
            ip: node.address.ip,
            port,
            bus_port: node.address.bus_port,
            flags: node.flags,
            second_port,
        }
    }

    /// Takes in what a known node says about others.
    pub(super) fn hear_gossip(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, entries: &[Gossip]) {
        for entry in entries {
            match self.nodes.find(&entry.node) {
                Some(idx) => self.hear_about_known(cx, sender, idx, entry),
                None => self.hear_about_stranger(cx, entry),
            }
        }
    }

    fn hear_about_known(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, idx: NodeIdx, entry: &Gossip) {
        let failing = entry.flags.any(NodeFlags::FAILING);
        if self.nodes[sender].is_master() && idx != self.me {
            self.hear_failure_report(cx, sender, idx, failing);
        }
        if failing {
            return;
        }
        self.borrow_pong_time(cx, idx, entry);
        // Somebody reaches, under another address, a node this one cannot reach: dial that address.
        let address = self.gossiped_address(entry);
        let node = &self.nodes[idx];
        let reachable_there = !entry.flags.any(NodeFlags::NOADDR) && address.bus_port != 0;
        if idx != self.me && node.has(NodeFlags::FAILING) && reachable_there && node.address != address {
            if let Some(link) = node.link {
                self.close_link(cx, link);
            }
            let node = &mut self.nodes[idx];
            node.address = address;
            node.flags.remove(NodeFlags::NOADDR);
            self.todo.save();
            self.todo.routing = true;
        }
    }

    /// A pong that another node received is as good as one's own, and saves a ping.
    fn borrow_pong_time(&mut self, cx: &Cx<'_>, idx: NodeIdx, entry: &Gossip) {
        let pong_ms = i64::from(entry.pong_received_s) * 1000;
        let believable = pong_ms <= cx.now_ms + CLOCK_TOLERANCE_MS;
        if believable
            && self.nodes[idx].ping_sent_ms == 0
            && pong_ms > self.nodes[idx].pong_received_ms
            && self.count_reports(cx.now_ms, idx) == 0
        {
            self.nodes[idx].pong_received_ms = pong_ms;
        }
    }

    /// A node only hearsay knows is added under its id. No handshake: its address may by now belong to a
    /// node of another cluster, which would then be drawn into this one.
    fn hear_about_stranger(&mut self, cx: &mut Cx<'_>, entry: &Gossip) {
        let address = self.gossiped_address(entry);
        if entry.flags.any(NodeFlags::NOADDR.with(NodeFlags::HANDSHAKE))
            || address.ip.is_empty()
            || address.bus_port == 0
            || self.is_blacklisted(&entry.node, cx.now_ms)
            || self.nodes.is_full()
        {
            return;
        }
        let flags = entry.flags.only(NodeFlags::GOSSIPED);
        let mut node = Node::new(entry.node, ShardId::random(cx.rng), flags, cx.now_ms);
        node.address = address;
        if flags.any(NodeFlags::FAIL) {
            node.fail_ms = cx.now_ms;
        }
        log(cx, LogLevel::Debug, format!("Learned of node {} at {}", entry.node, address.ip));
        self.nodes.add(node);
        self.todo.save();
        self.todo.routing = true;
    }

    fn gossiped_address(&self, entry: &Gossip) -> Address {
        let (tcp_port, tls_port) = self.ports_from_wire(entry.port, entry.second_port);
        Address { ip: entry.ip, tcp_port, tls_port, bus_port: entry.bus_port }
    }
}

fn is_gossiped_suspect(node: &Node) -> bool {
    node.is_pfail() && !node.has(NodeFlags::HANDSHAKE.with(NodeFlags::NOADDR))
}
