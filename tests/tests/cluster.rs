//! A cluster of six nodes of ours: forming, redirects, coverage, resharding, failovers.

use balas_tests::cluster::{Cluster, Kind, Node, SOON, redis_cli, text, wait_until};
use balas_tests::cluster_data::{cluster_dataset, dataset, fill};
use balas_tests::cluster_load::{Acknowledged, Load, Router, missing};
use balas_tests::resp::Value;
use std::time::Duration;

/// What `Cluster::start` sets.
const NODE_TIMEOUT: Duration = Duration::from_millis(2000);

/// A key of the form `name{n}` in the slots of this node.
fn key_of(cluster: &Cluster, owner: usize, name: &str) -> String {
    let keys = (0..).map(|n| format!("{name}{{{n}}}"));
    let mut owned = keys.filter(|key| cluster.owner_of(key) == owner);
    owned.next().expect("some key is there")
}

fn slot_of(key: &str) -> u16 {
    protocol::slot_of(key.as_bytes()).get()
}

fn client_of(cluster: &Cluster) -> redis::cluster::ClusterClient {
    let urls: Vec<String> = cluster.nodes.iter().map(|node| format!("redis://{}/", node.address())).collect();
    redis::cluster::ClusterClient::new(urls).expect("addresses")
}

fn sum_of_keys(cluster: &Cluster) -> i64 {
    let masters = cluster.running().filter(|node| node.is_master());
    masters.map(|node| node.call(&["DBSIZE"]).as_i64().expect("a number")).sum()
}

#[test]
fn a_cluster_client_finds_every_key_and_replicas_have_them_too() {
    use redis::Commands;
    let cluster = Cluster::of_six(&[]);
    let mut connection = client_of(&cluster).get_connection().expect("a cluster");
    for n in 0..1000 {
        let _: () = connection.set(format!("key:{n}"), n).expect("written");
    }
    for n in 0..1000 {
        assert_eq!(connection.get::<_, i64>(format!("key:{n}")), Ok(n));
    }
    assert_eq!(sum_of_keys(&cluster), 1000);
    for n in 0..3 {
        assert!(cluster.nodes[n].call(&["DBSIZE"]).as_i64() > Some(250), "the keys are spread");
        wait_until("the replica has what its master has", SOON, || {
            cluster.nodes[n].call(&["DBSIZE"]) == cluster.nodes[n + 3].call(&["DBSIZE"])
        });
    }
    let mut reader =
        redis::cluster::ClusterClient::builder(vec![format!("redis://{}/", cluster.nodes[0].address())])
            .read_from_replicas()
            .build()
            .expect("an address")
            .get_connection()
            .expect("a cluster");
    assert_eq!(reader.get::<_, i64>("key:7"), Ok(7));
}

