//! Values out of an RDB file, of any type and encoding ever written.

use std::io::Read;

use keyspace::entry::INLINE_MAX;
use keyspace::intset::Intset;
use keyspace::listpack::Listpack;
use keyspace::types::Limits;
use keyspace::types::hash::HashValue;
use keyspace::types::list::{ListValue, Node};
use keyspace::types::set::SetValue;
use keyspace::types::zset::ZSetValue;
use keyspace::{Entry, NewValue, Object, SharedObject};

use super::error::{RdbError, Unsupported};
use super::format::{container, kind, module};
use super::input::Input;
use super::strings::Stored;
use super::ziplist;

/// A value that was read, on its way into an entry.
#[derive(Clone, Debug)]
pub enum Value {
    Int(i64),
    Str(Vec<u8>),
    Object(Object),
}

impl Value {
    /// `expire_at_ms` is milliseconds since the Unix epoch.
    pub fn into_entry(self, key: &[u8], expire_at_ms: Option<i64>) -> Entry {
        match self {
            Value::Int(value) => Entry::new(key, NewValue::Int(value), expire_at_ms),
            Value::Str(text) if text.len() <= INLINE_MAX => {
                Entry::new(key, NewValue::Str(&text), expire_at_ms)
            }
            Value::Str(text) => Value::Object(Object::Str(text)).into_entry(key, expire_at_ms),
            Value::Object(object) => {
                Entry::new(key, NewValue::Object(SharedObject::new(object)), expire_at_ms)
            }
        }
    }

    fn of(stored: Stored) -> Self {
        match stored {
            Stored::Int(value) => Value::Int(value),
            Stored::Bytes(text) => Value::Str(text),
        }
    }
}

/// Whether the type byte is that of a value.
pub fn is_value_kind(kind: u8) -> bool {
    kind <= kind::HASH_LISTPACK_EX && kind != 8
}

/// Reads values of one file.
pub struct Decoder<'a, R> {
    pub input: &'a mut Input<R>,
    pub limits: &'a Limits,
}

impl<R: Read> Decoder<'_, R> {
    /// The value behind the type byte `kind`; `None` for an empty collection, which old bugs have saved.
    pub fn value(&mut self, kind: u8) -> Result<Option<Value>, RdbError> {
        let object = match kind {
            kind::STRING => return self.input.stored().map(|stored| Some(Value::of(stored))),
            kind::LIST => self.elements()?.map(Object::List),
            kind::LIST_ZIPLIST => self.list_of_ziplist()?.map(Object::List),
            kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => self.quicklist(kind)?.map(Object::List),
            kind::SET => self.members()?.map(Object::Set),
            kind::SET_INTSET => Some(Object::Set(self.intset()?)),
            kind::SET_LISTPACK => self.set_of_listpack()?.map(Object::Set),
            kind::ZSET | kind::ZSET_2 => self.scores(kind)?.map(Object::ZSet),
            kind::ZSET_LISTPACK => self.zset_of(Self::listpack, ZSET_LISTPACK)?.map(Object::ZSet),
            kind::ZSET_ZIPLIST => self.zset_of(Self::ziplist, ZSET_ZIPLIST)?.map(Object::ZSet),
            kind::HASH => self.fields()?.map(Object::Hash),
            kind::HASH_ZIPMAP => Some(Object::Hash(self.hash_of_zipmap()?)),
            kind::HASH_LISTPACK => self.hash_of(Self::listpack, HASH_LISTPACK)?.map(Object::Hash),
            kind::HASH_ZIPLIST => self.hash_of(Self::ziplist, HASH_ZIPLIST)?.map(Object::Hash),
            kind::HASH_METADATA | kind::HASH_METADATA_PRE_GA => self.timed_fields(kind)?.map(Object::Hash),
            kind::HASH_LISTPACK_EX | kind::HASH_LISTPACK_EX_PRE_GA => {
                Some(Object::Hash(self.timed_listpack(kind)?))
            }
            kind::STREAM_LISTPACKS | kind::STREAM_LISTPACKS_2 | kind::STREAM_LISTPACKS_3 => {
                Some(Object::Stream(self.stream(kind)?))
            }
            _ => return Err(self.refusal(kind)?),
        };
        Ok(object.map(Value::Object))
    }

    fn refusal(&mut self, kind: u8) -> Result<RdbError, RdbError> {
        let what = match kind {
            kind::MODULE_PRE_GA => Unsupported::ModulePreRelease,
            kind::MODULE_2 => Unsupported::Module(module::name(self.input.len()?)),
            _ => return Ok(self.input.corrupt("Unknown RDB encoding type")),
        };
        Ok(RdbError::Unsupported { offset: self.input.offset(), what })
    }

    pub(super) fn corrupt<T>(&self, what: &'static str) -> Result<T, RdbError> {
        Err(self.input.corrupt(what))
    }

    /// A listpack as the string it is stored as.
    fn listpack(&mut self, what: &'static str) -> Result<Listpack, RdbError> {
        let bytes = self.input.string()?;
        Listpack::from_bytes(bytes).or_else(|_| self.corrupt(what))
    }

    fn ziplist(&mut self, what: &'static str) -> Result<Listpack, RdbError> {
        let bytes = self.input.string()?;
        ziplist::to_listpack(&bytes).map_or_else(|| self.corrupt(what), Ok)
    }
}

