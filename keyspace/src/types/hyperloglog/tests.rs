use super::*;
use crate::types::test_config;
use proptest::prelude::*;

/// Room for whatever is added.
const ROOMY: usize = usize::MAX;

fn of(elements: impl IntoIterator<Item = u64>, sparse_max_bytes: usize) -> Vec<u8> {
    let mut hll = empty();
    for element in elements {
        add(&mut hll, &element.to_le_bytes(), sparse_max_bytes).unwrap();
    }
    hll
}

fn registers(hll: &[u8]) -> Registers {
    let mut registers = Registers::new();
    registers.merge(hll).unwrap();
    registers
}

#[test]
fn an_element_goes_where_stock_puts_it() {
    // PFADD of a, b and c to stock 7.0.15, then PFDEBUG DECODE.
    let mut hll = empty();
    for element in ["a", "b", "c"] {
        assert_eq!(add(&mut hll, element.as_bytes(), 3000), Ok(true));
        assert_eq!(add(&mut hll, element.as_bytes(), 3000), Ok(false));
    }
    let runs: Vec<_> = runs(&hll).unwrap().map(|run| (run.rank, run.len)).collect();
    assert_eq!(runs, STOCK_ABC);
    assert_eq!(cardinality(&hll), Ok(3));
}

/// Runs of the HyperLogLog of a, b and c.
const STOCK_ABC: [(u8, usize); 7] = [(0, 8436), (1, 1), (0, 4274), (2, 1), (0, 3068), (1, 1), (0, 603)];

#[test]
fn the_estimate_is_near() {
    for dense in [false, true] {
        for decade in 0..6u32 {
            let count = 10u64.pow(decade);
            let mut hll = of((0..count).map(|n| n ^ 0x9e37_79b9_7f4a_7c15), 3000);
            if dense {
                make_dense(&mut hll).unwrap();
            }
            let estimate = cardinality(&hll).unwrap();
            // Six standard errors.
            let allowed = (count as f64 * 6.0 * 1.04 / 128.0).ceil() as u64;
            assert!(estimate.abs_diff(count) <= allowed, "{estimate} for {count}");
            assert_eq!(registers(&hll).cardinality(), estimate);
        }
    }
}

#[test]
fn the_cardinality_is_kept_until_it_is_out_of_date() {
    let mut hll = empty();
    assert_eq!(kept_cardinality(&hll), Some(0));
    add(&mut hll, b"a", 3000).unwrap();
    assert_eq!(kept_cardinality(&hll), None);
    keep_cardinality(&mut hll, 12);
    assert_eq!(kept_cardinality(&hll), Some(12));
    make_dense(&mut hll).unwrap();
    assert_eq!(kept_cardinality(&hll), Some(12));
}

#[test]
fn a_great_rank_makes_it_dense() {
    let mut hll = empty();
    let mut cursor = sparse::Cursor::START;
    assert_eq!(raise_sparse(&mut hll, &mut cursor, 5, 32, 3000), Ok(true));
    assert_eq!(encoding(&hll), Some(Encoding::Sparse));
    assert_eq!(raise_sparse(&mut hll, &mut cursor, 16_383, 33, 3000), Ok(true));
    assert_eq!(encoding(&hll), Some(Encoding::Dense));
    let raised: Vec<_> = registers(&hll).iter().enumerate().filter(|(_, rank)| *rank > 0).collect();
    assert_eq!(raised, [(5, 32), (16_383, 33)]);
}

/// What the bytes of CVE-2025-32023 look like: runs that together are far longer than there are registers, so
/// that their sum overflows a small integer and a register before the first one is written.
#[test]
fn runs_beyond_the_last_register_are_corrupt() {
    let mut hll = empty();
    hll.truncate(HEADER_BYTES);
    for _ in 0..140_000 {
        hll.extend_from_slice(&[0x7f, 0xff]);
    }
    hll.extend_from_slice(&[0x80 | 3, 0x7f, 0xff]);
    assert!(cardinality(&hll).is_err());
    assert!(Registers::new().merge(&hll).is_err());
    assert!(make_dense(&mut hll.clone()).is_err());
    for fault in [&[][..], &[0x7f], &[0x7f, 0xff, 0x00], &[0x7f, 0xfe], &[0x7f, 0xff, 0x80]] {
        hll.truncate(HEADER_BYTES);
        hll.extend_from_slice(fault);
        assert!(cardinality(&hll).is_err(), "{fault:?}");
        assert!(make_dense(&mut hll).is_err(), "{fault:?}");
        assert_eq!(&hll[HEADER_BYTES..], fault, "nothing has changed");
    }
    // Where a register is missing, nothing can be added to it.
    hll.truncate(HEADER_BYTES);
    hll.push(0);
    assert!(add(&mut hll, b"a", 3000).is_err());
}

