use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

/// A key and a value, one word wide.
#[derive(Clone, Debug, PartialEq)]
struct Pair(Box<(Vec<u8>, u32)>);

impl Pair {
    fn new(n: u32, value: u32) -> Pair {
        Pair(Box::new((key(n), value)))
    }
}

impl Item for Pair {
    fn key(&self) -> &[u8] {
        &self.0.0
    }
}

fn key(n: u32) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

fn table_of(keys: impl IntoIterator<Item = u32>) -> Table<Pair> {
    let mut table = Table::new();
    for n in keys {
        table.insert(hash(&key(n)), Pair::new(n, n));
    }
    table
}

impl<T: Item> Table<T> {
    fn check(&self) {
        let root = &self.root;
        if root.len == 0 {
            return;
        }
        let (mut len, mut overflows) = (0, 0);
        for index in 0..root.bucket_count() {
            let bucket = root.bucket(index);
            overflows += bucket.chain_overflows() as u32;
            len += bucket.chain_len();
            for (i, link) in bucket.chain().enumerate() {
                assert!(i == 0 || link.marks.count() > 0, "an empty overflow bucket");
                assert!(link.overflow.is_none() || link.marks.first_free().is_none(), "a hole in a chain");
                for place in 0..PLACES {
                    let mark = link.items[place].as_ref().map_or(0, |item| {
                        assert_eq!(root.index_of(hash(item.key())), index);
                        fingerprint(hash(item.key()))
                    });
                    assert_eq!(link.marks.get(place), mark);
                }
            }
        }
        assert_eq!((len, overflows), (root.len as usize, root.overflows));
        assert!(root.len as usize <= root.bucket_count() * MAX_LOAD);
    }
}

#[test]
fn an_empty_table_owns_nothing() {
    let mut table: Table<Pair> = Table::new();
    assert_eq!((table.len(), table.memory_bytes(), table.scan(77, |_| panic!("no items"))), (0, 0, 0));
    assert!(table.find(hash(b"x"), b"x").is_none());
    assert!(table.random(&mut fastrand::Rng::with_seed(1)).is_none());
    assert_eq!(table.drain().count(), 0);
}

#[test]
fn grows_and_shrinks_by_one_bucket_at_a_time() {
    const KEYS: u32 = 40_000; // several segments
    let mut table = table_of(0..KEYS);
    table.check();
    let full = table.memory_bytes();
    for n in 0..KEYS {
        let buckets = table.root.bucket_count();
        assert_eq!(table.remove(hash(&key(n)), &key(n)), Some(Pair::new(n, n)));
        let left = table.root.bucket_count();
        assert!(buckets - left <= 1);
        if n % 5_000 == 0 {
            table.check();
        }
        if n == KEYS * 9 / 10 {
            assert!(table.memory_bytes() < full / 4);
        }
    }
    assert_eq!((table.len(), table.memory_bytes()), (0, 0));
}

#[test]
fn bytes_per_item_stay_low_at_every_size() {
    let mut table = Table::new();
    for n in 0..20_000 {
        table.insert(hash(&key(n)), Pair::new(n, n));
        let per_item = table.memory_bytes() as f64 / table.len() as f64;
        let limit = if n < 50 { 150.0 } else { 21.0 };
        assert!(per_item < limit, "{per_item} bytes for each of {}", n + 1);
    }
}

#[test]
fn replace_returns_what_was_there() {
    let mut table = Table::new();
    let h = hash(&key(1));
    assert_eq!(table.replace(h, Pair::new(1, 10)), None);
    assert_eq!(table.replace(h, Pair::new(1, 11)), Some(Pair::new(1, 10)));
    assert_eq!(table.find_or_insert_with(h, &key(1), || unreachable!()), (&mut Pair::new(1, 11), false));
    let h = hash(&key(2));
    assert_eq!(table.find_or_insert_with(h, &key(2), || Pair::new(2, 5)), (&mut Pair::new(2, 5), true));
    table.find_mut(h, &key(2)).unwrap().0.1 = 6;
    assert_eq!(table.find(h, &key(2)), Some(&Pair::new(2, 6)));
}

#[test]
fn drain_gives_everything_once() {
    let mut table = table_of(0..9_000);
    let drained: HashSet<Vec<u8>> = table.drain().map(|pair| pair.key().to_vec()).collect();
    assert_eq!(drained.len(), 9_000);
    assert!(table.is_empty());
}

