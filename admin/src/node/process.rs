//! Starting and stopping the processes of nodes.

use super::folder::NodeFolder;
use crate::address::Address;
use crate::client::{Auth, Client, ClientError};
use crate::clock::{Stopwatch, pause, wait_for};
use crate::error::Error;
use crate::interrupt::Interrupt;
use nix::sys::signal::{Signal, kill as send_signal};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The bus listens this far above the clients' port.
pub const BUS_PORT_OFFSET: u16 = 10_000;

/// How long a node may take from its start to its first answer, loading of its data not counted.
const START_TIMEOUT_MS: u64 = 30_000;

/// How long a node may take to save and leave before it is killed.
const STOP_TIMEOUT_MS: u64 = 60_000;

/// What a node logs that was asked to leave and cannot now.
const REFUSAL: &str = "Errors trying to shut down the server";

/// Lines of a node's own words that an error shows.
const OUTPUT_LINES_MAX: usize = 15;

/// How a server is started: this very binary as `balas server <conf>`, or another as `<path> <conf>`.
pub struct Launcher {
    program: PathBuf,
    role: Option<&'static str>,
}

/// A process that was started here.
pub struct Started {
    pub node: NodeFolder,
    child: Child,
    /// Where the log ended before.
    log_start: u64,
}

impl Launcher {
    pub fn new(server: Option<&Path>) -> Result<Launcher, Error> {
        match server {
            // Each node runs in its own folder, where a relative path would mean something else. Links stay: by the
            // name it is called a server may tell its role.
            Some(path) => {
                match std::path::absolute(path).and_then(|program| program.metadata().map(|_| program)) {
                    Ok(program) => Ok(Launcher { program, role: None }),
                    Err(error) => Err(Error::file("start", path, error)),
                }
            }
            None => match std::env::current_exe() {
                Ok(program) => Ok(Launcher { program, role: Some("server") }),
                Err(error) => Err(Error::file("find", "this program", error)),
            },
        }
    }

    /// Starts a node in its folder and in a process group of its own, so that a Ctrl-C in this terminal is for
    /// us alone.
    pub fn start(&self, node: &NodeFolder) -> Result<Started, Error> {
        let output = File::create(node.output_path())
            .map_err(|error| Error::file("write", node.output_path(), error))?;
        let errors = output.try_clone().map_err(|error| Error::file("open", node.output_path(), error))?;
        let log_start = log_len(node);
        let child = Command::new(&self.program)
            .args(self.role)
            .arg(node.conf_path())
            .current_dir(&node.path)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|error| Error::file("start", &self.program, error))?;
        // The server writes the same number into the same file; but not before it is ready, and not every one does.
        fs::write(node.pid_path(), format!("{}\n", child.id()))
            .map_err(|error| Error::file("write", node.pid_path(), error))
            .map(|()| Started { node: node.clone(), child, log_start })
    }
}

impl Started {
    /// Waits for the first PONG. Loading takes as long as it takes.
    pub fn wait_ready(&mut self, auth: &Auth, interrupt: &Interrupt) -> Result<(), Error> {
        let address = self.node.address();
        let mut watch = Stopwatch::start();
        loop {
            if !self.is_running() {
                return Err(Error::DidNotStart { port: self.node.port, output: self.output() });
            }
            match ping(&address, auth) {
                Ok(()) => return Ok(()),
                Err(error) if error.code() == "LOADING" => watch = Stopwatch::start(),
                Err(error @ ClientError::Reply(_)) => return Err(error.at(&address)),
                Err(_) if watch.elapsed_ms() < START_TIMEOUT_MS => {}
                Err(error) => return Err(error.at(&address)),
            }
            pause(20, interrupt)?;
        }
    }

    /// False once it has ended, of itself or by anyone's signal; this also collects the exit status.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What the process said since it was started: its output, then its log.
    fn output(&self) -> String {
        let output = read_from(&self.node.output_path(), 0);
        let log = read_from(&self.node.log_path(), self.log_start);
        let all = format!("{output}\n{log}");
        let lines: Vec<&str> = all.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(OUTPUT_LINES_MAX)..].join("\n")
    }
}

