//! `up`: a whole cluster on this machine, new or resumed.
//!
//! ```text
//!  folder ──▶ ports free? ──▶ start what does not run ──▶ create, if new ──▶ healthy ──▶ table
//!                                │  any error: stop what was started here,            │
//!                                └─ remove what was made here ◀───────────────────────┤
//!                                        --detach: leave it running ◀─────────────────┤
//!                                        else: status line until Ctrl-C, stop all ◀───┘
//! ```

use super::check::{self, Survey};
use super::{create, status};
use crate::address::Address;
use crate::args::Up;
use crate::client::{Auth, Client};
use crate::clock::pause;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::node::folder::ClusterFolder;
use crate::node::process::{self, BUS_PORT_OFFSET, Launcher, Started};
use crate::plan;
use crate::table;
use std::fs;
use std::io::{IsTerminal, Write};

const DEFAULT_NODES: u16 = 6;
const DEFAULT_REPLICAS: u16 = 1;
const DEFAULT_PORT: u16 = 7000;

/// For a resumed cluster: links, elections left over, replicas that catch up.
const HEALTHY_TIMEOUT_MS: u64 = 120_000;

/// Between two looks at the running cluster.
const WATCH_PERIOD_MS: u64 = 1000;

pub fn run(words: &Up, interrupt: &Interrupt) -> Result<(), Error> {
    let launcher = Launcher::new(words.program.server.as_deref())?;
    let mut folder = match ClusterFolder::find(&words.dir)? {
        Some(folder) => resumable(words, folder)?,
        None => new_folder(words)?,
    };
    let auth = words.password.auth(folder.password());
    let mut started = Vec::new();
    let up = start_all(&launcher, &folder, &mut started, &auth, interrupt)
        .and_then(|()| make_whole(words, &folder, &auth, interrupt));
    let survey = match up {
        Ok(survey) => survey,
        Err(error) => {
            undo(&mut folder, &started, interrupt);
            return Err(error);
        }
    };
    welcome(&survey, &folder, &auth);
    if words.detach {
        say!("It keeps running. Stop it: balas cluster down --dir {}", folder.path.display());
        return Ok(());
    }
    say!("Stop it: Ctrl-C");
    watch(&folder, &mut started, &auth, interrupt);
    let stopped = process::stop_all(&folder.nodes, interrupt)?;
    say!("Stopped {stopped} nodes. The same command starts this cluster again.");
    Ok(())
}

/// The cluster that is there, unless the words describe another.
fn resumable(words: &Up, folder: ClusterFolder) -> Result<ClusterFolder, Error> {
    let (nodes, port) = (folder.nodes.len(), folder.nodes[0].port);
    let other_nodes = words.nodes.is_some_and(|wanted| usize::from(wanted) != nodes);
    let other_port = words.port.is_some_and(|wanted| wanted != port);
    let other_password =
        words.password.given().is_some_and(|given| folder.password().as_deref() != Some(given));
    let conflict = if other_nodes || other_port {
        format!("a cluster of {nodes} nodes from port {port} on")
    } else if words.config.is_some() {
        "a cluster that has its settings already".to_owned()
    } else if other_password {
        "a cluster with another password".to_owned()
    } else {
        return Ok(folder);
    };
    Err(Error::Usage(format!(
        "{} holds {conflict}; leave the option out to resume it, or give another --dir",
        folder.path.display()
    )))
}

fn new_folder(words: &Up) -> Result<ClusterFolder, Error> {
    let nodes = words.nodes.unwrap_or(DEFAULT_NODES);
    let first = words.port.unwrap_or(DEFAULT_PORT);
    let highest = u16::MAX - BUS_PORT_OFFSET;
    let last = first.checked_add(nodes.saturating_sub(1)).filter(|&last| first > 0 && last <= highest);
    let last = last.ok_or_else(|| {
        Error::Usage(format!("{nodes} nodes from port {first} on: ports go from 1 to {highest}, each bus is {BUS_PORT_OFFSET} above"))
    })?;
    let ports: Vec<u16> = (first..=last).collect();
    let addresses: Vec<Address> = ports.iter().map(|&port| Address::local(port)).collect();
    // Before anything is written or started.
    plan::plan(&addresses, replicas(words))?;
    for port in ports.iter().flat_map(|&port| [port, port + BUS_PORT_OFFSET]) {
        process::check_port_free(port)?;
    }
    let settings = match &words.config {
        Some(path) => Some(fs::read_to_string(path).map_err(|error| Error::file("read", path, error))?),
        None => None,
    };
    ClusterFolder::make(&words.dir, &ports, settings.as_deref(), words.password.given())
}

fn replicas(words: &Up) -> usize {
    usize::from(words.replicas.unwrap_or(DEFAULT_REPLICAS))
}

