//! What the bus's machine decides about the data, carried out behind the gate, in order.

use super::{Cluster, Routing};
use crate::clock;
use crate::exec::cx::AtRest;
use crate::server::Server;
use cluster_bus::{Action, Event};
use parking_lot::{Condvar, Mutex};
use protocol::Slot;
use protocol::reply::write_command;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A decision of the machine that concerns the data.
pub enum Apply {
    Routing,
    Follow {
        host: String,
        port: u16,
    },
    Promote,
    Flush,
    Pause {
        until_ms: i64,
    },
    /// The machine is told that writes are paused, and at which offset.
    TellPaused,
    Resume,
    DeleteSlots(Vec<Slot>),
}

impl Apply {
    pub fn of(action: Action) -> Option<Apply> {
        Some(match action {
            Action::RoutingChanged => Apply::Routing,
            Action::ReplicateFrom { ip, port, .. } => Apply::Follow { host: ip.as_str().to_owned(), port },
            Action::BecomeMaster => Apply::Promote,
            Action::FlushData => Apply::Flush,
            Action::PauseWrites { until_ms } => Apply::Pause { until_ms },
            Action::ResumeWrites => Apply::Resume,
            Action::DeleteSlotKeys { slots } => Apply::DeleteSlots(slots),
            _ => return None,
        })
    }

    /// Takes its time, and need not keep clients waiting.
    fn is_in_background(&self) -> bool {
        matches!(self, Apply::DeleteSlots(_))
    }
}

/// What has been decided and not been carried out, in order.
///
/// **Invariant:** decisions are taken only by who keeps the world from being stopped by others, so none is carried out
/// beside or before an earlier one: by the applier, or by a CLUSTER command, which must not answer before its role and
/// slots are what it says.
#[derive(Default)]
pub struct Decisions {
    queue: Mutex<VecDeque<Apply>>,
    arrived: Condvar,
}

impl Decisions {
    pub fn add(&self, decision: Apply) {
        self.queue.lock().push_back(decision);
        self.arrived.notify_one();
    }

    /// Waits for a decision. True if the next one is to be carried out beside the clients' commands.
    fn wait(&self) -> bool {
        let mut queue = self.queue.lock();
        loop {
            match queue.front() {
                Some(decision) => return decision.is_in_background(),
                None => self.arrived.wait(&mut queue),
            }
        }
    }

    /// Nothing is left to be carried out: who takes a decision does so with the world at rest.
    pub fn is_empty(&self) -> bool {
        self.queue.lock().iter().all(Apply::is_in_background)
    }

    fn take_if(&self, wanted: impl FnOnce(&Apply) -> bool) -> Option<Apply> {
        let mut queue = self.queue.lock();
        if queue.front().is_some_and(wanted) { queue.pop_front() } else { None }
    }
}

/// Carries decisions out until the process ends.
pub fn run(server: &Arc<Server>) {
    let Some(cluster) = &server.cluster else { return };
    loop {
        if cluster.decisions.wait() {
            let _background = server.gate.enter_background();
            while let Some(Apply::DeleteSlots(slots)) = cluster.decisions.take_if(Apply::is_in_background) {
                slots.into_iter().for_each(|slot| delete_slot(server, slot));
            }
        } else {
            let mut world = server.gate.stop_world();
            while let Some(decision) = cluster.decisions.take_if(|next| !next.is_in_background()) {
                carry_out(server, cluster, &mut world, decision);
            }
        }
    }
}

/// Carries out what has been decided so far, for a command that runs with the world at rest.
///
/// But what if it is one of a transaction or a script (`in_transaction`) that has written? Those writes are not in the log
/// yet. The offset at which writes are paused has to be behind them, and so have deletions; both are left for the applier.
pub fn settle(server: &Arc<Server>, cluster: &Cluster, world: &mut dyn AtRest, in_transaction: bool) {
    let mut put_off = Vec::new();
    while let Some(decision) = cluster.decisions.take_if(|_| true) {
        match decision {
            Apply::TellPaused | Apply::DeleteSlots(_) if in_transaction => put_off.push(decision),
            decision => carry_out(server, cluster, world, decision),
        }
    }
    put_off.into_iter().for_each(|decision| cluster.decisions.add(decision));
}

fn carry_out(server: &Arc<Server>, cluster: &Cluster, world: &mut dyn AtRest, decision: Apply) {
    match decision {
        Apply::Routing => {
            let before = cluster.routing();
            cluster.refresh_routing();
            let routing = cluster.routing();
            // As in stock, also when a slot goes to another node of this shard.
            server.pubsub.drop_shard_channels(server, |slot| {
                let owner = |routing: &Routing| routing.owner(slot).map(|node| node.id);
                routing.is_in_my_shard(slot) && owner(&before) == owner(&routing)
            });
            crate::blocking::redirect(server, world);
        }
        Apply::Follow { host, port } => server.replication.follow_at_rest(server, world, &host, port),
        Apply::Promote => server.replication.promote_at_rest(server),
        Apply::Flush => {
            crate::snapshot::flush(server);
            crate::tracking::all_gone(server);
        }
        Apply::Pause { until_ms } => {
            server.writes_paused_until_ms.store(until_ms, Ordering::Relaxed);
            cluster.decisions.add(Apply::TellPaused);
        }
        Apply::TellPaused => tell_paused(server, cluster),
        Apply::Resume => server.writes_paused_until_ms.store(0, Ordering::Relaxed),
        Apply::DeleteSlots(slots) => slots.into_iter().for_each(|slot| delete_slot(server, slot)),
    }
}

/// The world is at rest, and no command is half done.
fn tell_paused(server: &Server, cluster: &Cluster) {
    // But what if they have been resumed since? Then what the machine waits for, if anything, is a later pause.
    if server.writes_paused_until_ms.load(Ordering::Relaxed) != 0 {
        cluster.event(Event::WritesPaused { repl_offset: server.log.end() });
    }
}

/// Deletes all keys of a slot that went to another node.
fn delete_slot(server: &Server, slot: Slot) {
    let Some(db) = server.keyspace.db(0) else { return };
    let mut guard = db.lock_write(slot);
    if let Some(side) = guard.side() {
        side.blocked.iter().for_each(|(key, _)| crate::blocking::tell(server, side, 0, key));
    }
    let table = guard.take();
    if server.log.is_active() && !server.replication.is_replica() {
        let lazy = server.settings().lazyfree_server_del;
        let mut dels = Vec::new();
        for entry in table.iter() {
            use keyspace::table::Item;
            write_command(&mut dels, [crate::lazyfree::deletion(lazy), entry.key()].into_iter());
        }
        if !dels.is_empty() {
            server.log.append(0, 0, &dels);
        }
    }
}

impl Server {
    /// Writes wait: a failover is being handed over, or CLIENT PAUSE asked for it.
    pub fn are_writes_paused(&self) -> bool {
        let until_ms = self.writes_paused_until_ms.load(Ordering::Relaxed);
        until_ms != 0 && clock::now_ms() < until_ms || self.pause.holds_writes()
    }
}
