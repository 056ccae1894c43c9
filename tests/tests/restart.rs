//! Processes that are killed and started again: what was promised to be on disk is there.

use balas_tests::cluster::{Cluster, Kind, Node, SOON, now, text, wait_until};
use balas_tests::cluster_data::{assert_same, dataset, fill_server};
use balas_tests::cluster_load::{Acknowledged, Done, Load, Write, missing};
use balas_tests::resp::Client;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// What `appendfsync everysec` may lose.
const EVERYSEC: Duration = Duration::from_secs(1);

const AOF: [&str; 2] = ["appendonly yes", "appendfsync everysec"];

#[test]
fn all_six_killed_under_load_come_back_by_themselves() {
    let mut cluster = Cluster::of_six(&AOF);
    let loads: Vec<Load> =
        (0..2).map(|n| Load::start(cluster.ports(), &format!("load{n}"), Acknowledged::ByReply)).collect();
    loads.iter().for_each(|load| load.wait_for_more(500));
    let begun = now();
    wait_until("there is something older than a second", SOON, || now() - begun > 2 * EVERYSEC);
    let killed = now();
    cluster.nodes.iter_mut().for_each(Node::kill);
    let done: Vec<Done> = loads.into_iter().map(Load::stop).collect();
    cluster.nodes.iter_mut().for_each(Node::restart);
    cluster.wait_ok();
    for done in done {
        let promised: Vec<Write> =
            done.writes.into_iter().filter(|write| write.at + EVERYSEC < killed).collect();
        assert!(promised.len() > 500);
        assert_eq!(missing(&cluster, &promised), Vec::<String>::new());
    }
    // In order, and not only by its own account.
    let load = Load::start(cluster.ports(), "after", Acknowledged::ByReplica);
    load.wait_for_more(100);
    let done = load.stop();
    assert_eq!((done.lost, done.failed), (Vec::new(), 0));
}

#[test]
fn a_snapshot_is_loaded_at_the_next_start() {
    let mut node = Node::start(Kind::Balas, &[]);
    fill_server(&mut node.client(), "kept", 30);
    let kept = dataset(&mut node.client());
    assert_eq!(node.ask(&["BGSAVE"]), "Background saving started");
    wait_until("it is saved", SOON, || {
        node.field("persistence", "rdb_bgsave_in_progress") == "0" && node.folder.join("dump.rdb").exists()
    });
    assert_eq!(node.field("persistence", "rdb_last_bgsave_status"), "ok");
    node.ok(&["SET", "after the snapshot", "1"]);
    node.kill();
    node.restart();
    assert_same("loaded", &kept, &dataset(&mut node.client()));

    // What SAVE and a polite end write is no different.
    node.ok(&["SET", "more", "1"]);
    node.ok(&["SAVE"]);
    node.kill();
    node.restart();
    assert_eq!(node.ask(&["GET", "more"]), "1");
    node.ok(&["CONFIG", "SET", "save", "3600 1"]);
    node.ok(&["SET", "more", "2"]);
    node.terminate();
    node.restart();
    assert_eq!(node.ask(&["GET", "more"]), "2");
}

/// Stock takes no connections while it reads its first megabytes. Whoever waits only for the socket counts on that.
#[test]
fn who_connects_while_there_is_little_to_load_is_not_told_of_it() {
    let mut node = Node::start(Kind::Balas, &["save 3600 1"]);
    for round in 0..20 {
        node.ok(&["SET", "round", &round.to_string()]);
        node.ok(&["SAVE"]);
        node.kill();
        node.launch();
        let begun = now();
        let mut client = loop {
            match Client::connect(node.port) {
                Ok(client) => break client,
                Err(error) => assert!(now() - begun < SOON, "{error}"),
            }
        };
        let got = client.call(&["GET", "round"]).expect("an answer");
        assert_eq!(text(&got), round.to_string());
    }
}

#[test]
fn the_data_folder_of_a_stock_server_is_taken_over() {
    for directives in [&["appendonly no"][..], &AOF, &["appendonly yes", "aof-use-rdb-preamble no"]] {
        let mut node = Node::start(Kind::Stock, directives);
        fill_server(&mut node.client(), "old", 10);
        if directives[0] == "appendonly no" {
            node.ok(&["SAVE"]);
        } else {
            start_rewrite(&node);
            wait_until("it is rewritten", SOON, || {
                node.field("persistence", "aof_rewrite_in_progress") == "0"
            });
            fill_server(&mut node.client(), "new", 10);
        }
        let kept = dataset(&mut node.client());
        node.terminate();
        node.restart_as(Kind::Balas);
        assert_same(directives[0], &kept, &dataset(&mut node.client()));
    }
}

