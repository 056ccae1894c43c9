use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

/// Tight enough that every conversion, split and merge happens within a few operations.
fn tight(list_max_listpack_size: i32) -> Limits {
    Limits { list_max_listpack_size, list_plain_node_bytes: 40, ..Limits::default() }
}

fn texts(list: &ListValue) -> Vec<Vec<u8>> {
    list.iter().map(|element| element.to_vec()).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Push(bool, Vec<Vec<u8>>),
    Pop(bool),
    Set(i64, Vec<u8>),
    Insert(bool, Vec<u8>, Vec<u8>),
    Remove(i64, Vec<u8>),
    Trim(i64, i64),
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0i64..12).prop_map(|value| value.to_string().into_bytes()),
        2 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        2 => "[a-c]{0,3}".prop_map(String::into_bytes),
        1 => (30usize..50).prop_map(|len| vec![b'x'; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<bool>(), prop::collection::vec(element(), 1..6)).prop_map(|(head, all)| Op::Push(head, all)),
        3 => any::<bool>().prop_map(Op::Pop),
        3 => (-40i64..40, element()).prop_map(|(index, element)| Op::Set(index, element)),
        4 => (any::<bool>(), element(), element()).prop_map(|(after, pivot, element)| Op::Insert(after, pivot, element)),
        1 => (-3i64..4, element()).prop_map(|(count, element)| Op::Remove(count, element)),
        1 => (-60i64..10, -10i64..60).prop_map(|(start, stop)| Op::Trim(start, stop)),
    ]
}

fn end(head: bool) -> End {
    if head { End::Head } else { End::Tail }
}

/// Runs an operation on both; their answers must be equal.
fn apply(list: &mut ListValue, model: &mut VecDeque<Vec<u8>>, op: Op, limits: &Limits) {
    match op {
        Op::Push(head, elements) => {
            list.push_all(end(head), &elements, limits);
            for element in elements {
                if head { model.push_front(element) } else { model.push_back(element) }
            }
        }
        Op::Pop(head) => {
            let expected = if head { model.pop_front() } else { model.pop_back() };
            assert_eq!(list.pop(end(head), limits), expected);
        }
        Op::Set(index, element) => {
            let at = absolute_index(index, model.len());
            assert_eq!(list.set(index, &element, limits), at.is_some());
            if let Some(at) = at {
                model[at] = element;
            }
        }
        Op::Insert(after, pivot, element) => {
            let at = model.iter().position(|present| *present == pivot);
            let place = if after { Place::After } else { Place::Before };
            assert_eq!(list.insert(&pivot, place, &element, limits), at.is_some());
            if let Some(at) = at {
                model.insert(at + usize::from(after), element);
            }
        }
        Op::Remove(count, element) => {
            let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
            let mut removed = 0;
            let mut kept: Vec<_> = model.drain(..).collect();
            if count < 0 {
                kept.reverse();
            }
            kept.retain(|present| {
                let goes = *present == element && removed < most;
                removed += usize::from(goes);
                !goes
            });
            if count < 0 {
                kept.reverse();
            }
            model.extend(kept);
            assert_eq!(list.remove(count, &element, limits), removed);
        }
        Op::Trim(start, stop) => {
            let kept = index_range(start, stop, model.len());
            let gone = model.len() - kept.len();
            *model = model.range(kept).cloned().collect();
            assert_eq!(list.trim(start, stop, limits), gone);
        }
    }
}

/// What holds for every list after every operation.
fn check(list: &ListValue, model: &VecDeque<Vec<u8>>) {
    assert_eq!(list.len(), model.len());
    assert!(texts(list).iter().eq(model));
    let backwards: Vec<_> = list.iter().rev().map(|element| element.to_vec()).collect();
    assert!(backwards.iter().eq(model.iter().rev()));
    match list.encoding() {
        ListEncoding::Listpack(pack) => assert_eq!(Listpack::validate(pack.as_bytes()), Ok(model.len())),
        ListEncoding::Quicklist(quick) => {
            let mut total = 0;
            for node in quick.nodes() {
                assert!(!node.is_empty());
                total += node.len();
                if node.pack().is_some() {
                    assert_eq!(Listpack::validate(node.as_bytes()), Ok(node.len()));
                }
            }
            assert_eq!(total, model.len());
        }
    }
}

