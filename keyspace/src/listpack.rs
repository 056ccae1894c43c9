//! The listpack: a packed sequence of strings and integers, in exactly the bytes an RDB file holds.
//!
//! ```text
//! | total bytes: u32 LE | elements: u16 LE | entry | entry | … | 0xFF |
//!
//! entry:  | encoding + data | backlen |
//!
//! 0xxxxxxx                      unsigned integer, 7 bits
//! 10xxxxxx  data                string of up to 63 bytes
//! 110xxxxx  xxxxxxxx            signed integer, 13 bits
//! 1110xxxx  xxxxxxxx  data      string of up to 4095 bytes
//! 0xF0      u32 LE    data      longer string
//! 0xF1 0xF2 0xF3 0xF4           signed integer of 16, 24, 32, 64 bits, little-endian
//! ```
//!
//! The backlen is the length of encoding and data in base 128, most significant group first, where every byte
//! but the first has its top bit set: it is read backwards. An element count of 65535 means "count them".
//!
//! **Invariant:** the bytes inside a [`Listpack`] are well-formed. They are only built here, or validated
//! from end to end before they are accepted.

use crate::types::number::parse_i64;
use crate::types::{Corrupt, grow_for};
use std::borrow::Cow;

const HEADER_LEN: usize = 6;
const END: u8 = 0xFF;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// Collections never let a listpack grow beyond this many bytes: they change their encoding instead.
pub const MAX_SAFE_BYTES: usize = 1 << 30;

/// One element. Text that is a canonical `i64` is kept as the integer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The element a listpack would hold for this text.
    pub fn of(text: &'a [u8]) -> Self {
        parse_i64(text).map_or(Element::Bytes(text), Element::Int)
    }

    /// The element's text; integers are written into the caller's buffer.
    pub fn text<'b>(&self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Element::Int(value) => buffer.format(value).as_bytes(),
            Element::Bytes(bytes) => bytes,
        }
    }

    /// The element's text, owned where it has to be.
    pub fn to_text(&self) -> Cow<'a, [u8]> {
        match *self {
            Element::Int(value) => Cow::Owned(itoa::Buffer::new().format(value).as_bytes().to_vec()),
            Element::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }

    pub fn to_vec(&self) -> Vec<u8> {
        self.to_text().into_owned()
    }

    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text(&mut itoa::Buffer::new()));
    }

    /// Length of the text in bytes.
    pub fn text_len(&self) -> usize {
        self.text(&mut itoa::Buffer::new()).len()
    }

    pub fn is(&self, text: &[u8]) -> bool {
        match *self {
            Element::Int(value) => parse_i64(text) == Some(value),
            Element::Bytes(bytes) => bytes == text,
        }
    }

    /// The integer this element is, whichever way it is stored.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Element::Int(value) => Some(value),
            Element::Bytes(bytes) => parse_i64(bytes),
        }
    }
}

/// The byte offset of an entry. It is good until the listpack is changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pos(u32);

impl Pos {
    fn at(offset: usize) -> Self {
        Pos(offset as u32)
    }

    fn offset(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listpack {
    bytes: Vec<u8>,
}

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

// ---- Making, measuring -----------------------------------------------------------------------------------

impl Listpack {
    pub fn new() -> Self {
        Self::with_capacity(HEADER_LEN + 1)
    }

    /// An empty listpack with room for `capacity_bytes` in all.
    pub fn with_capacity(capacity_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity_bytes.max(HEADER_LEN + 1));
        bytes.extend_from_slice(&[HEADER_LEN as u8 + 1, 0, 0, 0, 0, 0, END]);
        Listpack { bytes }
    }

    /// Takes untrusted bytes after walking all of them.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Corrupt> {
        Self::validate(&bytes)?;
        Ok(Listpack { bytes })
    }

    /// Walks untrusted bytes from end to end and returns the number of elements. Allocates nothing.
    pub fn validate(bytes: &[u8]) -> Result<usize, Corrupt> {
        let end = match bytes.len().checked_sub(1) {
            Some(end) if end >= HEADER_LEN && bytes[end] == END => end,
            _ => return Err(Corrupt { offset: bytes.len() }),
        };
        if total_bytes(bytes) != bytes.len() {
            return Err(Corrupt { offset: 0 });
        }
        let (mut at, mut count) = (HEADER_LEN, 0);
        while at < end {
            at = validate_entry(&bytes[..end], at).ok_or(Corrupt { offset: at })?;
            count += 1;
        }
        match header_count(bytes) {
            COUNT_UNKNOWN => Ok(count),
            stated if stated as usize == count => Ok(count),
            _ => Err(Corrupt { offset: 4 }),
        }
    }

