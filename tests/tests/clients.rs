//! High-level calls of cluster clients, redis-py and the redis crate: a task queue whose workers die, a leaderboard,
//! a rate limiter, a search for places.

use balas_tests::cluster::Cluster;
use balas_tests::languages::{Language, run_script};
use redis::cluster::{ClusterClient, ClusterConnection};
use redis::geo::{Coord, RadiusOptions, RadiusOrder, RadiusSearchResult, Unit};
use redis::streams::{StreamAutoClaimOptions, StreamAutoClaimReply, StreamReadOptions, StreamReadReply};
use redis::{Commands, RedisResult};
use std::collections::{BTreeMap, BTreeSet};

// ---- redis-py --------------------------------------------------------------------------------------------

fn run_on_a_cluster(name: &str) {
    let cluster = Cluster::of_six(&[]);
    run_script(Language::Python, name, &cluster.ports());
}

#[test]
fn a_task_queue_of_redis_py_outlives_its_workers() {
    run_on_a_cluster("task_queue.py");
}

#[test]
fn everyday_calls_of_redis_py_do_what_they_say() {
    run_on_a_cluster("everyday.py");
}

// ---- The redis crate -------------------------------------------------------------------------------------

fn connect(cluster: &Cluster) -> ClusterConnection {
    let urls: Vec<String> = cluster.nodes.iter().map(|node| format!("redis://{}/", node.address())).collect();
    ClusterClient::new(urls).and_then(|client| client.get_connection()).expect("a cluster")
}

const STREAM: &str = "{tasks}:stream";
const GROUP: &str = "workers";
const DONE: &str = "{tasks}:done";
const TASKS: usize = 100;
const CLAIM_AFTER_MS: usize = 100;

/// Does tasks until all are done. One that dies does so over its fifth task, which it does not acknowledge.
fn work(cluster: &Cluster, name: &str, dies: bool) -> RedisResult<usize> {
    let mut connection = connect(cluster);
    let mut taken = 0;
    while connection.scard::<_, usize>(DONE)? < TASKS {
        let one = StreamAutoClaimOptions::default().count(1);
        let mut tasks = Vec::new();
        if !dies {
            let claimed: StreamAutoClaimReply =
                connection.xautoclaim_options(STREAM, GROUP, name, CLAIM_AFTER_MS, "0-0", one)?;
            tasks = claimed.claimed;
        }
        if tasks.is_empty() {
            let options = StreamReadOptions::default().group(GROUP, name).count(1).block(50);
            let fresh: Option<StreamReadReply> = connection.xread_options(&[STREAM], &[">"], &options)?;
            tasks = fresh.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids).collect();
        }
        for task in tasks {
            taken += 1;
            if dies && taken == 5 {
                return Ok(taken);
            }
            let number: usize = task.get("number").expect("a number");
            let _: () = connection.sadd(DONE, number)?;
            let _: usize = connection.xack(STREAM, GROUP, &[&task.id])?;
        }
    }
    Ok(taken)
}

#[test]
fn a_task_queue_of_the_redis_crate_outlives_its_workers() {
    let cluster = Cluster::of_six(&[]);
    let mut connection = connect(&cluster);
    let _: () = connection.xgroup_create_mkstream(STREAM, GROUP, "$").expect("a group");
    for number in 0..TASKS {
        let _: String = connection.xadd(STREAM, "*", &[("number", number)]).expect("an ID");
    }
    let side_by_side = |workers: [(&str, bool); 2]| {
        std::thread::scope(|scope| {
            let threads = workers.map(|(name, dies)| {
                let cluster = &cluster;
                scope.spawn(move || {
                    work(cluster, name, dies).unwrap_or_else(|error| panic!("{name}: {error}"))
                })
            });
            threads.map(|thread| thread.join().expect("the worker's end"))
        })
    };
    assert_eq!(side_by_side([("first", true), ("second", true)]), [5, 5]);
    let pending =
        connection.xpending::<_, _, redis::streams::StreamPendingReply>(STREAM, GROUP).expect("pending");
    assert_eq!(pending.count(), 2, "what the dead have left");
    let taken: usize = side_by_side([("third", false), ("fourth", false)]).iter().sum();
    assert!(taken >= TASKS - 8, "{taken} tasks were taken");
    let pending =
        connection.xpending::<_, _, redis::streams::StreamPendingReply>(STREAM, GROUP).expect("pending");
    assert_eq!(pending.count(), 0);
    let done: BTreeSet<usize> = connection.smembers(DONE).expect("members");
    assert_eq!(done, (0..TASKS).collect());
}

#[test]
fn a_leaderboard_of_the_redis_crate_has_its_order() {
    let cluster = Cluster::of_six(&[]);
    let mut connection = connect(&cluster);
    let players: Vec<(i64, String)> = (0..500).map(|n| (n * 10, format!("player:{n}"))).collect();
    assert_eq!(connection.zadd_multiple("board", &players), Ok(500));
    assert_eq!(connection.zincr("board", "player:3", 10_000), Ok(10_030.0));
    let best: Vec<(String, f64)> = connection.zrevrange_withscores("board", 0, 1).expect("the best");
    assert_eq!(best, [("player:3".to_owned(), 10_030.0), ("player:499".to_owned(), 4_990.0)]);
    assert_eq!(connection.zrevrank("board", "player:3"), Ok(0));
    assert_eq!(connection.zcount("board", 0, 100), Ok(10));
    assert_eq!(connection.zrembyscore("board", 0, 1000), Ok(100));
    assert_eq!(connection.zcard("board"), Ok(400));
}

#[test]
fn a_rate_limiter_of_the_redis_crate_counts_to_its_limit() {
    let cluster = Cluster::of_six(&[]);
    let mut connection = connect(&cluster);
    let allowed: Vec<bool> = (0..5)
        .map(|_| {
            let mut pipe = redis::cluster::cluster_pipe();
            pipe.incr("{alice}:window", 1).expire("{alice}:window", 100);
            let (count, _): (u32, u32) = pipe.query(&mut connection).expect("both replies");
            count <= 3
        })
        .collect();
    assert_eq!(allowed, [true, true, true, false, false]);
    assert!((1..=100).contains(&connection.ttl::<_, i64>("{alice}:window").expect("a time")));
}

#[test]
fn places_are_found_by_the_redis_crate() {
    let cluster = Cluster::of_six(&[]);
    let mut connection = connect(&cluster);
    let places = [("13.361389", "38.115556", "Palermo"), ("15.087269", "37.502669", "Catania")];
    assert_eq!(connection.geo_add("sicily", &places[..]), Ok(2));
    let distance: f64 =
        connection.geo_dist("sicily", "Palermo", "Catania", Unit::Kilometers).expect("a distance");
    assert!((distance - 166.2742).abs() < 0.001, "{distance}");
    let options = RadiusOptions::default().with_dist().with_coord().order(RadiusOrder::Asc);
    let found: Vec<RadiusSearchResult> =
        connection.geo_radius("sicily", 15.0, 37.0, 200.0, Unit::Kilometers, options).expect("a search");
    let names: Vec<&str> = found.iter().map(|place| place.name.as_str()).collect();
    assert_eq!(names, ["Catania", "Palermo"]);
    let at: BTreeMap<&str, &Coord<f64>> =
        found.iter().filter_map(|place| Some((place.name.as_str(), place.coord.as_ref()?))).collect();
    assert!((at["Palermo"].longitude - 13.361389).abs() < 1e-5);
}
