//! `Entry`: a key and its value in one heap block, behind one word.
//!
//! ```text
//!  ptr ──▶ ┌────────┬────────────┬───────────┬────────┬────────────┬────────┬─────────┐
//!          │ header │ key length │ expire at │ word   │ key        │ string │ padding │
//!          │ 8      │ 8 if WIDE  │ 8 if      │ 8 if   │ key length │ length │ to 8    │
//!          │        │            │ EXPIRES   │ WORD   │            │        │         │
//!          └────────┴────────────┴───────────┴────────┴────────────┴────────┴─────────┘
//!
//!  header  ┌───────┬──────────────┬──────────────────────────────────────────┐
//!          │ flags │ access       │ key length (22 bits), string length (10) │
//!          │ 1     │ 3            │ 4                                        │
//!          └───────┴──────────────┴──────────────────────────────────────────┘
//! ```
//!
//! A value is one of three: a string of at most [`INLINE_MAX`] bytes behind the key; an integer in the word,
//! for a string that is the decimal text of an `i64`; or a `SharedObject` in the word, for anything else.
//! A key of [`WIDE_KEY`] bytes or more has its length in a word of its own. Lengths decide the size of the
//! block, so no capacity is stored, and a value of another length that pads to the same size is written in
//! place.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;

use protocol::number::parse_i64;

use crate::object::{Object, SharedObject, Type};
use crate::prefetch::prefetch;
use crate::table::Item;

/// Bytes of the longest string kept in the entry itself. Longer ones are an [`Object::Str`], which a snapshot
/// shares instead of copying.
pub const INLINE_MAX: usize = (1 << STRING_BITS) - 1;
/// Bytes of the longest string that stock Redis encodes as `embstr`.
pub const EMBSTR_MAX: usize = 44;
/// Key length from which on the header is too small for it.
const WIDE_KEY: usize = 1 << (32 - STRING_BITS);
const STRING_BITS: u32 = 10;
const WORD_BYTES: usize = 8;

/// The value is a word: an integer, or with [`OBJECT`] a `SharedObject`.
const WORD: u8 = 1;
const EXPIRES: u8 = 2;
const WIDE: u8 = 4;
const OBJECT: u8 = 8;
/// The string was modified in place once: it reports `raw` even where it is short.
const RAW: u8 = 16;

/// A key with its value, expiry and access information.
pub struct Entry(NonNull<u8>);

const _: () = assert!(size_of::<Option<Entry>>() == WORD_BYTES);
const _: () = assert!(Shape { flags: 0, key_len: 16, string_len: 32 }.size() == 56);

// SAFETY: an entry owns its block alone; what is in it, bytes and a `SharedObject`, is Send (asserted below).
unsafe impl Send for Entry {}
// SAFETY: shared access only reads; `SharedObject` is Sync (asserted below).
unsafe impl Sync for Entry {}

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<SharedObject>();
};

/// A value on its way into an entry.
#[derive(Clone, Debug)]
pub enum NewValue<'a> {
    /// What a client sent: stored as an integer if it is the canonical text of one.
    Str(&'a [u8]),
    /// A string that stays one, whatever it looks like (the result of INCRBYFLOAT).
    Plain(&'a [u8]),
    /// A string that was modified (APPEND, SETRANGE): reports `raw`, however short.
    Raw(&'a [u8]),
    Int(i64),
    Object(SharedObject),
}

impl<'a> NewValue<'a> {
    /// A string that a command has made, as [`NewValue::Raw`]. A large one is taken out of `text`, not copied.
    pub fn made(text: &'a mut Vec<u8>) -> NewValue<'a> {
        if text.len() <= INLINE_MAX {
            NewValue::Raw(text)
        } else {
            NewValue::Object(SharedObject::new(Object::Str(std::mem::take(text))))
        }
    }
}

/// A value where it is stored.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Object(&'a Object),
}

/// The encodings of strings, by the names OBJECT ENCODING gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StringEncoding {
    Int,
    Embstr,
    Raw,
}

impl StringEncoding {
    pub const fn name(self) -> &'static str {
        match self {
            StringEncoding::Int => "int",
            StringEncoding::Embstr => "embstr",
            StringEncoding::Raw => "raw",
        }
    }
}

