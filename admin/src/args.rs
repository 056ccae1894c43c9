//! The words of `balas cluster …`.

use crate::address::Address;
use crate::client::Auth;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where `up` puts a cluster unless told otherwise.
const DEFAULT_DIR: &str = "./balas-cluster";

#[derive(Parser)]
#[command(name = "balas", disable_version_flag = true)]
enum Words {
    /// Makes, starts, looks at and tests clusters
    #[command(subcommand)]
    Cluster(Command),
}

#[derive(Subcommand)]
pub enum Command {
    /// Starts a whole cluster on this machine, or the one DIR already holds
    Up(Up),
    /// Stops the cluster in DIR
    Down(Folder),
    /// Makes a cluster of empty nodes that are running already
    Create(Create),
    /// Tells whether all slots are covered and all nodes agree
    Check(Seed),
    /// Shows each node: role, slots, memory, keys, hit rate, replication lag
    Status(Seed),
    /// Runs the smoke tests of the documented cluster
    Test(Seed),
    /// Kills a master of the cluster in DIR, measures the outage, and brings the node back
    FailoverTest(FailoverTest),
}

#[derive(Args)]
pub struct Up {
    /// Nodes in all [default: 6]
    #[arg(long)]
    pub nodes: Option<u16>,
    /// Replicas of each master [default: 1]
    #[arg(long)]
    pub replicas: Option<u16>,
    /// The first node's port; the others follow, each bus is 10000 above [default: 7000]
    #[arg(long)]
    pub port: Option<u16>,
    /// Where the nodes' folders are
    #[arg(long, default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
    /// A redis.conf for every node, instead of the built-in settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Return once the cluster is ready, and leave it running
    #[arg(long)]
    pub detach: bool,
    #[command(flatten)]
    pub password: Password,
    #[command(flatten)]
    pub program: Program,
}

#[derive(Args)]
pub struct Folder {
    /// Where the nodes' folders are
    #[arg(long, default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
}

#[derive(Args)]
pub struct Create {
    #[arg(required = true, value_name = "HOST:PORT")]
    pub nodes: Vec<Address>,
    /// Replicas of each master
    #[arg(long, default_value_t = 0)]
    pub replicas: usize,
    #[command(flatten)]
    pub password: Password,
}

#[derive(Args)]
pub struct Seed {
    /// Any node of the cluster
    #[arg(value_name = "HOST:PORT")]
    pub node: Address,
    #[command(flatten)]
    pub password: Password,
}

#[derive(Args)]
pub struct FailoverTest {
    #[command(flatten)]
    pub folder: Folder,
    #[command(flatten)]
    pub password: Password,
    #[command(flatten)]
    pub program: Program,
}

#[derive(Args)]
pub struct Password {
    /// The nodes' password [default: REDISCLI_AUTH]
    #[arg(short = 'a', long = "pass", value_name = "PASSWORD")]
    given: Option<String>,
}

impl Password {
    pub fn given(&self) -> Option<&str> {
        self.given.as_deref()
    }

    /// What to connect with: as given, else `from_config`, else from the environment.
    pub fn auth(&self, from_config: Option<String>) -> Auth {
        let from_environment = || std::env::var("REDISCLI_AUTH").ok().filter(|password| !password.is_empty());
        Auth::new(self.given.clone().or(from_config).or_else(from_environment))
    }
}

#[derive(Args)]
pub struct Program {
    /// Start this server instead of this very binary; it gets the path of a redis.conf
    #[arg(long, value_name = "PATH", hide = true)]
    pub server: Option<PathBuf>,
}

/// Reads the words, which begin with `cluster`. Whatever is no command is explained here; the exit code is 0 where
/// an explanation was asked for.
pub fn parse(args: &[String]) -> Result<Command, ExitCode> {
    match Words::try_parse_from([&"balas".to_owned()].into_iter().chain(args)) {
        Ok(Words::Cluster(command)) => Ok(command),
        Err(error) => {
            // Nothing to do where not even that can be printed.
            let _ = error.print();
            Err(if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Words::command().debug_assert();
    }

    #[test]
    fn bad_words_are_refused() {
        let parse = |line: &str| parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for line in
            ["cluster", "cluster check", "cluster check here", "cluster up --port 70000", "cluster create"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(matches!(parse("cluster check h:1 -a x"), Ok(Command::Check(_))));
        assert!(
            matches!(parse("cluster down"), Ok(Command::Down(Folder { dir })) if dir.ends_with("balas-cluster"))
        );
    }
}
