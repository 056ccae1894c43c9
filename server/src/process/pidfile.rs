//! The file that holds the process's id.

use crate::config::Values;
use crate::log;
use std::path::PathBuf;

/// Where a daemon puts it when the configuration does not say.
const DEFAULT: &str = "/var/run/redis.pid";

/// Where it belongs; `None` where there is to be none.
pub fn path(values: &Values) -> Option<PathBuf> {
    match values.text("pidfile") {
        "" if values.bool("daemonize") => Some(PathBuf::from(DEFAULT)),
        "" => None,
        path => Some(PathBuf::from(path)),
    }
}

/// Writes it. That it cannot be written is no reason not to serve.
pub fn write(values: &Values) {
    let Some(path) = path(values) else { return };
    if let Err(error) = std::fs::write(path, format!("{}\n", std::process::id())) {
        log::warning(&format!("Failed to write PID file: {}", crate::config::strerror(&error)));
    }
}
