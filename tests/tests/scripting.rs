//! Scripts and functions, beside stock: the same replies and errors in both versions of the protocol.
//!
//! The files in `tests/scripts/` hold one script after the other, `---` between them. Each is run by EVAL with two keys and
//! two arguments; a line that begins with `!` is a command instead. What 7.0 does otherwise than 7.2 is not in them.

use balas_tests::process::{self, Server};
use balas_tests::resp::Value;
use protocol::request::split_quoted;

fn arguments(script: &str) -> Vec<Vec<u8>> {
    match script.strip_prefix('!') {
        Some(line) => {
            let words = split_quoted(line.as_bytes()).expect("quotes are balanced");
            words.as_argv().iter().map(<[u8]>::to_vec).collect()
        }
        None => ["EVAL", script, "2", "k1", "k2", "a1", "a2"].map(|word| word.as_bytes().to_vec()).into(),
    }
}

fn run(scripts: &str) {
    let (stock, balas) = (Server::start(&process::stock(), &[]), Server::start(&process::balas(), &[]));
    for resp in ["2", "3"] {
        let (mut stock, mut balas) = (stock.client(), balas.client());
        for words in [&["HELLO", resp][..], &["FLUSHALL"], &["FUNCTION", "FLUSH"], &["SCRIPT", "FLUSH"]] {
            stock.call(words).expect("stock answers");
            balas.call(words).expect("balas answers");
        }
        for script in scripts.split("\n---\n").map(|script| script.trim_matches('\n')) {
            let argv = arguments(script);
            let (expected, got): (Value, Value) =
                (stock.call(&argv).expect("stock answers"), balas.call(&argv).expect("balas answers"));
            assert_eq!(expected, got, "RESP{resp}: {script}");
        }
    }
}

#[test]
fn the_language_and_its_sandbox_are_stocks() {
    run(include_str!("../scripts/language.txt"));
}

#[test]
fn the_libraries_are_stocks() {
    run(include_str!("../scripts/libraries.txt"));
}

#[test]
fn functions_are_stocks() {
    run(include_str!("../scripts/functions.txt"));
}

/// With several threads a run may have to be begun again, with the world at rest.
#[test]
fn a_monitor_sees_a_script_and_its_commands_once() {
    const SCRIPTS: [&str; 3] = [
        "return redis.call('get', KEYS[1])",
        "redis.call('get', KEYS[1]) return redis.call('get', 'another' .. KEYS[1])",
        "redis.call('get', KEYS[1]) return redis.call('dbsize')",
    ];
    let node = Server::start(&process::balas(), &["--io-threads", "4"]);
    let (mut monitor, mut client) = (node.client(), node.client());
    assert!(!monitor.call(&["MONITOR"]).expect("answered").is_error());
    for script in SCRIPTS {
        for _ in 0..2 {
            client.call(&["EVAL", script, "1", "k"]).expect("answered");
        }
    }
    client.call(&["ECHO", "the end"]).expect("answered");
    let mut seen = Vec::new();
    loop {
        let line = monitor.receive().expect("a line");
        let line = String::from_utf8_lossy(line.text().expect("a line")).into_owned();
        let word = line.split('"').nth(1).expect("a command").to_ascii_lowercase();
        if word == "echo" {
            break;
        }
        seen.push(word);
    }
    let once = [&["eval", "get"][..], &["eval", "get", "get"], &["eval", "get", "dbsize"]];
    let expected: Vec<&str> = once.iter().flat_map(|words| words.repeat(2)).collect();
    assert_eq!(seen, expected);
}
