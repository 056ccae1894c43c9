//! What several families share: numbers within bounds, elements as replies, the options of the SCANs.

use super::prelude::*;
use keyspace::SharedObject;
use keyspace::listpack::Element;
use keyspace::types::number::{append_double, parse_double};
use protocol::number::parse_i64;
use protocol::{Reply, Resp, glob};

/// An element of a collection as a bulk string.
#[inline]
pub fn element(reply: &mut Reply<'_>, element: Element<'_>) {
    reply.bulk(element.text(&mut itoa::Buffer::new()));
}

/// A score.
#[inline]
pub fn score(reply: &mut Reply<'_>, score: f64) {
    let mut text = Vec::with_capacity(24);
    append_double(&mut text, score);
    reply.double_text(&text);
}

/// An integer from `min` to `max`; the text of the error for others names the bounds.
pub fn bounded(args: &mut Args<'_>, min: i64, max: i64) -> Result<i64, ReplyError> {
    let n = args.i64()?;
    if (min..=max).contains(&n) {
        return Ok(n);
    }
    Err(ReplyError::new(format!("ERR value is out of range, value must between {min} and {max}")))
}

/// How many elements to draw: negative allows repeats. The least integer has no opposite.
pub fn draws(args: &mut Args<'_>) -> Result<i64, ReplyError> {
    bounded(args, -i64::MAX, i64::MAX)
}

/// A number of elements; one error for whatever is none.
pub fn positive(args: &mut Args<'_>) -> Result<usize, ReplyError> {
    args.i64_in(0..=i64::MAX, ReplyError::MUST_BE_POSITIVE).map(|n| n as usize)
}

/// An integer of at least `min`; one error for whatever else.
pub fn at_least(args: &mut Args<'_>, min: i64, error: &'static str) -> Result<i64, ReplyError> {
    args.i64_in(min..=i64::MAX, ReplyError::fixed(error))
}

pub const NUMKEYS: &str = "ERR numkeys should be greater than 0";
const COUNT: &str = "ERR count should be greater than 0";

/// The keys of LMPOP and ZMPOP; their number comes first, and something comes after them.
pub fn keys_to_pop<'a>(args: &mut Args<'a>) -> Result<Vec<&'a [u8]>, ReplyError> {
    let numkeys = at_least(args, 1, NUMKEYS)?;
    if numkeys >= args.left() as i64 {
        return Err(ReplyError::SYNTAX);
    }
    (0..numkeys).map(|_| args.key()).collect()
}

/// `[COUNT n]`, the end of LMPOP and ZMPOP.
pub fn count_to_pop(args: &mut Args<'_>) -> Result<usize, ReplyError> {
    let mut count = None;
    while !args.is_empty() {
        if count.is_some() || !args.flag("COUNT") || args.is_empty() {
            return Err(ReplyError::SYNTAX);
        }
        count = Some(at_least(args, 1, COUNT)?);
    }
    Ok(count.unwrap_or(1) as usize)
}

/// When a command gives up that waits for so many seconds; `None`, for 0, is never.
pub fn deadline_ms(seconds: &[u8], now_ms: i64) -> Result<Option<i64>, ReplyError> {
    let seconds = parse_double(seconds).ok_or(ReplyError::TIMEOUT_NOT_FLOAT)?;
    let timeout_ms = seconds * 1000.0;
    if timeout_ms > i64::MAX as f64 {
        return Err(ReplyError::TIMEOUT_OUT_OF_RANGE);
    }
    deadline(timeout_ms.ceil() as i64, now_ms)
}

/// As [`deadline_ms`], for milliseconds.
pub fn deadline(timeout_ms: i64, now_ms: i64) -> Result<Option<i64>, ReplyError> {
    match timeout_ms {
        ..0 => Err(ReplyError::TIMEOUT_NEGATIVE),
        0 => Ok(None),
        _ => timeout_ms.checked_add(now_ms).map(Some).ok_or(ReplyError::TIMEOUT_OUT_OF_RANGE),
    }
}

/// How HRANDFIELD and ZRANDMEMBER are to draw.
pub struct Draw {
    pub count: i64,
    /// With values or scores.
    pub pairs: bool,
}

impl Draw {
    /// `None` without a count: one element, not an array of one.
    pub fn parse(args: &mut Args<'_>, word: &str) -> Result<Option<Draw>, ReplyError> {
        if args.is_empty() {
            return Ok(None);
        }
        let count = draws(args)?;
        let pairs = args.flag(word);
        args.finish()?;
        if pairs && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
            return Err(ReplyError::OUT_OF_RANGE);
        }
        Ok(Some(Draw { count, pairs }))
    }

    /// The head of a reply of `len` drawn elements.
    pub fn head(&self, reply: &mut Reply<'_>, len: usize) {
        reply.array(if self.pairs && reply.resp == Resp::V2 { 2 * len } else { len });
    }

    /// The head of one pair.
    pub fn pair(&self, reply: &mut Reply<'_>) {
        if self.pairs && reply.resp == Resp::V3 {
            reply.array(2);
        }
    }
}

/// How many elements to draw at once where they may repeat: more may be asked for than fits into memory.
pub fn draw_rounds(count: usize) -> impl Iterator<Item = usize> {
    const ROUND: usize = 1024;
    std::iter::repeat_n(ROUND, count / ROUND).chain(std::iter::once(count % ROUND))
}

/// A cursor as clients send it back: C's `strtoul` decides, white space in front excepted.
pub fn scan_cursor(args: &mut Args<'_>) -> Result<u64, ReplyError> {
    let text = args.bytes()?;
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if text.is_empty() {
        return Ok(0);
    }
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ReplyError::INVALID_CURSOR);
    }
    let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
    let value = value.ok_or(ReplyError::INVALID_CURSOR)?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// What is scanned: each has an option of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    Keys,
    /// Of a hash.
    Fields,
    Elements,
}

