//! The first lines of the log.

use crate::config::Values;
use crate::log;
use std::io::IsTerminal;

/// Shows what runs where: a picture for people, a line for logs.
pub fn show(values: &Values) {
    let mode = if values.bool("cluster-enabled") { "cluster" } else { "standalone" };
    let port = values.int("port");
    let for_people = values.text("logfile").is_empty() && std::io::stdout().is_terminal();
    if !(for_people || values.bool("always-show-logo")) {
        return log::notice(&format!("Running mode={mode}, port={port}."));
    }
    log::raw(&format!(
        "\n\
         \x20      ______________\n\
         \x20     /\\  /\\    /\\  /\\        Balas {} (Redis {}) 64 bit\n\
         \x20    /__\\/__\\__/__\\/__\\\n\
         \x20    \\   \\  \\  /  /   /       Running in {mode} mode\n\
         \x20     \\   \\  \\/  /   /        Port: {port}\n\
         \x20      \\   \\ /\\ /   /         PID: {}\n\
         \x20       \\   \\  /   /\n\
         \x20        \\___\\/___/\n\n",
        crate::BALAS_VERSION,
        crate::REDIS_VERSION,
        std::process::id()
    ));
}
