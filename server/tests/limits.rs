//! What clients may hold and be sent, and what is measured about commands.

#[allow(dead_code)] // Other tests use the rest of it.
mod node;

use node::{Node, Value};
use std::time::Duration;

const TRIES: usize = 500;

fn field_of(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no number {name} in {text}"))
}

fn info(node: &mut Node, name: &str) -> u64 {
    field_of(&node.ask(&["INFO", "everything"]).text(), name)
}

/// A field of CLIENT LIST's line for the client of this name; `None` when there is no such client.
fn client(node: &mut Node, name: &str, field: &str) -> Option<usize> {
    let list = node.ask(&["CLIENT", "LIST"]).text();
    let line = list.lines().find(|line| line.contains(&format!(" name={name} ")))?;
    let value = line.split(' ').find_map(|word| word.strip_prefix(&format!("{field}=")));
    Some(value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number {field} in {line}")))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..TRIES {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: never");
}

/// A client with so many bytes of an argument that is not complete.
fn with_query(node: &Node, name: &str, bytes: usize) -> Node {
    let mut other = node.another();
    assert_eq!(other.ask(&["CLIENT", "SETNAME", name]).text(), "OK");
    other.send_raw(format!("*2\r\n${}\r\n", bytes + 1).as_bytes());
    other.send_raw(&vec![b'x'; bytes]);
    other
}

#[test]
fn the_largest_clients_are_closed_first() {
    for threads in ["1", "3"] {
        let mut node = Node::ours(&["--io-threads", threads]);
        assert_eq!(node.ask(&["CLIENT", "NO-EVICT", "ON"]).text(), "OK");
        let sizes = [("small", 100_000), ("medium", 500_000), ("large", 2_000_000)];
        let clients = sizes.map(|(name, bytes)| with_query(&node, name, bytes));
        for (name, bytes) in sizes {
            until(name, || client(&mut node, name, "qbuf") == Some(bytes));
            assert!(client(&mut node, name, "tot-mem").is_some_and(|total| total > bytes));
        }
        // Changes nothing: together they are below.
        node.ask(&["CONFIG", "SET", "maxmemory-clients", "4mb"]);
        assert_eq!(info(&mut node, "evicted_clients"), 0);
        for (limit, left) in [("1mb", 2), ("300kb", 1)] {
            assert_eq!(node.ask(&["CONFIG", "SET", "maxmemory-clients", limit]).text(), "OK");
            let alive = sizes.map(|(name, _)| client(&mut node, name, "id").is_some());
            assert_eq!(alive.iter().filter(|alive| **alive).count(), left, "{limit} {alive:?}");
            assert!(alive[0], "the smallest is the last to go");
        }
        assert_eq!(info(&mut node, "evicted_clients"), 2);
        assert!(info(&mut node, "mem_clients_normal") < 300 << 10);
        assert_eq!(node.log().matches("Evicting client: ").count(), 2);
        drop(clients);
    }
}

#[test]
fn a_client_is_closed_as_soon_as_it_holds_too_much() {
    let mut node = Node::ours(&["--maxmemory-clients", "1mb"]);
    node.ask(&["CLIENT", "NO-EVICT", "ON"]);
    let mut reading = with_query(&node, "reading", 2_000_000);
    assert!(reading.is_closed());
    let mut queueing = node.another();
    queueing.ask(&["MULTI"]);
    let value = "x".repeat(300_000);
    let queued = (0..4).take_while(|_| queueing.try_ask(&["SET", "key", &value]).is_some()).count();
    assert!((2..4).contains(&queued), "{queued}");
    // A percentage is one of maxmemory.
    node.ask(&["CONFIG", "SET", "maxmemory", "100mb", "maxmemory-clients", "50%"]);
    let _small = with_query(&node, "small", 2_000_000);
    until("small", || client(&mut node, "small", "qbuf") == Some(2_000_000));
    assert_eq!(info(&mut node, "evicted_clients"), 2);
}

#[test]
fn a_client_that_may_not_be_closed_stays() {
    let mut node = Node::ours(&["--maxmemory-clients", "100kb"]);
    node.ask(&["CLIENT", "NO-EVICT", "ON"]);
    let mut other = node.another();
    other.ask(&["CLIENT", "NO-EVICT", "ON"]);
    other.ask(&["CLIENT", "SETNAME", "other"]);
    other.send_raw(format!("*2\r\n$6\r\nLRANGE\r\n${}\r\n", 300_000).as_bytes());
    other.send_raw(&vec![b'x'; 200_000]);
    until("other", || client(&mut node, "other", "qbuf") == Some(200_000));
    assert_eq!(client(&mut node, "other", "argv-mem"), Some(6));
    assert!(node.log().contains("Over client maxmemory after evicting all evictable clients"));
    assert_eq!(info(&mut node, "evicted_clients"), 0);
}