    /// The bytes as an RDB file holds them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes allocated, used or not.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Number of elements; walks them when there are 65535 or more.
    pub fn len(&self) -> usize {
        match header_count(&self.bytes) {
            COUNT_UNKNOWN => self.iter().count(),
            count => count as usize,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes[HEADER_LEN] == END
    }

    /// Whether `extra_bytes` more keep the listpack within [`MAX_SAFE_BYTES`].
    pub fn has_room_for(&self, extra_bytes: usize) -> bool {
        self.bytes.len().saturating_add(extra_bytes) <= MAX_SAFE_BYTES
    }

    /// Gives back memory that growing or deleting left unused.
    pub fn shrink_to_fit(&mut self) {
        if self.bytes.capacity() > self.bytes.len() {
            // By way of a new block: an allocator asked to shrink one keeps it where less than half would be saved.
            self.bytes = self.bytes.as_slice().to_vec();
        }
    }
}

// ---- Moving about ----------------------------------------------------------------------------------------

impl Listpack {
    fn end(&self) -> usize {
        self.bytes.len() - 1
    }

    fn pos(&self, offset: usize) -> Option<Pos> {
        (offset < self.end()).then(|| Pos::at(offset))
    }

    pub fn first(&self) -> Option<Pos> {
        self.pos(HEADER_LEN)
    }

    pub fn last(&self) -> Option<Pos> {
        self.before(self.end())
    }

    pub fn next(&self, pos: Pos) -> Option<Pos> {
        self.pos(self.after(pos))
    }

    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        self.before(pos.offset())
    }

    /// Offset of the byte after the entry.
    fn after(&self, pos: Pos) -> usize {
        pos.offset() + entry_len(&self.bytes, pos.offset())
    }

    /// The entry that ends where `offset` begins.
    fn before(&self, offset: usize) -> Option<Pos> {
        (offset > HEADER_LEN).then(|| Pos::at(offset - last_entry_len(&self.bytes[..offset])))
    }

    pub fn at(&self, pos: Pos) -> Element<'_> {
        decode(&self.bytes, pos.offset()).0
    }

    /// The place of the element at `index`; -1 is the last one. Walks from the nearer end.
    pub fn seek(&self, index: i64) -> Option<Pos> {
        let count = header_count(&self.bytes);
        let mut index = index;
        if count != COUNT_UNKNOWN {
            let len = i64::from(count);
            if index < 0 {
                index += len;
            }
            if !(0..len).contains(&index) {
                return None;
            }
            if index > len / 2 {
                index -= len;
            }
        }
        if index >= 0 {
            (0..index).try_fold(self.first()?, |pos, _| self.next(pos))
        } else {
            (index + 1..0).try_fold(self.last()?, |pos, _| self.prev(pos))
        }
    }

    pub fn get(&self, index: i64) -> Option<Element<'_>> {
        self.seek(index).map(|pos| self.at(pos))
    }

    /// The first element equal to `text`, looking at every `stride`-th one from the front.
    pub fn find(&self, text: &[u8], stride: usize) -> Option<Pos> {
        let wanted_int = parse_i64(text);
        let (mut at, end) = (HEADER_LEN, self.end());
        while at < end {
            let (element, encoded_len) = decode(&self.bytes, at);
            let found = match element {
                Element::Int(value) => wanted_int == Some(value),
                Element::Bytes(bytes) => bytes == text,
            };
            if found {
                return Some(Pos::at(at));
            }
            at += encoded_len + backlen_len(encoded_len);
            for _ in 1..stride {
                if at < end {
                    at += entry_len(&self.bytes, at);
                }
            }
        }
        None
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: &self.bytes, front: HEADER_LEN, back: self.end() }
    }

    /// From the element at `pos` to the end.
    pub fn iter_from(&self, pos: Pos) -> Iter<'_> {
        Iter { front: pos.offset(), ..self.iter() }
    }

    /// From the front up to and including the element at `pos`.
    pub fn iter_through(&self, pos: Pos) -> Iter<'_> {
        Iter { back: self.after(pos), ..self.iter() }
    }

    /// Over no element.
    pub fn iter_none(&self) -> Iter<'_> {
        Iter { back: HEADER_LEN, ..self.iter() }
    }

    /// From the element at `first` up to and including the one at `last`.
    pub fn iter_between(&self, first: Pos, last: Pos) -> Iter<'_> {
        Iter { bytes: &self.bytes, front: first.offset(), back: self.after(last) }
    }
}