/// The increment that is being written.
fn newest_increment(node: &Node) -> PathBuf {
    let folder = node.folder.join("appendonlydir");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let increments = files.flatten().map(|file| file.path());
    let mut increments: Vec<PathBuf> =
        increments.filter(|path| path.extension().is_some_and(|extension| extension == "aof")).collect();
    increments.retain(|path| path.to_string_lossy().contains(".incr."));
    increments.sort();
    increments.pop().expect("an increment")
}

/// Waits until the newest increment ends with a command that ends so.
fn wait_on_disk(node: &Node, end: &str) {
    let end = format!("{end}\r\n");
    wait_until("the log is in the file", SOON, || {
        fs::read(newest_increment(node)).is_ok_and(|bytes| bytes.ends_with(end.as_bytes()))
    });
}

fn start_rewrite(node: &Node) {
    assert_eq!(node.ask(&["BGREWRITEAOF"]), "Background append only file rewriting started");
}

#[test]
fn a_torn_tail_of_the_aof_costs_no_more_than_the_tail() {
    let mut node = Node::start(Kind::Balas, &AOF);
    fill_server(&mut node.client(), "kept", 5);
    let kept = dataset(&mut node.client());
    let long = "x".repeat(500);
    node.ok(&["SET", "torn", &long]);
    wait_on_disk(&node, &long);
    node.kill();
    let path = newest_increment(&node);
    let whole = fs::read(&path).expect("the increment");
    let torn = whole.windows(4).rposition(|window| window == b"torn").expect("the last command");
    assert!(whole.len() - torn > 500);
    for cut in [1, 2, 300, 503, 520] {
        fs::write(&path, &whole[..whole.len() - cut]).expect("written");
        node.restart();
        assert_same("all but the tail", &kept, &dataset(&mut node.client()));
        node.kill();
        fs::write(&path, &whole).expect("written");
    }
    node.restart();
    assert_eq!(node.ask(&["STRLEN", "torn"]), "500");
    // What is written after a torn tail is where it can be read again.
    node.kill();
    fs::write(&path, &whole[..whole.len() - 300]).expect("written");
    node.restart();
    node.ok(&["SET", "after", "the tail"]);
    wait_on_disk(&node, "the tail");
    node.kill();
    node.restart();
    assert_eq!(node.ask(&["GET", "after"]), "the tail");
    assert_eq!(node.ask(&["EXISTS", "torn"]), "0");
}

#[test]
fn a_rewrite_under_load_loses_nothing() {
    let mut node = Node::start(Kind::Balas, &AOF);
    fill_server(&mut node.client(), "kept", 20);
    let kept = dataset(&mut node.client());
    let load = Load::start(vec![node.port], "load", Acknowledged::ByReply);
    load.wait_for_more(200);
    for _ in 0..3 {
        start_rewrite(&node);
        load.wait_for_more(100);
        wait_until("it is rewritten", SOON, || node.field("persistence", "aof_rewrite_in_progress") == "0");
        assert_eq!(node.field("persistence", "aof_last_bgrewrite_status"), "ok");
    }
    let done = load.stop();
    assert_eq!((done.lost, done.failed), (Vec::new(), 0));
    wait_on_disk(&node, &done.writes.last().expect("it wrote").value);
    node.kill();
    node.restart();
    let mut all = dataset(&mut node.client());
    for write in &done.writes {
        let (_, value, _) = all.remove(&write.key).unwrap_or_else(|| panic!("{} is gone", write.key));
        assert_eq!(value, write.value);
    }
    assert_same("rewritten", &kept, &all);
}

