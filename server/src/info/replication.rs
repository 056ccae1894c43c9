//! Who follows whom.

use super::Text;
use crate::exec::Cx;
use std::sync::atomic::Ordering::Relaxed;

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
        let good = replication.good_replicas.load(Relaxed);
        text.field("min_slaves_good_slaves", good);
    }
    for (i, replica) in replicas.iter().enumerate() {
        let state = replica.state_name();
        let lag_seconds = if replica.online { (cx.now_ms - replica.acked_ms).max(0) / 1000 } else { 0 };
        text.field(
            &format!("slave{i}"),
            format_args!(
                "ip={},port={},state={state},offset={},lag={lag_seconds}",
                replica.ip, replica.port, replica.acked_offset
            ),
        );
    }
    text.field("master_failover_state", replication.failover.state_name());
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
    let seconds_since = |ms: i64| (cx.now_ms - ms).max(0) / 1000;
    let is_up = !cx.server.replication.is_link_down();
    let (host, port) = cx.server.replication.master().unwrap_or_default();
    text.field("master_host", host);
    text.field("master_port", port);
    text.field("master_link_status", if is_up { "up" } else { "down" });
    let last_io_ms = cx.server.replication.master_io_ms.load(Relaxed);
    text.field("master_last_io_seconds_ago", if is_up { seconds_since(last_io_ms) } else { -1 });
    text.flag("master_sync_in_progress", cx.server.replication.syncing.load(Relaxed));
    let unapplied = cx.server.replication.unapplied_bytes.load(Relaxed);
    text.field("slave_read_repl_offset", cx.server.log.end() + unapplied);
    text.field("slave_repl_offset", cx.server.log.end());
    if !is_up {
        let down_since_ms = cx.server.replication.link_down_since_ms.load(Relaxed);
        let seconds = if down_since_ms > 0 { seconds_since(down_since_ms) } else { -1 };
        text.field("master_link_down_since_seconds", seconds);
    }
    text.field("slave_priority", cx.settings.replica_priority);
    text.flag("slave_read_only", cx.settings.replica_read_only);
    text.flag("replica_announced", cx.settings.replica_announced);
}
