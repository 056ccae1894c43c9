//! Frameworks and clients of other languages at work: locks, task queues, caches, and cluster clients through a
//! failover. What they do is in `tests/clients`.

use balas_tests::cluster::Cluster;
use balas_tests::languages::{Language, Order, run_script, run_script_with};
use balas_tests::process::{Server, balas};

/// A node by itself, and the ports of it and of a cluster.
fn node_and_cluster() -> (Server, Cluster, Vec<u16>) {
    let server = Server::start(&balas(), &["--io-threads", "4"]);
    let cluster = Cluster::of_six(&[]);
    let ports = [vec![server.port], cluster.ports()].concat();
    (server, cluster, ports)
}

#[test]
fn locks_and_transactions_of_redis_py_under_contention() {
    let (_server, _cluster, ports) = node_and_cluster();
    run_script(Language::Python, "locks.py", &ports);
}

#[test]
fn celery_does_its_tasks_though_a_worker_is_killed() {
    let server = Server::start(&balas(), &["--io-threads", "2"]);
    run_script(Language::Python, "celery_work.py", &[server.port]);
}

#[test]
fn django_redis_caches_on_a_node_and_on_a_cluster() {
    let (_server, _cluster, ports) = node_and_cluster();
    run_script(Language::Python, "django_cache.py", &ports);
}

fn run_through_failover(script: &str) {
    let mut cluster = Cluster::of_six(&["io-threads 2"]);
    let ports = cluster.ports();
    run_script_with(Language::JavaScript, script, &ports, |order, port| {
        let node = cluster.nodes.iter_mut().find(|node| node.port == port).expect("a node of the cluster");
        match order {
            Order::Kill => node.kill(),
            Order::Start => node.restart(),
        }
    });
    cluster.wait_ok();
}

#[test]
fn ioredis_works_through_a_failover() {
    run_through_failover("ioredis_cluster.js");
}

#[test]
fn node_redis_works_through_a_failover() {
    run_through_failover("node_redis_cluster.js");
}
