//! The server: what all threads share.

use crate::cluster::Cluster;
use crate::config::{AppendFsync, Config, Settings};
use crate::evict::Eviction;
use crate::exec::Batch;
use crate::exec::session::Request;
use crate::gate::Gate;
use crate::net::{Conn, Listeners, Mail, Mailbox};
use crate::persist::Persistence;
use crate::pubsub::PubSub;
use crate::replication::Replication;
use crate::script::debugger::Debugger;
use crate::slowlog::Slowlog;
use crate::stats::Stats;
use crate::switches::Switches;
use crate::watch::Watches;
use crate::write_log::WriteLog;
use keyspace::Keyspace;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

pub struct Server {
    pub config: Config,
    pub keyspace: Keyspace,
    pub gate: Gate,
    pub log: WriteLog,
    pub stats: Stats,
    pub watches: Watches,
    pub pubsub: PubSub,
    pub waiters: crate::blocking::Waiters,
    pub tracking: crate::tracking::Tracking,
    pub monitors: crate::monitor::Monitors,
    pub latency: crate::latency::Latency,
    pub slowlog: Slowlog,
    pub acl: crate::acl::Acl,
    pub scripts: crate::script::Scripts,
    pub eviction: Eviction,
    pub client_memory: crate::client_memory::ClientMemory,
    pub replication: Replication,
    pub persistence: Persistence,
    pub aof: crate::aof::Aof,
    /// `None` unless `cluster-enabled`.
    pub cluster: Option<Cluster>,
    /// A dataset is being read in: most commands are refused.
    pub loading: AtomicBool,
    /// A dataset is being read in beside the one that is served.
    pub async_loading: AtomicBool,
    pub shutdown: crate::process::Shutdown,
    /// 40 hex digits, new for each process.
    pub run_id: String,
    pub started_ms: i64,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: AtomicBool,
    pub own_expiries: crate::own_expiry::OwnExpiries,
    /// 0, or until when writes wait.
    pub writes_paused_until_ms: AtomicI64,
    /// CLIENT PAUSE.
    pub pause: crate::clients::Pause,
    pub snapshots: crate::snapshot::Snapshots,
    pub migrate_cache: crate::commands::migrate::MigrateCache,
    /// When the log last warned of HTTP.
    pub told_of_http_at_ms: AtomicI64,
    /// What DEBUG has switched.
    pub switches: Switches,
    /// Once the acceptor is about to run.
    pub listeners: OnceLock<Listeners>,
    mailboxes: OnceLock<Vec<Arc<Mailbox>>>,
    next_client_id: AtomicU64,
}

impl Server {
    pub fn new(config: Config, cluster: Option<Cluster>, run_id: String, now_ms: i64) -> Server {
        let settings = config.settings_shared();
        let stats = Stats::default();
        stats.track_times(settings.latency_tracking);
        Server {
            keyspace: Keyspace::new(settings.databases),
            gate: Gate::new(settings.io_threads),
            log: WriteLog::new(settings.repl_backlog_bytes),
            stats,
            watches: Watches::default(),
            pubsub: PubSub::default(),
            waiters: Default::default(),
            tracking: Default::default(),
            monitors: Default::default(),
            latency: Default::default(),
            slowlog: Slowlog::default(),
            acl: crate::acl::Acl::new(&settings),
            scripts: Default::default(),
            eviction: Eviction::new(now_ms as u64),
            client_memory: crate::client_memory::ClientMemory::new(settings.io_threads),
            replication: Replication::new(&run_id),
            persistence: Persistence::new(now_ms),
            aof: Default::default(),
            cluster,
            loading: AtomicBool::new(true),
            async_loading: AtomicBool::new(false),
            shutdown: Default::default(),
            run_id,
            started_ms: now_ms,
            active_expire: AtomicBool::new(true),
            own_expiries: Default::default(),
            writes_paused_until_ms: AtomicI64::new(0),
            pause: Default::default(),
            snapshots: Default::default(),
            migrate_cache: Default::default(),
            told_of_http_at_ms: Default::default(),
            switches: Switches::default(),
            listeners: OnceLock::new(),
            mailboxes: OnceLock::new(),
            next_client_id: AtomicU64::new(1),
            config,
        }
    }

