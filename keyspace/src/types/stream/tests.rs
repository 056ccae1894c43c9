use super::*;
use crate::types::test_config;
use proptest::prelude::*;

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId::new(ms, seq)
}

fn tight() -> Limits {
    Limits { stream_node_max_entries: 4, ..Limits::default() }
}

type Row = (StreamId, Vec<(Vec<u8>, Vec<u8>)>);

fn row(entry: &Entry<'_>) -> Row {
    let fields = entry.fields().map(|(name, value)| (name.to_vec(), value.to_vec()));
    (entry.id, fields.collect())
}

#[derive(Clone, Debug)]
enum Op {
    Append(NewId, u64, Vec<(Vec<u8>, Vec<u8>)>),
    Delete(Vec<StreamId>),
    Trim(Trim),
}

fn any_id() -> impl Strategy<Value = StreamId> {
    (0u64..60, 0u64..4).prop_map(|(ms, seq)| id(ms, seq))
}

fn fields() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let text = || prop_oneof!["[ab]{0,2}", "-?[0-9]{1,3}"].prop_map(String::into_bytes);
    prop_oneof![
        2 => prop::collection::vec(text(), 2)
            .prop_map(|values| ["f", "7"].iter().map(|name| name.as_bytes().to_vec()).zip(values).collect()),
        1 => prop::collection::vec((text(), text()), 1..4),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let new_id =
        prop_oneof![Just(NewId::Auto), (0u64..60).prop_map(NewId::AutoSeq), any_id().prop_map(NewId::Exact),];
    let to = prop_oneof![(0u64..20).prop_map(TrimTo::MaxLen), any_id().prop_map(TrimTo::MinId)];
    let trim = (to, any::<bool>(), 0u64..8).prop_map(|(to, approximate, limit)| match approximate {
        true => Trim { to, approximate, limit },
        false => Trim::exact(to),
    });
    prop_oneof![
        10 => (new_id, 0u64..60, fields()).prop_map(|(id, now_ms, fields)| Op::Append(id, now_ms, fields)),
        2 => prop::collection::vec(any_id(), 1..4).prop_map(Op::Delete),
        1 => trim.prop_map(Op::Trim),
    ]
}

fn check(stream: &StreamValue, model: &[Row], seen: &[StreamId]) {
    let marks = stream.marks();
    assert_eq!(stream.len(), model.len());
    assert_eq!(marks.first_id, model.first().map_or(StreamId::MIN, |row| row.0));
    let rows: Vec<Row> = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| row(&entry)).collect();
    assert_eq!(rows, model);
    let mut back: Vec<Row> =
        stream.range_back(StreamId::MIN, StreamId::MAX).map(|entry| row(&entry)).collect();
    back.reverse();
    assert_eq!(back, model);
    for pair in seen.windows(2) {
        let (start, end) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        let expected: Vec<_> = model.iter().map(|row| row.0).filter(|&id| id >= start && id <= end).collect();
        assert!(stream.range(start, end).map(|entry| entry.id).eq(expected.iter().copied()));
        let back = stream.range_back(start, end).map(|entry| entry.id);
        assert!(back.eq(expected.iter().rev().copied()));
        assert_eq!(stream.contains(start), expected.contains(&start));
    }
    // Stored and loaded, it is the same.
    let stored = stream.nodes().map(|(id, pack)| (id, Node::from_bytes(pack.as_bytes().to_vec()).unwrap()));
    let loaded = StreamValue::from_nodes(stored, marks.last_id, Some(*marks)).unwrap();
    assert_eq!(loaded.marks(), marks);
    assert!(loaded.range(StreamId::MIN, StreamId::MAX).map(|entry| row(&entry)).eq(model.iter().cloned()));
}

