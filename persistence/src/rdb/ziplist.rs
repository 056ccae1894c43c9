//! Encodings of old: ziplists (until Redis 6.2) and zipmaps (until 2.4). They are read, never written.
//!
//! ```text
//! ziplist: | bytes: u32 LE | offset of last entry: u32 LE | entries: u16 LE | entry … | 0xFF |
//! entry:   | length of the one before: u8, or 0xFE and u32 LE | encoding | data |
//!
//! 00pppppp             string of up to 63 bytes
//! 01pppppp qqqqqqqq    string of up to 16383 bytes
//! 10______ u32 BE      longer string
//! 0xC0 0xD0 0xE0       integer of 16, 32, 64 bits, little-endian
//! 0xF0 0xFE            integer of 24, 8 bits
//! 0xF1 … 0xFD          0 … 12
//!
//! zipmap:  | pairs: u8, 254 and more mean "count them" | pair … | 0xFF |
//! pair:    | length | field | length | free: u8 | value | free bytes |
//! length:  u8 below 254, or 0xFE and u32 LE
//! ```

use keyspace::listpack::{Element, Listpack};

const HEADER_BYTES: usize = 10;
const END: u8 = 0xFF;
const BIG: u8 = 0xFE;

/// The elements of a ziplist as a listpack; `None` if it is not well-formed from end to end.
pub fn to_listpack(bytes: &[u8]) -> Option<Listpack> {
    if bytes.len() < HEADER_BYTES + 1 || bytes.last() != Some(&END) || le(&bytes[..4]) != bytes.len() {
        return None;
    }
    let entries = &bytes[..bytes.len() - 1];
    let mut pack = Listpack::with_capacity(bytes.len());
    let (mut at, mut last_at, mut count) = (HEADER_BYTES, HEADER_BYTES, 0);
    while at < entries.len() {
        let (stated_len, skip) = previous_len(&entries[at..])?;
        if stated_len != at - last_at {
            return None;
        }
        let (element, len) = element(&entries[at + skip..])?;
        match element {
            Element::Int(value) => pack.push_back_int(value),
            Element::Bytes(text) => pack.push_back(text),
        }
        last_at = at;
        at += skip + len;
        count += 1;
    }
    let stated = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let is_sound = le(&bytes[4..8]) == last_at && (stated == count || stated == usize::from(u16::MAX));
    is_sound.then_some(pack)
}

fn le(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte))
}

/// The length of the entry before, and how many bytes it takes to say.
fn previous_len(entry: &[u8]) -> Option<(usize, usize)> {
    match *entry.first()? {
        BIG => Some((le(entry.get(1..5)?), 5)),
        END => None,
        len => Some((usize::from(len), 1)),
    }
}

/// The element, and the bytes it takes with its encoding.
fn element(data: &[u8]) -> Option<(Element<'_>, usize)> {
    let text = |head: usize, len: usize| {
        let end = head.checked_add(len)?;
        Some((Element::Bytes(data.get(head..end)?), end))
    };
    let integer = |width: usize| {
        let bytes = data.get(1..1 + width)?;
        let unused_bits = 64 - 8 * width as u32;
        Some((Element::Int(((le(bytes) as i64) << unused_bits) >> unused_bits), 1 + width))
    };
    match *data.first()? {
        byte @ 0x00..=0x3F => text(1, usize::from(byte)),
        byte @ 0x40..=0x7F => text(2, usize::from(byte & 0x3F) << 8 | usize::from(*data.get(1)?)),
        0x80..=0xBF => text(5, data.get(1..5)?.iter().fold(0, |len, &byte| len << 8 | usize::from(byte))),
        0xC0 => integer(2),
        0xD0 => integer(4),
        0xE0 => integer(8),
        0xF0 => integer(3),
        0xFE => integer(1),
        byte @ 0xF1..=0xFD => Some((Element::Int(i64::from(byte & 0x0F) - 1), 1)),
        _ => None,
    }
}

/// The fields and values of a zipmap, one after the other; `None` if it is not well-formed or empty.
pub fn zipmap_pairs(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (&stated, mut rest) = bytes.split_first()?;
    let mut pairs = Vec::new();
    while *rest.first()? != END {
        let field = take_text(&mut rest, false)?;
        let value = take_text(&mut rest, true)?;
        pairs.push((field, value));
    }
    let is_counted = stated >= BIG || usize::from(stated) == pairs.len();
    (rest.len() == 1 && is_counted && !pairs.is_empty()).then_some(pairs)
}

fn take_text<'a>(rest: &mut &'a [u8], has_free: bool) -> Option<&'a [u8]> {
    let (len, head) = match *rest.first()? {
        BIG => (le(rest.get(1..5)?), 5),
        END => return None,
        len => (usize::from(len), 1),
    };
    let (start, free) = if has_free { (head + 1, usize::from(*rest.get(head)?)) } else { (head, 0) };
    let text = rest.get(start..start.checked_add(len)?)?;
    *rest = rest.get(start + len + free..)?;
    Some(text)
}
