//! What time brings: dials, pings, suspicion, elections.

use super::node::NodeIdx;
use super::role::replication_target;
use super::{Cx, Machine};
use crate::flags::NodeFlags;
use crate::wire::Heartbeat;

/// A random node is pinged this often.
const SAMPLE_INTERVAL_MS: i64 = 1000;
/// Of this many random nodes, the one not heard from for longest is pinged.
const SAMPLES: usize = 5;

impl Machine {
    pub(super) fn tick(&mut self, cx: &mut Cx<'_>) {
        self.blacklist.retain(|_, until_ms| *until_ms >= cx.now_ms);
        self.reconnect_all(cx);
        self.ping_random(cx);
        for idx in self.nodes.indices() {
            self.watch(cx, idx);
        }
        self.replicate_if_forgotten(cx);
        self.expire_manual_failover(cx);
        if self.me().is_replica() {
            self.advance_manual_failover(cx);
            self.advance_election(cx);
            let census = self.take_census();
            let may_move = self.config.allow_replica_migration && census.most >= 2;
            if census.orphaned_masters > 0 && may_move && census.mine == census.most {
                self.migrate_if_needed(cx, census.most);
            }
        }
        if !self.state.ok {
            self.todo.update_state = true;
        }
    }

    /// Dials every node without a link, and drops those that never introduced themselves.
    fn reconnect_all(&mut self, cx: &mut Cx<'_>) {
        self.pfail_nodes = 0;
        for idx in self.nodes.indices() {
            let node = &self.nodes[idx];
            if node.has(NodeFlags::MYSELF.with(NodeFlags::NOADDR)) {
                continue;
            }
            let age_ms = cx.now_ms - node.created_ms;
            if node.in_handshake() && age_ms > self.config.handshake_timeout_ms() {
                self.delete_node(cx, idx);
                continue;
            }
            self.pfail_nodes += usize::from(node.is_pfail());
            if node.link.is_none() {
                self.dial(cx, idx);
            }
        }
    }

    fn ping_random(&mut self, cx: &mut Cx<'_>) {
        if cx.now_ms - self.last_sample_ms < SAMPLE_INTERVAL_MS {
            return;
        }
        self.last_sample_ms = cx.now_ms;
        let mut oldest: Option<NodeIdx> = None;
        for _ in 0..SAMPLES {
            let idx = self.nodes.random(cx.rng);
            let node = &self.nodes[idx];
            let strange = node.has(NodeFlags::MYSELF.with(NodeFlags::HANDSHAKE));
            if strange || node.ping_sent_ms != 0 || self.link_to(idx).is_none() {
                continue;
            }
            if oldest.is_none_or(|best| node.pong_received_ms < self.nodes[best].pong_received_ms) {
                oldest = Some(idx);
            }
        }
        if let Some(link) = oldest.and_then(|idx| self.link_to(idx)) {
            self.send_heartbeat(cx, link, Heartbeat::Ping);
        }
    }

    /// Looks after one node: a stuck link, an overdue ping, too long a silence.
    fn watch(&mut self, cx: &mut Cx<'_>, idx: NodeIdx) {
        let node = &self.nodes[idx];
        if node.has(NodeFlags::MYSELF.with(NodeFlags::NOADDR).with(NodeFlags::HANDSHAKE)) {
            return;
        }
        let timeout_ms = self.config.node_timeout_ms;
        let ping_delay_ms = cx.now_ms - node.ping_sent_ms;
        let data_delay_ms = cx.now_ms - node.data_received_ms;
        let silent =
            node.ping_sent_ms != 0 && ping_delay_ms > timeout_ms / 2 && data_delay_ms > timeout_ms / 2;
        if let Some(link) = node.link {
            let (up, created_ms) = self.links.get(link).map_or((false, 0), |l| (l.up, l.created_ms));
            let age_ms = cx.now_ms - created_ms;
            // A live link gets the time a pong may take; a dial that hangs is retried sooner.
            let stuck = silent && age_ms > if up { timeout_ms } else { timeout_ms / 2 };
            if stuck {
                self.close_link(cx, link);
            }
        }
        self.meet_again(cx, idx);
        let node = &self.nodes[idx];
        if let Some(link) = self.link_to(idx) {
            let overdue = cx.now_ms - node.pong_received_ms > self.config.ping_interval_ms();
            if node.ping_sent_ms == 0 && overdue {
                return self.send_heartbeat(cx, link, Heartbeat::Ping);
            }
            if self.taking_over() == Some(idx) {
                return self.ping_taking_over(cx, idx);
            }
        }
        if node.ping_sent_ms != 0 && ping_delay_ms.min(data_delay_ms) > timeout_ms {
            self.suspect(cx, idx);
        }
    }

    /// A node met by order that never called back: the MEET reached it, but its side of the handshake was
    /// lost with a link. Without another MEET it would stay ignorant of this node for good. A node that has
    /// once called back is left alone, or it could not be made to forget this one.
    fn meet_again(&mut self, cx: &mut Cx<'_>, idx: NodeIdx) {
        let patience_ms = self.config.handshake_timeout_ms();
        let node = &mut self.nodes[idx];
        let Some(met_ms) = node.met_ms.filter(|met_ms| cx.now_ms - met_ms > patience_ms) else { return };
        node.met_ms = Some(cx.now_ms.max(met_ms));
        if let Some(link) = self.link_to(idx) {
            self.send_heartbeat(cx, link, Heartbeat::Meet);
        }
    }

    /// A replica that started from nodes.conf, or learned its master's address late, begins to replicate.
    fn replicate_if_forgotten(&mut self, cx: &mut Cx<'_>) {
        let Some(master) = self.me().master.filter(|_| self.me().is_replica() && !self.replicating) else {
            return;
        };
        if !self.nodes[master].has(NodeFlags::NOADDR) && !self.nodes[master].address.ip.is_empty() {
            cx.out.push(replication_target(&self.nodes[master], &self.config));
            self.replicating = true;
        }
    }
}
