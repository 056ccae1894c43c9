//! Replication between our servers and stock ones, both ways: full and partial syncs, chains, WAIT.

use balas_tests::cluster::{Kind, Node, SOON, wait_until};
use balas_tests::cluster_data::{assert_same, dataset, fill_server};
use balas_tests::cluster_load::{Acknowledged, Load};
use balas_tests::cluster_proxy::Proxy;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Who is the master, and who the replica.
const PAIRS: [(Kind, Kind); 3] =
    [(Kind::Balas, Kind::Stock), (Kind::Stock, Kind::Balas), (Kind::Balas, Kind::Balas)];

fn start(kind: Kind) -> Node {
    Node::start(kind, &["enable-debug-command yes"])
}

fn follow(replica: &Node, port: u16) {
    replica.ok(&["REPLICAOF", "127.0.0.1", &port.to_string()]);
}

fn is_in_step(master: &Node, replica: &Node) -> bool {
    let offset = master.number("replication", "master_repl_offset");
    replica.field("replication", "master_link_status") == "up"
        && replica.number("replication", "slave_repl_offset") == offset
        && master.number("replication", "master_repl_offset") == offset
}

/// Waits until the replica is where its master is, and has the same dataset.
fn assert_replicates(master: &Node, replica: &Node) {
    wait_until("the replica is in step", SOON, || is_in_step(master, replica));
    let what = format!("{:?} and its replica {:?}", master.kind, replica.kind);
    assert_same(&what, &dataset(&mut master.client()), &dataset(&mut replica.client()));
    // All databases, by stock's own fingerprint.
    assert_eq!(master.ask(&["DEBUG", "DIGEST"]), replica.ask(&["DEBUG", "DIGEST"]), "{what}");
}

fn syncs(master: &Node) -> (i64, i64) {
    (master.number("stats", "sync_full"), master.number("stats", "sync_partial_ok"))
}

#[test]
fn a_full_sync_brings_everything_and_the_stream_goes_on() {
    for (ours, theirs) in PAIRS {
        let (master, replica) = (start(ours), start(theirs));
        fill_server(&mut master.client(), "before", 20);
        let mut other = master.client();
        other.call(&["SELECT", "3"]).expect("answered");
        other.call(&["SET", "in-three", "1"]).expect("answered");
        replica.ok(&["SET", "stale", "gone after the sync"]);
        follow(&replica, master.port);
        assert_replicates(&master, &replica);
        assert_eq!(syncs(&master).0, 1);

        fill_server(&mut master.client(), "after", 3);
        other.call(&["SET", "in-three", "2"]).expect("answered");
        let mut client = master.client();
        for argv in [
            &["INCR", "{after0}:int"][..],
            &["INCRBYFLOAT", "{after0}:int", "0.5"],
            &["APPEND", "{after0}:raw", "more"],
            &["LPOP", "{after0}:list", "2"],
            &["LINSERT", "{after0}:biglist", "BEFORE", "member-5-0", "new"],
            &["SPOP", "{after0}:bigset", "7"],
            &["HINCRBYFLOAT", "{after0}:hash", "n", "1.25"],
            &["HDEL", "{after0}:bighash", "member-0-0"],
            &["ZINCRBY", "{after0}:zset", "4", "one"],
            &["ZPOPMIN", "{after0}:bigzset", "3"],
            &["PERSIST", "{after0}:expires"],
            &["GETEX", "{after1}:embstr", "EX", "5000"],
            &["SET", "{after1}:int", "7", "PX", "500000"],
            &["RENAME", "{after1}:hash", "{after1}:renamed"],
            &["COPY", "{after1}:zset", "{after1}:copied"],
            &["DEL", "{after2}:list", "{after2}:set"],
            &["SDIFFSTORE", "{after1}:diff", "{after1}:bigset", "{after1}:set"],
        ] {
            let reply = client.call(argv).expect("answered");
            assert!(!reply.is_error(), "{argv:?}: {reply:?}");
        }
        let mut client = master.client();
        client.call(&["MULTI"]).expect("answered");
        client.call(&["INCR", "{after0}:tx"]).expect("answered");
        client.call(&["RPUSH", "{after0}:txlist", "a", "b"]).expect("answered");
        assert_eq!(client.call(&["EXEC"]).expect("answered").items().len(), 2);
        assert_replicates(&master, &replica);
        let mut third = replica.client();
        third.call(&["SELECT", "3"]).expect("answered");
        assert_eq!(third.call(&["GET", "in-three"]).expect("answered").text(), Some(&b"2"[..]));
        assert_eq!(replica.ask(&["SET", "a", "b"]), "-READONLY You can't write against a read only replica.");
    }
}

