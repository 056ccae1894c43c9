//! Configuration epochs outside of elections: bumps and collisions.

use super::node::NodeIdx;
use super::{Cx, LogLevel, Machine, log, notice};
use crate::id::Epoch;
use crate::wire::Header;

impl Machine {
    /// The greatest epoch known.
    pub(super) fn max_epoch(&self) -> Epoch {
        self.nodes.iter().map(|(_, node)| node.config_epoch).fold(self.current_epoch, Epoch::max)
    }

    /// Takes a new configuration epoch without asking, unless this node has the greatest already. For what
    /// the operator ordered: the end of a migration, a takeover. A collision is resolved afterwards.
    pub(super) fn bump_without_consensus(&mut self, cx: &mut Cx<'_>) -> bool {
        let mine = self.me().config_epoch;
        if mine != Epoch(0) && mine == self.max_epoch() {
            return false;
        }
        self.current_epoch = self.current_epoch.next();
        self.me_mut().config_epoch = self.current_epoch;
        self.todo.save_and_sync();
        notice(cx, format!("New configEpoch set to {}", self.current_epoch));
        true
    }

    /// Two masters with one epoch: the one with the smaller id moves on. The greatest id never moves, so
    /// this ends.
    pub(super) fn resolve_epoch_collision(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, header: &Header<'_>) {
        let (other, me) = (&self.nodes[sender], self.me());
        let collides = other.is_master()
            && me.is_master()
            && header.config_epoch == me.config_epoch
            && other.config_epoch == me.config_epoch;
        if !collides || other.id <= me.id {
            return;
        }
        self.current_epoch = self.current_epoch.next();
        self.me_mut().config_epoch = self.current_epoch;
        self.todo.save_and_sync();
        let (label, epoch) = (self.label(sender), self.current_epoch);
        let text = format!("WARNING: configEpoch collision with node {label}. configEpoch set to {epoch}");
        log(cx, LogLevel::Verbose, text);
    }
}
