//! Channels, patterns, shard channels and keyspace events, on stock and on Balas, with one IO thread and several.

use balas_tests::cluster::{Cluster, Kind};
use balas_tests::process::{Server, balas, stock};
use balas_tests::scenario::{differences, texts};

/// Name and text of each scenario; how it reads is said in `scenario.rs`.
const SCENARIOS: &[(&str, &str)] = &[
    (
        "a channel",
        "a: SUBSCRIBE c\n d: PUBLISH c hello\n a<\n d: PUBLISH other hello\n a: UNSUBSCRIBE c\n d: PUBLISH c hello\n a: PING",
    ),
    (
        "several channels in one command",
        "a: SUBSCRIBE c1 c2 c1\n a<\n a<\n d: PUBLISH c2 x\n a<\n a: UNSUBSCRIBE c2 nothing c1\n a<\n a<",
    ),
    (
        "patterns",
        "a: PSUBSCRIBE n?ws x*\n a<\n b: SUBSCRIBE news\n d: PUBLISH news x\n b<\n a<\n d: PUBLISH nows y\n a<\n d: PUBSUB NUMPAT\n a: PUNSUBSCRIBE n?ws\n b: UNSUBSCRIBE",
    ),
    (
        "leaving what was never joined",
        "a: UNSUBSCRIBE\n a: PUNSUBSCRIBE\n a: SUNSUBSCRIBE\n a: UNSUBSCRIBE x\n a: PING",
    ),
    (
        "only some commands while listening",
        "a: SUBSCRIBE c\n a: PING\n a: PING hi\n a: PING a b\n a: GET k\n a: MULTI\n a: SUBSCRIBE d\n a: RESET\n a: GET k\n d: PUBSUB CHANNELS",
    ),
    (
        "shard channels",
        "a: SSUBSCRIBE c\n d: SPUBLISH c x\n a<\n d: PUBLISH c x\n d: PUBSUB SHARDCHANNELS\n d: PUBSUB SHARDNUMSUB c d\n d: PUBSUB NUMSUB c\n a: SUNSUBSCRIBE\n d: SPUBLISH c x",
    ),
    (
        "counts of both kinds",
        "a: SUBSCRIBE c\n a: PSUBSCRIBE p*\n a: SSUBSCRIBE s\n a: UNSUBSCRIBE\n a: PUNSUBSCRIBE\n a: SUNSUBSCRIBE",
    ),
    (
        "introspection",
        "d: PUBSUB CHANNELS\n a: SUBSCRIBE abc\n b: SUBSCRIBE abc\n d: PUBSUB CHANNELS a*\n d: PUBSUB CHANNELS b*\n d: PUBSUB NUMSUB abc x\n d: PUBSUB NUMSUB\n d: PUBSUB CHANNELS a b\n d: PUBSUB WHAT\n d: PUBSUB",
    ),
    (
        "in a transaction",
        "a: SUBSCRIBE c\n d: MULTI\n d: PUBLISH c 1\n d: SET k v\n d: PUBLISH c 2\n d: EXEC\n a<\n a<\n b: MULTI\n b: SUBSCRIBE x\n b: SSUBSCRIBE y\n b: EXEC",
    ),
    (
        "wrong arguments",
        "a: SUBSCRIBE\n a: PSUBSCRIBE\n a: SSUBSCRIBE\n a: PUBLISH c\n a: PUBLISH c m n\n a: SPUBLISH c\n a: PUBSUB NUMPAT x\n a: PING",
    ),
    (
        "replies held back",
        "a! CLIENT REPLY OFF\n a! SUBSCRIBE c\n a<\n d: PUBLISH c x\n a<\n a! UNSUBSCRIBE c\n a<\n a: CLIENT REPLY ON",
    ),
    (
        "gone with its connection",
        "a: SUBSCRIBE c\n d: CLIENT KILL ID ID(a)\n a<\n d: PUBLISH c x\n d: PUBSUB CHANNELS",
    ),
    (
        "events of strings",
        "d: CONFIG SET notify-keyspace-events KEA\n a: PSUBSCRIBE __key*\n d: SET k 1\n a<\n a<\n d: INCR k\n a<\n a<\n d: APPEND k 2\n a<\n a<\n d: EXPIRE k 100\n a<\n a<\n d: PERSIST k\n a<\n a<\n d: GETDEL k\n a<\n a<\n d: SET k v EX 10\n a<\n a<\n a<\n a<\n d: RENAME k l\n a<\n a<\n a<\n a<\n d: DEL l\n a<\n a<\n d: CONFIG SET notify-keyspace-events ''",
    ),
    (
        "events of collections",
        "d: CONFIG SET notify-keyspace-events EA\n a: PSUBSCRIBE __key*\n d: LPUSH l 1\n a<\n d: RPOP l\n a<\n a<\n d: SADD s 1 2\n a<\n d: SREM s 1 2\n a<\n a<\n d: ZADD z 1 m\n a<\n d: ZINCRBY z 1 m\n a<\n d: ZREM z m\n a<\n a<\n d: HSET h f v\n a<\n d: HINCRBY h n 1\n a<\n d: HDEL h f n\n a<\n a<\n d: XADD x 1-1 f v\n a<\n d: XTRIM x MAXLEN 0\n a<\n d: XGROUP CREATE x g $\n a<\n d: CONFIG SET notify-keyspace-events ''",
    ),
    (
        "events of copying, moving and storing",
        "d: CONFIG SET notify-keyspace-events EA\n a: PSUBSCRIBE __key*\n d: SADD s 1 2\n a<\n d: SUNIONSTORE t s\n a<\n d: COPY s u\n a<\n d: MOVE u 1\n a<\n a<\n d: SORT s STORE v\n a<\n d: SINTERSTORE t nothing\n a<\n d: SELECT 1\n d: UNLINK u\n a<\n d: CONFIG SET notify-keyspace-events ''",
    ),
    (
        "events of time and of misses",
        "d: CONFIG SET notify-keyspace-events Exmn\n a: PSUBSCRIBE __key*\n d: GET nothing\n a<\n d: SET k v PX 1\n a<\n a<\n d: PSETEX l 1 v\n a<\n a<\n d: CONFIG SET notify-keyspace-events ''",
    ),
    (
        "a waiter that is served",
        "d: CONFIG SET notify-keyspace-events El\n a: PSUBSCRIBE __key*\n b> BLMOVE k l LEFT RIGHT 0\n d: RPUSH k 1\n b<\n a<\n a<\n a<\n d: CONFIG SET notify-keyspace-events ''",
    ),
];