impl<'a> IntoIterator for &'a Listpack {
    type Item = Element<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Elements from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> Iter<'a> {
    pub fn next_with_pos(&mut self) -> Option<(Pos, Element<'a>)> {
        if self.front >= self.back {
            return None;
        }
        let pos = Pos::at(self.front);
        let (element, encoded_len) = decode(self.bytes, self.front);
        self.front += encoded_len + backlen_len(encoded_len);
        Some((pos, element))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        self.next_with_pos().map(|(_, element)| element)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back -= last_entry_len(&self.bytes[..self.back]);
        Some(decode(self.bytes, self.back).0)
    }
}

// ---- Changing --------------------------------------------------------------------------------------------

impl Listpack {
    pub fn push_back(&mut self, text: &[u8]) {
        self.splice(self.end(), 0, Element::of(text));
    }

    pub fn push_back_int(&mut self, value: i64) {
        self.splice(self.end(), 0, Element::Int(value));
    }

    /// Appends an element as it is, without asking whether its text could be an integer.
    pub fn push_back_element(&mut self, element: Element<'_>) {
        self.splice(self.end(), 0, element);
    }

    pub fn push_front(&mut self, text: &[u8]) {
        self.splice(HEADER_LEN, 0, Element::of(text));
    }

    /// Inserts before `pos`; the new element is at `pos` then.
    pub fn insert_before(&mut self, pos: Pos, element: Element<'_>) {
        self.splice(pos.offset(), 0, element);
    }

    /// Inserts after `pos` and returns the new element's place.
    pub fn insert_after(&mut self, pos: Pos, element: Element<'_>) -> Pos {
        let at = self.after(pos);
        self.splice(at, 0, element);
        Pos::at(at)
    }

    /// Puts another element at `pos`.
    pub fn replace(&mut self, pos: Pos, element: Element<'_>) {
        let removed_len = entry_len(&self.bytes, pos.offset());
        self.splice(pos.offset(), removed_len, element);
    }

    /// Removes the element at `pos` and returns the place of the one after it.
    pub fn delete(&mut self, pos: Pos) -> Option<Pos> {
        self.delete_many(pos, 1)
    }

    /// Removes up to `count` elements from `pos` on and returns the place of the one after them.
    pub fn delete_many(&mut self, pos: Pos, count: usize) -> Option<Pos> {
        let (start, end) = (pos.offset(), self.end());
        let (mut stop, mut removed) = (start, 0);
        while removed < count && stop < end {
            stop += entry_len(&self.bytes, stop);
            removed += 1;
        }
        self.bytes.copy_within(stop.., start);
        self.bytes.truncate(self.bytes.len() - (stop - start));
        self.write_header(-(removed as i64));
        self.shrink_if_sparse();
        self.pos(start)
    }

    /// Removes up to `count` elements from `index` on.
    pub fn delete_range(&mut self, index: usize, count: usize) {
        if count > 0
            && let Some(pos) = self.seek(index as i64)
        {
            self.delete_many(pos, count);
        }
    }

