use super::*;
use proptest::prelude::*;

fn of<T: AsRef<[u8]>>(texts: &[T]) -> Listpack {
    let mut pack = Listpack::new();
    texts.iter().for_each(|text| pack.push_back(text.as_ref()));
    pack
}

fn texts(pack: &Listpack) -> Vec<Vec<u8>> {
    pack.iter().map(|element| element.to_vec()).collect()
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        4 => (0u32..64, any::<i64>()).prop_map(|(shift, value)| (value >> shift).to_string().into_bytes()),
        4 => prop::collection::vec(any::<u8>(), 0..70),
        1 => (0usize..5000).prop_map(|len| vec![b'x'; len]),
        1 => prop::sample::select(vec!["-0", "007", "+1", "9223372036854775808", ""]).prop_map(|text| text.as_bytes().to_vec()),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    InsertBefore(usize, Vec<u8>),
    InsertAfter(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    Delete(usize, usize),
    Retain(u8),
    SplitAndAppend(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => text().prop_map(Op::PushBack),
        2 => text().prop_map(Op::PushFront),
        3 => (any::<usize>(), text()).prop_map(|(at, text)| Op::InsertBefore(at, text)),
        3 => (any::<usize>(), text()).prop_map(|(at, text)| Op::InsertAfter(at, text)),
        3 => (any::<usize>(), text()).prop_map(|(at, text)| Op::Replace(at, text)),
        3 => (any::<usize>(), 0usize..4).prop_map(|(at, count)| Op::Delete(at, count)),
        1 => any::<u8>().prop_map(Op::Retain),
        1 => any::<usize>().prop_map(Op::SplitAndAppend),
    ]
}

fn apply(pack: &mut Listpack, model: &mut Vec<Vec<u8>>, op: Op) {
    let index = |at: usize| at % model.len().max(1);
    match op {
        Op::PushBack(text) => {
            pack.push_back(&text);
            model.push(text);
        }
        Op::PushFront(text) => {
            pack.push_front(&text);
            model.insert(0, text);
        }
        Op::SplitAndAppend(at) => {
            let at = at % (model.len() + 1);
            let tail = pack.split_off(at);
            assert_eq!(texts(pack), model[..at]);
            assert_eq!(texts(&tail), model[at..]);
            assert_eq!(Listpack::validate(pack.as_bytes()), Ok(at));
            assert_eq!(Listpack::validate(tail.as_bytes()), Ok(model.len() - at));
            pack.append(&tail);
        }
        Op::Retain(mask) => {
            let kept = |index: usize| mask >> (index % 8) & 1 == 1;
            pack.retain(|index, element| {
                assert!(element.is(&model[index]));
                kept(index)
            });
            let mut indices = 0..;
            model.retain(|_| kept(indices.next().unwrap()));
        }
        _ if model.is_empty() => {}
        Op::InsertBefore(at, text) => {
            let at = index(at);
            pack.insert_before(pack.seek(at as i64).unwrap(), Element::of(&text));
            model.insert(at, text);
        }
        Op::InsertAfter(at, text) => {
            let at = index(at);
            let pos = pack.insert_after(pack.seek(at as i64).unwrap(), Element::of(&text));
            assert!(pack.at(pos).is(&text));
            model.insert(at + 1, text);
        }
        Op::Replace(at, text) => {
            let at = index(at);
            pack.replace(pack.seek(at as i64).unwrap(), Element::of(&text));
            model[at] = text;
        }
        Op::Delete(at, count) => {
            let at = index(at);
            let next = pack.delete_many(pack.seek(at as i64).unwrap(), count);
            model.drain(at..(at + count).min(model.len()));
            assert_eq!(next.map(|pos| pack.at(pos).to_vec()), model.get(at).cloned());
        }
    }
}

proptest! {
    #![proptest_config(crate::types::test_config())]

    #[test]
    fn answers_like_a_vec(ops in prop::collection::vec(op(), 1..60)) {
        let (mut pack, mut model) = (Listpack::new(), Vec::new());
        for op in ops {
            apply(&mut pack, &mut model, op);
            prop_assert_eq!(&texts(&pack), &model);
            prop_assert_eq!(Listpack::validate(pack.as_bytes()), Ok(model.len()));
            // Whatever way it came about, the bytes are those of one that was filled in order.
            prop_assert!(pack == of(&model));
        }
        let backwards: Vec<_> = pack.iter().rev().map(|element| element.to_vec()).collect();
        prop_assert!(backwards.iter().eq(model.iter().rev()));
        let len = model.len() as i64;
        for index in -len - 1..=len {
            let expected = if index < 0 { model.get((index + len) as usize) } else { model.get(index as usize) };
            prop_assert_eq!(pack.get(index).map(|element| element.to_vec()), expected.cloned());
        }
        for stride in [1, 2] {
            for wanted in model.iter().chain([&b"missing".to_vec()]) {
                let expected = model.iter().step_by(stride).position(|text| text == wanted);
                let found = pack.find(wanted, stride).map(|pos| pack.iter_through(pos).count() - 1);
                prop_assert_eq!(found, expected.map(|position| position * stride));
            }
        }
    }

    #[test]
    fn mutated_bytes_never_panic(all in prop::collection::vec(text(), 0..12), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut: prop::sample::Index) {
        let mut bytes = of(&all).as_bytes().to_vec();
        for (at, byte) in changes {
            let index = at.index(bytes.len());
            bytes[index] = byte;
        }
        for bytes in [bytes.clone(), bytes[..cut.index(bytes.len())].to_vec()] {
            if let Ok(mut pack) = Listpack::from_bytes(bytes) {
                prop_assert_eq!(pack.iter().count(), pack.len());
                prop_assert_eq!(pack.iter().rev().count(), pack.len());
                pack.find(b"missing", 2);
                pack.push_front(b"more");
                pack.delete_range(1, 1);
                prop_assert!(Listpack::validate(pack.as_bytes()).is_ok());
            }
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Listpack::validate(&bytes);
    }
}

/// Bytes as a stock server's DUMP has them. Each line: elements in hexadecimal, the listpack.
#[test]
fn golden_bytes() {
    let mut lines = 0;
    for line in include_str!("../tests/golden/listpacks.txt").lines() {
        let (elements, hex) = line.split_once(" | ").unwrap();
        let elements: Vec<Vec<u8>> =
            elements.split(' ').map(|element| crate::types::from_hex(element.trim_matches('.'))).collect();
        let pack = of(&elements);
        assert_eq!(crate::types::to_hex(pack.as_bytes()), hex);
        assert_eq!(Listpack::from_bytes(crate::types::from_hex(hex)), Ok(pack));
        lines += 1;
    }
    assert!(lines > 10);
}

#[test]
fn counts_beyond_the_header() {
    let mut pack = Listpack::new();
    for _ in 0..65_534 {
        pack.push_back_int(1);
    }
    assert_eq!(pack.as_bytes()[4..6], [0xFE, 0xFF]);
    pack.push_back_int(1);
    pack.push_back_int(1);
    assert_eq!(pack.as_bytes()[4..6], [0xFF, 0xFF]);
    assert_eq!(pack.len(), 65_536);
    assert_eq!(Listpack::validate(pack.as_bytes()), Ok(65_536));
    assert_eq!(pack.get(65_535), Some(Element::Int(1)));
    assert_eq!(pack.get(65_536), None);
    pack.delete_range(0, 10);
    assert_eq!(pack.len(), 65_526);
    let tail = pack.split_off(65_500);
    assert_eq!((pack.len(), tail.len()), (65_500, 26));
}

#[test]
fn backlens_at_their_steps() {
    for (encoded_len, len) in [
        (127, 1),
        (128, 2),
        (16_382, 2),
        (16_383, 3),
        (2_097_150, 3),
        (2_097_151, 4),
        (268_435_454, 4),
        (268_435_455, 5),
    ] {
        assert_eq!(backlen_len(encoded_len), len);
        let mut backlen = vec![0; len];
        write_backlen(&mut backlen, encoded_len);
        assert_eq!(last_entry_len(&backlen), encoded_len + len);
    }
}

#[test]
fn corrupt_bytes_are_refused_with_their_offset() {
    let good = of(&["ab", "300", "c"]).as_bytes().to_vec();
    let with = |index: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[index] = byte;
        Listpack::validate(&bytes).unwrap_err().offset
    };
    let len = good.len();
    assert_eq!(with(0, 1), 0, "total");
    assert_eq!(with(4, 2), 4, "count");
    assert_eq!(with(6, 0xFE), 6, "unknown encoding");
    assert_eq!(with(6, 0xBF), 6, "string beyond the end");
    assert_eq!(with(9, 9), 6, "backlen");
    assert_eq!(with(len - 1, 0), len, "end mark");
    assert_eq!(Listpack::validate(&[]).unwrap_err().offset, 0);
}
