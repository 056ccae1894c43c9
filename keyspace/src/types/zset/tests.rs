use super::*;
use crate::types::test_config;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn limits(entries: usize) -> Limits {
    Limits { zset_max_listpack_entries: entries, zset_max_listpack_value_bytes: 8, ..Limits::default() }
}

/// Members and scores, and their order, the simple way.
#[derive(Default)]
struct Model(BTreeMap<Vec<u8>, f64>);

impl Model {
    fn ordered(&self) -> Vec<(Vec<u8>, f64)> {
        let mut all: Vec<_> = self.0.iter().map(|(member, score)| (member.clone(), *score)).collect();
        all.sort_by(|left, right| left.1.partial_cmp(&right.1).unwrap().then_with(|| left.0.cmp(&right.0)));
        all
    }
}

fn collected<'a>(iter: impl Iterator<Item = Scored<'a>>) -> Vec<(Vec<u8>, f64)> {
    iter.map(|(member, score)| (member.to_vec(), score)).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Add(Vec<u8>, f64, AddOptions),
    Remove(Vec<u8>),
    RemoveRanks(usize, usize),
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (-20i64..200).prop_map(|value| value.to_string().into_bytes()),
        8 => (0..300u32).prop_map(|value| format!("m{value}").into_bytes()),
        1 => "[a-c]{0,2}".prop_map(String::into_bytes),
        1 => (8usize..10).prop_map(|len| vec![b'x'; len]),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-5i32..5).prop_map(f64::from),
        4 => -1e3f64..1e3,
        2 => any::<f64>().prop_filter("a number", |value| !value.is_nan()),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(9.1e18),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let options = any::<(bool, bool, bool, bool, bool)>().prop_map(|(often, xx, gt, lt, incr)| match often {
        true => AddOptions::default(),
        false => AddOptions { nx: !xx && !gt && !lt, xx, gt, lt: lt && !gt, incr },
    });
    prop_oneof![
        12 => (member(), score(), options).prop_map(|(member, score, options)| Op::Add(member, score, options)),
        3 => member().prop_map(Op::Remove),
        1 => (0usize..100, 0usize..20).prop_map(|(start, count)| Op::RemoveRanks(start, count)),
    ]
}

fn add(model: &mut Model, member: Vec<u8>, score: f64, options: AddOptions) -> Result<Added, NotANumber> {
    let Some(&present) = model.0.get(&member) else {
        if options.xx {
            return Ok(Added::Skipped);
        }
        model.0.insert(member, score);
        return Ok(Added::New(score));
    };
    if options.nx {
        return Ok(Added::Skipped);
    }
    let score = if options.incr { score + present } else { score };
    if score.is_nan() {
        return Err(NotANumber);
    }
    if (options.gt && score <= present) || (options.lt && score >= present) {
        return Ok(Added::Skipped);
    }
    if score == present {
        return Ok(Added::Unchanged(score));
    }
    model.0.insert(member, score);
    Ok(Added::Updated(score))
}