/// The AOF of a replica begins with what its master sent, not with what it had before.
#[test]
fn the_aof_of_a_replica_has_what_came_by_a_full_sync() {
    let master = Node::start(Kind::Stock, &["enable-debug-command yes"]);
    fill_server(&mut master.client(), "kept", 10);
    let mut replica = Node::start(Kind::Balas, &[AOF[0], AOF[1], "enable-debug-command yes"]);
    fill_server(&mut replica.client(), "stale", 2);
    replica.ok(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    wait_until("the link is up", SOON, || replica.field("replication", "master_link_status") == "up");
    master.ok(&["SET", "last", "of the stream"]);
    wait_until("the file begins anew", SOON, || {
        replica.field("persistence", "aof_rewrite_in_progress") == "0"
            && replica.number("persistence", "aof_rewrites") > 0
    });
    master.ok(&["SET", "very last", "of the stream"]);
    wait_on_disk(&replica, "of the stream");
    wait_until("it has come", SOON, || replica.ask(&["GET", "very last"]) == "of the stream");
    // A file that begins while the stream is in another database.
    let mut other = master.client();
    other.call(&["SELECT", "3"]).expect("answered");
    other.call(&["SET", "in three", "before"]).expect("answered");
    wait_on_disk(&replica, "before");
    let rewrites = replica.number("persistence", "aof_rewrites");
    start_rewrite(&replica);
    wait_until("it is rewritten", SOON, || replica.number("persistence", "aof_rewrites") > rewrites);
    other.call(&["SET", "in three", "and after"]).expect("answered");
    wait_on_disk(&replica, "and after");
    let digest = master.ask(&["DEBUG", "DIGEST"]);
    // Alone, it has only its own file to know from.
    replica.kill();
    replica.restart();
    assert!(replica.is_master(), "REPLICAOF was not written to the configuration");
    assert_same("the replica's own", &dataset(&mut master.client()), &dataset(&mut replica.client()));
    assert_eq!(replica.ask(&["DEBUG", "DIGEST"]), digest);
}

/// A server that ends in order writes down where in the history it is, into its dump or its AOF.
#[test]
fn whoever_ended_in_order_goes_on_where_it_was() {
    for directives in [&["appendonly yes"][..], &["save 3600 1"]] {
        let directives = [&["enable-debug-command yes"], directives].concat();
        let mut master = Node::start(Kind::Balas, &directives);
        let mut replica = Node::start(Kind::Balas, &directives);
        fill_server(&mut master.client(), "kept", 10);
        replica.ok(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
        replica.ok(&["CONFIG", "REWRITE"]);
        let is_linked = |replica: &Node| replica.field("replication", "master_link_status") == "up";
        let in_step = |master: &Node, replica: &Node| {
            is_linked(replica)
                && replica.number("replication", "slave_repl_offset")
                    == master.number("replication", "master_repl_offset")
        };
        wait_until("the replica is in step", SOON, || in_step(&master, &replica));
        wait_until("its AOF has begun", SOON, || {
            replica.field("persistence", "aof_rewrite_in_progress") == "0"
                && replica.field("persistence", "aof_rewrite_scheduled") == "0"
        });
        let mut other = master.client();
        other.call(&["SELECT", "3"]).expect("answered");
        other.call(&["SET", "in three", "1"]).expect("answered");
        wait_until("the replica is in step", SOON, || in_step(&master, &replica));

        replica.terminate();
        other.call(&["SET", "in three", "2"]).expect("answered");
        replica.restart();
        wait_until("the replica is in step", SOON, || in_step(&master, &replica));
        assert_eq!(master.number("stats", "sync_full"), 1, "{directives:?}");
        assert_eq!(master.ask(&["DEBUG", "DIGEST"]), replica.ask(&["DEBUG", "DIGEST"]));

        // A key whose time comes meanwhile goes on the replica too.
        master.ok(&["SET", "short", "1", "PX", "100"]);
        wait_until("the replica is in step", SOON, || in_step(&master, &replica));
        master.terminate();
        master.restart();
        fill_server(&mut master.client(), "after", 3);
        wait_until("the key has expired", SOON, || master.call(&["EXISTS", "short"]).as_i64() == Some(0));
        wait_until("the replica is in step", SOON, || in_step(&master, &replica));
        assert_eq!(master.number("stats", "sync_full"), 0, "{directives:?}");
        assert_eq!(master.ask(&["DEBUG", "DIGEST"]), replica.ask(&["DEBUG", "DIGEST"]));

        // Killed, it knows its place no more.
        replica.kill();
        replica.restart();
        wait_until("the replica is in step", SOON, || in_step(&master, &replica));
        assert_eq!(master.ask(&["DEBUG", "DIGEST"]), replica.ask(&["DEBUG", "DIGEST"]));
    }
}

#[test]
fn a_replica_of_a_cluster_that_ended_in_order_goes_on_where_it_was() {
    for directives in [&["appendonly yes"][..], &["save 3600 1"]] {
        let mut cluster = Cluster::of_six(directives);
        cluster.wait_ok();
        let load = Load::start(cluster.ports(), "before", Acknowledged::ByReplica);
        load.wait_for_more(100);
        let done = load.stop();
        assert_eq!((done.lost, done.failed), (Vec::new(), 0));
        let at = cluster.nodes.iter().position(|node| !node.is_master()).expect("there are replicas");
        let master_port = cluster.nodes[at].number("replication", "master_port");
        let master =
            cluster.nodes.iter().position(|node| i64::from(node.port) == master_port).expect("its master");
        wait_until("its AOF has begun", SOON, || {
            cluster.nodes[at].field("persistence", "aof_rewrite_in_progress") == "0"
        });
        let full = cluster.nodes[master].number("stats", "sync_full");
        cluster.nodes[at].terminate();
        cluster.nodes[at].restart();
        wait_until("the link is up", SOON, || {
            cluster.nodes[at].field("replication", "master_link_status") == "up"
        });
        assert_eq!(cluster.nodes[master].number("stats", "sync_full"), full, "{directives:?}");
    }
}

/// What had not expired when it was saved was there for the commands that followed, however long ago that was.
#[test]
fn a_key_of_the_base_that_was_kept_in_time_is_kept() {
    let mut node = Node::start(Kind::Balas, &AOF);
    node.ok(&["SET", "kept", "1", "PX", "1500"]);
    start_rewrite(&node);
    wait_until("it is rewritten", SOON, || node.field("persistence", "aof_rewrite_in_progress") == "0");
    assert_eq!(node.call(&["PERSIST", "kept"]).as_i64(), Some(1), "in time");
    node.terminate();
    std::thread::sleep(Duration::from_millis(1600));
    node.restart();
    assert_eq!(node.ask(&["GET", "kept"]), "1");
}

#[test]
fn times_are_noted_in_the_aof_between_commands() {
    let mut node = Node::start(Kind::Balas, &[AOF[0], AOF[1], "aof-timestamp-enabled yes"]);
    let load = Load::start(vec![node.port], "load", Acknowledged::ByReply);
    let begun = now();
    wait_until("some seconds have passed", SOON, || now() - begun > Duration::from_millis(2500));
    let done = load.stop();
    wait_on_disk(&node, &done.writes.last().expect("it wrote").value);
    let text = String::from_utf8_lossy(&fs::read(newest_increment(&node)).expect("it is there")).into_owned();
    assert!(text.starts_with("#TS:"), "{}", &text[..40]);
    assert!((3..6).contains(&text.matches("#TS:").count()), "once a second");
    let kept = dataset(&mut node.client());
    node.kill();
    node.restart();
    assert_same("with times", &kept, &dataset(&mut node.client()));
}

/// A base of commands is read by servers of any age, as an RDB file is not.
#[test]
fn a_base_of_commands_makes_the_dataset_again_here_and_in_stock() {
    let mut node =
        Node::start(Kind::Balas, &[AOF[0], AOF[1], "aof-use-rdb-preamble no", "enable-debug-command yes"]);
    fill_server(&mut node.client(), "kept", 10);
    node.call(&["DEL", "a key"]);
    for argv in [
        &["XADD", "stream", "5-1", "field", "value", "other", "1"][..],
        &["XADD", "stream", "6-1", "field", "value"],
        &["XADD", "stream", "7-1", "field", "value"],
        &["XDEL", "stream", "7-1"],
        &["XGROUP", "CREATE", "stream", "group", "0"],
        &["XGROUP", "CREATECONSUMER", "stream", "group", "idle"],
        &["XREADGROUP", "GROUP", "group", "busy", "COUNT", "2", "STREAMS", "stream", ">"],
        &["XGROUP", "CREATE", "empty stream", "group", "$", "MKSTREAM"],
        &["ZADD", "scores", "inf", "a", "-inf", "b", "0.25", "c", "1048576", "d"],
        &["SET", "binary", "\r\n\0*1"],
        &["PEXPIREAT", "binary", "99999999999999"],
    ] {
        assert!(!node.call(argv).is_error(), "{argv:?}");
    }
    let functions = "#!lua name=l\nredis.register_function('f', function() return 7 end)";
    assert_eq!(node.ask(&["FUNCTION", "LOAD", functions]), "l");
    let mut other = node.client();
    other.call(&["SELECT", "3"]).expect("answered");
    other.call(&["SET", "in three", "1"]).expect("answered");
    start_rewrite(&node);
    wait_until("it is rewritten", SOON, || node.field("persistence", "aof_rewrite_in_progress") == "0");
    assert!(node.folder.join("appendonlydir/appendonly.aof.2.base.aof").exists());
    fill_server(&mut node.client(), "after", 2);
    let (kept, digest) = (dataset(&mut node.client()), node.ask(&["DEBUG", "DIGEST"]));
    let pending = node.ask(&["XPENDING", "stream", "group"]);
    for kind in [Kind::Balas, Kind::Stock, Kind::Balas] {
        node.terminate();
        node.restart_as(kind);
        assert_same("commands", &kept, &dataset(&mut node.client()));
        assert_eq!(node.ask(&["DEBUG", "DIGEST"]), digest, "{kind:?}");
        assert_eq!(node.ask(&["XPENDING", "stream", "group"]), pending);
        assert_eq!(node.call(&["FCALL", "f", "0"]).as_i64(), Some(7));
    }
    // And back.
    node.ok(&["CONFIG", "SET", "aof-use-rdb-preamble", "yes"]);
    start_rewrite(&node);
    wait_until("it is rewritten", SOON, || node.field("persistence", "aof_rewrite_in_progress") == "0");
    assert!(node.folder.join("appendonlydir/appendonly.aof.3.base.rdb").exists());
    node.kill();
    node.restart();
    assert_eq!(node.ask(&["DEBUG", "DIGEST"]), digest);
}
