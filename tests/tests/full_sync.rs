//! Full syncs: one snapshot for several replicas, and datasets that are loaded as they arrive.

use balas_tests::cluster::{Kind, Node, SOON, wait_until};
use balas_tests::cluster_data::{assert_same, dataset, fill_server};
use balas_tests::cluster_load::{Acknowledged, Load};
use balas_tests::cluster_proxy::Proxy;
use balas_tests::resp::Value;

fn start(kind: Kind, directives: &[&str]) -> Node {
    Node::start(kind, &[&["enable-debug-command yes"], directives].concat())
}

fn follow(replica: &Node, port: u16) {
    replica.ok(&["REPLICAOF", "127.0.0.1", &port.to_string()]);
}

fn set(node: &Node, parameter: &str, value: &str) {
    node.ok(&["CONFIG", "SET", parameter, value]);
}

fn is_linked(replica: &Node) -> bool {
    replica.field("replication", "master_link_status") == "up"
}

fn assert_replicates(master: &Node, replica: &Node) {
    wait_until("the replica is in step", SOON, || {
        is_linked(replica)
            && replica.number("replication", "slave_repl_offset")
                == master.number("replication", "master_repl_offset")
    });
    let what = format!("{:?} and its replica {:?}", master.kind, replica.kind);
    assert_same(&what, &dataset(&mut master.client()), &dataset(&mut replica.client()));
    assert_eq!(master.ask(&["DEBUG", "DIGEST"]), replica.ask(&["DEBUG", "DIGEST"]), "{what}");
}

#[test]
fn replicas_that_ask_together_share_a_snapshot_streamed_or_in_a_file() {
    for (threads, diskless) in [("1", "yes"), ("4", "yes"), ("1", "no"), ("4", "no")] {
        let threads = format!("io-threads {threads}");
        let master = start(Kind::Balas, &[&threads]);
        fill_server(&mut master.client(), "before", 20);
        set(&master, "repl-diskless-sync", diskless);
        // Nobody waits so long: the third one starts it. A file is being written when the second one comes.
        set(&master, "repl-diskless-sync-delay", "600");
        set(&master, "repl-diskless-sync-max-replicas", "3");
        set(&master, "rdb-key-save-delay", "100");
        let load = Load::start(vec![master.port], "load", Acknowledged::ByReply);
        load.wait_for_more(20);
        let replicas = [Kind::Balas, Kind::Stock, Kind::Balas].map(|kind| start(kind, &[]));
        for replica in &replicas {
            follow(replica, master.port);
            wait_until("it waits for its snapshot", SOON, || {
                let slaves = master.ask(&["INFO", "replication"]);
                slaves.contains("state=wait_bgsave")
                    || slaves.contains("state=send_bulk")
                    || is_linked(replica)
            });
        }
        wait_until("all are linked", SOON, || replicas.iter().all(is_linked));
        load.wait_for_more(20);
        let done = load.stop();
        assert_eq!((done.lost, done.failed), (Vec::new(), 0));
        replicas.iter().for_each(|replica| assert_replicates(&master, replica));
        assert_eq!(master.number("stats", "sync_full"), 3);
        assert_eq!(master.number("stats", "total_forks"), 1, "{threads}, repl-diskless-sync {diskless}");
    }
}

#[test]
fn a_snapshot_nobody_waits_for_any_more_ends() {
    for diskless in ["yes", "no"] {
        let master = start(Kind::Balas, &[]);
        set(&master, "repl-diskless-sync", diskless);
        fill_server(&mut master.client(), "before", 20);
        set(&master, "rdb-key-save-delay", "1000000");
        let replicas = [start(Kind::Balas, &[]), start(Kind::Stock, &[])];
        set(&master, "repl-diskless-sync-max-replicas", "2");
        set(&master, "repl-diskless-sync-delay", "600");
        replicas.iter().for_each(|replica| follow(replica, master.port));
        let is_saving = || master.field("persistence", "rdb_bgsave_in_progress") == "1";
        let count = |n: i64| master.number("replication", "connected_slaves") == n;
        wait_until("it has begun for both", SOON, || is_saving() && count(2));
        replicas[0].ok(&["REPLICAOF", "NO", "ONE"]);
        wait_until("one is gone", SOON, || count(1));
        assert!(is_saving(), "the other one still waits");
        replicas[1].ok(&["REPLICAOF", "NO", "ONE"]);
        wait_until("it is given up", SOON, || !is_saving());
        assert!(count(0));
        // And the next one is served.
        set(&master, "rdb-key-save-delay", "0");
        set(&master, "repl-diskless-sync-delay", "0");
        follow(&replicas[1], master.port);
        assert_replicates(&master, &replicas[1]);
    }
}

