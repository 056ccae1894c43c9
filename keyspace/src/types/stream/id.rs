//! Entry IDs: a time in milliseconds and a sequence number.

use crate::types::number::parse_i64;
use std::fmt;

/// The longest text of an ID that is looked at.
const MAX_TEXT_LEN: usize = 127;

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl StreamId {
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    pub const fn new(ms: u64, seq: u64) -> Self {
        StreamId { ms, seq }
    }

    /// The ID after this one; `None` after the last.
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| StreamId { ms, seq: 0 }),
        }
    }

    /// The ID before this one; `None` before the first.
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| StreamId { ms, seq: u64::MAX }),
        }
    }

    /// As the key of a stored node: both parts big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let value = u128::from_be_bytes(bytes);
        StreamId { ms: (value >> 64) as u64, seq: value as u64 }
    }

    /// Parses `ms` or `ms-seq`; without a sequence number it is `missing_seq`.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Self> {
        let (ms, seq) = split(text)?;
        let seq = seq.map_or(Some(missing_seq), parse_u64)?;
        Some(StreamId { ms: parse_u64(ms)?, seq })
    }

    /// As [`parse`](Self::parse), or `-` for the first and `+` for the last ID there can be.
    pub fn parse_edge(text: &[u8], missing_seq: u64) -> Option<Self> {
        match c_string(text) {
            b"-" => Some(StreamId::MIN),
            b"+" => Some(StreamId::MAX),
            _ => StreamId::parse(text, missing_seq),
        }
    }

    /// Parses where a range starts: an edge, or `(` and an ID to start behind it.
    pub fn parse_start(text: &[u8]) -> Result<Self, IdError> {
        match text {
            [b'(', _, ..] => {
                let id = StreamId::parse(&text[1..], 0).ok_or(IdError::Invalid)?;
                id.next().ok_or(IdError::NoStart)
            }
            _ => StreamId::parse_edge(text, 0).ok_or(IdError::Invalid),
        }
    }

    /// Parses where a range ends: an edge, or `(` and an ID to end before it.
    pub fn parse_end(text: &[u8]) -> Result<Self, IdError> {
        match text {
            [b'(', _, ..] => {
                let id = StreamId::parse(&text[1..], u64::MAX).ok_or(IdError::Invalid)?;
                id.previous().ok_or(IdError::NoEnd)
            }
            _ => StreamId::parse_edge(text, u64::MAX).ok_or(IdError::Invalid),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Why a text is no ID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdError {
    Invalid,
    /// A range cannot start behind the last ID.
    NoStart,
    /// A range cannot end before the first ID.
    NoEnd,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IdError::Invalid => "Invalid stream ID specified as stream command argument",
            IdError::NoStart => "invalid start ID for the interval",
            IdError::NoEnd => "invalid end ID for the interval",
        })
    }
}

impl std::error::Error for IdError {}

/// The ID XADD is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewId {
    /// `*`: the present time, or what follows the last ID.
    Auto,
    /// `ms-*`: this time, and a sequence number that fits.
    AutoSeq(u64),
    Exact(StreamId),
}

impl NewId {
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text == b"*" {
            return Some(NewId::Auto);
        }
        match split(text)? {
            (ms, Some(b"*")) => parse_u64(ms).map(NewId::AutoSeq),
            _ => StreamId::parse(text, 0).map(NewId::Exact),
        }
    }
}

/// A text as C reads it: up to the first NUL.
fn c_string(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The parts before and after the first `-`. A `-` alone is none.
fn split(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    if text.len() > MAX_TEXT_LEN {
        return None;
    }
    let text = c_string(text);
    match text.iter().position(|&byte| byte == b'-') {
        Some(dash) => Some((&text[..dash], Some(&text[dash + 1..]))),
        None => Some((text, None)),
    }
}

/// Parses a `u64` as stock's mix of its own parser and C's `strtoull` does: white space and a sign may stand
/// in front, zeros may lead, and a minus that only the latter sees wraps around.
fn parse_u64(text: &[u8]) -> Option<u64> {
    if let Some(value) = parse_i64(text) {
        return u64::try_from(value).ok();
    }
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))?;
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> StreamId {
        StreamId::new(ms, seq)
    }

    #[test]
    fn ids_are_parsed_as_stock_does() {
        for (text, expected) in [
            ("1", Some(id(1, 7))),
            ("1-2", Some(id(1, 2))),
            ("18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            ("007-+3", Some(id(7, 3))),
            (" 7-1", Some(id(7, 1))),
            ("5--0", Some(id(5, 0))),
            ("5- -1", Some(id(5, u64::MAX))),
            ("5--1", None),
            ("-1", None),
            ("", None),
            ("-", None),
            ("+", None),
            ("1-", None),
            ("1-2-3", None),
            ("a", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(StreamId::parse(text.as_bytes(), 7), expected, "{text}");
        }
        assert_eq!(StreamId::parse(&[b'1'; 128], 0), None);
        assert_eq!(StreamId::parse(b"3\x00junk", 0), Some(id(3, 0)));
    }

    #[test]
    fn ranges() {
        assert_eq!(StreamId::parse_start(b"-"), Ok(StreamId::MIN));
        assert_eq!(StreamId::parse_end(b"+"), Ok(StreamId::MAX));
        assert_eq!(StreamId::parse_end(b"5"), Ok(id(5, u64::MAX)));
        assert_eq!(StreamId::parse_start(b"(5"), Ok(id(5, 1)));
        assert_eq!(StreamId::parse_start(b"(5-18446744073709551615"), Ok(id(6, 0)));
        assert_eq!(StreamId::parse_end(b"(5-0"), Ok(id(4, u64::MAX)));
        assert_eq!(StreamId::parse_end(b"(0-0"), Err(IdError::NoEnd));
        assert_eq!(
            StreamId::parse_start(b"(18446744073709551615-18446744073709551615"),
            Err(IdError::NoStart)
        );
        for text in ["(", "(-", "(+", "((1", "x"] {
            assert_eq!(StreamId::parse_start(text.as_bytes()), Err(IdError::Invalid), "{text}");
        }
    }

    #[test]
    fn new_ids() {
        assert_eq!(NewId::parse(b"*"), Some(NewId::Auto));
        assert_eq!(NewId::parse(b"12-*"), Some(NewId::AutoSeq(12)));
        assert_eq!(NewId::parse(b"12"), Some(NewId::Exact(id(12, 0))));
        assert_eq!(NewId::parse(b"12-3"), Some(NewId::Exact(id(12, 3))));
        for text in ["-", "+", "*-1", "12-**", ""] {
            assert_eq!(NewId::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn neighbours_and_bytes() {
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.previous(), None);
        for each in [id(1, 0), id(1, u64::MAX), id(7, 3)] {
            assert_eq!(each.next().and_then(StreamId::previous), Some(each));
            assert_eq!(StreamId::from_bytes(each.to_bytes()), each);
        }
        assert!(id(1, 5).to_bytes() < id(2, 0).to_bytes());
        assert_eq!(id(12, 3).to_string(), "12-3");
    }
}
