//! What a cluster node answers to orders, and to commands whose keys it does not serve: ours and stock alike.

use balas_tests::cluster::{Cluster, Kind, Node, SOON, now, text, wait_until};

const BOTH: [Kind; 2] = [Kind::Balas, Kind::Stock];

/// A slot each: `a` and `b` are keys of one character.
const SLOT_OF_A: u16 = 15495;
const SLOT_OF_B: u16 = 3300;

/// Sends commands in one piece, so that each arrives right after the one before. Their replies as text.
fn pipeline(node: &Node, lines: &[&str]) -> Vec<String> {
    let commands: Vec<Vec<&str>> = lines.iter().map(|line| words(line)).collect();
    let mut client = node.client();
    client.send_all(&commands.iter().collect::<Vec<_>>()).expect("it is there");
    commands.iter().map(|_| text(&client.receive().expect("it answers"))).collect()
}

/// The words of a command; `''` is the empty one.
fn words(line: &str) -> Vec<&str> {
    line.split(' ').map(|word| if word == "''" { "" } else { word }).collect()
}

fn ask(node: &Node, line: &str) -> String {
    node.ask(&words(line))
}

/// A master of all slots with the key `a`, and its replica, which has it too.
fn pair(kind: Kind) -> Cluster {
    let cluster = Cluster::start(&[kind; 2], &[]);
    cluster.form(1);
    cluster.nodes[0].ok(&["SET", "a", "1"]);
    wait_until("the replica has the key", SOON, || ask(&cluster.nodes[1], "DBSIZE") == "1");
    cluster
}

#[test]
fn a_reset_is_carried_out_before_it_is_answered() {
    for kind in BOTH {
        let cluster = pair(kind);
        let replica = &cluster.nodes[1];
        let replies =
            pipeline(replica, &["CLUSTER RESET SOFT", "ROLE", "DBSIZE", "CLUSTER RESET HARD", "DBSIZE"]);
        assert_eq!(replies[0], "OK", "{kind:?}");
        assert!(replies[1].starts_with("master\n"), "{kind:?}: {}", replies[1]);
        assert_eq!(replies[2..], ["0", "OK", "0"], "{kind:?}");
    }
}

#[test]
fn a_replica_that_took_over_takes_writes_with_the_next_command() {
    for kind in BOTH {
        let cluster = pair(kind);
        let replica = &cluster.nodes[1];
        let replies = pipeline(replica, &["CLUSTER FAILOVER TAKEOVER", "SET a 2", "GET a", "ROLE"]);
        assert_eq!(replies[..3], ["OK", "OK", "2"], "{kind:?}");
        assert!(replies[3].starts_with("master\n"), "{kind:?}: {}", replies[3]);
    }
}

#[test]
fn who_is_told_to_follow_follows_with_the_next_command() {
    for kind in BOTH {
        let cluster = pair(kind);
        let [master, other] = [&cluster.nodes[0], &cluster.nodes[1]];
        other.ok(&["CLUSTER", "RESET", "SOFT"]);
        other.ok(&["CLUSTER", "MEET", "127.0.0.1", &master.port.to_string()]);
        let id = master.id();
        wait_until("they know each other", SOON, || other.view().iter().any(|line| line.id == id));
        let replies = pipeline(other, &[&format!("CLUSTER REPLICATE {id}"), "ROLE"]);
        assert_eq!(replies[0], "OK", "{kind:?}");
        assert!(replies[1].starts_with("slave\n127.0.0.1\n"), "{kind:?}: {}", replies[1]);
    }
}

#[test]
fn a_replica_with_little_to_load_is_never_seen_loading() {
    for kind in BOTH {
        let cluster = pair(kind);
        let [master, other] = [&cluster.nodes[0], &cluster.nodes[1]];
        for round in 0..5 {
            other.ok(&["CLUSTER", "RESET", "SOFT"]);
            other.ok(&["CLUSTER", "MEET", "127.0.0.1", &master.port.to_string()]);
            let id = master.id();
            wait_until("they know each other", SOON, || other.view().iter().any(|line| line.id == id));
            let mut client = other.client();
            let mut say = |line: &str| text(&client.call(&words(line)).expect("it answers"));
            assert_eq!(say(&format!("CLUSTER REPLICATE {id}")), "OK");
            // Without a pause: the load takes a moment.
            let begun = now();
            while !say("INFO replication").contains("master_link_status:up") {
                let reply = say("CLUSTER NODES");
                assert!(!reply.starts_with('-'), "{kind:?}, round {round}: {reply}");
                assert!(now() - begun < SOON, "{kind:?} does not follow");
            }
        }
    }
}

#[test]
fn an_order_within_a_transaction_is_carried_out_before_the_next_command_of_it() {
    let cluster = pair(Kind::Balas);
    let replica = &cluster.nodes[1];
    let replies = pipeline(replica, &["MULTI", "CLUSTER RESET SOFT", "DBSIZE", "ROLE", "EXEC"]);
    assert!(replies[4].starts_with("OK\n0\nmaster\n"), "{}", replies[4]);
}

