use super::*;
use crate::types::test_config;
use proptest::prelude::*;
use std::collections::BTreeSet as Model;

fn tight() -> Limits {
    Limits {
        set_max_intset_entries: 8,
        set_max_listpack_entries: 5,
        set_max_listpack_value_bytes: 8,
        ..Limits::default()
    }
}

#[derive(Clone, Debug)]
enum Op {
    InsertAll(Vec<Vec<u8>>),
    Insert(Vec<u8>),
    Remove(Vec<u8>),
    Pop,
    PopMany(usize),
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => (-5i64..10).prop_map(|value| value.to_string().into_bytes()),
        3 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        3 => any::<i32>().prop_map(|value| value.to_string().into_bytes()),
        2 => "[a-c]{0,2}".prop_map(String::into_bytes),
        1 => (8usize..10).prop_map(|len| vec![b'x'; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => prop::collection::vec(member(), 1..4).prop_map(Op::InsertAll),
        4 => member().prop_map(Op::Insert),
        4 => member().prop_map(Op::Remove),
        1 => Just(Op::Pop),
        1 => (0usize..12).prop_map(Op::PopMany),
    ]
}

fn take_popped(model: &mut Model<Vec<u8>>, popped: Vec<Vec<u8>>, count: usize) {
    assert_eq!(popped.len(), count.min(model.len()));
    for member in popped {
        assert!(model.remove(&member), "{member:?} was no member, or popped twice");
    }
}

proptest! {
    #![proptest_config(test_config())]

    #[test]
    fn answers_like_a_set(ops in prop::collection::vec(op(), 1..80), seed: u64) {
        let limits = tight();
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut set, mut model) = (SetValue::new(), Model::new());
        for op in ops {
            match op {
                Op::InsertAll(members) => {
                    let new = members.iter().filter(|member| model.insert(member.to_vec())).count();
                    prop_assert_eq!(set.insert_all(&members, &limits), new);
                }
                Op::Insert(member) => prop_assert_eq!(set.insert(&member, &limits), model.insert(member)),
                Op::Remove(member) => prop_assert_eq!(set.remove(&member), model.remove(&member)),
                Op::Pop => take_popped(&mut model, set.pop(&mut rng).into_iter().collect(), 1),
                Op::PopMany(count) => take_popped(&mut model, set.pop_many(count, &mut rng, &limits), count),
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            let members: Vec<_> = set.iter().map(|member| member.to_vec()).collect();
            prop_assert_eq!(members.len(), model.len());
            prop_assert_eq!(&members.into_iter().collect::<Model<_>>(), &model);
            prop_assert!(model.iter().all(|member| set.contains(member) && set.contains_element(Element::of(member))));
            prop_assert!(!set.contains(b"never there"));
            prop_assert_eq!(set.random(&mut rng).is_some(), !model.is_empty());
            for count in [0, 1, 3, 100] {
                let drawn: Model<_> = set.random_distinct(count, &mut rng).iter().map(Element::to_vec).collect();
                prop_assert_eq!(drawn.len(), count.min(model.len()));
                prop_assert!(drawn.is_subset(&model));
            }
            if set.is_empty() {
                set = SetValue::new();
            }
        }
    }
}

#[test]
fn encodings_follow_the_members() {
    let limits = Limits::default();
    let numbers = |count: i64| -> Vec<String> { (0..count).map(|value| value.to_string()).collect() };
    let made_of = |members: &[String]| {
        let mut set = SetValue::new();
        set.insert_all(members, &limits);
        set
    };
    assert_eq!(made_of(&numbers(512)).encoding_name(), "intset");
    assert_eq!(made_of(&numbers(513)).encoding_name(), "hashtable");

    // One that is no integer makes a listpack of up to 127, and a table of more.
    for (count, name) in [(127, "listpack"), (128, "hashtable")] {
        let mut set = made_of(&numbers(count));
        set.insert(b"text", &limits);
        assert_eq!(set.encoding_name(), name, "{count} integers");
    }
    let texts: Vec<String> = (0..128).map(|value| format!("m{value}")).collect();
    let mut set = made_of(&texts);
    assert_eq!(set.encoding_name(), "listpack");
    set.insert(b"m0", &limits);
    assert_eq!(set.encoding_name(), "listpack");
    set.insert(b"one more", &limits);
    assert_eq!(set.encoding_name(), "hashtable");

    let mut set = SetValue::new();
    set.insert(&[b'x'; 64], &limits);
    assert_eq!(set.encoding_name(), "listpack");
    set.insert(&[b'y'; 65], &limits);
    assert_eq!(set.encoding_name(), "hashtable");

    // Created for 200 members of which the first is text, whatever they turn out to be.
    let mut mixed = numbers(200);
    mixed[0] = "text".into();
    assert_eq!(made_of(&mixed).encoding_name(), "hashtable");
}

#[test]
fn popping_nearly_all_of_a_table_leaves_a_listpack() {
    let limits = Limits::default();
    let mut rng = fastrand::Rng::with_seed(3);
    let members: Vec<String> = (0..1000).map(|value| format!("m{value}")).collect();
    let mut set = SetValue::new();
    set.insert_all(&members, &limits);
    assert_eq!(set.pop_many(100, &mut rng, &limits).len(), 100);
    assert_eq!(set.encoding_name(), "hashtable");
    assert_eq!(set.pop_many(850, &mut rng, &limits).len(), 850);
    assert_eq!((set.encoding_name(), set.len()), ("listpack", 50));
}

#[test]
fn every_member_of_a_large_set_is_drawn_and_scanned() {
    let limits = Limits::default();
    let mut rng = fastrand::Rng::with_seed(11);
    let mut set = SetValue::new();
    for value in 0..2000 {
        set.insert(format!("m{value}").as_bytes(), &limits);
    }
    let mut drawn = Model::new();
    for _ in 0..400 {
        drawn.extend(set.random_distinct(50, &mut rng).iter().map(Element::to_vec));
    }
    assert!(drawn.len() > 1990, "{} of 2000", drawn.len());
    let (mut scanned, mut cursor) = (Model::new(), 0);
    loop {
        cursor = set.scan(cursor, |member| {
            scanned.insert(member.to_vec());
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(scanned.len(), 2000);
}

#[test]
fn stored_sets_are_checked() {
    let limits = tight();
    let mut pack = Listpack::new();
    assert!(SetValue::from_listpack(pack.clone(), &limits).is_err());
    pack.push_back(b"a");
    assert!(SetValue::from_listpack(pack.clone(), &limits).is_ok());
    pack.push_back(b"a");
    assert!(SetValue::from_listpack(pack, &limits).is_err());
    let mut ints = Intset::new();
    (0..9).for_each(|value| assert!(ints.insert(value)));
    assert_eq!(SetValue::from_intset(ints, &limits).encoding_name(), "hashtable");
}
