//! Servers to test: processes on free ports, in temporary folders, gone when dropped.

use crate::cluster::{SOON, free_port, wait_until};
use crate::resp::{Client, Value};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

pub struct Server {
    child: Child,
    /// The program, and what it is given before the directives.
    command: Vec<OsString>,
    args: Vec<String>,
    pub folder: PathBuf,
    pub port: u16,
}

impl Server {
    /// Starts `binary` with these directives beside port, folder and no snapshots, and waits until it answers.
    pub fn start(binary: &Path, directives: &[&str]) -> Server {
        Server::start_with(binary, None, directives)
    }

    /// As [`Server::start`], from a configuration file, which the directives follow.
    pub fn start_with(binary: &Path, file: Option<&Path>, directives: &[&str]) -> Server {
        Server::start_command(vec![binary.into()], file, directives)
    }

    /// As [`Server::start`], after commands of a shell whose process becomes the server's.
    pub fn start_after(preparations: &str, binary: &Path, directives: &[&str]) -> Server {
        let script = format!("{preparations}; exec \"$0\" \"$@\"");
        let command = vec!["sh".into(), "-c".into(), script.into(), binary.into()];
        Server::start_command(command, None, directives)
    }

    fn start_command(command: Vec<OsString>, file: Option<&Path>, directives: &[&str]) -> Server {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("balas-test-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let mut args: Vec<String> = file.iter().map(|file| file.display().to_string()).collect();
        args.extend(["--port".to_owned(), port.to_string(), "--dir".into(), folder.display().to_string()]);
        args.extend(["--save".to_owned(), String::new()]);
        args.extend(directives.iter().map(|&directive| directive.to_owned()));
        let child = spawn(&command, &args, &folder);
        let mut server = Server { child, command, args, folder, port };
        server.wait_until_ready();
        server
    }

    /// Shuts the server down in an orderly way, and starts it again in the same folder.
    pub fn restart(&mut self) {
        // The connection is closed instead of answered.
        let _ = self.client().call(&["SHUTDOWN"]);
        self.wait_for_end();
        self.launch(&[]);
        self.wait_until_ready();
    }

    /// Starts it again, with these directives too, once it has ended, and waits for nothing.
    pub fn launch(&mut self, directives: &[&str]) {
        let more = directives.iter().map(|&directive| directive.to_owned());
        let args: Vec<String> = self.args.iter().cloned().chain(more).collect();
        self.child = spawn(&self.command, &args, &self.folder);
    }

    /// Waits until the process has ended, and returns its exit code; `None` when a signal has killed it.
    pub fn wait_for_end(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the server ends", SOON, || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name} works");
    }

    /// Waits until it answers and has its dataset.
    pub fn wait_until_ready(&mut self) {
        for _ in 0..1000 {
            if let Ok(mut client) = Client::connect(self.port)
                && client.call(&["PING"]).is_ok_and(|reply| is_served(&reply))
            {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server does not answer");
    }

    /// What the server has written to its log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.port).expect("the server answers")
    }
}

/// The reply to PING of a server that has its dataset, whether or not it wants a password.
fn is_served(reply: &Value) -> bool {
    !reply.is_error() || matches!(reply, Value::Line(_, text) if text.starts_with(b"NOAUTH"))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(command: &[OsString], args: &[String], folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log file");
    Command::new(&command[0])
        .args(&command[1..])
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Stock's server.
pub fn stock() -> PathBuf {
    std::env::var_os("REDIS_BIN").map_or_else(|| PathBuf::from("redis-server"), PathBuf::from)
}

/// Our server, built in the profile of the tests unless `BALAS_BIN` names one.
pub fn balas() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| std::env::var_os("BALAS_BIN").map_or_else(build, PathBuf::from)).clone()
}

fn build() -> PathBuf {
    // The test is in deps/ of the folder the server is to be in, which is called after the profile.
    let test = std::env::current_exe().expect("the test has a path");
    let folder = test.ancestors().nth(2).expect("cargo's folders");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    cargo.args(["build", "--quiet", "--package", "balas-server", "--bin", "balas", "--profile", profile]);
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "the server does not build");
    folder.join("balas")
}
