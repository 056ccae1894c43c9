//! Entries as bytes of an RDB file.

use keyspace::access::{LfuKnobs, lfu_counter, lru_idle_ms};
use keyspace::listpack::{Element, Listpack};
use keyspace::table::Item;
use keyspace::types::hash::{HashEncoding, HashValue};
use keyspace::types::list::{ListEncoding, ListValue, Node};
use keyspace::types::set::{SetEncoding, SetValue};
use keyspace::types::zset::{ZSetEncoding, ZSetValue};
use keyspace::{Entry, Object, ValueRef};

use super::format::{RdbVersion, container, encoding, kind, length, opcode};
use crate::lzf;

/// Strings up to this many bytes are not worth compressing.
const LZF_WORTHWHILE: usize = 20;
/// Bytes a compressed string has to save.
const LZF_MIN_SAVED: usize = 4;
const MAX_LEN_BYTES: usize = 9;
/// Longest decimal text that may be saved as a 32-bit integer.
const MAX_I32_TEXT: usize = 11;

/// Whether entries are saved with what eviction knows about them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    None,
    /// Seconds since the last use, where the eviction policy is an LRU one.
    Idle {
        now_ms: i64,
    },
    /// The frequency counter, where it is an LFU one.
    Freq {
        now_ms: i64,
        knobs: LfuKnobs,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EncodeOptions {
    pub version: RdbVersion,
    /// `rdbcompression`.
    pub compress: bool,
    pub access: Access,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        EncodeOptions { version: RdbVersion::V11, compress: true, access: Access::None }
    }
}

/// Appends entries to buffers. It holds nothing but its options: use one from as many threads as you like.
#[derive(Clone, Copy, Default, Debug)]
pub struct Encoder {
    options: EncodeOptions,
}

impl Encoder {
    pub fn new(options: EncodeOptions) -> Self {
        Encoder { options }
    }

    pub fn options(&self) -> &EncodeOptions {
        &self.options
    }

    /// Appends expiry, access, type, key and value of an entry.
    pub fn entry(&self, out: &mut Vec<u8>, entry: &Entry) {
        self.parts(out, entry.key(), entry.expire_at_ms(), entry.access(), entry.value());
    }

    /// As [`Encoder::entry`], for an entry whose object was pinned and whose lock was given back.
    pub fn parts(
        &self,
        out: &mut Vec<u8>,
        key: &[u8],
        expire_at_ms: Option<i64>,
        access: u32,
        value: ValueRef<'_>,
    ) {
        if let Some(at_ms) = expire_at_ms {
            out.push(opcode::EXPIRETIME_MS);
            out.extend_from_slice(&at_ms.to_le_bytes());
        }
        self.access(out, access);
        out.push(self.kind_of(value));
        self.string(out, key);
        self.value(out, value);
    }

    fn access(&self, out: &mut Vec<u8>, access: u32) {
        match self.options.access {
            Access::None => {}
            Access::Idle { now_ms } => {
                out.push(opcode::IDLE);
                put_len(out, lru_idle_ms(access, now_ms) / 1000);
            }
            Access::Freq { now_ms, knobs } => {
                out.extend_from_slice(&[opcode::FREQ, lfu_counter(access, now_ms, knobs)]);
            }
        }
    }

    /// The type byte of a value.
    pub fn kind_of(&self, value: ValueRef<'_>) -> u8 {
        let ValueRef::Object(object) = value else { return kind::STRING };
        match object {
            Object::Str(_) => kind::STRING,
            Object::List(_) => kind::LIST_QUICKLIST_2,
            Object::Set(set) => match set.encoding() {
                SetEncoding::Intset(_) => kind::SET_INTSET,
                SetEncoding::Listpack(_) if self.options.version >= RdbVersion::V11 => kind::SET_LISTPACK,
                SetEncoding::Listpack(_) | SetEncoding::Table => kind::SET,
            },
            Object::ZSet(zset) => match zset.encoding() {
                ZSetEncoding::Listpack(_) => kind::ZSET_LISTPACK,
                ZSetEncoding::Tree => kind::ZSET_2,
            },
            Object::Hash(hash) => match hash.encoding() {
                HashEncoding::Listpack(_) => kind::HASH_LISTPACK,
                HashEncoding::Table => kind::HASH,
                HashEncoding::Timed { .. } => kind::HASH_METADATA,
            },
            Object::Stream(_) => self.stream_kind(),
        }
    }

