//! The process: start, signals, shutdown.

use crate::cluster::Cluster;
use crate::config::Config;
use crate::config::file::Loaded;
use crate::net::{IoThread, Listeners, accept_forever};
use crate::server::Server;
use crate::{clock, log};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Whether the process is on its way out.
#[derive(Default)]
pub struct Shutdown {
    pub asked: AtomicBool,
}

/// Starts a server and runs it until it is told to end. Returns the process's exit code.
pub fn serve(loaded: Loaded, file: Option<PathBuf>) -> io::Result<i32> {
    let config = Config::new(loaded.values, file);
    let settings = config.settings_shared();
    log::set_level(config.values().text("loglevel"));
    log::open(&PathBuf::from(config.values().text("logfile")))?;
    log::warning("oO0OoO0OoO0Oo Balas is starting oO0OoO0OoO0Oo");
    log::warning(&format!(
        "Redis version={}, balas={}, bits=64, pid={}, just started",
        crate::REDIS_VERSION,
        crate::BALAS_VERSION,
        std::process::id()
    ));
    let cluster = if settings.cluster_enabled { Some(Cluster::open(&settings)?) } else { None };
    let mut rng = fastrand::Rng::with_seed(clock::now_micros() as u64 ^ u64::from(std::process::id()) << 40);
    let run_id = (0..40).map(|_| char::from_digit(rng.u32(..16), 16).expect("below 16")).collect();
    let listeners = Listeners::bind(&settings)?;
    let server = Arc::new(Server::new(config, cluster, run_id, clock::now_ms()));
    let mut mailboxes = Vec::new();
    let mut threads = Vec::new();
    for index in 0..settings.io_threads {
        let (thread, mailbox) = IoThread::new(server.clone(), index)?;
        mailboxes.push(mailbox);
        threads.push(thread);
    }
    server.set_mailboxes(mailboxes);
    for (index, thread) in threads.into_iter().enumerate() {
        std::thread::Builder::new().name(format!("io-{index}")).spawn(move || thread.run())?;
    }
    server.start_helpers()?;
    log::notice("Server initialized");
    log::notice("Ready to accept connections tcp");
    accept_forever(&server, listeners)?;
    Ok(0)
}
