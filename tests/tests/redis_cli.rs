//! Stock's redis-cli and redis-benchmark, unmodified, at a cluster of ours.

use balas_tests::cluster::{Cluster, Kind, Node, SOON, redis_cli, try_redis_cli, wait_until};
use balas_tests::cluster_data::{Dataset, assert_same_but_late, cluster_dataset, fill};
use balas_tests::cluster_load::Router;
use std::process::{Command, Stdio};

fn filled(kinds: &[Kind], prefix: &str) -> (Cluster, Dataset) {
    let cluster = Cluster::start(kinds, &[]);
    cluster.create(1);
    let mut router = Router::new(cluster.ports());
    fill(prefix, 20, |key, argv| router.call(key, argv).expect("written"));
    let keys = cluster_dataset(&cluster);
    assert_eq!(keys.len(), 20 * 14);
    (cluster, keys)
}

fn assert_in_order(cluster: &Cluster, node: usize) {
    let said = redis_cli(&["--cluster", "check", &cluster.nodes[node].address()]);
    assert!(said.contains("[OK] All nodes agree about slots configuration."), "{said}");
    assert!(said.contains("[OK] All 16384 slots covered."), "{said}");
    assert!(!said.contains("[ERR]") && !said.contains("[WARNING]"), "{said}");
}

/// The number of slots a node holds.
fn slots_of(cluster: &Cluster, node: usize) -> i64 {
    let count = |range: &String| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        last.parse::<i64>().expect("a slot") - first.parse::<i64>().expect("a slot") + 1
    };
    cluster.nodes[node].myself().slots.iter().map(count).sum()
}

#[test]
fn create_check_info_call_and_a_client_that_follows_redirects() {
    let (cluster, keys) = filled(&[Kind::Balas; 6], "k");
    for node in 0..6 {
        assert_in_order(&cluster, node);
    }
    let address = cluster.nodes[4].address();
    let info = redis_cli(&["--cluster", "info", &address]);
    assert!(info.contains(&format!("[OK] {} keys in 3 masters.", keys.len())), "{info}");
    let pongs = redis_cli(&["--cluster", "call", &address, "PING"]);
    assert_eq!(pongs.matches("PONG").count(), 6, "{pongs}");
    let pongs = redis_cli(&["--cluster", "call", "--cluster-only-masters", &address, "PING"]);
    assert_eq!(pongs.matches("PONG").count(), 3, "{pongs}");
    let said = redis_cli(&["--cluster", "set-timeout", &address, "3000"]);
    assert!(said.contains("6 OK, 0 ERR"), "{said}");

    let port = cluster.nodes[0].port.to_string();
    for n in 0..20 {
        let (key, value) = (format!("by-cli:{n}"), format!("value {n}"));
        assert_eq!(redis_cli(&["-c", "-p", &port, "SET", &key, &value]).trim(), "OK");
        assert_eq!(redis_cli(&["-c", "-p", &port, "GET", &key]).trim(), value);
    }
    let moved =
        String::from_utf8_lossy(&try_redis_cli(&["-p", &port, "GET", "by-cli:0"]).stdout).into_owned();
    let owner = cluster.owner_of("by-cli:0");
    assert!(owner == 0 || moved.contains(&cluster.nodes[owner].address()), "{moved}");
}

