//! Elections: a replica asks the masters for its failed master's place, and masters vote.
//!
//! ```text
//!  master FAIL ──▶ scheduled ──delay over──▶ asking ──quorum──▶ promoted
//!                    ▲   500 + random(500)     │ 2 × node-timeout
//!                    │   + 1000 × rank ms      ▼
//!                    └───4 × node-timeout─── expired
//! ```

use super::node::NodeIdx;
use super::send::Audience;
use super::{Cx, LogLevel, Machine, MasterLink, log, notice};
use crate::id::Epoch;
use crate::slot_set::bitmap_slots;
use crate::wire::Header;

/// Lets the FAIL message reach the voters first.
const FIXED_DELAY_MS: i64 = 500;
const RANDOM_DELAY_MS: u32 = 500;
/// Replicas with less data wait this much longer, per replica ahead of them.
const RANK_DELAY_MS: i64 = 1000;
/// A reason for not failing over is repeated in the log at most this often.
const RELOG_MS: i64 = 10_000;

/// The election this replica runs or last ran.
#[derive(Default)]
pub(crate) struct Election {
    /// When it starts or started.
    starts_ms: i64,
    asked: bool,
    rank: usize,
    epoch: Epoch,
    /// Masters that voted for this replica in `epoch`.
    pub votes: Vec<NodeIdx>,
    obstacle: Option<Obstacle>,
    logged_ms: i64,
}

impl Election {
    /// Drops votes and schedule, so that the next failure starts afresh.
    pub fn forget(&mut self) {
        *self = Election::default();
    }
}

/// Why a replica does not replace its failed master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Obstacle {
    DataAge,
    WaitingDelay,
    Expired,
    WaitingVotes,
}

impl Obstacle {
    const fn text(self) -> &'static str {
        match self {
            Obstacle::DataAge => {
                "Disconnected from master for longer than allowed. Please check the \
                 'cluster-replica-validity-factor' configuration option."
            }
            Obstacle::WaitingDelay => "Waiting the delay before I can start a new failover.",
            Obstacle::Expired => "Failover attempt expired.",
            Obstacle::WaitingVotes => "Waiting for votes, but majority still not reached.",
        }
    }
}

impl Machine {
    /// One step of the election, called at each tick and whenever something it waits for happened.
    pub(super) fn advance_election(&mut self, cx: &mut Cx<'_>) {
        let manual = self.manual.can_start();
        let Some(master) = self.master_to_replace(manual) else {
            self.election.obstacle = None;
            return;
        };
        if !manual && !self.data_is_fresh(cx.now_ms) {
            return self.log_obstacle(cx, master, Obstacle::DataAge);
        }
        let age_ms = cx.now_ms - self.election.starts_ms;
        let timeout_ms = self.config.auth_timeout_ms();
        if age_ms > timeout_ms * 2 {
            return self.schedule_election(cx);
        }
        self.follow_rank(cx);
        if cx.now_ms < self.election.starts_ms {
            self.log_obstacle(cx, master, Obstacle::WaitingDelay);
        } else if age_ms > timeout_ms {
            self.log_obstacle(cx, master, Obstacle::Expired);
        } else if !self.election.asked {
            self.ask_for_votes(cx);
        } else if self.election.votes.len() >= self.quorum() {
            self.win(cx);
        } else {
            self.log_obstacle(cx, master, Obstacle::WaitingVotes);
        }
    }

    /// This node's master, when it has slots and is failed (or the operator wants it replaced).
    fn master_to_replace(&self, manual: bool) -> Option<NodeIdx> {
        let idx = self.me().master.filter(|_| self.me().is_replica())?;
        let master = &self.nodes[idx];
        let wanted = manual || (master.is_failed() && !self.config.replica_no_failover);
        (wanted && !master.slots.is_empty()).then_some(idx)
    }