#[test]
fn a_full_sync_under_load_loses_nothing() {
    for (ours, theirs) in PAIRS {
        let (master, replica) = (start(ours), start(theirs));
        fill_server(&mut master.client(), "before", 150);
        let load = Load::start(vec![master.port], "load", Acknowledged::ByReply);
        load.wait_for_more(100);
        follow(&replica, master.port);
        load.wait_for_more(50);
        wait_until("the link is up", SOON, || replica.field("replication", "master_link_status") == "up");
        load.wait_for_more(100);
        let done = load.stop();
        assert_eq!((done.lost, done.failed), (Vec::new(), 0));
        assert_replicates(&master, &replica);
        assert!(replica.call(&["DBSIZE"]).as_i64() >= Some(done.writes.len() as i64 + 150 * 14));
    }
}

#[test]
fn a_link_that_was_cut_goes_on_where_it_was() {
    for (ours, theirs) in PAIRS {
        let (master, replica) = (start(ours), start(theirs));
        let proxy = Proxy::to(master.port);
        fill_server(&mut master.client(), "before", 3);
        follow(&replica, proxy.port);
        assert_replicates(&master, &replica);
        assert_eq!(syncs(&master), (1, 0));
        for round in 1..4 {
            proxy.cut();
            wait_until("the link is down", SOON, || {
                replica.field("replication", "master_link_status") == "down"
            });
            fill_server(&mut master.client(), &format!("round{round}-"), 2);
            proxy.heal();
            assert_replicates(&master, &replica);
            assert_eq!(syncs(&master), (1, round), "{ours:?} to {theirs:?}");
        }
        // Too far behind: all over again.
        master.ok(&["CONFIG", "SET", "repl-backlog-size", "16384"]);
        proxy.cut();
        wait_until("the link is down", SOON, || replica.field("replication", "master_link_status") == "down");
        fill_server(&mut master.client(), "much", 60);
        proxy.heal();
        assert_replicates(&master, &replica);
        assert_eq!(syncs(&master), (2, 3), "{ours:?} to {theirs:?}");
    }
}

#[test]
fn replicas_of_replicas_have_the_same_stream() {
    for kinds in
        [[Kind::Balas, Kind::Stock, Kind::Balas], [Kind::Stock, Kind::Balas, Kind::Stock], [Kind::Balas; 3]]
    {
        let [first, second, third] = kinds.map(start);
        fill_server(&mut first.client(), "before", 5);
        follow(&second, first.port);
        assert_replicates(&first, &second);
        follow(&third, second.port);
        assert_replicates(&second, &third);
        fill_server(&mut first.client(), "after", 5);
        assert_replicates(&first, &second);
        wait_until("the last is in step", SOON, || is_in_step(&first, &third));
        assert_same("the first and the last", &dataset(&mut first.client()), &dataset(&mut third.client()));
        assert_eq!(first.field("replication", "master_replid"), third.field("replication", "master_replid"));
    }
}

