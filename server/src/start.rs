//! What is read in before the server serves.

use crate::config::{Settings, strerror};
use crate::server::Server;
use crate::{aof, log, snapshot};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Reads the dataset in. Clients are told that it is loading meanwhile.
pub fn load(server: &Arc<Server>) -> Result<(), String> {
    let settings = server.settings();
    if settings.appendonly {
        make_aof_folder(&settings)?;
        aof::open(server)?;
    } else {
        load_dump(server, &settings.dir.join(&settings.dbfilename))?;
    }
    if let Some(cluster) = &server.cluster {
        cluster.account_for_keys(server);
    }
    let mut world = server.gate.stop_world();
    // Before anybody is served: no write is taken that our master knows nothing of, and no REPLICAOF undone.
    if server.cluster.is_none()
        && let Some((host, port)) = &settings.replicaof
    {
        // What was read in may have said where it goes on; otherwise all has to come from the master.
        server.replication.lacks_history.store(server.log.end() == 0, Ordering::Relaxed);
        server.replication.follow_at_rest(server, &mut world, host, *port);
    }
    server.loading.store(false, Ordering::Relaxed);
    Ok(())
}

fn make_aof_folder(settings: &Settings) -> Result<(), String> {
    let name = &settings.appenddirname;
    let path = settings.dir.join(name);
    match std::fs::create_dir(&path) {
        Err(error) if !path.is_dir() => {
            let error = match error.kind() {
                io::ErrorKind::AlreadyExists => io::Error::from_raw_os_error(libc::ENOTDIR),
                _ => error,
            };
            Err(format!("Can't open or create append-only dir {name}: {}", strerror(&error)))
        }
        _ => Ok(()),
    }
}

/// The history goes on where the file was saved, so that a replica can ask its master for the rest, and a master
/// serve those who were with it.
fn resume_history(server: &Arc<Server>, loaded: &snapshot::Loaded) {
    let (Some(id), Some(offset)) = (&loaded.repl_id, loaded.repl_offset) else { return };
    if id.len() != 40 {
        return;
    }
    server.replication.resume(server, id, offset, loaded.stream_db);
    // Those who go on from here have the keys that were found expired, and would keep them.
    for (db, key) in &loaded.expired {
        let mut del = Vec::with_capacity(key.len() + 32);
        protocol::reply::write_command(&mut del, [&b"DEL"[..], key].into_iter());
        server.log.append(*db, *db, &del);
    }
}

fn load_dump(server: &Arc<Server>, path: &Path) -> Result<(), String> {
    if !path.exists() {
        return Ok(());
    }
    let started = crate::clock::monotonic();
    let loaded = snapshot::load_file(server, path).map_err(|error| {
        log::warning(&format!("Internal error in RDB reading: {error}"));
        log::warning("Terminating server after rdb file reading failure.");
        format!("Fatal error loading the DB, check server logs. {}: {error}", path.display())
    })?;
    resume_history(server, &loaded);
    log::notice(&format!("DB loaded from disk: {:.3} seconds", started.elapsed().as_secs_f64()));
    Ok(())
}
