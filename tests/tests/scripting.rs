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