#[test]
fn who_asks_at_the_wrong_place_is_told_the_right_one() {
    let cluster = Cluster::of_six(&[]);
    let [here, there, replica] = [&cluster.nodes[0], &cluster.nodes[1], &cluster.nodes[3]];
    let (mine, theirs) = (key_of(&cluster, 0, "a"), key_of(&cluster, 1, "b"));
    let moved = |key: &str, to: &Node| format!("-MOVED {} {}", slot_of(key), to.address());

    here.ok(&["SET", &mine, "1"]);
    assert_eq!(here.ask(&["GET", &theirs]), moved(&theirs, there));
    assert_eq!(
        here.ask(&["MSET", &mine, "1", &theirs, "2"]),
        "-CROSSSLOT Keys in request don't hash to the same slot"
    );

    let mut client = here.client();
    let mut say = |argv: &[&str]| balas_tests::cluster::text(&client.call(argv).expect("it answers"));
    assert_eq!(say(&["MULTI"]), "OK");
    assert_eq!(say(&["SET", &theirs, "2"]), moved(&theirs, there));
    assert_eq!(say(&["EXEC"]), "-EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(say(&["SELECT", "1"]), "-ERR SELECT is not allowed in cluster mode");
    let other = (0..)
        .map(|n| format!("other:{n}"))
        .find(|key| cluster.owner_of(key) == 0 && slot_of(key) != slot_of(&mine))
        .expect("some key is there");
    for queued in [[["SET", &mine, "2"], ["SET", &other, "2"]], [["DEL", &mine, &mine], ["SET", &other, "2"]]]
    {
        assert_eq!(say(&["MULTI"]), "OK");
        queued.iter().for_each(|argv| assert_eq!(say(argv), "QUEUED"));
        assert_eq!(say(&["EXEC"]), "-CROSSSLOT Keys in request don't hash to the same slot");
        assert_eq!(say(&["GET", &mine]), "1");
    }

    let mut client = here.client();
    let mut say = |argv: &[&str]| balas_tests::cluster::text(&client.call(argv).expect("it answers"));
    for shard in ["SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE"] {
        let argv = [shard, &theirs, "x"];
        let argv = if shard == "SPUBLISH" { &argv[..] } else { &argv[..2] };
        assert_eq!(say(argv), moved(&theirs, there), "{shard}: a shard channel is somewhere, as a key is");
    }
    assert_eq!(
        say(&["SSUBSCRIBE", &mine, &theirs]),
        "-CROSSSLOT Keys in request don't hash to the same slot"
    );
    assert_eq!(say(&["MULTI"]), "OK");
    assert_eq!(say(&["SPUBLISH", &theirs, "x"]), moved(&theirs, there));
    assert_eq!(say(&["EXEC"]), "-EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(say(&["SPUBLISH", &mine, "x"]), "0");
    assert_eq!(say(&["SSUBSCRIBE", &mine]), format!("ssubscribe\n{mine}\n1"));

    wait_until("the replica has it", SOON, || replica.call(&["DBSIZE"]).as_i64() == Some(1));
    let mut client = replica.client();
    let mut say = |argv: &[&str]| balas_tests::cluster::text(&client.call(argv).expect("it answers"));
    assert_eq!(say(&["GET", &mine]), moved(&mine, here));
    assert_eq!(say(&["READONLY"]), "OK");
    assert_eq!(say(&["GET", &mine]), "1");
    assert_eq!(say(&["GET", &theirs]), moved(&theirs, there));
    assert_eq!(say(&["SET", &mine, "2"]), moved(&mine, here));
    assert_eq!(say(&["READWRITE"]), "OK");
    assert_eq!(say(&["GET", &mine]), moved(&mine, here));
}

#[test]
fn while_a_slot_moves_who_asks_is_told_to_ask_there() {
    let cluster = Cluster::of_six(&[]);
    let [from, to] = [&cluster.nodes[0], &cluster.nodes[1]];
    let key = key_of(&cluster, 0, "x");
    let tag = &key[1..];
    let [first, second, third] = ["first", "second", "third"].map(|name| format!("{name}{tag}"));
    let slot = slot_of(&key).to_string();
    from.ok(&["SET", &first, "1"]);
    from.ok(&["SET", &second, "2"]);
    from.ok(&["SET", &third, "3"]);
    to.ok(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.id()]);
    from.ok(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.id()]);

    let ask = format!("-ASK {slot} {}", to.address());
    let moved = format!("-MOVED {slot} {}", from.address());
    const TRY_AGAIN: &str = "-TRYAGAIN Multiple keys request during rehashing of slot";
    assert_eq!(from.ask(&["GET", &first]), "1");
    assert_eq!(from.ask(&["GET", &key]), ask);
    assert_eq!(from.ask(&["SET", &key, "new"]), ask);
    assert_eq!(to.ask(&["SET", &key, "new"]), moved);

    let port = to.port.to_string();
    from.ok(&["MIGRATE", "127.0.0.1", &port, &first, "0", "1000"]);
    assert_eq!(from.ask(&["GET", &first]), ask);
    assert_eq!(from.ask(&["MGET", &first, &second]), TRY_AGAIN);
    let mut client = from.client();
    let mut say = |argv: &[&str]| balas_tests::cluster::text(&client.call(argv).expect("it answers"));
    assert_eq!(say(&["MULTI"]), "OK");
    assert_eq!(say(&["GET", &third]), "QUEUED");
    let mut of_two = from.client();
    let mut say_two = |argv: &[&str]| balas_tests::cluster::text(&of_two.call(argv).expect("it answers"));
    for argv in [&["MULTI"][..], &["SET", &second, "new"], &["GET", &third]] {
        say_two(argv);
    }
    assert_eq!(from.ask(&["DEL", &third]), "1");
    assert_eq!(say(&["EXEC"]), ask, "a transaction is told to ask there, as a command is");
    assert_eq!(say(&["EXEC"]), "-ERR EXEC without MULTI");
    assert_eq!(say_two(&["EXEC"]), TRY_AGAIN, "one of the keys is here, and one is not any more");
    assert_eq!(say_two(&["GET", &second]), "2");
    for argv in [&["MULTI"][..], &["SET", &second, "new"]] {
        say_two(argv);
    }
    let mut client = to.client();
    let mut say = |argv: &[&str]| balas_tests::cluster::text(&client.call(argv).expect("it answers"));
    assert_eq!(say(&["ASKING"]), "OK");
    assert_eq!(say(&["GET", &first]), "1");
    assert_eq!(say(&["GET", &first]), moved, "ASKING is for one command");
    for unknown in ["nonsense", "PING"] {
        say(&["ASKING"]);
        say(&[unknown]);
        assert_eq!(say(&["GET", &first]), moved, "whatever that is");
    }
    for argv in [&["ASKING"][..], &["WATCH", &first], &["ASKING"], &["MULTI"]] {
        assert_eq!(say(argv), "OK");
    }
    for argv in [&["SET", &key, "new"][..], &["INCRBY", &key, "x"], &["GET", &key]] {
        assert_eq!(say(argv), "QUEUED", "or for one transaction");
    }
    assert_eq!(say(&["EXEC"]), "OK\n-ERR value is not an integer or out of range\nnew");
    assert_eq!(say(&["GET", &key]), moved, "and no more");
    assert_eq!(say(&["ASKING"]), "OK");
    assert_eq!(say(&["DEL", &key]), "1");
    assert_eq!(say(&["ASKING"]), "OK");
    assert_eq!(say(&["EXISTS", &key, &key]), "0", "one key, named twice");
    assert_eq!(say(&["ASKING"]), "OK");
    assert_eq!(say(&["MGET", &first, &second]), TRY_AGAIN);

    from.ok(&["MIGRATE", "127.0.0.1", &port, "", "0", "1000", "KEYS", &second]);
    for node in [to, from, &cluster.nodes[2]] {
        node.ok(&["CLUSTER", "SETSLOT", &slot, "NODE", &to.id()]);
    }
    assert_eq!(say_two(&["EXEC"]), format!("-MOVED {slot} {}", to.address()), "queued when it was here");
    assert_eq!(to.ask(&["MGET", &first, &second]), "1\n2");
    assert_eq!(from.ask(&["GET", &first]), format!("-MOVED {slot} {}", to.address()));
    cluster.wait_ok();
}

