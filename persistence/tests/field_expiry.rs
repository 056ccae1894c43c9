//! Hashes with fields that expire, RDB types 22 to 25: read as 7.4 writes them, written, and refused where they lie.

use balas_persistence::crc64::crc64;
use balas_persistence::rdb::{Value, dump, restore};
use keyspace::listpack::Listpack;
use keyspace::types::Limits;
use keyspace::types::hash::HashValue;
use keyspace::{Object, ValueRef};

/// A payload of DUMP around type and value.
fn payload(body: &[u8]) -> Vec<u8> {
    let mut payload = [body, &12u16.to_le_bytes()].concat();
    let sum = crc64(0, &payload);
    payload.extend_from_slice(&sum.to_le_bytes());
    payload
}

fn restored(body: &[u8]) -> Option<HashValue> {
    match restore(&payload(body), &Limits::default()) {
        Ok(Value::Object(Object::Hash(hash))) => Some(hash),
        _ => None,
    }
}

fn fields(hash: &HashValue) -> Vec<(String, String, Option<i64>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut all: Vec<_> = hash
        .iter()
        .map(|(name, value)| {
            (text(&name.to_text()), text(&value.to_text()), hash.expires_at(&name.to_text()))
        })
        .collect();
    all.sort();
    all
}

/// What each of the bodies below holds.
fn expected() -> Vec<(String, String, Option<i64>)> {
    [("a", "1", Some(1_000)), ("b", "2", None), ("c", "3", Some(1_004))]
        .map(|(name, value, time)| (name.to_owned(), value.to_owned(), time))
        .to_vec()
}

/// A listpack as a string, behind the parts before it.
fn listpack(head: &[u8], elements: &[&str]) -> Vec<u8> {
    let mut pack = Listpack::new();
    elements.iter().for_each(|element| pack.push_back(element.as_bytes()));
    [head, &[pack.as_bytes().len() as u8], pack.as_bytes()].concat()
}

#[test]
fn every_form_is_read() {
    let first = 1_000u64.to_le_bytes();
    let triples = ["a", "1", "1000", "c", "3", "1004", "b", "2", "0"];
    let long = [0x43, 0xe8]; // 1000 in fourteen bits
    let later = [0x43, 0xec];
    for body in [
        [&[24][..], &first, &[3, 1, 1, b'a', 1, b'1', 0, 1, b'b', 1, b'2', 5, 1, b'c', 1, b'3']].concat(),
        [&[22, 3][..], &long, &[1, b'a', 1, b'1', 0, 1, b'b', 1, b'2'], &later, &[1, b'c', 1, b'3']].concat(),
        listpack(&[&[25][..], &first].concat(), &triples),
        listpack(&[23], &triples),
    ] {
        let hash = restored(&body).unwrap_or_else(|| panic!("type {} is refused", body[0]));
        assert_eq!(fields(&hash), expected(), "type {}", body[0]);
        assert_eq!(hash.encoding_name(), "listpackex");
        let written = dump(ValueRef::Object(&Object::Hash(hash)), true);
        assert_eq!(written[0], 24);
        assert_eq!(fields(&restored(&written[..written.len() - 10]).unwrap()), expected());
    }
}

#[test]
fn a_hash_without_times_is_dumped_as_ever() {
    let mut hash = HashValue::new();
    hash.set(b"a", b"1", &Limits::default());
    hash.expire_at(b"a", 5);
    hash.persist(b"a");
    let written = dump(ValueRef::Object(&Object::Hash(hash)), true);
    assert_eq!((written[0], &written[written.len() - 10..][..2]), (16, &[10, 0][..]));
}

#[test]
fn lies_are_refused() {
    let first = 1_000u64.to_le_bytes();
    for body in [
        [&[24][..], &first, &[2, 1, 1, b'a', 1, b'1', 1, 1, b'a', 1, b'1']].concat(),
        [&[24][..], &u64::MAX.to_le_bytes(), &[1, 9, 1, b'a', 1, b'1']].concat(),
        [&[24][..], &0u64.to_le_bytes(), &[1, 9, 1, b'a', 1, b'1']].concat(),
        [&[24][..], &first, &[0x81, 255, 255, 255, 255, 255, 255, 255, 255, 1]].concat(),
        listpack(&[&[25][..], &first].concat(), &["a", "1"]),
        listpack(&[&[25][..], &first].concat(), &["a", "1", "soon"]),
        listpack(&[&[25][..], &first].concat(), &["a", "1", "-5"]),
        listpack(&[&[25][..], &first].concat(), &["a", "1", "9", "a", "1", "9"]),
        listpack(&[&[25][..], &first].concat(), &[]),
        listpack(&[&[25][..], &first].concat(), &["a", "1", "281474976710656"]),
    ] {
        assert!(restored(&body).is_none(), "{body:?}");
    }
}

#[test]
fn spoiled_payloads_do_no_harm() {
    let mut rng = fastrand::Rng::with_seed(23);
    let mut hash = HashValue::new();
    for n in 0..40 {
        let name = format!("field {n}");
        hash.set(name.as_bytes(), &vec![b'v'; n], &Limits::default());
        if n % 3 == 0 {
            hash.expire_at(name.as_bytes(), 1_700_000_000_000 + n as i64);
        }
    }
    let written = dump(ValueRef::Object(&Object::Hash(hash)), true);
    let body = &written[..written.len() - 10];
    let packed = listpack(&[&[25][..], &[0; 8]].concat(), &["a", "1", "1000", "b", "2", "0"]);
    for _ in 0..20_000 {
        let mut spoiled = if rng.bool() { body.to_vec() } else { packed.clone() };
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(1..spoiled.len());
            spoiled[at] = rng.u8(..);
        }
        spoiled.truncate(rng.usize(2..=spoiled.len()));
        if let Some(hash) = restored(&spoiled) {
            assert!(hash.iter().all(|(name, _)| hash.contains(&name.to_text())));
        }
    }
}
