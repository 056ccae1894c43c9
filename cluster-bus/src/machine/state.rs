//! Whether the cluster is up, as this node sees it.

use super::{Cx, LogLevel, Machine, log};
use crate::flags::NodeFlags;

/// A master that starts waits this long before it serves: another may have taken its slots.
const WRITABLE_DELAY_MS: i64 = 2000;
const MIN_REJOIN_DELAY_MS: i64 = 500;
const MAX_REJOIN_DELAY_MS: i64 = 5000;

#[derive(Default)]
pub(super) struct ClusterState {
    pub ok: bool,
    /// Masters with at least one slot: the voters.
    pub size: usize,
    first_evaluated_ms: Option<i64>,
    /// When this node last saw only a minority of the masters.
    in_minority_ms: Option<i64>,
}

impl Machine {
    pub(super) fn update_state(&mut self, cx: &mut Cx<'_>) {
        self.todo.update_state = false;
        let first_ms = *self.state.first_evaluated_ms.get_or_insert(cx.now_ms);
        let is_master = self.me().is_master();
        let (size, reachable) = self.count_masters();
        self.state.size = size;
        if is_master && !self.state.ok && cx.now_ms - first_ms < WRITABLE_DELAY_MS {
            return;
        }
        let mut ok = !self.config.require_full_coverage || self.is_covered();
        if reachable < self.quorum() {
            ok = false;
            self.state.in_minority_ms = Some(cx.now_ms);
        }
        if ok == self.state.ok {
            return;
        }
        let rejoin_delay_ms = self.config.node_timeout_ms.clamp(MIN_REJOIN_DELAY_MS, MAX_REJOIN_DELAY_MS);
        let just_back = self.state.in_minority_ms.is_some_and(|at_ms| cx.now_ms - at_ms < rejoin_delay_ms);
        if ok && is_master && just_back {
            return;
        }
        let (level, word) = if ok { (LogLevel::Notice, "ok") } else { (LogLevel::Warning, "fail") };
        log(cx, level, format!("Cluster state changed: {word}"));
        self.state.ok = ok;
        self.todo.routing = true;
    }

    /// Voters, and those of them this node can reach.
    pub(super) fn count_masters(&self) -> (usize, usize) {
        self.nodes.iter().filter(|(_, node)| node.is_voter()).fold((0, 0), |(size, reachable), (_, node)| {
            (size + 1, reachable + usize::from(!node.has(NodeFlags::FAILING)))
        })
    }

    fn is_covered(&self) -> bool {
        self.slots.is_fully_covered()
            && self.nodes.iter().all(|(_, node)| node.slots.is_empty() || !node.is_failed())
    }
}