/// The options of SCAN, HSCAN, SSCAN and ZSCAN.
pub struct ScanOptions<'a> {
    pub count: usize,
    pattern: Option<&'a [u8]>,
    /// SCAN's TYPE.
    pub type_name: Option<&'a [u8]>,
    /// HSCAN's NOVALUES, of Redis 7.4.
    pub no_values: bool,
}

impl<'a> ScanOptions<'a> {
    pub fn parse(args: &mut Args<'a>, scanned: Scanned) -> Result<ScanOptions<'a>, ReplyError> {
        let mut options = ScanOptions { count: 10, pattern: None, type_name: None, no_values: false };
        while !args.is_empty() {
            if scanned == Scanned::Fields && args.flag("NOVALUES") {
                options.no_values = true;
                continue;
            }
            if args.left() < 2 {
                return Err(ReplyError::SYNTAX);
            }
            if args.flag("COUNT") {
                let count = args.i64()?;
                options.count = usize::try_from(count).ok().filter(|&n| n > 0).ok_or(ReplyError::SYNTAX)?;
            } else if args.flag("MATCH") {
                options.pattern = Some(args.bytes()?);
            } else if scanned == Scanned::Keys && args.flag("TYPE") {
                options.type_name = Some(args.bytes()?);
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        Ok(options)
    }

    pub fn admits(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }

    /// Calls `step`, which visits some elements from a cursor on, returns the next cursor and adds to the
    /// number of elements, until there are enough or all.
    pub fn run(&self, mut cursor: u64, mut step: impl FnMut(u64, &mut usize) -> u64) -> u64 {
        let mut seen = 0;
        // A sparse table must not hold up everybody else.
        for _ in 0..self.count.saturating_mul(10) {
            cursor = step(cursor, &mut seen);
            if cursor == 0 || seen >= self.count {
                break;
            }
        }
        cursor
    }
}

/// Answers a scan of a collection: `visit` gets the scanned part's cursor and writes the elements it admits.
pub fn reply_scan(
    reply: &mut Reply<'_>,
    options: &ScanOptions<'_>,
    cursor: u64,
    mut visit: impl FnMut(u64, &mut dyn FnMut(&[u8], Option<&[u8]>)) -> u64,
) {
    let (mut found, mut items) = (Vec::new(), 0);
    let next = options.run(cursor, |cursor, seen| {
        visit(cursor, &mut |name, value| {
            if options.admits(name) {
                let mut out = Reply::new(&mut found, Resp::V2);
                out.bulk(name);
                items += 1;
                if let Some(value) = value {
                    out.bulk(value);
                    items += 1;
                }
                *seen += 1;
            }
        })
    });
    reply_cursor(reply, next, items, &found);
}

/// The two parts of every scan's reply; `found` holds `items` replies.
pub fn reply_cursor(reply: &mut Reply<'_>, cursor: u64, items: usize, found: &[u8]) {
    reply.array(2);
    reply.bulk(cursor.to_string().as_bytes());
    reply.array(items);
    reply.out.extend_from_slice(found);
}

/// The reply to a scan of a collection that is not there.
pub fn reply_empty_scan(reply: &mut Reply<'_>) {
    reply_cursor(reply, 0, 0, b"");
}

/// An integer of 32 bits.
pub fn int(text: &[u8]) -> Result<i32, ReplyError> {
    let n = parse_i64(text).ok_or(ReplyError::NOT_INTEGER)?;
    i32::try_from(n).map_err(|_| {
        let text = format!("ERR value is out of range, value must between {} and {}", i32::MIN, i32::MAX);
        ReplyError::new(text)
    })
}

/// The index of a database.
pub fn database(text: &[u8], databases: usize) -> Result<usize, ReplyError> {
    let index = usize::try_from(int(text)?).ok();
    index.filter(|&index| index < databases).ok_or(ReplyError::DB_OUT_OF_RANGE)
}

/// Puts a collection at `key` in place of whatever is there, or removes that when the collection is empty:
/// how the STORE commands end. Replies with the number of elements.
pub fn store_result<T: keyspace::object::TypedValue>(cx: &mut Cx<'_>, key: &[u8], value: T, event: &str) {
    let class = match T::TYPE {
        Type::List => Classes::LIST,
        Type::Set => Classes::SET,
        _ => Classes::ZSET,
    };
    let object = value.into_object();
    let len = object.len();
    cx.reply.integer(len as i64);
    if len == 0 {
        delete(cx, key);
        return;
    }
    let replaced = cx.keys.held(key).and_then(Entry::object_arc).cloned();
    cx.keys.insert(key, NewValue::Object(SharedObject::new(object)), None);
    replaced.into_iter().for_each(crate::lazyfree::drop_object);
    cx.keys.changed(key, class, event);
}

/// Removes a key a command has left nothing for, with the event. Returns whether it was there.
pub fn delete(cx: &mut Cx<'_>, key: &[u8]) -> bool {
    match cx.keys.remove(key) {
        Some(entry) => {
            crate::lazyfree::drop_entry(entry);
            cx.keys.changed(key, Classes::GENERIC, "del");
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ArgVec;

    #[test]
    fn cursors_are_what_strtoul_takes() {
        let parse = |text: &str| {
            let argv: ArgVec = [text.as_bytes()].into_iter().collect();
            scan_cursor(&mut Args::new(argv.as_argv(), 0)).ok()
        };
        for (text, value) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("-1", Some(u64::MAX)),
            ("+7", Some(7)),
            ("007", Some(7)),
            ("", Some(0)),
            (" 1", None),
            ("1 ", None),
            ("-", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(parse(text), value, "{text:?}");
        }
    }
}
