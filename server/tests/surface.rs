//! What tools see of a running server: command metadata, parameters, error texts, INFO. Where a stock
//! `redis-server` is installed, both are asked the same and must agree but for what Redis 7.2 changed.

#[allow(dead_code)] // Other tests use the rest of it.
mod node;

use node::{Node, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Fields of COMMAND's rows that differ between the stock server (7.0) and ours (7.2): names, field, and what 7.2 has
/// changed.
const CHANGED_IN_7_2: &[(&str, &str, &str)] = &[
    (
        "blmove blpop brpop brpoplpush bzpopmax bzpopmin wait",
        "flags",
        "allowed in scripts, where they do not wait",
    ),
    ("cluster|shards cluster|slots", "flags", "answered while loading too"),
    (
        "acl|deluser acl|save acl|setuser client|setname config|resetstat config|rewrite",
        "tips",
        "a proxy is told to ask all nodes",
    ),
    ("latency|reset msetnx randomkey scan", "tips", "a proxy is told otherwise how to sum up replies"),
    ("command|getkeys command|getkeysandflags", "arity", "of a command without arguments too"),
    ("zrank zrevrank", "arity", "WITHSCORE"),
];

/// Commands that stock's version does not have yet, by the version that brought them.
const NEWER: &[(&str, &str)] = &[
    ("client|no-touch client|setinfo cluster|myshardid waitaof", "7.2"),
    ("hexpire hexpireat hexpiretime hpersist hpexpire hpexpireat hpexpiretime hpttl httl", "7.4"),
];

const FIELDS: [&str; 9] = ["name", "arity", "flags", "first", "last", "step", "acl", "tips", "key specs"];

/// Commands and subcommands by name, each as texts of its fields.
fn commands(node: &mut Node) -> BTreeMap<String, Vec<String>> {
    fn add(row: &Value, into: &mut BTreeMap<String, Vec<String>>) {
        let fields = row.list();
        let texts = (0..9).map(|i| field_text(&fields[i], i)).collect();
        into.insert(fields[0].text(), texts);
        fields[9].list().iter().for_each(|sub| add(sub, into));
    }
    let mut found = BTreeMap::new();
    node.ask(&["COMMAND"]).list().iter().for_each(|row| add(row, &mut found));
    found
}

/// A field as text; tips in any order, key specs without the notes stock writes for people.
fn field_text(field: &Value, index: usize) -> String {
    match FIELDS[index] {
        "tips" => {
            let mut tips: Vec<String> = field.list().iter().map(Value::text).collect();
            tips.sort();
            tips.join(" ")
        }
        "key specs" => {
            let specs = field.list().iter().map(|spec| {
                let pairs = spec.list().chunks(2).filter(|pair| pair[0].text() != "notes");
                format!("{:?}", pairs.collect::<Vec<_>>())
            });
            specs.collect()
        }
        _ => format!("{field:?}"),
    }
}

/// The names in such a list.
fn names_of<'a>(rows: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    rows.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[test]
fn command_metadata_is_stocks() {
    let Some(mut stock) = Node::stock(&[]) else { return };
    let mut ours = Node::ours(&[]);
    let (theirs, ours) = (commands(&mut stock), commands(&mut ours));
    let mut differences = BTreeSet::new();
    for (name, row) in &ours {
        let Some(their_row) = theirs.get(name) else { continue };
        for (i, field) in FIELDS.iter().enumerate() {
            if row[i] != their_row[i] {
                differences.insert((name.as_str(), *field));
            }
        }
    }
    let of_row = |(names, field, _): &(&'static str, &'static str, _)| {
        let field = *field;
        names.split(' ').map(move |name| (name, field))
    };
    let known: BTreeSet<(&str, &str)> = CHANGED_IN_7_2.iter().flat_map(of_row).collect();
    let rows = |name: &str, field: &str| {
        let i = FIELDS.iter().position(|&known| known == field).expect("a field");
        format!("{name} {field}: {} in stock, {} here", theirs[name][i], ours[name][i])
    };
    let unknown: Vec<_> = differences.difference(&known).map(|(name, field)| rows(name, field)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    let alike: Vec<_> = known.difference(&differences).collect();
    assert!(alike.is_empty(), "these do not differ: {alike:?}");
}

#[test]
fn commands_are_those_of_stock() {
    let Some(mut stock) = Node::stock(&[]) else { return };
    let mut ours = Node::ours(&[]);
    let names = |node: &mut Node| -> BTreeSet<String> { commands(node).into_keys().collect() };
    let (theirs, ours) = (names(&mut stock), names(&mut ours));
    let absent: BTreeSet<String> = theirs.difference(&ours).cloned().collect();
    assert_eq!(absent, BTreeSet::new(), "absent here");
    let newer: BTreeSet<String> = ours.difference(&theirs).cloned().collect();
    assert_eq!(newer, names_of(NEWER.iter().map(|(names, _)| *names)), "only here");
}

/// Commands whose arguments hold other words than stock's version tells, and why.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("bitop", "7.0 tells one word for all operations"),
    ("client|kill", "7.0 does not tell what SKIPME takes"),
    ("hscan", "NOVALUES is of 7.4"),
    ("zrank", "WITHSCORE is of 7.2"),
    ("zrevrank", "WITHSCORE is of 7.2"),
];

/// By command: the words its arguments consist of, and the key specifications they belong to, as COMMAND DOCS tells.
fn argument_words(node: &mut Node) -> BTreeMap<String, Vec<String>> {
    fn of_arguments(arguments: &Value, words: &mut Vec<String>) {
        for argument in arguments.list() {
            for pair in argument.list().chunks(2) {
                match &*pair[0].text() {
                    "token" => words.push(pair[1].text().to_uppercase()),
                    "key_spec_index" => words.push(format!("key {:?}", pair[1])),
                    "arguments" => of_arguments(&pair[1], words),
                    _ => {}
                }
            }
        }
    }
    fn of_commands(commands: &Value, found: &mut BTreeMap<String, Vec<String>>) {
        for command in commands.list().chunks(2) {
            let words = found.entry(command[0].text()).or_default();
            for pair in command[1].list().chunks(2).filter(|pair| pair[0].text() == "arguments") {
                of_arguments(&pair[1], words);
            }
            words.sort();
            for pair in command[1].list().chunks(2).filter(|pair| pair[0].text() == "subcommands") {
                of_commands(&pair[1], found);
            }
        }
    }
    let mut found = BTreeMap::new();
    of_commands(&node.ask(&["COMMAND", "DOCS"]), &mut found);
    found
}

#[test]
fn arguments_have_the_words_and_keys_of_stocks() {
    let Some(mut stock) = Node::stock(&[]) else { return };
    let theirs = argument_words(&mut stock);
    let ours = argument_words(&mut Node::ours(&[]));
    assert!(ours["set"].contains(&"KEEPTTL".to_owned()), "{:?}", ours["set"]);
    let differs = |name: &str| theirs.get(name).is_some_and(|their_words| *their_words != ours[name]);
    let different: Vec<&str> = ours.keys().map(String::as_str).filter(|name| differs(name)).collect();
    let known: Vec<&str> = OTHER_WORDS.iter().map(|(name, _)| *name).collect();
    assert_eq!(different, known);
}

fn parameters(node: &mut Node) -> BTreeMap<String, String> {
    let reply = node.ask(&["CONFIG", "GET", "*"]);
    reply.list().chunks(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
}

#[test]
fn every_parameter_of_stock_is_known_with_its_default() {
    let Some(mut stock) = Node::stock(&[]) else { return };
    let mut ours = Node::ours(&[]);
    let (theirs, ours) = (parameters(&mut stock), parameters(&mut ours));
    for (name, value) in &theirs {
        // Redis 7.2 has made it a hidden one.
        if name == "aof-disable-auto-gc" {
            continue;
        }
        let own = ours.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(
            own == value || ["port", "dir"].contains(&&**name),
            "{name}: {value:?} in stock, {own:?} here"
        );
    }
}

#[test]
fn what_is_read_can_be_set_and_is_read_again() {
    let mut node = Node::ours(&["--enable-protected-configs", "yes"]);
    let mut set = 0;
    for (name, value) in parameters(&mut node) {
        let reply = node.ask(&["CONFIG", "SET", &name, &value]).text();
        if reply.contains("immutable") {
            continue;
        }
        assert_eq!(reply, "OK", "{name}");
        assert_eq!(node.ask(&["CONFIG", "GET", &name]).list()[1].text(), value, "{name}");
        set += 1;
    }
    assert!(set > 150, "{set}");
}

#[test]
fn several_parameters_are_set_or_none() {
    let mut node = Node::ours(&[]);
    let mut ask = |line: &str| node.ask(&line.split(' ').collect::<Vec<_>>()).text();
    assert_eq!(ask("CONFIG SET maxmemory 1mb hz 20"), "OK");
    assert_eq!(
        ask("CONFIG SET maxmemory 2mb hz x"),
        "ERR CONFIG SET failed (possibly related to argument 'hz') - argument couldn't be parsed into an integer"
    );
    assert_eq!(
        ask("CONFIG SET maxmemory 2mb databases 3"),
        "ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config"
    );
    assert_eq!(
        ask("CONFIG SET maxmemory 2mb dir /"),
        "ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config"
    );
    assert_eq!(
        ask("CONFIG SET hz 1 hz 2"),
        "ERR CONFIG SET failed (possibly related to argument 'hz') - duplicate parameter"
    );
    assert_eq!(
        ask("CONFIG SET nosuch 1"),
        "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"
    );
    assert_eq!(node.ask(&["CONFIG", "GET", "maxmemory"]).list()[1].text(), "1048576");
}

#[test]
fn a_password_is_asked_of_new_connections_only() {
    let mut node = Node::ours(&[]);
    assert_eq!(node.ask(&["CONFIG", "SET", "requirepass", "secret"]).text(), "OK");
    assert_eq!(node.ask(&["PING"]).text(), "PONG");
    let mut other = node.another();
    assert_eq!(other.ask(&["PING"]).text(), "NOAUTH Authentication required.");
    assert_eq!(other.ask(&["AUTH", "secret"]).text(), "OK");
    assert_eq!(other.ask(&["PING"]).text(), "PONG");
}

#[test]
fn info_has_every_field_of_stock_in_its_order() {
    let Some(mut stock) = Node::stock(&[]) else { return };
    let mut ours = Node::ours(&[]);
    let fields = |node: &mut Node| -> Vec<String> {
        let text = node.ask(&["INFO", "everything"]).text();
        let lines = text.lines().filter(|line| !line.is_empty());
        let names = lines.map(|line| line.split(':').next().unwrap_or_default().to_owned());
        names
            .filter(|name| !name.starts_with("cmdstat_") && !name.starts_with("latency_percentiles"))
            .collect()
    };
    let (theirs, ours) = (fields(&mut stock), fields(&mut ours));
    let mut ours = ours.iter();
    for field in &theirs {
        assert!(ours.any(|own| own == field), "{field} is missing or out of order");
    }
}

#[test]
fn clients_are_listed_and_killed() {
    let mut node = Node::ours(&["--io-threads", "2"]);
    let mut other = node.another();
    assert_eq!(other.ask(&["CLIENT", "SETNAME", "other"]).text(), "OK");
    let id = other.ask(&["CLIENT", "ID"]).text();
    let list = node.ask(&["CLIENT", "LIST"]).text();
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(
        list.lines().any(|line| line.starts_with(&format!("id={id} addr=")) && line.contains(" name=other "))
    );
    assert_eq!(node.ask(&["CLIENT", "KILL", "ID", &id]).text(), "1");
    assert!(other.is_closed());
    assert_eq!(node.ask(&["CLIENT", "KILL", "ID", &id]).text(), "0");
}

#[test]
fn a_signal_or_shutdown_ends_the_process_in_good_order() {
    let mut node = Node::ours(&[]);
    node.signal("TERM");
    assert_eq!(node.exit_code(), Some(0));
    let mut node = Node::ours(&[]);
    node.send(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(node.exit_code(), Some(0));
    assert!(node.log().contains("is now ready to exit, bye bye..."), "{}", node.log());
}

#[test]
fn a_directive_nobody_knows_keeps_the_server_from_starting() {
    let output = node::run_ours(&["--nosuch", "1"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("*** FATAL CONFIG FILE ERROR (Redis "), "{text}");
    assert!(text.contains(">>> 'nosuch \"1\"'\nBad directive or wrong number of arguments"), "{text}");
}

#[test]
fn a_crash_is_reported_and_ends_the_process() {
    let mut node = Node::ours(&["--enable-debug-command", "yes", "--use-exit-on-panic", "yes"]);
    node.send(&["DEBUG", "PANIC"]);
    assert_eq!(node.exit_code(), Some(1));
    assert!(node.log().contains("BUG REPORT START") && node.log().contains("DEBUG PANIC"), "{}", node.log());
}

#[test]
fn a_pause_holds_writes_back_until_it_ends() {
    let mut node = Node::ours(&[]);
    let mut writer = node.another();
    assert_eq!(node.ask(&["CLIENT", "PAUSE", "60000", "WRITE"]).text(), "OK");
    writer.send(&["SET", "key", "value"]);
    // Reads go on, and do not see the write.
    assert_eq!(node.ask(&["GET", "key"]), Value::Null);
    assert_eq!(node.ask(&["CLIENT", "UNPAUSE"]).text(), "OK");
    assert_eq!(writer.read().text(), "OK");
    assert_eq!(node.ask(&["GET", "key"]).text(), "value");
}

/// Commands of one pipeline that stop it, change what comes next, or end it.
#[test]
fn a_pipeline_is_answered_as_its_commands_would_be_one_by_one() {
    let mut node = Node::ours(&[]);
    let mut other = node.another();
    let pipeline: &[&[&str]] = &[
        &["SET", "key", "zero"],
        &["SELECT", "1"],
        &["SET", "key", "one"],
        &["SWAPDB", "0", "1"],
        &["GET", "key"],
        &["MULTI"],
        &["APPEND", "key", "!"],
        &["EXEC"],
        &["BLPOP", "list", "0"],
        &["GET", "key"],
        &["CLIENT", "PAUSE", "60000", "WRITE"],
        &["SET", "key", "late"],
        &["GET", "key"],
    ];
    node.send_all(pipeline);
    let replies: Vec<String> = (0..5).map(|_| node.read().text()).collect();
    assert_eq!(replies, ["OK", "OK", "OK", "OK", "zero"]);
    assert_eq!([node.read().text(), node.read().text()], ["OK", "QUEUED"]);
    assert_eq!(node.read(), Value::List(vec![Value::Text("5".into())]));
    // It waits for an element, and then for the end of the pause.
    assert_eq!(other.ask(&["SELECT", "1"]).text(), "OK");
    assert_eq!(other.ask(&["RPUSH", "list", "element"]).text(), "1");
    assert_eq!(node.read().list().len(), 2);
    assert_eq!([node.read().text(), node.read().text()], ["zero!", "OK"]);
    assert_eq!(other.ask(&["GET", "key"]).text(), "zero!");
    assert_eq!(other.ask(&["CLIENT", "UNPAUSE"]).text(), "OK");
    assert_eq!([node.read().text(), node.read().text()], ["OK", "late"]);
}

#[test]
fn the_process_has_a_title() {
    let mut node = Node::ours(&[]);
    let title = |node: &Node| {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", node.pid())).expect("it runs");
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
    };
    let whole = title(&node);
    assert!(whole.ends_with(&format!("balas *:{}", node.port)), "{whole}");
    assert_eq!(node.ask(&["CONFIG", "SET", "proc-title-template", "T {port} {server-mode}"]).text(), "OK");
    assert_eq!(title(&node), format!("T {}", node.port));
    // A longer one is cut: there is no more room than the command line took.
    let long = "x".repeat(5000);
    assert_eq!(node.ask(&["CONFIG", "SET", "proc-title-template", &long]).text(), "OK");
    let cut = title(&node);
    assert!(cut.len() < 5000 && cut.bytes().all(|b| b == b'x') && cut.len() >= whole.len(), "{cut}");
}

#[test]
fn memory_says_what_it_can() {
    let mut node = Node::ours(&[]);
    assert!(node.ask(&["MEMORY", "MALLOC-STATS"]).text().len() > 100);
    assert_eq!(node.ask(&["MEMORY", "PURGE"]).text(), "OK");
    assert!(node.ask(&["MEMORY", "DOCTOR"]).text().contains("nearly empty"));
    assert_eq!(node.ask(&["SETRANGE", "key", "10000000", "x"]).text(), "10000001");
    let mut other = node.another();
    other.send_raw(b"*2\r\n$6\r\nAPPEND\r\n$2000000\r\n");
    other.send_raw(&vec![b'x'; 1_000_000]);
    // Clients are counted once a second.
    let mut text = String::new();
    for _ in 0..500 {
        text = node.ask(&["MEMORY", "DOCTOR"]).text();
        if text.contains("Clients hold much memory") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{text}");
}
