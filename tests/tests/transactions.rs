//! Transactions beside stock: what breaks them, and what their stream looks like.

use balas_tests::cluster::{Kind, Node, SOON, now, text, wait_until};
use std::time::Duration;

fn start(kind: Kind) -> Node {
    Node::start(kind, &["enable-debug-command yes"])
}

/// Keys whose time has come are not there, wherever SWAPDB puts them. The script is told to both servers.
#[test]
fn databases_exchanged_under_watched_keys_break_what_stock_breaks() {
    const SCENARIOS: [&[&str]; 6] = [
        // What was set, what is watched, in which database.
        &["SELECT 1", "SET x foo PX 1", "SLEEP", "WATCH x", "SWAPDB 0 1"],
        &["SET x foo PX 1", "SLEEP", "SELECT 1", "WATCH x", "SWAPDB 0 1"],
        &["SET x bar PX 1", "SELECT 1", "SET x foo PX 1", "SLEEP", "WATCH x", "SWAPDB 0 1"],
        &["SELECT 1", "SET x foo PX 100000", "SELECT 0", "WATCH x", "SWAPDB 0 1"],
        &["SET x foo", "WATCH x", "SWAPDB 0 1"],
        &["SET y foo", "WATCH x", "SWAPDB 0 1"],
    ];
    let nodes = [Kind::Stock, Kind::Balas].map(start);
    for scenario in SCENARIOS {
        let [stock, balas] = [0, 1].map(|at: usize| {
            let mut client = nodes[at].client();
            let mut play = |line: &str| {
                let words: Vec<&str> = line.split(' ').collect();
                client.call(&words).expect("answered")
            };
            play("DEBUG SET-ACTIVE-EXPIRE 0");
            play("FLUSHALL");
            for line in scenario {
                match *line {
                    "SLEEP" => std::thread::sleep(Duration::from_millis(5)),
                    line => assert!(!play(line).is_error(), "{line}"),
                }
            }
            ["MULTI", "PING"].into_iter().for_each(|line| drop(play(line)));
            play("EXEC")
        });
        assert_eq!(balas, stock, "{scenario:?}");
    }
}

