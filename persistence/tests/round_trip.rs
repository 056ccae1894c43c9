//! Values of every type and encoding through files and DUMP payloads and back.

mod support;

use balas_persistence::rdb::*;
use keyspace::access::LfuKnobs;
use keyspace::object::TypedValue;
use keyspace::table::Item;
use keyspace::types::Limits;
use keyspace::types::hash::HashValue;
use keyspace::types::list::{End, ListValue};
use keyspace::types::set::SetValue;
use keyspace::types::stream::{GroupLoader, NewId, StreamId, StreamValue};
use keyspace::types::zset::ZSetValue;
use keyspace::{Entry, NewValue, SharedObject, ValueRef};
use proptest::prelude::*;
use support::content::content;

fn config() -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};
    let config = Config::with_cases(64);
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0x6261_6c61_735f_7264),
        fixed => fixed,
    };
    Config { failure_persistence: None, rng_seed, ..config }
}

/// Thresholds so low that short collections have the encodings of large ones.
fn low_limits() -> Limits {
    Limits {
        list_max_listpack_size: 3,
        list_plain_node_bytes: 40,
        hash_max_listpack_entries: 2,
        set_max_intset_entries: 2,
        set_max_listpack_entries: 3,
        zset_max_listpack_entries: 2,
        ..Limits::default()
    }
}

fn encoding(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Int(_) => "int",
        ValueRef::Bytes(_) => "inline",
        ValueRef::Object(object) => object.encoding_name(),
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (-300i64..300).prop_map(|n| n.to_string().into_bytes()),
        "[a-c]{0,12}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..30),
        (0usize..3000).prop_map(|len| b"abcdefg".iter().cycle().take(len).copied().collect()),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![Just(Limits::default()), Just(low_limits())]
}

/// A value, and the thresholds it was built with.
fn value() -> impl Strategy<Value = (Entry, Limits)> {
    let texts = || proptest::collection::vec(text(), 1..20);
    let score = prop_oneof![
        any::<f64>().prop_filter("a score is a number", |score| !score.is_nan()),
        (-5i32..5).prop_map(f64::from),
        Just(f64::INFINITY),
        Just(-0.0),
    ];
    let plain =
        (text(), limits()).prop_map(|(text, limits)| (Entry::new(b"k", NewValue::Str(&text), None), limits));
    let list = (texts(), limits()).prop_map(|(texts, limits)| {
        let mut list = ListValue::new();
        list.push_all(End::Tail, &texts, &limits);
        (of(list), limits)
    });
    let set = (texts(), limits()).prop_map(|(texts, limits)| {
        let mut set = SetValue::new();
        set.insert_all(&texts, &limits);
        (of(set), limits)
    });
    let ints = (proptest::collection::vec(any::<i32>(), 1..20), limits()).prop_map(|(ints, limits)| {
        let mut set = SetValue::new();
        set.insert_all(&ints.iter().map(|n| n.to_string()).collect::<Vec<_>>(), &limits);
        (of(set), limits)
    });
    let hash = (proptest::collection::vec((text(), text()), 1..20), limits()).prop_map(|(fields, limits)| {
        let mut hash = HashValue::new();
        hash.set_all(&fields, &limits);
        (of(hash), limits)
    });
    let zset = (proptest::collection::vec((text(), score), 1..20), limits()).prop_map(|(members, limits)| {
        let mut zset = ZSetValue::new();
        for (member, score) in members {
            zset.insert(&member, score, &limits);
        }
        (of(zset), limits)
    });
    prop_oneof![plain, list, set, ints, hash, zset, stream()]
}

/// Streams with deleted entries, and groups with and without pending ones.
fn stream() -> impl Strategy<Value = (Entry, Limits)> {
    let entry = (1u64..50, proptest::collection::vec((text(), text()), 1..4), any::<bool>());
    let group = ("[a-c]{0,3}", any::<[u16; 4]>());
    let groups = proptest::collection::vec(group, 0..3);
    (proptest::collection::vec(entry, 0..30), groups).prop_map(|(entries, groups)| {
        let limits = Limits { stream_node_max_entries: 5, ..Limits::default() };
        let mut stream = StreamValue::new();
        let (mut ms, mut doomed) = (0, Vec::new());
        for (step, fields, is_doomed) in entries {
            ms += step;
            let id = StreamId::new(ms, step);
            stream.append(NewId::Exact(id), &fields, 0, &limits).unwrap();
            if is_doomed {
                doomed.push(id);
            }
        }
        for (name, [last, time_ms, count, read]) in groups {
            let entries_read = (read % 2 == 0).then_some(i64::from(read));
            let mut loader = GroupLoader::new(StreamId::new(last.into(), 0), entries_read);
            loader.pending(StreamId::new(count.into(), 1), time_ms.into(), count.into()).unwrap();
            loader.consumer(b"idle", 5, None).unwrap();
            let owner = loader.consumer(b"owner", time_ms.into(), Some(7)).unwrap();
            loader.owned(owner, StreamId::new(count.into(), 1)).unwrap();
            stream.insert_group(name.as_bytes(), loader.finish().unwrap());
        }
        stream.delete_all(&doomed);
        (of(stream), limits)
    })
}

fn of(value: impl TypedValue) -> Entry {
    Entry::new(b"k", NewValue::Object(SharedObject::new(value.into_object())), None)
}

/// A file with one database of these entries, already encoded.
fn file(encoded: &[u8], version: RdbVersion) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), version, true).unwrap();
    writer.select_db(0).unwrap();
    writer.entries(encoded).unwrap();
    writer.finish().unwrap()
}

