use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::entry::{NewValue, ValueRef};
use crate::table::Item;

fn text(entry: &Entry) -> Vec<u8> {
    match entry.value() {
        ValueRef::Bytes(bytes) => bytes.to_vec(),
        other => panic!("not a short string: {other:?}"),
    }
}

fn set(db: &Db, key: &str, value: &str) {
    db.lock_write(Slot::of(key.as_bytes())).upsert(key.as_bytes(), NewValue::Plain(value.as_bytes()), None);
}

fn get(db: &Db, key: &str) -> Option<String> {
    let guard = db.lock(Slot::of(key.as_bytes()));
    guard.get(key.as_bytes()).map(|entry| String::from_utf8(text(entry)).unwrap())
}

/// Whether every count is what counting gives.
fn check(db: &Db) {
    let (mut keys, mut expires) = (0, 0);
    for slot in Slot::all() {
        let guard = db.lock(slot);
        assert_eq!(guard.iter().count(), guard.len());
        assert_eq!(guard.iter().filter(|entry| entry.expire_at_ms().is_some()).count(), guard.expires());
        assert_eq!(db.key_count(slot), guard.len());
        assert_eq!(db.expires_census().unwrap().count(slot), guard.expires());
        (keys, expires) = (keys + guard.len(), expires + guard.expires());
    }
    assert_eq!((db.len(), db.expires()), (keys, expires));
}

#[test]
fn databases_are_separate_and_swap() {
    let keyspace = Keyspace::new(16);
    assert!(keyspace.db(16).is_none() && keyspace.is_empty());
    let (zero, one) = (keyspace.db(0).unwrap(), keyspace.db(1).unwrap());
    set(zero, "a", "in 0");
    set(zero, "b", "in 0");
    set(one, "a", "in 1");
    one.lock(Slot::of(b"a")).side_mut().watched.add(b"a", 77);
    assert_eq!((zero.len(), one.len(), keyspace.len()), (2, 1, 3));
    assert!(keyspace.swap(1, 0) && !keyspace.swap(0, 16));
    assert_eq!((get(zero, "a"), get(one, "a")), (Some("in 1".into()), Some("in 0".into())));
    assert_eq!((zero.len(), one.len()), (1, 2));
    assert_eq!(one.lock(Slot::of(b"a")).side().unwrap().watched.get(b"a"), [77], "watchers watch a number");
    check(zero);
    check(one);
    assert!(keyspace.db(2).unwrap().keys_census().is_none(), "never used, never allocated");
}

#[test]
fn take_all_leaves_an_empty_database() {
    let keyspace = Keyspace::new(1);
    let db = keyspace.db(0).unwrap();
    assert!(db.take_all().is_empty());
    for n in 0..1_000 {
        set(db, &format!("key:{n}"), "x");
    }
    assert_eq!(db.take_all().iter().map(Table::len).sum::<usize>(), 1_000);
    assert_eq!((db.len(), get(db, "key:1")), (0, None));
    check(db);
}

#[test]
fn random_keys_come_by_their_share() {
    let keyspace = Keyspace::new(1);
    let db = keyspace.db(0).unwrap();
    let mut rng = fastrand::Rng::with_seed(11);
    assert_eq!(db.random(&mut rng, |_, _| ()), None);
    for n in 0..50 {
        set(db, &format!("{{tag}}{n}"), "x");
        set(db, &format!("key:{n}"), "x");
    }
    let mut drawn: HashMap<Vec<u8>, u32> = HashMap::new();
    for _ in 0..100_000 {
        let key = db.random(&mut rng, |slot, entry| {
            assert_eq!(slot, Slot::of(entry.key()));
            entry.key().to_vec()
        });
        *drawn.entry(key.unwrap()).or_default() += 1;
    }
    assert_eq!(drawn.len(), 100);
    assert!(drawn.values().all(|times| (700..1300).contains(times)), "{drawn:?}");
}

#[test]
fn scan_meets_each_key_once() {
    let keyspace = Keyspace::new(1);
    let db = keyspace.db(0).unwrap();
    assert_eq!(db.scan(0, |_, _| unreachable!()), 0);
    let keys: HashSet<String> =
        (0..2_000).map(|n| if n % 2 == 0 { format!("{{tag}}{n}") } else { format!("key:{n}") }).collect();
    keys.iter().for_each(|key| set(db, key, "x"));
    let mut seen = HashSet::new();
    let mut cursor = 0;
    loop {
        cursor = db.scan(cursor, |_, entry| {
            assert!(seen.insert(String::from_utf8(entry.key().to_vec()).unwrap()), "twice: {entry:?}");
        });
        assert!(cursor < 1 << 62);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen, keys);
    // Nonsense from a client is no harm.
    for cursor in [u64::MAX, 1 << 63, 16_383, 1 << 62 | 77] {
        db.scan(cursor, |_, _| ());
    }
}

