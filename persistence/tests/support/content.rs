//! What a value says, whatever its encoding.

use keyspace::types::stream::{Entry, Group, StreamId, StreamMarks, StreamValue};
use keyspace::{Object, ValueRef};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

#[derive(PartialEq, Debug)]
pub enum Content {
    Str(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    /// Scores by their bits.
    ZSet(Vec<(Vec<u8>, u64)>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Stream(Stream),
}

#[derive(PartialEq, Debug)]
pub struct Stream {
    marks: StreamMarks,
    entries: Vec<(StreamId, Pairs)>,
    /// By name: last ID, entries read, and the pending entries with time, count and owner.
    groups: Vec<GroupContent>,
}

type GroupContent = (Vec<u8>, StreamId, Option<i64>, Vec<Pending>, Vec<Vec<u8>>);
type Pending = (StreamId, i64, u64, Vec<u8>);
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn stream(stream: &StreamValue) -> Stream {
    let fields =
        |entry: Entry<'_>| entry.fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let group = |(name, group): (&[u8], &Group)| {
        let pending = group.pending_in(StreamId::MIN..=StreamId::MAX);
        let owner = |pending| group.owner(pending).to_vec();
        let pending =
            pending.map(|(id, it)| (id, it.delivery_time_ms, it.delivery_count, owner(it))).collect();
        let consumers = group.consumers().map(|consumer| consumer.name().to_vec()).collect();
        (name.to_vec(), group.last_id(), group.entries_read(), pending, consumers)
    };
    Stream {
        marks: *stream.marks(),
        entries: stream.range(StreamId::MIN, StreamId::MAX).map(|entry| (entry.id, fields(entry))).collect(),
        groups: stream.groups().map(group).collect(),
    }
}

/// One line. Long ones are told by their length and the CRC of the rest.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        let join = |texts: Vec<String>| texts.join(" ");
        let text = |bytes: &Vec<u8>| bytes.escape_ascii().to_string();
        let pair = |(left, right): (&Vec<u8>, &Vec<u8>)| format!("{}={}", text(left), text(right));
        let line = match self {
            Content::Str(bytes) => text(bytes),
            Content::List(elements) => join(elements.iter().map(text).collect()),
            Content::Set(members) => join(members.iter().map(text).collect()),
            Content::ZSet(members) => join(
                members
                    .iter()
                    .map(|(member, bits)| format!("{}={}", text(member), f64::from_bits(*bits)))
                    .collect(),
            ),
            Content::Hash(fields) => join(fields.iter().map(pair).collect()),
            Content::Stream(stream) => stream.to_string(),
        };
        match line.get(..SHOWN) {
            Some(start) => {
                let crc = balas_persistence::crc64::crc64(0, line.as_bytes());
                write!(f, "{start}… {} bytes, CRC {crc:016x}", line.len())
            }
            None => f.write_str(&line),
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let marks = &self.marks;
        write!(f, "last {} deleted {} added {}:", marks.last_id, marks.max_deleted_id, marks.entries_added)?;
        for (id, fields) in &self.entries {
            write!(f, " {id}")?;
            fields.iter().try_for_each(|(name, value)| write!(f, " {}={}", text(name), text(value)))?;
        }
        for (name, last_id, read, pending, consumers) in &self.groups {
            let consumers: Vec<_> = consumers.iter().map(|name| text(name)).collect();
            write!(f, "; group {} last {last_id} read {read:?} of {}", text(name), consumers.join(","))?;
            for (id, _, count, owner) in pending {
                write!(f, " {id}×{count}→{}", text(owner))?;
            }
        }
        Ok(())
    }
}

pub fn content(value: ValueRef<'_>) -> Content {
    match value {
        ValueRef::Int(value) => Content::Str(value.to_string().into_bytes()),
        ValueRef::Bytes(bytes) => Content::Str(bytes.to_vec()),
        ValueRef::Object(Object::Str(bytes)) => Content::Str(bytes.clone()),
        ValueRef::Object(Object::List(list)) => Content::List(list.iter().map(|e| e.to_vec()).collect()),
        ValueRef::Object(Object::Set(set)) => Content::Set(set.iter().map(|e| e.to_vec()).collect()),
        ValueRef::Object(Object::ZSet(zset)) => {
            Content::ZSet(zset.iter().map(|(member, score)| (member.to_vec(), score.to_bits())).collect())
        }
        ValueRef::Object(Object::Hash(hash)) => {
            Content::Hash(hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect())
        }
        ValueRef::Object(Object::Stream(value)) => Content::Stream(stream(value)),
    }
}

pub fn encoding_name(entry: &keyspace::Entry) -> &'static str {
    match entry.value() {
        ValueRef::Object(object) => object.encoding_name(),
        _ => entry.string_encoding().map_or("?", |encoding| encoding.name()),
    }
}
