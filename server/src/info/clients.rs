//! Who is connected.

use super::Text;
use crate::exec::Cx;
use std::sync::atomic::Ordering::Relaxed;

pub fn clients(text: &mut Text, cx: &Cx<'_>) {
    let stats = &cx.server.stats;
    let replicas = cx.server.replication.replicas().len() as i64;
    text.field("connected_clients", stats.connected.load(Relaxed) - replicas);
    text.field("cluster_connections", 0);
    text.field("maxclients", cx.settings.maxclients);
    let (input_max, output_max) = cx.server.client_memory.recent_max();
    text.field("client_recent_max_input_buffer", input_max);
    text.field("client_recent_max_output_buffer", output_max);
    text.field("blocked_clients", stats.blocked.load(Relaxed));
    let waiters = cx.server.waiters.summary();
    text.field("tracking_clients", cx.server.tracking.summary().clients);
    text.field("clients_in_timeout_table", waiters.with_deadline);
    text.field("total_blocking_keys", waiters.keys);
    text.field("total_blocking_keys_on_nokey", waiters.keys_on_nokey);
}
