//! Signals: the polite ones end the process in good order, the rest are ignored or noted.

use super::shutdown::How;
use crate::log;
use crate::server::Server;
use signal_hook::consts::{SIGABRT, SIGALRM, SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;

/// Handles signals on a thread of its own until the process ends.
pub fn handle(server: Arc<Server>) -> io::Result<()> {
    // A signal that is handled by doing nothing is ignored.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGALRM, SIGABRT])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                SIGTERM | SIGINT => end(&server, signal),
                SIGABRT => {
                    super::crash::by_signal(nix::sys::signal::Signal::SIGABRT);
                }
                SIGALRM => log::warning("Received SIGALRM"),
                _ => {}
            }
        }
    })?;
    Ok(())
}

fn end(server: &Server, signal: i32) {
    let settings = server.settings();
    let (name, words) = match signal {
        SIGINT => ("SIGINT", &settings.shutdown_on_sigint),
        _ => ("SIGTERM", &settings.shutdown_on_sigterm),
    };
    log::warning(&format!("Received {name} scheduling shutdown..."));
    let again = server.shutdown.ask(How::from_words(words), None);
    if again && signal == SIGINT {
        log::warning("You insist... exiting now.");
        let _ = std::fs::remove_file(settings.dir.join(crate::snapshot::temporary_name()));
        std::process::exit(1);
    }
}
