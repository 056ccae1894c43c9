//! Failure detection: suspicion (PFAIL), reports of others, and the quorum that makes it FAIL.

use super::node::NodeIdx;
use super::{Cx, LogLevel, Machine, log, notice};
use crate::flags::NodeFlags;
use crate::wire::Heartbeat;

/// Validity of a failure report, in node timeouts.
const REPORT_VALIDITY: i64 = 2;
/// A failed master that is reachable and still owns its slots is cleared after this many node timeouts.
const FAIL_UNDO: i64 = 2;
/// PFAIL news is pushed to the voters at most this often.
const ALARM_INTERVAL_MS: i64 = 1000;

impl Machine {
    pub(super) fn quorum(&self) -> usize {
        self.state.size / 2 + 1
    }

    /// A master says that it can or cannot reach a node.
    pub(super) fn hear_failure_report(
        &mut self,
        cx: &mut Cx<'_>,
        sender: NodeIdx,
        idx: NodeIdx,
        failing: bool,
    ) {
        let reports = &mut self.nodes[idx].fail_reports;
        let known = reports.iter().position(|(reporter, _)| *reporter == sender);
        match (failing, known) {
            (true, Some(at)) => reports[at].1 = cx.now_ms,
            (true, None) => {
                reports.push((sender, cx.now_ms));
                let (from, about) = (self.label(sender), self.label(idx));
                log(cx, LogLevel::Verbose, format!("Node {from} reported node {about} as not reachable."));
            }
            (false, Some(at)) => {
                reports.remove(at);
                let (from, about) = (self.label(sender), self.label(idx));
                log(cx, LogLevel::Verbose, format!("Node {from} reported node {about} is back online."));
            }
            (false, None) => {}
        }
        if failing {
            self.fail_if_quorum(cx, idx);
        }
    }

    /// How many masters recently reported the node, this one not counted.
    pub(super) fn count_reports(&mut self, now_ms: i64, idx: NodeIdx) -> usize {
        let max_age_ms = self.config.node_timeout_ms * REPORT_VALIDITY;
        let reports = &mut self.nodes[idx].fail_reports;
        reports.retain(|(_, at_ms)| now_ms - at_ms <= max_age_ms);
        reports.len()
    }

    /// PFAIL becomes FAIL when a majority of masters agrees, and everybody is told.
    pub(super) fn fail_if_quorum(&mut self, cx: &mut Cx<'_>, idx: NodeIdx) {
        if !self.nodes[idx].is_pfail() || self.nodes[idx].is_failed() {
            return;
        }
        let votes = self.count_reports(cx.now_ms, idx) + usize::from(self.me().is_master());
        if votes < self.quorum() {
            return;
        }
        notice(cx, format!("Marking node {} as failing (quorum reached).", self.label(idx)));
        self.set_failed(cx.now_ms, idx);
        self.broadcast_fail(cx, idx);
    }

    fn set_failed(&mut self, now_ms: i64, idx: NodeIdx) {
        let node = &mut self.nodes[idx];
        node.flags.remove(NodeFlags::PFAIL);
        node.flags.insert(NodeFlags::FAIL);
        node.fail_ms = now_ms;
        self.todo.save_and_update();
        self.todo.failover = true;
    }

    pub(super) fn hear_fail_message(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, failing: NodeIdx) {
        if self.nodes[failing].has(NodeFlags::FAIL.with(NodeFlags::MYSELF)) {
            return;
        }
        let (from, about) = (self.label(sender), self.label(failing));
        notice(cx, format!("FAIL message received from {from} about {about}"));
        self.set_failed(cx.now_ms, failing);
    }

    /// A failed node answers again.
    pub(super) fn clear_failure_if_due(&mut self, cx: &mut Cx<'_>, idx: NodeIdx) {
        let label = self.label(idx);
        let node = &self.nodes[idx];
        let slotless = node.is_replica() || node.slots.is_empty();
        let old_enough = cx.now_ms - node.fail_ms > self.config.node_timeout_ms * FAIL_UNDO;
        let text = if slotless {
            let what = if node.is_replica() { "replica" } else { "master without slots" };
            format!("Clear FAIL state for node {label}:{what} is reachable again.")
        } else if node.is_master() && old_enough {
            format!(
                "Clear FAIL state for node {label}: is reachable again and nobody is serving its slots after \
                 some time."
            )
        } else {
            return;
        };
        notice(cx, text);
        self.nodes[idx].flags.remove(NodeFlags::FAIL);
        self.todo.save_and_update();
    }

    /// The node has been silent for too long, or refuses connections.
    pub(super) fn suspect(&mut self, cx: &mut Cx<'_>, idx: NodeIdx) {
        if self.nodes[idx].has(NodeFlags::FAILING) {
            return;
        }
        self.nodes[idx].flags.insert(NodeFlags::PFAIL);
        self.pfail_nodes += 1;
        self.todo.update_state = true;
        self.todo.routing = true;
        log(cx, LogLevel::Debug, format!("*** NODE {} possibly failing", self.nodes[idx].id));
        // In stock only a lone master concludes at once; here reports may have come before the suspicion.
        self.fail_if_quorum(cx, idx);
        self.alarm_pending |= self.me().is_voter();
    }

    /// Tells the other voters of a new suspicion now, instead of with the next ping that happens to be
    /// due. A PONG nobody asked for: its gossip carries every node in PFAIL.
    pub(super) fn alarm_voters(&mut self, cx: &mut Cx<'_>) {
        if !self.alarm_pending || cx.now_ms - self.last_alarm_ms < ALARM_INTERVAL_MS {
            return;
        }
        self.alarm_pending = false;
        self.last_alarm_ms = cx.now_ms;
        for idx in self.nodes.indices() {
            let node = &self.nodes[idx];
            if idx == self.me || !node.is_voter() || node.has(NodeFlags::FAILING) {
                continue;
            }
            if let Some(link) = self.link_to(idx) {
                self.send_heartbeat(cx, link, Heartbeat::Pong);
            }
        }
    }

    /// Suspects a node whose host keeps refusing connections (see [`RefusalEvidence`](super::RefusalEvidence)).
    pub(super) fn weigh_refusals(&mut self, cx: &mut Cx<'_>, idx: NodeIdx) {
        let Some(evidence) = self.config.refusal_evidence else { return };
        let node = &self.nodes[idx];
        let lasted_ms = cx.now_ms - node.refusals.since_ms;
        let speaks_itself = node.inbound.is_some() && cx.now_ms - node.data_received_ms < lasted_ms;
        if node.seen_alive
            && !node.in_handshake()
            && !speaks_itself
            && node.refusals.count >= evidence.min_refusals
            && lasted_ms >= evidence.min_duration_ms
        {
            self.suspect(cx, idx);
        }
    }
}