proptest! {
    #![proptest_config(test_config())]

    #[test]
    fn answers_like_a_sorted_vec(ops in prop::collection::vec(op(), 1..60)) {
        let limits = tight();
        let (mut stream, mut model, mut seen) = (StreamValue::new(), Vec::<Row>::new(), Vec::new());
        for op in ops {
            match op {
                Op::Append(new_id, now_ms, fields) => {
                    let last = stream.marks().last_id;
                    let expected = stream.resolve(new_id, now_ms);
                    prop_assert_eq!(stream.append(new_id, &fields, now_ms, &limits), expected);
                    if let Ok(id) = expected {
                        prop_assert!(id > last);
                        model.push((id, fields));
                        seen.push(id);
                    }
                }
                Op::Delete(ids) => {
                    let before = model.len();
                    model.retain(|row| !ids.contains(&row.0));
                    prop_assert_eq!(stream.delete_all(&ids), before - model.len());
                }
                Op::Trim(trim) => {
                    let removed = stream.trim(&trim) as usize;
                    let exact = match trim.to {
                        TrimTo::MaxLen(max) => model.len().saturating_sub(max as usize),
                        TrimTo::MinId(min) => model.iter().filter(|row| row.0 < min).count(),
                    };
                    if trim.approximate {
                        prop_assert!(removed <= exact && (trim.limit == 0 || removed as u64 <= trim.limit));
                    } else {
                        prop_assert_eq!(removed, exact);
                    }
                    model.drain(..removed);
                }
            }
            check(&stream, &model, &seen);
        }
    }

    #[test]
    fn mutated_nodes_never_panic(rows in prop::collection::vec(fields(), 1..6), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut stream = StreamValue::new();
        for fields in &rows {
            stream.append(NewId::Auto, fields, 5, &Limits::default()).unwrap();
        }
        let mut bytes = stream.nodes().next().unwrap().1.as_bytes().to_vec();
        for (at, byte) in changes {
            let index = at.index(bytes.len());
            bytes[index] = byte;
        }
        // Either of the two may refuse.
        let stream = Node::from_bytes(bytes).and_then(|node| StreamValue::from_nodes([(id(5, 0), node)], id(9, 9), None));
        if let Ok(mut stream) = stream {
            let ids: Vec<_> = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| row(&entry).0).collect();
            stream.range_back(StreamId::MIN, StreamId::MAX).for_each(|entry| drop(row(&entry)));
            let _ = stream.append(NewId::Auto, &[("f", "v")], 50, &Limits::default());
            stream.delete_all(&ids);
            stream.trim(&Trim::exact(TrimTo::MaxLen(0)));
        }
    }
}

#[test]
fn nodes_fill_up_by_entries_and_by_bytes() {
    let limits = Limits::default();
    let mut stream = StreamValue::new();
    for ms in 1..=250 {
        stream.append(NewId::Exact(id(ms, 0)), &[("field", "value")], 0, &limits).unwrap();
    }
    assert_eq!(stream.node_count(), 3);
    let value = "x".repeat(1500);
    for _ in 0..4 {
        stream.append(NewId::Auto, &[("field", &value)], 1000, &limits).unwrap();
    }
    assert_eq!(stream.node_count(), 4);
    assert_eq!(stream.trim(&Trim::approximate(TrimTo::MaxLen(60), None, &limits)), 100);
    assert_eq!(stream.trim(&Trim::approximate(TrimTo::MaxLen(60), Some(50), &limits)), 0);
    assert_eq!(stream.first_id_with_deleted(), id(101, 0));
}