impl Entry {
    /// `expire_at_ms` is milliseconds since the Unix epoch.
    pub fn new(key: &[u8], value: NewValue<'_>, expire_at_ms: Option<i64>) -> Entry {
        Entry::build(key, Stored::from(value), expire_at_ms, 0)
    }

    #[inline]
    pub fn expire_at_ms(&self) -> Option<i64> {
        let shape = self.shape();
        shape.has(EXPIRES).then(|| self.word(shape.expire_at()))
    }

    /// True from the millisecond after the one it expires at, as stock has it.
    #[inline]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expire_at_ms().is_some_and(|at_ms| now_ms > at_ms)
    }

    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        let shape = self.shape();
        if let Some(object) = self.object_arc() {
            return ValueRef::Object(object);
        }
        if shape.has(WORD) {
            return ValueRef::Int(self.word(shape.word_at()));
        }
        ValueRef::Bytes(self.bytes(shape.string_at(), shape.string_len))
    }

    /// For snapshots and copies: cloning it pins the value as it is now.
    #[inline]
    pub fn object_arc(&self) -> Option<&SharedObject> {
        let shape = self.shape();
        // SAFETY: with OBJECT set, the word holds an initialised, aligned `SharedObject`.
        shape.has(OBJECT).then(|| unsafe { &*self.object_place(shape) })
    }

    /// The object to change in place; copied first if a snapshot holds it. Its type must stay what it is.
    #[inline]
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        let shape = self.shape();
        // SAFETY: as in `object_arc`, and `self` is borrowed mutably.
        shape.has(OBJECT).then(|| SharedObject::make_mut(unsafe { &mut *self.object_place(shape) }))
    }

    #[inline]
    pub fn type_of(&self) -> Type {
        match self.value() {
            ValueRef::Int(_) | ValueRef::Bytes(_) => Type::String,
            ValueRef::Object(object) => object.type_of(),
        }
    }

    /// `None` unless the value is a string.
    pub fn string_encoding(&self) -> Option<StringEncoding> {
        let embeds = |bytes: &[u8]| bytes.len() <= EMBSTR_MAX && !self.shape().has(RAW);
        match self.value() {
            ValueRef::Int(_) => Some(StringEncoding::Int),
            ValueRef::Bytes(bytes) if embeds(bytes) => Some(StringEncoding::Embstr),
            ValueRef::Bytes(_) => Some(StringEncoding::Raw),
            ValueRef::Object(object) => (object.type_of() == Type::String).then_some(StringEncoding::Raw),
        }
    }

    /// The 24 bits that [`crate::access`] reads as LRU clock or LFU counter.
    #[inline]
    pub fn access(&self) -> u32 {
        let header = self.header();
        u32::from_le_bytes([header.access[0], header.access[1], header.access[2], 0])
    }

    /// Only the low 24 bits are kept.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        let [low, middle, high, _] = access.to_le_bytes();
        self.set_header(Header { access: [low, middle, high], ..self.header() });
    }

    /// Replaces the value; expiry and access stay. Allocates only if the size of the block changes.
    pub fn set_value(&mut self, value: NewValue<'_>) {
        self.replace(value, self.expire_at_ms());
    }

    /// Replaces value and expiry; access stays. Allocates only if the size of the block changes.
    pub fn replace(&mut self, value: NewValue<'_>, expire_at_ms: Option<i64>) {
        let stored = Stored::from(value);
        let old = self.shape();
        let new = stored.shape(old.key_len, expire_at_ms.is_some());
        if (new.size(), new.key_at()) != (old.size(), old.key_at()) || (new.has(EXPIRES) != old.has(EXPIRES))
        {
            *self = Entry::build(self.key(), stored, expire_at_ms, self.access());
            return;
        }
        // SAFETY: the word holds a `SharedObject`, which is overwritten before anything can look at it.
        let replaced = old.has(OBJECT).then(|| unsafe { ptr::read(self.object_place(old)) });
        self.set_header(new.header(self.header().access));
        if let Some(at_ms) = expire_at_ms {
            self.set_word(new.expire_at(), at_ms);
        }
        self.write_value(new, stored);
        drop(replaced);
    }

    /// `at_ms` is milliseconds since the Unix epoch. Gaining or losing an expiry moves the entry to a new
    /// block; changing it does not.
    pub fn set_expire(&mut self, at_ms: Option<i64>) {
        let old = self.shape();
        let new = Shape { flags: old.flags & !EXPIRES | if at_ms.is_some() { EXPIRES } else { 0 }, ..old };
        if new.flags != old.flags {
            let fresh = Entry::allocate(new, self.header().access);
            let tail = old.string_at() + old.string_len - old.word_at();
            // SAFETY: word, key and string follow each other in both blocks, `tail` bytes in all. The value
            // has moved after this, so the old block is freed without dropping it.
            unsafe {
                ptr::copy_nonoverlapping(self.at(old.word_at()), fresh.at(new.word_at()), tail);
            }
            mem::replace(self, fresh).free();
        }
        if let Some(at_ms) = at_ms {
            self.set_word(new.expire_at(), at_ms);
        }
    }

    /// Changes a string through a `Vec`, after which it is `raw`; `None` if the value is no string. Long
    /// strings are changed where they are, so that many an APPEND costs what the Vec's growth costs.
    pub fn string_mut<R>(&mut self, edit: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        let mut text = match self.value() {
            ValueRef::Int(n) => n.to_string().into_bytes(),
            ValueRef::Bytes(bytes) => bytes.to_vec(),
            ValueRef::Object(Object::Str(_)) => return self.object_mut().and_then(as_string).map(edit),
            ValueRef::Object(_) => return None,
        };
        let result = edit(&mut text);
        self.set_value(NewValue::made(&mut text));
        Some(result)
    }

    /// The same value, expiry and access under another key. Nothing but the entry itself is copied.
    pub fn renamed(self, key: &[u8]) -> Entry {
        let old = self.shape();
        let new = Shape { key_len: key.len(), ..old }.with_width();
        let mut fresh = Entry::allocate(new, self.header().access);
        fresh.write_bytes(new.key_at(), key);
        if let Some(at_ms) = self.expire_at_ms() {
            fresh.set_word(new.expire_at(), at_ms);
        }
        // SAFETY: both shapes have the same flags but WIDE, hence the same value: a word or `string_len`
        // bytes. The value has moved after this, so the old block is freed without dropping it.
        unsafe {
            if old.has(WORD) {
                ptr::copy_nonoverlapping(self.at(old.word_at()), fresh.at(new.word_at()), WORD_BYTES);
            }
            ptr::copy_nonoverlapping(self.at(old.string_at()), fresh.at(new.string_at()), old.string_len);
        }
        self.free();
        fresh
    }

    /// The same value under another key, for COPY: a large one is shared until either side changes it.
    pub fn copied(&self, key: &[u8]) -> Entry {
        let value = match (self.object_arc(), self.value()) {
            (Some(object), _) => Stored::Object(object.clone()),
            (None, ValueRef::Int(n)) => Stored::Int(n),
            (None, ValueRef::Bytes(bytes)) => Stored::Inline { bytes, is_raw: self.shape().has(RAW) },
            (None, ValueRef::Object(_)) => unreachable!("an object without its Arc"),
        };
        Entry::build(key, value, self.expire_at_ms(), self.access())
    }

    /// The object alone, for whoever drops it elsewhere. `None` where the value was part of the block.
    pub fn into_object(self) -> Option<SharedObject> {
        let shape = self.shape();
        // SAFETY: the Arc is read out of the word once, and the block is freed without dropping it there.
        let object = shape.has(OBJECT).then(|| unsafe { ptr::read(self.object_place(shape)) });
        self.free();
        object
    }

    /// Asks for the memory of the entry.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(self.0.as_ptr());
    }

    /// Bytes of heap behind this entry: its block and its object.
    pub fn memory_bytes(&self) -> usize {
        self.shape().size() + self.object_arc().map_or(0, |object| object_bytes(object))
    }
}

