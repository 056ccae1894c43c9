//! Files written by stock servers of every age, and what is in them.
//!
//! `UPDATE_FIXTURES=1` writes the `.txt` files anew, and with a stock server at hand the `.rdb` file of 7.0 too.
//! The old files come from the test suite of Redis.

mod support;

use balas_persistence::rdb::*;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use support::content::{content, encoding_name};
use support::stock::Stock;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn is_updating() -> bool {
    std::env::var_os("UPDATE_FIXTURES").is_some()
}

/// Everything in a file, in its order, one record a line.
fn describe(file: &[u8]) -> String {
    let mut reader = Reader::new(file, ReadOptions::default());
    let mut text = String::new();
    loop {
        match reader.next() {
            Ok(Event::Entry(entry)) => {
                let (key, expire_at_ms, usage) = (entry.key, entry.expire_at_ms, entry.usage);
                let entry = entry.value.into_entry(&key, expire_at_ms);
                let (kind, encoding) = (entry.type_of().name(), encoding_name(&entry));
                write!(text, "{} {kind} {encoding}", key.escape_ascii()).unwrap();
                expire_at_ms.inspect(|at_ms| write!(text, " until {at_ms}").unwrap());
                usage.idle_s.inspect(|idle_s| write!(text, " idle {idle_s}").unwrap());
                usage.freq.inspect(|freq| write!(text, " freq {freq}").unwrap());
                writeln!(text, " {}", content(entry.value())).unwrap();
            }
            Ok(Event::Eof(checksum)) => {
                writeln!(text, "version {}, checksum {checksum:?}", reader.version()).unwrap();
                return text;
            }
            Ok(Event::EmptyKey { key, kind }) => {
                writeln!(text, "{} empty, of type {kind}", key.escape_ascii()).unwrap();
            }
            Ok(Event::Aux { name, value }) => {
                writeln!(text, "aux {}={}", name.escape_ascii(), value.escape_ascii()).unwrap();
            }
            Ok(Event::Function(code)) => writeln!(text, "function {}", code.escape_ascii()).unwrap(),
            Ok(other) => writeln!(text, "{other:?}").unwrap(),
            Err(error) => {
                writeln!(text, "{error}").unwrap();
                return text;
            }
        }
    }
}

