//! What the bus's machine decides about the data, carried out behind the gate, in order.

use super::{Cluster, Routing};
use crate::clock;
use crate::server::Server;
use cluster_bus::{Action, Event};
use protocol::Slot;
use protocol::reply::write_command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A decision of the machine that concerns the data.
pub enum Apply {
    Routing,
    Follow { host: String, port: u16 },
    Promote,
    Flush,
    Pause { until_ms: i64 },
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
}

/// Carries decisions out until the process ends.
pub fn run(server: &Arc<Server>) {
    let Some(cluster) = &server.cluster else { return };
    let Some(decisions) = cluster.applier_end.lock().take() else { return };
    while let Ok(decision) = decisions.recv() {
        carry_out(server, cluster, decision);
    }
}

fn carry_out(server: &Arc<Server>, cluster: &Cluster, decision: Apply) {
    match decision {
        Apply::Routing => {
            let mut world = server.gate.stop_world();
            let before = cluster.routing();
            cluster.refresh_routing();
            let routing = cluster.routing();
            // As in stock, also when a slot goes to another node of this shard.
            server.pubsub.drop_shard_channels(server, |slot| {
                let owner = |routing: &Routing| routing.owner(slot).map(|node| node.id);
                routing.is_in_my_shard(slot) && owner(&before) == owner(&routing)
            });
            crate::blocking::redirect(server, &mut world);
        }
        Apply::Follow { host, port } => server.replication.follow(server, &host, port),
        Apply::Promote => server.replication.promote(server),
        Apply::Flush => {
            let _world = server.gate.stop_world();
            crate::snapshot::flush(server);
            crate::tracking::all_gone(server);
        }
        Apply::Pause { until_ms } => {
            let repl_offset = {
                let _world = server.gate.stop_world();
                server.writes_paused_until_ms.store(until_ms, Ordering::Relaxed);
                server.log.end()
            };
            cluster.event(Event::WritesPaused { repl_offset });
        }
        Apply::Resume => server.writes_paused_until_ms.store(0, Ordering::Relaxed),
        Apply::DeleteSlots(slots) => {
            let _background = server.gate.enter_background();
            slots.into_iter().for_each(|slot| delete_slot(server, slot));
        }
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