    /// Appends the value without its type byte.
    pub fn value(&self, out: &mut Vec<u8>, value: ValueRef<'_>) {
        match value {
            ValueRef::Int(value) => put_int_string(out, value),
            ValueRef::Bytes(bytes) => self.string(out, bytes),
            ValueRef::Object(Object::Str(bytes)) => self.string(out, bytes),
            ValueRef::Object(Object::List(list)) => self.list(out, list),
            ValueRef::Object(Object::Set(set)) => self.set(out, set),
            ValueRef::Object(Object::ZSet(zset)) => self.zset(out, zset),
            ValueRef::Object(Object::Hash(hash)) => self.hash(out, hash),
            ValueRef::Object(Object::Stream(stream)) => self.stream(out, stream),
        }
    }

    fn list(&self, out: &mut Vec<u8>, list: &ListValue) {
        match list.encoding() {
            ListEncoding::Listpack(pack) => {
                put_len(out, 1);
                put_len(out, container::PACKED);
                self.blob(out, pack.as_bytes());
            }
            ListEncoding::Quicklist(quick) => {
                put_len(out, quick.nodes().len() as u64);
                quick.nodes().iter().for_each(|node| self.node(out, node));
            }
        }
    }

    fn node(&self, out: &mut Vec<u8>, node: &Node) {
        put_len(out, if node.pack().is_some() { container::PACKED } else { container::PLAIN });
        self.blob(out, node.as_bytes());
    }

    fn set(&self, out: &mut Vec<u8>, set: &SetValue) {
        match set.encoding() {
            SetEncoding::Intset(ints) => self.blob(out, ints.as_bytes()),
            SetEncoding::Listpack(pack) if self.options.version >= RdbVersion::V11 => self.pack(out, pack),
            SetEncoding::Listpack(_) | SetEncoding::Table => {
                put_len(out, set.len() as u64);
                set.iter().for_each(|member| self.element(out, member));
            }
        }
    }

    fn zset(&self, out: &mut Vec<u8>, zset: &ZSetValue) {
        match zset.encoding() {
            ZSetEncoding::Listpack(pack) => self.pack(out, pack),
            ZSetEncoding::Tree => {
                put_len(out, zset.len() as u64);
                // Greatest first, as stock does: its loader then inserts at the head of its skip list.
                for (member, score) in zset.iter().rev() {
                    self.element(out, member);
                    out.extend_from_slice(&score.to_le_bytes());
                }
            }
        }
    }

    fn hash(&self, out: &mut Vec<u8>, hash: &HashValue) {
        match hash.encoding() {
            HashEncoding::Listpack(pack) => self.pack(out, pack),
            HashEncoding::Timed { first_ms } => self.timed_hash(out, hash, first_ms),
            HashEncoding::Table => {
                put_len(out, hash.len() as u64);
                for (field, value) in hash.iter() {
                    self.element(out, field);
                    self.element(out, value);
                }
            }
        }
    }

    /// Each field after its time, as a distance to the first one: 0 for never, so 1 for the first.
    fn timed_hash(&self, out: &mut Vec<u8>, hash: &HashValue, first_ms: i64) {
        out.extend_from_slice(&first_ms.to_le_bytes());
        put_len(out, hash.len() as u64);
        for (field, value) in hash.iter() {
            let at_ms = hash.expires_at(&field.to_text());
            put_len(out, at_ms.map_or(0, |at_ms| (at_ms - first_ms) as u64 + 1));
            self.element(out, field);
            self.element(out, value);
        }
    }