#[test]
fn headers_are_checked() {
    assert_eq!(encoding(b""), None);
    assert_eq!(encoding(&empty()[..15]), None);
    assert_eq!(encoding(&empty()[..16]), Some(Encoding::Sparse));
    let mut hll = empty();
    make_dense(&mut hll).unwrap();
    assert_eq!(encoding(&hll), Some(Encoding::Dense));
    assert_eq!(encoding(&hll[..hll.len() - 1]), None);
    hll[ENCODING_AT] = 2;
    assert_eq!(encoding(&hll), None);
}

/// A header with something behind it.
fn maybe_hll() -> impl Strategy<Value = Vec<u8>> {
    // Long runs are likely, so that some add up.
    let byte = prop_oneof![any::<u8>(), Just(0x7f), Just(0xff), 0x80..0xffu8];
    let sparse = proptest::collection::vec(byte, 0..200).prop_map(|runs| {
        let mut hll = empty();
        hll.truncate(HEADER_BYTES);
        hll.extend(runs);
        hll
    });
    let grown = (
        proptest::collection::vec(0..3000u64, 0..100),
        proptest::collection::vec(any::<(usize, u8)>(), 0..3),
    );
    let spoiled = grown.prop_map(|(elements, faults)| {
        let mut hll = of(elements, ROOMY);
        for (at, byte) in faults {
            let len = hll.len() - HEADER_BYTES;
            hll[HEADER_BYTES + at % len] = byte;
        }
        hll
    });
    prop_oneof![sparse, spoiled]
}

proptest! {
    #![proptest_config(test_config())]

    #[test]
    fn sparse_and_dense_are_the_same(elements in proptest::collection::vec(any::<u64>(), 0..2000), limit in 18usize..4000) {
        let roomy = of(elements.iter().copied(), ROOMY);
        let tight = of(elements.iter().copied(), limit);
        let mut dense = empty();
        make_dense(&mut dense).unwrap();
        for element in &elements {
            add(&mut dense, &element.to_le_bytes(), limit).unwrap();
        }
        for hll in [&roomy, &tight] {
            prop_assert!(registers(hll).0 == registers(&dense).0);
            prop_assert_eq!(cardinality(hll), cardinality(&dense));
        }
        prop_assert!(encoding(&tight) == Some(Encoding::Dense) || tight.len() <= limit);
        prop_assert_eq!(registers(&roomy).cardinality(), cardinality(&dense).unwrap());
    }

    /// Merging searches from where the register before was found, and has to end with the same bytes as a search
    /// from the first run.
    #[test]
    fn merging_in_order_is_raising_one_by_one(
        target in proptest::collection::vec(0..4000u64, 0..400),
        source in proptest::collection::vec(0..4000u64, 0..400),
        limit in 18usize..2000,
    ) {
        let (target, source) = (of(target, ROOMY), of(source, ROOMY));
        let mut merged = registers(&target);
        merged.merge(&source).unwrap();
        let mut by_merging = target.clone();
        merged.write_to(&mut by_merging, limit).unwrap();
        let mut by_raising = target;
        for (index, rank) in merged.iter().enumerate().filter(|(_, rank)| *rank > 0) {
            if encoding(&by_raising) == Some(Encoding::Dense) {
                dense::raise(&mut by_raising[HEADER_BYTES..], index, rank);
            } else {
                let mut cursor = sparse::Cursor::START;
                raise_sparse(&mut by_raising, &mut cursor, index, rank, limit).unwrap();
            }
        }
        prop_assert!(by_merging == by_raising);
        prop_assert!(registers(&by_merging).0 == merged.0);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(hll in maybe_hll(), elements in proptest::collection::vec(any::<u64>(), 1..50)) {
        let is_valid = cardinality(&hll).is_ok();
        prop_assert_eq!(Registers::new().merge(&hll).is_ok(), is_valid);
        prop_assert_eq!(make_dense(&mut hll.clone()).is_ok(), is_valid);
        runs(&hll).into_iter().flatten().for_each(drop);
        let mut changed = hll;
        for element in elements {
            let added = add(&mut changed, &element.to_le_bytes(), 3000);
            prop_assert!(added.is_ok() || !is_valid);
        }
        prop_assert_eq!(cardinality(&changed).is_ok(), is_valid);
    }
}