#[test]
fn a_cluster_that_lost_slots_serves_what_it_is_told_to() {
    let mut cluster = Cluster::start(&[Kind::Balas; 4], &[]);
    cluster.form(3);
    let (mine, lost) = (key_of(&cluster, 0, "a"), key_of(&cluster, 1, "b"));
    cluster.nodes[0].ok(&["SET", &mine, "1"]);
    let gone = cluster.nodes[1].address();
    cluster.nodes[1].kill();
    let survivors = [0, 2];
    let state = |cluster: &Cluster, n: usize| cluster.nodes[n].field("cluster", "cluster_state");
    wait_until("full coverage is required", SOON, || survivors.iter().all(|&n| state(&cluster, n) == "fail"));
    let node = &cluster.nodes[0];
    assert_eq!(node.ask(&["GET", &mine]), "-CLUSTERDOWN The cluster is down");
    node.ok(&["CONFIG", "SET", "cluster-allow-reads-when-down", "yes"]);
    assert_eq!(node.ask(&["GET", &mine]), "1");
    let only_reads = "-CLUSTERDOWN The cluster is down and only accepts read commands";
    assert_eq!(node.ask(&["SET", &mine, "2"]), only_reads);
    node.ok(&["CONFIG", "SET", "cluster-allow-reads-when-down", "no"]);

    for n in survivors {
        cluster.nodes[n].ok(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    wait_until("the rest is served", SOON, || survivors.iter().all(|&n| state(&cluster, n) == "ok"));
    let node = &cluster.nodes[0];
    node.ok(&["SET", &mine, "2"]);
    assert_eq!(node.ask(&["GET", &lost]), format!("-MOVED {} {gone}", slot_of(&lost)));

    // Two of three masters gone: those left are a minority, whatever the coverage.
    cluster.nodes[2].kill();
    wait_until("a minority does not serve", SOON, || state(&cluster, 0) == "fail");
    assert_eq!(cluster.nodes[0].ask(&["SET", &mine, "3"]), "-CLUSTERDOWN The cluster is down");
    cluster.nodes[1].restart();
    cluster.nodes[2].restart();
    for n in 1..3 {
        cluster.nodes[n].ok(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    cluster.wait_ok();
    assert_eq!(cluster.nodes[0].ask(&["GET", &mine]), "2");
}

/// Moves a slot with all its keys, a few at a time.
fn move_slot(slot: u16, from: &Node, to: &Node) {
    let (slot, port) = (slot.to_string(), to.port.to_string());
    to.ok(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.id()]);
    from.ok(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.id()]);
    loop {
        let Value::List(_, keys) = from.call(&["CLUSTER", "GETKEYSINSLOT", &slot, "3"]) else {
            panic!("keys")
        };
        if keys.is_empty() {
            break;
        }
        let mut argv: Vec<&[u8]> =
            vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0", b"5000", b"KEYS"];
        argv.extend(keys.iter().filter_map(Value::text));
        let reply = from.ask(&argv);
        assert!(reply == "OK" || reply == "NOKEY", "{reply}");
    }
    to.ok(&["CLUSTER", "SETSLOT", &slot, "NODE", &to.id()]);
    from.ok(&["CLUSTER", "SETSLOT", &slot, "NODE", &to.id()]);
}

#[test]
fn nobody_waits_for_a_slot_that_has_gone() {
    let cluster = Cluster::of_six(&[]);
    let key = key_of(&cluster, 0, "queue");
    let elsewhere = |other: &String| cluster.owner_of(other) == 0 && slot_of(other) != slot_of(&key);
    let kept = (0..).map(|n| format!("kept:{n}")).find(elsewhere).expect("some key is there");
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[1]);
    let waiting = |count: i64| {
        wait_until("clients wait", SOON, || from.number("clients", "blocked_clients") == count);
    };
    let (mut moved, mut stays) = (from.client(), from.client());
    moved.send(&["BLPOP", &key, "0"]).expect("sent");
    stays.send(&["BZPOPMIN", &kept, "0"]).expect("sent");
    waiting(2);
    move_slot(slot_of(&key), from, to);
    let reply = moved.receive().expect("an answer");
    assert_eq!(format!("{reply:?}"), format!("-MOVED {} 127.0.0.1:{}", slot_of(&key), to.port));
    waiting(1);
    from.call(&["ZADD", &kept, "1", "m"]);
    assert_eq!(stays.receive().expect("an answer").items().len(), 3);
    // A master that becomes a replica sends everybody away.
    stays.send(&["BZPOPMIN", &kept, "0"]).expect("sent");
    waiting(1);
    cluster.nodes[3].ok(&["CLUSTER", "FAILOVER"]);
    let reply = format!("{:?}", stays.receive().expect("an answer"));
    assert!(reply.starts_with("-UNBLOCKED ") || reply.starts_with("-MOVED "), "{reply}");
}

/// A script holds locks of slots while it is told whether the next key is here.
#[test]
fn scripts_are_told_which_keys_of_a_moving_slot_are_here() {
    const NOT_HERE: &str = "-ERR Script attempted to access a non local key in a cluster node";
    let cluster = Cluster::of_six(&[]);
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[1]);
    let key = key_of(&cluster, 0, "moving");
    let (absent, slot) = (format!("absent:{key}"), slot_of(&key).to_string());
    let elsewhere = |other: &String| cluster.owner_of(other) == 0 && slot_of(other) != slot_of(&key);
    let other = (0..).map(|n| format!("other:{n}")).find(elsewhere).expect("some key is there");
    from.ok(&["SET", &key, "here"]);
    to.ok(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.id()]);
    from.ok(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.id()]);
    let twice = "redis.call('get',ARGV[1]) redis.call('get',ARGV[2]) return redis.call('get',ARGV[2])";
    for keys in [&["0"][..], &["1", &other], &["1", &key]] {
        for order in [[&other, &key], [&key, &key]] {
            let argv = [&["EVAL", twice], keys, &order.map(String::as_str)].concat();
            assert_eq!(from.ask(&argv), "here", "{argv:?}");
        }
    }
    for script in ["return redis.call('get',ARGV[1])", "return redis.call('set',ARGV[1],'astray')"] {
        for keys in [&["0"][..], &["1", &other], &["1", &key]] {
            let said = from.ask(&[&["EVAL", script], keys, &[absent.as_str()]].concat());
            assert!(said.starts_with(NOT_HERE), "{said}");
        }
    }
    assert_eq!(from.call(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).as_i64(), Some(1));
    let mut client = to.client();
    client.call(&["ASKING"]).expect("answered");
    let set = client.call(&["EVAL", "return redis.call('set',KEYS[1],'there')", "1", &absent]);
    assert_eq!(text(&set.expect("answered")), "OK");
    // A shard channel is as local as a key.
    let channel = key_of(&cluster, 1, "channel");
    let said = from.ask(&["EVAL", "return redis.call('spublish',ARGV[1],'x')", "0", &channel]);
    assert!(said.starts_with(NOT_HERE), "{said}");
}

