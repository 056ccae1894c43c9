//! What commands do besides replying, beside stock: what INFO counts, the events of keys, how often a key is used.

use balas_tests::process::{self, Server};
use balas_tests::resp::{Client, Value};
use balas_tests::scenario::texts;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn both() -> [Server; 2] {
    let directives = ["--enable-debug-command", "yes"];
    [process::stock(), process::balas()].map(|binary| Server::start(&binary, &directives))
}

/// Words are parted by blanks; a script comes without them.
fn say(client: &mut Client, line: &str) -> Value {
    client.call(&line.split(' ').collect::<Vec<_>>()).expect("the server answers")
}

fn info(client: &mut Client, section: &str) -> Vec<String> {
    let reply = say(client, &format!("INFO {section}"));
    let text = String::from_utf8_lossy(reply.text().expect("a text")).into_owned();
    text.lines().map(str::to_owned).collect()
}

/// What is counted the same whatever the machine, but for the names of commands.
fn counted(client: &mut Client) -> Vec<String> {
    const FIELDS: [&str; 7] = [
        "keyspace_hits:",
        "keyspace_misses:",
        "expired_keys:",
        "total_commands_processed:",
        "total_error_replies:",
        "rdb_changes_since_last_save:",
        "aof_last_bgrewrite_status:",
    ];
    let lines = [info(client, "stats"), info(client, "persistence")].concat();
    let mut counted: Vec<String> =
        lines.into_iter().filter(|line| FIELDS.iter().any(|field| line.starts_with(field))).collect();
    let mut errors = info(client, "errorstats");
    errors.sort();
    counted.extend(errors);
    counted
}

/// Each is told on its own, after CONFIG RESETSTAT.
const COUNTED: &[(&str, &[&str])] = &[
    ("nothing", &[]),
    (
        "reads of commands that write",
        &[
            "GETSET a 1",
            "GETSET a 2",
            "GETDEL a",
            "GETDEL a",
            "GETEX a",
            "SET a 1 GET",
            "GETEX a",
            "COPY a b",
            "COPY c d",
        ],
    ),
    (
        "stores",
        &[
            "SADD s 1 2",
            "SUNIONSTORE d s t",
            "SINTERSTORE d s t",
            "ZUNIONSTORE z 2 s t",
            "ZRANGESTORE y z 0 -1",
            "BITOP AND e f g",
            "PFMERGE p q",
            "SORT s STORE r",
            "SORT s",
            "GEOSEARCHSTORE h i FROMLONLAT 1 1 BYRADIUS 1 m",
        ],
    ),
    (
        "groups",
        &[
            "XADD x 1-1 a b",
            "XGROUP CREATE x g 0",
            "XREADGROUP GROUP g c STREAMS x >",
            "XCLAIM x g c 0 1-1",
            "XAUTOCLAIM x g c 0 0",
            "XACK x g 1-1",
            "XACK w g 1-1",
        ],
    ),
    ("no reads", &["SET a 1", "MOVE a 1", "MOVE a 1", "APPEND a x", "RENAME a b", "EXPIRE b 100", "DEL b"]),
    ("a transaction", &["MULTI", "SET a 1", "GET a", "GET b", "LPUSH a 1", "EXEC"]),
    (
        "a script",
        &["SET a 1", "EVAL redis.call('get','a')redis.call('set','a','1')return(redis.call('get','b')) 0"],
    ),
    ("refusals", &["GET", "FOO", "SET a 1 2 3", "MULTI", "FOO", "EXEC", "EVAL return{err='word'} 0"]),
    ("a long code", &["EVAL return{err=string.rep('X',40)..'y'} 0"]),
    ("RESETSTAT", &["SET a 1", "SET a 2", "CONFIG RESETSTAT", "SET a 3"]),
    ("what has expired is overwritten", &["DEBUG SET-ACTIVE-EXPIRE 0", "SET a 1 PXAT 1", "SET a 1", "GET a"]),
    ("SCRIPT EXISTS", &["SCRIPT LOAD return(1)", "SCRIPT EXISTS 930269F31393D0BE681588B6AB08DCCEE7D6BB67"]),
    (
        "no memory",
        &[
            "CONFIG SET maxmemory 1",
            "MULTI",
            "GET a",
            "EXEC",
            "MULTI",
            "DISCARD",
            "MULTI",
            "EXEC",
            "GET a",
            "SET a 1",
            "CONFIG SET maxmemory 0",
        ],
    ),
    (
        "the slow log",
        &[
            "CONFIG SET slowlog-log-slower-than 0",
            "SLOWLOG RESET",
            "EVAL redis.call('get','a')return(1) 0",
            "CONFIG SET slowlog-log-slower-than 10000",
            "SLOWLOG LEN",
        ],
    ),
];

