//! FAILOVER: a master hands its role over to one of its replicas, without losing a write.
//!
//! ```text
//!            FAILOVER                    a replica has all there is      +CONTINUE, or
//!  ┌──────┐  writes wait  ┌──────────────┐  follow it        ┌────────────┐ +FULLRESYNC  ┌──────┐
//!  │ none │ ────────────▶ │ waits for it │ ────────────────▶ │ asks it to │ ───────────▶ │ none │ a replica now
//!  └──────┘               └──────────────┘ time up: FORCE    │ take over  │              └──────┘
//!      ▲                    │ time up, ABORT                 └────────────┘
//!      └────────────────────┴────────────────────────────────── refused, ABORT: master again
//! ```
//!
//! **Invariant:** from the first step to the last writes wait: those that arrive meanwhile are carried out, or redirected,
//! when it is over.

use super::Replication;
use crate::exec::cx::AtRest;
use crate::log;
use crate::server::Server;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Default)]
pub struct Failover(Mutex<State>);

/// What FAILOVER's options ask for.
#[derive(Clone, Default, Debug)]
pub struct Plan {
    /// The replica that is to take over; otherwise the first that has everything.
    pub target: Option<(String, u16)>,
    pub deadline_ms: Option<i64>,
    /// The target takes over at the deadline even if it lacks something.
    pub force: bool,
}

#[derive(Default)]
struct State {
    phase: Phase,
    plan: Plan,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    None,
    WaitsForSync,
    AsksTarget,
}

impl Failover {
    /// As INFO names it.
    pub fn state_name(&self) -> &'static str {
        match self.0.lock().phase {
            Phase::None => "no-failover",
            Phase::WaitsForSync => "waiting-for-sync",
            Phase::AsksTarget => "failover-in-progress",
        }
    }

    pub fn is_under_way(&self) -> bool {
        self.0.lock().phase != Phase::None
    }

    /// PSYNC is to ask the target to take over.
    pub fn asks_target(&self) -> bool {
        self.0.lock().phase == Phase::AsksTarget
    }

    /// Begins. Writes wait from here on.
    pub fn begin(&self, server: &Server, plan: Plan) {
        match &plan.target {
            Some((host, port)) => log::notice(&format!("FAILOVER requested to {host}:{port}.")),
            None => log::notice("FAILOVER requested to any replica."),
        }
        *self.0.lock() = State { phase: Phase::WaitsForSync, plan };
        server.writes_paused_until_ms.store(i64::MAX, Ordering::Relaxed);
    }

    /// The target has accepted: this node follows it, and writes go on, to be redirected.
    pub fn done(&self, server: &Server) {
        if std::mem::take(&mut *self.0.lock()).phase != Phase::None {
            server.writes_paused_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Gives up, with the world at rest: this node is master again, if it was not any more. False when there is
    /// nothing to give up.
    pub fn abort_at_rest(&self, server: &Arc<Server>, why: &str) -> bool {
        let State { phase, plan } = std::mem::take(&mut *self.0.lock());
        if phase == Phase::None {
            return false;
        }
        match &plan.target {
            Some((host, port)) => log::notice(&format!("FAILOVER to {host}:{port} aborted: {why}")),
            None => log::notice(&format!("FAILOVER to any replica aborted: {why}")),
        }
        if phase == Phase::AsksTarget {
            server.replication.promote_at_rest(server);
        }
        server.writes_paused_until_ms.store(0, Ordering::Relaxed);
        true
    }

    /// Looks whether it can go on. Call it some times a second.
    pub fn cron(&self, server: &Arc<Server>, now_ms: i64) {
        if self.0.lock().phase == Phase::WaitsForSync
            && self.next_step(&server.replication, server, now_ms).is_some()
        {
            let mut world = server.gate.stop_world();
            self.step_at_rest(server, &mut world, now_ms);
        }
    }

    fn step_at_rest(&self, server: &Arc<Server>, world: &mut dyn AtRest, now_ms: i64) {
        // Looked at again: what was true without the world at rest may be so no more.
        match self.next_step(&server.replication, server, now_ms) {
            None => {}
            Some(Step::TimeUp) => {
                self.abort_at_rest(server, "Replica never caught up before timeout");
            }
            Some(Step::HandOver((host, port))) => {
                log::notice(&format!("Failover target {host}:{port} is synced, failing over."));
                self.hand_over(server, world, host, port);
            }
            Some(Step::Force((host, port))) => {
                log::notice(&format!("FAILOVER to {host}:{port} time out exceeded, failing over."));
                self.hand_over(server, world, host, port);
            }
        }
    }

    fn hand_over(&self, server: &Arc<Server>, world: &mut dyn AtRest, host: String, port: u16) {
        {
            let mut state = self.0.lock();
            state.phase = Phase::AsksTarget;
            state.plan.target = Some((host.clone(), port));
        }
        server.replication.follow_at_rest(server, world, &host, port);
    }

    fn next_step(&self, replication: &Replication, server: &Server, now_ms: i64) -> Option<Step> {
        let state = self.0.lock();
        if state.phase != Phase::WaitsForSync {
            return None;
        }
        let State { plan, .. } = &*state;
        if plan.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            let Some((host, port)) = plan.target.clone().filter(|_| plan.force) else {
                return Some(Step::TimeUp);
            };
            return Some(Step::Force((host, port)));
        }
        let end = server.log.end();
        let replicas = replication.replicas();
        let found = replicas
            .into_iter()
            .filter(|replica| replica.online && replica.acked_offset == end)
            .find(|replica| {
                plan.target.as_ref().is_none_or(|(host, port)| replica.ip == *host && replica.port == *port)
            })?;
        Some(Step::HandOver((found.ip, found.port)))
    }
}

enum Step {
    TimeUp,
    /// The replica has everything.
    HandOver((String, u16)),
    /// It has not, and takes over all the same.
    Force((String, u16)),
}