/// What was done before and after the change of role, in one transaction, is not in the stream of those who followed.
#[test]
fn a_master_that_becomes_a_replica_within_a_transaction_sends_nothing_of_it() {
    let (master, replica) = (start(Kind::Balas), start(Kind::Stock));
    replica.ok(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    wait_until("the link is up", SOON, || replica.field("replication", "master_link_status") == "up");
    master.ok(&["SET", "before", "1"]);
    let mut client = master.client();
    for argv in
        [&["MULTI"][..], &["SET", "within", "1"], &["REPLICAOF", "127.0.0.1", "1"], &["SET", "later", "1"]]
    {
        client.call(argv).expect("answered");
    }
    assert_eq!(client.call(&["EXEC"]).expect("answered").items().len(), 3);
    wait_until("it has what came before", SOON, || replica.ask(&["GET", "before"]) == "1");
    assert_eq!(replica.call(&["EXISTS", "within", "later"]).as_i64(), Some(0));
    assert!(client.call(&["SET", "a", "b"]).expect("answered").is_error());
    // The other way round: what follows on being master again is in the stream.
    master.ok(&["CONFIG", "SET", "replica-read-only", "no"]);
    for argv in [&["MULTI"][..], &["REPLICAOF", "NO", "ONE"], &["SET", "again", "1"]] {
        client.call(argv).expect("answered");
    }
    assert_eq!(client.call(&["EXEC"]).expect("answered").items().len(), 2);
    wait_until("it has what came after", SOON, || replica.ask(&["GET", "again"]) == "1");
}

#[test]
fn exec_is_refused_when_what_was_queued_would_be() {
    let node = start(Kind::Balas);
    node.ok(&["SET", "x", "1"]);
    let (mut client, mut other) = (node.client(), node.client());
    let mut say = |argv: &[&str]| client.call(argv).expect("answered");
    other.call(&["CONFIG", "SET", "replica-serve-stale-data", "no"]).expect("answered");
    for queued in [&["GET", "x"][..], &["PING"]] {
        say(&["MULTI"]);
        say(queued);
        other.call(&["REPLICAOF", "127.0.0.1", "1"]).expect("answered");
        let text = text(&say(&["EXEC"]));
        assert!(text.contains("EXECABORT") && text.contains("MASTERDOWN"), "{text}");
        other.call(&["REPLICAOF", "NO", "ONE"]).expect("answered");
    }
}

/// The buffers of one transaction are those of the next, on whichever connection. Each line is told to both servers.
#[test]
fn however_a_transaction_ends_the_next_one_begins_anew() {
    const LINES: &[(usize, &str)] = &[
        (0, "MULTI"),
        (0, "SET a 1"),
        (1, "MULTI"),
        (1, "SET b 2"),
        (0, "DISCARD"),
        (0, "GET a"),
        (0, "MULTI"),
        (0, "GET b"),
        (1, "GET a"),
        (1, "EXEC"),
        (0, "EXEC"),
        // Spoilt by a command that is none, by one without its arguments, and by nothing at all.
        (0, "MULTI"),
        (0, "NOSUCH x"),
        (0, "SET a 2"),
        (0, "EXEC"),
        (0, "MULTI"),
        (0, "GET a"),
        (0, "SET a"),
        (0, "EXEC"),
        (0, "MULTI"),
        (0, "EXEC"),
        (0, "MULTI"),
        (0, "GET a"),
        (0, "MULTI"),
        (0, "SET a 3"),
        (0, "LPUSH a 4"),
        (0, "GET a"),
        (0, "EXEC"),
        (0, "EXEC"),
        // Broken by another client, and the flag does not stay.
        (0, "WATCH a"),
        (1, "SET a 4"),
        (0, "MULTI"),
        (0, "SET a 5"),
        (0, "EXEC"),
        (0, "MULTI"),
        (0, "GET a"),
        (0, "EXEC"),
        // Keys of many slots, and of one.
        (0, "MULTI"),
        (0, "MSET a 1 b 2 c 3"),
        (0, "INCR a"),
        (0, "MGET a b c"),
        (0, "RENAME a d"),
        (0, "INCR d"),
        (0, "DEL a b"),
        (0, "EXISTS a c c"),
        (0, "PING"),
        (0, "GET d"),
        (0, "EXEC"),
        (1, "MULTI"),
        (1, "SET {t}1 x"),
        (1, "APPEND {t}1 y"),
        (1, "DBSIZE"),
        (1, "MGET {t}1 {t}2 t"),
        (1, "EXEC"),
        // Other databases: under WATCH, and within.
        (0, "SELECT 1"),
        (0, "WATCH a"),
        (0, "SELECT 0"),
        (0, "MULTI"),
        (0, "INCR c"),
        (0, "EXEC"),
        (0, "MULTI"),
        (0, "SELECT 1"),
        (0, "INCR c"),
        (0, "SELECT 0"),
        (0, "GET c"),
        (0, "EXEC"),
        // What waits outside does not within; scripts have the rest of the queue behind them.
        (0, "MULTI"),
        (0, "BLPOP list 0"),
        (0, "EVAL return(redis.call('INCR',KEYS[1])) 1 c"),
        (0, "RPUSH list x"),
        (0, "LRANGE list 0 -1"),
        (0, "EXEC"),
        (1, "MULTI"),
        (1, "GET c"),
        (1, "RESET"),
        (1, "EXEC"),
        (1, "MULTI"),
        (1, "GET c"),
        (1, "EXEC"),
    ];
    let nodes = [Kind::Stock, Kind::Balas].map(start);
    let mut clients = nodes.each_ref().map(|node| [node.client(), node.client()]);
    for (at, &(client, line)) in LINES.iter().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let [stock, balas] = [0, 1].map(|node: usize| clients[node][client].call(&words).expect("answered"));
        assert_eq!(balas, stock, "line {at}: {line}");
    }
}

/// A client's line in CLIENT LIST: how many commands it has queued, and what they take.
fn queued(node: &Node, name: &str) -> (i64, usize) {
    let list = node.ask(&["CLIENT", "LIST"]);
    let line = list.lines().find(|line| line.contains(&format!(" name={name} "))).expect("it is connected");
    let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name)).expect("a field");
    (field("multi=").parse().expect("a number"), field("multi-mem=").parse().expect("a number"))
}