    /// Whether the data is recent enough to be worth a promotion. The time it takes to notice a failure is
    /// not held against it.
    fn data_is_fresh(&self, now_ms: i64) -> bool {
        if self.config.replica_validity_factor == 0 {
            return true;
        }
        let age_ms = match self.replication.master_link {
            MasterLink::Never => return false,
            MasterLink::Up { last_interaction_ms } => now_ms - last_interaction_ms,
            MasterLink::Down { since_ms } => now_ms - since_ms,
        };
        let timeout_ms = self.config.node_timeout_ms;
        let age_ms = if age_ms > timeout_ms { age_ms - timeout_ms } else { age_ms };
        let limit_ms = timeout_ms.saturating_mul(self.config.replica_validity_factor);
        age_ms <= limit_ms.saturating_add(self.config.repl_ping_period_ms)
    }

    /// Fellow replicas known to hold more data.
    fn rank(&self) -> usize {
        let Some(master) = self.me().master else { return 0 };
        let ahead = |idx: &&NodeIdx| {
            let node = &self.nodes[**idx];
            **idx != self.me
                && !node.has(crate::flags::NodeFlags::NOFAILOVER)
                && node.repl_offset > self.replication.repl_offset
        };
        self.nodes[master].replicas.iter().filter(ahead).count()
    }

    fn schedule_election(&mut self, cx: &mut Cx<'_>) {
        let (mut delay_ms, mut rank) = (0, 0);
        if !self.manual.is_active() {
            rank = self.rank();
            delay_ms =
                FIXED_DELAY_MS + i64::from(cx.rng.u32(..RANDOM_DELAY_MS)) + rank as i64 * RANK_DELAY_MS;
        }
        self.election.starts_ms = cx.now_ms + delay_ms;
        self.election.rank = rank;
        self.election.asked = false;
        self.election.votes.clear();
        self.todo.failover |= self.manual.is_active();
        let offset = self.replication.repl_offset;
        notice(
            cx,
            format!("Start of election delayed for {delay_ms} milliseconds (rank #{rank}, offset {offset})."),
        );
        // The other replicas of this master compare their offsets with this one's.
        self.broadcast_pong(cx, Audience::MyShard);
    }

    /// News of replicas with more data push the start back.
    fn follow_rank(&mut self, cx: &mut Cx<'_>) {
        if self.election.asked || self.manual.is_active() {
            return;
        }
        let rank = self.rank();
        if rank > self.election.rank {
            let added_ms = (rank - self.election.rank) as i64 * RANK_DELAY_MS;
            self.election.starts_ms += added_ms;
            self.election.rank = rank;
            notice(cx, format!("Replica rank updated to #{rank}, added {added_ms} milliseconds of delay."));
        }
    }

    fn ask_for_votes(&mut self, cx: &mut Cx<'_>) {
        self.current_epoch = self.current_epoch.next();
        self.election.epoch = self.current_epoch;
        self.election.asked = true;
        notice(cx, format!("Starting a failover election for epoch {}.", self.current_epoch));
        self.broadcast_auth_request(cx);
        self.todo.save_and_sync();
        self.todo.update_state = true;
    }

    /// A vote counts once per master, and only for the epoch it was asked for.
    pub(super) fn hear_vote(&mut self, sender: NodeIdx, header: &Header<'_>) {
        let counts = self.election.asked
            && self.nodes[sender].is_voter()
            && header.current_epoch == self.election.epoch
            && !self.election.votes.contains(&sender);
        if counts {
            self.election.votes.push(sender);
            self.todo.failover = true;
        }
    }

    fn win(&mut self, cx: &mut Cx<'_>) {
        notice(cx, "Failover election won: I'm the new master.".to_owned());
        let epoch = self.election.epoch;
        if self.me().config_epoch < epoch {
            self.me_mut().config_epoch = epoch;
            notice(cx, format!("configEpoch set to {epoch} after successful failover"));
        }
        self.replace_master(cx);
    }

