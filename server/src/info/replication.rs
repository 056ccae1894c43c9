//! Who follows whom.

use super::Text;
use crate::exec::Cx;

pub fn replication(text: &mut Text, cx: &Cx<'_>) {
    let (replication, log) = (&cx.server.replication, &cx.server.log);
    let history = replication.history();
    text.field("role", if replication.is_replica() { "slave" } else { "master" });
    if replication.is_replica() {
        master(text, cx);
    }
    let replicas = replication.replicas();
    text.field("connected_slaves", replicas.len());
    if cx.settings.min_replicas_to_write > 0 && cx.settings.min_replicas_max_lag_seconds > 0 {
        let good = replication.good_replicas.load(std::sync::atomic::Ordering::Relaxed);
        text.field("min_slaves_good_slaves", good);
    }
    for (i, replica) in replicas.iter().enumerate() {
        let state = if replica.online { "online" } else { "wait_bgsave" };
        let lag_seconds = if replica.online { (cx.now_ms - replica.acked_ms).max(0) / 1000 } else { 0 };
        text.field(
            &format!("slave{i}"),
            format_args!(
                "ip={},port={},state={state},offset={},lag={lag_seconds}",
                replica.ip, replica.port, replica.acked_offset
            ),
        );
    }
    text.field("master_failover_state", "no-failover");
    text.field("master_replid", &history.replid);
    text.field("master_replid2", &history.replid2);
    text.field("master_repl_offset", log.end());
    text.field("second_repl_offset", history.second_offset);
    text.flag("repl_backlog_active", log.is_active());
    text.field("repl_backlog_size", cx.settings.repl_backlog_bytes);
    text.field("repl_backlog_first_byte_offset", if log.is_active() { log.first() + 1 } else { 0 });
    text.field("repl_backlog_histlen", log.held_bytes());
}

/// The link to our master.
fn master(text: &mut Text, cx: &Cx<'_>) {
    let is_up = !cx.server.replication.is_link_down();
    let (host, port) = cx.server.replication.master().unwrap_or_default();
    text.field("master_host", host);
    text.field("master_port", port);
    text.field("master_link_status", if is_up { "up" } else { "down" });
    text.field("master_last_io_seconds_ago", if is_up { 0 } else { -1 });
    text.field("master_sync_in_progress", 0);
    text.field("slave_read_repl_offset", cx.server.log.end());
    text.field("slave_repl_offset", cx.server.log.end());
    if !is_up {
        text.field("master_link_down_since_seconds", -1);
    }
    text.field("slave_priority", cx.settings.replica_priority);
    text.flag("slave_read_only", cx.settings.replica_read_only);
    text.flag("replica_announced", cx.settings.replica_announced);
}