    /// Keeps the elements for which `keep(index, element)` holds, in one pass.
    pub fn retain(&mut self, mut keep: impl FnMut(usize, Element<'_>) -> bool) {
        let (mut from, mut to, end) = (HEADER_LEN, HEADER_LEN, self.end());
        let (mut index, mut removed) = (0, 0);
        while from < end {
            let (element, encoded_len) = decode(&self.bytes, from);
            let len = encoded_len + backlen_len(encoded_len);
            if keep(index, element) {
                self.bytes.copy_within(from..from + len, to);
                to += len;
            } else {
                removed += 1;
            }
            from += len;
            index += 1;
        }
        self.bytes.truncate(to);
        self.bytes.push(END);
        self.write_header(-removed);
        self.shrink_if_sparse();
    }

    /// Appends all elements of another listpack.
    pub fn append(&mut self, other: &Listpack) {
        let count = other.len();
        self.bytes.pop();
        grow_for(&mut self.bytes, other.bytes.len() - HEADER_LEN);
        self.bytes.extend_from_slice(&other.bytes[HEADER_LEN..]);
        self.write_header(count as i64);
    }

    /// Cuts the listpack in two: `self` keeps the first `index` elements.
    pub fn split_off(&mut self, index: usize) -> Listpack {
        let mut tail = Listpack::new();
        let Some(pos) = self.seek(index as i64) else { return tail };
        let count = self.len() - index;
        tail.bytes.pop();
        tail.bytes.reserve_exact(self.bytes.len() - pos.offset());
        tail.bytes.extend_from_slice(&self.bytes[pos.offset()..]);
        tail.write_header(count as i64);
        self.bytes.truncate(pos.offset());
        self.bytes.push(END);
        self.write_header(-(count as i64));
        self.bytes.shrink_to_fit();
        tail
    }

    /// Replaces `removed_len` bytes at `at` (none or one entry) by an entry for `element`.
    fn splice(&mut self, at: usize, removed_len: usize, element: Element<'_>) {
        let entry = Encoded::of(element);
        let (old_len, new_len) = (self.bytes.len(), self.bytes.len() - removed_len + entry.len());
        assert!(new_len <= u32::MAX as usize, "a listpack's length field has 32 bits");
        if new_len > old_len {
            grow_for(&mut self.bytes, new_len - old_len);
            self.bytes.resize(new_len, 0);
        }
        self.bytes.copy_within(at + removed_len..old_len, at + entry.len());
        self.bytes.truncate(new_len);
        entry.write_to(&mut self.bytes[at..at + entry.len()]);
        self.write_header(i64::from(removed_len == 0));
    }

    /// Brings the header up to date after `change` elements came (or went).
    fn write_header(&mut self, change: i64) {
        let total = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
        let count = header_count(&self.bytes);
        if count != COUNT_UNKNOWN {
            let count = (i64::from(count) + change).clamp(0, i64::from(COUNT_UNKNOWN)) as u16;
            self.bytes[4..HEADER_LEN].copy_from_slice(&count.to_le_bytes());
        }
    }

    fn shrink_if_sparse(&mut self) {
        if self.bytes.capacity() > 2 * self.bytes.len() + 32 {
            self.bytes.shrink_to_fit();
        }
    }
}

// ---- Encoding --------------------------------------------------------------------------------------------

/// An entry in parts, so that a string is copied once, straight to its place.
struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    body: &'a [u8],
}

impl<'a> Encoded<'a> {
    fn of(element: Element<'a>) -> Self {
        match element {
            Element::Int(value) => Self::of_int(value),
            Element::Bytes(bytes) => Self::of_bytes(bytes),
        }
    }

    fn of_int(value: i64) -> Self {
        let le = value.to_le_bytes();
        let mut head = [0; 9];
        let head_len = match value {
            0..=127 => {
                head[0] = le[0];
                1
            }
            -4096..=4095 => {
                head[0] = 0xC0 | (le[1] & 0x1F);
                head[1] = le[0];
                2
            }
            _ => {
                let (tag, width) = match value {
                    -0x8000..=0x7FFF => (0xF1, 2),
                    -0x80_0000..=0x7F_FFFF => (0xF2, 3),
                    -0x8000_0000..=0x7FFF_FFFF => (0xF3, 4),
                    _ => (0xF4, 8),
                };
                head[0] = tag;
                head[1..=width].copy_from_slice(&le[..width]);
                1 + width
            }
        };
        Encoded { head, head_len, body: &[] }
    }

    fn of_bytes(body: &'a [u8]) -> Self {
        let len = body.len();
        let mut head = [0; 9];
        let head_len = match len {
            0..=63 => {
                head[0] = 0x80 | len as u8;
                1
            }
            64..=4095 => {
                head[0] = 0xE0 | (len >> 8) as u8;
                head[1] = len as u8;
                2
            }
            _ => {
                head[0] = 0xF0;
                head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
                5
            }
        };
        Encoded { head, head_len, body }
    }

    fn encoded_len(&self) -> usize {
        self.head_len + self.body.len()
    }

    fn len(&self) -> usize {
        self.encoded_len() + backlen_len(self.encoded_len())
    }

    fn write_to(&self, out: &mut [u8]) {
        let (head, rest) = out.split_at_mut(self.head_len);
        let (body, backlen) = rest.split_at_mut(self.body.len());
        head.copy_from_slice(&self.head[..self.head_len]);
        body.copy_from_slice(self.body);
        write_backlen(backlen, self.encoded_len());
    }
}

/// Bytes an integer's entry takes.
pub fn int_entry_len(value: i64) -> usize {
    Encoded::of_int(value).len()
}

