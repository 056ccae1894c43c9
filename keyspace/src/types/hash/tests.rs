use super::*;
use crate::types::test_config;
use proptest::prelude::*;
use std::collections::BTreeMap as Model;

fn tight() -> Limits {
    Limits { hash_max_listpack_entries: 6, hash_max_listpack_value_bytes: 8, ..Limits::default() }
}

#[derive(Clone, Debug)]
enum Op {
    SetAll(Vec<(Vec<u8>, Vec<u8>)>),
    Remove(Vec<u8>),
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0i64..10).prop_map(|value| value.to_string().into_bytes()),
        3 => any::<i64>().prop_map(|value| value.to_string().into_bytes()[..].iter().take(8).copied().collect()),
        4 => "[a-c]{0,2}".prop_map(String::into_bytes),
        1 => (8usize..10).prop_map(|len| vec![b'x'; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => prop::collection::vec((text(), text()), 1..4).prop_map(Op::SetAll),
        2 => text().prop_map(Op::Remove),
    ]
}

fn contents(hash: &HashValue) -> Model<Vec<u8>, Vec<u8>> {
    let all: Model<_, _> = hash.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    assert_eq!(all.len(), hash.iter().count(), "a field was met twice");
    all
}

proptest! {
    #![proptest_config(test_config())]

    #[test]
    fn answers_like_a_map(ops in prop::collection::vec(op(), 1..60), seed: u64) {
        let limits = tight();
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut hash, mut model) = (HashValue::new(), Model::new());
        for op in ops {
            match op {
                Op::SetAll(fields) => {
                    let new = fields.iter().filter(|(name, value)| model.insert(name.clone(), value.clone()).is_none());
                    let new = new.count();
                    prop_assert_eq!(hash.set_all(&fields, &limits), new);
                }
                Op::Remove(name) => prop_assert_eq!(hash.remove(&name), model.remove(&name).is_some()),
            }
            prop_assert_eq!(hash.len(), model.len());
            prop_assert_eq!(hash.is_empty(), model.is_empty());
            prop_assert_eq!(&contents(&hash), &model);
            for (name, value) in &model {
                prop_assert!(hash.get(name).is_some_and(|held| held.is(value)));
            }
            prop_assert!(!hash.contains(b"never there"));
            prop_assert_eq!(hash.random(&mut rng).is_some(), !model.is_empty());
            for count in [0, 1, 3, 100] {
                let drawn = hash.random_distinct(count, &mut rng);
                let names: Model<_, _> = drawn.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
                prop_assert_eq!(names.len(), count.min(model.len()));
                prop_assert!(names.iter().all(|(name, value)| model.get(name) == Some(value)));
            }
            let mut scanned = Model::new();
            let mut cursor = 0;
            loop {
                cursor = hash.scan(cursor, |name, value| {
                    scanned.insert(name.to_vec(), value.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            prop_assert_eq!(&scanned, &model);
            if hash.is_empty() {
                hash = HashValue::new();
            }
        }
    }
}

#[test]
fn conversion_happens_at_the_limits() {
    let limits = Limits::default();
    let mut hash = HashValue::new();
    for index in 0..512 {
        assert!(hash.set(format!("f{index}").as_bytes(), &[b'v'; 64], &limits));
    }
    assert_eq!(hash.encoding_name(), "listpack");
    hash.set(b"one more", b"", &limits);
    assert_eq!(hash.encoding_name(), "hashtable");

    let mut hash = HashValue::new();
    hash.set(b"f", &[b'v'; 65], &limits);
    assert_eq!(hash.encoding_name(), "hashtable");

    // Counted by arguments, even when they name one field only.
    let mut hash = HashValue::new();
    assert_eq!(hash.set_all(&vec![("f", "v"); 513], &limits), 1);
    assert_eq!(hash.encoding_name(), "hashtable");
}

#[test]
fn stored_listpacks_are_checked() {
    let limits = tight();
    let pack = |texts: &[&str]| {
        let mut pack = Listpack::new();
        texts.iter().for_each(|text| pack.push_back(text.as_bytes()));
        pack
    };
    assert!(HashValue::from_listpack(pack(&["a", "1", "b", "1"]), &limits).is_ok());
    for corrupt in [&["a", "1", "a", "2"][..], &["a"], &[]] {
        assert!(HashValue::from_listpack(pack(corrupt), &limits).is_err(), "{corrupt:?}");
    }
    let many: Vec<String> = (0..14).map(|index| index.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(HashValue::from_listpack(pack(&many), &limits).unwrap().encoding_name(), "hashtable");
}

#[test]
fn memory_is_counted_up_and_down() {
    let limits = tight();
    let mut hash = HashValue::new();
    for index in 0..1000 {
        hash.set(format!("field:{index}").as_bytes(), b"a value of some length", &limits);
    }
    let full = hash.memory_bytes();
    assert!(full > 1000 * 32);
    for index in 0..999 {
        hash.set(format!("field:{index}").as_bytes(), b"short", &limits);
        hash.remove(format!("field:{index}").as_bytes());
    }
    assert!(hash.memory_bytes() < full / 100, "{} of {full}", hash.memory_bytes());
}

#[derive(Clone, Debug)]
enum TimedOp {
    Set(Vec<u8>, Vec<u8>),
    Update(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    ExpireAt(Vec<u8>, i64),
    Persist(Vec<u8>),
    /// Removes what is overdue then.
    Pass(i64),
}

fn timed_op() -> impl Strategy<Value = TimedOp> {
    prop_oneof![
        3 => (text(), text()).prop_map(|(name, value)| TimedOp::Set(name, value)),
        2 => (text(), text()).prop_map(|(name, value)| TimedOp::Update(name, value)),
        2 => text().prop_map(TimedOp::Remove),
        6 => (text(), 0..100i64).prop_map(|(name, at_ms)| TimedOp::ExpireAt(name, at_ms)),
        2 => text().prop_map(TimedOp::Persist),
        1 => (0..100i64).prop_map(TimedOp::Pass),
    ]
}

proptest! {
    #![proptest_config(test_config())]

    #[test]
    fn fields_expire_as_a_map_with_times_says(ops in prop::collection::vec(timed_op(), 1..80)) {
        let limits = tight();
        let (mut hash, mut model) = (HashValue::new(), Model::<Vec<u8>, (Vec<u8>, Option<i64>)>::new());
        for op in ops {
            match op {
                TimedOp::Set(name, value) => {
                    let is_new = model.insert(name.clone(), (value.clone(), None)).is_none();
                    prop_assert_eq!(hash.set(&name, &value, &limits), is_new);
                }
                TimedOp::Update(name, value) => {
                    let time = model.get(&name).and_then(|(_, time)| *time);
                    let is_new = model.insert(name.clone(), (value.clone(), time)).is_none();
                    prop_assert_eq!(hash.update(&name, &value, &limits), is_new);
                }
                TimedOp::Remove(name) => prop_assert_eq!(hash.remove(&name), model.remove(&name).is_some()),
                TimedOp::ExpireAt(name, at_ms) => {
                    let held = model.get_mut(&name).map(|(_, time)| *time = Some(at_ms));
                    prop_assert_eq!(hash.expire_at(&name, at_ms), held.is_some());
                }
                TimedOp::Persist(name) => {
                    let held = model.get_mut(&name).and_then(|(_, time)| time.take());
                    prop_assert_eq!(hash.persist(&name), held.is_some());
                }
                TimedOp::Pass(now_ms) => {
                    let rest = hash.without_overdue(now_ms);
                    let overdue = hash.overdue(now_ms, usize::MAX);
                    prop_assert!(hash.overdue(now_ms, 1).len() == overdue.len().min(1));
                    let before = model.len();
                    model.retain(|_, (_, time)| time.is_none_or(|at_ms| at_ms >= now_ms));
                    prop_assert_eq!(overdue.len(), before - model.len());
                    for name in overdue {
                        prop_assert!(hash.remove(&name));
                    }
                    prop_assert_eq!(contents(&rest), contents(&hash));
                }
            }
            let plain: Model<_, _> = model.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect();
            prop_assert_eq!(contents(&hash), plain);
            for (name, (_, time)) in &model {
                prop_assert_eq!(hash.expires_at(name), *time);
            }
            let first = model.values().filter_map(|(_, time)| *time).min();
            prop_assert_eq!(hash.first_expiry_ms(), first);
            prop_assert_eq!(hash.expires(), first.is_some());
        }
    }
}

#[test]
fn a_hash_without_times_is_as_small_as_it_was() {
    assert_eq!(size_of::<HashValue>(), size_of::<plain::PlainHash>());
}
