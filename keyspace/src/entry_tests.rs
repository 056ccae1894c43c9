use proptest::prelude::*;

use super::*;

fn text(entry: &Entry) -> Vec<u8> {
    match entry.value() {
        ValueRef::Int(n) => n.to_string().into_bytes(),
        ValueRef::Bytes(bytes) => bytes.to_vec(),
        ValueRef::Object(object) => as_string(&mut object.clone()).unwrap().clone(),
    }
}

fn address(entry: &Entry) -> usize {
    entry.0.as_ptr() as usize
}

#[test]
fn a_short_string_costs_its_header_and_padding() {
    assert_eq!(Entry::new(&[b'k'; 16], NewValue::Str(&[b'v'; 32]), None).memory_bytes(), 56);
    assert_eq!(Entry::new(&[b'k'; 16], NewValue::Str(&[b'v'; 32]), Some(1)).memory_bytes(), 64);
    assert_eq!(Entry::new(b"counter1", NewValue::Str(b"123456789012345"), None).memory_bytes(), 24);
}

#[test]
fn only_canonical_text_is_an_integer() {
    let numbers: [&[u8]; 6] =
        [b"0", b"7", b"-1", b"1234567890", b"9223372036854775807", b"-9223372036854775808"];
    for number in numbers {
        assert_eq!(parse_i64(number).unwrap().to_string().as_bytes(), number);
    }
    let others: [&[u8]; 13] = [
        b"",
        b"-",
        b"+1",
        b"01",
        b"-0",
        b"00",
        b" 1",
        b"1 ",
        b"1.0",
        b"9223372036854775808",
        b"-9223372036854775809",
        b"100000000000000000000",
        b"1\xff",
    ];
    for other in others {
        assert_eq!(parse_i64(other), None, "{}", other.escape_ascii());
    }
}

#[test]
fn encodings_are_those_of_stock() {
    use StringEncoding::*;
    let long = [b'x'; EMBSTR_MAX + 1];
    let huge = [b'x'; INLINE_MAX + 1];
    let cases = [
        (NewValue::Str(b"12"), Int),
        (NewValue::Str(b"012"), Embstr),
        (NewValue::Plain(b"12"), Embstr),
        (NewValue::Raw(b"12"), Raw),
        (NewValue::Str(&long[1..]), Embstr),
        (NewValue::Str(&long), Raw),
        (NewValue::Str(&huge), Raw),
    ];
    for (value, encoding) in cases {
        let mut entry = Entry::new(b"k", value.clone(), None);
        assert_eq!(entry.string_encoding(), Some(encoding), "{value:?}");
        assert_eq!(entry.type_of(), Type::String);
        entry.string_mut(|text| text.push(b'1'));
        assert_eq!(entry.string_encoding(), Some(Raw), "{value:?}, appended to");
        entry.set_value(value);
        assert_eq!(entry.string_encoding(), Some(encoding), "set again");
    }
}

#[test]
fn values_of_one_size_stay_in_place() {
    let mut entry = Entry::new(b"key", NewValue::Str(b"hello"), Some(5));
    let block = address(&entry);
    entry.set_value(NewValue::Str(b"world"));
    entry.set_value(NewValue::Str(b"wo"));
    entry.set_expire(Some(9));
    assert_eq!((address(&entry), text(&entry), entry.expire_at_ms()), (block, b"wo".to_vec(), Some(9)));

    let mut counter = Entry::new(b"n", NewValue::Str(b"9"), None);
    let block = address(&counter);
    counter.set_value(NewValue::Int(i64::MAX));
    assert_eq!((address(&counter), text(&counter)), (block, b"9223372036854775807".to_vec()));
}

#[test]
fn keys_of_any_length() {
    for len in [0, 1, WIDE_KEY - 1, WIDE_KEY, WIDE_KEY + 9] {
        let key: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
        let mut entry = Entry::new(&key, NewValue::Str(b"value"), Some(1));
        entry.set_expire(None);
        entry.set_value(NewValue::Int(5));
        assert!(entry.key() == key, "{len} bytes");
        let short = entry.renamed(b"short");
        assert_eq!((short.key(), text(&short)), (&b"short"[..], b"5".to_vec()));
        assert!(short.renamed(&key).key() == key);
    }
}

#[test]
fn a_snapshot_keeps_the_value_it_took() {
    let mut entry = Entry::new(b"k", NewValue::Str(&[b'a'; 2_000]), None);
    let snapshot = entry.object_arc().unwrap().clone();
    entry.string_mut(|text| text.truncate(3));
    assert_eq!(text(&entry), b"aaa");
    assert!(matches!(&*snapshot, Object::Str(text) if text.len() == 2_000));
    assert_eq!(SharedObject::strong_count(&snapshot), 1, "the writer copied it");
}

#[test]
fn objects_are_dropped_exactly_once() {
    let object = SharedObject::new(Object::Str(b"value".to_vec()));
    let new = || Entry::new(b"k", NewValue::Object(object.clone()), None);
    drop(new());
    new().set_value(NewValue::Int(1));
    new().set_value(NewValue::Str(b"a string"));
    new().set_value(NewValue::Object(object.clone()));
    new().set_expire(Some(1));
    drop(new().renamed(b"another key"));
    drop(new().copied(b"another key"));
    let (first, second) = (new(), new().into_object());
    assert_eq!(SharedObject::strong_count(&object), 3);
    drop((first, second));
    assert_eq!(SharedObject::strong_count(&object), 1);
}