/// Bytes a backlen takes. The steps are one short of what the bits would carry, and always have been.
fn backlen_len(encoded_len: usize) -> usize {
    match encoded_len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Fills `out`, which is as long as the backlen.
fn write_backlen(out: &mut [u8], encoded_len: usize) {
    let mut rest = encoded_len;
    for (index, byte) in out.iter_mut().enumerate().rev() {
        *byte = (rest & 127) as u8 | if index > 0 { 128 } else { 0 };
        rest >>= 7;
    }
}

// ---- Decoding --------------------------------------------------------------------------------------------

fn total_bytes(bytes: &[u8]) -> usize {
    little_endian(&bytes[..4]) as usize
}

fn header_count(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[4], bytes[5]])
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Reads `width` little-endian bytes as a signed integer.
fn signed(bytes: &[u8], width: usize) -> i64 {
    let unused_bits = 64 - 8 * width as u32;
    ((little_endian(&bytes[..width]) << unused_bits) as i64) >> unused_bits
}

/// The element at `at` and the length of its encoding and data, without the backlen.
///
/// The entry is known to be well-formed; an unknown encoding byte, which cannot be there, reads as one byte.
#[inline]
fn decode(bytes: &[u8], at: usize) -> (Element<'_>, usize) {
    let data = &bytes[at..];
    match data[0] {
        byte @ 0..=0x7F => (Element::Int(i64::from(byte)), 1),
        byte @ 0x80..=0xBF => string(data, 1, usize::from(byte & 0x3F)),
        byte @ 0xC0..=0xDF => {
            let value = i64::from(byte & 0x1F) << 8 | i64::from(data[1]);
            (Element::Int(if value >= 1 << 12 { value - (1 << 13) } else { value }), 2)
        }
        byte @ 0xE0..=0xEF => string(data, 2, usize::from(byte & 0x0F) << 8 | usize::from(data[1])),
        0xF0 => string(data, 5, little_endian(&data[1..5]) as usize),
        0xF1 => (Element::Int(signed(&data[1..], 2)), 3),
        0xF2 => (Element::Int(signed(&data[1..], 3)), 4),
        0xF3 => (Element::Int(signed(&data[1..], 4)), 5),
        0xF4 => (Element::Int(signed(&data[1..], 8)), 9),
        0xF5..=0xFF => (Element::Bytes(&[]), 1),
    }
}

#[inline]
fn string(data: &[u8], head_len: usize, len: usize) -> (Element<'_>, usize) {
    (Element::Bytes(&data[head_len..head_len + len]), head_len + len)
}

/// Length of the encoding and data at the front of `data`, as far as its head tells; `None` if the head is
/// cut off or unknown.
fn encoded_len(data: &[u8]) -> Option<usize> {
    Some(match *data.first()? {
        0..=0x7F => 1,
        byte @ 0x80..=0xBF => 1 + usize::from(byte & 0x3F),
        0xC0..=0xDF => 2,
        byte @ 0xE0..=0xEF => 2 + (usize::from(byte & 0x0F) << 8 | usize::from(*data.get(1)?)),
        0xF0 => 5 + little_endian(data.get(1..5)?) as usize,
        0xF1 => 3,
        0xF2 => 4,
        0xF3 => 5,
        0xF4 => 9,
        0xF5..=0xFF => return None,
    })
}

/// Length of the whole entry at `at`, backlen included.
fn entry_len(bytes: &[u8], at: usize) -> usize {
    let encoded_len = encoded_len(&bytes[at..]).unwrap_or(1);
    encoded_len + backlen_len(encoded_len)
}

/// Length of the entry that ends where `bytes` end, from its backlen.
fn last_entry_len(bytes: &[u8]) -> usize {
    let mut encoded_len = 0;
    for (index, &byte) in bytes.iter().rev().take(5).enumerate() {
        encoded_len |= usize::from(byte & 127) << (7 * index);
        if byte & 128 == 0 {
            break;
        }
    }
    encoded_len + backlen_len(encoded_len)
}

/// Checks the entry at `at` of untrusted bytes (without the final 0xFF); returns where the next one begins.
fn validate_entry(bytes: &[u8], at: usize) -> Option<usize> {
    let len = encoded_len(&bytes[at..])?;
    let backlen_at = at.checked_add(len)?;
    let stated = bytes.get(backlen_at..backlen_at + backlen_len(len))?;
    let mut expected = [0; 5];
    let expected = &mut expected[..stated.len()];
    write_backlen(expected, len);
    (stated == expected).then_some(backlen_at + stated.len())
}

#[cfg(test)]
#[path = "listpack_tests.rs"]
mod tests;