#[test]
fn ids_that_cannot_be() {
    let limits = Limits::default();
    let mut stream = StreamValue::new();
    let mut add = |new_id, now_ms| stream.append(new_id, &[("f", "v")], now_ms, &limits);
    assert_eq!(add(NewId::Exact(StreamId::MIN), 0), Err(AppendError::Zero));
    assert_eq!(add(NewId::AutoSeq(0), 0), Ok(id(0, 1)));
    assert_eq!(add(NewId::Auto, 0), Ok(id(0, 2)));
    assert_eq!(add(NewId::Auto, 7), Ok(id(7, 0)));
    assert_eq!(add(NewId::Auto, 3), Ok(id(7, 1)));
    assert_eq!(add(NewId::AutoSeq(6), 9), Err(AppendError::NotGreater));
    assert_eq!(add(NewId::Exact(id(7, 1)), 9), Err(AppendError::NotGreater));
    assert_eq!(add(NewId::Exact(id(8, u64::MAX)), 9), Ok(id(8, u64::MAX)));
    assert_eq!(add(NewId::AutoSeq(8), 9), Err(AppendError::NotGreater));
    assert_eq!(add(NewId::Auto, 2), Ok(id(9, 0)));
    assert_eq!(add(NewId::Exact(StreamId::MAX), 9), Ok(StreamId::MAX));
    assert_eq!(add(NewId::Auto, 9), Err(AppendError::Exhausted));
}

#[test]
fn setting_the_last_id() {
    let mut stream = StreamValue::new();
    for ms in 1..=3 {
        stream.append(NewId::Exact(id(ms, 0)), &[("f", "v")], 0, &Limits::default()).unwrap();
    }
    stream.delete_all(&[id(3, 0)]);
    assert_eq!(stream.set_id(id(2, 5), None, None), Err(SetIdError::BelowMaxDeleted));
    assert_eq!(stream.set_id(id(9, 0), Some(1), None), Err(SetIdError::AddedBelowLen));
    assert_eq!(stream.set_id(id(9, 0), Some(20), Some(id(4, 0))), Ok(()));
    let marks = stream.marks();
    assert_eq!((marks.last_id, marks.entries_added, marks.max_deleted_id), (id(9, 0), 20, id(4, 0)));
    assert_eq!(stream.append(NewId::Auto, &[("f", "v")], 5, &Limits::default()), Ok(id(9, 1)));
}

/// A stream of five entries, 1-0 to 5-0, with a group and two consumers.
fn with_group() -> StreamValue {
    let mut stream = StreamValue::new();
    for ms in 1..=5 {
        stream.append(NewId::Exact(id(ms, 0)), &[("f", "v")], 0, &tight()).unwrap();
    }
    assert!(stream.create_group(b"g", StreamId::MIN, Some(0)));
    assert!(!stream.create_group(b"g", StreamId::MIN, None));
    let group = stream.group_mut(b"g").unwrap();
    assert!(group.create_consumer(b"alice", 10) && group.create_consumer(b"bob", 10));
    assert!(!group.create_consumer(b"bob", 11) && !group.see_consumer(b"bob", 12));
    stream
}

fn pending(stream: &StreamValue) -> Vec<(u64, String, i64, u64)> {
    let group = stream.group(b"g").unwrap();
    let all = group.pending_in(StreamId::MIN..=StreamId::MAX);
    let owner = |pending| String::from_utf8(group.owner(pending).to_vec()).unwrap();
    all.map(|(id, pending)| (id.ms, owner(pending), pending.delivery_time_ms, pending.delivery_count))
        .collect()
}

fn delivered(stream: &mut StreamValue, consumer: &str, count: usize, ack: bool, now_ms: i64) -> Vec<u64> {
    let mut ids = Vec::new();
    let delivered =
        stream.deliver(b"g", consumer.as_bytes(), count, ack, now_ms, |entry| ids.push(entry.id.ms)).unwrap();
    assert_eq!((delivered.count, delivered.advanced), (ids.len(), !ids.is_empty()));
    ids
}