#[test]
fn random_expiring_finds_a_needle() {
    let mut data = SlotData::default();
    let mut rng = fastrand::Rng::with_seed(5);
    for n in 0..5_000 {
        data.upsert(format!("key:{n}").as_bytes(), NewValue::Int(n), None);
    }
    assert!(data.random_expiring(&mut rng).is_none());
    data.set_expire(b"key:77", Some(1));
    assert_eq!(data.random_expiring(&mut rng).unwrap().key(), b"key:77");
}

#[test]
fn an_empty_slot_owns_nothing() {
    let mut data = SlotData::default();
    assert_eq!(data.memory_bytes(), 0);
    data.upsert(b"key", NewValue::Str(b"value"), Some(1));
    assert!(data.memory_bytes() > 0);
    data.remove(b"key");
    data.side_mut().blocked.add(b"key", 1);
    data.side_mut().blocked.remove(b"key", 1);
    data.trim();
    assert!(data.side().is_none());
    assert_eq!((data.memory_bytes(), data.expires()), (0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Upsert(u8, Vec<u8>, Option<i64>),
    GetOrInsert(u8),
    SetValue(u8, Vec<u8>),
    Expire(u8, Option<i64>),
    Append(u8),
    Remove(u8),
    Rename(u8, u8),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let value = || prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        8 => (any::<u8>(), value(), any::<Option<i64>>()).prop_map(|(n, v, at)| Step::Upsert(n, v, at)),
        2 => any::<u8>().prop_map(Step::GetOrInsert),
        4 => (any::<u8>(), value()).prop_map(|(n, v)| Step::SetValue(n, v)),
        4 => (any::<u8>(), any::<Option<i64>>()).prop_map(|(n, at)| Step::Expire(n, at)),
        2 => any::<u8>().prop_map(Step::Append),
        6 => any::<u8>().prop_map(Step::Remove),
        3 => any::<(u8, u8)>().prop_map(|(from, to)| Step::Rename(from, to)),
        1 => Just(Step::Flush),
    ]
}

type Model = HashMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

/// Half of the keys share a slot.
fn key(n: u8) -> Vec<u8> {
    if n.is_multiple_of(2) { format!("{{tag}}{n}") } else { format!("key:{n}") }.into_bytes()
}

fn apply(db: &Db, model: &mut Model, step: Step) {
    let lock = |key: &[u8]| db.lock_write(Slot::of(key));
    match step {
        Step::Upsert(n, value, at_ms) => {
            let (key, mut guard) = (key(n), lock(&key(n)));
            let (_, is_new) = guard.upsert(&key, NewValue::Plain(&value), at_ms);
            assert_eq!(is_new, model.insert(key, (value, at_ms)).is_none());
        }
        Step::GetOrInsert(n) => {
            let (key, mut guard) = (key(n), lock(&key(n)));
            let (_, is_new) = guard.get_or_insert_with(&key, || NewValue::Plain(b"fresh"));
            assert_eq!(is_new, !model.contains_key(&key));
            model.entry(key).or_insert((b"fresh".to_vec(), None));
        }
        Step::SetValue(n, value) => {
            let (key, mut guard) = (key(n), lock(&key(n)));
            let there = guard.get_mut(&key).map(|mut entry| entry.set_value(NewValue::Plain(&value)));
            assert_eq!(there, model.get_mut(&key).map(|held| held.0 = value));
        }
        Step::Expire(n, at_ms) => {
            let there = lock(&key(n)).set_expire(&key(n), at_ms);
            assert_eq!(there, model.get_mut(&key(n)).map(|held| held.1 = at_ms).is_some());
        }
        Step::Append(n) => {
            let mut guard = lock(&key(n));
            if let Some(mut entry) = guard.get_mut(&key(n)) {
                entry.string_mut(|text| text.push(b'+'));
            }
            model.entry(key(n)).and_modify(|held| held.0.push(b'+'));
        }
        Step::Remove(n) => {
            let removed = lock(&key(n)).remove(&key(n)).map(|entry| (text(&entry), entry.expire_at_ms()));
            assert_eq!(removed, model.remove(&key(n)));
        }
        Step::Rename(from, to) => {
            let moved = lock(&key(from)).remove(&key(from));
            if let Some(entry) = moved {
                lock(&key(to)).insert_entry(entry.renamed(&key(to)));
            }
            if let Some(held) = model.remove(&key(from)) {
                model.insert(key(to), held);
            }
        }
        Step::Flush => {
            db.take_all();
            model.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_database_behaves_like_a_map(steps in prop::collection::vec(step(), 1..400)) {
        let keyspace = Keyspace::new(1);
        let db = keyspace.db(0).unwrap();
        let mut model = Model::new();
        for step in steps {
            apply(db, &mut model, step);
            prop_assert_eq!(db.len(), model.len());
        }
        let mut held = Model::new();
        let mut cursor = 0;
        loop {
            cursor = db.scan(cursor, |_, entry| {
                held.insert(entry.key().to_vec(), (text(entry), entry.expire_at_ms()));
            });
            if cursor == 0 {
                break;
            }
        }
        prop_assert_eq!(held, model);
        check(db);
    }
}
