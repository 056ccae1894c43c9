//! Configuration as it is found and as it is changed: Debian's redis.conf, every directive of 7.2, values beside
//! stock's, and what CONFIG REWRITE leaves behind.

use balas_tests::cluster::{SOON, free_port, wait_until};
use balas_tests::process::{Server, balas, stock};
use balas_tests::resp::{Client, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian's package puts it; `None`, and a line that says so, where it is not or may not be read.
fn debians_file() -> Option<&'static Path> {
    let path = Path::new("/etc/redis/redis.conf");
    let readable = fs::File::open(path).is_ok();
    if !readable {
        eprintln!("left out: there is no {} to read", path.display());
    }
    readable.then_some(path)
}

/// Directives of Redis 7.2 that CONFIG GET shows: a name a line, its other name behind it.
const DIRECTIVES: &str = include_str!("../facts/directives-7.2.txt");

fn ask(client: &mut Client, argv: &[&str]) -> Value {
    client.call(argv).unwrap_or_else(|error| panic!("{argv:?}: {error}"))
}

fn text(value: &Value) -> String {
    let (Value::Line(_, text) | Value::Blob(_, text)) = value else { panic!("{value:?} is no text") };
    String::from_utf8_lossy(text).into_owned()
}

type Parameters = BTreeMap<String, String>;

fn parameters(client: &mut Client) -> Parameters {
    let reply = ask(client, &["CONFIG", "GET", "*"]);
    reply.items().chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

fn value_of(client: &mut Client, name: &str) -> String {
    text(&ask(client, &["CONFIG", "GET", name]).items()[1])
}

/// What differs between two servers in any case.
const OF_THE_PROCESS: [&str; 4] = ["port", "dir", "pidfile", "logfile"];

#[test]
fn debians_file_means_what_it_means_to_stock() {
    let Some(file) = debians_file() else { return };
    // The folders Debian names are not ours.
    let overrides = ["--daemonize", "no", "--logfile", "", "--pidfile", ""];
    let ours = Server::start_with(&balas(), Some(file), &overrides);
    let theirs = Server::start_with(&stock(), Some(file), &overrides);
    let (own, their) = (parameters(&mut ours.client()), parameters(&mut theirs.client()));
    for (name, value) in their.iter().filter(|(name, _)| !OF_THE_PROCESS.contains(&name.as_str())) {
        // A hidden one in 7.2.
        if name != "aof-disable-auto-gc" {
            assert_eq!(own.get(name), Some(value), "{name}");
        }
    }
    assert!(!ours.log().contains("Bad directive"), "{}", ours.log());
}

/// A folder of the test's own, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("balas-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn debians_file_makes_a_daemon() {
    let Some(file) = debians_file() else { return };
    let (folder, port) = (Folder::new("daemon"), free_port());
    let path = |name: &str| folder.0.join(name).display().to_string();
    let status = Command::new(balas())
        .arg(file)
        .args(["--port", &port.to_string(), "--dir", &folder.0.display().to_string()])
        .args(["--logfile", &path("log"), "--pidfile", &path("pid")])
        .stdin(Stdio::null())
        .status()
        .expect("it runs");
    assert!(status.success(), "{status}");
    let answers = || Client::connect(port).is_ok_and(|mut client| client.call(&["PING"]).is_ok());
    wait_until("the daemon answers", SOON, answers);
    let mut client = Client::connect(port).expect("it answers");
    let info = text(&ask(&mut client, &["INFO", "server"]));
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("a field").to_owned();
    wait_until("the file of its number is there", SOON, || {
        fs::read_to_string(path("pid")).is_ok_and(|text| text.trim() == pid)
    });
    assert_eq!(value_of(&mut client, "daemonize"), "yes");
    assert_eq!(text(&ask(&mut client, &["SET", "key", "value"])), "OK");
    // Saved as the file says, and gone with its files.
    let _ = client.call(&["SHUTDOWN", "SAVE"]);
    wait_until("it ends", SOON, || {
        TcpStream::connect(("127.0.0.1", port)).is_err() && !Path::new(&path("pid")).exists()
    });
    let log = fs::read_to_string(path("log")).expect("a log");
    assert!(log.contains("Ready to accept connections") && log.contains("bye bye"), "{log}");
    assert!(Path::new(&path("dump.rdb")).exists());
}