// ---- Lists -----------------------------------------------------------------------------------------------

impl<R: Read> Decoder<'_, R> {
    fn elements(&mut self) -> Result<Option<ListValue>, RdbError> {
        let mut left = self.input.len()?;
        if left == 0 {
            return Ok(None);
        }
        let mut failed = None;
        let elements = std::iter::from_fn(|| {
            left = left.checked_sub(1)?;
            self.input.string().map_err(|error| failed = Some(error)).ok()
        });
        let list = ListValue::from_elements(elements, self.limits);
        failed.map_or(Ok(Some(list)), Err)
    }

    fn list_of_ziplist(&mut self) -> Result<Option<ListValue>, RdbError> {
        let pack = self.ziplist("List ziplist integrity check failed.")?;
        let list = ListValue::from_elements(pack.iter().map(|element| element.to_text()), self.limits);
        Ok((!list.is_empty()).then_some(list))
    }

    fn quicklist(&mut self, kind: u8) -> Result<Option<ListValue>, RdbError> {
        let mut nodes = Vec::new();
        let count = self.input.len()?;
        for _ in 0..count {
            let node = match kind {
                kind::LIST_QUICKLIST => Node::packed(self.ziplist("Ziplist integrity check failed.")?),
                _ => self.node()?,
            };
            // Old bugs have saved empty nodes.
            if !node.is_empty() {
                nodes.push(node);
            }
        }
        Ok((!nodes.is_empty()).then(|| ListValue::from_nodes(nodes, self.limits)))
    }

    fn node(&mut self) -> Result<Node, RdbError> {
        match self.input.len()? {
            container::PACKED => self.listpack("Listpack integrity check failed.").map(Node::packed),
            container::PLAIN => {
                let element = self.input.string()?;
                if element.is_empty() {
                    return self.corrupt("Quicklist integrity check failed.");
                }
                Ok(Node::plain(&element))
            }
            _ => self.corrupt("Quicklist integrity check failed."),
        }
    }
}

// ---- Sets ------------------------------------------------------------------------------------------------

impl<R: Read> Decoder<'_, R> {
    fn members(&mut self) -> Result<Option<SetValue>, RdbError> {
        let count = self.input.len()?;
        let mut set = SetValue::for_loading(usize::try_from(count).unwrap_or(usize::MAX), self.limits);
        for _ in 0..count {
            let member = self.input.string()?;
            if !set.insert(&member, self.limits) {
                return self.corrupt("Duplicate set members detected");
            }
        }
        Ok((count > 0).then_some(set))
    }

    fn intset(&mut self) -> Result<SetValue, RdbError> {
        let bytes = self.input.string()?;
        match Intset::from_bytes(bytes) {
            Ok(ints) => Ok(SetValue::from_intset(ints, self.limits)),
            Err(_) => self.corrupt("Intset integrity check failed."),
        }
    }

    fn set_of_listpack(&mut self) -> Result<Option<SetValue>, RdbError> {
        const WHAT: &str = "Set listpack integrity check failed.";
        let pack = self.listpack(WHAT)?;
        if pack.is_empty() {
            return Ok(None);
        }
        SetValue::from_listpack(pack, self.limits).map(Some).or_else(|_| self.corrupt(WHAT))
    }
}

// ---- Sorted sets -----------------------------------------------------------------------------------------

const ZSET_LISTPACK: &str = "Zset listpack integrity check failed.";
const ZSET_ZIPLIST: &str = "Zset ziplist integrity check failed.";

impl<R: Read> Decoder<'_, R> {
    fn scores(&mut self, kind: u8) -> Result<Option<ZSetValue>, RdbError> {
        let count = self.input.len()?;
        // As a tree, which takes members in any order, until all of them are known.
        let mut zset = ZSetValue::with_hints(usize::MAX, 0, self.limits);
        for _ in 0..count {
            let member = self.input.string()?;
            let score = if kind == kind::ZSET_2 { self.input.double()? } else { self.input.text_double()? };
            if score.is_nan() {
                return self.corrupt("Zset with NAN score detected");
            }
            if !zset.insert(&member, score, self.limits) {
                return self.corrupt("Duplicate zset fields detected");
            }
        }
        zset.compact(self.limits);
        Ok((count > 0).then_some(zset))
    }

    fn zset_of(
        &mut self,
        read: impl FnOnce(&mut Self, &'static str) -> Result<Listpack, RdbError>,
        what: &'static str,
    ) -> Result<Option<ZSetValue>, RdbError> {
        let pack = read(self, what)?;
        if pack.is_empty() {
            return Ok(None);
        }
        ZSetValue::from_listpack(pack, self.limits).map(Some).or_else(|_| self.corrupt(what))
    }
}