fn read_from(path: &Path, offset: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.read_to_end(&mut bytes)
    });
    // A file that is not there says nothing.
    read.map_or(String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
}

fn ping(address: &Address, auth: &Auth) -> Result<(), ClientError> {
    Client::connect(address, auth)?.call(&["PING"]).map(drop)
}

/// The process of a node, if it runs. A pid file outlives its process, and the number may long be another's: it
/// counts only while that process works in the node's folder.
pub fn pid_of(node: &NodeFolder) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(node.pid_path()).ok()?.trim().parse().ok()?;
    // 0 and below would be whole groups of processes.
    let pid = Some(pid).filter(|&pid| pid > 0).map(Pid::from_raw)?;
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let alive = if Path::new("/proc/self").exists() {
        // Unreadable for a process that ended and was not yet collected.
        fs::read_link(proc.join("cwd")).is_ok_and(|dir| dir == node.path)
    } else {
        send_signal(pid, None).is_ok()
    };
    alive.then_some(pid)
}

/// Kills a node as a power cut would.
pub fn kill(node: &NodeFolder) -> Result<(), Error> {
    let pid = pid_of(node).ok_or_else(|| Error::refused(&node.address(), "is not running"))?;
    send_signal(pid, Signal::SIGKILL)
        .map_err(|error| Error::file("kill the process in", &node.path, error.into()))
}

/// Asks all nodes to save and leave, and waits until they have. A second wish of the user's to leave, or too long
/// a wait, kills them. Gives the number that were running.
pub fn stop_all(nodes: &[NodeFolder], interrupt: &Interrupt) -> Result<usize, Error> {
    let mut leaving: Vec<Leaving<'_>> = nodes.iter().filter_map(Leaving::of).collect();
    for node in &mut leaving {
        node.ask()?;
    }
    let impatience = interrupt.count();
    let waited = wait_for("the nodes to stop", STOP_TIMEOUT_MS, &Interrupt::default(), || {
        let mut left = 0;
        for node in leaving.iter_mut().filter(|node| !node.is_gone()) {
            left += 1;
            if node.has_refused() {
                node.ask()?;
            }
        }
        Ok((left == 0 || interrupt.count() > impatience).then_some(()))
    });
    for node in leaving.iter().filter(|node| !node.is_gone()) {
        complain!("balas: the node on port {} has not stopped: killing it", node.folder.port);
        // Gone meanwhile is as good.
        let _ = send_signal(node.pid, Signal::SIGKILL);
    }
    for node in &leaving {
        // The server's own file, mostly: then it is gone already.
        let _ = fs::remove_file(node.folder.pid_path());
    }
    match waited {
        Ok(()) | Err(Error::TimedOut { .. }) => Ok(leaving.len()),
        Err(error) => Err(error),
    }
}

/// A node that has to stop.
struct Leaving<'a> {
    folder: &'a NodeFolder,
    pid: Pid,
    /// Where its log ended when it was asked last.
    log_start: u64,
}

impl<'a> Leaving<'a> {
    fn of(folder: &'a NodeFolder) -> Option<Leaving<'a>> {
        Some(Leaving { folder, pid: pid_of(folder)?, log_start: 0 })
    }

    fn ask(&mut self) -> Result<(), Error> {
        self.log_start = log_len(self.folder);
        match send_signal(self.pid, Signal::SIGTERM) {
            // It may have gone by itself meanwhile.
            Err(error) if !self.is_gone() => {
                Err(Error::file("stop the process in", &self.folder.path, error.into()))
            }
            _ => Ok(()),
        }
    }

    fn is_gone(&self) -> bool {
        pid_of(self.folder) != Some(self.pid)
    }

    /// A stock node declines to leave while it writes its first AOF, says so in its log, and forgets the wish.
    fn has_refused(&self) -> bool {
        read_from(&self.folder.log_path(), self.log_start).contains(REFUSAL)
    }
}

fn log_len(node: &NodeFolder) -> u64 {
    fs::metadata(node.log_path()).map_or(0, |log| log.len())
}

/// Fails when another process listens on this port.
pub fn check_port_free(port: u16) -> Result<(), Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop).map_err(|_| Error::PortTaken(port))
}