    /// Starts the threads that do not serve clients.
    pub fn start_helpers(self: &Arc<Self>) -> io::Result<()> {
        crate::snapshot::start(self)?;
        self.start_thread("cron", crate::cron::run)?;
        self.start_thread("aof", crate::aof::run)?;
        if self.cluster.is_some() {
            self.start_thread("bus", |server| {
                if let Err(error) = crate::cluster::run_bus(server) {
                    // A cluster node that cannot talk to its peers is of no use to anybody.
                    crate::log::warning(&format!("{error}"));
                    std::process::exit(1);
                }
            })?;
        }
        Ok(())
    }

    /// Starts the threads that change role and data at the bidding of others; the dataset must be loaded.
    pub fn start_followers(self: &Arc<Self>) -> io::Result<()> {
        self.start_thread("replication", crate::replication::run_link)?;
        if self.cluster.is_some() {
            self.start_thread("cluster", crate::cluster::run_applier)?;
        }
        Ok(())
    }

    fn start_thread(
        self: &Arc<Self>,
        name: &str,
        run: impl FnOnce(&Arc<Server>) + Send + 'static,
    ) -> io::Result<()> {
        let server = self.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&server)).map(|_| ())
    }

    /// Tells where the IO threads' mailboxes are; once, before they run.
    pub fn set_mailboxes(&self, mailboxes: Vec<Arc<Mailbox>>) {
        assert!(self.mailboxes.set(mailboxes).is_ok(), "the threads are made once");
    }

    pub fn post(&self, thread: usize, mail: Mail) {
        if let Some(mailboxes) = self.mailboxes.get() {
            mailboxes[thread].post(mail);
        }
    }

    /// New connections of a thread that cannot take them up itself at the moment.
    pub fn take_arrivals(&self, thread: usize, mut take: impl FnMut(Box<Conn>)) {
        if let Some(mailboxes) = self.mailboxes.get() {
            let arrivals = mailboxes[thread].take_where(|mail| matches!(mail, Mail::Connection(_)));
            for mail in arrivals {
                if let Mail::Connection(conn) = mail {
                    take(conn);
                }
            }
        }
    }

    /// Posts to every thread but `thread`.
    pub fn post_all_but(&self, thread: usize, mail: impl Fn() -> Mail) {
        for other in (0..self.gate.threads()).filter(|&other| other != thread) {
            self.post(other, mail());
        }
    }

    pub fn post_all(&self, mail: impl Fn() -> Mail) {
        self.post_all_but(usize::MAX, mail);
    }

    pub fn next_client_id(&self) -> u64 {
        self.next_client_id.fetch_add(1, Ordering::Relaxed)
    }

    /// How far the write log is on disk; everything, where nobody asked for that.
    #[inline]
    pub fn durable_offset(&self) -> u64 {
        self.persistence.durable_offset()
    }

    /// The commit gate: whether replies to a client whose last write ended at `offset` have to wait.
    #[inline]
    pub fn holds_replies(&self, batch: &Batch, offset: u64) -> bool {
        offset > 0
            && batch.settings.appendfsync == AppendFsync::Always
            && batch.settings.appendonly
            && offset > self.durable_offset()
    }

    /// Carries out what a command asked for that concerns its connection.
    #[inline]
    pub fn after_command(self: &Arc<Self>, conn: &mut Conn) {
        match conn.session.request.take() {
            None => {}
            Some(request) if matches!(*request, Request::Debug) => debug_scripts(conn),
            Some(request) => crate::replication::serve_request(self, conn, *request),
        }
    }

    /// Brings everything to disk before the process ends; nothing is written meanwhile, as the world is at rest. The
    /// error says why it cannot end.
    pub fn prepare_shutdown(&self, how: crate::process::shutdown::How) -> Result<(), String> {
        use crate::process::{shutdown::Saving, supervised};
        if self.settings().appendonly && self.aof.writes_first_base() {
            if !how.force {
                supervised::notify("STATUS=Writing initial AOF, can't exit.\n");
                return Err("Writing initial AOF, can't exit.".into());
            }
            crate::log::warning("Writing initial AOF. Exit anyway.");
        }
        // What cannot be written now could not be later, and whoever ends the process may be after that very disk.
        if let Err(error) = self.aof.finish_for_good(self) {
            crate::log::warning(&format!("Error writing the append only file at exit: {error}."));
        }
        let save = match how.saving {
            Saving::Yes => true,
            Saving::No => false,
            Saving::IfConfigured => !self.settings().save.is_empty(),
        };
        if save {
            crate::log::notice("Saving the final RDB snapshot before exiting.");
            supervised::notify("STATUS=Saving the final RDB snapshot\n");
            if let Err(error) = crate::snapshot::save_at_rest(self) {
                if !how.force {
                    supervised::notify("STATUS=Error trying to save the DB, can't exit.\n");
                    return Err(format!("Error trying to save the DB, can't exit: {error}."));
                }
                crate::log::warning(&format!("Error trying to save the DB: {error}. Exit anyway."));
            }
        }
        if let Some(cluster) = &self.cluster
            && let Err(error) = cluster.save()
        {
            crate::log::warning(&format!("Error saving the cluster node config: {error}."));
        }
        Ok(())
    }

    /// Acts on settings that have changed. The world is at rest. The error names the parameter that could not be
    /// put in force, and why.
    pub fn config_changed(
        self: &Arc<Self>,
        old: &Settings,
        new: &Settings,
    ) -> Result<(), (&'static str, String)> {
        if let Some(listeners) = self.listeners.get()
            && (new.port != old.port || new.bind != old.bind)
        {
            listeners.listen_to(new).map_err(|_| match new.port != old.port {
                true => ("port", "Unable to listen on this port. Check server logs.".into()),
                false => ("bind", "Failed to bind to specified addresses.".into()),
            })?;
        }
        if new.dir != old.dir {
            std::env::set_current_dir(&new.dir).map_err(|error| ("dir", crate::config::strerror(&error)))?;
        }
        if new.maxclients > old.maxclients {
            crate::process::limits::raise_open_files(new.maxclients)
                .map_err(|possible| ("maxclients", format!(
                    "The operating system is not able to handle the specified number of clients, try with {possible}"
                )))?;
        }
        crate::log::set_level(&new.loglevel);
        if new.proc_title_template != old.proc_title_template {
            crate::process::title::set(new, self.config.file.as_deref());
        }
        if (new.oom_score_adj, new.oom_score_adj_values) != (old.oom_score_adj, old.oom_score_adj_values) {
            crate::process::oom::adjust(new, self.replication.is_replica()).map_err(|_| {
                ("oom-score-adj", "Failed to set current oom_score_adj. Check server logs.".into())
            })?;
        }
        self.stats.track_times(new.latency_tracking);
        self.replication.count_good(self, crate::clock::now_ms());
        match (old.appendonly, new.appendonly) {
            (false, true) => crate::aof::switch_on(self)
                .map_err(|_| ("appendonly", "Unable to turn on AOF. Check server logs.".into()))?,
            (true, false) => crate::aof::switch_off(self),
            _ => {}
        }
        if new.appendfsync != old.appendfsync {
            crate::aof::fsync_changed(self, old.appendfsync);
        }
        if new.repl_backlog_bytes != old.repl_backlog_bytes {
            self.log.set_backlog_bytes(new.repl_backlog_bytes);
        }
        if let Some(cluster) = &self.cluster {
            cluster.reconfigure(new);
        }
        Ok(())
    }

    /// A connection is gone.
    pub fn connection_closed(self: &Arc<Self>, conn: &mut Conn) {
        self.stats.connected.fetch_sub(1, Ordering::Relaxed);
        crate::commands::transactions::unwatch(self, &mut conn.session);
        self.pubsub.forget(&mut conn.session);
        self.tracking.end(&mut conn.session);
        self.monitors.remove(&mut conn.session);
        self.client_memory.forget(conn.session.thread, conn);
        if conn.feed.take().is_some() {
            // The helper that sends the snapshot has a handle on it too.
            conn.socket.shutdown();
            self.replication.replica_gone(self, conn.session.id);
            self.log.trim();
        }
        if conn.master.is_some() {
            self.replication.link_lost(conn.session.id, conn.session.db);
        }
    }

    /// Changes made to the dataset since the process started.
    pub fn changes(&self) -> u64 {
        self.stats.sum(|thread| &thread.changes)
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.config.settings_shared()
    }
}

/// SCRIPT DEBUG SYNC: the next script speaks to the client itself.
#[cold]
fn debug_scripts(conn: &mut Conn) {
    match conn.socket.duplicate() {
        Ok(socket) => conn.session.debugger = Some(Box::new(Debugger::new(socket))),
        Err(error) => crate::log::warning(&format!("Can't hand a client's socket to the debugger: {error}")),
    }
}
