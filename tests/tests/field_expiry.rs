//! Fields of hashes that expire. Stock 7.0 has none, so the documentation of Redis 7.4 is the oracle.

use balas_tests::cluster::{Kind, Node, SOON, wait_until};
use balas_tests::resp::{Client, Value};

const YEAR_2100_MS: &str = "4102444800000";

fn start(directives: &[&str]) -> Node {
    Node::start(Kind::Balas, &[directives, &["enable-debug-command yes"]].concat())
}

fn call(client: &mut Client, line: &str) -> Value {
    client.call(&line.split(' ').collect::<Vec<_>>()).expect("an answer")
}

/// Sends a line and compares the reply as it is shown.
fn expect(client: &mut Client, line: &str, reply: &str) {
    assert_eq!(format!("{:?}", call(client, line)), reply, "{line}");
}

fn numbers(client: &mut Client, line: &str) -> Vec<i64> {
    let reply = call(client, line);
    reply.items().iter().map(|item| item.as_i64().unwrap_or_else(|| panic!("{line}: {reply:?}"))).collect()
}

#[test]
fn who_caches_a_hash_hears_of_fields_that_expire() {
    let node = start(&[]);
    let (writer, reader) = (&mut node.client(), &mut node.client());
    call(reader, "HELLO 3");
    expect(reader, "CLIENT TRACKING ON", "+OK");
    call(writer, "HSET h a 1 b 2");
    assert_eq!(numbers(writer, "HPEXPIRE h 200 FIELDS 1 a"), [1]);
    expect(reader, "HGET h b", "$\"2\"");
    // Nobody looks at the hash any more: the cycle finds the field.
    let told = reader.receive().expect("a push");
    assert_eq!(format!("{told:?}"), ">[$\"invalidate\", *[$\"h\"]]");
    assert_eq!(call(writer, "HLEN h").as_i64(), Some(1));
}

#[test]
fn replies_are_those_of_the_documentation() {
    let node = start(&[]);
    let c = &mut node.client();
    call(c, "HSET h a 1 b 2 c 3");
    assert_eq!(numbers(c, "HEXPIRE none 10 FIELDS 2 a b"), [-2, -2]);
    assert_eq!(numbers(c, "HEXPIRE h 1000 FIELDS 2 a none"), [1, -2]);
    expect(c, "OBJECT ENCODING h", "$\"listpackex\"");
    assert_eq!(numbers(c, "HTTL h FIELDS 3 a b none"), [1000, -1, -2]);
    let left = numbers(c, "HPTTL h FIELDS 1 a")[0];
    assert!((990_000..=1_000_000).contains(&left), "{left}");
    assert_eq!(numbers(c, &format!("HPEXPIREAT h {YEAR_2100_MS} FIELDS 1 b")), [1]);
    assert_eq!(numbers(c, "HEXPIRETIME h FIELDS 3 b c none"), [4_102_444_800, -1, -2]);
    assert_eq!(numbers(c, "HPEXPIRETIME h FIELDS 1 b"), [4_102_444_800_000]);
    // Conditions: a field without a time has an infinite one.
    assert_eq!(numbers(c, "HEXPIREAT h 4102444801 NX FIELDS 2 b c"), [0, 1]);
    assert_eq!(numbers(c, "HPERSIST h FIELDS 3 c c none"), [1, -1, -2]);
    assert_eq!(numbers(c, "HEXPIREAT h 4102444801 XX FIELDS 2 b c"), [1, 0]);
    assert_eq!(numbers(c, "HEXPIREAT h 4102444801 GT FIELDS 2 b c"), [0, 0]);
    assert_eq!(numbers(c, "HEXPIREAT h 4102444802 gt FIELDS 1 b"), [1]);
    assert_eq!(numbers(c, "HEXPIREAT h 4102444802 LT FIELDS 2 b c"), [0, 1]);
    // Overwriting a field takes its time away, changing it does not.
    call(c, "HSET h a 5");
    assert_eq!(numbers(c, "HTTL h FIELDS 1 a"), [-1]);
    call(c, "HSET h n 5");
    call(c, "HEXPIRE h 1000 FIELDS 1 n");
    expect(c, "HINCRBY h n 1", ":6");
    expect(c, "HINCRBYFLOAT h n 0.5", "$\"6.5\"");
    assert_eq!(numbers(c, "HTTL h FIELDS 1 n"), [1000]);
    // A time that has passed removes the field, and the last field the hash.
    assert_eq!(numbers(c, "HEXPIRE h 0 FIELDS 1 n"), [2]);
    expect(c, "HEXISTS h n", ":0");
    assert_eq!(numbers(c, "HPEXPIREAT h 1 FIELDS 3 a b c"), [2, 2, 2]);
    expect(c, "EXISTS h", ":0");
    call(c, "HSET h a 1 b 2");
    expect(c, "HSCAN h 0 NOVALUES", "*[$\"0\", *[$\"a\", $\"b\"]]");
}

