//! `create`: one cluster out of empty nodes.
//!
//! ```text
//!  all empty? ──▶ slots and epochs ──▶ MEET ──▶ all know all ──▶ REPLICATE ──▶ all agree, state ok
//! ```
//!
//! The nodes were empty, so undoing a failed attempt is a CLUSTER RESET of each.

use super::{check, status};
use crate::address::Address;
use crate::args::Create;
use crate::client::{Auth, Client, ClientError};
use crate::clock::wait_for;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::node::process::BUS_PORT_OFFSET;
use crate::plan::{Plan, plan};
use crate::topology::{SlotRange, View};

/// For each step that waits for gossip.
const STEP_TIMEOUT_MS: u64 = 60_000;

pub fn run(words: &Create, interrupt: &Interrupt) -> Result<(), Error> {
    let auth = words.password.auth(None);
    let survey = create(&words.nodes, words.replicas, &auth, interrupt)?;
    say!("{}", status::nodes_table(&survey));
    say!("All slots are covered and all nodes agree.");
    Ok(())
}

/// Makes the cluster and waits until it is healthy. After an error the nodes are empty and apart again.
pub fn create(
    nodes: &[Address],
    replicas: usize,
    auth: &Auth,
    interrupt: &Interrupt,
) -> Result<check::Survey, Error> {
    let plan = plan(nodes, replicas)?;
    let mut clients = connect_to_empty(nodes, auth)?;
    let joined = join(&plan, &mut clients, interrupt)
        .and_then(|()| check::wait_healthy(nodes, auth, STEP_TIMEOUT_MS, interrupt));
    if joined.is_err() {
        for client in &mut clients {
            if let Err(error) = client.ask(&["CLUSTER", "RESET", "HARD"]) {
                complain!("balas: could not reset {error}");
            }
        }
    }
    joined
}

/// Connects to all nodes, each of which must be a cluster node of its own with neither slots nor keys.
fn connect_to_empty(nodes: &[Address], auth: &Auth) -> Result<Vec<Client>, Error> {
    let mut ids: Vec<(String, &Address)> = Vec::with_capacity(nodes.len());
    let mut clients = Vec::with_capacity(nodes.len());
    for address in nodes {
        let mut client = Client::connect(address, auth).map_err(|error| error.at(address))?;
        let info = client.info()?;
        if info.text("cluster_enabled") != "1" {
            return Err(Error::refused(
                address,
                "is no cluster node: its redis.conf lacks 'cluster-enabled yes'",
            ));
        }
        let cluster = client.cluster_info()?;
        let alone = cluster.number("cluster_known_nodes").is_none_or(|nodes| nodes <= 1);
        let bare = cluster.number("cluster_slots_assigned").is_none_or(|slots| slots == 0);
        if !alone || !bare || info.keys() > 0 {
            let what = if !alone {
                "knows other nodes"
            } else if !bare {
                "owns slots"
            } else {
                "holds keys"
            };
            return Err(Error::refused(address, format!("is not empty: it {what} already")));
        }
        let id = client.ask(&["CLUSTER", "MYID"])?.text();
        if let Some((_, other)) = ids.iter().find(|(other, _)| *other == id) {
            return Err(Error::refused(address, format!("is the same node as {other}")));
        }
        ids.push((id, address));
        clients.push(client);
    }
    Ok(clients)
}

fn join(plan: &Plan, clients: &mut [Client], interrupt: &Interrupt) -> Result<(), Error> {
    for (i, master) in plan.masters.iter().enumerate() {
        let client = &mut clients[master.node];
        add_slots(client, master.slots).map_err(|error| error.at(client.address()))?;
        // Distinct from the start, the epochs need not be settled by collisions. A node that was part of a cluster
        // before has one already, which will do.
        match client.call(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]) {
            Ok(_) | Err(ClientError::Reply(_)) => {}
            Err(error) => return Err(error.at(client.address())),
        }
    }
    meet(clients)?;
    wait_known(clients, interrupt)?;
    for master in &plan.masters {
        let id = clients[master.node].ask(&["CLUSTER", "MYID"])?.text();
        for &replica in &master.replicas {
            clients[replica].ask(&["CLUSTER", "REPLICATE", &id])?;
        }
    }
    Ok(())
}

/// ADDSLOTSRANGE came with Redis 7.
fn add_slots(client: &mut Client, range: SlotRange) -> Result<(), ClientError> {
    let (first, last) = (range.first.to_string(), range.last.to_string());
    match client.call(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]) {
        Err(ClientError::Reply(text)) if text.to_ascii_lowercase().contains("unknown") => {
            let slots = range.slots().map(|slot| slot.to_string());
            let words: Vec<String> = ["CLUSTER".into(), "ADDSLOTS".into()].into_iter().chain(slots).collect();
            client.call(&words).map(drop)
        }
        other => other.map(drop),
    }
}

/// Introduces every node to the first one; gossip does the rest.
fn meet(clients: &mut [Client]) -> Result<(), Error> {
    let (first, others) = clients.split_first_mut().expect("a plan has three masters at least");
    for other in others {
        let address = other.address();
        let ip = address.ip().map_err(|error| ClientError::Unreachable(error).at(address))?;
        let bus_port = bus_port(other)?;
        let (ip, port) = (ip.to_string(), other.address().port.to_string());
        first.ask(&["CLUSTER", "MEET", &ip, &port, &bus_port.to_string()])?;
    }
    Ok(())
}

/// The port of a node's bus, which `cluster-port` may have moved.
fn bus_port(client: &mut Client) -> Result<u16, Error> {
    let text = client.ask(&["CLUSTER", "NODES"])?.text();
    let place = text.split_ascii_whitespace().nth(1).unwrap_or("");
    let port =
        place.split('@').nth(1).and_then(|rest| rest.split(',').next()).and_then(|port| port.parse().ok());
    Ok(port.unwrap_or(client.address().port.saturating_add(BUS_PORT_OFFSET)))
}

/// Waits until every node has shaken hands with every other.
fn wait_known(clients: &mut [Client], interrupt: &Interrupt) -> Result<(), Error> {
    let count = clients.len();
    wait_for("the nodes to know each other", STEP_TIMEOUT_MS, interrupt, || {
        for client in clients.iter_mut() {
            if View::of(client)?.members().count() != count {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}