fn check(zset: &ZSetValue, model: &Model, rng: &mut fastrand::Rng) {
    let ordered = model.ordered();
    assert_eq!(zset.len(), ordered.len());
    assert_eq!(collected(zset.iter()), ordered);
    let mut backwards = collected(zset.iter().rev());
    backwards.reverse();
    assert_eq!(backwards, ordered);
    if let Repr::Tree(tree) = &zset.repr {
        tree.check();
    }
    for _ in 0..5 {
        let (start, end) = (rng.usize(..=ordered.len()), rng.usize(..=ordered.len()));
        let ranks = start.min(end)..start.max(end);
        assert_eq!(collected(zset.range(ranks.clone())), ordered[ranks]);
    }
    for (rank, (member, score)) in ordered.iter().enumerate() {
        assert_eq!(zset.rank(member), Some((rank, *score)));
        assert_eq!(zset.score(member), Some(*score));
    }
    assert_eq!(zset.rank(b"never there"), None);
    let mut scanned = BTreeMap::new();
    let mut cursor = 0;
    loop {
        cursor = zset.scan(cursor, |member, score| assert!(scanned.insert(member.to_vec(), score).is_none()));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(scanned, model.0);
    for count in [0, 1, 4, 1000] {
        let drawn = collected(zset.random_distinct(count, rng).into_iter());
        assert_eq!(drawn.len(), count.min(ordered.len()));
        assert!(drawn.iter().all(|(member, score)| model.0.get(member) == Some(score)));
    }
}

fn check_score_range(zset: &ZSetValue, model: &Model, range: ScoreRange) {
    let (above, below) = (
        |score: f64| if range.min_exclusive { score > range.min } else { score >= range.min },
        |score: f64| if range.max_exclusive { score < range.max } else { score <= range.max },
    );
    let expected: Vec<_> =
        model.ordered().into_iter().filter(|(_, score)| above(*score) && below(*score)).collect();
    let ranks = zset.ranks_by_score(&range);
    assert_eq!(ranks.len(), expected.len(), "{range:?}");
    assert_eq!(collected(zset.range(ranks)), expected, "{range:?}");
    assert!(expected.iter().all(|(_, score)| range.contains(*score)));
}

proptest! {
    #![proptest_config(test_config())]

    #[test]
    fn answers_like_a_sorted_map(
        entries in prop_oneof![Just(0), Just(5), Just(40), Just(10_000)],
        ops in prop::collection::vec(op(), 1..60),
        bounds in prop::collection::vec((score(), score(), any::<bool>(), any::<bool>()), 4),
        seed: u64,
    ) {
        let limits = limits(entries);
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut zset, mut model) = (ZSetValue::new(), Model::default());
        for op in ops {
            match op {
                Op::Add(member, score, options) => {
                    let added = zset.add(&member, score, options, &limits);
                    prop_assert_eq!(added, add(&mut model, member, score, options));
                }
                Op::Remove(member) => prop_assert_eq!(zset.remove(&member), model.0.remove(&member)),
                Op::RemoveRanks(start, count) => {
                    let ranks = start.min(model.0.len())..(start + count).min(model.0.len());
                    for (member, _) in &model.ordered()[ranks.clone()] {
                        model.0.remove(member);
                    }
                    zset.remove_ranks(ranks);
                }
            }
            check(&zset, &model, &mut rng);
        }
        for (min, max, min_exclusive, max_exclusive) in bounds {
            check_score_range(&zset, &model, ScoreRange { min, max, min_exclusive, max_exclusive });
        }
        let copy = zset.clone();
        zset.remove_ranks(0..zset.len());
        prop_assert!(zset.is_empty());
        check(&copy, &model, &mut rng);
    }

    #[test]
    fn lex_ranges(entries in prop_oneof![Just(0), Just(1000)], members in prop::collection::btree_set("[a-d]{0,3}", 0..60), bounds in prop::collection::vec(("[-+]|[\\[(][a-d]{0,3}", "[-+]|[\\[(][a-d]{0,3}"), 8)) {
        let limits = limits(entries);
        let mut zset = ZSetValue::new();
        for member in &members {
            zset.insert(member.as_bytes(), 0.0, &limits);
        }
        for (min, max) in bounds {
            let range = LexRange::parse(min.as_bytes(), max.as_bytes()).unwrap();
            let in_min = |member: &str| match min.as_bytes()[0] {
                b'-' => true,
                b'+' => false,
                b'[' => member >= &min[1..],
                _ => member > &min[1..],
            };
            let in_max = |member: &str| match max.as_bytes()[0] {
                b'-' => false,
                b'+' => true,
                b'[' => member <= &max[1..],
                _ => member < &max[1..],
            };
            let expected: Vec<_> = members.iter().filter(|member| in_min(member) && in_max(member)).collect();
            let found = collected(zset.range(zset.ranks_by_lex(&range)));
            prop_assert_eq!(found.len(), expected.len());
            prop_assert!(found.iter().zip(expected).all(|((found, _), expected)| found == expected.as_bytes()));
        }
    }
}

