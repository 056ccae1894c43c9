//! What is read in before the server serves.

use crate::server::Server;
use crate::{aof, log, snapshot};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Reads the dataset in. Clients are told that it is loading meanwhile.
pub fn load(server: &Arc<Server>) -> Result<(), String> {
    let settings = server.settings();
    if settings.appendonly {
        aof::open(server)?;
    } else {
        load_dump(server, &settings.dir.join(&settings.dbfilename))?;
    }
    if let Some(cluster) = &server.cluster {
        cluster.account_for_keys(server);
    }
    let _world = server.gate.stop_world();
    server.loading.store(false, Ordering::Relaxed);
    Ok(())
}

fn load_dump(server: &Arc<Server>, path: &Path) -> Result<(), String> {
    if !path.exists() {
        return Ok(());
    }
    let started = crate::clock::monotonic();
    let (report, _) = snapshot::load_file(server, path).map_err(|error| {
        format!("Fatal error loading the DB, check server logs. {}: {error}", path.display())
    })?;
    log::notice(&format!(
        "Done loading RDB, keys loaded: {}, empty keys skipped: {}.",
        report.keys, report.empty_keys_skipped
    ));
    log::notice(&format!("DB loaded from disk: {:.3} seconds", started.elapsed().as_secs_f64()));
    Ok(())
}
