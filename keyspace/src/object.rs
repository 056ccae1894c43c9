//! A value too large for its entry, behind the one pointer the entry keeps.

use crate::types::hash::HashValue;
use crate::types::list::ListValue;
use crate::types::set::SetValue;
use crate::types::stream::StreamValue;
use crate::types::zset::ZSetValue;

/// The types of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    String,
    List,
    Set,
    ZSet,
    Hash,
    Stream,
}

impl Type {
    /// The name `TYPE` gives.
    pub const fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::List => "list",
            Type::Set => "set",
            Type::ZSet => "zset",
            Type::Hash => "hash",
            Type::Stream => "stream",
        }
    }
}

/// How entries hold an object: a snapshot clones the `Arc`, a writer goes through `Arc::make_mut`. One without weak
/// references saves a word, and a writer an exchange of it.
pub type SharedObject = triomphe::Arc<Object>;

/// The value behind an entry's pointer.
#[derive(Clone, Debug)]
pub enum Object {
    /// A string that does not fit its entry.
    Str(Vec<u8>),
    List(ListValue),
    Set(SetValue),
    ZSet(ZSetValue),
    Hash(HashValue),
    Stream(StreamValue),
}

const _: () = assert!(size_of::<Object>() <= 40);

impl Object {
    pub fn type_of(&self) -> Type {
        match self {
            Object::Str(_) => Type::String,
            Object::List(_) => Type::List,
            Object::Set(_) => Type::Set,
            Object::ZSet(_) => Type::ZSet,
            Object::Hash(_) => Type::Hash,
            Object::Stream(_) => Type::Stream,
        }
    }

    /// The name `OBJECT ENCODING` gives. Of strings only the long ones are objects; entries know the rest.
    pub fn encoding_name(&self) -> &'static str {
        match self {
            Object::Str(_) => "raw",
            Object::List(list) => list.encoding_name(),
            Object::Set(set) => set.encoding_name(),
            Object::ZSet(zset) => zset.encoding_name(),
            Object::Hash(hash) => hash.encoding_name(),
            Object::Stream(stream) => stream.encoding_name(),
        }
    }

    /// Number of elements; of a string, bytes.
    pub fn len(&self) -> usize {
        match self {
            Object::Str(bytes) => bytes.len(),
            Object::List(list) => list.len(),
            Object::Set(set) => set.len(),
            Object::ZSet(zset) => zset.len(),
            Object::Hash(hash) => hash.len(),
            Object::Stream(stream) => stream.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Object::Str(bytes) => bytes.is_empty(),
            Object::List(list) => list.is_empty(),
            Object::Set(set) => set.is_empty(),
            Object::ZSet(zset) => zset.is_empty(),
            Object::Hash(hash) => hash.is_empty(),
            Object::Stream(stream) => stream.is_empty(),
        }
    }

    /// Heap bytes the value owns, approximately: many-noded values are sampled, so that the answer takes no
    /// longer for large ones.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Object::Str(bytes) => bytes.capacity(),
            Object::List(list) => list.memory_bytes(),
            Object::Set(set) => set.memory_bytes(),
            Object::ZSet(zset) => zset.memory_bytes(),
            Object::Hash(hash) => hash.memory_bytes(),
            Object::Stream(stream) => stream.memory_bytes(),
        }
    }

    /// About how many allocations dropping the value frees; many are better dropped by a helper thread.
    pub fn free_effort(&self) -> usize {
        match self {
            Object::Str(_) => 1,
            Object::List(list) => list.free_effort(),
            Object::Set(set) => set.free_effort(),
            Object::ZSet(zset) => zset.free_effort(),
            Object::Hash(hash) => hash.free_effort(),
            Object::Stream(stream) => stream.free_effort(),
        }
    }
}

/// A collection type, for code that is generic over what it looks up: `get::<SetValue>(key)`.
pub trait TypedValue: Sized {
    const TYPE: Type;

    fn new() -> Self;

    /// The value, if the object is of this type.
    fn from_object(object: &Object) -> Option<&Self>;

    fn from_object_mut(object: &mut Object) -> Option<&mut Self>;

    fn into_object(self) -> Object;

    /// A collection that has become empty is to be removed; streams stay.
    fn is_empty(&self) -> bool;
}

macro_rules! typed_value {
    ($value:ty, $variant:ident) => {
        impl TypedValue for $value {
            const TYPE: Type = Type::$variant;

            fn new() -> Self {
                <$value>::new()
            }

            fn from_object(object: &Object) -> Option<&Self> {
                match object {
                    Object::$variant(value) => Some(value),
                    _ => None,
                }
            }

            fn from_object_mut(object: &mut Object) -> Option<&mut Self> {
                match object {
                    Object::$variant(value) => Some(value),
                    _ => None,
                }
            }

            fn into_object(self) -> Object {
                Object::$variant(self)
            }

            fn is_empty(&self) -> bool {
                <$value>::is_empty(self)
            }
        }
    };
}

typed_value!(ListValue, List);
typed_value!(SetValue, Set);
typed_value!(ZSetValue, ZSet);
typed_value!(HashValue, Hash);
typed_value!(StreamValue, Stream);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Limits;

    #[test]
    fn objects_know_their_type() {
        let limits = Limits::default();
        let mut set = SetValue::new();
        set.insert(b"1", &limits);
        let mut object = set.into_object();
        assert_eq!((object.type_of(), object.encoding_name(), object.len()), (Type::Set, "intset", 1));
        assert!(HashValue::from_object(&object).is_none());
        assert!(SetValue::from_object_mut(&mut object).is_some_and(|set| set.remove(b"1")));
        assert!(object.is_empty());
    }

    #[test]
    fn an_object_is_small() {
        assert_eq!(size_of::<Object>(), 32);
        for object in [
            ListValue::new().into_object(),
            SetValue::new().into_object(),
            ZSetValue::new().into_object(),
            HashValue::new().into_object(),
        ] {
            assert!(object.memory_bytes() <= 8, "{object:?}");
        }
    }
}