fn compare(threads: &str, resp: u8) {
    let on_stock = Server::start(&stock(), &[]);
    let on_balas = Server::start(&balas(), &["--io-threads", threads]);
    let differences = differences(&on_stock, &on_balas, SCENARIOS, resp);
    assert!(differences.is_empty(), "{threads} threads, RESP{resp}\n{}", differences.join("\n\n"));
}

#[test]
fn one_thread_publishes_as_stock_does() {
    compare("1", 2);
    compare("1", 3);
}

#[test]
fn four_threads_publish_as_stock_does() {
    compare("4", 2);
    compare("4", 3);
}

/// Half of the nodes are stock's: what is published on any node is heard on all, shard channels by their shard, until
/// the slot moves on.
#[test]
fn messages_cross_a_mixed_cluster() {
    let cluster =
        Cluster::start(&[Kind::Balas, Kind::Stock, Kind::Balas, Kind::Stock, Kind::Balas, Kind::Stock], &[]);
    cluster.create(1);
    cluster.wait_ok();
    let mut listeners: Vec<_> = cluster.nodes.iter().map(|node| node.client()).collect();
    for listener in &mut listeners {
        listener.call(&["SUBSCRIBE", "news"]).expect("subscribed");
    }
    for (n, node) in cluster.nodes.iter().enumerate() {
        let text = format!("from {n}");
        node.call(&["PUBLISH", "news", &text]);
        for listener in &mut listeners {
            assert_eq!(texts(&listener.receive().expect("a message"))[2], text);
        }
    }
    let owner = cluster.owner_of("shard");
    let owner_id = cluster.nodes[owner].id();
    let replica = cluster.nodes.iter().find(|node| node.myself().master == owner_id);
    let replica = replica.expect("each master has a replica");
    let mut on_master = cluster.nodes[owner].client();
    let mut on_replica = replica.client();
    for listener in [&mut on_master, &mut on_replica] {
        assert_eq!(texts(&listener.call(&["SSUBSCRIBE", "shard"]).expect("subscribed"))[0], "ssubscribe");
    }
    for node in [&cluster.nodes[owner], replica] {
        node.call(&["SPUBLISH", "shard", "x"]);
        for listener in [&mut on_master, &mut on_replica] {
            assert_eq!(texts(&listener.receive().expect("a message")), ["smessage", "shard", "x"]);
        }
    }
    let stranger = cluster.nodes.iter().position(|node| node.is_master() && node.id() != owner_id);
    let stranger = &cluster.nodes[stranger.expect("three masters")];
    assert!(format!("{:?}", stranger.call(&["SPUBLISH", "shard", "x"])).starts_with("-MOVED"));
    let slot = protocol::slot_of(b"shard").get().to_string();
    let stranger_id = stranger.id();
    cluster.nodes[owner].ok(&["CLUSTER", "SETSLOT", &slot, "NODE", &stranger_id]);
    stranger.ok(&["CLUSTER", "SETSLOT", &slot, "NODE", &stranger_id]);
    stranger.call(&["CLUSTER", "BUMPEPOCH"]);
    for listener in [&mut on_master, &mut on_replica] {
        assert_eq!(texts(&listener.receive().expect("told")), ["sunsubscribe", "shard", "0"]);
    }
}