#[test]
fn nothing_is_lost_while_slots_move_under_load() {
    let cluster = Cluster::of_six(&[]);
    let mut router = Router::new(cluster.ports());
    fill("kept", 5, |key, argv| router.call(key, argv).expect("written"));
    let before = cluster_dataset(&cluster);
    assert_eq!(before.len(), 5 * 14);

    let load = Load::start(cluster.ports(), "load", Acknowledged::ByReply);
    load.wait_for_more(500);
    // One by one, by hand, and faster than all hear of it: slots in which the load has keys.
    for n in 0..60 {
        let key = format!("load:{n}");
        let from = cluster.owner_of(&key);
        move_slot(slot_of(&key), &cluster.nodes[from], &cluster.nodes[(from + 1) % 3]);
    }
    // And the slots of the keys that must be the same afterwards.
    for n in 0..5 {
        let key = format!("{{kept{n}}}:int");
        let from = cluster.owner_of(&key);
        move_slot(slot_of(&key), &cluster.nodes[from], &cluster.nodes[(from + 1) % 3]);
    }
    cluster.wait_ok();
    // And many by the tool.
    redis_cli(&[
        "--cluster",
        "reshard",
        &cluster.nodes[0].address(),
        "--cluster-from",
        "all",
        "--cluster-to",
        &cluster.nodes[2].id(),
        "--cluster-slots",
        "600",
        "--cluster-yes",
    ]);
    load.wait_for_more(200);
    let done = load.stop();
    cluster.wait_ok();
    assert_eq!(done.lost, Vec::<String>::new());
    assert_eq!(done.failed, 0);
    assert!(done.moved > 0, "the load met slots that had moved");
    assert_eq!(missing(&cluster, &done.writes), Vec::<String>::new());
    let mut after = cluster_dataset(&cluster);
    after.retain(|key, _| !key.starts_with("load:"));
    balas_tests::cluster_data::assert_same_but_late("keys that moved", &before, &after);
    for n in 0..3 {
        wait_until("replicas have what moved", SOON, || {
            cluster.nodes[n].call(&["DBSIZE"]) == cluster.nodes[n + 3].call(&["DBSIZE"])
        });
    }
}