// ---- Hashes ----------------------------------------------------------------------------------------------

const HASH_LISTPACK: &str = "Hash listpack integrity check failed.";
const HASH_ZIPLIST: &str = "Hash ziplist integrity check failed.";
/// Times have 48 bits.
const EXPIRY_LIMIT_MS: u64 = 1 << 48;

impl<R: Read> Decoder<'_, R> {
    fn fields(&mut self) -> Result<Option<HashValue>, RdbError> {
        let count = self.input.len()?;
        let mut hash = HashValue::for_loading(usize::try_from(count).unwrap_or(usize::MAX), self.limits);
        for _ in 0..count {
            let (field, value) = (self.input.string()?, self.input.string()?);
            if !hash.set(&field, &value, self.limits) {
                return self.corrupt("Duplicate hash fields detected");
            }
        }
        Ok((count > 0).then_some(hash))
    }

    fn hash_of(
        &mut self,
        read: impl FnOnce(&mut Self, &'static str) -> Result<Listpack, RdbError>,
        what: &'static str,
    ) -> Result<Option<HashValue>, RdbError> {
        let pack = read(self, what)?;
        if pack.is_empty() {
            return Ok(None);
        }
        HashValue::from_listpack(pack, self.limits).map(Some).or_else(|_| self.corrupt(what))
    }

    /// Fields with the time they expire at, as a distance to the least one; 0 for never.
    fn timed_fields(&mut self, kind: u8) -> Result<Option<HashValue>, RdbError> {
        let is_final = kind == kind::HASH_METADATA;
        let base = if is_final { u64::from_le_bytes(self.input.array()?).checked_sub(1) } else { Some(0) };
        let count = self.input.len()?;
        let mut hash = HashValue::for_loading(usize::try_from(count).unwrap_or(usize::MAX), self.limits);
        for _ in 0..count {
            let distance = self.input.len()?;
            let (field, value) = (self.input.string()?, self.input.string()?);
            let at_ms = base.and_then(|base| base.checked_add(distance));
            self.timed_field(&mut hash, &field, &value, if distance == 0 { Some(0) } else { at_ms })?;
        }
        Ok((count > 0).then_some(hash))
    }

    /// Field, value, time, field, value, time …; 0 for never.
    fn timed_listpack(&mut self, kind: u8) -> Result<HashValue, RdbError> {
        if kind == kind::HASH_LISTPACK_EX {
            self.input.array::<8>()?;
        }
        let pack = self.listpack(HASH_LISTPACK)?;
        if pack.is_empty() || !pack.len().is_multiple_of(3) {
            return self.corrupt(HASH_LISTPACK);
        }
        let mut hash = HashValue::for_loading(pack.len() / 3, self.limits);
        let mut elements = pack.iter();
        while let (Some(field), Some(value), Some(time)) = (elements.next(), elements.next(), elements.next())
        {
            let at_ms = time.as_i64().and_then(|at_ms| u64::try_from(at_ms).ok());
            self.timed_field(&mut hash, &field.to_text(), &value.to_text(), at_ms)?;
        }
        Ok(hash)
    }

    fn timed_field(
        &self,
        hash: &mut HashValue,
        field: &[u8],
        value: &[u8],
        at_ms: Option<u64>,
    ) -> Result<(), RdbError> {
        let Some(at_ms) = at_ms.filter(|at_ms| *at_ms < EXPIRY_LIMIT_MS) else {
            return self.corrupt("Hash field with an invalid expiry time");
        };
        if !hash.set(field, value, self.limits) {
            return self.corrupt("Duplicate hash fields detected");
        }
        if at_ms > 0 {
            hash.expire_at(field, at_ms as i64);
        }
        Ok(())
    }

    fn hash_of_zipmap(&mut self) -> Result<HashValue, RdbError> {
        let bytes = self.input.string()?;
        let Some(pairs) = ziplist::zipmap_pairs(&bytes) else {
            return self.corrupt("Zipmap integrity check failed.");
        };
        let mut hash = HashValue::for_loading(pairs.len(), self.limits);
        for (field, value) in pairs {
            if !hash.set(field, value, self.limits) {
                return self.corrupt("Hash zipmap with dup elements, or big length");
            }
        }
        Ok(hash)
    }
}