#[test]
fn slots_and_nodes_come_and_go() {
    let (mut cluster, keys) = filled(&[Kind::Balas; 6], "k");
    let more = Cluster::start(&[Kind::Balas; 2], &[]);
    let address = cluster.nodes[0].address();
    cluster.nodes.extend(more.nodes);

    redis_cli(&["--cluster", "add-node", &cluster.nodes[6].address(), &address]);
    cluster_knows(&cluster, 7);
    let seventh = cluster.nodes[6].id();
    redis_cli(&[
        "--cluster",
        "add-node",
        &cluster.nodes[7].address(),
        &address,
        "--cluster-slave",
        "--cluster-master-id",
        &seventh,
    ]);
    cluster_knows(&cluster, 8);
    cluster.wait_ok();
    assert_eq!(cluster.nodes[7].myself().master, seventh);

    let from = cluster.nodes[1].id();
    redis_cli(&[
        "--cluster",
        "reshard",
        &address,
        "--cluster-from",
        &from,
        "--cluster-to",
        &seventh,
        "--cluster-slots",
        "300",
        "--cluster-yes",
    ]);
    cluster.wait_ok();
    assert_eq!(slots_of(&cluster, 6), 300);
    assert_same_but_late("resharded", &keys, &cluster_dataset(&cluster));

    // A share of the slots by weight: 1024 for the new one, 5120 for each of the others.
    let weight = format!("{seventh}=0.2");
    redis_cli(&["--cluster", "rebalance", &address, "--cluster-weight", &weight, "--cluster-pipeline", "50"]);
    cluster.wait_ok();
    let shares: Vec<i64> = [0, 1, 2, 6].iter().map(|&node| slots_of(&cluster, node)).collect();
    assert!(shares[..3].iter().all(|share| (5100..5140).contains(share)), "{shares:?}");
    assert!((1000..1050).contains(&shares[3]), "{shares:?}");
    assert_same_but_late("rebalanced", &keys, &cluster_dataset(&cluster));
    assert_in_order(&cluster, 3);

    // Away with its slots first: a node that has any is not let go.
    assert!(!try_redis_cli(&["--cluster", "del-node", &address, &seventh]).status.success());
    let weight = format!("{seventh}=0");
    redis_cli(&["--cluster", "rebalance", &address, "--cluster-weight", &weight]);
    cluster.wait_ok();
    assert_eq!(slots_of(&cluster, 6), 0);
    let eighth = cluster.nodes[7].id();
    redis_cli(&["--cluster", "del-node", &address, &eighth]);
    redis_cli(&["--cluster", "del-node", &address, &seventh]);
    cluster.nodes.truncate(6);
    cluster_knows(&cluster, 6);
    cluster.wait_ok();
    assert_same_but_late("without them", &keys, &cluster_dataset(&cluster));
    assert_in_order(&cluster, 5);
}

fn cluster_knows(cluster: &Cluster, count: usize) {
    wait_until("everybody has heard of it", SOON, || {
        cluster.nodes[..count].iter().all(|node| {
            let view = node.view();
            view.len() == count && view.iter().all(|line| !line.has("handshake"))
        })
    });
}

#[test]
fn fix_closes_open_slots_and_covers_lost_ones() {
    let (cluster, keys) = filled(&[Kind::Balas; 6], "k");
    let [first, second] = [&cluster.nodes[0], &cluster.nodes[1]];
    let check = |what: &str| {
        let output = try_redis_cli(&["--cluster", "check", &first.address()]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success() && said.contains(what), "{said}");
    };
    let fix = || redis_cli(&["--cluster", "fix", &first.address(), "--cluster-yes"]);

    // A reshard that died half-way, some of the keys over already.
    let key =
        (0..20).map(|n| format!("{{k{n}}}:int")).find(|key| cluster.owner_of(key) == 0).expect("one of them");
    let slot = protocol::slot_of(key.as_bytes()).get().to_string();
    second.ok(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &first.id()]);
    first.ok(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &second.id()]);
    first.ok(&["MIGRATE", "127.0.0.1", &second.port.to_string(), &key, "0", "1000"]);
    check("open slots");
    fix();
    cluster.wait_ok();
    assert_in_order(&cluster, 2);
    assert_same_but_late("fixed", &keys, &cluster_dataset(&cluster));

    // Slots that nobody has.
    for node in &cluster.nodes {
        node.ok(&["CLUSTER", "DELSLOTSRANGE", "100", "104"]);
    }
    check("Not all 16384 slots are covered by nodes");
    fix();
    cluster.wait_ok();
    assert_in_order(&cluster, 0);
}

