//! Clients that wait, on stock and on Balas, with one IO thread and with several.

use balas_tests::process::{Server, balas, stock};
use balas_tests::resp::Client;
use balas_tests::scenario::{differences, play, texts};
use balas_tests::stored::everything;
use std::collections::BTreeSet;

/// Name and text of each scenario; how it reads is said in `scenario.rs`.
const SCENARIOS: &[(&str, &str)] = &[
    (
        "first come first served",
        "a> BLPOP k 0\n b> BRPOP k 0\n c> BLPOP k 0\n d: RPUSH k 1 2\n a<\n b<\n d: LLEN k\n d: RPUSH k 3\n c<\n d: EXISTS k",
    ),
    (
        "nobody sees what is popped at once",
        "a> BLPOP k 0\n d! MULTI\n d! RPUSH k 1\n d! LLEN k\n d! EXEC\n d! LLEN k\n d<\n d<\n d<\n d<\n d<\n a<",
    ),
    (
        "pushed and deleted in one transaction",
        "a> BLPOP k 0\n d: MULTI\n d: RPUSH k 1\n d: DEL k\n d: EXEC\n [1]\n d: RPUSH k 2\n a<",
    ),
    (
        "another type is ignored",
        "a> BLPOP k 0\n d: SET k 1\n [1]\n d: DEL k\n d: ZADD k 1 m\n [1]\n d: DEL k\n d: SADD k 1\n d: DEL k\n d: LPUSH k v\n a<",
    ),
    (
        "a list waiter and a sorted set waiter",
        "a> BLPOP k 0\n b> BZPOPMIN k 0\n d: ZADD k 1 m\n b<\n d: LPUSH k v\n a<",
    ),
    (
        "wrong type at once",
        "d: SET k 1\n a: BLPOP k 0\n a: BRPOP x k 0\n a: BLMOVE k x LEFT LEFT 0\n a: BZPOPMAX k 0\n a: BLMPOP 0 1 k LEFT\n a: BZMPOP 0 1 k MIN\n a: BRPOPLPUSH k x 0",
    ),
    (
        "moving wakes the next",
        "a> BLMOVE k1 k2 LEFT RIGHT 0\n b> BRPOPLPUSH k2 k3 0\n c> BLPOP k3 0\n d: RPUSH k1 v\n a<\n b<\n c<\n d: KEYS *",
    ),
    (
        "moving in a circle",
        "a> BLMOVE k k LEFT RIGHT 0\n b> BLMOVE k k LEFT RIGHT 0\n d: RPUSH k 1 2\n a<\n b<\n d: LRANGE k 0 -1",
    ),
    (
        "moving to the wrong type",
        "a> BLMOVE k t LEFT RIGHT 0\n b> BLPOP k 0\n d: SET t 1\n d: RPUSH k v\n a<\n b<",
    ),
    (
        "several at once",
        "a> BLMPOP 0 2 x k LEFT COUNT 2\n b> BLMPOP 0 1 k RIGHT COUNT 10\n d: RPUSH k 1 2 3 4\n a<\n b<\n d: EXISTS k",
    ),
    (
        "sorted sets",
        "a> BZPOPMIN z 0\n b> BZPOPMAX z 0\n c> BZMPOP 0 2 y z MIN COUNT 2\n d: ZADD z 1 a 2 b 3 c 4 d 5 e\n a<\n b<\n c<\n d: ZRANGE z 0 -1",
    ),
    (
        "time is up",
        "a> BLPOP k 0.02\n a<\n a> BLMOVE k l LEFT LEFT 0.02\n a<\n a> BRPOPLPUSH k l 0.02\n a<\n a> BZPOPMIN k 0.02\n a<\n a> BLMPOP 0.02 1 k LEFT\n a<\n a> BZMPOP 0.02 1 k MAX\n a<\n a> XREAD BLOCK 20 STREAMS k $\n a<\n d: RPUSH k v\n d: LLEN k",
    ),
    (
        "bad timeouts",
        "a: BLPOP k -1\n a: BLPOP k x\n a: BZPOPMIN k -0.5\n a: BLMPOP -1 1 k LEFT\n a: BLMPOP 0 0 k LEFT\n a: BLMPOP x 1 k UP\n a: BZMPOP 0 1 k MIN COUNT 0\n a: BLMOVE k l UP LEFT x\n a: BLPOP k 0x\n a: XREAD BLOCK -1 STREAMS k $",
    ),
    (
        "inside a transaction",
        "a: MULTI\n a: BLPOP k 0\n a: BLMOVE k l LEFT LEFT 0\n a: BRPOPLPUSH k l 0\n a: BZPOPMIN k 0\n a: BLMPOP 0 1 k LEFT\n a: BZMPOP 0 1 k MIN\n a: XREAD BLOCK 0 STREAMS k $\n a: RPUSH k 1\n a: BLPOP k 0\n a: EXEC",
    ),
    (
        "what was sent meanwhile",
        "a> BLPOP k 0\n a! PING\n a! BLPOP k 0\n a! PING\n d: RPUSH k 1\n a<\n a<\n [1]\n d: RPUSH k 2\n a<\n a<",
    ),
    (
        "renamed, copied, restored, sorted",
        "a> BLPOP k 0\n b> BLPOP k 0\n c> BLPOP k 0\n d: RPUSH x 1\n d: RENAME x k\n a<\n d: RPUSH x 2\n d: COPY x k\n b<\n d: SORT x STORE k\n c<\n d: EXISTS k",
    ),
    (
        "moved between databases",
        "a: SELECT 1\n a> BLPOP k 0\n b> BLPOP k 0\n d: RPUSH k 1\n b<\n d: RPUSH k 2\n d: MOVE k 1\n a<\n d: SELECT 1\n d: EXISTS k",
    ),
    (
        "swapped databases",
        "a> BLPOP k 0\n b> BZPOPMIN z 0\n d: SELECT 1\n d: RPUSH k 1 2\n d: ZADD z 1 m\n [2]\n d: SWAPDB 0 1\n a<\n b<\n d: SELECT 0\n d: LRANGE k 0 -1",
    ),
    (
        "ended by others",
        "a> BLPOP k 0\n b> BZPOPMIN k 0\n c> XREAD BLOCK 0 STREAMS k $\n d: CLIENT UNBLOCK ID(a)\n a<\n d: CLIENT UNBLOCK ID(b) ERROR\n b<\n d: CLIENT UNBLOCK ID(c) TIMEOUT\n c<\n d: CLIENT UNBLOCK ID(c)\n d: CLIENT UNBLOCK ID(a) NOW\n d: RPUSH k v\n d: LLEN k\n a: PING",
    ),
    ("killed", "a> BLPOP k 0\n b> BLPOP k 0\n d: CLIENT KILL ID ID(a)\n [1]\n d: RPUSH k v\n b<\n a<"),
    (
        "a key that has expired",
        "a> BLPOP k 0\n d: MULTI\n d: RPUSH k 1\n d: PEXPIRE k 0\n d: EXEC\n [1]\n d: RPUSH k 2\n a<",
    ),
    ("the same key twice", "a> BLPOP k k 0\n d: RPUSH k 1 2\n a<\n d: LRANGE k 0 -1"),
    (
        "streams",
        "a> XREAD BLOCK 0 STREAMS s t $ $\n b> XREAD BLOCK 0 COUNT 1 STREAMS s 0-0\n d: XADD s 1-1 f v\n a<\n b<\n c> XREAD BLOCK 0 STREAMS s 5-0\n d: XADD s 2-1 f v\n [1]\n d: XADD s 6-1 f v\n c<",
    ),
    (
        "groups",
        "d: XGROUP CREATE s g $ MKSTREAM\n a> XREADGROUP GROUP g c1 BLOCK 0 STREAMS s >\n b> XREADGROUP GROUP g c2 BLOCK 0 STREAMS s >\n d: XADD s 1-1 f v\n a<\n d: XADD s 2-1 f v\n b<\n d: XPENDING s g",
    ),
    (
        "no overtaking with what is there",
        "a> BLMOVE k l LEFT LEFT 0\n b> BLPOP k 0\n c> BLPOP l 0\n d: RPUSH k 1 2\n a<\n b<\n c<\n b: BLPOP x k 0.01",
    ),
    (
        "the node becomes a replica",
        "a> BLPOP k 0\n b> XREAD BLOCK 0 STREAMS s $\n d: REPLICAOF 127.0.0.1 1\n a<\n a<\n b<\n b<\n [0]\n d: REPLICAOF NO ONE",
    ),
    (
        "the dataset is read back",
        "d: XGROUP CREATE s g $ MKSTREAM\n d: SET k v\n a> XREADGROUP GROUP g c BLOCK 0 STREAMS s >\n b> BLPOP k2 0\n d: DEBUG RELOAD\n d: XADD s 1-1 f v\n a<\n d: RPUSH k2 1\n b<\n d: GET k",
    ),
    (
        "pushed by a served command and by more",
        "a> BLMOVE k l LEFT LEFT 0\n b> BLMPOP 0 1 l LEFT COUNT 9\n d: MULTI\n d: RPUSH l 1 2\n d: RPUSH k 3\n d: EXEC\n b<\n a<\n d: LRANGE l 0 -1",
    ),
];