/// A master says once which database its stream is in; who joins a replica of it in between is told by the
/// snapshot.
#[test]
fn who_joins_down_the_chain_knows_the_database_of_the_stream() {
    for kinds in
        [[Kind::Balas, Kind::Stock, Kind::Balas], [Kind::Stock, Kind::Balas, Kind::Stock], [Kind::Balas; 3]]
    {
        let [first, second, third] = kinds.map(start);
        follow(&second, first.port);
        wait_until("the replica is in step", SOON, || is_in_step(&first, &second));
        let mut client = first.client();
        client.call(&["SELECT", "3"]).expect("answered");
        client.call(&["SET", "before", "1"]).expect("answered");
        wait_until("the replica is in step", SOON, || is_in_step(&first, &second));
        follow(&third, second.port);
        wait_until("the last is in step", SOON, || is_in_step(&first, &third));
        client.call(&["SET", "after", "1"]).expect("answered");
        assert_replicates(&first, &second);
        wait_until("the last is in step", SOON, || is_in_step(&first, &third));
        assert_eq!(first.ask(&["DEBUG", "DIGEST"]), third.ask(&["DEBUG", "DIGEST"]), "{kinds:?}");
    }
}

#[test]
fn siblings_go_on_with_whoever_is_promoted() {
    // The master, who is promoted, and their sibling.
    for kinds in [
        [Kind::Stock, Kind::Balas, Kind::Stock],
        [Kind::Balas, Kind::Stock, Kind::Balas],
        [Kind::Balas, Kind::Balas, Kind::Stock],
        [Kind::Balas, Kind::Balas, Kind::Balas],
    ] {
        let [mut master, heir, sibling] = kinds.map(start);
        fill_server(&mut master.client(), "before", 3);
        follow(&heir, master.port);
        follow(&sibling, master.port);
        assert_replicates(&master, &heir);
        assert_replicates(&master, &sibling);
        let old = master.field("replication", "master_replid");
        master.kill();
        heir.ok(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(heir.field("replication", "master_replid2"), old);
        assert_ne!(heir.field("replication", "master_replid"), old);
        heir.ok(&["SET", "by the heir", "1"]);
        follow(&sibling, heir.port);
        assert_replicates(&heir, &sibling);
        assert_eq!(syncs(&heir), (0, 1), "{kinds:?}");
        fill_server(&mut heir.client(), "after", 2);
        assert_replicates(&heir, &sibling);
    }
}

#[test]
fn wait_counts_replicas_and_a_master_without_enough_of_them_refuses_writes() {
    for (ours, theirs) in PAIRS {
        let (master, replica) = (start(ours), start(theirs));
        let proxy = Proxy::to(master.port);
        follow(&replica, proxy.port);
        wait_until("the replica is in step", SOON, || is_in_step(&master, &replica));
        let mut client = master.client();
        let mut number = |argv: &[&str]| client.call(argv).expect("answered").as_i64();
        assert_eq!(number(&["INCR", "n"]), Some(1));
        assert_eq!(number(&["WAIT", "1", "10000"]), Some(1));
        assert_eq!(replica.ask(&["GET", "n"]), "1", "acknowledged is there");
        assert_eq!(number(&["WAIT", "2", "50"]), Some(1));

        master.ok(&["CONFIG", "SET", "min-replicas-to-write", "1", "min-replicas-max-lag", "2"]);
        wait_until("there is a replica", SOON, || master.ask(&["SET", "a", "1"]) == "OK");
        proxy.cut();
        let refusal = "-NOREPLICAS Not enough good replicas to write.";
        wait_until("there is none", SOON, || master.ask(&["SET", "a", "2"]) == refusal);
        assert_eq!(number(&["WAIT", "1", "50"]), Some(0));
        let before = master.ask(&["GET", "a"]);
        proxy.heal();
        wait_until("it is back", SOON, || master.ask(&["SET", "b", "1"]) == "OK");
        assert_eq!(master.ask(&["GET", "a"]), before);
        assert_replicates(&master, &replica);
    }
}

#[test]
fn keys_expire_on_the_replica_when_they_do_on_the_master() {
    for (ours, theirs) in PAIRS {
        let (master, replica) = (start(ours), start(theirs));
        follow(&replica, master.port);
        wait_until("the replica is in step", SOON, || is_in_step(&master, &replica));
        let mut client = master.client();
        for n in 0..200 {
            let reply = client.call(&["SET", &format!("short:{n}"), "x", "PX", "300"]).expect("answered");
            assert!(!reply.is_error());
        }
        master.ok(&["SET", "stays", "1"]);
        assert_eq!(master.call(&["WAIT", "1", "5000"]).as_i64(), Some(1));
        for node in [&master, &replica] {
            wait_until("all are expired", Duration::from_secs(10), || {
                node.call(&["DBSIZE"]).as_i64() == Some(1)
            });
        }
        assert_replicates(&master, &replica);
    }
}

#[test]
fn a_script_chooses_who_sees_what_it_writes() {
    const SEVERAL: &str = "redis.call('set', 'all', 1) redis.set_repl(redis.REPL_NONE) redis.call('set', 'none', 1) \
                           redis.set_repl(redis.REPL_AOF) redis.call('set', 'aof', 1) \
                           redis.set_repl(redis.REPL_REPLICA) redis.call('set', 'replicas', 1) \
                           redis.set_repl(redis.REPL_ALL) redis.call('set', 'all again', 1)";
    const ONE: &str = "redis.set_repl(redis.REPL_AOF) redis.call('set', 'aof alone', 1)";
    for (ours, theirs) in PAIRS {
        let master = Node::start(ours, &["enable-debug-command yes", "appendonly yes"]);
        let replica = start(theirs);
        follow(&replica, master.port);
        wait_until("the replica is in step", SOON, || is_in_step(&master, &replica));
        for script in [SEVERAL, ONE] {
            let reply = master.call(&["EVAL", script, "0"]);
            assert!(!reply.is_error(), "{reply:?}");
        }
        wait_until("the replica is in step", SOON, || is_in_step(&master, &replica));
        let present = |node: &Node| {
            let keys = ["all", "none", "aof", "replicas", "all again", "aof alone"];
            keys.map(|key| node.call(&["EXISTS", key]).as_i64() == Some(1))
        };
        assert_eq!(present(&master), [true; 6]);
        assert_eq!(present(&replica), [true, false, false, true, true, false], "{ours:?} {theirs:?}");
        master.ok(&["DEBUG", "LOADAOF"]);
        assert_eq!(present(&master), [true, false, true, false, true, true], "{ours:?}");
    }
}

/// Two clients: one writes key after key, the other transactions that must be whole wherever the link breaks.
#[test]
fn a_link_cut_again_and_again_under_load_never_repeats_and_never_skips() {
    for (ours, theirs) in PAIRS {
        let (master, replica) = (start(ours), start(theirs));
        // The backlog reaches back further than anybody is away.
        master.ok(&["CONFIG", "SET", "repl-backlog-size", "64mb"]);
        let proxy = Proxy::to(master.port);
        follow(&replica, proxy.port);
        wait_until("the replica is in step", SOON, || is_in_step(&master, &replica));
        let load = Load::start(vec![master.port], "load", Acknowledged::ByReply);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = master.client();
                while !stop.load(Ordering::Relaxed) {
                    for argv in
                        [&["MULTI"][..], &["INCR", "a"], &["RPUSH", "b", "x"], &["INCR", "c"], &["EXEC"]]
                    {
                        client.call(argv).expect("answered");
                    }
                }
            });
            for _ in 0..6 {
                load.wait_for_more(150);
                proxy.cut();
                load.wait_for_more(50);
                proxy.heal();
                wait_until("the link is up", SOON, || {
                    replica.field("replication", "master_link_status") == "up"
                });
            }
            stop.store(true, Ordering::Relaxed);
        });
        let done = load.stop();
        assert_eq!((done.lost, done.failed), (Vec::new(), 0));
        assert_replicates(&master, &replica);
        assert_eq!(replica.ask(&["GET", "a"]), replica.ask(&["GET", "c"]));
        assert_eq!(replica.ask(&["GET", "a"]), replica.ask(&["LLEN", "b"]));
        assert_eq!(syncs(&master).0, 1, "{ours:?} to {theirs:?}");
    }
}