#[test]
fn every_directive_of_redis_7_2_is_shown() {
    let server = Server::start(&balas(), &[]);
    let shown: BTreeSet<String> = parameters(&mut server.client()).into_keys().collect();
    let known: BTreeSet<String> = DIRECTIVES.split_whitespace().map(str::to_owned).collect();
    assert!(known.len() > 190, "{}", known.len());
    assert_eq!(known.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new(), "missing");
    assert_eq!(shown.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "nobody else's");
    let mut client = server.client();
    for line in DIRECTIVES.lines() {
        if let Some((name, other)) = line.split_once(' ') {
            assert_eq!(value_of(&mut client, name), value_of(&mut client, other), "{line}");
        }
    }
}

/// Values to try: of every kind, in and out of range.
const VALUES: &[&str] = &[
    "yes",
    "no",
    "YES",
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "100",
    "101",
    "500",
    "501",
    "65535",
    "65536",
    "1000000",
    "2147483647",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "1k",
    "1kb",
    "3MB",
    "1g",
    "1.5",
    "50%",
    "-50%",
    "101%",
    "",
    "x",
    "a b",
    "always",
    "everysec",
    "volatile-lru",
    "debug",
    "warning",
    "local",
    "clients",
    "hostname",
    "ip",
    "panic",
    "nosave",
    "save force",
    "900 1 300 10",
    "900",
    "10 50.5 99.9",
    "50 101",
    "0 10 20",
    "-2000 0 10",
    "KEA",
    "Kl$",
    "normal 1mb 512kb 10",
    "slave 1mb 2mb 3",
    "replica 1 1 1 pubsub 1 1 1",
    "normal 1 1",
];

/// Directives that are not tried: they cut the connection that tries, change the process or the disk. With a large
/// `maxclients`, stock looks for the limit of open files in small steps.
const NOT_TRIED: &[&str] =
    &["port", "bind", "dir", "appendonly", "maxclients", "oom-score-adj", "oom-score-adj-values"];

/// What is known to differ.
fn differs(name: &str, value: &str, stocks_reply: &str) -> bool {
    // There is nothing that could fail here.
    let refused_by_parts_of_stock = stocks_reply.contains("Unable to update TLS configuration")
        || stocks_reply.contains("requires a Redis server compiled with a modified Jemalloc");
    // 7.2 has one level more, and names it in the error.
    let more_levels = name == "loglevel" && stocks_reply.contains("must be one of the following");
    // Nobody has so much memory: what does not fit in 63 bits is refused.
    let too_large = value == "9223372036854775808";
    refused_by_parts_of_stock || more_levels || too_large
}

/// A parameter's value set, and what it is then.
fn set(client: &mut Client, name: &str, value: &str) -> (String, String) {
    let reply = text(&ask(client, &["CONFIG", "SET", name, value]));
    (reply, value_of(client, name))
}

