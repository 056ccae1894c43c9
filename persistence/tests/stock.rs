//! Files and payloads to and from a stock server. Skipped, with a word about it, where there is none.

mod support;

use balas_persistence::rdb::*;
use keyspace::object::TypedValue;
use keyspace::types::Limits;
use keyspace::types::hash::HashValue;
use keyspace::types::list::{End, ListValue};
use keyspace::types::set::SetValue;
use keyspace::types::zset::ZSetValue;
use keyspace::{Entry, NewValue, SharedObject};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use support::content::{Content, content, encoding_name};
use support::stock::Stock;

/// Far enough in the future.
const EXPIRE_AT_MS: i64 = 4_102_444_800_000;

/// Commands that make a key of every type and encoding.
fn samples() -> Vec<Vec<String>> {
    let mut commands: Vec<Vec<String>> = Vec::new();
    let mut add = |line: &str| commands.push(line.split(' ').map(str::to_owned).collect());
    for number in
        ["0", "-1", "127", "-128", "300", "-40000", "2147483647", "-2147483649", "9223372036854775807"]
    {
        add(&format!("SET int:{number} {number}"));
    }
    add("SET str:short hello");
    add("SET str:empty-ish 007");
    add(&format!("SET str:compressible {}", "abc".repeat(1000)));
    add(&format!(
        "SET str:long {}",
        (0..3000).map(|n| char::from(33 + (n * 7 % 90) as u8)).collect::<String>()
    ));
    add(&format!("SET str:expiring soon PXAT {EXPIRE_AT_MS}"));
    let many =
        |count: usize, each: &dyn Fn(usize) -> String| (0..count).map(each).collect::<Vec<_>>().join(" ");
    add("RPUSH list:small a 1 -5000 b");
    add(&format!("RPUSH list:quick {}", many(3000, &|n| format!("element:{n}"))));
    add("SADD set:ints 5 -70000 9999999999");
    add("SADD set:pack a b 17");
    add(&format!("SADD set:table {}", many(1000, &|n| format!("member:{n}"))));
    add("HSET hash:pack f1 v1 f2 12345");
    add(&format!("HSET hash:table {}", many(1000, &|n| format!("field:{n} {n}"))));
    add("ZADD zset:pack 1 a 2.5 b -inf c inf d 3 3");
    add(&format!("ZADD zset:skip {}", many(500, &|n| format!("{}.25 member:{n}", n as i64 - 250))));
    commands
}

/// The same keys as [`samples`], made here.
fn our_entries() -> Vec<Entry> {
    let limits = Limits::default();
    samples().into_iter().map(|command| entry_of(&command, &limits)).collect()
}

fn entry_of(command: &[String], limits: &Limits) -> Entry {
    let (key, rest) = (command[1].as_bytes(), &command[2..]);
    let object = |object| Entry::new(key, NewValue::Object(SharedObject::new(object)), None);
    match command[0].as_str() {
        "SET" => {
            let expire_at_ms = (rest.len() > 1).then_some(EXPIRE_AT_MS);
            Entry::new(key, NewValue::Str(rest[0].as_bytes()), expire_at_ms)
        }
        "RPUSH" => {
            let mut list = ListValue::new();
            list.push_all(End::Tail, rest, limits);
            object(list.into_object())
        }
        "SADD" => {
            let mut set = SetValue::new();
            set.insert_all(rest, limits);
            object(set.into_object())
        }
        "HSET" => {
            let fields: Vec<_> = rest.chunks(2).map(|pair| (&pair[0], &pair[1])).collect();
            let mut hash = HashValue::new();
            hash.set_all(&fields, limits);
            object(hash.into_object())
        }
        _ => {
            let mut zset = ZSetValue::new();
            for pair in rest.chunks(2) {
                zset.insert(pair[1].as_bytes(), pair[0].parse().unwrap(), limits);
            }
            object(zset.into_object())
        }
    }
}

fn contents(entries: &[Entry]) -> BTreeMap<Vec<u8>, (Content, &'static str, Option<i64>)> {
    use keyspace::table::Item;
    let describe = |entry: &Entry| (content(entry.value()), encoding_name(entry), entry.expire_at_ms());
    entries.iter().map(|entry| (entry.key().to_vec(), describe(entry))).collect()
}

fn load_entries(bytes: &[u8]) -> Vec<Entry> {
    let mut reader = Reader::new(bytes, ReadOptions::default());
    let mut entries = Vec::new();
    loop {
        match reader.next().unwrap() {
            Event::Entry(entry) => entries.push(entry.value.into_entry(&entry.key, entry.expire_at_ms)),
            Event::Eof(checksum) => {
                assert_eq!(checksum, Checksum::Ok);
                return entries;
            }
            _ => {}
        }
    }
}

fn our_file() -> Vec<u8> {
    let version = RdbVersion::V10;
    let encoder = Encoder::new(EncodeOptions { version, ..EncodeOptions::default() });
    let mut encoded = Vec::new();
    our_entries().iter().for_each(|entry| encoder.entry(&mut encoded, entry));
    let mut writer = Writer::new(Vec::new(), version, true).unwrap();
    let replication = ReplicationInfo { id: "0123456789".repeat(4), offset: 77, stream_db: 0 };
    let ctime_s = 1_700_000_000;
    writer
        .saved_by(&SavedBy {
            ctime_s,
            used_memory_bytes: 1 << 20,
            replication: Some(replication),
            is_aof_base: false,
        })
        .unwrap();
    writer.select_db(0).unwrap();
    writer.resize(our_entries().len() as u64, 1).unwrap();
    writer.entries(&encoded).unwrap();
    writer.finish().unwrap()
}