fn entries_of(file: &[u8], limits: &Limits) -> Result<Vec<LoadedEntry>, RdbError> {
    let mut reader = Reader::new(file, ReadOptions { limits: *limits, ..ReadOptions::default() });
    let mut entries = Vec::new();
    loop {
        match reader.next()? {
            Event::Entry(entry) => entries.push(entry),
            Event::Eof(_) => return Ok(entries),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn values_come_back_as_they_were(
        (entry, limits) in value(),
        v10 in any::<bool>(),
        compress in any::<bool>(),
        expire_at_ms in proptest::option::of(0i64..),
    ) {
        let version = if v10 { RdbVersion::V10 } else { RdbVersion::V11 };
        let encoder = Encoder::new(EncodeOptions { version, compress, access: Access::None });
        let mut encoded = Vec::new();
        encoder.parts(&mut encoded, b"the key", expire_at_ms, 0, entry.value());
        let mut loaded = entries_of(&file(&encoded, version), &limits).unwrap();
        prop_assert_eq!(loaded.len(), 1);
        let loaded = loaded.remove(0);
        prop_assert_eq!(loaded.expire_at_ms, expire_at_ms);
        let back = loaded.value.into_entry(&loaded.key, expire_at_ms);
        prop_assert_eq!(back.key(), b"the key");
        prop_assert_eq!(content(back.value()), content(entry.value()));
        prop_assert_eq!(encoding(back.value()), encoding(entry.value()));
    }

    #[test]
    fn dumps_are_restored((entry, limits) in value()) {
        let payload = dump(entry.value(), true);
        let back = restore(&payload, &limits).unwrap().into_entry(b"k", None);
        prop_assert_eq!(content(back.value()), content(entry.value()));
    }

    #[test]
    fn a_damaged_dump_is_refused_or_sound((entry, limits) in value(), at in any::<prop::sample::Index>(), with in 1u8..) {
        let mut payload = dump(entry.value(), true);
        let at = at.index(payload.len());
        payload[at] ^= with;
        prop_assert!(matches!(restore(&payload, &limits), Err(RestoreError::Footer)));
        // The same damage under a checksum that agrees with it: anything but a panic.
        let body = payload.len() - 8;
        let crc = balas_persistence::crc64::crc64(0, &payload[..body]);
        payload[body..].copy_from_slice(&crc.to_le_bytes());
        if let Ok(value) = restore(&payload, &limits) {
            // Whatever was accepted can be used.
            let back = value.into_entry(b"k", None);
            content(back.value());
            prop_assert!(restore(&dump(back.value(), true), &limits).is_ok());
        }
    }

    #[test]
    fn a_file_cut_short_is_an_unexpected_end((entry, limits) in value(), at in any::<prop::sample::Index>()) {
        let mut encoded = Vec::new();
        Encoder::default().entry(&mut encoded, &entry);
        let mut file = file(&encoded, RdbVersion::V11);
        file.truncate(at.index(file.len()));
        let error = entries_of(&file, &limits).unwrap_err();
        prop_assert!(matches!(error, RdbError::Eof { offset } if offset <= file.len() as u64), "{}", error);
    }
}

#[test]
fn many_entries_span_chunks() {
    let mut encoded = Vec::new();
    for number in 0..50_000 {
        let entry = Entry::new(format!("key:{number}").as_bytes(), NewValue::Str(&[b'v'; 30]), None);
        Encoder::default().entry(&mut encoded, &entry);
    }
    let loaded = entries_of(&file(&encoded, RdbVersion::V11), &Limits::default()).unwrap();
    assert_eq!(loaded.len(), 50_000);
    assert_eq!(loaded[49_999].key, b"key:49999");
}

#[test]
fn a_checksum_that_differs_is_told() {
    let mut encoded = Vec::new();
    Encoder::default().entry(&mut encoded, &Entry::new(b"k", NewValue::Str(b"value"), None));
    let mut file = file(&encoded, RdbVersion::V11);
    let value_at = file.len() - 9 - 1;
    file[value_at] ^= 1;
    let error = entries_of(&file, &Limits::default()).unwrap_err();
    assert!(matches!(error, RdbError::Checksum { .. }), "{error}");
}

#[test]
fn usage_goes_with_the_entry() {
    let now_ms = 1_700_000_000_000;
    let mut entry = Entry::new(b"k", NewValue::Int(1), Some(now_ms + 5));
    let mut encoded = Vec::new();
    entry.set_access(keyspace::access::lru_idle_for(100, now_ms));
    let idle = EncodeOptions { access: Access::Idle { now_ms }, ..EncodeOptions::default() };
    Encoder::new(idle).entry(&mut encoded, &entry);
    entry.set_access(keyspace::access::lfu_with(77, now_ms));
    let knobs = LfuKnobs::default();
    let freq = EncodeOptions { access: Access::Freq { now_ms, knobs }, ..EncodeOptions::default() };
    Encoder::new(freq).entry(&mut encoded, &entry);
    let loaded = entries_of(&file(&encoded, RdbVersion::V11), &Limits::default()).unwrap();
    assert_eq!(loaded[0].usage, Usage { idle_s: Some(100), freq: None });
    assert_eq!(loaded[1].usage, Usage { idle_s: None, freq: Some(77) });
    assert_eq!(loaded[1].expire_at_ms, Some(now_ms + 5));
}

#[test]
fn a_length_that_lies_takes_no_memory() {
    for lie in [0x81, 0x80] {
        let mut file = b"REDIS0011\x00\x01k".to_vec();
        file.extend_from_slice(&[lie, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        file.extend_from_slice(&[b'x'; 100]);
        let error = entries_of(&file, &Limits::default()).unwrap_err();
        assert!(matches!(error, RdbError::Eof { .. }), "{error}");
    }
}
