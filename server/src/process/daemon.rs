//! `daemonize yes`: the process starts itself once more, in a session of its own, and ends.
//!
//! But why not fork? A fork copies only the thread that calls it; a second start has no such trap and needs no
//! unsafe code.

use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Set for the process that stays.
const MARK: &str = "BALAS_DAEMON";

/// Whether this process is the one that stays.
pub fn is_daemon() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts the process that stays. `stdin` is what was read from standard input, for it to read again.
pub fn start(stdin: Option<&str>) -> io::Result<()> {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let mut command = Command::new(std::env::current_exe()?);
    std::os::unix::process::CommandExt::arg0(&mut command, name);
    command.args(args).env(MARK, "1").stdout(Stdio::null()).stderr(Stdio::null());
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn()?;
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        pipe.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// Leaves the terminal's session, in the process that stays.
pub fn detach() {
    if is_daemon() {
        // Fails only for the leader of a group of processes, which has a session of its own already.
        let _ = nix::unistd::setsid();
    }
}
