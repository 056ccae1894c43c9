//! A cluster of our nodes and stock ones, each master and replica of the other kind.

use balas_tests::cluster::{Cluster, Kind, SOON, now, redis_cli, wait_until};
use balas_tests::cluster_data::{assert_same, assert_same_but_late, cluster_dataset, dataset, fill};
use balas_tests::cluster_load::{Acknowledged, Load, Router, missing};
use std::time::Duration;

const NODE_TIMEOUT: Duration = Duration::from_millis(2000);

/// Masters ours, stock, ours; their replicas stock, ours, stock.
const MIX: [Kind; 6] = [Kind::Balas, Kind::Stock, Kind::Balas, Kind::Stock, Kind::Balas, Kind::Stock];

/// Formed by redis-cli, which draws lots about who follows whom; then told to follow the other kind.
fn mixed() -> Cluster {
    let cluster = Cluster::start(&MIX, &["enable-debug-command yes"]);
    cluster.create(1);
    for (n, node) in cluster.nodes.iter().enumerate().skip(3) {
        assert_ne!(node.kind, cluster.nodes[n - 3].kind);
        node.ok(&["CLUSTER", "REPLICATE", &cluster.nodes[n - 3].id()]);
    }
    wait_until("all have heard who follows whom", SOON, || {
        (0..3).all(|n| cluster.nodes[n].number("replication", "connected_slaves") == 1)
    });
    cluster.wait_ok();
    cluster
}

fn replica_of(cluster: &Cluster, master: usize) -> usize {
    let id = cluster.nodes[master].id();
    let follows = |n: &usize| cluster.nodes[*n].is_running() && cluster.nodes[*n].myself().master == id;
    (0..cluster.nodes.len()).find(follows).expect("it has a replica")
}

fn assert_replicas_agree(cluster: &Cluster) {
    for replica in cluster.running().filter(|node| !node.is_master()) {
        let id = replica.myself().master;
        let master = cluster.nodes.iter().find(|node| node.id() == id).expect("known");
        wait_until("the replica has the stream", Duration::from_secs(10), || {
            replica.call(&["DBSIZE"]) == master.call(&["DBSIZE"])
        });
        // A digest tells whether, and only the keys tell where.
        let [here, there] = [master, replica].map(|node| node.ask(&["DEBUG", "DIGEST"]));
        assert_eq!(here.len(), 40, "{here}");
        if here == there {
            continue;
        }
        let (one, other) = (dataset(&mut master.client()), dataset(&mut replica.client()));
        assert_same(&format!("{:?} and its replica {:?}", master.kind, replica.kind), &one, &other);
    }
}

#[test]
fn a_replica_of_the_other_kind_takes_over() {
    let mut cluster = mixed();
    let mut router = Router::new(cluster.ports());
    fill("kept", 12, |key, argv| router.call(key, argv).expect("written"));
    let before = cluster_dataset(&cluster);
    assert_replicas_agree(&cluster);
    // One of ours, then a stock one.
    for master in [0, 1] {
        let replica = replica_of(&cluster, master);
        let kind = cluster.nodes[replica].kind;
        assert_ne!(kind, cluster.nodes[master].kind);
        let load = Load::start(cluster.ports(), &format!("load{master}"), Acknowledged::ByReplica);
        load.wait_for_more(200);
        cluster.nodes[master].kill();
        // Stock waits for the timeout, and up to a second more before it asks for votes.
        let took = cluster.wait_promoted(replica, 2 * NODE_TIMEOUT + Duration::from_secs(4));
        println!("{kind:?} took over after {took:?}");
        cluster.nodes[master].restart();
        cluster.wait_ok();
        load.wait_for_more(100);
        let done = load.stop();
        assert_eq!(done.lost, Vec::<String>::new());
        assert_eq!(missing(&cluster, &done.writes), Vec::<String>::new());
        assert!(!cluster.nodes[master].is_master());
        // And back by hand.
        cluster.nodes[master].ok(&["CLUSTER", "FAILOVER"]);
        cluster.wait_promoted(master, Duration::from_secs(8));
        cluster.wait_ok();
    }
    let mut after = cluster_dataset(&cluster);
    after.retain(|key, _| !key.starts_with("load"));
    assert_same_but_late("after failovers", &before, &after);
    assert_replicas_agree(&cluster);
}

#[test]
fn slots_move_both_ways_with_their_keys() {
    let cluster = mixed();
    let mut router = Router::new(cluster.ports());
    fill("kept", 150, |key, argv| router.call(key, argv).expect("written"));
    let before = cluster_dataset(&cluster);
    let load = Load::start(cluster.ports(), "load", Acknowledged::ByReply);
    for (from, to) in [(0, 1), (1, 2)] {
        let slots = if from == 0 { "700" } else { "1000" };
        redis_cli(&[
            "--cluster",
            "reshard",
            &cluster.nodes[3].address(),
            "--cluster-from",
            &cluster.nodes[from].id(),
            "--cluster-to",
            &cluster.nodes[to].id(),
            "--cluster-slots",
            slots,
            "--cluster-yes",
            "--cluster-pipeline",
            "20",
        ]);
        cluster.wait_ok();
    }
    let done = load.stop();
    assert_eq!((done.lost, done.failed), (Vec::new(), 0));
    assert_eq!(missing(&cluster, &done.writes), Vec::<String>::new());
    let mut after = cluster_dataset(&cluster);
    after.retain(|key, _| !key.starts_with("load"));
    assert_same_but_late("after reshards", &before, &after);
    assert_replicas_agree(&cluster);
}

/// Watched for as long as `BALAS_WATCH_SECONDS` says.
#[test]
fn nobody_is_thought_to_have_failed_who_has_not() {
    let seconds = std::env::var("BALAS_WATCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let cluster = mixed();
    let epoch = |cluster: &Cluster| cluster.nodes[0].number("cluster", "cluster_current_epoch");
    let settled = epoch(&cluster);
    let marks: Vec<usize> = cluster.nodes.iter().map(|node| node.log().len()).collect();
    let load = Load::start(cluster.ports(), "load", Acknowledged::ByReply);
    let begun = now();
    let mut seen = 0;
    while now() - begun < Duration::from_secs(seconds) {
        let target = load.written() + 50;
        wait_until("the load goes on", Duration::from_secs(30), || load.written() >= target);
        for node in &cluster.nodes {
            let view = node.view();
            let bad =
                view.iter().find(|line| line.has("fail") || line.has("fail?") || line.link != "connected");
            assert!(bad.is_none(), "{} thinks {bad:?}", node.port);
            assert_eq!(node.field("cluster", "cluster_state"), "ok");
            seen += 1;
        }
    }
    let done = load.stop();
    assert!(seen > 6);
    assert_eq!((done.lost, done.failed), (Vec::new(), 0));
    assert_eq!(epoch(&cluster), settled, "there was no election");
    for (node, &mark) in cluster.nodes.iter().zip(&marks) {
        let log = node.log();
        let said = &log[mark.min(log.len())..];
        for word in ["FAIL", "fail", "lost", "timeout", "Failover", "Start of election"] {
            assert!(!said.contains(word), "{:?} on {} says {word:?}:\n{said}", node.kind, node.port);
        }
    }
    cluster.wait_ok();
    assert_replicas_agree(&cluster);
}