#[test]
fn scan_positions_invert() {
    for h in [0, 1, 0xdead_beef, u64::MAX, 1 << 47] {
        let low = h & ((1 << POSITION_BITS) - 1);
        assert_eq!(hash_at(position(h)), low);
    }
}

#[test]
fn random_is_fair() {
    for size in [1, 3, 12, 300] {
        let table = table_of(0..size);
        let mut rng = fastrand::Rng::with_seed(42);
        let mut drawn: HashMap<Vec<u8>, u32> = HashMap::new();
        for _ in 0..size * 1_000 {
            *drawn.entry(table.random(&mut rng).unwrap().key().to_vec()).or_default() += 1;
        }
        assert_eq!(drawn.len(), size as usize);
        for (key, times) in drawn {
            assert!((700..1300).contains(&times), "{} of {size}: {times} times", key.escape_ascii());
        }
    }
}

#[test]
fn fingerprints_find_their_places() {
    let mut marks = Fingerprints(0);
    for place in 0..PLACES {
        assert_eq!(marks.first_free(), Some(place));
        marks.set(place, [9, 1, 255, 9, 128, 9][place]);
    }
    assert_eq!(marks.first_free(), None);
    assert!(marks.places_of(9).collect::<Vec<_>>().starts_with(&[0]));
    for mark in 1..=255 {
        let true_places: Vec<usize> = (0..PLACES).filter(|&place| marks.get(place) == mark).collect();
        let found: Vec<usize> = marks.places_of(mark).collect();
        assert!(true_places.iter().all(|place| found.contains(place)), "mark {mark}");
        assert!(found.iter().all(|&place| place < PLACES));
    }
    marks.set(2, 0);
    assert_eq!((marks.first_free(), marks.first_taken(), marks.count()), (Some(2), Some(0), 5));
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32),
    Remove(u32),
    InsertMany(u32),
    RemoveMany(u32),
    Scan,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_000u32).prop_map(Step::Insert),
        8 => (0..4_000u32).prop_map(Step::Remove),
        2 => (0..4_000u32).prop_map(Step::InsertMany),
        2 => (0..4_000u32).prop_map(Step::RemoveMany),
        6 => Just(Step::Scan),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a `HashMap`, with one scan running across all growth and shrinking.
    #[test]
    fn behaves_like_a_map_and_scans_all(steps in prop::collection::vec(step(), 1..200), many in 1..1_500u32) {
        let mut table: Table<Pair> = Table::new();
        let mut model: HashMap<u32, u32> = HashMap::new();
        let mut cursor = 0;
        let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
        // Keys present since the scan began.
        let mut stayed: HashSet<u32> = HashSet::new();
        let mut value = 0;
        for step in steps {
            value += 1;
            let keys = match step {
                Step::Insert(n) | Step::Remove(n) => n..n + 1,
                Step::InsertMany(n) | Step::RemoveMany(n) => n..n + many,
                Step::Scan => 0..0,
            };
            match step {
                Step::Insert(_) | Step::InsertMany(_) => for n in keys {
                    let before = table.replace(hash(&key(n)), Pair::new(n, value));
                    prop_assert_eq!(before.map(|pair| pair.0.1), model.insert(n, value));
                },
                Step::Remove(_) | Step::RemoveMany(_) => for n in keys {
                    let removed = table.remove(hash(&key(n)), &key(n));
                    prop_assert_eq!(removed.map(|pair| pair.0.1), model.remove(&n));
                    stayed.remove(&n);
                    seen.remove(&key(n));
                },
                Step::Scan => {
                    if cursor == 0 {
                        stayed = model.keys().copied().collect();
                        seen.clear();
                    }
                    cursor = table.scan(cursor, |pair| *seen.entry(pair.key().to_vec()).or_default() += 1);
                    if cursor == 0 {
                        for n in &stayed {
                            prop_assert_eq!(seen.get(&key(*n)), Some(&1), "key {} stayed", n);
                        }
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
        }
        table.check();
        // And to the end of the scan.
        while cursor != 0 {
            cursor = table.scan(cursor, |pair| *seen.entry(pair.key().to_vec()).or_default() += 1);
        }
        for n in stayed {
            prop_assert_eq!(seen.get(&key(n)), Some(&1), "key {} stayed", n);
        }
        for (n, value) in &model {
            prop_assert_eq!(table.find(hash(&key(*n)), &key(*n)), Some(&Pair::new(*n, *value)));
        }
        prop_assert_eq!(table.iter().count(), model.len());
    }
}
