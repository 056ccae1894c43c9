//! The process: start, signals, shutdown.

mod banner;
pub mod cli;
pub mod crash;
mod daemon;
pub mod huge_pages;
pub mod limits;
pub mod memory_test;
pub mod oom;
mod pidfile;
pub mod shutdown;
mod signals;
pub mod supervised;
pub mod system_check;
pub mod title;

pub use shutdown::Shutdown;

use crate::cluster::Cluster;
use crate::config::{Config, Values, row_of, strerror};
use crate::net::{IoThread, Listeners, accept_forever};
use crate::server::Server;
use crate::{clock, log, memory};
use cli::Start;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

/// Starts a server and runs it until it is told to end. Returns the process's exit code.
pub fn serve(start: Start) -> io::Result<i32> {
    let Start { loaded, file, stdin, configured } = start;
    let mut values = loaded.values;
    let supervised = supervised::detect(values.text("supervised")) != supervised::Manager::None;
    if values.bool("daemonize") && !supervised && !daemon::is_daemon() {
        daemon::start(stdin.as_deref())?;
        return Ok(0);
    }
    daemon::detach();
    enter_dir(&mut values)?;
    log::set_level(values.text("loglevel"));
    log::open(&PathBuf::from(values.text("logfile"))).map_err(|error| {
        io::Error::new(error.kind(), format!("Can't open the log file: {}", strerror(&error)))
    })?;
    one_database_in_a_cluster(&mut values);
    no_defragmentation(&mut values);
    crash::report_panics(values.bool("use-exit-on-panic"));
    if values.bool("disable-thp") {
        huge_pages::disable();
    }
    announce(configured);
    supervised::begin();
    let possible =
        limits::open_files_at_start(values.int("maxclients") as usize).map_err(io::Error::other)?;
    set(&mut values, "maxclients", &possible.to_string());
    values.normalise();
    pidfile::write(&values);
    banner::show(&values);
    limits::check_backlog(values.int("tcp-backlog"));
    let titled = values.bool("set-proc-title");
    let config = Config::new(values, file);
    if titled {
        title::set(&config.settings_shared(), config.file.as_deref());
    }
    run(config, &loaded.users)
}

fn announce(configured: bool) {
    log::notice("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    log::notice(&format!(
        "Redis version={}, balas={}, bits=64, pid={}, just started",
        crate::REDIS_VERSION,
        crate::BALAS_VERSION,
        std::process::id()
    ));
    log::notice(if configured {
        "Configuration loaded"
    } else {
        "Warning: no config file specified, using the default config."
    });
}

/// Changes to `dir`, and notes its full name: that is what CONFIG GET shows.
fn enter_dir(values: &mut Values) -> io::Result<()> {
    let dir = values.text("dir").to_owned();
    std::env::set_current_dir(&dir)
        .map_err(|error| io::Error::new(error.kind(), format!("Can't chdir to '{dir}': {error}")))?;
    set(values, "dir", &std::env::current_dir()?.to_string_lossy());
    Ok(())
}

fn set(values: &mut Values, name: &str, text: &str) {
    let row = row_of(name).expect("in the table");
    // The text was made from a value that was valid already.
    let _ = values.set(row, &[text.to_owned()]);
}

/// A cluster's keys are in database 0, and there is no other.
fn one_database_in_a_cluster(values: &mut Values) {
    let databases = values.int("databases");
    if values.bool("cluster-enabled") && databases > 1 {
        log::warning(&format!(
            "WARNING: Changing databases number from {databases} to 1 since we are in cluster mode"
        ));
        set(values, "databases", "1");
    }
}

/// But why serve at all? Where stock has the allocator for it, the same file works, and what the server holds is no
/// matter of defragmentation.
fn no_defragmentation(values: &mut Values) {
    if values.bool("activedefrag") {
        log::warning(
            "WARNING: activedefrag has no effect: the allocator is another than the one it is made for",
        );
        set(values, "activedefrag", "no");
    }
}

/// For so long connections wait for the dataset; then they are taken, and clients told that it is loading. Stock takes
/// none while it reads the first megabytes, so who connects to a server that has little or nothing to load is never
/// told.
const LOADS_UNSEEN_FOR: Duration = Duration::from_millis(100);