#[test]
fn a_killed_master_is_replaced_and_no_write_that_a_replica_had_is_lost() {
    let mut cluster = Cluster::of_six(&[]);
    let loads: Vec<Load> =
        (0..3).map(|n| Load::start(cluster.ports(), &format!("load{n}"), Acknowledged::ByReplica)).collect();
    loads.iter().for_each(|load| load.wait_for_more(300));
    cluster.nodes[0].kill();
    let took = cluster.wait_promoted(3, NODE_TIMEOUT + Duration::from_secs(2));
    println!("promoted after {took:?}");
    wait_until("the cluster is whole again", SOON, || {
        cluster.running().all(|node| node.field("cluster", "cluster_state") == "ok")
    });
    // Only its own shard has no replica now: writes there wait in vain, which is not what is asked here.
    let done: Vec<_> = loads.into_iter().map(Load::stop).collect();
    for done in &done {
        assert_eq!(done.lost, Vec::<String>::new());
        assert_eq!(missing(&cluster, &done.writes), Vec::<String>::new());
    }

    cluster.nodes[0].restart();
    cluster.wait_ok();
    assert!(!cluster.nodes[0].is_master(), "who comes back follows");
    assert_eq!(cluster.nodes[0].myself().master, cluster.nodes[3].id());
    let mut back = dataset(&mut cluster.nodes[0].client());
    let mut ahead = dataset(&mut cluster.nodes[3].client());
    back.retain(|key, _| key.starts_with("load"));
    ahead.retain(|key, _| key.starts_with("load"));
    balas_tests::cluster_data::assert_same("who came back", &ahead, &back);
    // Under load again, with everybody there, and then the other way round.
    let load = Load::start(cluster.ports(), "again", Acknowledged::ByReplica);
    load.wait_for_more(100);
    cluster.nodes[3].kill();
    cluster.wait_promoted(0, NODE_TIMEOUT + Duration::from_secs(2));
    cluster.nodes[3].restart();
    cluster.wait_ok();
    load.wait_for_more(100);
    let done = load.stop();
    assert_eq!(done.lost, Vec::<String>::new());
    assert_eq!(missing(&cluster, &done.writes), Vec::<String>::new());
}

