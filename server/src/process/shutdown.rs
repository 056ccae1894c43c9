//! The end of the process, asked for by a signal or by SHUTDOWN, carried out by the main thread.
//!
//! ```text
//!  SHUTDOWN, SIGTERM ─▶ ask ─▶ main thread: replicas catch up ─▶ world at rest ─▶ save ─▶ exit 0
//!                                   │ SHUTDOWN ABORT                    │ saving failed, not forced
//!                                   └────────────▶ goes on serving ◀────┘
//! ```

use super::supervised;
use crate::net::Mail;
use crate::replication::Replica;
use crate::server::Server;
use crate::{clock, log};
use parking_lot::{Condvar, Mutex};
use protocol::{Reply, ReplyError, Resp};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often lagging replicas are looked at.
const POLL: Duration = Duration::from_millis(20);

/// Whether to save before the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Saving {
    /// When there are save points.
    #[default]
    IfConfigured,
    Yes,
    No,
}

/// What SHUTDOWN's options, or `shutdown-on-sigterm`, ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct How {
    pub saving: Saving,
    /// Does not wait for replicas that lag.
    pub now: bool,
    /// Ends even if saving fails.
    pub force: bool,
}

impl How {
    /// From the words of `shutdown-on-sigterm`.
    pub fn from_words(words: &str) -> How {
        let has = |word: &str| words.split_ascii_whitespace().any(|w| w == word);
        let saving = match () {
            () if has("save") => Saving::Yes,
            () if has("nosave") => Saving::No,
            () => Saving::IfConfigured,
        };
        How { saving, now: has("now"), force: has("force") }
    }
}

#[derive(Default)]
struct State {
    asked: Option<How>,
    /// Clients that wait for the outcome.
    clients: Vec<u64>,
    under_way: bool,
    aborted: bool,
    /// It was a signal that asked.
    by_signal: bool,
    /// The server cannot go on.
    failed: Option<io::Error>,
    /// How long it waits for replicas.
    deadline_ms: Option<i64>,
}

/// Whether the process is on its way out.
#[derive(Default)]
pub struct Shutdown {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shutdown {
    /// The process is to end, or about to.
    pub fn is_asked(&self) -> bool {
        let state = self.state.lock();
        state.asked.is_some() || state.under_way
    }

    /// Asks for the end. Returns whether it had been asked for before.
    pub fn ask(&self, how: How, client: Option<u64>) -> bool {
        let mut state = self.state.lock();
        // What was aborted may not have been given up yet.
        let again = state.under_way && !state.aborted || state.asked.is_some();
        if !again {
            state.asked = Some(how);
            state.by_signal = client.is_none();
        }
        state.clients.extend(client);
        self.changed.notify_all();
        again
    }

    /// SHUTDOWN ABORT. False when there is nothing to abort.
    pub fn abort(&self) -> bool {
        let mut state = self.state.lock();
        let pending = state.under_way || state.asked.is_some();
        if pending {
            log::notice("Shutdown manually aborted.");
        }
        state.aborted = pending;
        state.asked = None;
        self.changed.notify_all();
        pending
    }

    /// The server cannot go on; nobody asked for that.
    pub fn fail(&self, error: io::Error) {
        self.state.lock().failed = Some(error);
        self.changed.notify_all();
    }

    fn wait(&self) -> io::Result<How> {
        let mut state = self.state.lock();
        loop {
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            if let Some(how) = state.asked.take() {
                state.under_way = true;
                state.aborted = false;
                return Ok(how);
            }
            self.changed.wait(&mut state);
        }
    }

    /// Milliseconds left for replicas to catch up, while it waits for them.
    pub fn left_ms(&self, now_ms: i64) -> Option<i64> {
        self.state.lock().deadline_ms.map(|deadline_ms| deadline_ms - now_ms)
    }

    fn is_aborted(&self) -> bool {
        self.state.lock().aborted
    }