/// Starts the threads; the calling one waits for the end.
fn run(config: Config, users: &[Vec<String>]) -> io::Result<i32> {
    let settings = config.settings_shared();
    let cluster = if settings.cluster_enabled { Some(Cluster::open(&settings)?) } else { None };
    let mut rng = fastrand::Rng::with_seed(clock::now_micros() as u64 ^ u64::from(std::process::id()) << 40);
    let run_id = (0..40).map(|_| char::from_digit(rng.u32(..16), 16).expect("below 16")).collect();
    let (listeners, poll) = Listeners::bind(&settings)?;
    restrict_unix_socket(&config)?;
    let server = Arc::new(Server::new(config, cluster, run_id, clock::now_ms()));
    assert!(server.listeners.set(listeners).is_ok(), "they are bound once");
    // The log says so when it cannot be done; that is no reason not to serve.
    let _ = oom::adjust(&settings, false);
    server.acl.load_at_start(&settings, users).map_err(io::Error::other)?;
    signals::handle(server.clone())?;
    let mut mailboxes = Vec::new();
    let mut threads = Vec::new();
    for index in 0..settings.io_threads {
        let (thread, mailbox) = IoThread::new(server.clone(), index)?;
        mailboxes.push(mailbox);
        threads.push(thread);
    }
    server.set_mailboxes(mailboxes);
    server.stats.startup_memory_bytes.store(memory::used_bytes(), Ordering::Relaxed);
    log::notice("Server initialized");
    for (index, thread) in threads.into_iter().enumerate() {
        spawn(&format!("io-{index}"), move || {
            if let Err(error) = thread.run() {
                panic!("an IO thread cannot go on: {error}");
            }
        })?;
    }
    server.start_helpers()?;
    let acceptor = server.clone();
    let (loading, is_loaded) = mpsc::channel::<()>();
    spawn("acceptor", move || {
        // Nothing is ever sent: the channel ends when the dataset is loaded.
        let _ = is_loaded.recv_timeout(LOADS_UNSEEN_FOR);
        if let Err(error) = accept_forever(&acceptor, poll) {
            panic!("the acceptor cannot go on: {error}");
        }
    })?;
    let loader = server.clone();
    // On a thread of its own: the end can be asked for, and come, while it is at it.
    spawn("loader", move || {
        let loaded = crate::start::load(&loader).map_err(io::Error::other);
        drop(loading);
        match loaded.and_then(|()| loader.start_followers()) {
            Ok(()) => ready(&loader.settings()),
            Err(error) => loader.shutdown.fail(error),
        }
    })?;
    shutdown::run(&server)
}

/// Gives the Unix socket the permissions of `unixsocketperm`, where that is set.
fn restrict_unix_socket(config: &Config) -> io::Result<()> {
    let values = config.values();
    let (path, mode) = (values.text("unixsocket"), values.int("unixsocketperm"));
    if path.is_empty() || mode == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode as u32))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map(|_| ())
}

/// Says that connections are accepted, once for each kind of socket.
fn ready(settings: &crate::config::Settings) {
    if settings.port != 0 {
        log::notice("Ready to accept connections tcp");
    }
    if !settings.unixsocket.is_empty() {
        log::notice("Ready to accept connections unix");
    }
    supervised::notify(match settings.replicaof {
        None => "STATUS=Ready to accept connections\n",
        Some(_) => {
            "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> REPLICA sync\n"
        }
    });
    supervised::notify("READY=1\n");
}

/// `redis-check-rdb`. Returns its exit code.
pub fn check_rdb(args: &[String]) -> io::Result<i32> {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    persistence::check::check_rdb_command(
        "redis-check-rdb",
        args,
        crate::REDIS_VERSION,
        clock::now_ms(),
        &mut out,
        &mut err,
    )
}

/// `redis-check-aof`. Returns its exit code.
pub fn check_aof(args: &[String]) -> io::Result<i32> {
    let (mut input, mut out) = (io::stdin().lock(), io::stdout().lock());
    persistence::check::check_aof_command("redis-check-aof", args, clock::now_ms(), &mut input, &mut out)
}
