//! Roles: who is a master, who replicates whom, which shard is whose.

use super::node::{Node, NodeIdx};
use super::{Action, Config, Cx, Machine, notice};
use crate::flags::NodeFlags;
use crate::id::ShardId;

/// A role as a header tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Master,
    /// Its master, when that node is known.
    Replica(Option<NodeIdx>),
}

/// The order to replicate from `master`.
pub(super) fn replication_target(master: &Node, config: &Config) -> Action {
    let address = &master.address;
    let port = if config.tls_replication { address.tls_port } else { address.tcp_port };
    Action::ReplicateFrom { node: master.id, ip: address.ip, port }
}

impl Machine {
    pub(super) fn set_role(&mut self, cx: &mut Cx<'_>, idx: NodeIdx, role: Role) {
        match role {
            Role::Master => self.set_node_as_master(idx),
            Role::Replica(master) => self.set_node_as_replica(cx, idx, master),
        }
    }

    /// A node that was believed a replica acts as a master.
    pub(super) fn set_node_as_master(&mut self, idx: NodeIdx) {
        if self.nodes[idx].is_master() {
            return;
        }
        if let Some(master) = self.nodes[idx].master {
            self.remove_replica(master, idx);
            if idx != self.me {
                self.nodes[idx].flags.insert(NodeFlags::MIGRATE_TO);
            }
        }
        let node = &mut self.nodes[idx];
        node.flags.remove(NodeFlags::REPLICA);
        node.flags.insert(NodeFlags::MASTER);
        node.master = None;
        self.todo.save_and_update();
    }

    fn set_node_as_replica(&mut self, _cx: &mut Cx<'_>, idx: NodeIdx, master: Option<NodeIdx>) {
        if !self.nodes[idx].is_replica() {
            for slot in self.nodes[idx].slots.iter().collect::<Vec<_>>() {
                self.unassign(slot);
            }
            let node = &mut self.nodes[idx];
            node.flags.remove(NodeFlags::MASTER.with(NodeFlags::MIGRATE_TO));
            node.flags.insert(NodeFlags::REPLICA);
            self.todo.save_and_update();
        }
        let Some(master) = master.filter(|master| self.nodes[idx].master != Some(*master) && *master != idx)
        else {
            return;
        };
        if let Some(old) = self.nodes[idx].master {
            self.remove_replica(old, idx);
        }
        self.add_replica(master, idx);
        self.nodes[idx].master = Some(master);
        let shard = self.nodes[master].shard;
        self.set_shard(idx, shard);
        self.todo.save_and_update();
    }

    /// Makes this node a replica of `master`. It must have no slots.
    pub(super) fn follow_master(&mut self, cx: &mut Cx<'_>, master: NodeIdx) {
        let me = self.me;
        if self.me().is_master() {
            let node = self.me_mut();
            node.flags.remove(NodeFlags::MASTER.with(NodeFlags::MIGRATE_TO));
            node.flags.insert(NodeFlags::REPLICA);
            self.slots.close_all();
        } else if let Some(old) = self.me().master {
            self.remove_replica(old, me);
        }
        self.me_mut().master = Some(master);
        let shard = self.nodes[master].shard;
        self.set_shard(me, shard);
        self.add_replica(master, me);
        cx.out.push(replication_target(&self.nodes[master], &self.config));
        self.replicating = true;
        self.reset_manual_failover(cx);
        self.election.forget();
        self.todo.save_and_update();
        self.todo.save_and_sync();
    }

    /// Gives up slots and master because another node rules them now.
    pub(super) fn follow_new_owner(&mut self, cx: &mut Cx<'_>, owner: NodeIdx) {
        let label = self.label(owner);
        notice(cx, format!("Configuration change detected. Reconfiguring myself as a replica of {label}"));
        self.follow_master(cx, owner);
    }

    /// Makes this node a master and stops its replication.
    pub(super) fn become_master(&mut self, cx: &mut Cx<'_>) {
        self.set_node_as_master(self.me);
        self.replicating = false;
        cx.out.push(Action::BecomeMaster);
    }

    pub(super) fn add_replica(&mut self, master: NodeIdx, replica: NodeIdx) {
        if !self.nodes[master].replicas.contains(&replica) {
            // By id, so that all nodes tell clients of them in the same order, whoever they heard of first.
            let at = self.nodes[master]
                .replicas
                .partition_point(|other| self.nodes[*other].id < self.nodes[replica].id);
            let node = &mut self.nodes[master];
            node.replicas.insert(at, replica);
            node.flags.insert(NodeFlags::MIGRATE_TO);
        }
    }

    pub(super) fn remove_replica(&mut self, master: NodeIdx, replica: NodeIdx) {
        let node = &mut self.nodes[master];
        let before = node.replicas.len();
        node.replicas.retain(|other| *other != replica);
        if before > 0 && node.replicas.is_empty() {
            node.flags.remove(NodeFlags::MIGRATE_TO);
        }
    }

    pub(super) fn healthy_replicas(&self, master: NodeIdx) -> usize {
        self.nodes[master].replicas.iter().filter(|idx| !self.nodes[**idx].is_failed()).count()
    }

    /// Notes a node's shard. This node shares its master's.
    pub(super) fn set_shard(&mut self, idx: NodeIdx, shard: ShardId) {
        if self.nodes[idx].shard != shard {
            self.nodes[idx].shard = shard;
            self.todo.save();
            self.todo.routing = true;
        }
        if idx != self.me && self.me().master == Some(idx) && self.me().shard != shard {
            self.me_mut().shard = shard;
            self.todo.save_and_sync();
        }
    }
}
