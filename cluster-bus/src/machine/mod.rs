//! The bus of one node as a machine without IO: [`Event`] in, [`Action`]s out.
//!
//! ```text
//!   sockets ──Packet, LinkUp…──▶ ┌─────────┐ ──Send, Connect, Close──▶ sockets
//!   clock   ──Tick─────────────▶ │ Machine │ ──SaveConfig───────────▶ nodes.conf
//!   server  ──Replication……────▶ │         │ ──ReplicateFrom,
//!   CLUSTER ──methods──────────▶ └─────────┘   BecomeMaster,
//!                                              RoutingChanged……──────▶ server
//! ```
//!
//! A node's life in the tables of another, by its flags:
//!
//! ```text
//!            MEET or gossip               no answer for node-timeout
//!   (none) ──────▶ HANDSHAKE ──PONG──▶ ok ───────────────────────▶ PFAIL
//!                      │                ▲ ◀──────PONG───────────────┘ │ quorum of masters agrees,
//!                 timeout: removed      └──reachable, and nobody──── FAIL ◀┘ or a FAIL message
//!                                          took its slots
//! ```
//!
//! **Invariant:** the machine never opens a socket or file, never reads a clock, never draws randomness but
//! from the generator it is handed. The same events in the same order give the same actions.

mod address;
mod commands;
mod config;
mod election;
mod epochs;
mod error;
mod event;
mod failure;
mod gossip;
mod heartbeat;
mod links;
mod manual;
mod migration;
mod node;
mod receive;
mod restore;
mod role;
mod send;
mod slot_table;
mod slots;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod tick;
mod views;

pub use config::{Config, RefusalEvidence};
pub use error::{BumpOutcome, CommandError};
pub use event::{Action, Cx, Event, LinkId, LogLevel, MasterLink, ReplicationFacts};
pub use manual::FailoverMode;
pub use stats::Stats;
pub use views::{LinkView, NodeView, ShardView, SlotRangeView};

use crate::id::{Epoch, NodeId};
use election::Election;
use links::Links;
use manual::ManualFailover;
use node::{Node, NodeIdx, NodeTable};
use slot_table::SlotTable;
use state::ClusterState;
use std::collections::BTreeMap;

/// How long a forgotten node is not taken in again on hearsay.
const BLACKLIST_TTL_MS: i64 = 60_000;

/// The bus of one node.
pub struct Machine {
    config: Config,
    me: NodeIdx,
    nodes: NodeTable,
    slots: SlotTable,
    links: Links,
    current_epoch: Epoch,
    last_vote_epoch: Epoch,
    state: ClusterState,
    election: Election,
    manual: ManualFailover,
    replication: ReplicationFacts,
    /// The server has been told whom to replicate from.
    replicating: bool,
    /// Forgotten nodes and when they may come back.
    blacklist: BTreeMap<NodeId, i64>,
    stats: Stats,
    /// Serial of the last heartbeat sent, to gossip no node twice in one.
    heartbeats_sent: u64,
    last_sample_ms: i64,
    /// Nodes in PFAIL with an address, as of the last tick.
    pfail_nodes: usize,
    /// When PFAIL news was last pushed to the voters.
    last_alarm_ms: i64,
    alarm_pending: bool,
    todo: Todo,
}

/// Work left for the end of the current call, so that it is done once.
#[derive(Clone, Copy, Default)]
struct Todo {
    failover: bool,
    manual: bool,
    update_state: bool,
    save: bool,
    fsync: bool,
    routing: bool,
}

impl Todo {
    fn save(&mut self) {
        self.save = true;
    }

    fn save_and_sync(&mut self) {
        self.save = true;
        self.fsync = true;
    }

    /// The configuration changed in a way that may change the cluster's state.
    fn save_and_update(&mut self) {
        self.save = true;
        self.update_state = true;
        self.routing = true;
    }
}