#[test]
fn more_than_a_client_may_be_sent_is_not_sent_at_all() {
    let mut node = Node::ours(&["--client-output-buffer-limit", "normal 100000 0 0"]);
    node.ask(&["SETRANGE", "key", "60000", "x"]);
    node.ask(&["HSET", "hash", "field", "value"]);
    node.ask(&["SADD", "set", "member"]);
    node.ask(&["ZADD", "zset", "1", "member"]);
    let count = "-999999999";
    let commands: [&[&str]; 4] = [
        &["MGET", "key", "key"],
        &["HRANDFIELD", "hash", count, "WITHVALUES"],
        &["SRANDMEMBER", "set", count],
        &["ZRANDMEMBER", "zset", count],
    ];
    for command in commands {
        let mut other = node.another();
        assert!(other.try_ask(command).is_none(), "{command:?}");
    }
    // In a transaction too, which is carried out nevertheless.
    let mut other = node.another();
    other.ask(&["MULTI"]);
    other.ask(&["MGET", "key", "key"]);
    other.ask(&["SET", "after", "1"]);
    assert!(other.try_ask(&["EXEC"]).is_none());
    assert_eq!(node.ask(&["GET", "after"]).text(), "1");
    // But not in a script, whose reply is its own affair.
    let script = "return #redis.call('SRANDMEMBER', 'set', -100000)";
    assert_eq!(node.ask(&["EVAL", script, "1", "set"]).text(), "100000");
}

#[test]
fn running_times_are_shown_as_counts_by_doublings() {
    let mut node = Node::ours(&[]);
    node.ask(&["CONFIG", "RESETSTAT"]);
    node.ask(&["SET", "a", "b"]);
    node.ask(&["SET", "c", "d"]);
    node.ask(&["CLIENT", "ID"]);
    let calls = |reply: &Value| -> Vec<(String, String)> {
        let of = |pair: &[Value]| {
            let row = pair[1].list();
            assert_eq!((row[0].text(), row[2].text()), ("calls".into(), "histogram_usec".into()));
            let counts = row[3].list();
            assert_eq!(counts.last().map(Value::text), Some(row[1].text()), "the last one counts all calls");
            (pair[0].text(), row[1].text())
        };
        reply.list().chunks(2).map(of).collect()
    };
    let pair = |name: &str, calls: &str| (name.to_owned(), calls.to_owned());
    let some = node.ask(&["LATENCY", "HISTOGRAM", "set", "nosuch", "get", "client"]);
    assert_eq!(calls(&some), [pair("set", "2"), pair("client|id", "1")]);
    let all = calls(&node.ask(&["LATENCY", "HISTOGRAM"]));
    assert!(all.contains(&pair("config|resetstat", "1")) && all.contains(&pair("latency|histogram", "1")));
    node.ask(&["CONFIG", "SET", "latency-tracking", "no"]);
    node.ask(&["CONFIG", "RESETSTAT"]);
    node.ask(&["SET", "a", "b"]);
    assert_eq!(node.ask(&["LATENCY", "HISTOGRAM"]), Value::List(Vec::new()));
}

#[test]
fn a_client_hears_what_was_evicted_for_its_command_before_the_reply() {
    let mut node = Node::ours(&[]);
    let mut caching = node.another();
    caching.ask(&["HELLO", "3"]);
    caching.ask(&["CLIENT", "TRACKING", "ON"]);
    caching.ask(&["SETEX", "volatile", "10000", "x"]);
    caching.ask(&["GET", "volatile"]);
    let used = info(&mut node, "used_memory");
    let limit = (used + 200 * 1024).to_string();
    node.ask(&["CONFIG", "SET", "maxmemory-policy", "volatile-random", "maxmemory", &limit]);
    caching.ask(&["SETBIT", "big", "4000000", "0"]);
    let push = caching.ask(&["GETBIT", "big", "0"]);
    assert_eq!(push.list()[0].text(), "invalidate");
    assert_eq!(push.list()[1].list()[0].text(), "volatile");
    assert_eq!(caching.read().text(), "0");
    assert_eq!(info(&mut node, "evicted_keys"), 1);
}

#[test]
fn nothing_expires_while_writes_are_paused() {
    let mut node = Node::ours(&[]);
    node.ask(&["SET", "key", "value", "PX", "1"]);
    assert_eq!(node.ask(&["CLIENT", "PAUSE", "60000", "WRITE"]).text(), "OK");
    until("hidden", || node.ask(&["GET", "key"]) == Value::Null);
    let gone_before = info(&mut node, "expired_keys");
    assert_eq!(node.ask(&["DBSIZE"]).text(), (1 - gone_before).to_string());
    assert_eq!(node.ask(&["CLIENT", "UNPAUSE"]).text(), "OK");
    until("expired", || info(&mut node, "expired_keys") == 1);
}

#[test]
fn what_is_flushed_does_not_push_out_what_is_written_next() {
    let mut node = Node::ours(&["--maxmemory-policy", "allkeys-lru", "--enable-debug-command", "yes"]);
    let value = "x".repeat(1000);
    for _ in 0..3 {
        node.ask(&["DEBUG", "POPULATE", "20000", "key", "500"]);
        let limit = (info(&mut node, "used_memory") + 1_000_000).to_string();
        assert_eq!(node.ask(&["CONFIG", "SET", "maxmemory", &limit]).text(), "OK");
        assert_eq!(node.ask(&["FLUSHALL"]).text(), "OK");
        for i in 0..2000 {
            node.ask(&["SET", &i.to_string(), &value]);
        }
        assert_eq!(node.ask(&["DBSIZE"]).text(), "2000");
        assert_eq!(info(&mut node, "evicted_keys"), 0);
        node.ask(&["CONFIG", "SET", "maxmemory", "0"]);
        node.ask(&["FLUSHALL", "SYNC"]);
    }
}