#[test]
fn what_is_queued_counts_until_the_transaction_ends_and_no_longer() {
    const COMMANDS: usize = 40;
    const VALUE_BYTES: usize = 100_000;
    let node = start(Kind::Balas);
    let mut client = node.client();
    let value = "x".repeat(VALUE_BYTES);
    let keys: Vec<String> = (0..COMMANDS).map(|n| format!("key:{n}")).collect();
    keys.iter().for_each(|key| node.ok(&["SET", key, &value]));
    let used = || node.field("memory", "used_memory").parse::<usize>().expect("a number");
    for end in ["EXEC", "DISCARD", "RESET"] {
        client.call(&["CLIENT", "SETNAME", "queues"]).expect("answered");
        let before = used();
        client.call(&["MULTI"]).expect("answered");
        for key in &keys {
            assert_eq!(text(&client.call(&["SET", key, &value]).expect("answered")), "QUEUED");
        }
        let (commands, bytes) = queued(&node, "queues");
        assert_eq!(commands, COMMANDS as i64);
        let least = COMMANDS * VALUE_BYTES;
        assert!((least..3 * least).contains(&bytes), "{bytes}");
        assert!(used() >= before + least);
        client.call(&[end]).expect("answered");
        client.call(&["CLIENT", "SETNAME", "queues"]).expect("answered");
        assert_eq!(queued(&node, "queues"), (-1, 0), "{end}");
        wait_until("the memory is given back", SOON, || used() < before + VALUE_BYTES);
        client.call(&["MULTI"]).expect("answered");
        client.call(&["SET", "small", "1"]).expect("answered");
        let (commands, bytes) = queued(&node, "queues");
        assert!(commands == 1 && (1..VALUE_BYTES).contains(&bytes), "{commands} {bytes}");
        client.call(&["DISCARD"]).expect("answered");
    }
}

#[test]
fn reads_within_a_transaction_count_as_hits_and_misses() {
    let nodes = [Kind::Stock, Kind::Balas].map(start);
    let [stock, balas] = nodes.each_ref().map(|node| {
        let mut client = node.client();
        for line in
            ["SET a 1", "MULTI", "GET a", "SET b 1", "MGET a b c", "GET d", "INCR a", "EXEC", "INCR a"]
        {
            client.call(&line.split(' ').collect::<Vec<_>>()).expect("answered");
        }
        ["keyspace_hits", "keyspace_misses"].map(|name| node.field("stats", name))
    });
    assert_eq!(balas, stock);
}

/// An EXEC that is refused ends the watching too: what becomes of the key afterwards is nothing to the next one.
#[test]
fn after_an_exec_that_was_refused_nothing_is_watched() {
    const LIFE_MS: u64 = 100;
    let nodes = [Kind::Stock, Kind::Balas].map(start);
    let [stock, balas] = nodes.each_ref().map(|node| {
        node.ok(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
        let mut client = node.client();
        let mut say = |line: &str| client.call(&line.split(' ').collect::<Vec<_>>()).expect("answered");
        say(&format!("SET w 1 PX {LIFE_MS}"));
        let begun = now();
        ["WATCH w", "MULTI", "SET x 1"].into_iter().for_each(|line| drop(say(line)));
        node.ok(&["CONFIG", "SET", "maxmemory", "1"]);
        let refused = text(&say("EXEC"));
        assert!(refused.contains("EXECABORT") && refused.contains("OOM"), "{refused}");
        node.ok(&["CONFIG", "SET", "maxmemory", "0"]);
        // Nobody looks at the key: who finds its time come removes it.
        wait_until("its time has come", SOON, || now() - begun > Duration::from_millis(2 * LIFE_MS));
        ["MULTI", "PING"].into_iter().for_each(|line| drop(say(line)));
        say("EXEC")
    });
    assert_eq!(balas, stock);
}

/// Whoever ends watching does not wait for the slow script that holds the key's slot, and can watch the key again.
#[test]
fn watching_ends_while_a_slow_script_holds_the_key() {
    const SPIN: &str = "redis.call('GET', KEYS[1]) while true do end";
    let node = Node::start(Kind::Balas, &["io-threads 1", "busy-reply-threshold 20"]);
    node.ok(&["SET", "k", "1"]);
    let is_busy = || node.ask(&["PING"]).contains("BUSY");
    for end in ["DISCARD", "EXEC", "RESET", "UNWATCH", "QUIT"] {
        let (mut client, mut script) = (node.client(), node.client());
        let mut say = |argv: &[&str]| text(&client.call(argv).expect("answered"));
        say(&["WATCH", "k"]);
        if end == "DISCARD" || end == "EXEC" {
            say(&["MULTI"]);
        }
        script.send(&["EVAL", SPIN, "1", "k"]).expect("sent");
        wait_until("the script is slow", SOON, is_busy);
        let answer = say(&[end]);
        assert_eq!(answer.contains("BUSY"), end == "EXEC", "{end}: {answer}");
        node.ok(&["SCRIPT", "KILL"]);
        assert!(script.receive().expect("answered").is_error());
        if end == "QUIT" {
            continue;
        }
        for (changer, outcome) in [(Some("2"), "-1"), (None, "PONG")] {
            say(&["WATCH", "k"]);
            if let Some(value) = changer {
                node.ok(&["SET", "k", value]);
            }
            say(&["MULTI"]);
            say(&["PING"]);
            assert_eq!(say(&["EXEC"]), outcome, "after {end}");
        }
    }
}
