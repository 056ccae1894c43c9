//! `--server`: what commands cost that keep the server itself busy, and what thousands of connections do.

use crate::clock::{Stopwatch, sleep_ms};
use crate::error::BenchError;
use crate::proc;
use crate::script::Script;
use crate::server::Server;
use crate::stats::median;
use crate::table;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// Commands in one pipeline.
const PIPELINE: usize = 16;
const SUBSCRIBERS: usize = 100;
const CONNECTIONS: usize = 9000;
/// Files of this process and of the server that are no connections.
const OTHER_FILES: usize = 500;
/// How long buffers of idle connections may take to go.
const IDLE_MS: u64 = 5000;

/// Work whose cost is told per command, or per transaction.
struct Work {
    name: &'static str,
    run: fn(&Server) -> Result<Measured, BenchError>,
}

/// What a piece of work cost in all, and how many commands it was.
struct Measured {
    cpu_ns: Option<u64>,
    commands: u64,
}

const WORK: &[Work] = &[
    Work { name: "PUBLISH to 100 subscribers", run: publish },
    Work { name: "EVALSHA, two calls", run: evalsha },
    Work { name: "MULTI, ten commands, EXEC", run: transactions },
];

/// Prints the server's CPU time of each kind of work; ratios are to `servers[base]`.
pub fn compare_cost(servers: &[Server], base: usize, rounds: u32) -> Result<(), BenchError> {
    println!("\nServer's CPU time, {PIPELINE} in flight, medians of {rounds} rounds");
    let mut rows = Vec::new();
    for work in WORK {
        let mut samples = vec![Vec::new(); servers.len()];
        for round in 0..rounds as usize {
            for turn in 0..servers.len() {
                let i = (turn + round) % servers.len();
                servers[i].run(&["FLUSHALL"])?;
                let measured = (work.run)(&servers[i])?;
                samples[i].extend(measured.cpu_ns.map(|ns| ns as f64 / 1000.0 / measured.commands as f64));
            }
        }
        let medians: Vec<_> = samples.iter().map(|of| median(of)).collect();
        let mut row = vec![work.name.to_owned()];
        for us in &medians {
            row.extend([table::number(*us, 2), table::ratio(*us, medians[base])]);
        }
        rows.push(row);
        eprint!(".");
    }
    eprintln!();
    let mut head = vec!["work".to_owned()];
    for server in servers {
        head.extend([format!("{}: CPU µs", server.name), "×".into()]);
    }
    table::print(&head, &rows);
    Ok(())
}

/// The server's CPU time over `run`, which says how many commands that was.
fn over(server: &Server, run: impl FnOnce() -> Result<u64, BenchError>) -> Result<Measured, BenchError> {
    let before = proc::cpu_ns(server.pid());
    let commands = run()?;
    let cpu_ns = proc::cpu_ns(server.pid()).zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok(Measured { cpu_ns, commands })
}

fn publish(server: &Server) -> Result<Measured, BenchError> {
    const ROUNDS: u64 = 250;
    const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$16\r\n0123456789abcdef\r\n";
    let subscribed = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
    let mut subscribers = connect(server, SUBSCRIBERS)?;
    let mut buffer = vec![0; PIPELINE * MESSAGE.len()];
    for subscriber in &mut subscribers {
        exchange(subscriber, b"SUBSCRIBE news\r\n", &mut buffer[..subscribed.len()])?;
    }
    let mut script = Script::new(server)?;
    script.set_window(PIPELINE);
    over(server, || {
        for _ in 0..ROUNDS {
            for _ in 0..PIPELINE {
                script.words("PUBLISH news 0123456789abcdef")?;
            }
            for subscriber in &mut subscribers {
                subscriber.read_exact(&mut buffer).map_err(BenchError::io("reading messages"))?;
            }
        }
        Ok(ROUNDS * PIPELINE as u64)
    })
}

fn evalsha(server: &Server) -> Result<Measured, BenchError> {
    const TIMES: u64 = 100_000;
    const SCRIPT: &str = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])";
    let loaded =
        server.client()?.call(&["SCRIPT", "LOAD", SCRIPT]).map_err(BenchError::client(&server.name))?;
    let digest = loaded.text();
    let mut script = Script::new(server)?;
    script.set_window(PIPELINE);
    let mut run = |times| {
        (0..times)
            .try_for_each(|n| script.words(&format!("EVALSHA {digest} 1 key:{} value:{n}", n % 1000)))?;
        script.flush().map(|()| times)
    };
    // A script's first run compiles it.
    run(PIPELINE as u64)?;
    over(server, || run(TIMES))
}