#[test]
fn what_is_superfluous_is_refused_by_the_subcommand() {
    for kind in BOTH {
        let node = Node::start(kind, &["cluster-enabled yes"]);
        for (line, name) in [
            ("CLUSTER FAILOVER FORCE TAKEOVER", "FAILOVER"),
            ("CLUSTER reset HARD x", "reset"),
            ("cluster MEET 127.0.0.1 1 2 3", "MEET"),
        ] {
            let text = "-ERR unknown subcommand or wrong number of arguments for";
            assert_eq!(ask(&node, line), format!("{text} '{name}'. Try CLUSTER HELP."), "{kind:?}");
        }
        for line in ["CLUSTER FAILOVER NOW", "CLUSTER RESET MEDIUM"] {
            assert_eq!(ask(&node, line), "-ERR syntax error", "{kind:?}: {line}");
        }
    }
}

#[test]
fn keys_are_moved_by_the_node_that_has_their_slot() {
    const CROSSED: &str = "-CROSSSLOT Keys in request don't hash to the same slot";
    for kind in BOTH {
        let cluster = Cluster::start(&[kind; 2], &[]);
        cluster.form(2);
        let [here, there] = [&cluster.nodes[0], &cluster.nodes[1]];
        let moved = format!("-MOVED {SLOT_OF_A} {}", there.address());
        assert_eq!(ask(here, "MIGRATE 127.0.0.1 1 a 0 10"), moved, "{kind:?}");
        assert_eq!(ask(here, "MIGRATE 127.0.0.1 1 '' 0 10 KEYS a"), moved, "{kind:?}");
        assert_eq!(ask(here, "MIGRATE 127.0.0.1 1 '' 0 10 KEYS a b"), CROSSED, "{kind:?}");
        assert_eq!(ask(here, "MIGRATE 127.0.0.1 1 '' 0 10 AUTH keys KEYS b"), "NOKEY", "{kind:?}");
        assert_eq!(ask(here, "MIGRATE 127.0.0.1 1 b 0 10"), "NOKEY", "{kind:?}");

        let slot = SLOT_OF_B.to_string();
        there.ok(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &here.id()]);
        here.ok(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &there.id()]);
        for (node, name) in [(here, "from"), (there, "to")] {
            assert_eq!(ask(node, "MIGRATE 127.0.0.1 1 b 0 10"), "NOKEY", "{kind:?}, {name}");
        }
    }
}

#[test]
fn what_nobody_serves_is_told_before_that_the_cluster_is_down() {
    const UNBOUND: &str = "-CLUSTERDOWN Hash slot not served";
    const DOWN: &str = "-CLUSTERDOWN The cluster is down";
    const ONLY_READS: &str = "-CLUSTERDOWN The cluster is down and only accepts read commands";
    const CROSSED: &str = "-CROSSSLOT Keys in request don't hash to the same slot";
    for kind in BOTH {
        let node = Node::start(kind, &["cluster-enabled yes"]);
        for line in [
            "GET a",
            "SET a 1",
            "MGET a b",
            "SPUBLISH a x",
            "EVAL return(1) 1 a",
            "MIGRATE 127.0.0.1 1 a 0 10",
            "MIGRATE 127.0.0.1 1 '' 0 10 KEYS a b",
        ] {
            assert_eq!(ask(&node, line), UNBOUND, "{kind:?}: {line}");
        }
        // Of all slots it has one, so the cluster is down.
        node.ok(&["CLUSTER", "ADDSLOTS", &SLOT_OF_B.to_string()]);
        assert_eq!(ask(&node, "GET b"), DOWN, "{kind:?}");
        assert_eq!(ask(&node, "SPUBLISH b x"), "0", "{kind:?}");
        assert_eq!(ask(&node, "MGET a b"), UNBOUND, "{kind:?}");
        assert_eq!(ask(&node, "MGET b a"), CROSSED, "{kind:?}");
        assert_eq!(ask(&node, "MIGRATE 127.0.0.1 1 b 0 10"), DOWN, "{kind:?}");
        let queued = pipeline(&node, &["MULTI", "GET b", "EXEC"]);
        let discarded = "-EXECABORT Transaction discarded because of previous errors.";
        assert_eq!(queued, ["OK", DOWN, discarded], "{kind:?}");

        node.ok(&["CONFIG", "SET", "cluster-allow-pubsubshard-when-down", "no"]);
        node.ok(&["CONFIG", "SET", "cluster-allow-reads-when-down", "yes"]);
        assert_eq!(ask(&node, "SPUBLISH b x"), DOWN, "{kind:?}");
        assert_eq!(ask(&node, "GET b"), "-1", "{kind:?}");
        assert_eq!(ask(&node, "SET b 1"), ONLY_READS, "{kind:?}");
        assert_eq!(ask(&node, "GET a"), UNBOUND, "{kind:?}");
        let script = |code: &str, args: &[&str]| node.ask(&[&["EVAL", code], args].concat());
        let refused = script("return redis.call('set', KEYS[1], 1)", &["1", "b"]);
        let why = "Script attempted to execute a write command while the cluster is down and readonly";
        assert!(refused.contains(why), "{kind:?}: {refused}");
        let refused = script("return redis.call('get', 'a')", &["0"]);
        let why = "Script attempted to access a non local key in a cluster node";
        assert!(refused.contains(why), "{kind:?}: {refused}");
    }
}
