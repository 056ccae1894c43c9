//! Counters: the sections Stats, Commandstats and Errorstats.

use super::Text;
use crate::exec::Cx;
use crate::exec::table::table;
use crate::pubsub::Space;
use std::sync::atomic::Ordering::Relaxed;

pub fn stats(text: &mut Text, cx: &Cx<'_>) {
    let stats = &cx.server.stats;
    let [commands, bytes_in, bytes_out, repl_in_rate, repl_out_rate, cycles, cycle_nanos] = stats.rates();
    let (repl_in, repl_out) = (stats.sum(|t| &t.repl_in_bytes), stats.sum(|t| &t.repl_out_bytes));
    text.field("total_connections_received", stats.sum(|t| &t.connections));
    text.field("total_commands_processed", stats.sum(|t| &t.processed));
    text.field("instantaneous_ops_per_sec", commands);
    text.field("total_net_input_bytes", stats.sum(|t| &t.net_in_bytes) + repl_in);
    text.field("total_net_output_bytes", stats.sum(|t| &t.net_out_bytes) + repl_out);
    text.field("total_net_repl_input_bytes", repl_in);
    text.field("total_net_repl_output_bytes", repl_out);
    text.decimals("instantaneous_input_kbps", bytes_in as f64 / 1024.0, 2);
    text.decimals("instantaneous_output_kbps", bytes_out as f64 / 1024.0, 2);
    text.decimals("instantaneous_input_repl_kbps", repl_in_rate as f64 / 1024.0, 2);
    text.decimals("instantaneous_output_repl_kbps", repl_out_rate as f64 / 1024.0, 2);
    text.field("rejected_connections", stats.rejected_connections.load(Relaxed));
    text.field("sync_full", stats.sync_full.load(Relaxed));
    text.field("sync_partial_ok", stats.sync_partial_ok.load(Relaxed));
    text.field("sync_partial_err", stats.sync_partial_err.load(Relaxed));
    text.field("expired_keys", stats.sum(|t| &t.expired));
    text.field("expired_stale_perc", "0.00");
    text.zeros(&["expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds"]);
    text.field("evicted_keys", cx.server.eviction.evicted.load(Relaxed));
    text.field("evicted_clients", cx.server.client_memory.evicted.load(Relaxed));
    let (total_micros, current_micros) = cx.server.eviction.exceeded_micros();
    text.field("total_eviction_exceeded_time", total_micros / 1000);
    text.field("current_eviction_exceeded_time", current_micros / 1000);
    text.field("keyspace_hits", stats.sum(|t| &t.hits));
    text.field("keyspace_misses", stats.sum(|t| &t.misses));
    let pubsub = &cx.server.pubsub;
    text.field("pubsub_channels", pubsub.count(Space::Channels));
    text.field("pubsub_patterns", pubsub.count(Space::Patterns));
    text.field("pubsubshard_channels", pubsub.count(Space::Shard));
    text.field("latest_fork_usec", 0);
    // What would have been a fork each.
    text.field("total_forks", cx.server.snapshots.taken());
    text.field("migrate_cached_sockets", cx.server.migrate_cache.len(crate::clock::monotonic()));
    text.field("slave_expires_tracked_keys", cx.server.own_expiries.len());
    text.zeros(&["active_defrag_hits", "active_defrag_misses", "active_defrag_key_hits"]);
    text.zeros(&["active_defrag_key_misses", "total_active_defrag_time", "current_active_defrag_time"]);
    let tracking = cx.server.tracking.summary();
    text.field("tracking_total_keys", tracking.keys);
    text.field("tracking_total_items", tracking.items);
    text.field("tracking_total_prefixes", tracking.prefixes);
    text.field("unexpected_error_replies", stats.unexpected_errors.load(Relaxed));
    text.field("total_error_replies", stats.sum(|t| &t.error_replies));
    text.field("dump_payload_sanitizations", 0);
    text.field("total_reads_processed", stats.sum(|t| &t.reads));
    text.field("total_writes_processed", stats.sum(|t| &t.writes));
    text.zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    text.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    text.field("eventloop_cycles", stats.sum(|t| &t.cycles.count));
    text.field("eventloop_duration_sum", stats.sum(|t| &t.cycles.nanos) / 1000);
    text.field("eventloop_duration_cmd_sum", stats.sum(|t| &t.command_nanos) / 1000);
    text.field("instantaneous_eventloop_cycles_per_sec", cycles);
    text.field("instantaneous_eventloop_duration_usec", cycle_nanos / 1000 / cycles.max(1));
    for reason in crate::acl::log::Reason::ALL {
        text.field(&format!("acl_access_denied_{}", reason.short_name()), cx.server.acl.log.count(reason));
        // As later versions call them.
        text.field("client_query_buffer_limit_disconnections", stats.sum(|t| &t.query_limit_disconnections));
        text.field(
            "client_output_buffer_limit_disconnections",
            stats.sum(|t| &t.output_limit_disconnections),
        );
    }
}

pub fn commands(text: &mut Text, cx: &Cx<'_>) {
    for command in table().each() {
        let [calls, nanos, rejected, failed] = cx.server.stats.command(command.id);
        if calls + rejected + failed == 0 {
            continue;
        }
        let micros = nanos / 1000;
        let each = if calls == 0 { 0.0 } else { nanos as f64 / 1000.0 / calls as f64 };
        text.field(
            &format!("cmdstat_{}", command.full_name),
            format_args!(
                "calls={calls},usec={micros},usec_per_call={each:.2},rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

/// Percentiles of each command's running time, in microseconds.
pub fn latencies(text: &mut Text, cx: &Cx<'_>) {
    let percentiles = &cx.settings.latency_percentiles;
    for command in table().each() {
        let Some(times) = cx.server.stats.times(command.id) else { continue };
        let each = percentiles
            .iter()
            .map(|percentile| format!("p{percentile}={:.3}", times.percentile(*percentile) as f64 / 1000.0));
        let line = each.collect::<Vec<_>>().join(",");
        text.field(&format!("latency_percentiles_usec_{}", command.full_name), line);
    }
}

/// What nobody needs but who looks for where the time goes: shown when asked for by name only.
pub fn debug(text: &mut Text, cx: &Cx<'_>) {
    let stats = &cx.server.stats;
    text.field("eventloop_duration_aof_sum", stats.sum(|t| &t.aof_nanos) / 1000);
    text.field("eventloop_duration_cron_sum", stats.sum(|t| &t.cron_nanos) / 1000);
    text.field("eventloop_duration_max", stats.max(|t| &t.cycles.nanos_max) / 1000);
    text.field("eventloop_cmd_per_cycle_max", stats.max(|t| &t.cycles.commands_max));
}

pub fn errors(text: &mut Text, cx: &Cx<'_>) {
    for (code, count) in cx.server.stats.errors() {
        text.field(&format!("errorstat_{}", String::from_utf8_lossy(&code)), format_args!("count={count}"));
    }
}
