//! Using values that were accepted: read in every order, changed, serialized and read back.

use keyspace::intset::Intset;
use keyspace::listpack::{Element, Listpack};
use keyspace::types::Limits;
use keyspace::types::hash::HashValue;
use keyspace::types::list::{End, ListValue, Place};
use keyspace::types::set::SetValue;
use keyspace::types::stream::{NewId, StreamId, StreamValue, Trim, TrimTo};
use keyspace::types::zset::ZSetValue;
use keyspace::{Object, ValueRef};
use persistence::rdb::{Value, dump, restore};

pub fn listpack(mut pack: Listpack, rng: &mut fastrand::Rng) {
    let elements: Vec<Vec<u8>> = pack.iter().map(|element| element.to_vec()).collect();
    assert_eq!(elements.len(), pack.len());
    let mut back = Vec::new();
    let mut pos = pack.last();
    while let Some(at) = pos {
        back.push(pack.at(at).to_vec());
        pos = pack.prev(at);
    }
    back.reverse();
    assert_eq!(back, elements, "backwards as forwards");
    if let Some(element) = elements.first() {
        assert_eq!(pack.find(element, 0), pack.first());
    }
    pack.push_back(b"tail");
    pack.push_front(b"head");
    if let Some(at) = pack.seek(rng.i64(0..=elements.len() as i64)) {
        pack.replace(at, Element::of(b"another one"));
        pack.insert_before(at, Element::Int(1 << 40));
    }
    pack.delete_range(rng.usize(..=elements.len()), 2);
    let rest = pack.split_off(pack.len() / 2);
    pack.append(&rest);
    let len = pack.len();
    assert_eq!(Listpack::from_bytes(pack.into_bytes()).map(|again| again.len()), Ok(len));
}

pub fn intset(mut ints: Intset, rng: &mut fastrand::Rng) {
    let members: Vec<i64> = ints.iter().collect();
    assert!(members.is_sorted());
    assert!(members.iter().all(|&member| ints.contains(member)));
    let new = rng.i64(..) >> rng.u32(..64);
    let was_there = ints.contains(new);
    assert_eq!(ints.insert(new), !was_there);
    assert!(ints.remove(new));
    if let Some(&member) = members.first() {
        ints.remove(member);
    }
    assert!(Intset::from_bytes(ints.as_bytes().to_vec()).is_ok() || ints.is_empty());
}

pub fn value(value: Value, rng: &mut fastrand::Rng, limits: &Limits) {
    round_trip(&value, limits);
    match value {
        Value::Object(Object::List(list)) => self::list(list, rng, limits),
        Value::Object(Object::Set(set)) => self::set(set, rng, limits),
        Value::Object(Object::ZSet(zset)) => self::zset(zset, rng, limits),
        Value::Object(Object::Hash(hash)) => self::hash(hash, rng, limits),
        Value::Object(Object::Stream(stream)) => self::stream(stream, limits),
        Value::Int(_) | Value::Str(_) | Value::Object(Object::Str(_)) => {}
    }
}

/// What was read can be written, and what was written can be read.
fn round_trip(value: &Value, limits: &Limits) {
    let payload = dump(value_ref(value), true);
    let again =
        restore(&payload, limits).unwrap_or_else(|error| panic!("{value:?} is not read back: {error:?}"));
    assert_eq!(dump(value_ref(&again), true).len(), payload.len());
    // Into an entry and out again, as the keyspace has it.
    drop(again.into_entry(b"key", Some(1)));
}

fn value_ref(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Int(value) => ValueRef::Int(*value),
        Value::Str(text) => ValueRef::Bytes(text),
        Value::Object(object) => ValueRef::Object(object),
    }
}

fn list(mut list: ListValue, rng: &mut fastrand::Rng, limits: &Limits) {
    let len = list.len();
    assert_eq!(list.iter().count(), len);
    let some = rng.usize(..len) as i64;
    let element = list.get(some).expect("it is so long").to_vec();
    assert!(list.get(-1).is_some() && list.get(len as i64).is_none());
    assert!(list.insert(&element, Place::Before, b"before", limits));
    list.push_all(End::Tail, &[&b"tail"[..], &[b'x'; 100]], limits);
    list.push(End::Head, b"head", limits);
    assert!(list.set(some, b"set", limits));
    list.remove(0, &element, limits);
    assert_eq!(
        list.pop(End::Head, limits).as_deref(),
        Some(&b"head"[..]).filter(|_| some != 0).or(Some(b"set"))
    );
    let copy = Value::Object(Object::List(list.clone()));
    round_trip(&copy, limits);
    list.trim(1, -2, limits);
    while list.pop(End::Tail, limits).is_some() {}
    assert!(list.is_empty());
}