#[test]
fn delivery_and_acknowledgement() {
    let mut stream = with_group();
    assert_eq!(delivered(&mut stream, "alice", 2, true, 100), [1, 2]);
    assert_eq!(delivered(&mut stream, "bob", 1, true, 200), [3]);
    let expected = [(1, "alice", 100, 1), (2, "alice", 100, 1), (3, "bob", 200, 1)];
    assert_eq!(pending(&stream), expected.map(|(id, name, time, count)| (id, name.to_string(), time, count)));

    let group = stream.group(b"g").unwrap();
    assert_eq!((group.last_id(), group.entries_read()), (id(3, 0), Some(3)));
    assert_eq!((group.pending_len(), group.pending_edges()), (3, Some((id(1, 0), id(3, 0)))));
    assert_eq!(stream.lag(group), Some(2));
    let alice = group.consumer(b"alice").unwrap();
    assert_eq!((alice.pending_len(), alice.active_time_ms), (2, Some(100)));
    let of_alice = group.pending_of(alice, id(2, 0)..=StreamId::MAX);
    assert_eq!(of_alice.map(|(id, _)| id.ms).collect::<Vec<_>>(), [2]);

    assert_eq!(delivered(&mut stream, "bob", 0, false, 300), [4, 5]);
    assert_eq!(stream.group(b"g").unwrap().pending_len(), 3);
    assert_eq!(delivered(&mut stream, "bob", 0, true, 300), [0; 0]);

    let group = stream.group_mut(b"g").unwrap();
    assert!(group.acknowledge(id(1, 0)) && !group.acknowledge(id(1, 0)) && !group.acknowledge(id(4, 0)));
    assert_eq!(group.remove_consumer(b"alice"), Some(1));
    assert_eq!(group.remove_consumer(b"alice"), None);
    assert_eq!(group.pending_len(), 1);
    assert!(stream.destroy_group(b"g") && !stream.destroy_group(b"g"));
}

#[test]
fn a_group_set_back_takes_entries_from_their_owners() {
    let mut stream = with_group();
    delivered(&mut stream, "alice", 0, true, 100);
    stream.group_mut(b"g").unwrap().set_id(id(3, 0), None);
    assert_eq!(delivered(&mut stream, "bob", 1, true, 200), [4]);
    let group = stream.group(b"g").unwrap();
    assert_eq!(group.consumer(b"alice").unwrap().pending_len(), 4);
    assert_eq!(group.consumer(b"bob").unwrap().pending_ids().collect::<Vec<_>>(), [id(4, 0)]);
    assert_eq!(group.entries_read(), None, "in the middle of the stream nobody knows");
}

#[test]
fn delivering_again() {
    let mut stream = with_group();
    delivered(&mut stream, "alice", 3, true, 100);
    stream.delete_all(&[id(2, 0)]);
    let mut seen = Vec::new();
    let mut again = |stream: &mut StreamValue, after, count| {
        seen.clear();
        let visit = |id: StreamId, entry: Option<&Entry<'_>>| seen.push((id.ms, entry.is_some()));
        stream.deliver_again(b"g", b"alice", after, count, 500, visit).unwrap();
        seen.clone()
    };
    assert_eq!(again(&mut stream, StreamId::MIN, 0), [(1, true), (2, false), (3, true)]);
    assert_eq!(again(&mut stream, id(1, 0), 1), [(2, false)]);
    let counts: Vec<_> = pending(&stream).into_iter().map(|(_, _, time, count)| (time, count)).collect();
    assert_eq!(counts, [(500, 2), (100, 1), (500, 2)]);
    assert_eq!(stream.deliver_again(b"g", b"nobody", StreamId::MIN, 0, 0, |_, _| {}), None);
}