proptest! {
    #![proptest_config(crate::types::test_config())]

    #[test]
    fn answers_like_a_deque(size in prop_oneof![Just(1), Just(3), Just(7), Just(-1)], ops in prop::collection::vec(op(), 1..80)) {
        let limits = tight(size);
        let (mut list, mut model) = (ListValue::new(), VecDeque::new());
        for op in ops {
            apply(&mut list, &mut model, op, &limits);
            check(&list, &model);
        }
    }

    #[test]
    fn ranges_meet_in_the_middle(len in 0usize..60, start in 0usize..60, count in 0usize..60, from_front in prop::collection::vec(any::<bool>(), 60)) {
        let limits = tight(5);
        let mut list = ListValue::new();
        for value in 0..len {
            list.push(End::Tail, value.to_string().as_bytes(), &limits);
        }
        let range = start.min(len)..(start + count).min(len);
        let mut expected: VecDeque<i64> = range.clone().map(|value| value as i64).collect();
        let mut iter = list.range(range);
        for front in from_front {
            prop_assert_eq!(iter.len(), expected.len());
            let (got, wanted) = if front { (iter.next(), expected.pop_front()) } else { (iter.next_back(), expected.pop_back()) };
            prop_assert_eq!(got, wanted.map(Element::Int));
        }
    }
}

#[test]
fn encodings_change_at_the_default_limit_and_back_at_half_of_it() {
    let limits = Limits::default();
    let mut list = ListValue::new();
    let element = [b'e'; 100];
    // 103 bytes per entry and 7 around them: 79 make 8144 bytes, and the next would begin at 8144 + 100.
    for _ in 0..79 {
        list.push(End::Tail, &element, &limits);
    }
    assert_eq!(list.encoding_name(), "listpack");
    list.push(End::Tail, &element, &limits);
    assert_eq!(list.encoding_name(), "quicklist");
    while list.len() > 40 {
        list.pop(End::Tail, &limits);
        assert_eq!(list.encoding_name(), "quicklist", "{} left", list.len());
    }
    list.pop(End::Tail, &limits);
    assert_eq!(list.encoding_name(), "listpack");
}

#[test]
fn a_failed_insert_may_convert_as_it_does_in_stock() {
    let limits = tight(2);
    let mut list = ListValue::new();
    list.push_all(End::Tail, &["a", "b"], &limits);
    assert!(!list.insert(b"missing", Place::Before, b"c", &limits));
    assert_eq!(list.encoding_name(), "quicklist");
}

#[test]
fn index_ranges_are_clipped() {
    for (start, stop, expected) in [
        (0, -1, 0..10),
        (-3, -1, 7..10),
        (-100, 2, 0..3),
        (5, 100, 5..10),
        (6, 5, 0..0),
        (10, 20, 0..0),
        (i64::MIN, i64::MAX, 0..10),
    ] {
        assert_eq!(index_range(start, stop, 10), expected, "{start} {stop}");
    }
    assert_eq!(index_range(0, -1, 0), 0..0);
}

#[test]
fn a_million_elements_from_both_ends() {
    let limits = Limits::default();
    let mut list = ListValue::new();
    for value in 0..500_000i64 {
        list.push(End::Head, (-value - 1).to_string().as_bytes(), &limits);
        list.push(End::Tail, value.to_string().as_bytes(), &limits);
    }
    assert_eq!(list.len(), 1_000_000);
    for value in (0..500_000i64).rev() {
        assert_eq!(list.pop(End::Head, &limits).as_deref(), Some((-value - 1).to_string().as_bytes()));
    }
    assert_eq!(list.get(-1), Some(Element::Int(499_999)));
    assert_eq!(list.get(250_000), Some(Element::Int(250_000)));
}