#[test]
fn bounds_that_are_none() {
    assert!(ScoreRange::parse(b"(1", b"+inf").is_some());
    assert!(ScoreRange::parse(b"nan", b"1").is_none());
    assert!(ScoreRange::parse(b"1", b"((2").is_none());
    for text in ["", "a", "--", "+x", "1"] {
        assert_eq!(LexBound::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_hundred_thousand_members_come_and_go() {
    let limits = Limits::default();
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut zset, mut model) = (ZSetValue::new(), Model::default());
    for round in 0..100_000u32 {
        let member = format!("member:{}", rng.u32(..60_000)).into_bytes();
        let score = if round % 3 == 0 { f64::from(rng.u32(..100)) } else { rng.f64() * 1e6 };
        assert_eq!(zset.insert(&member, score, &limits), model.0.insert(member, score).is_none());
    }
    assert_eq!(collected(zset.iter()), model.ordered());
    let Repr::Tree(tree) = &zset.repr else { panic!("still a listpack") };
    tree.check();

    for (rank, (member, score)) in model.ordered().into_iter().enumerate().step_by(501) {
        assert_eq!(zset.rank(&member), Some((rank, score)));
        assert_eq!(zset.by_rank(rank).map(|(held, score)| (held.to_vec(), score)), Some((member, score)));
    }
    let doomed: Vec<_> = model.0.keys().filter(|_| rng.u8(..10) > 0).cloned().collect();
    for member in doomed {
        assert_eq!(zset.remove(&member), model.0.remove(&member));
    }
    let Repr::Tree(tree) = &zset.repr else { panic!("a listpack again") };
    tree.check();
    assert_eq!(collected(zset.iter()), model.ordered());
    zset.remove_ranks(10..zset.len() - 10);
    assert_eq!(zset.len(), 20);
    zset.remove_ranks(0..20);
    assert!(zset.is_empty());
    assert!(zset.memory_bytes() < 2000, "{}", zset.memory_bytes());
}

#[test]
fn ascending_and_descending_members() {
    let limits = limits(0);
    for descending in [false, true] {
        let mut zset = ZSetValue::new();
        for index in 0..30_000u32 {
            let value = if descending { 30_000 - index } else { index };
            zset.insert(value.to_string().as_bytes(), f64::from(value), &limits);
        }
        let Repr::Tree(tree) = &zset.repr else { panic!("a listpack") };
        tree.check();
        if !descending {
            assert!(tree.leaf_count() < 30_000 / 60, "{} leaves", tree.leaf_count());
        }
        assert_eq!(zset.ranks_by_score(&ScoreRange::parse(b"(100", b"200").unwrap()).len(), 100);
    }
}

#[test]
fn large_members_make_leaves_of_few() {
    let limits = limits(0);
    let mut zset = ZSetValue::new();
    for index in 0..100u32 {
        let mut member = vec![b'x'; 9000];
        member[..2].copy_from_slice(&(index as u16).to_be_bytes());
        zset.insert(&member, 1.0, &limits);
    }
    let Repr::Tree(tree) = &zset.repr else { panic!("a listpack") };
    tree.check();
    assert!(tree.leaf_count() >= 50);
}

#[test]
fn conversion_happens_at_the_limits() {
    let limits = Limits::default();
    let mut zset = ZSetValue::new();
    for index in 0..128u32 {
        zset.insert(index.to_string().as_bytes(), 1.0, &limits);
    }
    assert_eq!(zset.encoding_name(), "listpack");
    zset.insert(b"0", 2.0, &limits);
    assert_eq!(zset.encoding_name(), "listpack");
    zset.insert(b"one more", 1.0, &limits);
    assert_eq!(zset.encoding_name(), "skiplist");
    zset.remove(b"one more");
    assert_eq!(zset.encoding_name(), "skiplist");
    zset.compact(&limits);
    assert_eq!(zset.encoding_name(), "listpack");

    let mut zset = ZSetValue::new();
    zset.insert(&[b'x'; 65], 1.0, &limits);
    assert_eq!(zset.encoding_name(), "skiplist");
    assert_eq!(ZSetValue::with_hints(128, 64, &limits).encoding_name(), "listpack");
    assert_eq!(ZSetValue::with_hints(129, 0, &limits).encoding_name(), "skiplist");
    assert_eq!(ZSetValue::with_hints(1, 65, &limits).encoding_name(), "skiplist");
}

#[test]
fn stored_listpacks_are_checked() {
    let limits = Limits::default();
    let pack = |texts: &[&str]| {
        let mut pack = Listpack::new();
        texts.iter().for_each(|text| pack.push_back(text.as_bytes()));
        pack
    };
    for corrupt in [&["a", "1", "a", "2"][..], &["a"], &[], &["a", "nan"]] {
        assert!(ZSetValue::from_listpack(pack(corrupt), &limits).is_err(), "{corrupt:?}");
    }
    let zset = ZSetValue::from_listpack(pack(&["b", "2.5", "a", "1"]), &limits).unwrap();
    assert_eq!(collected(zset.iter()), [(b"a".to_vec(), 1.0), (b"b".to_vec(), 2.5)]);
    assert_eq!(zset.encoding_name(), "listpack");
}

#[test]
fn sums_that_are_not_numbers_change_nothing() {
    for entries in [0, 10] {
        let limits = limits(entries);
        let mut zset = ZSetValue::new();
        zset.insert(b"m", f64::INFINITY, &limits);
        let incr = AddOptions { incr: true, ..AddOptions::default() };
        assert_eq!(zset.add(b"m", f64::NEG_INFINITY, incr, &limits), Err(NotANumber));
        assert_eq!(zset.add(b"m", f64::NAN, AddOptions::default(), &limits), Err(NotANumber));
        assert_eq!(zset.score(b"m"), Some(f64::INFINITY));
    }
}