impl Item for Entry {
    #[inline]
    fn key(&self) -> &[u8] {
        let shape = self.shape();
        self.bytes(shape.key_at(), shape.key_len)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let shape = self.shape();
        // SAFETY: the word holds a `SharedObject` where OBJECT says so, and neither it nor the block is used
        // again.
        unsafe {
            if shape.has(OBJECT) {
                ptr::drop_in_place(self.object_place(shape));
            }
            dealloc(self.0.as_ptr(), shape.layout());
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" = {:?}", self.key().escape_ascii(), self.value())?;
        self.expire_at_ms().map_or(Ok(()), |at_ms| write!(f, " until {at_ms}"))
    }
}

/// The first word of a block.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Header {
    flags: u8,
    access: [u8; 3],
    /// Key length in the high bits, string length in the low [`STRING_BITS`].
    lengths: u32,
}

const _: () = assert!(size_of::<Header>() == WORD_BYTES);

/// What decides where things are in a block, and how large it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    flags: u8,
    key_len: usize,
    string_len: usize,
}

impl Shape {
    #[inline]
    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    const fn with_width(self) -> Shape {
        let wide = if self.key_len >= WIDE_KEY { WIDE } else { 0 };
        Shape { flags: self.flags & !WIDE | wide, ..self }
    }