#[test]
fn claiming() {
    let mut stream = with_group();
    delivered(&mut stream, "alice", 2, true, 100);
    let claim = |stream: &mut StreamValue, ms, claim: Claim| {
        stream.claim(b"g", b"bob", id(ms, 0), &Claim { delivery_time_ms: 900, ..claim }, 1000).unwrap()
    };
    let taken = |delivery_count| Claimed::Taken { delivery_time_ms: 900, delivery_count };
    let plain = Claim::default();
    assert_eq!(claim(&mut stream, 1, Claim { min_idle_ms: 901, ..plain }), Claimed::Left);
    assert_eq!(claim(&mut stream, 1, Claim { min_idle_ms: 900, ..plain }), taken(2));
    assert_eq!(claim(&mut stream, 1, Claim { just_id: true, ..plain }), taken(2));
    assert_eq!(claim(&mut stream, 1, Claim { delivery_count: Some(9), ..plain }), taken(9));
    assert_eq!(claim(&mut stream, 4, plain), Claimed::Left);
    assert_eq!(claim(&mut stream, 4, Claim { force: true, ..plain }), taken(2));
    assert_eq!(claim(&mut stream, 9, Claim { force: true, ..plain }), Claimed::Left);
    stream.delete_all(&[id(2, 0)]);
    let gone = Gone { owner: b"alice".to_vec(), delivery_time_ms: 100, delivery_count: 1 };
    assert_eq!(claim(&mut stream, 2, Claim { min_idle_ms: 5000, ..plain }), Claimed::Gone(gone));
    let owners: Vec<_> = pending(&stream).into_iter().map(|(id, owner, ..)| (id, owner)).collect();
    assert_eq!(owners, [(1, "bob".to_string()), (4, "bob".to_string())]);
    assert_eq!(stream.group(b"g").unwrap().consumer(b"alice").unwrap().pending_len(), 0);
}

#[test]
fn claiming_what_is_idle() {
    let mut stream = with_group();
    delivered(&mut stream, "alice", 0, true, 100);
    stream.delete_all(&[id(2, 0)]);
    let how = AutoClaim { start: StreamId::MIN, min_idle_ms: 50, count: 3, just_id: false };
    let claimed = stream.claim_idle(b"g", b"bob", &how, 200).unwrap();
    assert_eq!(claimed.entries.iter().map(|(id, _)| id.ms).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(matches!(claimed.entries[1].1, Claimed::Gone(_)));
    assert_eq!(claimed.next, id(4, 0));
    // The rest was claimed just now, or is claimed now.
    let claimed = stream.claim_idle(b"g", b"bob", &how, 201).unwrap();
    assert_eq!(claimed.entries.iter().map(|(id, _)| id.ms).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(claimed.next, StreamId::MIN);
}

#[test]
fn lag_is_told_only_when_it_is_known() {
    let mut stream = with_group();
    let lag = |stream: &StreamValue| stream.lag(stream.group(b"g").unwrap());
    assert_eq!(lag(&stream), Some(5));
    delivered(&mut stream, "alice", 2, true, 0);
    stream.delete_all(&[id(4, 0)]);
    assert_eq!(lag(&stream), None);
    delivered(&mut stream, "alice", 0, true, 0);
    assert_eq!(lag(&stream), Some(0));
    stream.trim(&Trim::exact(TrimTo::MaxLen(0)));
    assert_eq!(stream.entries_added_up_to(id(1, 0)), Some(5));
}

#[test]
fn loading_a_group() {
    let mut loader = GroupLoader::new(id(3, 0), Some(2));
    assert_eq!(loader.pending(id(1, 0), 100, 3), Ok(()));
    assert_eq!(loader.pending(id(1, 0), 100, 3), Err(GroupCorrupt::DuplicateEntry));
    assert_eq!(loader.pending(id(2, 0), 100, 3), Ok(()));
    let alice = loader.consumer(b"alice", 7, Some(8)).unwrap();
    assert_eq!(loader.consumer(b"alice", 7, None), Err(GroupCorrupt::DuplicateConsumer));
    assert_eq!(loader.owned(alice, id(1, 0)), Ok(()));
    assert_eq!(loader.owned(alice, id(1, 0)), Err(GroupCorrupt::DuplicateEntry));
    assert_eq!(loader.owned(alice, id(9, 0)), Err(GroupCorrupt::UnknownEntry));
    assert_eq!(loader.owned(alice, id(2, 0)), Ok(()));
    let group = loader.finish().unwrap();
    assert_eq!(group.pending(id(1, 0)).map(|pending| pending.delivery_count), Some(3));
    assert_eq!(group.consumer(b"alice").unwrap().pending_len(), 2);

    let mut loader = GroupLoader::new(StreamId::MIN, None);
    loader.pending(id(1, 0), 0, 1).unwrap();
    assert_eq!(loader.finish().err(), Some(GroupCorrupt::Unowned));
}