impl Machine {
    /// Takes one event and appends what must be done to `cx.out`.
    pub fn step(&mut self, cx: &mut Cx<'_>, event: Event<'_>) {
        let start = cx.out.len();
        match event {
            Event::Tick => self.tick(cx),
            Event::LinkUp { link } => self.link_up(cx, link),
            Event::LinkDown { link } => self.link_down(cx, link),
            Event::ConnectRefused { link } => self.connect_refused(cx, link),
            Event::LinkOverflowed { link } => self.link_overflowed(cx, link),
            Event::IncomingOpened { link, peer_ip, local_ip } => {
                self.links.open_incoming(link, peer_ip, local_ip, cx.now_ms);
            }
            Event::Packet { link, frame } => self.packet(cx, link, frame),
            Event::Replication(facts) => self.set_replication(facts),
            Event::WritesPaused { repl_offset } => self.writes_paused(cx, repl_offset),
        }
        self.settle(cx, start);
    }

    /// Takes new settings.
    pub fn reconfigure(&mut self, cx: &mut Cx<'_>, config: Config) {
        let start = cx.out.len();
        self.config = config;
        self.apply_config();
        self.settle(cx, start);
    }

    /// Does what the call left to do, and puts its actions in order.
    fn settle(&mut self, cx: &mut Cx<'_>, start: usize) {
        // Winning an election leads to more work, which never leads back here.
        for _ in 0..4 {
            let todo = std::mem::take(&mut self.todo);
            if todo.manual && self.me().is_replica() {
                self.advance_manual_failover(cx);
            }
            if todo.manual || todo.failover {
                self.advance_election(cx);
            }
            let more = self.todo.manual || self.todo.failover;
            self.todo.update_state |= todo.update_state;
            self.todo.save |= todo.save;
            self.todo.fsync |= todo.fsync;
            self.todo.routing |= todo.routing;
            if !more {
                break;
            }
        }
        self.alarm_voters(cx);
        if self.todo.update_state {
            self.update_state(cx);
        }
        let todo = std::mem::take(&mut self.todo);
        if todo.save {
            cx.out.push(Action::SaveConfig { fsync: todo.fsync });
        }
        if todo.routing {
            cx.out.push(Action::RoutingChanged);
        }
        if cx.out[start..].iter().any(|action| action.phase() < 4) {
            cx.out[start..].sort_by_key(Action::phase);
        }
    }

    fn set_replication(&mut self, facts: ReplicationFacts) {
        self.replication = facts;
        if self.wants_offsets() {
            self.todo.manual = true;
        }
    }

    fn me(&self) -> &Node {
        &self.nodes[self.me]
    }

    fn me_mut(&mut self) -> &mut Node {
        &mut self.nodes[self.me]
    }

    /// The node whose slots this node holds: itself, or its master.
    fn my_master(&self) -> Option<NodeIdx> {
        if self.me().is_master() { Some(self.me) } else { self.me().master }
    }

    /// `id (name)`, as log lines call a node.
    fn label(&self, idx: NodeIdx) -> String {
        let node = &self.nodes[idx];
        format!("{} ({})", node.id, node.human_nodename)
    }

    /// Removes a node and everything that mentions it.
    fn delete_node(&mut self, cx: &mut Cx<'_>, idx: NodeIdx) {
        self.slots.forget_node(idx);
        for slot in self.nodes[idx].slots.iter().collect::<Vec<_>>() {
            self.unassign(slot);
        }
        if let Some(master) = self.nodes[idx].master {
            self.remove_replica(master, idx);
        }
        for other in self.nodes.indices() {
            let node = &mut self.nodes[other];
            node.fail_reports.retain(|(reporter, _)| *reporter != idx);
            if node.master == Some(idx) {
                node.master = None;
            }
        }
        self.election.votes.retain(|voter| *voter != idx);
        if self.manual.replica == Some(idx) {
            self.reset_manual_failover(cx);
        }
        let links = [self.nodes[idx].link, self.nodes[idx].inbound];
        links.into_iter().flatten().for_each(|link| self.close_link(cx, link));
        self.nodes.remove(idx);
        self.todo.routing = true;
    }
}

fn log(cx: &mut Cx<'_>, level: LogLevel, text: String) {
    cx.out.push(Action::Log { level, text });
}

fn notice(cx: &mut Cx<'_>, text: String) {
    log(cx, LogLevel::Notice, text);
}
