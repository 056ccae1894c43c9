//! What everything else must bear: random commands, snapshots, flushes, new settings, killed clients.

use super::{CHECKED_DB, Stage};
use balas_tests::cluster::Node;
use balas_tests::generate::Generator;
use std::io;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

/// Connections that send random commands.
const RANDOM: usize = 4;

pub fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    stage: &'scope Stage,
) -> Vec<ScopedJoinHandle<'scope, ()>> {
    ["random commands", "unrest"].iter().for_each(|what| stage.did(what, 0));
    let mut threads: Vec<_> = (0..RANDOM).map(|n| scope.spawn(move || send_anything(stage, n))).collect();
    threads.push(scope.spawn(|| administrate(stage)));
    threads.push(scope.spawn(|| walk(stage)));
    threads
}

/// Random commands of every family, in databases 0 and 1.
fn send_anything(stage: &Stage, number: usize) {
    let mut generator = Generator::new(stage.rng("anything", number).u64(..));
    let mut selected = false;
    stage.while_killed(|connection| {
        let client = connection.raw();
        if !selected {
            client.call(&["SELECT", "0"])?;
            selected = true;
        }
        let steps = match generator.wants_transaction() {
            true => generator.queue(),
            false => vec![generator.step()],
        };
        let is_transaction = steps.len() > 1;
        let mut send = || -> io::Result<()> {
            if is_transaction {
                client.call(&["MULTI"])?;
            }
            for step in steps.iter().filter(|step| !reaches_out(&step.argv)) {
                client.call(&step.argv)?;
            }
            if is_transaction {
                client.call(&["EXEC"])?;
            }
            Ok(())
        };
        let done = send();
        // The next connection begins in another database.
        selected = done.is_ok();
        stage.did("random commands", 1);
        done
    });
}

/// Whether a command might touch the database that is checked.
fn reaches_out(argv: &[Vec<u8>]) -> bool {
    argv[0].eq_ignore_ascii_case(b"FLUSHALL") || argv.iter().any(|arg| arg == CHECKED_DB.as_bytes())
}

/// Commands of an administrator in a bad mood. What they answer may be an error: a snapshot is running already.
fn administrate(stage: &Stage) {
    let (mut c, mut rng) = (stage.connect(), stage.rng("administrator", 0));
    let commands: &[&str] = &[
        "BGSAVE",
        "BGREWRITEAOF",
        "BGSAVE SCHEDULE",
        "CLIENT KILL USER victim",
        "CLIENT KILL USER victim",
        "CLIENT LIST",
        "CLIENT PAUSE 20 WRITE",
        "CLIENT UNPAUSE",
        "CONFIG SET hz 100",
        "CONFIG SET hz 10 maxmemory 4gb maxmemory-policy allkeys-lru",
        "CONFIG SET maxmemory 0",
        "CONFIG SET appendfsync always",
        "CONFIG SET appendfsync everysec",
        "CONFIG SET appendfsync no",
        "CONFIG SET hash-max-listpack-entries 2 set-max-intset-entries 4 zset-max-listpack-entries 3",
        "CONFIG SET hash-max-listpack-entries 512 set-max-intset-entries 512 zset-max-listpack-entries 128",
        "CONFIG SET list-max-listpack-size 3 stream-node-max-entries 5",
        "CONFIG SET list-max-listpack-size -2 stream-node-max-entries 100",
        "CONFIG SET notify-keyspace-events KEA",
        "CONFIG SET notify-keyspace-events x",
        "CONFIG GET *",
        "CONFIG RESETSTAT",
        "INFO everything",
        "SCRIPT FLUSH",
        "SLOWLOG RESET",
        "MEMORY STATS",
        "LATENCY RESET",
        "SWAPDB 0 1",
        "DEBUG SLEEP 0.01",
        "DEBUG DIGEST",
        "ACL SETUSER victim on nopass ~* &* +@all",
        "DBSIZE",
        "WAIT 0 10",
    ];
    while stage.goes_on() {
        let mut line = commands[rng.usize(..commands.len())];
        if stage.flushes && rng.u8(..6) == 0 {
            line = ["FLUSHALL", "FLUSHALL ASYNC", "FLUSHDB", "FLUSHALL SYNC"][rng.usize(..4)];
        }
        let argv: Vec<&str> = line.split(' ').collect();
        c.raw().call(&argv).unwrap_or_else(|error| panic!("seed {}: {line}: {error}", stage.seed));
        std::thread::sleep(Duration::from_millis(rng.u64(..15)));
        stage.did("unrest", 1);
    }
    // As it was, for those who come next.
    for line in ["CLIENT UNPAUSE", "CONFIG SET appendfsync everysec hz 10 maxmemory 0"] {
        c.ask(&line.split(' ').collect::<Vec<_>>());
    }
}

/// Walks through the keys, of which those that stay must be seen.
fn walk(stage: &Stage) {
    let mut c = stage.connect();
    while stage.goes_on() {
        let mut cursor = "0".to_owned();
        loop {
            let reply = c.ask(&["SCAN", &cursor, "COUNT", "50"]);
            cursor = super::text(&reply.items()[0]);
            for key in reply.items()[1].items() {
                let key = super::text(key);
                c.ask(&["TYPE", &key]);
                c.ask(&["MEMORY", "USAGE", &key]);
            }
            if cursor == "0" || !stage.goes_on() {
                break;
            }
        }
    }
}

/// What is in the database that is checked, in twenty bytes.
pub fn digest(node: &Node) -> Vec<String> {
    let mut client = node.client();
    let mut ask = |argv: &[&str]| client.call(argv).expect("the server answers");
    ask(&["SELECT", CHECKED_DB]);
    let mut keys: Vec<String> = ask(&["KEYS", "*"]).items().iter().map(super::text).collect();
    keys.sort();
    let mut argv = vec!["DEBUG", "DIGEST-VALUE"];
    argv.extend(keys.iter().map(String::as_str));
    let digests = ask(&argv);
    keys.iter().zip(digests.items()).map(|(key, digest)| format!("{key} {}", super::text(digest))).collect()
}