#[test]
fn stock_files_are_loaded() {
    let Some(mut stock) = Stock::start("stock-files", &[]) else { return };
    for command in samples() {
        stock.command(&command);
    }
    stock.command(&["SAVE"]);
    let loaded = load_entries(&fs::read(stock.folder().join("dump.rdb")).unwrap());
    let (loaded, expected) = (contents(&loaded), our_entries());
    for (key, expected) in contents(&expected) {
        // 7.0, the one that saved, knows no set listpacks; loading them makes some.
        assert_eq!(loaded.get(&key), Some(&expected), "{}", key.escape_ascii());
    }
    assert_eq!(loaded.len(), expected.len());
}

#[test]
fn stock_loads_our_files() {
    let Some(mut stock) = Stock::start_with_file("our-files", &our_file()) else { return };
    for entry in our_entries() {
        use keyspace::table::Item;
        let payload = stock.command(&[b"DUMP", entry.key()]).into_bulk().expect("the key was loaded");
        let back = restore(&payload, &Limits::default()).unwrap().into_entry(entry.key(), None);
        assert_eq!(content(back.value()), content(entry.value()), "{entry:?}");
    }
    let expires = stock.command(&["PEXPIRETIME", "str:expiring"]).into_integer();
    assert_eq!(expires, Some(EXPIRE_AT_MS));
    assert_eq!(stock.command(&["DBSIZE"]).into_integer(), Some(our_entries().len() as i64));
}

#[test]
fn stock_restores_our_dumps_and_makes_the_same_ones() {
    let Some(mut stock) = Stock::start("dumps", &["--rdbcompression", "no"]) else { return };
    for (entry, command) in our_entries().iter().zip(samples()) {
        use keyspace::table::Item;
        let payload = dump(entry.value(), true);
        let reply = stock.command(&[b"RESTORE", entry.key(), b"0", &payload]);
        assert!(reply.is_ok(), "{}: {reply:?}", command[1]);
        let theirs = stock.command(&[b"DUMP", entry.key()]).into_bulk().unwrap();
        let back = restore(&theirs, &Limits::default()).unwrap().into_entry(entry.key(), None);
        assert_eq!(content(back.value()), content(entry.value()), "{}", command[1]);
    }
}

#[test]
fn streams_go_to_stock_and_back() {
    let Some(mut stock) = Stock::start("streams", &[]) else { return };
    for n in 1..=250 {
        stock.command(&["XADD", "s", &format!("{n}-7"), "field", &format!("value:{n}"), "n", &n.to_string()]);
    }
    for line in [
        "XADD s 300-1 other fields in here",
        "XDEL s 17-7 300-1",
        "XGROUP CREATE s g 0",
        "XGROUP CREATE s untouched 100-0 ENTRIESREAD 99",
        "XREADGROUP GROUP g alice COUNT 20 STREAMS s >",
        "XREADGROUP GROUP g bob COUNT 30 STREAMS s >",
        "XACK s g 1-7 30-7",
        "XGROUP CREATECONSUMER s g carol",
    ] {
        let reply = stock.command(&line.split(' ').collect::<Vec<_>>());
        assert!(!matches!(reply, support::stock::Reply::Error(_)), "{line}: {reply:?}");
    }
    let theirs = stock.command(&["DUMP", "s"]).into_bulk().unwrap();
    let value = restore(&theirs, &Limits::default()).unwrap().into_entry(b"s", None);
    let ours = dump(value.value(), true);
    assert!(stock.command(&[b"RESTORE", &b"copy"[..], b"0", &ours]).is_ok());
    for question in ["XPENDING {} g - + 100", "XINFO GROUPS {}", "XRANGE {} - +"] {
        let mut ask = |key| {
            let question = question.replace("{}", key);
            stock.command(&question.split(' ').collect::<Vec<_>>())
        };
        let (original, copy) = (ask("s"), ask("copy"));
        if question.starts_with("XPENDING") {
            // Idle times go on between the two questions.
            assert_eq!(without_times(original), without_times(copy));
        } else {
            assert_eq!(original, copy, "{question}");
        }
    }
    let again = stock.command(&["DUMP", "copy"]).into_bulk().unwrap();
    let again = restore(&again, &Limits::default()).unwrap().into_entry(b"s", None);
    assert_eq!(content(again.value()), content(value.value()));
}

/// XPENDING's entries without the idle time, the third of four.
fn without_times(reply: support::stock::Reply) -> Vec<Vec<support::stock::Reply>> {
    use support::stock::Reply;
    let Reply::Array(entries) = reply else { panic!("not an array: {reply:?}") };
    assert_eq!(entries.len(), 48);
    let without_time = |entry| match entry {
        Reply::Array(mut fields) => {
            fields.remove(2);
            fields
        }
        other => panic!("not an array: {other:?}"),
    };
    entries.into_iter().map(without_time).collect()
}

#[test]
fn the_check_tool_of_stock_passes_our_files() {
    let folder = support::stock::temp_folder("check");
    let path = folder.join("dump.rdb");
    fs::write(&path, our_file()).unwrap();
    let Ok(output) = Command::new("redis-check-rdb").arg(&path).output() else {
        eprintln!("skipped: no redis-check-rdb");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("RDB looks OK!"), "{text}");
    fs::remove_dir_all(folder).unwrap();
}