/// What 7.2 does otherwise than 7.0, which these tests run beside: name, scenario, and its last reply.
const SINCE_7_2: &[(&str, &str, &str)] = &[
    (
        "a served command is run as a whole: its first key wins",
        "a> BLPOP x y z 0\n d: MULTI\n d: RPUSH z 1\n d: RPUSH y 2\n d: EXEC\n a<",
        r#"*[$"y", $"2"]"#,
    ),
    (
        "a group that goes",
        "d: XGROUP CREATE s g $ MKSTREAM\n a> XREADGROUP GROUP g c1 BLOCK 0 STREAMS s >\n d: XGROUP DESTROY s g\n a<",
        NO_GROUP,
    ),
    (
        "a stream that is deleted",
        "d: XGROUP CREATE s g $ MKSTREAM\n a> XREADGROUP GROUP g c1 BLOCK 0 STREAMS s >\n d: DEL s\n a<",
        NO_GROUP,
    ),
    (
        "a stream that is flushed",
        "d: XGROUP CREATE s g $ MKSTREAM\n a> XREADGROUP GROUP g c1 BLOCK 0 STREAMS s >\n d: FLUSHALL\n a<",
        NO_GROUP,
    ),
    (
        "a stream that expires",
        "d: XGROUP CREATE s g $ MKSTREAM\n a> XREADGROUP GROUP g c1 BLOCK 0 STREAMS s >\n d: PEXPIRE s 5\n a<",
        NO_GROUP,
    ),
    (
        "a stream that becomes something else",
        "d: XGROUP CREATE s g $ MKSTREAM\n a> XREADGROUP GROUP g c1 BLOCK 0 STREAMS s >\n d: SET s 1\n a<",
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
    ),
    ("beyond all time", "a: BLPOP k inf\n a: BLPOP k 1e300", "-ERR timeout is out of range"),
];