fn set(mut set: SetValue, rng: &mut fastrand::Rng, limits: &Limits) {
    let members: Vec<Vec<u8>> = set.iter().map(|member| member.to_vec()).collect();
    assert_eq!(members.len(), set.len());
    assert!(members.iter().all(|member| set.contains(member)), "every member is found");
    assert!(set.random(rng).is_some());
    assert_eq!(set.random_distinct(3, rng).len(), members.len().min(3));
    let mut seen = 0;
    let mut cursor = 0;
    loop {
        cursor = set.scan(cursor, |_| seen += 1);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, members.len());
    set.insert(b"a new member", limits);
    set.insert(b"77777", limits);
    round_trip(&Value::Object(Object::Set(set.clone())), limits);
    assert!(set.pop(rng).is_some());
    for member in &members {
        set.remove(member);
    }
    assert!(set.len() <= 2);
}

fn zset(mut zset: ZSetValue, rng: &mut fastrand::Rng, limits: &Limits) {
    let members: Vec<(Vec<u8>, f64)> = zset.iter().map(|(member, score)| (member.to_vec(), score)).collect();
    assert_eq!(members.len(), zset.len());
    assert!(members.is_sorted_by(|a, b| a.1 <= b.1), "in the order of scores");
    for (member, score) in &members {
        assert_eq!(zset.score(member), Some(*score));
        assert!(zset.rank(member).is_some());
    }
    assert!(zset.random(rng).is_some());
    assert!(zset.by_rank(members.len()).is_none());
    zset.insert(b"a new member", 1.5, limits);
    zset.insert(&members[0].0, -7.0, limits);
    round_trip(&Value::Object(Object::ZSet(zset.clone())), limits);
    zset.remove_ranks(0..zset.len() / 2);
    for (member, _) in &members {
        zset.remove(member);
    }
    assert!(zset.len() <= 1);
}

fn hash(mut hash: HashValue, rng: &mut fastrand::Rng, limits: &Limits) {
    let fields: Vec<Vec<u8>> = hash.iter().map(|(name, _)| name.to_vec()).collect();
    assert_eq!(fields.len(), hash.len());
    assert!(fields.iter().all(|name| hash.get(name).is_some()), "every field is found");
    assert!(hash.random(rng).is_some());
    hash.set(b"a new field", b"value", limits);
    hash.set(&fields[0], &[b'v'; 100], limits);
    round_trip(&Value::Object(Object::Hash(hash.clone())), limits);
    fields.iter().for_each(|name| assert!(hash.remove(name) || name == b"a new field"));
    assert!(hash.len() <= 1);
}

fn stream(mut stream: StreamValue, limits: &Limits) {
    let ids: Vec<StreamId> = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).collect();
    assert_eq!(ids.len(), stream.len());
    let mut back: Vec<StreamId> =
        stream.range_back(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).collect();
    back.reverse();
    assert_eq!(ids, back);
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        entry.fields().for_each(|(name, value)| drop((name.to_vec(), value.to_vec())));
    }
    for (_, group) in stream.groups() {
        let pending = group.pending_in(StreamId::MIN..=StreamId::MAX);
        let owners: Vec<&[u8]> = pending.map(|(_, pending)| group.owner(pending)).collect();
        assert_eq!(owners.len(), group.pending_len());
        let _lag = stream.lag(group);
        let owned: usize = group.consumers().map(|consumer| consumer.pending_len()).sum();
        assert_eq!(owned, group.pending_len());
    }
    // The last ID may be the greatest there is.
    if let Ok(id) = stream.append(NewId::Auto, &[(b"a", b"1")], 5, limits) {
        assert_eq!(stream.last_entry().map(|entry| entry.id), Some(id));
    }
    round_trip(&Value::Object(Object::Stream(stream.clone())), limits);
    let names: Vec<Vec<u8>> = stream.groups().map(|(name, _)| name.to_vec()).collect();
    for name in names {
        let group = stream.group_mut(&name).expect("it is there");
        let pending: Vec<StreamId> =
            group.pending_in(StreamId::MIN..=StreamId::MAX).map(|(id, _)| id).collect();
        pending.into_iter().for_each(|id| assert!(group.acknowledge(id)));
        assert!(stream.destroy_group(&name));
    }
    stream.trim(&Trim::exact(TrimTo::MaxLen(ids.len() as u64 / 2)));
    stream.delete_all(&ids);
    assert!(stream.len() <= 1);
}
