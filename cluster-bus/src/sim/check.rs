//! What must hold in every run.

use super::net::Host;
use crate::wire::MessageType;
use crate::{Action, Epoch, Machine, NodeId};
use std::collections::HashMap;
use std::fmt;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub checker: &'static str,
    pub at_ms: i64,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: {}", self.checker, self.at_ms, self.detail)
    }
}

/// What a node last showed.
#[derive(Clone, Copy, Default)]
struct Shown {
    current: Epoch,
    voted: Epoch,
    /// As a master.
    config: Option<Epoch>,
}

/// Watches each step of each node:
///
/// * `epochs-never-fall`: within a life, `currentEpoch`, `lastVoteEpoch` and a master's `configEpoch` only
///   grow; over a crash, `lastVoteEpoch` does not fall either.
/// * `one-vote-per-epoch`: over all its lives, a node votes for at most one candidate per epoch.
/// * `vote-is-durable`: a vote leaves after a synced save in the same step.
/// * `one-winner-per-epoch`: no two nodes win an election in the same epoch.
/// * `action-order`: saves come first, messages last.
#[derive(Default)]
pub struct Checker {
    shown: HashMap<Host, Shown>,
    votes: HashMap<(NodeId, Epoch), Host>,
    winners: HashMap<Epoch, NodeId>,
    /// Elections won.
    pub elections_won: usize,
}

impl Checker {
    /// A node lost what it had not written down.
    pub(super) fn crashed(&mut self, host: Host) {
        if let Some(shown) = self.shown.get_mut(&host) {
            *shown = Shown { voted: shown.voted, ..Shown::default() };
        }
    }

    /// Looks at one call of a machine and its actions. `to` finds the receiver of a message.
    pub(super) fn check_step(
        &mut self,
        host: Host,
        machine: &Machine,
        actions: &[Action],
        to: impl Fn(&Action) -> Option<Host>,
    ) -> Result<(), (&'static str, String)> {
        self.check_epochs(host, machine)?;
        if !actions.is_sorted_by_key(Action::phase) {
            let phases: Vec<u8> = actions.iter().map(Action::phase).collect();
            return Err(("action-order", format!("node {host}: phases {phases:?}")));
        }
        let synced = actions.first() == Some(&Action::SaveConfig { fsync: true });
        for action in actions {
            match action {
                Action::Send { frame, .. } if frame[13] == MessageType::AuthAck as u8 => {
                    if !synced {
                        return Err(("vote-is-durable", format!("node {host} votes without a save")));
                    }
                    if let Some(candidate) = to(action) {
                        self.check_vote(machine, candidate)?;
                    }
                }
                Action::Log { text, .. } if text.starts_with("Failover election won") => {
                    self.check_win(machine)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_epochs(&mut self, host: Host, machine: &Machine) -> Result<(), (&'static str, String)> {
        let now = Shown {
            current: machine.current_epoch(),
            voted: machine.last_vote_epoch(),
            config: machine.is_master().then(|| machine.config_epoch()),
        };
        let before = self.shown.insert(host, now).unwrap_or_default();
        let config_fell = matches!((before.config, now.config), (Some(old), Some(new)) if new < old);
        if now.current < before.current || now.voted < before.voted || config_fell {
            let detail = format!(
                "node {host}: current {:?} -> {:?}, voted {:?} -> {:?}, config {:?} -> {:?}",
                before.current, now.current, before.voted, now.voted, before.config, now.config
            );
            return Err(("epochs-never-fall", detail));
        }
        Ok(())
    }

    fn check_vote(&mut self, machine: &Machine, candidate: Host) -> Result<(), (&'static str, String)> {
        let key = (machine.my_id(), machine.last_vote_epoch());
        let first = *self.votes.entry(key).or_insert(candidate);
        if first != candidate {
            let detail = format!("{} voted for {first} and {candidate} in {:?}", key.0, key.1);
            return Err(("one-vote-per-epoch", detail));
        }
        Ok(())
    }

    fn check_win(&mut self, machine: &Machine) -> Result<(), (&'static str, String)> {
        self.elections_won += 1;
        let (epoch, id) = (machine.config_epoch(), machine.my_id());
        let first = *self.winners.entry(epoch).or_insert(id);
        if first != id {
            return Err(("one-winner-per-epoch", format!("{first} and {id} both won {epoch:?}")));
        }
        Ok(())
    }
}
