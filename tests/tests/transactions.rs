//! Transactions beside stock: what breaks them, and what their stream looks like.

use balas_tests::cluster::{Kind, Node, SOON, text, wait_until};

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
                    "SLEEP" => std::thread::sleep(std::time::Duration::from_millis(5)),
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