/// Starts every node that does not run, and waits for each to answer.
fn start_all(
    launcher: &Launcher,
    folder: &ClusterFolder,
    started: &mut Vec<Started>,
    auth: &Auth,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    let idle: Vec<_> = folder.nodes.iter().filter(|node| process::pid_of(node).is_none()).collect();
    for node in &idle {
        process::check_port_free(node.port)?;
        process::check_port_free(node.port + BUS_PORT_OFFSET)?;
    }
    if idle.len() < folder.nodes.len() {
        say!("{} nodes were running already.", folder.nodes.len() - idle.len());
    }
    for node in idle {
        started.push(launcher.start(node)?);
    }
    for node in started {
        node.wait_ready(auth, interrupt)?;
    }
    Ok(())
}

/// Creates the cluster when its nodes are still strangers, and waits until it is healthy.
fn make_whole(
    words: &Up,
    folder: &ClusterFolder,
    auth: &Auth,
    interrupt: &Interrupt,
) -> Result<Survey, Error> {
    let addresses = folder.addresses();
    if folder.is_new() || are_strangers(&addresses, auth)? {
        create::create(&addresses, replicas(words), auth, interrupt)
    } else {
        check::wait_healthy(&addresses, auth, HEALTHY_TIMEOUT_MS, interrupt)
    }
}

/// As an `up` leaves them that was killed before it created the cluster.
fn are_strangers(addresses: &[Address], auth: &Auth) -> Result<bool, Error> {
    for address in addresses {
        let mut client = Client::connect(address, auth).map_err(|error| error.at(address))?;
        if client.cluster_info()?.number("cluster_known_nodes").is_some_and(|nodes| nodes > 1) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Leaves the machine as it was.
fn undo(folder: &mut ClusterFolder, started: &[Started], interrupt: &Interrupt) {
    let nodes: Vec<_> = started.iter().map(|started| started.node.clone()).collect();
    if let Err(error) = process::stop_all(&nodes, interrupt) {
        complain!("balas: {error}");
    }
    folder.unmake();
}

fn welcome(survey: &Survey, folder: &ClusterFolder, auth: &Auth) {
    let port = folder.nodes[0].port;
    let password = if auth.password().is_some() { " -a PASSWORD" } else { "" };
    say!("A cluster of {} nodes is ready in {}:\n", folder.nodes.len(), folder.path.display());
    say!("{}", status::nodes_table(survey));
    say!("Connect: redis-cli -c -p {port}{password}");
}

/// Shows how the cluster is until the user wants to leave: on a terminal in one line that changes, elsewhere in a
/// line whenever the state changes.
fn watch(folder: &ClusterFolder, started: &mut [Started], auth: &Auth, interrupt: &Interrupt) {
    let mut out = std::io::stdout();
    let terminal = out.is_terminal();
    let mut said = String::new();
    while pause(WATCH_PERIOD_MS, interrupt).is_ok() {
        // Collects what has ended, lest it linger as a zombie.
        for node in started.iter_mut() {
            node.is_running();
        }
        let glance = Glance::take(folder, auth);
        let state = glance.state();
        // A terminal that is gone will not be written to, and will send SIGHUP.
        if terminal {
            let _ = write!(out, "\r\x1b[K{state}, {}", glance.load());
        } else if state != said {
            let _ = writeln!(out, "{state}");
            said = state;
        }
        let _ = out.flush();
    }
    if terminal {
        let _ = writeln!(out);
    }
}

/// The cluster in one line.
#[derive(Default)]
struct Glance {
    nodes: usize,
    answering: usize,
    state_ok: usize,
    keys: u64,
    memory_bytes: u64,
    commands_per_second: u64,
}

impl Glance {
    fn take(folder: &ClusterFolder, auth: &Auth) -> Glance {
        let mut glance = Glance { nodes: folder.nodes.len(), ..Glance::default() };
        for node in &folder.nodes {
            let Ok(mut client) = Client::connect(&node.address(), auth) else { continue };
            let (Ok(info), Ok(cluster)) = (client.info(), client.cluster_info()) else { continue };
            glance.answering += 1;
            glance.state_ok += usize::from(cluster.text("cluster_state") == "ok");
            glance.keys += if info.text("role") == "master" { info.keys() } else { 0 };
            glance.memory_bytes += info.number("used_memory").unwrap_or(0);
            glance.commands_per_second += info.number("instantaneous_ops_per_sec").unwrap_or(0);
        }
        glance
    }

    fn state(&self) -> String {
        let state = if self.state_ok == self.answering && self.answering > 0 { "ok" } else { "fail" };
        format!("state {state}, {} of {} nodes up", self.answering, self.nodes)
    }

    fn load(&self) -> String {
        format!(
            "{} keys, {}, {} commands/s",
            self.keys,
            table::bytes(self.memory_bytes),
            self.commands_per_second
        )
    }
}
