//! A dataset as commands: the base of an AOF where `aof-use-rdb-preamble` is off. What a value is made of comes in commands
//! of a bounded size, in its order.

use keyspace::listpack::Element;
use keyspace::table::Item;
use keyspace::types::hash::HashValue;
use keyspace::types::number::double_text;
use keyspace::types::stream::{StreamId, StreamValue};
use keyspace::{Entry, Object, ValueRef};

/// Elements in one command, as in stock.
const ELEMENTS_MAX: usize = 64;

type Text = Vec<u8>;

/// Appends the commands that make an entry.
pub fn entry(out: &mut Vec<u8>, entry: &Entry) {
    parts(out, entry.key(), entry.expire_at_ms(), entry.value());
}

/// As [`entry`], for an entry whose object was pinned and whose lock was given back.
pub fn parts(out: &mut Vec<u8>, key: &[u8], expire_at_ms: Option<i64>, value: ValueRef<'_>) {
    match value {
        ValueRef::Int(n) => command(out, &[b"SET", key, n.to_string().as_bytes()]),
        ValueRef::Bytes(bytes) => command(out, &[b"SET", key, bytes]),
        ValueRef::Object(object) => self::object(out, key, object),
    }
    if let Some(at_ms) = expire_at_ms {
        command(out, &[b"PEXPIREAT", key, at_ms.to_string().as_bytes()]);
    }
}

pub fn select_db(out: &mut Vec<u8>, db: u64) {
    command(out, &[b"SELECT", db.to_string().as_bytes()]);
}

/// The code of a function library.
pub fn function(out: &mut Vec<u8>, code: &[u8]) {
    command(out, &[b"FUNCTION", b"LOAD", code]);
}

fn object(out: &mut Vec<u8>, key: &[u8], object: &Object) {
    let one = |element: Element<'_>| [element.to_vec()];
    match object {
        Object::Str(bytes) => command(out, &[b"SET", key, bytes]),
        Object::List(list) => batches(out, b"RPUSH", key, list.iter().map(one)),
        Object::Set(set) => batches(out, b"SADD", key, set.iter().map(one)),
        Object::ZSet(zset) => {
            batches(
                out,
                b"ZADD",
                key,
                zset.iter().map(|(member, score)| [double_text(score), member.to_vec()]),
            );
        }
        Object::Hash(hash) => self::hash(out, key, hash),
        Object::Stream(stream) => self::stream(out, key, stream),
    }
}

fn hash(out: &mut Vec<u8>, key: &[u8], hash: &HashValue) {
    batches(out, b"HSET", key, hash.iter().map(|(field, value)| [field.to_vec(), value.to_vec()]));
    if !hash.expires() {
        return;
    }
    for (field, _) in hash.iter() {
        let field = field.to_vec();
        if let Some(at_ms) = hash.expires_at(&field) {
            command(out, &[b"HPEXPIREAT", key, at_ms.to_string().as_bytes(), b"FIELDS", b"1", &field]);
        }
    }
}

fn stream(out: &mut Vec<u8>, key: &[u8], stream: &StreamValue) {
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let mut words = vec![b"XADD".to_vec(), key.to_vec(), entry.id.to_string().into_bytes()];
        words.extend(entry.fields().flat_map(|(field, value)| [field.to_vec(), value.to_vec()]));
        owned_command(out, &words);
    }
    if stream.is_empty() {
        // There has to be something before a group can be made.
        command(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    let marks = stream.marks();
    let (last, added, deleted) =
        (marks.last_id.to_string(), marks.entries_added.to_string(), marks.max_deleted_id.to_string());
    let [last, added, deleted] = [&last, &added, &deleted].map(|text| text.as_bytes());
    command(out, &[b"XSETID", key, last, b"ENTRIESADDED", added, b"MAXDELETEDID", deleted]);
    for (name, group) in stream.groups() {
        let (last, read) = (group.last_id().to_string(), group.entries_read().unwrap_or(-1).to_string());
        let (last, read) = (last.as_bytes(), read.as_bytes());
        command(out, &[b"XGROUP", b"CREATE", key, name, last, b"ENTRIESREAD", read]);
        for consumer in group.consumers() {
            command(out, &[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()]);
            for (id, pending) in group.pending_of(consumer, StreamId::MIN..=StreamId::MAX) {
                let [id, time, count] = [
                    id.to_string(),
                    pending.delivery_time_ms.to_string(),
                    pending.delivery_count.to_string(),
                ];
                let (id, time, count) = (id.as_bytes(), time.as_bytes(), count.as_bytes());
                let head: [&[u8]; 6] = [b"XCLAIM", key, name, consumer.name(), b"0", id];
                let tail: [&[u8]; 6] = [b"TIME", time, b"RETRYCOUNT", count, b"JUSTID", b"FORCE"];
                command(out, &[head, tail].concat());
            }
        }
    }
}

/// A command for every so many items.
fn batches<const N: usize>(
    out: &mut Vec<u8>,
    name: &[u8],
    key: &[u8],
    items: impl Iterator<Item = [Text; N]>,
) {
    let mut words: Vec<Text> = Vec::new();
    let mut count = 0;
    let send = |words: &mut Vec<Text>, out: &mut Vec<u8>| {
        let all: Vec<&[u8]> = [name, key].into_iter().chain(words.iter().map(Vec::as_slice)).collect();
        command(out, &all);
        words.clear();
    };
    for item in items {
        words.extend(item);
        count += 1;
        if count == ELEMENTS_MAX {
            send(&mut words, out);
            count = 0;
        }
    }
    if count > 0 {
        send(&mut words, out);
    }
}

fn owned_command(out: &mut Vec<u8>, words: &[Text]) {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    command(out, &words);
}

fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