#[test]
fn counters_are_stocks() {
    let [stock, balas] = both();
    for (name, lines) in COUNTED {
        let [expected, got] = [&stock, &balas].map(|server| {
            let mut client = server.client();
            for line in ["FLUSHALL", "SCRIPT FLUSH", "BGSAVE"] {
                say(&mut client, line);
            }
            while info(&mut client, "persistence").contains(&"rdb_bgsave_in_progress:1".to_owned()) {}
            say(&mut client, "CONFIG RESETSTAT");
            let replies: Vec<String> =
                lines.iter().map(|line| format!("{line}  =>  {:?}", say(&mut client, line))).collect();
            (replies, counted(&mut client))
        });
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn errors_of_the_protocol_are_counted() {
    let [expected, got] = both().map(|server| {
        for bytes in ["*1\r\n$x\r\n", "GET \"a\r\n", "PING\r\n*x\r\n"] {
            let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
            socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
            socket.write_all(bytes.as_bytes()).expect("it reads");
            let mut answer = Vec::new();
            // It may be reset, for what was not read of it.
            let _ = socket.read_to_end(&mut answer);
        }
        counted(&mut server.client())
    });
    assert_eq!(got, expected);
    assert!(got.contains(&"errorstat_ERR:count=3".to_owned()), "{got:?}");
}

/// The events in the order in which they come, from one connection.
fn events(server: &Server, lines: &[&str]) -> Vec<String> {
    let (mut client, mut listener) = (server.client(), server.client());
    for line in ["FLUSHALL", "DEBUG SET-ACTIVE-EXPIRE 0", "CONFIG SET notify-keyspace-events EAnm"] {
        say(&mut client, line);
    }
    listener.call(&["PSUBSCRIBE", "*"]).expect("it listens");
    lines.iter().for_each(|line| drop(say(&mut client, line)));
    say(&mut client, "PUBLISH the-end x");
    let mut events = Vec::new();
    loop {
        let told = texts(&listener.receive().expect("an event"));
        match told[2].as_str() {
            "the-end" => return events,
            _ => events.push(told[2..].join(" ")),
        }
    }
}

#[test]
fn events_come_as_in_stock() {
    let [stock, balas] = both();
    let scenarios: [&[&str]; 4] = [
        &[
            "GETSET a 1",
            "SUNIONSTORE d s t",
            "ZDIFFSTORE z 1 y",
            "BITOP AND e f g",
            "SORT l STORE m",
            "PFMERGE p q",
        ],
        &[
            "SET a 1",
            "MOVE a 1",
            "SELECT 1",
            "COPY a b",
            "COPY a b DB 0",
            "RENAME a c",
            "OBJECT ENCODING x",
            "TYPE x",
        ],
        &["SET a 1 PXAT 1", "SET a 2", "SET b 1 PXAT 1", "SETEX b 100 1", "SET c 1 PXAT 1", "MSET c 1 d 2"],
        &["MULTI", "SET a 1", "GET b", "EXEC", "GETEX b", "GETDEL b", "COPY b c", "EXISTS b", "TTL b"],
    ];
    for lines in scenarios {
        assert_eq!(events(&balas, lines), events(&stock, lines), "{lines:?}");
    }
}

#[test]
fn a_restored_key_is_new() {
    let server = Server::start(&process::balas(), &[]);
    let mut client = server.client();
    say(&mut client, "SET a text");
    let payload = say(&mut client, "DUMP a");
    say(&mut client, "CONFIG SET notify-keyspace-events EAn");
    let mut listener = server.client();
    listener.call(&["PSUBSCRIBE", "*"]).expect("it listens");
    let argv: [&[u8]; 4] = [b"RESTORE", b"b", b"0", payload.text().expect("a payload")];
    client.call(&argv).expect("restored");
    let told = [0; 2].map(|_| texts(&listener.receive().expect("an event"))[2..].join(" "));
    assert_eq!(told, ["__keyevent@0__:new b", "__keyevent@0__:restore b"]);
}

#[test]
fn how_often_a_key_is_used_outlives_its_value() {
    let server = Server::start(&process::balas(), &["--maxmemory-policy", "allkeys-lfu"]);
    let mut client = server.client();
    say(&mut client, "SET a text");
    let payload = say(&mut client, "DUMP a");
    let payload = payload.text().expect("a payload");
    let mut restore = |key: &[u8], option: &[u8]| {
        let argv: [&[u8]; 6] = [b"RESTORE", key, b"0", payload, option, b"200"];
        client.call(&argv).expect("restored")
    };
    restore(b"used", b"FREQ");
    // Asked for by another policy: it is as any new key.
    restore(b"idle", b"IDLETIME");
    for line in ["SET used other", "COPY used copy"] {
        say(&mut client, line);
    }
    let mut freq = |key: &str| say(&mut client, &format!("OBJECT FREQ {key}")).as_i64().expect("a number");
    // Seldom is one added, so high up.
    assert!((200..210).contains(&freq("used")), "{}", freq("used"));
    assert_eq!((freq("idle"), freq("copy")), (5, 5));
}

/// Scripts make names that must differ out of it.
#[test]
fn a_script_sees_microseconds_that_stand_still() {
    let server = Server::start(&process::balas(), &[]);
    let mut client = server.client();
    const SCRIPT: &str =
        "local a,b=redis.call('TIME'),redis.call('TIME')return({a[1]..a[2],b[1]..b[2],a[2]})";
    let mut micros = Vec::new();
    for _ in 0..50 {
        let told = texts(&client.call(&["EVAL", SCRIPT, "0"]).expect("an answer"));
        assert_eq!(told[0], told[1]);
        micros.push(told[2].parse::<u32>().expect("a number"));
    }
    assert!(micros.iter().any(|micros| micros % 1000 != 0), "{micros:?}");
}

/// Fields of MEMORY STATS that are numbers of bytes come as integers, ratios as doubles.
#[test]
fn figures_of_memory_have_stocks_types() {
    let [stock, balas] = both().map(|server| {
        let mut client = server.client();
        say(&mut client, "HELLO 3");
        let stats = say(&mut client, "MEMORY STATS");
        let fields = stats.items().chunks_exact(2);
        let typed = fields.filter_map(|field| match &field[1] {
            Value::Line(kind, _) => Some((format!("{:?}", field[0]), char::from(*kind))),
            _ => None,
        });
        typed.collect::<Vec<_>>()
    });
    assert_eq!(balas, stock);
}
