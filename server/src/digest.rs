//! DEBUG DIGEST: twenty bytes that are equal exactly when two datasets are, in stock's own way, so that a stock
//! server and this one can be compared.
//!
//! Parts whose order does not matter are xor'ed; a part that follows another is mixed: digest = SHA1(digest xor
//! SHA1(part)).

use keyspace::listpack::Element;
use keyspace::table::Item;
use keyspace::types::number::double_text;
use keyspace::types::stream::StreamId;
use keyspace::{Entry, Keyspace, Object, Type, ValueRef};
use sha1::{Digest as _, Sha1};
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest([u8; 20]);

impl Digest {
    fn xor(&mut self, part: &[u8]) {
        let hash: [u8; 20] = Sha1::digest(part).into();
        self.0.iter_mut().zip(hash).for_each(|(own, other)| *own ^= other);
    }

    fn mix(&mut self, part: &[u8]) {
        self.xor(part);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Two parts, the second of which belongs to the first.
    fn xor_pair(&mut self, first: &[u8], second: &[u8]) {
        let mut pair = Digest::default();
        pair.mix(first);
        pair.mix(second);
        self.xor(&pair.0);
    }

    /// A value and whether it expires, after whatever was mixed in before.
    pub fn mix_value(&mut self, entry: &Entry) {
        self.mix(&type_number(entry.type_of()).to_be_bytes());
        match entry.value() {
            ValueRef::Bytes(bytes) => self.mix(bytes),
            ValueRef::Int(n) => self.mix(itoa::Buffer::new().format(n).as_bytes()),
            ValueRef::Object(object) => self.mix_object(object),
        }
        if entry.expire_at_ms().is_some() {
            self.xor(b"!!expire!!");
        }
    }

    fn mix_object(&mut self, object: &Object) {
        let bytes = |element: Element<'_>| element.to_vec();
        match object {
            Object::Str(text) => self.mix(text),
            Object::List(list) => list.iter().for_each(|element| self.mix(&bytes(element))),
            Object::Set(set) => set.iter().for_each(|member| self.xor(&bytes(member))),
            Object::ZSet(zset) => {
                zset.iter().for_each(|(member, score)| self.xor_pair(&bytes(member), &double_text(score)))
            }
            Object::Hash(hash) => {
                for (field, value) in hash.iter() {
                    self.xor_pair(&bytes(field), &bytes(value));
                    // 7.4 tells only that a field expires; when, is told here.
                    if let Some(at_ms) = hash.expires_at(&bytes(field)) {
                        self.xor_pair(&bytes(field), &at_ms.to_be_bytes());
                    }
                }
            }
            Object::Stream(stream) => {
                for entry in stream.range(StreamId::MIN, StreamId::MAX) {
                    self.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for (field, value) in entry.fields() {
                        self.mix(&bytes(field));
                        self.mix(&bytes(value));
                    }
                }
            }
        }
    }
}

/// The numbers that stock's digest begins a value with.
fn type_number(of: Type) -> u32 {
    match of {
        Type::String => 0,
        Type::List => 1,
        Type::Set => 2,
        Type::ZSet => 3,
        Type::Hash => 4,
        Type::Stream => 6,
    }
}

/// The digest of everything. To be of one moment, the world must be at rest.
pub fn of_dataset(keyspace: &Keyspace) -> Digest {
    let mut all = Digest::default();
    for db in keyspace.dbs().iter().filter(|db| !db.is_empty()) {
        all.mix(&(db.index() as u32).to_be_bytes());
        let Some(census) = db.keys_census() else { continue };
        let mut from = 0;
        while let Some(slot) = census.next(from) {
            for entry in db.lock(slot).iter() {
                let mut one = Digest::default();
                one.mix(entry.key());
                one.mix_value(entry);
                all.xor(&one.0);
            }
            from = slot.index() + 1;
        }
    }
    all
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyspace::NewValue;
    use protocol::Slot;

    fn keyspace(keys: &[(&str, &str)]) -> Keyspace {
        let keyspace = Keyspace::new(1);
        for (key, value) in keys {
            let db = keyspace.db(0).unwrap();
            let mut slot = db.lock_write(Slot::of(key.as_bytes()));
            slot.upsert(key.as_bytes(), NewValue::Str(value.as_bytes()), None);
        }
        keyspace
    }

    #[test]
    fn order_does_not_matter_but_contents_do() {
        let digest = |keys: &[(&str, &str)]| of_dataset(&keyspace(keys)).to_string();
        assert_eq!(digest(&[]), "0".repeat(40));
        // From a stock server.
        assert_eq!(digest(&[("a", "1"), ("b", "two")]), "aee16f808fe8d4687ee30488c22193d44b345216");
        assert_eq!(digest(&[("a", "1"), ("b", "two")]), digest(&[("b", "two"), ("a", "1")]));
        assert_ne!(digest(&[("a", "1"), ("b", "two")]), digest(&[("a", "two"), ("b", "1")]));
    }

    /// A key of every type, in database 0, and one in database 3; the digests are a stock server's.
    #[test]
    fn every_type_digests_as_in_stock() {
        use keyspace::SharedObject;
        use keyspace::types::Limits;
        use keyspace::types::hash::HashValue;
        use keyspace::types::list::{End, ListValue};
        use keyspace::types::set::SetValue;
        use keyspace::types::zset::ZSetValue;

        let limits = Limits::default();
        let mut list = ListValue::new();
        list.push_all(End::Tail, &["a", "2", "ccc"], &limits);
        let (mut ints, mut set) = (SetValue::new(), SetValue::new());
        ints.insert_all(&["1", "2", "3"], &limits);
        set.insert_all(&["a", "b", "3"], &limits);
        let mut zset = ZSetValue::new();
        for (member, score) in [("a", 1.5), ("b", -2.0), ("c", 1e20)] {
            zset.insert(member.as_bytes(), score, &limits);
        }
        let mut hash = HashValue::new();
        hash.set_all(&[("f", "v"), ("1", "2")], &limits);
        let keyspace = Keyspace::new(4);
        let put = |db: usize, key: &str, value: NewValue<'_>, expire_at_ms: Option<i64>| {
            let mut slot = keyspace.db(db).unwrap().lock_write(Slot::of(key.as_bytes()));
            slot.upsert(key.as_bytes(), value, expire_at_ms);
        };
        let object = |object: Object| NewValue::Object(SharedObject::new(object));
        put(0, "s", NewValue::Str(b"hello"), None);
        put(0, "n", NewValue::Str(b"12"), None);
        put(0, "l", object(Object::List(list)), None);
        put(0, "is", object(Object::Set(ints)), None);
        put(0, "ss", object(Object::Set(set)), None);
        put(0, "z", object(Object::ZSet(zset)), None);
        put(0, "h", object(Object::Hash(hash)), None);
        put(0, "e", NewValue::Str(b"x"), Some(i64::MAX / 2));
        assert_eq!(of_dataset(&keyspace).to_string(), "978900dbf1caee70bf4734c2872b6e5a816a8639");
        put(3, "other", NewValue::Str(b"db"), None);
        assert_eq!(of_dataset(&keyspace).to_string(), "e7ea501b6ea00e42f0ee362744a23ff30ee78fda");
    }
}