    #[inline]
    const fn expire_at(self) -> usize {
        WORD_BYTES + WORD_BYTES * self.has(WIDE) as usize
    }

    #[inline]
    const fn word_at(self) -> usize {
        self.expire_at() + WORD_BYTES * self.has(EXPIRES) as usize
    }

    #[inline]
    const fn key_at(self) -> usize {
        self.word_at() + WORD_BYTES * self.has(WORD) as usize
    }

    #[inline]
    const fn string_at(self) -> usize {
        self.key_at() + self.key_len
    }

    #[inline]
    const fn size(self) -> usize {
        (self.string_at() + self.string_len).next_multiple_of(WORD_BYTES)
    }

    fn layout(self) -> Layout {
        Layout::from_size_align(self.size(), WORD_BYTES).expect("a key that is in memory fits memory")
    }

    fn header(self, access: [u8; 3]) -> Header {
        let key_len = if self.has(WIDE) { 0 } else { self.key_len as u32 };
        Header { flags: self.flags, access, lengths: key_len << STRING_BITS | self.string_len as u32 }
    }
}

/// A value in the form it is stored in.
enum Stored<'a> {
    Inline { bytes: &'a [u8], is_raw: bool },
    Int(i64),
    Object(SharedObject),
}

impl<'a> From<NewValue<'a>> for Stored<'a> {
    fn from(value: NewValue<'a>) -> Stored<'a> {
        let string = |bytes: &'a [u8], is_raw| match bytes.len() {
            0..=INLINE_MAX => Stored::Inline { bytes, is_raw },
            _ => Stored::Object(SharedObject::new(Object::Str(bytes.to_vec()))),
        };
        match value {
            NewValue::Str(text) => parse_i64(text).map_or_else(|| string(text, false), Stored::Int),
            NewValue::Plain(bytes) => string(bytes, false),
            NewValue::Raw(bytes) => string(bytes, true),
            NewValue::Int(n) => Stored::Int(n),
            NewValue::Object(object) => Stored::Object(object),
        }
    }
}

impl Stored<'_> {
    fn shape(&self, key_len: usize, expires: bool) -> Shape {
        let (value_flags, string_len) = match self {
            Stored::Inline { bytes, is_raw } => (if *is_raw { RAW } else { 0 }, bytes.len()),
            Stored::Int(_) => (WORD, 0),
            Stored::Object(_) => (WORD | OBJECT, 0),
        };
        let flags = value_flags | if expires { EXPIRES } else { 0 };
        Shape { flags, key_len, string_len }.with_width()
    }
}

