//! `redis-benchmark` against each server in turn.

use crate::error::BenchError;
use crate::proc;
use crate::server::{self, Server};
use crate::stats::median;
use crate::table;
use std::path::Path;

/// How to run a test of redis-benchmark's default list.
pub struct Test {
    pub name: &'static str,
    /// The test's own name for `-t`, or the words of a command.
    run: Run,
    /// A test of the default list that writes what this one reads or takes.
    prepare: Option<&'static str>,
    /// A command by which a server shows that it knows this one.
    probe: &'static [&'static str],
}

enum Run {
    BuiltIn(&'static str),
    /// LRANGE's built-in tests fill the list in the same run, which would be counted in.
    Words(&'static [&'static str]),
}

const fn test(
    name: &'static str,
    built_in: &'static str,
    prepare: Option<&'static str>,
    probe: &'static [&'static str],
) -> Test {
    Test { name, run: Run::BuiltIn(built_in), prepare, probe }
}

const fn lrange(name: &'static str, words: &'static [&'static str]) -> Test {
    Test { name, run: Run::Words(words), prepare: Some("lpush"), probe: words }
}

/// The default list, in its order.
pub const TESTS: &[Test] = &[
    test("PING_INLINE", "ping_inline", None, &["PING"]),
    test("PING_MBULK", "ping_mbulk", None, &["PING"]),
    test("SET", "set", None, &["SET", "probe", "x"]),
    test("GET", "get", Some("set"), &["GET", "probe"]),
    test("INCR", "incr", None, &["INCR", "probe"]),
    test("LPUSH", "lpush", None, &["LPUSH", "probe", "x"]),
    test("RPUSH", "rpush", None, &["RPUSH", "probe", "x"]),
    test("LPOP", "lpop", Some("lpush"), &["LPOP", "probe"]),
    test("RPOP", "rpop", Some("rpush"), &["RPOP", "probe"]),
    test("SADD", "sadd", None, &["SADD", "probe", "x"]),
    test("HSET", "hset", None, &["HSET", "probe", "f", "x"]),
    test("SPOP", "spop", Some("sadd"), &["SPOP", "probe"]),
    test("ZADD", "zadd", None, &["ZADD", "probe", "1", "x"]),
    test("ZPOPMIN", "zpopmin", Some("zadd"), &["ZPOPMIN", "probe"]),
    lrange("LRANGE_100", &["LRANGE", "mylist", "0", "99"]),
    lrange("LRANGE_300", &["LRANGE", "mylist", "0", "299"]),
    lrange("LRANGE_500", &["LRANGE", "mylist", "0", "499"]),
    lrange("LRANGE_600", &["LRANGE", "mylist", "0", "599"]),
    test("MSET", "mset", None, &["MSET", "probe", "x"]),
];

/// What the runs have in common.
pub struct Load {
    pub requests: u64,
    pub clients: u32,
    pub value_bytes: u32,
    pub keys: u64,
    pub rounds: u32,
}

/// One run of one test on one server.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Sample {
    requests_per_second: f64,
    cpu_us_per_command: Option<f64>,
}

/// The tests of the names given, in the order of the list; an error names one that is none.
pub fn select(names: &[String]) -> Result<Vec<&'static Test>, BenchError> {
    let known = |name: &String| TESTS.iter().any(|test| test.name.eq_ignore_ascii_case(name));
    if let Some(name) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = TESTS.iter().map(|test| test.name).collect();
        return Err(BenchError::Failed(format!("no test is called {name}; there are {}", all.join(", "))));
    }
    let wanted =
        |test: &&Test| names.is_empty() || names.iter().any(|name| test.name.eq_ignore_ascii_case(name));
    Ok(TESTS.iter().filter(wanted).collect())
}

/// Runs all tests on all servers at one pipeline depth and prints the medians; ratios are to `servers[base]`.
pub fn compare(
    servers: &[Server],
    base: usize,
    tests: &[&Test],
    load: &Load,
    pipeline: u32,
) -> Result<(), BenchError> {
    println!(
        "\n-P {pipeline}: {} requests of {} clients, values of {} bytes, {} keys, medians of {} rounds",
        load.requests, load.clients, load.value_bytes, load.keys, load.rounds
    );
    let mut rows = Vec::new();
    for test in tests {
        let mut samples = vec![Vec::new(); servers.len()];
        for round in 0..load.rounds as usize {
            for turn in 0..servers.len() {
                // Who goes first alternates, so that no server always runs on a warmer machine.
                let i = (turn + round) % servers.len();
                samples[i].extend(measure(&servers[i], test, load, pipeline)?);
            }
        }
        rows.push(row(test, &samples, base));
        eprint!(".");
    }
    eprintln!();
    let mut head = vec!["test".to_owned()];
    for server in servers {
        head.extend([server.name.clone(), "×".into(), "CPU µs".into(), "×".into()]);
    }
    table::print(&head, &rows);
    Ok(())
}

