//! Waiting for streams, and the IDs they make themselves.

#[allow(dead_code)] // Other tests use the rest of it.
mod node;

use node::{Node, Value};
use std::time::Duration;

/// Sends a command that waits, and waits until it does.
fn block(node: &mut Node, watcher: &mut Node, args: &[&str]) {
    node.send(args);
    for _ in 0..1000 {
        if watcher.ask(&["CLIENT", "LIST"]).text().contains("flags=b") {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{args:?} does not wait");
}

/// The reply of XREAD: one entry of one stream, with one field.
fn entry(key: &str, id: &str, field: &str, value: &str) -> Value {
    let text = |text: &str| Value::Text(text.into());
    let fields = Value::List(vec![text(field), text(value)]);
    let entries = Value::List(vec![Value::List(vec![text(id), fields])]);
    Value::List(vec![Value::List(vec![text(key), entries])])
}

#[test]
fn a_reader_waits_for_what_comes_after() {
    let mut server = Node::ours(&[]);
    let mut reader = server.another();
    server.ask(&["XADD", "s", "1-1", "a", "old"]);
    block(&mut reader, &mut server, &["XREAD", "BLOCK", "0", "STREAMS", "s", "other", "$", "$"]);
    // What arrives meanwhile is run afterwards.
    reader.send(&["XLEN", "s"]);
    server.ask(&["XADD", "s", "2-1", "a", "new"]);
    assert_eq!(reader.read(), entry("s", "2-1", "a", "new"));
    assert_eq!(reader.read().text(), "2");
    // Nobody waits for either key any more: no reply comes uncalled for.
    server.ask(&["XADD", "other", "5-1", "a", "b"]);
    assert_eq!(reader.ask(&["PING"]).text(), "PONG");
}

#[test]
fn a_consumer_waits_for_what_its_group_has_not_had() {
    let mut server = Node::ours(&[]);
    let (mut first, mut second) = (server.another(), server.another());
    server.ask(&["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"]);
    let read = |who| ["XREADGROUP", "GROUP", "g", who, "BLOCK", "0", "STREAMS", "s", ">"];
    block(&mut first, &mut server, &read("alice"));
    server.ask(&["XADD", "s", "1-1", "a", "1"]);
    assert_eq!(first.read(), entry("s", "1-1", "a", "1"));
    block(&mut second, &mut server, &read("bob"));
    server.ask(&["XADD", "s", "1-2", "a", "2"]);
    assert_eq!(second.read(), entry("s", "1-2", "a", "2"));
    block(&mut second, &mut server, &read("bob"));
    server.ask(&["XGROUP", "DESTROY", "s", "g"]);
    assert!(second.read().text().starts_with("NOGROUP No such key 's' or consumer group 'g'"));
}

#[test]
fn waiting_ends_in_time_and_by_request() {
    let mut server = Node::ours(&[]);
    let mut reader = server.another();
    assert_eq!(reader.ask(&["XREAD", "BLOCK", "20", "STREAMS", "s", "$"]), Value::Null);
    let id = reader.ask(&["CLIENT", "ID"]).text();
    for (how, reply) in [
        ("TIMEOUT", Value::Null),
        ("ERROR", Value::Text("UNBLOCKED client unblocked via CLIENT UNBLOCK".into())),
    ] {
        block(&mut reader, &mut server, &["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
        assert_eq!(server.ask(&["CLIENT", "UNBLOCK", &id, how]).text(), "1");
        assert_eq!(reader.read(), reply);
    }
    // A transaction does not wait.
    reader.ask(&["MULTI"]);
    reader.ask(&["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
    assert_eq!(reader.ask(&["EXEC"]), Value::List(vec![Value::Null]));
}

#[test]
fn a_reader_that_hangs_up_is_forgotten() {
    let mut server = Node::ours(&[]);
    let mut reader = server.another();
    block(&mut reader, &mut server, &["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]);
    drop(reader);
    assert_eq!(server.ask(&["XADD", "s", "1-1", "a", "b"]).text(), "1-1");
}

#[test]
fn ids_follow_the_clock_and_never_go_back() {
    let mut server = Node::ours(&[]);
    let parse = |id: String| {
        let (ms, seq) = id.split_once('-').expect("two parts");
        (ms.parse::<u64>().expect("a time"), seq.parse::<u64>().expect("a number"))
    };
    let mut last = (1_000_000_000_000, 0);
    for _ in 0..100 {
        let id = parse(server.ask(&["XADD", "s", "*", "a", "b"]).text());
        assert!(id > last, "{id:?} after {last:?}");
        last = id;
    }
    // Behind an entry of the far future they go on from there.
    server.ask(&["XADD", "s", "99999999999999-7", "a", "b"]);
    assert_eq!(server.ask(&["XADD", "s", "*", "a", "b"]).text(), "99999999999999-8");
}