    fn pack(&self, out: &mut Vec<u8>, pack: &Listpack) {
        self.blob(out, pack.as_bytes());
    }

    fn element(&self, out: &mut Vec<u8>, element: Element<'_>) {
        match element {
            Element::Int(value) => put_int_string(out, value),
            Element::Bytes(bytes) => self.string(out, bytes),
        }
    }

    /// A string: as an integer if it is the text of a small one, compressed if that pays, or as it is.
    pub fn string(&self, out: &mut Vec<u8>, bytes: &[u8]) {
        if bytes.len() <= MAX_I32_TEXT
            && let Some(value) = keyspace::types::number::parse_i64(bytes)
            && put_small_int(out, value)
        {
            return;
        }
        self.blob(out, bytes);
    }

    /// A string that is known to be no integer's text.
    pub(super) fn blob(&self, out: &mut Vec<u8>, bytes: &[u8]) {
        if self.options.compress && bytes.len() > LZF_WORTHWHILE && put_compressed(out, bytes) {
            return;
        }
        put_len(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

/// Appends a compressed string; false, and nothing, if it does not get shorter.
fn put_compressed(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let start = out.len();
    out.push(length::ENCODED << 6 | encoding::LZF);
    // The compressed length stands before the compressed bytes: leave room for the longest it can be.
    let most_bytes = bytes.len() - LZF_MIN_SAVED;
    let room = len_bytes(most_bytes as u64);
    let len_at = out.len();
    out.resize(len_at + room, 0);
    put_len(out, bytes.len() as u64);
    let body_at = out.len();
    if !lzf::compress(bytes, most_bytes, out) {
        out.truncate(start);
        return false;
    }
    let compressed_len = (out.len() - body_at) as u64;
    // Most often it takes the room it was given; else what follows moves up.
    let spare = room - len_bytes(compressed_len);
    if spare > 0 {
        out.drain(len_at..len_at + spare);
    }
    write_len(&mut out[len_at..], compressed_len);
    true
}

/// Appends a length in the fewest bytes.
pub fn put_len(out: &mut Vec<u8>, len: u64) {
    let mut bytes = [0; MAX_LEN_BYTES];
    write_len(&mut bytes, len);
    out.extend_from_slice(&bytes[..len_bytes(len)]);
}

/// Writes a length to the front of `out`.
fn write_len(out: &mut [u8], len: u64) {
    match len {
        0..0x40 => out[0] = length::BITS_6 << 6 | len as u8,
        0x40..0x4000 => out[..2].copy_from_slice(&[length::BITS_14 << 6 | (len >> 8) as u8, len as u8]),
        0x4000..=0xFFFF_FFFF => {
            out[0] = length::BITS_32;
            out[1..5].copy_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out[0] = length::BITS_64;
            out[1..9].copy_from_slice(&len.to_be_bytes());
        }
    }
}

fn len_bytes(len: u64) -> usize {
    match len {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..=0xFFFF_FFFF => 5,
        _ => 9,
    }
}

/// Appends the string that is an integer's text.
pub fn put_int_string(out: &mut Vec<u8>, value: i64) {
    if !put_small_int(out, value) {
        let text = value.to_string();
        put_len(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}

/// False, and nothing, if it takes more than 32 bits.
fn put_small_int(out: &mut Vec<u8>, value: i64) -> bool {
    let (encoding, width) = match value {
        -0x80..=0x7F => (encoding::INT8, 1),
        -0x8000..=0x7FFF => (encoding::INT16, 2),
        -0x8000_0000..=0x7FFF_FFFF => (encoding::INT32, 4),
        _ => return false,
    };
    out.push(length::ENCODED << 6 | encoding);
    out.extend_from_slice(&value.to_le_bytes()[..width]);
    true
}
