//! What is on disk.

use super::Text;
use crate::exec::Cx;
use crate::exec::dispatch::Loading;
use std::sync::atomic::Ordering::Relaxed;

pub fn persistence(text: &mut Text, cx: &Cx<'_>) {
    let persistence = &cx.server.persistence;
    let changes = cx.server.changes().saturating_sub(persistence.changes_at_save.load(Relaxed));
    text.flag("loading", cx.batch.loading == Loading::Alone);
    text.flag("async_loading", cx.batch.loading == Loading::Beside);
    let progress = &cx.server.snapshots.progress;
    let snapshot = progress.now();
    text.field("current_cow_peak", snapshot.copied_peak_bytes);
    text.field("current_cow_size", snapshot.copied_bytes);
    text.field("current_cow_size_age", 0);
    text.decimals("current_fork_perc", snapshot.percent(), 2);
    text.field("current_save_keys_processed", snapshot.keys_processed);
    text.field("current_save_keys_total", snapshot.keys_total);
    text.field("rdb_changes_since_last_save", changes);
    let is_saving = persistence.saving.load(Relaxed) || cx.server.replication.full_syncs.is_running();
    text.flag("rdb_bgsave_in_progress", is_saving);
    text.field("rdb_last_save_time", persistence.last_save_ms.load(Relaxed) / 1000);
    text.ok_or_err("rdb_last_bgsave_status", persistence.last_bgsave_ok.load(Relaxed));
    let (took_s, copied_bytes) = progress.last(false);
    text.field("rdb_last_bgsave_time_sec", took_s);
    text.field("rdb_current_bgsave_time_sec", if is_saving { snapshot.seconds } else { -1 });
    text.field("rdb_saves", persistence.saves.load(Relaxed));
    text.field("rdb_last_cow_size", copied_bytes);
    text.field("rdb_last_load_keys_expired", persistence.loaded_expired.load(Relaxed));
    text.field("rdb_last_load_keys_loaded", persistence.loaded_keys.load(Relaxed));
    text.flag("aof_enabled", cx.settings.appendonly);
    let aof = &cx.server.aof;
    text.flag("aof_rewrite_in_progress", aof.is_rewriting());
    text.flag("aof_rewrite_scheduled", aof.is_scheduled());
    let (took_s, copied_bytes) = progress.last(true);
    text.field("aof_last_rewrite_time_sec", took_s);
    text.field("aof_current_rewrite_time_sec", if aof.is_rewriting() { snapshot.seconds } else { -1 });
    text.ok_or_err("aof_last_bgrewrite_status", !aof.last_rewrite_failed.load(Relaxed));
    text.field("aof_rewrites", aof.rewrites.load(Relaxed));
    text.field("aof_rewrites_consecutive_failures", 0);
    text.ok_or_err("aof_last_write_status", persistence.aof_write_ok.load(Relaxed));
    text.field("aof_last_cow_size", copied_bytes);
    text.zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    if cx.settings.appendonly {
        text.field("aof_current_size", aof.current_bytes.load(Relaxed));
        text.field("aof_base_size", aof.base_bytes.load(Relaxed));
        text.zeros(&["aof_pending_rewrite", "aof_buffer_length"]);
        text.zeros(&["aof_pending_bio_fsync", "aof_delayed_fsync"]);
    }
    if cx.batch.loading != Loading::No {
        loading(text, cx);
    }
}

/// How far the reading of a dataset is, and how long it may take, if it goes on like this.
fn loading(text: &mut Text, cx: &Cx<'_>) {
    let progress = &cx.server.persistence.loading;
    let began_ms = progress.began_ms.load(Relaxed);
    let loaded = progress.loaded_bytes.load(Relaxed);
    let total = match progress.total_bytes.load(Relaxed) {
        // Stock guesses as little.
        0 => loaded + 1,
        total => total,
    };
    let elapsed_s = (cx.now_ms - began_ms).max(0) as u64 / 1000;
    let eta_s = match loaded {
        0 => 1,
        loaded => elapsed_s * total.saturating_sub(loaded) / loaded,
    };
    text.field("loading_start_time", began_ms / 1000);
    text.field("loading_total_bytes", total);
    text.field("loading_rdb_used_mem", 0);
    text.field("loading_loaded_bytes", loaded);
    text.decimals("loading_loaded_perc", loaded as f64 * 100.0 / total as f64, 2);
    text.field("loading_eta_seconds", eta_s);
}
