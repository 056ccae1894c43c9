//! The service manager that looks after the process: systemd is told how we are by datagrams, upstart by a stop.

use crate::log;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

/// Who supervises, once [`detect`] has run.
static MANAGER: OnceLock<Manager> = OnceLock::new();

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manager {
    None,
    Upstart,
    Systemd,
}

impl Manager {
    /// As INFO names it.
    pub fn name(self) -> &'static str {
        match self {
            Manager::None => "no",
            Manager::Upstart => "upstart",
            Manager::Systemd => "systemd",
        }
    }
}

pub fn manager() -> Manager {
    *MANAGER.get().unwrap_or(&Manager::None)
}

/// Finds out who supervises by the parameter `supervised` and the environment.
pub fn detect(parameter: &str) -> Manager {
    let has = |name: &str| std::env::var_os(name).is_some();
    let found = match parameter {
        "upstart" if has("UPSTART_JOB") => Manager::Upstart,
        "systemd" if has("NOTIFY_SOCKET") => Manager::Systemd,
        "auto" if has("UPSTART_JOB") => Manager::Upstart,
        "auto" if has("NOTIFY_SOCKET") => Manager::Systemd,
        "upstart" => {
            log::warning("Upstart supervision requested, but UPSTART_JOB not found!");
            Manager::None
        }
        "systemd" => {
            log::warning("systemd supervision requested or auto-detected, but Redis is not under systemd.");
            Manager::None
        }
        _ => Manager::None,
    };
    *MANAGER.get_or_init(|| found)
}

/// Tells systemd that the process has begun, and whoever reads the log what it is to be told.
pub fn begin() {
    if manager() == Manager::Systemd {
        notify("STATUS=Redis is loading...\n");
        log::notice(
            "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and TimeoutStopSec \
             in your service unit.",
        );
    }
}

/// Tells systemd a line such as `READY=1`; nothing when it does not supervise.
pub fn notify(state: &str) {
    if manager() == Manager::Systemd
        && let Err(error) = send(state)
    {
        log::warning(&format!("systemd supervision error: sd_notify: {error}"));
    }
}

/// The notification protocol: one datagram to the socket that NOTIFY_SOCKET names, abstract where it starts with `@`.
fn send(state: &str) -> io::Result<()> {
    let name = std::env::var("NOTIFY_SOCKET").map_err(|_| io::ErrorKind::NotFound)?;
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(|_| ())
}
