//! `--memory`: resident bytes per key.

use crate::error::BenchError;
use crate::proc;
use crate::server::Server;
use crate::table;
use admin::resp::Value;
use protocol::reply::write_command;
use std::path::Path;

pub const KEY_BYTES: usize = 16;
pub const VALUE_BYTES: usize = 32;

/// Commands sent before their replies are read.
const BATCH: u64 = 1000;

/// Fills a fresh server of each program with `keys` keys and prints what one costs.
pub fn compare(programs: &[&Path], base: usize, keys: u64) -> Result<(), BenchError> {
    println!("\nMemory: {keys} keys of {KEY_BYTES} bytes with values of {VALUE_BYTES} bytes");
    let mut measured = Vec::new();
    for program in programs {
        let server = Server::start(program)?;
        let empty = proc::rss_bytes(server.pid());
        fill(&server, keys)?;
        let full = proc::rss_bytes(server.pid());
        let per_key = full.zip(empty).map(|(full, empty)| full.saturating_sub(empty) as f64 / keys as f64);
        measured.push((server.name.clone(), per_key));
        eprint!(".");
    }
    eprintln!();
    let payload = (KEY_BYTES + VALUE_BYTES) as f64;
    let rows: Vec<Vec<String>> = measured
        .iter()
        .map(|(name, per_key)| {
            let beyond = per_key.map(|bytes| bytes - payload);
            let ratio = table::ratio(*per_key, measured[base].1);
            vec![name.clone(), table::number(*per_key, 1), table::number(beyond, 1), ratio]
        })
        .collect();
    let head = ["server", "RSS bytes/key", "beyond key and value", "×"].map(str::to_owned);
    table::print(&head, &rows);
    Ok(())
}

/// Sets keys `0..keys`, pipelined.
pub fn fill(server: &Server, keys: u64) -> Result<(), BenchError> {
    let mut client = server.client()?;
    let (mut batch, value) = (Vec::new(), [b'v'; VALUE_BYTES]);
    for start in (0..keys).step_by(BATCH as usize) {
        let end = keys.min(start + BATCH);
        batch.clear();
        for n in start..end {
            write_command(&mut batch, [&b"SET"[..], &key(n), &value].into_iter());
        }
        let replies =
            client.pipeline(&batch, (end - start) as usize).map_err(BenchError::client(&server.name))?;
        if let Some(Value::Error(text)) = replies.iter().find(|reply| matches!(reply, Value::Error(_))) {
            return Err(BenchError::Failed(format!("{}: {text}", server.name)));
        }
    }
    Ok(())
}

/// 16 bytes, the last twelve a decimal number.
pub fn key(n: u64) -> [u8; KEY_BYTES] {
    let mut key = *b"key:000000000000";
    let mut rest = n;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}
