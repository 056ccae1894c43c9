//! The command line: a configuration file, `-` for standard input, and directives.

use crate::config::file::{ConfigError, Loaded};
use std::io::Read;
use std::path::PathBuf;

/// What the command line asks for.
pub enum Asked {
    Version,
    Help,
    /// `--test-memory`; `None` when it is not said how much.
    TestMemory {
        megabytes: Option<usize>,
    },
    CheckSystem,
    Serve(Box<Start>),
}

/// How to start the server.
#[derive(Default)]
pub struct Start {
    pub loaded: Loaded,
    pub file: Option<PathBuf>,
    /// What was read from standard input.
    pub stdin: Option<String>,
    /// There was anything on the command line.
    pub configured: bool,
}

/// Reads the arguments after the program's name. Later sources win: the file, standard input, directives.
pub fn parse(args: &[String]) -> Result<Asked, ConfigError> {
    match args.first().map(String::as_str) {
        Some("-v" | "--version") => return Ok(Asked::Version),
        Some("-h" | "--help") => return Ok(Asked::Help),
        Some("--test-memory") => {
            let megabytes = args.get(1).filter(|_| args.len() == 2).and_then(|count| count.parse().ok());
            return Ok(Asked::TestMemory { megabytes });
        }
        Some("--check-system") => return Ok(Asked::CheckSystem),
        _ => {}
    }
    let mut start = Start { configured: !args.is_empty(), ..Start::default() };
    let mut rest = args;
    if let Some(first) = args.first().filter(|arg| !arg.starts_with('-')) {
        // A later change of directory must not change which file CONFIG REWRITE writes.
        start.file = Some(std::path::absolute(first).unwrap_or_else(|_| PathBuf::from(first)));
        rest = &args[1..];
    }
    if rest.first().is_some_and(|arg| arg == "-") {
        start.stdin = Some(standard_input());
        rest = &rest[1..];
    } else if rest.last().is_some_and(|arg| arg == "-") {
        start.stdin = Some(standard_input());
        rest = &rest[..rest.len() - 1];
    }
    if let Some(file) = &start.file {
        start.loaded.read_file(file)?;
    }
    if let Some(text) = &start.stdin {
        start.loaded.read_text(text, "(standard input)")?;
    }
    start.loaded.read_args(rest)?;
    start.loaded.settle()?;
    Ok(Asked::Serve(Box::new(start)))
}

fn standard_input() -> String {
    let mut bytes = Vec::new();
    // What cannot be read is missing from the configuration, and a directive cut in half is refused.
    let _ = std::io::stdin().read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn version() -> String {
    format!(
        "Redis server v={} sha=00000000:0 malloc=mimalloc bits=64 build=balas-{}",
        crate::REDIS_VERSION,
        crate::BALAS_VERSION
    )
}

pub const HELP: &str = "\
Usage: balas [/path/to/redis.conf] [options] [-]
       balas - (the configuration is read from standard input)
       balas -v or --version
       balas -h or --help
       balas --test-memory <megabytes>
       balas --check-system
       balas server|cluster|cli|top ... (roles; server when none is named)

An option is a directive of redis.conf, as in: balas /etc/redis/6379.conf --port 7777 --loglevel verbose";