const NO_GROUP: &str = r"-NOGROUP No such key \'s\' or consumer group \'g\' in XREADGROUP with GROUP option";

fn compare(threads: &str, resp: u8) {
    let debug = ["--enable-debug-command", "yes"];
    let on_stock = Server::start(&stock(), &debug);
    let logged = ["--appendonly", "yes", "--appendfsync", "no", "--io-threads", threads];
    let logged = [&debug[..], &logged].concat();
    let mut on_balas = Server::start(&balas(), &logged);
    let differences = differences(&on_stock, &on_balas, SCENARIOS, resp);
    assert!(differences.is_empty(), "{threads} threads, RESP{resp}\n{}", differences.join("\n\n"));
    // What was logged makes what is there: each pop is behind its push.
    let mut client = on_balas.client();
    client.call(&["RPUSH", "kept", "1"]).expect("the server answers");
    let before = everything(&mut client).expect("the server answers");
    on_balas.restart();
    assert_eq!(everything(&mut on_balas.client()).expect("the server answers"), before);
}

#[test]
fn what_7_2_does_otherwise() {
    let server = Server::start(&balas(), &["--io-threads", "4"]);
    for (name, scenario, expected) in SINCE_7_2 {
        let got = play(&server, scenario, 2);
        let (_, reply) = got.last().and_then(|line| line.split_once("  =>  ")).expect("a reply");
        assert_eq!(reply, *expected, "{name}: {got:#?}");
    }
}

#[test]
fn one_thread_serves_as_stock_does() {
    compare("1", 2);
    compare("1", 3);
}

#[test]
fn four_threads_serve_as_stock_does() {
    compare("4", 2);
    compare("4", 3);
}

fn call(client: &mut Client, words: &[&str]) -> balas_tests::resp::Value {
    client.call(words).expect("the server answers")
}

