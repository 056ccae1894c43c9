//! A server under test: its own folder, its own port, one core.

use crate::clock::{Stopwatch, sleep_ms};
use crate::error::BenchError;
use admin::address::Address;
use admin::client::{Auth, Client, ClientError};
use admin::info::Info;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const START_TIMEOUT_MS: u64 = 10_000;

/// The servers' core, and the core of the clients.
pub const SERVER_CORE: usize = 0;
pub const CLIENT_CORE: usize = 1;

pub struct Server {
    /// As INFO tells: `redis 7.0.15`, `balas 0.1.0`.
    pub name: String,
    pub address: Address,
    child: Child,
    dir: PathBuf,
}

impl Server {
    /// Starts a server that keeps nothing on disk unless it is asked to, and waits until it answers.
    pub fn start(program: &Path) -> Result<Server, BenchError> {
        let label = program.display().to_string();
        let port = free_port().map_err(BenchError::io("finding a free port"))?;
        let dir = std::env::temp_dir().join(format!("balas-bench-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir).map_err(BenchError::io(format!("creating {}", dir.display())))?;
        let output = File::create(dir.join("output.log")).map_err(BenchError::io("creating a log"))?;
        let errors = output.try_clone().map_err(BenchError::io("opening a log"))?;
        let child = pinned(program, SERVER_CORE)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(BenchError::io(format!("starting {label}")))?;
        let mut server = Server { name: label, address: Address::local(port), child, dir };
        server.wait_ready()?;
        server.name = server.own_name()?;
        Ok(server)
    }

    fn wait_ready(&mut self) -> Result<(), BenchError> {
        let watch = Stopwatch::start();
        loop {
            let failure = match Client::connect(&self.address, &Auth::default()) {
                Ok(mut client) => match client.call(&["PING"]) {
                    Ok(_) => return Ok(()),
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            if ended || watch.elapsed_ms() > START_TIMEOUT_MS {
                let said = fs::read_to_string(self.dir.join("output.log")).unwrap_or_default();
                return Err(BenchError::Failed(format!("{} does not start: {failure}\n{said}", self.name)));
            }
            sleep_ms(20);
        }
    }

    /// The kind and version that INFO tells, else the name of the program.
    fn own_name(&self) -> Result<String, BenchError> {
        let info = match self.client()?.call(&["INFO", "server"]) {
            Ok(text) => Info::parse(&text.text()),
            Err(ClientError::Reply(_)) => Info::default(),
            Err(error) => return Err(BenchError::client(&self.name)(error)),
        };
        let versions = ["balas", "valkey", "redis"].map(|kind| (kind, info.text(&format!("{kind}_version"))));
        let own = versions.iter().find(|(_, version)| !version.is_empty());
        let program = || Path::new(&self.name).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(own.map_or_else(program, |(kind, version)| format!("{kind} {version}")))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn client(&self) -> Result<Client, BenchError> {
        Client::connect(&self.address, &Auth::default()).map_err(BenchError::client(&self.name))
    }

    /// Runs a command whose reply does not matter.
    pub fn run(&self, args: &[&str]) -> Result<(), BenchError> {
        self.client()?.call(args).map(drop).map_err(BenchError::client(&self.name))
    }

    /// Whether the server knows the command, which is run.
    pub fn knows(&self, args: &[&str]) -> Result<bool, BenchError> {
        match self.client()?.call(args) {
            Err(ClientError::Reply(text)) => Ok(!text.starts_with("ERR unknown command")),
            other => other.map(|_| true).map_err(BenchError::client(&self.name)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A command that runs on one core, where `taskset` is there and the machine has that core.
pub fn pinned(program: &Path, core: usize) -> Command {
    if !can_pin() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// Puts this process, whose threads are clients, on the clients' core.
pub fn pin_myself() {
    if can_pin() {
        let pid = std::process::id().to_string();
        let core = CLIENT_CORE.to_string();
        // Unpinned, the figures are less steady, no more.
        let _ = Command::new("taskset").args(["-cp", &core, &pid]).stdout(Stdio::null()).status();
    }
}

/// Whether servers and clients get a core each.
pub fn can_pin() -> bool {
    use std::sync::OnceLock;
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let on = |core: usize| {
            let probe = Command::new("taskset")
                .args(["-c", &core.to_string(), "true"])
                .stderr(Stdio::null())
                .status();
            probe.is_ok_and(|status| status.success())
        };
        on(SERVER_CORE) && on(CLIENT_CORE)
    })
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