#[test]
fn errors_are_those_of_redis_7_4() {
    let node = start(&[]);
    let c = &mut node.client();
    call(c, "SET s 1");
    call(c, "HSET h a 1");
    for (line, error) in [
        ("HEXPIRE s 1 FIELDS 1 a", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HTTL s FIELDS 1 a", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HEXPIRE h x FIELDS 1 a", "ERR value is not an integer or out of range"),
        ("HEXPIRE h -1 FIELDS 1 a", "ERR invalid expire time, must be >= 0"),
        ("HEXPIRE h 9223372036854775807 FIELDS 1 a", "ERR invalid expire time in 'hexpire' command"),
        ("HPEXPIREAT h 70368744177664 FIELDS 1 a", "ERR invalid expire time in 'hpexpireat' command"),
        ("HEXPIRE h 1 NX 1 a b", "ERR Mandatory argument FIELDS is missing or not at the right position"),
        ("HEXPIRE h 1 FIELDS 0 a", "ERR Parameter `numFields` should be greater than 0"),
        ("HEXPIRE h 1 FIELDS x a", "ERR Parameter `numFields` should be greater than 0"),
        ("HEXPIRE h 1 FIELDS 2 a", "ERR The `numfields` parameter must match the number of arguments"),
        ("HPERSIST h FIELDS 1 a b", "ERR The `numfields` parameter must match the number of arguments"),
        ("HEXPIRE h 1 FIELDS", "ERR wrong number of arguments for 'hexpire' command"),
    ] {
        expect(c, line, &format!("-{}", error.escape_default()));
    }
    assert_eq!(numbers(c, "HTTL h FIELDS 1 a"), [-1], "nothing has changed");
}

/// Large ones are tables with times.
fn large_hash(client: &mut Client) {
    let fields: Vec<String> = (0..600).map(|n| format!("f{n} {n}")).collect();
    call(client, &format!("HSET large {}", fields.join(" ")));
    call(client, &format!("HPEXPIREAT large {YEAR_2100_MS} FIELDS 2 f1 f2"));
}

#[test]
fn fields_go_by_themselves_and_by_being_looked_at() {
    let node = start(&[]);
    let c = &mut node.client();
    large_hash(c);
    expect(c, "OBJECT ENCODING large", "$\"hashtable\"");
    // Nobody but who looks.
    call(c, "DEBUG SET-ACTIVE-EXPIRE 0");
    call(c, "HSET h a 1 b 2");
    call(c, "HPEXPIRE h 1 FIELDS 1 a");
    call(c, "HPEXPIRE large 1 FIELDS 2 f3 f4");
    wait_until("its time has come", SOON, || call(&mut node.client(), "HGET h a").text().is_none());
    expect(c, "HGETALL h", "*[$\"b\", $\"2\"]");
    expect(c, "HLEN large", ":598");
    expect(c, "HMGET large f2 f3 f5", "*[$\"2\", $-1, $\"5\"]");
    call(c, "HPEXPIRE h 1 FIELDS 1 b");
    wait_until("the hash goes with its last field", SOON, || {
        call(&mut node.client(), "EXISTS h").as_i64() == Some(0)
    });
    // Nobody but the cycle.
    call(c, "HSET h a 1");
    call(c, "HPEXPIRE h 1 FIELDS 1 a");
    call(c, "DEBUG SET-ACTIVE-EXPIRE 1");
    wait_until("the cycle has been there", SOON, || call(&mut node.client(), "DBSIZE").as_i64() == Some(1));
    assert!(node.field("keyspace", "db0").contains("subexpiry=1"), "{}", node.field("keyspace", "db0"));
}

/// What is compared before and after.
fn state(client: &mut Client) -> Vec<String> {
    [
        "HLEN large",
        "HGETALL small",
        "HPEXPIRETIME large FIELDS 3 f1 f2 f3",
        "HPEXPIRETIME small FIELDS 2 a b",
        "DEBUG DIGEST",
    ]
    .iter()
    .map(|line| format!("{:?}", call(client, line)))
    .collect()
}

fn fill(client: &mut Client) -> Vec<String> {
    large_hash(client);
    call(client, "HSET small a 1 b 2");
    call(client, &format!("HPEXPIREAT small {YEAR_2100_MS} FIELDS 1 a"));
    state(client)
}