    /// Takes over the master's slots and tells everybody. The epoch for it is this node's already.
    pub(super) fn replace_master(&mut self, cx: &mut Cx<'_>) {
        let Some(old) = self.me().master.filter(|_| self.me().is_replica()) else { return };
        self.become_master(cx);
        for slot in self.nodes[old].slots.iter().collect::<Vec<_>>() {
            self.unassign(slot);
            self.assign(slot, self.me);
        }
        self.election.forget();
        self.update_state(cx);
        self.todo.save_and_update();
        self.todo.save_and_sync();
        self.broadcast_pong(cx, Audience::Everybody);
        self.reset_manual_failover(cx);
    }

    /// Votes for a replica if nothing speaks against it: once per epoch, and on disk before it is sent.
    pub(super) fn vote_if_due(&mut self, cx: &mut Cx<'_>, candidate: NodeIdx, header: &Header<'_>) {
        if !self.me().is_voter() {
            return;
        }
        let label = self.label(candidate);
        if let Err(reason) = self.may_vote(cx.now_ms, candidate, header) {
            return log(cx, LogLevel::Warning, format!("Failover auth denied to {label}: {reason}"));
        }
        self.last_vote_epoch = self.current_epoch;
        if let Some(master) = self.nodes[candidate].master {
            self.nodes[master].voted_ms = cx.now_ms;
        }
        self.todo.save_and_sync();
        self.send_auth_ack(cx, candidate);
        notice(cx, format!("Failover auth granted to {label} for epoch {}", self.current_epoch));
    }

    fn may_vote(&self, now_ms: i64, candidate: NodeIdx, header: &Header<'_>) -> Result<(), String> {
        let current = self.current_epoch;
        if header.current_epoch < current {
            return Err(format!("reqEpoch ({}) < curEpoch({current})", header.current_epoch));
        }
        if self.last_vote_epoch >= current {
            return Err(format!("already voted for epoch {current}"));
        }
        let node = &self.nodes[candidate];
        if node.is_master() {
            return Err("it is a master node".to_owned());
        }
        let master = node.master.ok_or("I don't know its master")?;
        let master = &self.nodes[master];
        if !master.is_failed() && !header.message_flags.force_ack {
            return Err("its master is up".to_owned());
        }
        let since_vote_ms = now_ms - master.voted_ms;
        let pause_ms = self.config.node_timeout_ms * 2;
        if since_vote_ms < pause_ms {
            let left_ms = pause_ms - since_vote_ms;
            return Err(format!("can't vote about this master before {left_ms} milliseconds"));
        }
        for slot in bitmap_slots(header.slots).filter(|slot| !self.slots.is_unclaimed(*slot)) {
            let Some(owner) = self.slots.owner(slot) else { continue };
            let (epoch, requested) = (self.nodes[owner].config_epoch, header.config_epoch);
            if epoch > requested {
                return Err(format!("slot {slot} epoch ({epoch}) > reqEpoch ({requested})"));
            }
        }
        Ok(())
    }

    /// Says why the master is not replaced: when the reason changes, and now and then. Not within the first
    /// seconds after the failure, when waiting is normal.
    fn log_obstacle(&mut self, cx: &mut Cx<'_>, master: NodeIdx, obstacle: Obstacle) {
        if self.election.obstacle == Some(obstacle) && cx.now_ms - self.election.logged_ms < RELOG_MS {
            return;
        }
        self.election.obstacle = Some(obstacle);
        let master = &self.nodes[master];
        if master.is_failed() && cx.now_ms - master.fail_ms < self.config.node_timeout_ms + 5000 {
            return;
        }
        self.election.logged_ms = cx.now_ms;
        notice(cx, format!("Currently unable to failover: {}", obstacle.text()));
        if matches!(obstacle, Obstacle::Expired | Obstacle::WaitingVotes) {
            let (quorum, votes) = (self.quorum(), self.election.votes.len());
            notice(cx, format!("Needed quorum: {quorum}. Number of votes received so far: {votes}"));
        }
    }
}
