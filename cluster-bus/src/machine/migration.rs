//! Replica migration: a spare replica moves to a master that lost its last one.

use super::node::NodeIdx;
use super::{Cx, Machine, notice};
use crate::flags::NodeFlags;

/// A master must have been orphaned this long: after a failover its replicas need time to say that they
/// switched.
const ORPHANED_MS: i64 = 5000;

/// What a pass over the nodes found out about replicas.
#[derive(Clone, Copy, Default)]
pub(super) struct ReplicaCensus {
    pub orphaned_masters: usize,
    /// Most healthy replicas of one master.
    pub most: usize,
    /// Healthy replicas of this replica's master.
    pub mine: usize,
}

impl Machine {
    pub(super) fn take_census(&self) -> ReplicaCensus {
        let mut census = ReplicaCensus::default();
        let masters = self.nodes.iter().filter(|(_, node)| {
            let strange = node.has(NodeFlags::NOADDR.with(NodeFlags::HANDSHAKE));
            node.is_master() && !node.is_failed() && !strange
        });
        for (idx, node) in masters {
            let healthy = self.healthy_replicas(idx);
            let orphaned = healthy == 0 && node.is_voter() && node.has(NodeFlags::MIGRATE_TO);
            census.orphaned_masters += usize::from(orphaned);
            census.most = census.most.max(healthy);
            if self.me().master == Some(idx) {
                census.mine = healthy;
            }
        }
        census
    }

    /// Moves this replica to an orphaned master, if it is the one to go: attached to a master with the most
    /// replicas, and of all these replicas the one with the smallest id.
    pub(super) fn migrate_if_needed(&mut self, cx: &mut Cx<'_>, most: usize) {
        let Some(my_master) = self.me().master.filter(|_| self.state.ok) else { return };
        let staying = self.nodes[my_master].replicas.iter();
        let staying = staying.filter(|idx| !self.nodes[**idx].has(NodeFlags::FAILING)).count();
        if staying <= self.config.migration_barrier {
            return;
        }
        let mut target: Option<NodeIdx> = None;
        let mut candidate = self.me;
        for idx in self.nodes.indices() {
            let healthy = if self.nodes[idx].is_master() { self.healthy_replicas(idx) } else { 0 };
            let node = &mut self.nodes[idx];
            let orphaned =
                node.is_master() && !node.is_failed() && node.has(NodeFlags::MIGRATE_TO) && healthy == 0;
            if !orphaned {
                node.orphaned_ms = 0;
            } else {
                if node.orphaned_ms == 0 {
                    node.orphaned_ms = cx.now_ms;
                }
                if !node.slots.is_empty() {
                    target = target.or(Some(idx));
                }
            }
            if healthy == most {
                let replicas = self.nodes[idx].replicas.iter().copied();
                candidate = replicas.fold(candidate, |best, replica| {
                    if self.nodes[replica].id < self.nodes[best].id { replica } else { best }
                });
            }
        }
        let Some(target) = target.filter(|_| candidate == self.me) else { return };
        if cx.now_ms - self.nodes[target].orphaned_ms > ORPHANED_MS {
            notice(cx, format!("Migrating to orphaned master {}", self.nodes[target].id));
            self.follow_master(cx, target);
        }
    }
}
