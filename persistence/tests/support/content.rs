//! What a value says, whatever its encoding.

use keyspace::types::stream::{Entry, Group, StreamId, StreamMarks, StreamValue};
use keyspace::{Object, ValueRef};
use std::collections::{BTreeMap, BTreeSet};

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