/// The block: everything that touches its bytes. `at` is always an offset within the shape's size.
impl Entry {
    fn build(key: &[u8], value: Stored<'_>, expire_at_ms: Option<i64>, access: u32) -> Entry {
        let shape = value.shape(key.len(), expire_at_ms.is_some());
        let [low, middle, high, _] = access.to_le_bytes();
        let mut entry = Entry::allocate(shape, [low, middle, high]);
        if let Some(at_ms) = expire_at_ms {
            entry.set_word(shape.expire_at(), at_ms);
        }
        entry.write_bytes(shape.key_at(), key);
        entry.write_value(shape, value);
        entry
    }

    /// A block with header and key length. The rest is for the caller to fill before the entry is used or
    /// dropped.
    fn allocate(shape: Shape, access: [u8; 3]) -> Entry {
        let layout = shape.layout();
        // SAFETY: a block is at least a header long.
        let Some(block) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let mut entry = Entry(block);
        entry.set_header(shape.header(access));
        if shape.has(WIDE) {
            entry.set_word(WORD_BYTES, shape.key_len as i64);
        }
        entry
    }

    /// Frees the block without dropping the value in it.
    fn free(self) {
        // SAFETY: the block came from `alloc` with this layout, and `mem::forget` keeps `drop` from using it.
        unsafe { dealloc(self.0.as_ptr(), self.shape().layout()) };
        mem::forget(self);
    }

    /// The word or string of `shape`, over whatever was there.
    fn write_value(&mut self, shape: Shape, value: Stored<'_>) {
        match value {
            Stored::Inline { bytes, .. } => self.write_bytes(shape.string_at(), bytes),
            Stored::Int(n) => self.set_word(shape.word_at(), n),
            // SAFETY: the shape has a word, aligned as all words, that holds nothing to be dropped.
            Stored::Object(object) => unsafe { self.object_place(shape).write(object) },
        }
    }

    #[inline]
    fn shape(&self) -> Shape {
        let header = self.header();
        let narrow = (header.lengths >> STRING_BITS) as usize;
        let key_len = if header.flags & WIDE == 0 { narrow } else { self.word(WORD_BYTES) as usize };
        Shape { flags: header.flags, key_len, string_len: header.lengths as usize & INLINE_MAX }
    }

    #[inline]
    fn header(&self) -> Header {
        // SAFETY: every block begins with an aligned header, written when it was allocated.
        unsafe { self.0.cast::<Header>().read() }
    }

    #[inline]
    fn set_header(&mut self, header: Header) {
        // SAFETY: every block has room for an aligned header.
        unsafe { self.0.cast::<Header>().write(header) }
    }

    #[inline]
    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: offsets come from the shape of this very block, at most its size.
        unsafe { self.0.as_ptr().add(offset) }
    }

    #[inline]
    fn word(&self, at: usize) -> i64 {
        // SAFETY: words are aligned, inside the block and written before they are read.
        unsafe { self.at(at).cast::<i64>().read() }
    }

    #[inline]
    fn set_word(&mut self, at: usize, word: i64) {
        // SAFETY: words are aligned and inside the block.
        unsafe { self.at(at).cast::<i64>().write(word) }
    }

    #[inline]
    fn object_place(&self, shape: Shape) -> *mut SharedObject {
        debug_assert!(shape.has(WORD));
        self.at(shape.word_at()).cast()
    }

    #[inline]
    fn bytes(&self, at: usize, len: usize) -> &[u8] {
        // SAFETY: key and string lie inside the block and were written when the entry was built.
        unsafe { slice::from_raw_parts(self.at(at), len) }
    }

    #[inline]
    fn write_bytes(&mut self, at: usize, bytes: &[u8]) {
        // SAFETY: the block has room for the key or string of its shape at this offset, and nothing that is
        // borrowed from it can be the source while it is borrowed mutably.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(at), bytes.len()) }
    }
}

/// Bytes of heap behind a `SharedObject`: its count, the object, and what that owns.
fn object_bytes(object: &Object) -> usize {
    WORD_BYTES + size_of::<Object>() + object.memory_bytes()
}

fn as_string(object: &mut Object) -> Option<&mut Vec<u8>> {
    match object {
        Object::Str(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
