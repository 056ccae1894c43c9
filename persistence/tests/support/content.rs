//! What a value says, whatever its encoding.

use keyspace::{Entry, Object, ValueRef};
use std::collections::{BTreeMap, BTreeSet};

#[derive(PartialEq, Debug)]
pub enum Content {
    Str(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    /// Scores by their bits.
    ZSet(Vec<(Vec<u8>, u64)>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
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
    }
}

pub fn encoding_name(entry: &Entry) -> &'static str {
    match entry.value() {
        ValueRef::Object(object) => object.encoding_name(),
        _ => entry.string_encoding().map_or("?", |encoding| encoding.name()),
    }
}