/// Rounds of producers and consumers on keys of many slots, each consumer waiting for several.
#[test]
fn nothing_is_lost_or_popped_twice() {
    const KEYS: usize = 12;
    const CONSUMERS: usize = 8;
    const PRODUCERS: usize = 4;
    const EACH: usize = 3000;
    let server =
        Server::start(&balas(), &["--appendonly", "yes", "--appendfsync", "no", "--io-threads", "4"]);
    let popped: Vec<String> = std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|n| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.client();
                    let mut got = Vec::new();
                    let mut rng = fastrand::Rng::with_seed(n as u64);
                    loop {
                        let keys: Vec<String> = (0..3).map(|_| format!("k{}", rng.usize(..KEYS))).collect();
                        let words = ["BLPOP", &keys[0], &keys[1], &keys[2], "end", "0"];
                        let [key, element] = &texts(&call(&mut client, &words))[..] else { panic!("a pair") };
                        if key == "end" {
                            return got;
                        }
                        got.push(element.clone());
                    }
                })
            })
            .collect();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|n| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.client();
                    let mut rng = fastrand::Rng::with_seed(1000 + n as u64);
                    for i in 0..EACH {
                        let (key, other) =
                            (format!("k{}", rng.usize(..KEYS)), format!("k{}", rng.usize(..KEYS)));
                        call(&mut client, &["MULTI"]);
                        call(&mut client, &["RPUSH", &key, &format!("{n}-{i}-a")]);
                        call(&mut client, &["LPUSH", &other, &format!("{n}-{i}-b")]);
                        call(&mut client, &["EXEC"]);
                    }
                })
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().expect("it pushes"));
        let mut client = server.client();
        (0..CONSUMERS).for_each(|n| drop(call(&mut client, &["RPUSH", "end", &n.to_string()])));
        consumers.into_iter().flat_map(|consumer| consumer.join().expect("it pops")).collect()
    });
    let mut client = server.client();
    let mut all: Vec<String> = popped;
    for key in 0..KEYS {
        all.extend(texts(&call(&mut client, &["LRANGE", &format!("k{key}"), "0", "-1"])));
    }
    assert_eq!(all.len(), 2 * PRODUCERS * EACH);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "popped twice");
    let info = call(&mut client, &["INFO", "clients"]);
    let info = String::from_utf8_lossy(info.text().expect("a text")).into_owned();
    assert!(info.contains("blocked_clients:0\r\n") && info.contains("total_blocking_keys:0\r\n"), "{info}");
}

/// Clients of four threads wait in turn; what is pushed in one pipeline reaches them in that order.
#[test]
fn the_queue_holds_across_threads() {
    const WAITING: usize = 40;
    let server = Server::start(&balas(), &["--io-threads", "4"]);
    let mut observer = server.client();
    let mut clients: Vec<Client> = (0..WAITING).map(|_| server.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&["BLPOP", "other{1}", "queue", "0"]).expect("sent");
        let waits = format!("blocked_clients:{}\r\n", n + 1);
        while !String::from_utf8_lossy(call(&mut observer, &["INFO", "clients"]).text().expect("a text"))
            .contains(&waits)
        {
            std::thread::yield_now();
        }
    }
    (0..WAITING).for_each(|n| observer.send(&["RPUSH", "queue", &n.to_string()]).expect("sent"));
    (0..WAITING).for_each(|_| drop(observer.receive().expect("pushed")));
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(texts(&client.receive().expect("served")), ["queue".to_owned(), n.to_string()]);
    }
}

/// DEBUG RELOAD and LOADAOF with several IO threads: the dataset is the same afterwards, without what has expired.
#[test]
fn the_dataset_is_read_back_while_the_server_runs() {
    let directives = ["--appendonly", "yes", "--io-threads", "4", "--enable-debug-command", "yes"];
    let server = Server::start(&balas(), &directives);
    let mut client = server.client();
    for step in (0..500).map(|_| ()).scan(balas_tests::generate::Generator::new(7), |g, ()| Some(g.step())) {
        client.call(&step.argv).expect("the server answers");
    }
    call(&mut client, &["SELECT", "0"]);
    call(&mut client, &["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    let before = everything(&mut client).expect("the server answers");
    assert!(!before.is_empty(), "nothing to compare");
    let commands: [&[&str]; 4] =
        [&["RELOAD"], &["LOADAOF"], &["RELOAD", "NOSAVE"], &["RELOAD", "NOFLUSH", "MERGE"]];
    for words in commands {
        let size = call(&mut client, &["DBSIZE"]).as_i64().expect("a number");
        call(&mut client, &["SET", "gone", "1", "PX", "1"]);
        std::thread::sleep(std::time::Duration::from_millis(3));
        let reply = call(&mut client, &[&["DEBUG"], words].concat());
        assert_eq!(format!("{reply:?}"), "+OK", "{words:?}");
        assert!(call(&mut client, &["DBSIZE"]).as_i64() <= Some(size + 1), "{words:?}");
        assert_eq!(format!("{:?}", call(&mut client, &["EXISTS", "gone"])), ":0");
        assert_eq!(everything(&mut client).expect("the server answers"), before, "{words:?}");
    }
}
