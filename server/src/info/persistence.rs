//! What is on disk.

use super::Text;
use crate::exec::Cx;
use std::sync::atomic::Ordering::Relaxed;

pub fn persistence(text: &mut Text, cx: &Cx<'_>) {
    let persistence = &cx.server.persistence;
    let changes = cx.server.changes().saturating_sub(persistence.changes_at_save.load(Relaxed));
    text.flag("loading", cx.batch.loading);
    text.zeros(&["async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age"]);
    text.field("current_fork_perc", "0.00");
    text.zeros(&["current_save_keys_processed", "current_save_keys_total"]);
    text.field("rdb_changes_since_last_save", changes);
    text.flag("rdb_bgsave_in_progress", persistence.saving.load(Relaxed));
    text.field("rdb_last_save_time", persistence.last_save_ms.load(Relaxed) / 1000);
    text.ok_or_err("rdb_last_bgsave_status", persistence.last_bgsave_ok.load(Relaxed));
    text.field("rdb_last_bgsave_time_sec", -1);
    text.field("rdb_current_bgsave_time_sec", -1);
    text.field("rdb_saves", persistence.saves.load(Relaxed));
    text.field("rdb_last_cow_size", 0);
    text.field("rdb_last_load_keys_expired", persistence.loaded_expired.load(Relaxed));
    text.field("rdb_last_load_keys_loaded", persistence.loaded_keys.load(Relaxed));
    text.flag("aof_enabled", cx.settings.appendonly);
    let aof = &cx.server.aof;
    text.flag("aof_rewrite_in_progress", aof.is_rewriting());
    text.flag("aof_rewrite_scheduled", aof.is_scheduled());
    text.field("aof_last_rewrite_time_sec", -1);
    text.field("aof_current_rewrite_time_sec", -1);
    text.ok_or_err("aof_last_bgrewrite_status", aof.last_rewrite_ok.load(Relaxed));
    text.field("aof_rewrites", aof.rewrites.load(Relaxed));
    text.field("aof_rewrites_consecutive_failures", 0);
    text.ok_or_err("aof_last_write_status", persistence.aof_write_ok.load(Relaxed));
    text.zeros(&["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"]);
    if cx.settings.appendonly {
        text.field("aof_current_size", aof.current_bytes.load(Relaxed));
        text.field("aof_base_size", aof.base_bytes.load(Relaxed));
        text.zeros(&["aof_pending_rewrite", "aof_buffer_length"]);
        text.zeros(&["aof_pending_bio_fsync", "aof_delayed_fsync"]);
    }
}
