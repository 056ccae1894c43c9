//! `balas-bench`: the load harness's command line.

use balas_bench::server::{self, Server};
use balas_bench::{BenchError, bgsave, data, memory, serving, speed};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs Balas and stock servers side by side; all ratios are to the first stock server.
#[derive(Parser)]
struct Words {
    /// The balas binary
    #[arg(long, value_name = "PATH")]
    balas: Option<PathBuf>,
    /// A stock server to compare with; may be given several times
    #[arg(long, value_name = "PATH", required = true)]
    stock: Vec<PathBuf>,
    /// Tests of redis-benchmark's default list, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    tests: Vec<String>,
    /// Requests of each run
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// Rounds, whose medians are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Pipeline depths
    #[arg(short = 'P', long, value_delimiter = ',', default_values_t = [1, 16])]
    pipeline: Vec<u32>,
    /// Parallel connections
    #[arg(long, default_value_t = 50)]
    clients: u32,
    /// Size of values
    #[arg(long, default_value_t = 64)]
    value_bytes: u32,
    /// Number of keys: of the speed tests [default: 100000], of --memory and --bgsave [2000000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// Measure memory per key instead of speed
    #[arg(long)]
    memory: bool,
    /// Measure latency and memory during BGSAVE instead of speed
    #[arg(long)]
    bgsave: bool,
    /// Measure commands on data of all types, and their memory, instead of speed
    #[arg(long)]
    data: bool,
    /// Measure messages, scripts, transactions and many connections instead of speed
    #[arg(long)]
    server: bool,
    /// Of --data: only what has one of these in its name
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Words::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("balas-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &Words) -> Result<(), BenchError> {
    let programs: Vec<&Path> = words.balas.iter().chain(&words.stock).map(PathBuf::as_path).collect();
    let base = usize::from(words.balas.is_some());
    if server::can_pin() {
        println!("Servers on core {}, clients on core {}.", server::SERVER_CORE, server::CLIENT_CORE);
        server::pin_myself();
    } else {
        println!("Not pinned: this needs taskset and two cores. Expect unsteady figures.");
    }
    if words.memory {
        memory::compare(&programs, base, words.keys.unwrap_or(2_000_000))?;
    }
    if words.bgsave {
        bgsave::compare(&programs, words.keys.unwrap_or(2_000_000))?;
    }
    if words.data {
        {
            let servers = start(&programs)?;
            data::compare_speed(&servers, base, &words.only, words.rounds)?;
        }
        data::compare_memory(&programs, base, &words.only)?;
    }
    if words.server {
        serving::compare_cost(&start(&programs)?, base, words.rounds)?;
        serving::compare_connections(&programs, base)?;
    }
    if words.memory || words.bgsave || words.data || words.server {
        return Ok(());
    }
    let tests = speed::select(&words.tests)?;
    let load = speed::Load {
        requests: words.requests,
        clients: words.clients,
        value_bytes: words.value_bytes,
        keys: words.keys.unwrap_or(100_000),
        rounds: words.rounds,
    };
    let servers = start(&programs)?;
    for &pipeline in &words.pipeline {
        speed::compare(&servers, base, &tests, &load, pipeline)?;
    }
    Ok(())
}

fn start(programs: &[&Path]) -> Result<Vec<Server>, BenchError> {
    programs.iter().map(|program| Server::start(program)).collect()
}