#[test]
fn a_failover_by_hand_loses_nothing() {
    let cluster = Cluster::of_six(&[]);
    let full_syncs = || cluster.nodes.iter().map(|node| node.number("stats", "sync_full")).sum::<i64>();
    let before = full_syncs();
    let load = Load::start(cluster.ports(), "load", Acknowledged::ByReply);
    load.wait_for_more(300);
    // Handed over: even what only the master had when it was acknowledged is there.
    for (replica, master) in [(3, 0), (0, 3), (4, 1)] {
        cluster.nodes[replica].ok(&["CLUSTER", "FAILOVER"]);
        cluster.wait_promoted(replica, Duration::from_secs(5));
        cluster.wait_ok();
        assert!(!cluster.nodes[master].is_master());
        load.wait_for_more(100);
    }
    let done = load.stop();
    assert_eq!(done.lost, Vec::<String>::new());
    assert_eq!(missing(&cluster, &done.writes), Vec::<String>::new());

    assert_eq!(full_syncs(), before, "who steps down goes on in the same stream");
    for (how, replica) in [("FORCE", 5), ("TAKEOVER", 2)] {
        let epoch = cluster.nodes[replica].number("cluster", "cluster_current_epoch");
        cluster.nodes[replica].ok(&["CLUSTER", "FAILOVER", how]);
        cluster.wait_promoted(replica, Duration::from_secs(5));
        cluster.wait_ok();
        assert!(cluster.nodes[replica].number("cluster", "cluster_my_epoch") > epoch, "{how}");
    }
    assert_eq!(
        cluster.nodes[2].ask(&["CLUSTER", "FAILOVER"]),
        "-ERR You should send CLUSTER FAILOVER to a replica"
    );
}

