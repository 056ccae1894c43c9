//! Programs in other languages at work on our servers: the scripts in `tests/clients`.
//!
//! A script gets ports as its arguments. It may have a node killed or started again, by a line `> kill PORT` or
//! `> start PORT` on its output.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// How long a script may take before it is ended: far longer than any needs.
const PATIENCE_S: &str = "240";

/// What runs a script, with the packages that scripts use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// `BALAS_PYTHON`, or the Python of the path.
    Python,
    /// The Node.js of the path, with the packages in the folder `BALAS_NODE_MODULES`.
    JavaScript,
}

impl Language {
    /// A command that runs scripts; `None`, and a line that says so, where this machine has none.
    ///
    /// # Panics
    /// When there is an interpreter, but without the packages: `tests/run` installs them.
    fn interpreter(self) -> Option<Command> {
        let found = match self {
            Language::Python => python(),
            Language::JavaScript => javascript(),
        };
        if found.is_none() {
            eprintln!("left out: there is nothing to run {self:?} with");
        }
        found
    }
}

fn python() -> Option<Command> {
    if let Ok(named) = std::env::var("BALAS_PYTHON") {
        return Some(command(&named));
    }
    let probe = Command::new("python3").args(["-c", "import celery, django_redis, redis"]).output().ok()?;
    assert!(
        probe.status.success(),
        "python3 has no redis-py: run tests/run, or name a Python that has it in BALAS_PYTHON"
    );
    Some(command("python3"))
}

fn javascript() -> Option<Command> {
    let packages = std::env::var("BALAS_NODE_MODULES").ok()?;
    Command::new("node").arg("--version").output().ok()?;
    let mut node = command("node");
    node.env("NODE_PATH", packages);
    Some(node)
}

/// The interpreter, ended when it takes too long.
fn command(interpreter: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", PATIENCE_S, interpreter]);
    // Nothing is written into the folder of the scripts.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What a script asks to be done to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Kill,
    Start,
}

fn order(line: &str) -> Option<(Order, u16)> {
    let (what, port) = line.strip_prefix("> ")?.split_once(' ')?;
    let order = match what {
        "kill" => Order::Kill,
        "start" => Order::Start,
        _ => return None,
    };
    Some((order, port.parse().ok()?))
}

/// Runs a script of `tests/clients`, which must succeed.
pub fn run_script(language: Language, name: &str, ports: &[u16]) {
    run_script_with(language, name, ports, |order, port| panic!("{name}: {order:?} {port} is not for it"));
}

/// As [`run_script`], and does what the script asks to be done.
pub fn run_script_with(language: Language, name: &str, ports: &[u16], mut obey: impl FnMut(Order, u16)) {
    let Some(mut interpreter) = language.interpreter() else { return };
    let (output, input) = io::pipe().expect("a pipe");
    let mut child = interpreter
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name))
        .args(ports.iter().map(u16::to_string))
        .stdin(Stdio::null())
        .stdout(input.try_clone().expect("a second handle"))
        .stderr(input)
        .spawn()
        .expect("the interpreter starts");
    // It keeps the other end of the pipe open.
    drop(interpreter);
    let mut said = String::new();
    for line in BufReader::new(output).lines() {
        let line = line.expect("text");
        if let Some((order, port)) = order(&line) {
            obey(order, port);
        }
        said += &line;
        said.push('\n');
    }
    let status = child.wait().expect("a child of ours");
    assert!(status.success(), "{name}: {status}\n{said}");
    println!("{name}\n{said}");
}