#[test]
fn values_are_taken_or_refused_as_stock_does() {
    let (ours, theirs) = (Server::start(&balas(), &[]), Server::start(&stock(), &[]));
    let (mut own, mut their) = (ours.client(), theirs.client());
    let mut differences = Vec::new();
    let mut tried = 0;
    let of_both = |name: &str| DIRECTIVES.split_whitespace().any(|known| known == name);
    for (name, before) in parameters(&mut their) {
        if NOT_TRIED.contains(&name.as_str()) || !of_both(&name) {
            continue;
        }
        for value in VALUES {
            let (one, other) = (set(&mut own, &name, value), set(&mut their, &name, value));
            if one != other && !differs(&name, value, &other.0) {
                differences.push(format!("CONFIG SET {name} {value:?}: {other:?} in stock, {one:?} here"));
            }
            if one.1 != other.1 {
                set(&mut own, &name, &before);
                set(&mut their, &name, &before);
            }
            tried += 1;
        }
        set(&mut own, &name, &before);
        set(&mut their, &name, &before);
    }
    assert!(tried > 5000, "{tried}");
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// What the test of CONFIG REWRITE sets. Each is of Redis 7.0 too, and none is a default.
const REWRITTEN: &[(&str, &str)] = &[
    ("maxmemory", "100mb"),
    ("maxmemory-policy", "allkeys-lfu"),
    ("timeout", "300"),
    ("save", "900 1 300 10"),
    ("appendfsync", "no"),
    ("requirepass", "a \"secret\" with\ttabs # and 'quotes'"),
    ("masterauth", ""),
    ("client-output-buffer-limit", "normal 1mb 512kb 10 pubsub 0 0 0"),
    ("notify-keyspace-events", "KEA"),
    ("latency-tracking-info-percentiles", "10 50.5 99.99"),
    ("shutdown-on-sigterm", "nosave force"),
    ("slowlog-log-slower-than", "-1"),
    ("hash-max-listpack-entries", "1000"),
    ("replica-announce-ip", "10.0.0.1"),
    ("list-max-listpack-size", "-4"),
    ("oom-score-adj-values", "0 100 200"),
    ("proc-title-template", "{title} of mine"),
];

/// What may differ after a restart: options of the command line come last.
fn without_process(mut parameters: Parameters) -> Parameters {
    parameters.retain(|name, _| !OF_THE_PROCESS.contains(&name.as_str()) && name != "save");
    parameters
}

/// The file's text, from which the folder of the server that wrote it is taken: it is gone.
fn read_without_folder(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("the file");
    let kept: String = text.split_inclusive('\n').filter(|line| !line.starts_with("dir ")).collect();
    fs::write(file, &kept).expect("a file");
    kept
}

#[test]
fn what_config_rewrite_writes_is_read_again_by_both() {
    let folder = Folder::new("rewrite");
    let file = folder.0.join("redis.conf");
    let mut lines = "# My node.\ntimeout 7\nsave 1 2\nsave 3 4\n\n# Its memory:\nmaxmemory 1gb\n".to_owned();
    if let Some(debians) = debians_file() {
        lines += &fs::read_to_string(debians).expect("it opened").replace("\nbind ", "\n# bind ");
    }
    fs::write(&file, &lines).expect("a file");
    let options = ["--daemonize", "no", "--logfile", "", "--pidfile", ""];
    let server = Server::start_with(&balas(), Some(&file), &options);
    let mut client = server.client();
    for (name, value) in REWRITTEN {
        assert_eq!(text(&ask(&mut client, &["CONFIG", "SET", name, value])), "OK", "{name}");
    }
    let user = ["ACL", "SETUSER", "alice", "on", ">pass word", "~keys:*", "+@read"];
    assert_eq!(text(&ask(&mut client, &user)), "OK");
    let users = ask(&mut client, &["ACL", "LIST"]);
    let before = parameters(&mut client);
    assert_eq!(text(&ask(&mut client, &["CONFIG", "REWRITE"])), "OK");
    drop(server);
    let written = read_without_folder(&file);
    assert!(written.starts_with("# My node.\ntimeout 300\n"), "{written}");
    for comment in lines.lines().filter(|line| line.starts_with('#')) {
        assert!(written.contains(comment), "{comment:?} is gone from\n{written}");
    }
    assert!(written.contains("\nsave 900 1\nsave 300 10\n"), "{written}");

    // Written twice, it is the same.
    let connect = |server: &Server| {
        let mut client = Client::connect(server.port).expect("it answers");
        assert_eq!(text(&ask(&mut client, &["AUTH", REWRITTEN[5].1])), "OK");
        client
    };
    let server = Server::start_with(&balas(), Some(&file), &options);
    let mut client = connect(&server);
    assert_eq!(without_process(parameters(&mut client)), without_process(before.clone()));
    assert_eq!(ask(&mut client, &["ACL", "LIST"]), users);
    assert_eq!(text(&ask(&mut client, &["CONFIG", "REWRITE"])), "OK");
    drop(server);
    let again = read_without_folder(&file);
    let without = |text: &str| {
        let lines = text.lines().filter(|line| !OF_THE_PROCESS.iter().any(|name| line.starts_with(name)));
        lines.filter(|line| !line.starts_with("save")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without(&again), without(&written));

    // Stock reads it and means the same.
    let theirs = Server::start_with(&stock(), Some(&file), &options);
    let mut client = connect(&theirs);
    for (name, value) in without_process(parameters(&mut client)) {
        if name != "aof-disable-auto-gc" {
            assert_eq!(before.get(&name), Some(&value), "{name}");
        }
    }
    assert_eq!(ask(&mut client, &["ACL", "LIST"]), users);
}

#[test]
fn both_names_of_a_parameter_may_be_set_at_once_and_the_last_value_stays() {
    for binary in [balas(), stock()] {
        let server = Server::start(&binary, &[]);
        let mut client = server.client();
        let both = ["CONFIG", "SET", "slave-read-only", "yes", "replica-read-only", "no"];
        assert_eq!(text(&ask(&mut client, &both)), "OK", "{}", binary.display());
        assert_eq!(value_of(&mut client, "slave-read-only"), "no", "{}", binary.display());
        let twice = ["CONFIG", "SET", "replica-read-only", "yes", "Replica-Read-Only", "no"];
        assert!(text(&ask(&mut client, &twice)).ends_with("duplicate parameter"), "{}", binary.display());
    }
}

#[test]
fn maxmemory_takes_all_that_64_bits_hold() {
    for binary in [balas(), stock()] {
        let server = Server::start(&binary, &[]);
        let mut client = server.client();
        for (set, shown) in [
            ("9223372036854775808", "9223372036854775808"),
            ("9000000000gb", "9663676416000000000"),
            ("18446744073709551615", "18446744073709551615"),
            ("99999999999999999999999", "18446744073709551615"),
            ("1mb", "1048576"),
        ] {
            assert_eq!(text(&ask(&mut client, &["CONFIG", "SET", "maxmemory", set])), "OK", "{set}");
            assert_eq!(value_of(&mut client, "maxmemory"), shown, "{}", binary.display());
        }
        let refused = text(&ask(&mut client, &["CONFIG", "SET", "maxmemory", "-1"]));
        assert!(refused.ends_with("argument must be a memory value"), "{refused}");
    }
    // With so much nothing has to go, and what is left of it is a share of it.
    let server =
        Server::start(&balas(), &["--maxmemory", "18446744073709551615", "--maxmemory-clients", "50%"]);
    let mut client = server.client();
    assert_eq!(text(&ask(&mut client, &["SET", "key", "value"])), "OK");
}

#[test]
fn what_cannot_be_done_is_not_promised() {
    let server = Server::start(&balas(), &["--activedefrag", "yes", "--tcp-backlog", "2000000000"]);
    let mut client = server.client();
    assert_eq!(value_of(&mut client, "activedefrag"), "no");
    assert!(server.log().contains("WARNING: activedefrag has no effect"), "{}", server.log());
    let refused = text(&ask(&mut client, &["CONFIG", "SET", "activedefrag", "yes"]));
    assert!(
        refused.contains("- Active defragmentation cannot be enabled: it requires a Redis server"),
        "{refused}"
    );
    assert_eq!(text(&ask(&mut client, &["CONFIG", "SET", "activedefrag", "no"])), "OK");
    let text = "WARNING: The TCP backlog setting of 2000000000 cannot be enforced because /proc/sys/net/core/somaxconn";
    assert!(server.log().contains(text), "{}", server.log());
}