fn row(test: &Test, samples: &[Vec<Sample>], base: usize) -> Vec<String> {
    let rps = |samples: &[Sample]| median(&samples.iter().map(|s| s.requests_per_second).collect::<Vec<_>>());
    let cpu =
        |samples: &[Sample]| median(&samples.iter().filter_map(|s| s.cpu_us_per_command).collect::<Vec<_>>());
    let mut cells = vec![test.name.to_owned()];
    for of in samples {
        cells.extend([
            table::number(rps(of), 0),
            table::ratio(rps(of), rps(&samples[base])),
            table::number(cpu(of), 2),
            table::ratio(cpu(of), cpu(&samples[base])),
        ]);
    }
    cells
}

/// One run on an emptied server; `None` when the server lacks the command.
fn measure(server: &Server, test: &Test, load: &Load, pipeline: u32) -> Result<Option<Sample>, BenchError> {
    if !server.knows(test.probe)? {
        return Ok(None);
    }
    server.run(&["FLUSHALL"])?;
    if let Some(prepare) = test.prepare {
        benchmark(server, &Run::BuiltIn(prepare), load, 16)?;
    }
    let before = proc::cpu_ns(server.pid());
    let requests_per_second = benchmark(server, &test.run, load, pipeline)?;
    let used_ns = proc::cpu_ns(server.pid()).zip(before).map(|(after, before)| after.saturating_sub(before));
    let cpu_us_per_command = used_ns.map(|ns| ns as f64 / 1000.0 / load.requests as f64);
    Ok(Some(Sample { requests_per_second, cpu_us_per_command }))
}

/// Runs redis-benchmark and gives the requests per second it saw.
fn benchmark(server: &Server, run: &Run, load: &Load, pipeline: u32) -> Result<f64, BenchError> {
    let mut command = server::pinned(Path::new("redis-benchmark"), server::CLIENT_CORE);
    command.args(["--csv", "-p", &server.address.port.to_string()]);
    for (option, value) in [
        ("-n", load.requests),
        ("-c", u64::from(load.clients)),
        ("-d", u64::from(load.value_bytes)),
        ("-r", load.keys),
        ("-P", u64::from(pipeline)),
    ] {
        command.args([option, &value.to_string()]);
    }
    match run {
        Run::BuiltIn(name) => command.args(["-t", name]),
        Run::Words(words) => command.args(*words),
    };
    let output = command.output().map_err(BenchError::io("starting redis-benchmark"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    rate(&text).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        BenchError::Failed(format!("redis-benchmark on {}: {}{}", server.name, text.trim(), errors.trim()))
    })
}

/// The second field of the last line of `"test","rps",…`.
fn rate(csv: &str) -> Option<f64> {
    let line = csv.lines().rfind(|line| line.starts_with('"') && !line.starts_with("\"test\""))?;
    // A name may hold commas, but none between quotes.
    line.split("\",\"").nth(1)?.trim_end_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_off_the_last_line() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"MSET (10 keys)\",\"50000.25\",\"0.613\"\n";
        assert_eq!(rate(csv), Some(50000.25));
        assert_eq!(rate("\"test\",\"rps\"\n"), None);
        assert_eq!(rate("Error from server: ERR unknown command"), None);
    }

    #[test]
    fn tests_are_chosen_by_name_in_any_case() {
        let names = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
            select(&wanted).map(|tests| tests.iter().map(|test| test.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["get", "SET"]).unwrap(), ["SET", "GET"]);
        assert_eq!(names(&[]).unwrap().len(), TESTS.len());
        assert!(names(&["gett"]).is_err());
    }

    #[test]
    fn a_server_without_the_command_has_dashes() {
        let sample = Sample { requests_per_second: 1000.0, cpu_us_per_command: Some(8.0) };
        let half = Sample { requests_per_second: 2000.0, cpu_us_per_command: Some(4.0) };
        let cells = row(&TESTS[2], &[vec![half], vec![sample], vec![]], 1);
        let expected =
            ["SET", "2000", "2.00×", "4.00", "0.50×", "1000", "1.00×", "8.00", "1.00×", "-", "-", "-", "-"];
        assert_eq!(cells, expected);
    }
}