#[test]
fn the_benchmark_runs_through() {
    let cluster = Cluster::start(&[Kind::Balas; 6], &[]);
    cluster.create(1);
    let port = cluster.nodes[0].port.to_string();
    for pipeline in ["1", "16"] {
        let output = Command::new("redis-benchmark")
            .args(["--cluster", "-p", &port, "-n", "1500", "-c", "20", "-r", "1000", "-q", "-P", pipeline])
            .stdin(Stdio::null())
            .output()
            .expect("redis-benchmark is there");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.to_ascii_lowercase().contains("error"), "{said}");
        for test in
            ["PING_INLINE", "SET", "GET", "INCR", "LPUSH", "SPOP", "ZPOPMIN", "LRANGE_600", "MSET (10 keys)"]
        {
            assert!(
                said.contains(&format!("{test}: ")) || said.contains(&format!("{test} (")),
                "{test}: {said}"
            );
        }
    }
    assert_in_order(&cluster, 0);
}

#[test]
fn a_copy_of_the_dataset_is_streamed_past_the_disk() {
    for kind in [Kind::Balas, Kind::Stock] {
        // A save point that is never reached: without one a file for replicas is not kept in any case.
        let node = Node::start(kind, &["save 3600 1000000"]);
        node.ok(&["SET", "key", "value"]);
        let copy = node.folder.join("copy.rdb");
        let (port, path) = (node.port.to_string(), copy.display().to_string());
        let said = redis_cli(&["-p", &port, "--rdb", &path]);
        let bytes = std::fs::read(&copy).expect("a copy");
        assert!(
            bytes.starts_with(b"REDIS00") && bytes.windows(5).any(|part| part == b"value"),
            "{kind:?}: {said}"
        );
        let names = std::fs::read_dir(&node.folder).expect("a folder").flatten();
        let others: Vec<_> = names
            .map(|entry| entry.file_name())
            .filter(|name| name.to_string_lossy().ends_with("rdb"))
            .collect();
        assert_eq!(others, ["copy.rdb"], "{kind:?}: nothing is written here");
        assert!(node.log().contains("Starting BGSAVE for SYNC with target: replicas sockets"), "{kind:?}");

        node.ok(&["CONFIG", "SET", "repl-diskless-sync", "no"]);
        redis_cli(&["-p", &port, "--rdb", &path]);
        assert!(node.folder.join("dump.rdb").exists(), "{kind:?}: by way of the disk it becomes the dump");
        let functions = node.folder.join("functions.rdb").display().to_string();
        redis_cli(&["-p", &port, "--functions-rdb", &functions]);
        let bytes = std::fs::read(functions).expect("a copy");
        assert!(!bytes.windows(5).any(|part| part == b"value"), "{kind:?}");
        wait_until("the last is streamed all the same", SOON, || {
            node.log().matches("target: replicas sockets").count() == 2
        });
        let mut client = node.client();
        client.call(&["REPLCONF", "rdb-filter-only", "functions"]).expect("it answers");
        let refused = balas_tests::cluster::text(&client.call(&["SYNC"]).expect("it answers"));
        assert_eq!(refused, "-ERR Filtered replica requires EOF capability", "{kind:?}");
    }
}

#[test]
fn a_client_that_plays_replica_sees_writes() {
    for kind in [Kind::Balas, Kind::Stock] {
        let node = Node::start(kind, &[]);
        let mut child = Command::new("redis-cli")
            .args(["-p", &node.port.to_string(), "--replica"])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(node.folder.join("seen")).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        wait_until("it is online", SOON, || node.field("replication", "slave0").contains("state=online"));
        node.ok(&["SET", "seen-key", "1"]);
        wait_until("it sees the write", SOON, || {
            std::fs::read_to_string(node.folder.join("seen")).is_ok_and(|text| text.contains("seen-key"))
        });
        let _ = child.kill();
        let _ = child.wait();
    }
}
