//! `status`: each node with its role, slots, memory, keys, hit rate and replication lag.

use super::check::{self, Answer, Member, Survey};
use crate::address::Address;
use crate::client::Auth;
use crate::error::Error;
use crate::info::Info;
use crate::table::{self, Align, Table};
use protocol::SLOT_COUNT;

pub fn run(seed: &Address, auth: &Auth) -> Result<(), Error> {
    let survey = Survey::take(seed, auth)?;
    say!("{}", nodes_table(&survey));
    let problems = survey.problems();
    let state = if problems.is_empty() { "ok" } else { "not well" };
    say!("State {state}, {} of {SLOT_COUNT} slots covered.", survey.view.covered());
    check::report(&problems)
}

/// Masters in the order of their slots, each followed by its replicas.
pub fn nodes_table(survey: &Survey) -> Table {
    let mut table = Table::new(&[
        ("node", Align::Left),
        ("role", Align::Left),
        ("slots", Align::Left),
        ("memory", Align::Right),
        ("keys", Align::Right),
        ("hit rate", Align::Right),
        ("lag", Align::Right),
    ]);
    let mut members: Vec<&Member> = survey.members.iter().collect();
    let first_slot = |member: &Member| member.node.slots.first().map_or(u16::MAX, |range| range.first);
    members.sort_by_key(|member| {
        let of = member.node.master.as_deref();
        let master = survey.members.iter().find(|other| Some(other.node.id.as_str()) == of).unwrap_or(member);
        (first_slot(master), &master.node.id, of.is_some(), &member.node.address)
    });
    for member in members {
        table.row(row(member, survey));
    }
    table
}

fn row(member: &Member, survey: &Survey) -> Vec<String> {
    let node = &member.node;
    let role = match &node.master {
        _ if node.is_master() => "master".to_owned(),
        Some(id) => match survey.view.by_id(id) {
            Some(master) => format!("replica of {}", master.address),
            None => "replica of a stranger".to_owned(),
        },
        None => "replica of none".to_owned(),
    };
    let mut cells = vec![node.address.to_string(), role, node.slots_text()];
    match &member.answer {
        Err(_) => cells.push("no answer".to_owned()),
        Ok(answer) => cells.extend([
            answer.info.number("used_memory").map_or(String::new(), table::bytes),
            answer.info.keys().to_string(),
            hit_rate(&answer.info),
            lag(node.master.as_deref(), answer, survey),
        ]),
    }
    cells
}

/// Hits of all reads since the node started.
fn hit_rate(info: &Info) -> String {
    let (Some(hits), Some(misses)) = (info.number("keyspace_hits"), info.number("keyspace_misses")) else {
        return String::new();
    };
    match hits + misses {
        0 => "-".to_owned(),
        reads => format!("{:.1} %", hits as f64 * 100.0 / reads as f64),
    }
}

/// How many bytes of its master's stream a replica has still to apply.
fn lag(master: Option<&str>, answer: &Answer, survey: &Survey) -> String {
    let Some(id) = master else { return String::new() };
    if answer.info.text("master_link_status") != "up" {
        return "link down".to_owned();
    }
    let of_master = survey.members.iter().find(|member| member.node.id == id);
    let written = of_master
        .and_then(|member| member.answer.as_ref().ok())
        .and_then(|answer| answer.info.number("master_repl_offset"));
    match (written, answer.info.number("slave_repl_offset")) {
        (Some(written), Some(applied)) => table::bytes(written.saturating_sub(applied)),
        _ => String::new(),
    }
}
