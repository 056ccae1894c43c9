//! Runs simulated clusters by seed.
//!
//! ```text
//! simulate [--seed N] [--runs N] [--masters N] [--replicas N] [--moves N] [--faults N] [--by-meet true|false]
//!          [--verbose true]
//! ```

use balas_cluster_bus::sim::{Plan, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).map(String::as_str)
    };
    let number = |name: &str, default: u64| value(name).and_then(|v| v.parse().ok()).unwrap_or(default);
    let first = number("--seed", 0);
    let mut failed = 0;
    for seed in first..first + number("--runs", 1) {
        let mut plan = Plan::six(seed);
        plan.masters = number("--masters", 3) as usize;
        plan.replicas_per_master = number("--replicas", 1) as usize;
        plan.moves = number("--moves", plan.moves as u64) as usize;
        plan.faults = number("--faults", plan.faults as u64) as usize;
        plan.by_meet = value("--by-meet").map_or(plan.by_meet, |v| v == "true");
        plan.verbose = value("--verbose") == Some("true");
        match run(seed, &plan) {
            Ok(outcome) => println!("seed {seed}: {outcome:?}"),
            Err(violation) => {
                failed += 1;
                println!("seed {seed}: {violation}\nto repeat: {}", plan.command(seed));
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