fn transactions(server: &Server) -> Result<Measured, BenchError> {
    const TIMES: u64 = 30_000;
    let mut script = Script::new(server)?;
    // With their MULTI and EXEC.
    script.set_window(PIPELINE * 12);
    over(server, || {
        for n in 0..TIMES {
            script.words("MULTI")?;
            for i in 0..5 {
                script.words(&format!("SET key:{i}:{} value:{n}", n % 1000))?;
                script.words(&format!("GET key:{i}:{}", (n + 1) % 1000))?;
            }
            script.words("EXEC")?;
        }
        script.flush().map(|()| TIMES)
    })
}

/// What a server did with many connections.
struct Crowd {
    name: String,
    connections: usize,
    accepted_per_second: f64,
    cpu_us_per_connection: Option<f64>,
    /// Resident bytes per connection: when they had come, right after each sent a PING, and once idle.
    bytes: [Option<f64>; 3],
}

/// Prints how fast connections are taken and what each costs in memory, of a fresh server of each program.
pub fn compare_connections(programs: &[&Path], base: usize) -> Result<(), BenchError> {
    let mut crowds = Vec::new();
    for program in programs {
        crowds.push(crowd(&Server::start(program)?)?);
        eprint!(".");
    }
    eprintln!();
    println!("\n{} connections", crowds[base].connections);
    let figures = |crowd: &Crowd| {
        let [new, used, idle] = crowd.bytes;
        [Some(crowd.accepted_per_second), crowd.cpu_us_per_connection, new, used, idle]
    };
    let rows: Vec<Vec<String>> = crowds
        .iter()
        .map(|crowd| {
            let mut row = vec![crowd.name.clone()];
            for ((figure, of_base), decimals) in
                figures(crowd).into_iter().zip(figures(&crowds[base])).zip([0, 1, 0, 0, 0])
            {
                row.extend([table::number(figure, decimals), table::ratio(figure, of_base)]);
            }
            row
        })
        .collect();
    let mut head = vec!["server".to_owned()];
    for column in ["accepted/s", "CPU µs each", "RSS bytes each, new", "after a PING", "idle"] {
        head.extend([column.to_owned(), "×".into()]);
    }
    table::print(&head, &rows);
    Ok(())
}

fn crowd(server: &Server) -> Result<Crowd, BenchError> {
    allow_files();
    let count = CONNECTIONS.min(files_allowed().saturating_sub(OTHER_FILES));
    // What the first connections bring with them is not theirs.
    ping(&mut connect(server, 10)?)?;
    let rss = || proc::rss_bytes(server.pid());
    let empty = rss();
    let each =
        |now: Option<u64>| now.zip(empty).map(|(now, empty)| now.saturating_sub(empty) as f64 / count as f64);
    let (before, watch) = (proc::cpu_ns(server.pid()), Stopwatch::start());
    let mut connections = connect(server, count)?;
    // Accepted in order: the last one is answered when all have been.
    ping(&mut connections[count - 1..])?;
    let seconds = watch.elapsed_us() as f64 / 1e6;
    let used_ns = proc::cpu_ns(server.pid()).zip(before).map(|(after, before)| after.saturating_sub(before));
    let new = rss();
    ping(&mut connections)?;
    let used = rss();
    sleep_ms(IDLE_MS);
    let idle = rss();
    Ok(Crowd {
        name: server.name.clone(),
        connections: count,
        accepted_per_second: count as f64 / seconds,
        cpu_us_per_connection: used_ns.map(|ns| ns as f64 / 1000.0 / count as f64),
        bytes: [each(new), each(used), each(idle)],
    })
}

fn connect(server: &Server, count: usize) -> Result<Vec<TcpStream>, BenchError> {
    let one = || TcpStream::connect((server.address.host.as_str(), server.address.port));
    (0..count).map(|_| one().map_err(BenchError::io("connecting"))).collect()
}

/// Sends a PING on each connection and reads the answers, first all of the one, then all of the other.
fn ping(connections: &mut [TcpStream]) -> Result<(), BenchError> {
    for connection in &mut *connections {
        connection.write_all(b"*1\r\n$4\r\nPING\r\n").map_err(BenchError::io("sending"))?;
    }
    for connection in connections {
        connection.read_exact(&mut [0; 7]).map_err(BenchError::io("reading"))?;
    }
    Ok(())
}

/// Sends a request and reads an answer of a known length.
fn exchange(connection: &mut TcpStream, request: &[u8], answer: &mut [u8]) -> Result<(), BenchError> {
    connection.write_all(request).map_err(BenchError::io("sending"))?;
    connection.read_exact(answer).map_err(BenchError::io("reading"))
}

/// Lets this process open as many files as it may; where that fails there are fewer connections.
fn allow_files() {
    let pid = std::process::id().to_string();
    let mut command = Command::new("sh");
    command.args(["-c", "prlimit --pid $0 --nofile=$(ulimit -Hn)", &pid]);
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

fn files_allowed() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(1024)
}
