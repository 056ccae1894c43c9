//! Random commands to stock and to Balas.

use balas_tests::differential::{Thresholds, run};
use balas_tests::generate::Generator;
use balas_tests::process::{Server, balas, stock};
use balas_tests::resp::Value;
use std::collections::BTreeSet;

/// Commands of one run, unless `BALAS_DIFF_COMMANDS` says otherwise.
const COMMANDS: usize = 25_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run_with(resp: u8, thresholds: Thresholds, default_seed: u64) {
    let commands = variable("BALAS_DIFF_COMMANDS").map_or(COMMANDS, |commands| commands as usize / 4);
    let seed = variable("BALAS_DIFF_SEED").map_or(default_seed, |seed| seed * 4 + default_seed);
    println!("{}", run(seed, commands, resp, thresholds));
}

#[test]
fn random_commands_are_answered_alike_in_resp2() {
    run_with(2, Thresholds::Low, 1);
}

#[test]
fn random_commands_are_answered_alike_in_resp3() {
    run_with(3, Thresholds::Low, 2);
}

#[test]
fn random_commands_on_small_collections_are_answered_alike_in_resp2() {
    run_with(2, Thresholds::Default, 3);
}

#[test]
fn random_commands_on_small_collections_are_answered_alike_in_resp3() {
    run_with(3, Thresholds::Default, 4);
}

/// Data commands that are not among the random ones.
const COMPARED_ELSEWHERE: &[(&str, &str)] = &[
    ("function|delete", "libraries are no keys: tests/tests/scripting.rs"),
    ("function|flush", "as above"),
    ("function|load", "as above"),
    ("function|restore", "as above"),
    ("lolwut", "prints the server's version"),
    ("migrate", "needs a third server: tests/tests/cluster.rs"),
];

/// Steps in which everything there is a template for comes up.
const STEPS: usize = 300_000;

fn texts(value: &Value) -> Vec<String> {
    value
        .items()
        .iter()
        .filter_map(|item| item.text())
        .map(|text| String::from_utf8_lossy(text).into())
        .collect()
}

/// The commands and subcommands of a server that read, write or are about keys.
fn data_commands(server: &Server) -> BTreeSet<String> {
    fn add(row: &Value, found: &mut BTreeSet<String>) {
        let [name, _, _, _, _, _, categories, _, _, subcommands, ..] = row.items() else {
            panic!("no row of a command: {row:?}");
        };
        if !subcommands.items().is_empty() {
            return subcommands.items().iter().for_each(|row| add(row, found));
        }
        let name = String::from_utf8_lossy(name.text().expect("a name")).into_owned();
        let is_data = |category: &String| matches!(&category[..], "@read" | "@write" | "@keyspace");
        if texts(categories).iter().any(is_data) {
            found.insert(name);
        }
    }
    let mut found = BTreeSet::new();
    let rows = server.client().call(&["COMMAND"]).expect("the server answers");
    rows.items().iter().for_each(|row| add(row, &mut found));
    found
}

#[test]
fn every_data_command_is_among_the_random_ones() {
    let balas = Server::start(&balas(), &[]);
    let stock = Server::start(&stock(), &[]);
    let mut generator = Generator::new(1);
    let mut drawn = BTreeSet::new();
    for _ in 0..STEPS {
        let argv = generator.step().argv;
        let name = |word: &Vec<u8>| String::from_utf8_lossy(word).to_ascii_lowercase();
        drawn.insert(name(&argv[0]));
        if let Some(second) = argv.get(1) {
            drawn.insert(format!("{}|{}", name(&argv[0]), name(second)));
        }
    }
    let elsewhere: BTreeSet<String> = COMPARED_ELSEWHERE.iter().map(|(name, _)| (*name).into()).collect();
    // What came after the stock server's version has nothing to be compared with.
    let ours = data_commands(&balas);
    let both: Vec<_> = ours.intersection(&data_commands(&stock)).cloned().collect();
    assert!(both.len() > 150, "only {} data commands", both.len());
    let missing: Vec<_> =
        both.iter().filter(|name| !drawn.contains(*name) && !elsewhere.contains(*name)).collect();
    assert!(missing.is_empty(), "no template for {missing:?}");
    let foreign: Vec<_> = elsewhere.iter().filter(|name| !both.contains(name)).collect();
    assert!(foreign.is_empty(), "no data commands: {foreign:?}");
}
