//! How the replies of two servers compare.

use crate::known::has_one_payload;
use crate::resp::Value;

/// What a command promises about its reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compare {
    Exactly,
    /// A list in no particular order.
    AnyOrder,
    /// As `AnyOrder`, of pairs: a map, or keys and values alternately.
    PairsInAnyOrder,
    /// Integers, by at most so much apart.
    Near(i64),
    /// A reply of DUMP: byte by byte, where bytes are decided by a value's history alone.
    Payload,
    /// What is told of streams: exactly, but for the times of deliveries and of consumers.
    ButForTimes,
    /// Only the kind of reply.
    Kind,
    /// A command that draws lots, from the value at its key.
    Lots(Lots),
    /// SCAN or its like: called until the cursor is 0, the union in no particular order.
    Scan {
        pairs: bool,
    },
}

/// Commands that draw lots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lots {
    /// SPOP: what is drawn goes.
    Pop,
    SetMembers,
    HashFields,
    ZSetMembers,
    /// RANDOMKEY
    Keys,
}

/// Whether two replies are as alike as promised.
pub fn alike(how: Compare, stock: &Value, balas: &Value) -> bool {
    if stock == balas {
        return true;
    }
    match (how, stock, balas) {
        (_, stock, balas) if stock.is_error() || balas.is_error() => false,
        (Compare::AnyOrder, Value::List(a, x), Value::List(b, y)) => a == b && sorted(x, 1) == sorted(y, 1),
        (Compare::PairsInAnyOrder, Value::List(a, x), Value::List(b, y)) => {
            a == b && sorted(x, 2) == sorted(y, 2)
        }
        (Compare::Near(most), stock, balas) => match (stock.as_i64(), balas.as_i64()) {
            // Below zero is no time, but that there is none.
            (Some(a), Some(b)) => a >= 0 && b >= 0 && a.abs_diff(b) <= most.unsigned_abs(),
            _ => false,
        },
        (Compare::Payload, Value::Blob(..), Value::Blob(..)) => {
            !has_one_payload(stock, balas) || is_stream(stock) && is_stream(balas)
        }
        (Compare::ButForTimes, stock, balas) => without_times(stock) == without_times(balas),
        (Compare::Kind, stock, balas) => kind(stock) == kind(balas),
        _ => false,
    }
}

/// Consumers and pending entries of a stream have times.
fn is_stream(payload: &Value) -> bool {
    payload
        .text()
        .and_then(<[u8]>::first)
        .is_some_and(|kind| (15..=21).contains(kind) && ![16, 17, 18, 20].contains(kind))
}

/// A reply of XPENDING or XINFO without times, in maps and in rows about pending entries.
pub fn without_times(value: &Value) -> Value {
    const TIMES: [&[u8]; 4] = [b"idle", b"inactive", b"seen-time", b"active-time"];
    let Value::List(kind, items) = value else { return value.clone() };
    let is_time = |pair: &&[Value]| pair[0].text().is_some_and(|name| TIMES.contains(&name));
    let kept: Vec<&Value> = match (items.first().and_then(Value::text), &items[..]) {
        (Some(b"name" | b"length"), items) => {
            items.chunks(2).filter(|pair| !is_time(pair)).flatten().collect()
        }
        // ID, consumer, time, count: the former two are blobs.
        (_, [id @ Value::Blob(..), name @ Value::Blob(..), Value::Line(..), count]) => vec![id, name, count],
        (_, [id @ Value::Blob(..), Value::Line(..), count]) => vec![id, count],
        (_, items) => items.iter().collect(),
    };
    Value::List(*kind, kept.into_iter().map(without_times).collect())
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Line(kind, _) | Value::Blob(kind, _) | Value::List(kind, _) => *kind,
    }
}

/// Groups of `size` values, in order.
pub fn sorted(items: &[Value], size: usize) -> Vec<&[Value]> {
    let mut groups: Vec<_> = items.chunks(size).collect();
    groups.sort();
    groups
}