#[test]
fn fixtures_hold_what_they_held() {
    if is_updating() {
        make_stock_file();
    }
    let mut files: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rdb"));
    assert!(files.len() >= 8, "{files:?}");
    for path in files {
        let text = describe(&fs::read(&path).unwrap());
        let expected = path.with_extension("txt");
        if is_updating() {
            fs::write(&expected, &text).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(text, expected, "{}", path.display());
    }
}

/// Whatever is accepted of a damaged file can be used, and saved again.
#[test]
fn damaged_files_are_refused_or_sound() {
    let files = ["redis-7.0", "encodings", "hash-zipmap", "list-quicklist", "hash-ziplist", "zset-ziplist"];
    let mut accepted = 0;
    for name in files {
        let file = fs::read(folder().join(format!("{name}.rdb"))).unwrap();
        for seed in 0..1500u64 {
            let mut damaged = file.clone();
            for round in 0..=seed % 3 {
                let drawn = mix(seed << 8 | round);
                let at = 9 + drawn as usize % (file.len() - 9);
                damaged[at] = match drawn >> 60 {
                    0..8 => (drawn >> 32) as u8,
                    8..12 => 0xFF,
                    _ => damaged[at] ^ (1 << ((drawn >> 40) % 8)),
                };
            }
            accepted += use_all(&damaged, &format!("{name}, seed {seed}"));
        }
    }
    assert!(accepted > 1000, "{accepted}");
}

/// Reads entries for as long as it goes, and returns how many.
fn use_all(file: &[u8], story: &str) -> usize {
    let options = ReadOptions { verify_checksum: false, ..ReadOptions::default() };
    let mut reader = Reader::new(file, options);
    let mut count = 0;
    loop {
        match reader.next() {
            Ok(Event::Entry(entry)) => {
                let entry = entry.value.into_entry(&entry.key, entry.expire_at_ms);
                let said = content(entry.value());
                let again = restore(&dump(entry.value(), true), &options.limits);
                let again = again.unwrap_or_else(|error| panic!("{story}: {entry:?}: {error:?}"));
                assert_eq!(content(again.into_entry(b"", None).value()), said, "{story}");
                count += 1;
            }
            Ok(Event::Eof(_)) | Err(_) => return count,
            Ok(_) => {}
        }
    }
}

/// SplitMix64.
fn mix(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// Keys of every type and encoding, saved by the stock server at hand.
fn make_stock_file() {
    let Some(mut stock) = Stock::start("fixture", &["--maxmemory-policy", "allkeys-lfu"]) else { return };
    let numbered = |count: usize, each: &str| {
        (0..count).map(|n| each.replace("{}", &n.to_string())).collect::<Vec<_>>().join(" ")
    };
    let lines = [
        "SET int8 -5".to_owned(),
        "SET int16 3000".to_owned(),
        "SET int32 -100000".to_owned(),
        "SET int64 12345678901".to_owned(),
        "SET short hello".to_owned(),
        format!("SET compressed {}", "abcdef".repeat(100)),
        "SET expiring v PXAT 4102444800000".to_owned(),
        "RPUSH list a 5 b -70000".to_owned(),
        format!("RPUSH quicklist {}", numbered(900, "element-{}")),
        "SADD intset 1 70000 -5".to_owned(),
        "SADD set a b 5".to_owned(),
        "HSET hash f v n 5".to_owned(),
        format!("HSET table field {}", "v".repeat(100)),
        "ZADD zset 1 a 2.5 b -inf c +inf d".to_owned(),
        format!("ZADD skiplist {}", numbered(150, "{}.5 member-{}")),
        "XADD stream 1-1 f v g w".to_owned(),
        "XADD stream 2-1 f x g y".to_owned(),
        "XADD stream 3-1 other z".to_owned(),
        "XDEL stream 2-1".to_owned(),
        "XGROUP CREATE stream group 0".to_owned(),
        "XGROUP CREATECONSUMER stream group idle".to_owned(),
        "XREADGROUP GROUP group reader STREAMS stream >".to_owned(),
        "XACK stream group 1-1".to_owned(),
        "SELECT 3".to_owned(),
        "SET elsewhere yes".to_owned(),
        "SAVE".to_owned(),
    ];
    stock.command(&[
        "FUNCTION",
        "LOAD",
        "#!lua name=lib\nredis.register_function('f', function() return 1 end)",
    ]);
    for line in lines {
        stock.command(&line.split(' ').collect::<Vec<_>>());
    }
    fs::copy(stock.folder().join("dump.rdb"), folder().join("redis-7.0.rdb")).unwrap();
}

/// What we read is what stock reads: it loads the file, and dumps the keys one by one.
#[test]
fn stock_finds_the_same_in_them() {
    for name in ["encodings", "hash-ziplist", "hash-zipmap", "list-quicklist", "zset-ziplist", "redis-7.0"] {
        let file = fs::read(folder().join(format!("{name}.rdb"))).unwrap();
        let Some(mut stock) = Stock::start_with_file(name, &file) else { return };
        let mut reader = Reader::new(&file[..], ReadOptions::default());
        let mut compared = 0;
        loop {
            match reader.next().unwrap() {
                Event::SelectDb(db) => drop(stock.command(&["SELECT", &db.to_string()])),
                Event::Entry(entry) => {
                    let payload = stock.command(&[b"DUMP", &entry.key[..]]).into_bulk().expect("loaded");
                    let theirs = restore(&payload, &Default::default()).unwrap().into_entry(b"", None);
                    let ours = entry.value.into_entry(b"", None);
                    assert_eq!(content(ours.value()), content(theirs.value()), "{name}");
                    compared += 1;
                }
                Event::Eof(_) => break,
                _ => {}
            }
        }
        assert!(compared > 0);
    }
}