#[test]
fn files_keep_times() {
    let mut node = start(&[]);
    let before = fill(&mut node.client());
    node.ok(&["SAVE"]);
    let file = std::fs::read(node.folder.join("dump.rdb")).expect("saved");
    assert!(file.starts_with(b"REDIS0012"));
    node.kill();
    node.restart();
    assert_eq!(state(&mut node.client()), before);
    let c = &mut node.client();
    call(c, "DEL small large");
    call(c, "SET s 1");
    node.ok(&["SAVE"]);
    let file = std::fs::read(node.folder.join("dump.rdb")).expect("saved");
    assert!(file.starts_with(b"REDIS0011"), "only where it has to be");
}

#[test]
fn the_log_keeps_times() {
    let mut node = start(&["appendonly yes", "appendfsync always"]);
    let c = &mut node.client();
    fill(c);
    call(c, "HSET counted n 1 gone 2");
    call(c, &format!("HPEXPIREAT counted {YEAR_2100_MS} FIELDS 1 n"));
    call(c, "HINCRBYFLOAT counted n 0.5");
    call(c, "HEXPIRE counted 0 FIELDS 1 gone");
    call(c, "HEXPIRE small 5000 FIELDS 1 b");
    let before = state(c);
    node.kill();
    node.restart();
    let c = &mut node.client();
    assert_eq!(state(c), before);
    expect(c, "HGETALL counted", "*[$\"n\", $\"1.5\"]");
    assert_eq!(numbers(c, "HPEXPIRETIME counted FIELDS 1 n"), [4_102_444_800_000]);
    // And once more from a base.
    assert_eq!(node.ask(&["BGREWRITEAOF"]), "Background append only file rewriting started");
    wait_until("it is rewritten", SOON, || node.field("persistence", "aof_rewrite_in_progress") == "0");
    node.kill();
    node.restart();
    assert_eq!(state(&mut node.client()), before);
}

#[test]
fn copies_renames_and_dumps_keep_times() {
    let node = start(&[]);
    let c = &mut node.client();
    fill(c);
    call(c, "COPY small copied");
    call(c, "RENAME small renamed");
    let dump = call(c, "DUMP renamed");
    let payload = dump.text().expect("a payload").to_vec();
    assert_eq!(payload[payload.len() - 10..][..2], [12, 0], "the version that carries times");
    let restored = c.call(&[b"RESTORE", &b"restored"[..], b"0", &payload]).expect("an answer");
    assert_eq!(restored.text(), Some(&b"OK"[..]));
    call(c, "MOVE copied 1");
    for key in ["renamed", "restored"] {
        assert_eq!(numbers(c, &format!("HPEXPIRETIME {key} FIELDS 2 a b")), [4_102_444_800_000, -1]);
    }
    call(c, "SWAPDB 0 1");
    assert_eq!(numbers(c, "HPEXPIRETIME copied FIELDS 1 a"), [4_102_444_800_000]);
    // The place where keys with times are kept has moved along.
    call(c, "HPEXPIRE copied 1 FIELDS 1 a");
    wait_until("it expires there", SOON, || call(&mut node.client(), "HLEN copied").as_i64() == Some(1));
}

#[test]
fn a_replica_waits_for_its_master_and_hides_what_is_overdue() {
    let (master, replica) = (start(&[]), start(&[]));
    let c = &mut master.client();
    fill(c);
    replica.ok(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    let r = &mut replica.client();
    wait_until("the replica has everything", SOON, || {
        let (mut c, mut r) = (master.client(), replica.client());
        format!("{:?}", call(&mut r, "HGETALL small")) == format!("{:?}", call(&mut c, "HGETALL small"))
            && state(&mut r) == state(&mut c)
    });
    call(c, "DEBUG SET-ACTIVE-EXPIRE 0");
    call(c, "HSET small c 3");
    call(c, "HPEXPIRE small 100 FIELDS 1 c");
    // Until it has come it is not there either.
    expect(c, "WAIT 1 10000", ":1");
    wait_until("it is hidden there", SOON, || {
        let r = &mut replica.client();
        numbers(r, "HTTL small FIELDS 3 a b c")[2] == -2
    });
    expect(r, "HLEN small", ":2");
    expect(r, "HGET small c", "$-1");
    // The master removes it, and says so.
    expect(c, "HLEN small", ":2");
    wait_until("the replica has heard", SOON, || {
        format!("{:?}", call(&mut replica.client(), "DEBUG DIGEST"))
            == format!("{:?}", call(&mut master.client(), "DEBUG DIGEST"))
    });
}