    /// The shutdown did not happen. Returns the clients to be told.
    fn give_up(&self) -> Vec<u64> {
        let mut state = self.state.lock();
        state.under_way = false;
        std::mem::take(&mut state.clients)
    }
}

/// Waits until the end is asked for and can be carried out. Returns the exit code; an error is that of
/// [`Shutdown::fail`].
pub fn run(server: &Arc<Server>) -> io::Result<i32> {
    loop {
        let mut how = server.shutdown.wait()?;
        if !cron_runs(server) {
            continue;
        }
        if server.loading.load(Ordering::Relaxed) || server.async_loading.load(Ordering::Relaxed) {
            // Half a dataset must not take the place of what is on disk.
            how.saving = Saving::No;
        }
        log::notice("User requested shutdown...");
        supervised::notify("STOPPING=1\n");
        if !how.now && !replicas_caught_up(server) {
            log::warning("Shutdown was aborted while replicas were catching up.");
            tell(server, &ReplyError::fixed("ERR Errors trying to SHUTDOWN. Check logs."));
            continue;
        }
        // Without saving there is nothing to wait for in a slow script.
        server.scripts.busy.end_all(how.saving == Saving::No);
        // Nothing is acknowledged any more from here on. If saving fails, everything goes on when this is dropped.
        let world = server.gate.stop_world();
        log_lagging(server);
        match server.prepare_shutdown(how) {
            Ok(()) => {
                finish(server);
                // The other threads stay where they are until the process is gone.
                std::mem::forget(world);
                return Ok(0);
            }
            Err(reason) => {
                log::warning(&reason);
                log::warning("Errors trying to shut down the server. Check the logs for more information.");
                server.scripts.busy.end_all(false);
                drop(world);
                tell(server, &ReplyError::fixed("ERR Errors trying to SHUTDOWN. Check logs."));
            }
        }
    }
}

/// Signals are looked at periodically, which DEBUG PAUSE-CRON keeps from happening. False when aborted meanwhile.
fn cron_runs(server: &Server) -> bool {
    let by_signal = server.shutdown.state.lock().by_signal;
    while by_signal && server.switches.cron_paused.load(Ordering::Relaxed) {
        if server.shutdown.is_aborted() {
            server.shutdown.give_up();
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// Waits for replicas to have acknowledged the whole log, as long as `shutdown-timeout` says. False when aborted.
fn replicas_caught_up(server: &Server) -> bool {
    let deadline_ms = clock::now_ms() + server.settings().shutdown_timeout_seconds as i64 * 1000;
    let lagging = || server.replication.replicas().into_iter().any(|replica| lag(server, &replica) > 0);
    if lagging() {
        log::notice("Waiting for replicas before shutting down.");
        server.shutdown.state.lock().deadline_ms = Some(deadline_ms);
        // What is written now would only make them lag more.
        server.writes_paused_until_ms.store(deadline_ms, Ordering::Relaxed);
    }
    while lagging() && clock::now_ms() < deadline_ms && !server.shutdown.is_aborted() {
        std::thread::sleep(POLL);
    }
    server.shutdown.state.lock().deadline_ms = None;
    server.writes_paused_until_ms.store(0, Ordering::Relaxed);
    !server.shutdown.is_aborted()
}

/// How many bytes of the log a replica has not acknowledged.
fn lag(server: &Server, replica: &Replica) -> u64 {
    server.log.end().saturating_sub(replica.acked_offset)
}

/// Says which replicas go on without all there is.
fn log_lagging(server: &Server) {
    let replicas = server.replication.replicas();
    let now_ms = clock::now_ms();
    let mut in_sync = replicas.len();
    for replica in replicas.iter().filter(|replica| lag(server, replica) > 0) {
        in_sync -= 1;
        log::notice(&format!(
            "Lagging replica {}:{} reported offset {} behind master, lag={}, state={}.",
            replica.ip,
            replica.port,
            lag(server, replica),
            (now_ms - replica.acked_ms) / 1000,
            replica.state_name(),
        ));
    }
    if !replicas.is_empty() {
        log::notice(&format!("{in_sync} of {} replicas are in sync when shutting down.", replicas.len()));
    }
}

fn tell(server: &Server, error: &ReplyError) {
    let mut reply = Vec::new();
    Reply::new(&mut reply, Resp::V2).error(error);
    for client in server.shutdown.give_up() {
        server.post_all(|| Mail::Unblock { client, reply: reply.clone(), write_offset: None });
    }
}

fn finish(server: &Server) {
    server.snapshots.end(&server.settings());
    server.aof.end(server);
    let values = server.config.values();
    let pidfile = super::pidfile::path(&values);
    if let Some(path) = pidfile {
        log::notice("Removing the pid file.");
        let _ = std::fs::remove_file(path);
    }
    let socket = &server.settings().unixsocket;
    if !socket.is_empty() {
        log::notice("Removing the unix socket file.");
        let _ = std::fs::remove_file(socket);
    }
    // Before clients learn that we are gone.
    server.listeners.get().into_iter().for_each(|listeners| listeners.close());
    log::warning("Redis is now ready to exit, bye bye...");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_configuration_say_how() {
        assert_eq!(How::from_words("default"), How::default());
        assert_eq!(How::from_words("nosave now force"), How { saving: Saving::No, now: true, force: true });
    }

    #[test]
    fn an_end_is_asked_for_once_and_can_be_taken_back() {
        let shutdown = Shutdown::default();
        assert!(!shutdown.abort());
        assert!(!shutdown.ask(How::default(), Some(1)));
        assert!(shutdown.ask(How::default(), Some(2)));
        assert!(shutdown.abort() && shutdown.is_aborted());
        assert_eq!(shutdown.give_up(), [1, 2]);
    }
}