#[test]
fn a_dataset_that_arrives_is_loaded_beside_the_old_one() {
    let mut master = start(Kind::Balas, &[]);
    fill_server(&mut master.client(), "new", 20);
    let replica = start(Kind::Balas, &["repl-diskless-load swapdb"]);
    replica.ok(&["SET", "old", "1"]);
    let mut watcher = replica.client();
    assert!(!watcher.call(&["WATCH", "old"]).expect("answered").is_error());
    // It gets no further than the first keys until we let it.
    set(&master, "rdb-key-save-delay", "1000000");
    follow(&replica, master.port);
    wait_until("it loads", SOON, || replica.field("persistence", "loading") == "1");
    assert!(replica.ask(&["GET", "old"]).starts_with("-LOADING"), "another history is not to be read yet");
    // A master that dies meanwhile costs nothing of what was there.
    master.kill();
    wait_until("it gives up", SOON, || replica.field("persistence", "loading") == "0");
    assert_eq!(replica.ask(&["GET", "old"]), "1");
    assert_eq!(replica.call(&["DBSIZE"]).as_i64(), Some(1));
    master.restart();
    fill_server(&mut master.client(), "new", 20);
    assert_replicates(&master, &replica);
    assert_eq!(replica.call(&["EXISTS", "old"]).as_i64(), Some(0));
    for argv in [&["MULTI"][..], &["PING"]] {
        watcher.call(argv).expect("answered");
    }
    let reply = watcher.call(&["EXEC"]).expect("answered");
    assert!(matches!(reply, Value::Line(b'*', _)), "what it watched is gone: {reply:?}");
    fill_server(&mut master.client(), "after", 3);
    assert_replicates(&master, &replica);
}

#[test]
fn the_old_dataset_is_served_while_a_later_one_of_the_same_history_arrives() {
    for kind in [Kind::Balas, Kind::Stock] {
        let master = start(kind, &["repl-backlog-size 16384"]);
        let replica = start(Kind::Balas, &["repl-diskless-load swapdb", "io-threads 4"]);
        let proxy = Proxy::to(master.port);
        master.ok(&["SET", "version", "1"]);
        let body = |version| {
            format!(
                "#!lua name=l\nredis.register_function{{function_name='f', callback=function() return {version} end, \
                 flags={{'no-writes'}}}}"
            )
        };
        assert_eq!(master.ask(&["FUNCTION", "LOAD", &body(1)]), "l");
        follow(&replica, proxy.port);
        assert_replicates(&master, &replica);
        let sub = start(Kind::Balas, &[]);
        follow(&sub, replica.port);
        assert_replicates(&replica, &sub);

        proxy.cut();
        wait_until("the link is down", SOON, || !is_linked(&replica));
        fill_server(&mut master.client(), "much", 60);
        master.ok(&["SET", "version", "2"]);
        assert_eq!(master.ask(&["FUNCTION", "LOAD", "REPLACE", &body(2)]), "l");
        set(&replica, "key-load-delay", "20000");
        proxy.heal();
        wait_until("it loads", SOON, || replica.field("persistence", "async_loading") == "1");
        assert_eq!(replica.field("persistence", "loading"), "0");
        assert_eq!(replica.ask(&["GET", "version"]), "1");
        assert_eq!(replica.call(&["FCALL", "f", "0"]).as_i64(), Some(1));
        let refusal = "-LOADING Redis is loading the dataset in memory";
        assert_eq!(replica.ask(&["REPLICAOF", "NO", "ONE"]), refusal);
        assert_eq!(replica.ask(&["CONFIG", "SET", "appendonly", "yes"]), refusal);
        assert_eq!(sub.field("replication", "master_link_status"), "up", "nothing is lost for it yet");
        set(&replica, "key-load-delay", "0");
        assert_replicates(&master, &replica);
        assert_eq!(replica.ask(&["GET", "version"]), "2");
        assert_eq!(replica.call(&["FCALL", "f", "0"]).as_i64(), Some(2));
        assert_eq!(replica.field("persistence", "async_loading"), "0");
        assert_replicates(&replica, &sub);
        fill_server(&mut master.client(), "after", 3);
        assert_replicates(&master, &replica);
    }
}

/// They may have what the next master sends; if not, they are told when that is known.
#[test]
fn replicas_of_a_replica_stay_while_it_looks_for_another_master() {
    let (first, second) = (start(Kind::Balas, &[]), start(Kind::Balas, &[]));
    let (replica, sub) = (start(Kind::Balas, &[]), start(Kind::Stock, &[]));
    fill_server(&mut first.client(), "first", 3);
    follow(&replica, first.port);
    assert_replicates(&first, &replica);
    follow(&sub, replica.port);
    assert_replicates(&replica, &sub);
    // Nobody listens there.
    follow(&replica, 1);
    follow(&replica, first.port);
    assert_replicates(&first, &replica);
    fill_server(&mut first.client(), "more", 3);
    assert_replicates(&first, &sub);
    assert_eq!(replica.number("stats", "sync_full"), 1);
    assert_eq!(replica.number("stats", "sync_partial_ok"), 0, "it has never been away");
    // Another history.
    fill_server(&mut second.client(), "second", 3);
    follow(&replica, second.port);
    assert_replicates(&second, &replica);
    assert_replicates(&replica, &sub);
}

/// What a replica says besides acknowledging cannot be answered in its stream.
#[test]
fn a_replica_that_asks_something_is_sent_away() {
    let master = start(Kind::Balas, &[]);
    let mut replica = master.client();
    replica.send(&["PSYNC", "?", "-1"]).expect("sent");
    wait_until("it is a replica", SOON, || master.number("replication", "connected_slaves") == 1);
    replica.send(&["GET", "foo"]).expect("sent");
    wait_until("it is gone", SOON, || master.number("replication", "connected_slaves") == 0);
    let log = master.log();
    assert!(log.contains("Replica generated a reply to command 'get', disconnecting it: "), "{log}");
    assert!(log.contains("Replica can't interact with the keyspace"), "{log}");
}
