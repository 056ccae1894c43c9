//! Everything at once on four IO threads: tokens that move between values of all types, queues, streams, messages
//! and counters, each with what must hold; beside them random commands, snapshots, flushes, settings that change,
//! and clients that are killed.
//!
//! | variable | what |
//! |---|---|
//! | `BALAS_STRESS_SECONDS` | how long it goes on, 12 by default |
//! | `BALAS_STRESS_SEED` | what is drawn; who is faster than whom is not |

#[path = "stress/mod.rs"]
mod workloads;

use balas_tests::cluster::{Kind, Node, SOON, now};
use balas_tests::resp::Value;
use balas_tests::stored::everything;
use std::time::Duration;
use workloads::messages::Messages;
use workloads::queues::Queues;
use workloads::{Stage, text, tokens, unrest};

const DIRECTIVES: [&str; 7] = [
    "io-threads 4",
    "appendonly yes",
    "appendfsync everysec",
    "auto-aof-rewrite-percentage 0",
    "aof-load-truncated yes",
    "enable-debug-command yes",
    // Whoever is this user may be killed at any time.
    "user victim on nopass ~* &* +@all",
];

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Lets everything loose for a while. With flushes nothing else is promised than that all of a value is gone.
fn let_loose(node: &Node, seed: u64, how_long: Duration, flushes: bool) {
    let stage = Stage::new(node.port, seed, flushes);
    let (queues, messages) = (Queues::new(), Messages::new());
    let end = now() + how_long;
    std::thread::scope(|scope| {
        let (stage, queues, messages) = (&stage, &queues, &messages);
        // A thread that panics ends the others, and the test.
        let mut threads = Vec::new();
        threads.extend(tokens::start(scope, stage));
        threads.extend(messages.start(scope, stage));
        threads.extend(unrest::start(scope, stage));
        if !flushes {
            threads.extend(queues.start(scope, stage));
        }
        // A slow machine needs longer before there is anything to see.
        let at_most = end + 2 * SOON;
        let goes_on = || now() < end || !stage.did_enough() && now() < at_most;
        while goes_on() && threads.iter().all(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stage.stop();
    });
    assert!(stage.did_enough(), "seed {seed}: {}", stage.told());
    tokens::check(&stage);
    messages.check();
    if !flushes {
        queues.check(&stage, node);
    }
    println!("{}", stage.told());
}

/// A stored value after a restart: listpacks know no negative zero, and a sorted set that had grown too large for one
/// by settings that have changed again is one after it is loaded, as in stock.
fn settled(value: &[Value]) -> Vec<Value> {
    let zero = |item: &Value| match item {
        Value::Blob(kind, text) if text == b"-0" => Value::Blob(*kind, b"0".to_vec()),
        other => other.clone(),
    };
    let is_zset = text(&value[0]) == "zset";
    let items = |value: &Value| match value {
        Value::List(kind, items) if is_zset => Value::List(*kind, items.iter().map(zero).collect()),
        other => other.clone(),
    };
    value.iter().map(items).collect()
}

#[test]
fn nothing_is_lost_or_doubled_on_four_threads() {
    let (seed, seconds) = (variable("BALAS_STRESS_SEED", 1), variable("BALAS_STRESS_SECONDS", 12));
    println!("BALAS_STRESS_SEED={seed} BALAS_STRESS_SECONDS={seconds}");
    let half = Duration::from_millis(seconds * 500);
    let mut node = Node::start(Kind::Balas, &DIRECTIVES);
    let_loose(&node, seed, half, true);
    // Killed: what the log has are whole transactions and scripts.
    node.kill();
    node.restart();
    tokens::check(&Stage::new(node.port, seed, true));

    let_loose(&node, seed + 1, half, false);
    let before = everything(&mut node.client()).expect("the server answers");
    let digest = unrest::digest(&node);
    node.terminate();
    node.restart();
    let after = everything(&mut node.client()).expect("the server answers");
    let lasting = |value: &[Value]| value[1].as_i64() == Some(-1);
    for (key, value) in before.iter().filter(|(_, value)| lasting(value)) {
        assert_eq!(after.get(key).map(|value| settled(value)), Some(settled(value)), "seed {seed}: {key:?}");
    }
    assert!(after.keys().all(|key| before.contains_key(key)), "seed {seed}: keys come from nowhere");
    assert_eq!(unrest::digest(&node), digest, "seed {seed}");
}