#[test]
fn a_takeover_needs_no_master_that_lives() {
    let mut cluster = Cluster::of_six(&[]);
    let key = key_of(&cluster, 0, "a");
    cluster.nodes[0].ok(&["SET", &key, "1"]);
    assert_eq!(cluster.nodes[0].number("replication", "connected_slaves"), 1);
    wait_until("the replica has it", SOON, || cluster.nodes[3].call(&["DBSIZE"]).as_i64() == Some(1));
    (0..3).for_each(|n| cluster.nodes[n].kill());
    // No majority is left to vote.
    for n in 3..6 {
        cluster.nodes[n].ok(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
    }
    cluster.wait_ok();
    assert_eq!(cluster.nodes[3].ask(&["GET", &key]), "1");
    (0..3).for_each(|n| cluster.nodes[n].restart());
    cluster.wait_ok();
    assert!((0..3).all(|n| !cluster.nodes[n].is_master()), "who comes back follows");
}

#[test]
fn a_master_that_hangs_is_replaced_and_steps_down_when_it_wakes() {
    let cluster = Cluster::of_six(&[]);
    let load = Load::start(cluster.ports(), "load", Acknowledged::ByReplica);
    load.wait_for_more(300);
    cluster.nodes[1].pause();
    // It refuses no connection: only the timeout tells.
    let took = cluster.wait_promoted(4, 2 * NODE_TIMEOUT + Duration::from_secs(4));
    assert!(took >= NODE_TIMEOUT / 2, "not before it has been silent for long: {took:?}");
    cluster.nodes[1].resume();
    cluster.wait_ok();
    assert!(!cluster.nodes[1].is_master());
    assert_eq!(cluster.nodes[1].myself().master, cluster.nodes[4].id());
    load.wait_for_more(100);
    let done = load.stop();
    assert_eq!(done.lost, Vec::<String>::new());
    assert_eq!(missing(&cluster, &done.writes), Vec::<String>::new());
}

#[test]
fn keys_that_cannot_be_moved_stay() {
    let mut cluster = Cluster::of_six(&[]);
    let key = key_of(&cluster, 0, "a");
    cluster.nodes[0].ok(&["SET", &key, "1"]);
    let to = &cluster.nodes[1];
    let migrate = |to: u16, options: &[&str]| {
        let port = to.to_string();
        let mut argv = vec!["MIGRATE", "127.0.0.1", &port, &key, "0", "500"];
        argv.extend(options);
        cluster.nodes[0].ask(&argv)
    };
    let slot = slot_of(&key).to_string();
    // Not asked to import, the other side says who has the slot.
    let refused = migrate(to.port, &[]);
    assert!(refused.starts_with("-ERR Target instance replied with error: MOVED"), "{refused}");
    to.ok(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &cluster.nodes[0].id()]);
    assert_eq!(migrate(to.port, &["COPY"]), "OK");
    assert_eq!(
        migrate(to.port, &[]),
        "-ERR Target instance replied with error: BUSYKEY Target key name already exists."
    );
    assert_eq!(cluster.nodes[0].ask(&["GET", &key]), "1");
    assert_eq!(migrate(to.port, &["REPLACE"]), "OK");
    assert_eq!(migrate(to.port, &[]), "NOKEY");
    cluster.nodes[0].ok(&["SET", &key, "2"]);
    cluster.nodes[1].pause();
    let error = "-IOERR error or timeout reading to target instance";
    assert_eq!(migrate(cluster.nodes[1].port, &[]), error);
    cluster.nodes[1].resume();
    let port = cluster.nodes[1].port.to_string();
    cluster.nodes[1].kill();
    let reply = cluster.nodes[0].ask(&["MIGRATE", "127.0.0.1", &port, &key, "0", "500"]);
    assert!(reply.starts_with("-IOERR error or timeout"), "{reply}");
    assert_eq!(cluster.nodes[0].ask(&["GET", &key]), "2");
}

/// A tool of stock's tests: a node that is deaf to messages of a type, or to all.
#[test]
fn messages_of_the_bus_can_be_dropped_on_arrival() {
    let cluster = Cluster::of_six(&["enable-debug-command yes", "cluster-replica-no-failover yes"]);
    cluster.wait_ok();
    let deaf = &cluster.nodes[5];
    let seen = |flag: &str| {
        let id = deaf.id();
        cluster.nodes[0].view().into_iter().any(|line| line.id == id && line.has(flag))
    };
    let received = || deaf.number("cluster", "cluster_stats_messages_received");
    deaf.ok(&["DEBUG", "DROP-CLUSTER-PACKET-FILTER", "-2"]);
    wait_until("others notice", SOON, || seen("fail") || seen("fail?"));
    let before = received();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(received(), before, "nothing is heard");
    // Pings go unanswered, but what is asked is answered.
    deaf.ok(&["DEBUG", "DROP-CLUSTER-PACKET-FILTER", "0"]);
    wait_until("it hears pongs", SOON, || received() > before);
    deaf.ok(&["DEBUG", "DROP-CLUSTER-PACKET-FILTER", "-1"]);
    wait_until("all is well", SOON, || !seen("fail") && !seen("fail?"));
    cluster.wait_ok();
}
