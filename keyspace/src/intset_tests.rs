use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn of(values: &[i64]) -> Intset {
    let mut set = Intset::new();
    for &value in values {
        set.insert(value);
    }
    set
}

proptest! {
    #![proptest_config(crate::types::test_config())]

    #[test]
    fn answers_like_a_set(ops in prop::collection::vec((any::<bool>(), prop_oneof![-20i64..20, any::<i64>(), -40_000i64..40_000, any::<i32>().prop_map(i64::from)]), 0..120)) {
        let (mut set, mut model) = (Intset::new(), BTreeSet::new());
        for (insert, value) in ops {
            if insert {
                prop_assert_eq!(set.insert(value), model.insert(value));
            } else {
                prop_assert_eq!(set.remove(value), model.remove(&value));
            }
            prop_assert_eq!(set.contains(value), insert);
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!((set.min(), set.max()), (model.first().copied(), model.last().copied()));
            if !model.is_empty() {
                prop_assert_eq!(Intset::validate(set.as_bytes()), Ok(model.len()));
            }
        }
    }

    #[test]
    fn mutated_bytes_never_panic(values in prop::collection::vec(any::<i64>(), 1..20), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = of(&values).as_bytes().to_vec();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        for bytes in [bytes.clone(), bytes[..cut.index(bytes.len())].to_vec()] {
            if let Ok(mut set) = Intset::from_bytes(bytes) {
                prop_assert_eq!(set.iter().count(), set.len());
                set.insert(7);
                set.remove(values[0]);
            }
        }
    }
}

/// Bytes as a stock server's DUMP has them.
#[test]
fn golden_bytes() {
    for line in include_str!("../tests/golden/intsets.txt").lines() {
        let (values, hex) = line.split_once(" | ").unwrap();
        let values: Vec<i64> = values.split(' ').map(|value| value.parse().unwrap()).collect();
        let set = of(&values);
        assert_eq!(crate::types::to_hex(set.as_bytes()), hex, "{values:?}");
        assert_eq!(Intset::from_bytes(crate::types::from_hex(hex)), Ok(set));
    }
}

#[test]
fn the_width_grows_and_stays() {
    let mut set = of(&[1, 40_000, i64::MIN]);
    assert_eq!(set.as_bytes()[0], 8);
    assert!(set.remove(i64::MIN) && set.remove(40_000));
    assert_eq!((set.as_bytes()[0], set.len()), (8, 1));
    assert!(!set.contains(i64::MIN));
}

#[test]
fn corrupt_bytes_are_refused_with_their_offset() {
    let good = of(&[1, 2, 3]).as_bytes().to_vec();
    let with = |index: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[index] = byte;
        Intset::validate(&bytes).unwrap_err().offset
    };
    assert_eq!(with(0, 3), 0);
    assert_eq!(with(4, 2), 4);
    assert_eq!(with(10, 1), 10);
    assert_eq!(Intset::validate(&[2, 0, 0, 0, 0, 0, 0, 0]).unwrap_err().offset, 4);
    assert_eq!(Intset::validate(&[2, 0]).unwrap_err().offset, 2);
}
