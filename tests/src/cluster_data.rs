//! Datasets: keys of every type, and what a server holds, read back key by key.

use crate::cluster::{Cluster, text};
use crate::resp::{Client, Value};
use std::collections::BTreeMap;

/// What a server holds: by key, its type, its value in an order of its own, and when it expires
/// (Unix time in milliseconds; -1: never).
pub type Dataset = BTreeMap<String, (String, String, i64)>;

/// Writes `count` groups of keys of all types and encodings, some with an expiry far off. Each group has a hash
/// tag of its own, of `prefix` and its number, so `call` may be anything that routes by the key, given first.
pub fn fill(prefix: &str, count: usize, mut call: impl FnMut(&str, &[&str]) -> Value) {
    for n in 0..count {
        let tag = format!("{{{prefix}{n}}}");
        let mut run = |name: &str, command: &str, args: &[&str]| {
            let key = format!("{tag}:{name}");
            let mut argv = vec![command, &key];
            argv.extend(args);
            let reply = call(&key, &argv);
            assert!(!reply.is_error(), "{}: {reply:?}", argv.join(" "));
        };
        let number = n.to_string();
        let long = "long ".repeat(500);
        let many: Vec<String> = (0..300).map(|i| format!("member-{i}-{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let scored: Vec<String> =
            (0..300).flat_map(|i| [format!("{}.25", i * 7 % 31), format!("m{i}")]).collect();
        let scored: Vec<&str> = scored.iter().map(String::as_str).collect();
        run("int", "SET", &[&number]);
        run("embstr", "SET", &["short\r\n\"text\""]);
        run("raw", "SET", &[&long]);
        run("expires", "SET", &["soon", "EX", "100000"]);
        run("list", "RPUSH", &["a", "1", "-7", "b"]);
        run("biglist", "RPUSH", &many);
        run("widelist", "RPUSH", &[&long, &long, &long, &long, &long]);
        run("intset", "SADD", &["1", "-70000", "5000000000"]);
        run("set", "SADD", &["a", "b", &number]);
        run("bigset", "SADD", &many);
        run("hash", "HSET", &["field", "value", "n", &number]);
        run("hash", "PEXPIRE", &["200000000"]);
        run("bighash", "HSET", &many);
        run("zset", "ZADD", &["1.5", "one", "-inf", "least", "1024", "most"]);
        run("bigzset", "ZADD", &scored);
    }
}

/// Writes keys of all types to one server.
pub fn fill_server(client: &mut Client, prefix: &str, count: usize) {
    fill(prefix, count, |_, argv| client.call(argv).expect("the server answers"));
}

/// Reads back all keys of database 0, of a master or a replica.
pub fn dataset(client: &mut Client) -> Dataset {
    let mut call = |argv: &[&str]| client.call(argv).expect("the server answers");
    // A replica in a cluster serves reads only then; elsewhere this is refused.
    call(&["READONLY"]);
    let keys = call(&["KEYS", "*"]);
    let mut all = Dataset::new();
    for key in keys.items().iter().map(text) {
        let kind = text(&call(&["TYPE", &key]));
        let (value, sorted) = match kind.as_str() {
            "string" => (call(&["GET", &key]), false),
            "list" => (call(&["LRANGE", &key, "0", "-1"]), false),
            "set" => (call(&["SMEMBERS", &key]), true),
            "hash" => (call(&["HGETALL", &key]), true),
            "zset" => (call(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]), false),
            "stream" => (call(&["XRANGE", &key, "-", "+"]), false),
            // Gone between the one command and the other.
            _ => continue,
        };
        let value = if sorted { in_order(&kind, &value) } else { text(&value) };
        let expires_ms = call(&["PEXPIRETIME", &key]).as_i64().expect("a time");
        all.insert(key, (kind, value, expires_ms));
    }
    all
}

/// Reads back all keys of a cluster from its masters.
pub fn cluster_dataset(cluster: &Cluster) -> Dataset {
    let masters = cluster.running().filter(|node| node.is_master());
    masters.flat_map(|node| dataset(&mut node.client())).collect()
}

/// Members, or fields with their values, in an order of ours.
fn in_order(kind: &str, value: &Value) -> String {
    let step = if kind == "hash" { 2 } else { 1 };
    let mut items: Vec<String> =
        value.items().chunks(step).map(|item| item.iter().map(text).collect::<Vec<_>>().join("=")).collect();
    items.sort();
    items.join("\n")
}

/// Asserts that two datasets are the same, naming the first key that is not.
pub fn assert_same(what: &str, one: &Dataset, other: &Dataset) {
    assert_same_within(what, one, other, 0);
}

/// As [`assert_same`], for keys that MIGRATE has moved: it sends how long a key has still to live, so that the
/// time on the way is added.
pub fn assert_same_but_late(what: &str, one: &Dataset, other: &Dataset) {
    assert_same_within(what, one, other, 5_000);
}

fn assert_same_within(what: &str, one: &Dataset, other: &Dataset, late_ms: i64) {
    for (key, (kind, value, expires_ms)) in one {
        let Some((other_kind, other_value, other_expires_ms)) = other.get(key) else {
            panic!("{what}: {key} is in the first only");
        };
        assert_eq!((other_kind, other_value), (kind, value), "{what}: {key}");
        let late = (0..=late_ms).contains(&(other_expires_ms - expires_ms));
        assert!(late, "{what}: {key} expires at {other_expires_ms} instead of {expires_ms}");
    }
    if let Some(key) = other.keys().find(|key| !one.contains_key(*key)) {
        panic!("{what}: {key} is in the second only");
    }
}