#[test]
fn a_collection_is_no_string() {
    let set = SharedObject::new(Object::Set(crate::types::set::SetValue::new()));
    let mut entry = Entry::new(b"k", NewValue::Object(set.clone()), None);
    assert_eq!(entry.string_mut(|_| unreachable!("no string")), None::<()>);
    assert_eq!((entry.type_of(), entry.string_encoding()), (Type::Set, None));
    assert!(SharedObject::ptr_eq(entry.object_arc().unwrap(), &set), "asking copies nothing");
}

#[test]
fn expires_after_its_millisecond() {
    let entry = Entry::new(b"k", NewValue::Int(1), Some(1_000));
    assert!(!entry.is_expired(1_000) && entry.is_expired(1_001));
    assert!(!Entry::new(b"k", NewValue::Int(1), None).is_expired(i64::MAX));
}

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>),
    SetPlain(Vec<u8>),
    SetRaw(Vec<u8>),
    SetInt(i64),
    SetObject(Vec<u8>),
    Expire(Option<i64>),
    Append(Vec<u8>),
    Truncate(usize),
    Access(u32),
    Rename(Vec<u8>),
    Copy(Vec<u8>),
    /// A snapshot takes hold of the value.
    Pin,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "-?[0-9]{0,21}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..80),
        prop::collection::vec(any::<u8>(), INLINE_MAX - 4..INLINE_MAX + 4),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        bytes().prop_map(Step::Set),
        bytes().prop_map(Step::SetPlain),
        bytes().prop_map(Step::SetRaw),
        any::<i64>().prop_map(Step::SetInt),
        bytes().prop_map(Step::SetObject),
        any::<Option<i64>>().prop_map(Step::Expire),
        bytes().prop_map(Step::Append),
        (0..100usize).prop_map(Step::Truncate),
        any::<u32>().prop_map(Step::Access),
        bytes().prop_map(Step::Rename),
        bytes().prop_map(Step::Copy),
        Just(Step::Pin),
    ]
}

/// What an entry should be.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    key: Vec<u8>,
    text: Vec<u8>,
    encoding: StringEncoding,
    expire_at_ms: Option<i64>,
    access: u32,
}

impl Model {
    fn of(entry: &Entry) -> Model {
        Model {
            key: entry.key().to_vec(),
            text: text(entry),
            encoding: entry.string_encoding().unwrap(),
            expire_at_ms: entry.expire_at_ms(),
            access: entry.access(),
        }
    }

    fn set(&mut self, text: &[u8], encoding: StringEncoding) {
        (self.text, self.encoding) = (text.to_vec(), encoding);
    }
}

fn plain_encoding(text: &[u8]) -> StringEncoding {
    if text.len() <= EMBSTR_MAX { StringEncoding::Embstr } else { StringEncoding::Raw }
}

fn apply(step: Step, entry: Entry, model: &mut Model, pinned: &mut Vec<(SharedObject, Vec<u8>)>) -> Entry {
    let mut entry = entry;
    match step {
        Step::Set(text) => {
            entry.set_value(NewValue::Str(&text));
            let is_int = parse_i64(&text).is_some();
            model.set(&text, if is_int { StringEncoding::Int } else { plain_encoding(&text) });
        }
        Step::SetPlain(text) => {
            entry.set_value(NewValue::Plain(&text));
            model.set(&text, plain_encoding(&text));
        }
        Step::SetRaw(text) => {
            entry.set_value(NewValue::Raw(&text));
            model.set(&text, StringEncoding::Raw);
        }
        Step::SetInt(n) => {
            entry.set_value(NewValue::Int(n));
            model.set(n.to_string().as_bytes(), StringEncoding::Int);
        }
        Step::SetObject(text) => {
            entry.set_value(NewValue::Object(SharedObject::new(Object::Str(text.clone()))));
            model.set(&text, StringEncoding::Raw);
        }
        Step::Expire(at_ms) => {
            entry.set_expire(at_ms);
            model.expire_at_ms = at_ms;
        }
        Step::Append(more) => {
            entry.string_mut(|text| text.extend_from_slice(&more));
            model.set(&[&model.text[..], &more].concat(), StringEncoding::Raw);
        }
        Step::Truncate(len) => {
            entry.string_mut(|text| text.truncate(len));
            model.text.truncate(len);
            model.encoding = StringEncoding::Raw;
        }
        Step::Access(access) => {
            entry.set_access(access);
            model.access = access & 0xff_ffff;
        }
        Step::Rename(key) => {
            entry = entry.renamed(&key);
            model.key = key;
        }
        Step::Copy(key) => {
            let copy = entry.copied(&key);
            assert_eq!(Model::of(&entry), *model);
            entry = copy;
            model.key = key;
        }
        Step::Pin => pinned.extend(entry.object_arc().map(|object| (object.clone(), model.text.clone()))),
    }
    entry
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_transition_keeps_the_rest(
        key in bytes(),
        first in bytes(),
        expire_at_ms in any::<Option<i64>>(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let mut entry = Entry::new(&key, NewValue::Plain(&first), expire_at_ms);
        let encoding = plain_encoding(&first);
        let mut model = Model { key, text: first, encoding, expire_at_ms, access: 0 };
        let mut pinned = Vec::new();
        for step in steps {
            entry = apply(step, entry, &mut model, &mut pinned);
            prop_assert_eq!(&Model::of(&entry), &model);
        }
        for (object, text) in pinned {
            prop_assert!(matches!(&*object, Object::Str(held) if *held == text));
        }
    }
}
