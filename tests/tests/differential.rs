//! Random commands to stock and to Balas.

use balas_tests::differential::run;

/// Commands of one run, unless `BALAS_DIFF_COMMANDS` says otherwise.
const COMMANDS: usize = 50_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run_with(resp: u8, default_seed: u64) {
    let commands = variable("BALAS_DIFF_COMMANDS").map_or(COMMANDS, |commands| commands as usize);
    run(variable("BALAS_DIFF_SEED").unwrap_or(default_seed), commands, resp);
}

#[test]
fn random_commands_are_answered_alike_in_resp2() {
    run_with(2, 1);
}

#[test]
fn random_commands_are_answered_alike_in_resp3() {
    run_with(3, 2);
}
