//! What stock 7.0 does otherwise than the 7.2 whose behaviour Balas has. Nothing else is let pass.

use crate::compare::{sorted, without_times};
use crate::resp::Value;

/// Directives only Balas knows.
pub const BALAS_ONLY: &[&str] = &["--set-max-listpack-entries", "8", "--set-max-listpack-value", "16"];

/// Whether stock has no such form of a command, and refuses it before it is queued.
pub fn is_newer(argv: &[Vec<u8>]) -> bool {
    let is = |name: &str| argv[0].eq_ignore_ascii_case(name.as_bytes());
    (is("zrank") || is("zrevrank")) && argv.len() > 3
}

/// Whether two replies differ only in what is known.
pub fn is_known(argv: &[Vec<u8>], stock: &Value, balas: &Value) -> bool {
    let name = argv[0].to_ascii_lowercase();
    match &name[..] {
        // Which integers are shared depends, in stock, on the commands they came by.
        b"object" if argv[1].eq_ignore_ascii_case(b"refcount") => {
            matches!((stock.as_i64(), balas.as_i64()), (Some(_), Some(_)))
        }
        // Since 7.2 a consumer is made even if there is nothing for it.
        b"xgroup" if argv.get(1).is_some_and(|sub| sub.eq_ignore_ascii_case(b"createconsumer")) => {
            (stock.as_i64(), balas.as_i64()) == (Some(1), Some(0))
        }
        // The command is named since 7.2.
        b"xread" | b"xreadgroup" => both_begin(stock, balas, b"-ERR Unbalanced "),
        // Of two mistakes the other one is told first.
        b"xsetid" => both_begin(stock, balas, b"-ERR The ID specified in XSETID is smaller than "),
        b"xinfo" => {
            without_idle_consumers(&without_times(stock)) == without_idle_consumers(&without_times(balas))
        }
        b"object" => encodings(stock, balas),
        // ZRANK key member WITHSCORE came with 7.2.
        _ if is_newer(argv) => stock.is_error(),
        // Since 7.2 a timeout beyond all time is told from a negative one.
        name if (name.starts_with(b"b") || name.starts_with(b"x"))
            && both_begin(stock, balas, b"-ERR timeout is ") =>
        {
            true
        }
        // And refused by WAIT, which 7.0 ends at once.
        b"wait" => stock.as_i64().is_some() && format!("{balas:?}") == "-ERR timeout is out of range",
        // 7.2 shows the shortest text of a score, 7.0 seventeen digits.
        name if name.starts_with(b"z") || name.starts_with(b"bz") => same_but_for_double_texts(stock, balas),
        // What BY says nothing about stays in the order it has, and a set has its own everywhere.
        b"sort" | b"sort_ro" if argv.iter().any(|word| word.eq_ignore_ascii_case(b"by")) => {
            let is_cut = argv.iter().any(|word| word.eq_ignore_ascii_case(b"limit"));
            stock.items().len() == balas.items().len()
                && !balas.is_error()
                && (is_cut || sorted(stock.items(), 1) == sorted(balas.items(), 1))
        }
        // The least integer there is was let pass as a rank.
        b"lpos" => balas.text().is_none() && format!("{balas:?}").contains("-9223372036854775807"),
        _ => false,
    }
}

/// Whether DUMP must say the same, byte by byte. Not so
///
/// * of what lies in a table in no particular order,
/// * of small sorted sets, in which 7.0 keeps scores with seventeen digits, and which its SORT makes large.
pub fn has_one_payload(stock: &Value, balas: &Value) -> bool {
    let kind = |reply: &Value| reply.text().and_then(|payload| payload.first().copied());
    let kinds = (kind(stock), kind(balas));
    let is_table = matches!(kinds, (Some(rdb::SET), Some(rdb::SET)) | (Some(rdb::HASH), Some(rdb::HASH)));
    let is_zset = matches!(kinds, (Some(rdb::ZSET_2 | rdb::ZSET_LISTPACK), Some(rdb::ZSET_LISTPACK)));
    !is_table && !is_zset
}

/// Whether stock's SORT has made a sorted set large that is small here.
pub fn is_larger_zset(stock: &Value, balas: &Value) -> bool {
    let kind = |reply: &Value| reply.text().and_then(|payload| payload.first().copied());
    (kind(stock), kind(balas)) == (Some(rdb::ZSET_2), Some(rdb::ZSET_LISTPACK))
}

/// Types of values in payloads.
mod rdb {
    pub const SET: u8 = 2;
    pub const HASH: u8 = 4;
    pub const ZSET_2: u8 = 5;
    pub const ZSET_LISTPACK: u8 = 17;
}

/// Small lists and small sets are listpacks since 7.2. Stock's SORT turns a small sorted set into a large one.
fn encodings(stock: &Value, balas: &Value) -> bool {
    let is_listpack = balas.text() == Some(b"listpack");
    is_listpack && matches!(stock.text(), Some(b"quicklist" | b"hashtable" | b"skiplist"))
}

fn both_begin(stock: &Value, balas: &Value, start: &[u8]) -> bool {
    let (kind, start) = (start[0], &start[1..]);
    [stock, balas]
        .iter()
        .all(|reply| matches!(reply, Value::Line(k, text) if *k == kind && text.starts_with(start)))
}

/// What XINFO tells, without the consumers that have nothing pending and without the number of all; a map is
/// then told without its own length.
fn without_idle_consumers(value: &Value) -> Value {
    let Value::List(kind, items) = value else { return value.clone() };
    let kind = if *kind == b'%' { b'*' } else { *kind };
    let is_idle = |item: &Value| {
        let pairs = item.items().chunks_exact(2);
        let is_consumer = pairs.len() > 0 && item.items().len() <= 6;
        is_consumer && { pairs }.any(|pair| {
            matches!(pair[0].text(), Some(b"pending" | b"pel-count")) && pair[1].as_i64() == Some(0)
        })
    };
    let mut kept = Vec::new();
    let mut items = items.iter().peekable();
    while let Some(item) = items.next() {
        let is_number = items.peek().is_some_and(|next| next.as_i64().is_some());
        if item.text() == Some(b"consumers") && is_number {
            items.next();
        } else if !is_idle(item) {
            kept.push(without_idle_consumers(item));
        }
    }
    Value::List(kind, kept)
}

fn same_but_for_double_texts(stock: &Value, balas: &Value) -> bool {
    match (stock, balas) {
        (Value::List(a, x), Value::List(b, y)) => {
            a == b && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same_but_for_double_texts(x, y))
        }
        (Value::Line(b',', _), Value::Line(b',', _)) | (Value::Blob(..), Value::Blob(..)) => {
            stock == balas || same_double(stock, balas).unwrap_or(false)
        }
        _ => stock == balas,
    }
}

fn same_double(stock: &Value, balas: &Value) -> Option<bool> {
    let parse = |value: &Value| std::str::from_utf8(value.text()?).ok()?.parse::<f64>().ok();
    Some(parse(stock)? == parse(balas)?)
}
