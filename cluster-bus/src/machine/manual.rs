//! Manual failover: the operator asks a replica to take its master's place without losing a write.
//!
//! ```text
//!  replica                         master
//!     │──────────MFSTART────────────▶│ PauseWrites
//!     │                              │ … the server answers WritesPaused{offset}
//!     │◀──PING, PAUSED, offset───────│
//!     │ processes up to that offset  │
//!     │──AUTH_REQUEST, FORCEACK──▶ all masters
//!     │ won: claims the slots ──────▶│ becomes a replica, ResumeWrites
//! ```
//!
//! Stock pauses and reads its offset in one breath. Here writes run on other threads, so the offset is only
//! announced once the server says that no write runs any more.

use super::node::NodeIdx;
use super::{Action, CommandError, Cx, LogLevel, Machine, log, notice};
use crate::wire::{Header, Heartbeat};

/// Time for the whole procedure.
const TIMEOUT_MS: i64 = 5000;
/// The master holds writes for at most this long.
const PAUSE_MS: i64 = TIMEOUT_MS * 2;

/// How much agreement CLUSTER FAILOVER needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailoverMode {
    /// With the master's help, no write lost.
    Graceful,
    /// Without the master; the other masters still vote.
    Force,
    /// Without anybody's consent.
    Takeover,
}

/// A manual failover in progress, as master or as replica.
#[derive(Default)]
pub(crate) struct ManualFailover {
    /// When it is given up; `None` when there is none.
    ends_ms: Option<i64>,
    /// Master: the replica that takes over.
    pub replica: Option<NodeIdx>,
    /// Master: the server has confirmed that no write runs.
    writes_paused: bool,
    /// Replica: the offset to reach.
    master_offset: Option<u64>,
    /// Replica: the election may start.
    can_start: bool,
}

impl ManualFailover {
    pub fn is_active(&self) -> bool {
        self.ends_ms.is_some()
    }

    pub fn can_start(&self) -> bool {
        self.is_active() && self.can_start
    }

    pub fn writes_paused(&self) -> bool {
        self.is_active() && self.writes_paused
    }
}

impl Machine {
    /// CLUSTER FAILOVER, on a replica.
    pub fn failover(&mut self, cx: &mut Cx<'_>, mode: FailoverMode) -> Result<(), CommandError> {
        if self.me().is_master() {
            return Err(CommandError::FailoverOnMaster);
        }
        let master = self.me().master.ok_or(CommandError::MasterUnknown)?;
        let unreachable = self.nodes[master].is_failed() || self.link_to(master).is_none();
        if mode == FailoverMode::Graceful && unreachable {
            return Err(CommandError::MasterDown);
        }
        let start = cx.out.len();
        self.reset_manual_failover(cx);
        self.manual.ends_ms = Some(cx.now_ms + TIMEOUT_MS);
        // An earlier election must not delay this one.
        self.election.forget();
        match mode {
            FailoverMode::Takeover => {
                notice(cx, "Taking over the master (user request).".to_owned());
                self.bump_without_consensus(cx);
                self.replace_master(cx);
            }
            FailoverMode::Force => {
                notice(cx, "Forced failover user request accepted.".to_owned());
                self.manual.can_start = true;
                self.todo.failover = true;
            }
            FailoverMode::Graceful => {
                notice(cx, "Manual failover user request accepted.".to_owned());
                self.send_mf_start(cx, master);
            }
        }
        self.settle(cx, start);
        Ok(())
    }

    /// True while every change of the replication offset should be reported at once.
    pub fn wants_offsets(&self) -> bool {
        self.manual.master_offset.is_some() && !self.manual.can_start
    }

    /// Ends a manual failover, whatever its outcome.
    pub(super) fn reset_manual_failover(&mut self, cx: &mut Cx<'_>) {
        if self.manual.replica.is_some() {
            cx.out.push(Action::ResumeWrites);
        }
        self.manual = ManualFailover::default();
    }

    pub(super) fn expire_manual_failover(&mut self, cx: &mut Cx<'_>) {
        if self.manual.ends_ms.is_some_and(|ends_ms| ends_ms < cx.now_ms) {
            log(cx, LogLevel::Warning, "Manual failover timed out.".to_owned());
            self.reset_manual_failover(cx);
        }
    }

    /// Master: one of its replicas wants to take over.
    pub(super) fn hear_mf_start(&mut self, cx: &mut Cx<'_>, sender: NodeIdx) {
        if self.nodes[sender].master != Some(self.me) || !self.me().is_master() {
            return;
        }
        self.reset_manual_failover(cx);
        self.manual.ends_ms = Some(cx.now_ms + TIMEOUT_MS);
        self.manual.replica = Some(sender);
        cx.out.push(Action::PauseWrites { until_ms: cx.now_ms + PAUSE_MS });
        notice(cx, format!("Manual failover requested by replica {}.", self.label(sender)));
    }

    /// Master: writes stand still, so the offset may be announced.
    pub(super) fn writes_paused(&mut self, cx: &mut Cx<'_>, repl_offset: u64) {
        let Some(replica) = self.manual.replica.filter(|_| self.manual.is_active()) else { return };
        self.manual.writes_paused = true;
        self.replication.repl_offset = repl_offset;
        self.ping_taking_over(cx, replica);
    }

    /// Master: pings the replica that takes over, on whichever link there is.
    pub(super) fn ping_taking_over(&mut self, cx: &mut Cx<'_>, replica: NodeIdx) {
        let link = self.link_to(replica).or(self.nodes[replica].inbound);
        if let Some(link) = link {
            self.send_heartbeat(cx, link, Heartbeat::Ping);
        }
    }

    /// Master: the replica to ping at each tick.
    pub(super) fn taking_over(&self) -> Option<NodeIdx> {
        self.manual.replica.filter(|_| self.manual.is_active() && self.me().is_master())
    }

    /// Replica: the master announces the offset it paused at.
    pub(super) fn hear_paused_offset(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, header: &Header<'_>) {
        let awaited = self.manual.is_active()
            && self.me().is_replica()
            && self.me().master == Some(sender)
            && header.message_flags.paused
            && self.manual.master_offset.is_none();
        if awaited {
            let offset = header.repl_offset;
            self.manual.master_offset = Some(offset);
            self.todo.manual = true;
            notice(cx, format!("Received replication offset for paused master manual failover: {offset}"));
        }
    }

    /// Replica: starts the election once all of the master's stream is processed.
    pub(super) fn advance_manual_failover(&mut self, cx: &mut Cx<'_>) {
        let ready = self.manual.is_active()
            && !self.manual.can_start
            && self.manual.master_offset == Some(self.replication.repl_offset);
        if ready {
            self.manual.can_start = true;
            self.todo.failover = true;
            notice(cx, "All master replication stream processed, manual failover can start.".to_owned());
        }
    }
}
