//! Strings as rows of bits. The first bit is the highest of the first byte.

use super::prelude::*;
use super::string::with_bytes;
use protocol::number::parse_i64;

const OFFSET: ReplyError = ReplyError::fixed("ERR bit offset is not an integer or out of range");

/// The offset of a bit. With a width, `#n` is that of the n-th field of that width.
fn offset(cx: &Cx<'_>, text: &[u8], width: Option<u32>) -> Result<u64, ReplyError> {
    let offset = match (text, width) {
        ([b'#', rest @ ..], Some(width)) => parse_i64(rest).map(|n| n.wrapping_mul(i64::from(width))),
        _ => parse_i64(text),
    };
    let max_bytes = cx.settings.proto_max_bulk_len;
    let is_allowed = |offset: &i64| *offset >= 0 && (cx.session.is_obeyed() || offset >> 3 < max_bytes);
    offset.filter(is_allowed).map(|offset| offset as u64).ok_or(OFFSET)
}

/// Changes the string at `key`, made long enough for the bit `last`. `change` gets the bytes and returns how many
/// changes it made; that the string grew is one in itself.
fn change_bits(cx: &mut Cx<'_>, key: &[u8], last: u64, change: impl FnOnce(&mut [u8]) -> usize) -> Done {
    let len = (last / 8) as usize + 1;
    let edit = |bytes: &mut Vec<u8>| {
        let grown = bytes.len() < len;
        if grown {
            bytes.resize(len, 0);
        }
        change(bytes).max(usize::from(grown))
    };
    let changes = if cx.keys.exists(key) {
        let mut entry = cx.keys.get_mut(key).ok_or(ReplyError::WRONG_TYPE)?;
        entry.string_mut(edit).ok_or(ReplyError::WRONG_TYPE)?
    } else {
        let mut bytes = Vec::new();
        let changes = edit(&mut bytes);
        cx.keys.insert(key, NewValue::Raw(&bytes), None);
        changes
    };
    if changes > 0 {
        cx.keys.changed_by(changes, key, Classes::STRING, "setbit");
    }
    Ok(())
}

fn bit_at(bytes: &[u8], at: u64) -> bool {
    bytes.get((at / 8) as usize).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
}

fn put_bit(bytes: &mut [u8], at: u64, bit: bool) {
    let mask = 1 << (7 - at % 8);
    let byte = &mut bytes[(at / 8) as usize];
    *byte = if bit { *byte | mask } else { *byte & !mask };
}

fn setbit(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, at) = (args.key()?, offset(cx, args.bytes()?, None)?);
    let bit = args.i64_in(0..=1, ReplyError::fixed("ERR bit is not an integer or out of range"))? == 1;
    let mut before = false;
    change_bits(cx, key, at, |bytes| {
        before = bit_at(bytes, at);
        put_bit(bytes, at, bit);
        usize::from(before != bit)
    })?;
    cx.reply.integer(i64::from(before));
    Ok(())
}

fn getbit(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, at) = (args.key()?, offset(cx, args.bytes()?, None)?);
    let bit = with_bytes(cx.keys.get(key).map(Entry::value), |bytes| bit_at(bytes, at))?;
    cx.reply.integer(i64::from(bit));
    Ok(())
}

// ---- Ranges ----------------------------------------------------------------------------------------------

/// `BIT` or `BYTE`: what a range counts in.
fn counts_bits(args: &mut Args<'_>) -> Result<bool, ReplyError> {
    match () {
        () if args.is_empty() || args.flag("BYTE") => Ok(false),
        () if args.flag("BIT") => Ok(true),
        () => Err(ReplyError::SYNTAX),
    }
}

/// The bits from the first to the last one meant; `None` for none.
fn bit_range(len: usize, start: i64, end: i64, by_bits: bool) -> Option<(u64, u64)> {
    let unit = if by_bits { 1 } else { 8 };
    let total = len as i64 * 8 / unit;
    let from_end = |n: i64| if n < 0 { (total + n).max(0) } else { n };
    let (start, end) = (from_end(start), from_end(end).min(total - 1));
    (start <= end).then(|| ((start * unit) as u64, (end * unit + unit - 1) as u64))
}

fn count_bits(bytes: &[u8], (first, last): (u64, u64)) -> u64 {
    let bytes = &bytes[(first / 8) as usize..=(last / 8) as usize];
    let (words, rest) = bytes.as_chunks::<8>();
    let all: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum::<u64>()
        + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
    let before = bytes[0] & !(0xff >> (first % 8));
    let behind = bytes[bytes.len() - 1] & ((1 << (7 - last % 8)) - 1);
    all - u64::from(before.count_ones()) - u64::from(behind.count_ones())
}

fn bitcount(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let Some(found) = cx.keys.get(args.key()?) else {
        cx.reply.integer(0);
        return Ok(());
    };
    let count = with_bytes(Some(found.value()), |bytes| {
        let range = match args.left() {
            0 => bit_range(bytes.len(), 0, -1, false),
            2 | 3 => {
                let (start, end) = (args.i64()?, args.i64()?);
                // Even before it is known what they count in.
                let is_reversed = start < 0 && end < 0 && start > end;
                if is_reversed {
                    return Ok(0);
                }
                bit_range(bytes.len(), start, end, counts_bits(args)?)
            }
            _ => return Err(ReplyError::SYNTAX),
        };
        Ok(range.filter(|_| !bytes.is_empty()).map_or(0, |range| count_bits(bytes, range)))
    })??;
    cx.reply.integer(count as i64);
    Ok(())
}

/// The first bit of this kind in a range.
fn find_bit(bytes: &[u8], (first, last): (u64, u64), bit: bool) -> Option<u64> {
    let mut at = first;
    while at <= last {
        if at % 8 == 0 && at + 7 <= last {
            let byte = bytes[(at / 8) as usize];
            let sought = if bit { byte } else { !byte };
            if sought != 0 {
                return Some(at + u64::from(sought.leading_zeros()));
            }
            at += 8;
        } else if bit_at(bytes, at) == bit {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

fn bitpos(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let bit = match args.i64()? {
        0 => false,
        1 => true,
        _ => return Err(ReplyError::fixed("ERR The bit argument must be 1 or 0.")),
    };
    let Some(found) = cx.keys.get(key) else {
        cx.reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    let pos = with_bytes(Some(found.value()), |bytes| {
        let (start, has_end) = match args.left() {
            0 => (0, false),
            left @ 1..=3 => (args.i64()?, left > 1),
            _ => return Err(ReplyError::SYNTAX),
        };
        let end = if has_end { args.bytes()? } else { b"-1" };
        let by_bits = counts_bits(args)?;
        let end = parse_i64(end).ok_or(ReplyError::NOT_INTEGER)?;
        let Some(range) = bit_range(bytes.len(), start, end, by_bits) else { return Ok(-1) };
        Ok(match find_bit(bytes, range, bit) {
            Some(at) => at as i64,
            // Without an end, zeros go on behind the string.
            None if !bit && !has_end => range.1 as i64 + 1,
            None => -1,
        })
    })??;
    cx.reply.integer(pos);
    Ok(())
}

// ---- BITOP -----------------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq)]
enum Combine {
    And,
    Or,
    Xor,
    Not,
}

impl Combine {
    /// Combines the first source, already in `result`, with another one, zeros behind its end.
    fn apply(self, result: &mut [u8], source: &[u8]) {
        let (within, beyond) = result.split_at_mut(source.len());
        match self {
            Combine::And => {
                within.iter_mut().zip(source).for_each(|(a, b)| *a &= b);
                beyond.fill(0);
            }
            Combine::Or => within.iter_mut().zip(source).for_each(|(a, b)| *a |= b),
            Combine::Xor => within.iter_mut().zip(source).for_each(|(a, b)| *a ^= b),
            Combine::Not => {}
        }
    }
}

fn bitop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let combine = match () {
        () if args.flag("AND") => Combine::And,
        () if args.flag("OR") => Combine::Or,
        () if args.flag("XOR") => Combine::Xor,
        () if args.flag("NOT") => Combine::Not,
        () => return Err(ReplyError::SYNTAX),
    };
    let target = args.key()?;
    if combine == Combine::Not && args.left() != 1 {
        return Err(ReplyError::fixed("ERR BITOP NOT must be called with a single source key."));
    }
    // A first look counts, and finds the types; a second one sees all sources at once, where they are.
    let mut found = Vec::with_capacity(args.left());
    let mut len = 0;
    for key in args.rest() {
        let value = cx.keys.get(key).map(Entry::value);
        found.push(value.is_some());
        len = len.max(with_bytes(value, <[u8]>::len)?);
    }
    let held = |key, found: bool| if found { cx.keys.held(key).map(Entry::value) } else { None };
    let mut result = Vec::with_capacity(len);
    for (i, key) in args.argv().tail(3).iter().enumerate() {
        with_bytes(held(key, found[i]), |bytes| {
            if i == 0 {
                result.extend_from_slice(bytes);
                result.resize(len, 0);
            } else {
                combine.apply(&mut result, bytes);
            }
        })?;
    }
    if combine == Combine::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    if len == 0 {
        super::common::delete(cx, target);
    } else {
        cx.keys.insert(target, NewValue::made(&mut result), None);
        cx.keys.changed(target, Classes::STRING, "set");
    }
    cx.reply.integer(len as i64);
    Ok(())
}

// ---- BITFIELD --------------------------------------------------------------------------------------------

#[derive(Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// An integer within a string.
#[derive(Clone, Copy)]
struct Field {
    signed: bool,
    /// 1 to 64, unsigned ones to 63.
    width: u32,
    at: u64,
}

enum Op {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

impl Field {
    fn parse(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Field, ReplyError> {
        const TYPE: ReplyError = ReplyError::fixed(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let (signed, width) = match args.bytes()? {
            [b'i', width @ ..] => (true, width),
            [b'u', width @ ..] => (false, width),
            _ => return Err(TYPE),
        };
        let most = if signed { 64 } else { 63 };
        let width = parse_i64(width).filter(|width| (1..=most).contains(width)).ok_or(TYPE)? as u32;
        Ok(Field { signed, width, at: offset(cx, args.bytes()?, Some(width))? })
    }

    fn last(&self) -> u64 {
        self.at + u64::from(self.width) - 1
    }

    /// What `bits` mean, those beyond the width left out.
    fn value_of(&self, bits: u64) -> i64 {
        let unused = 64 - self.width;
        if self.signed { ((bits << unused) as i64) >> unused } else { (bits << unused >> unused) as i64 }
    }

    fn get(&self, bytes: &[u8]) -> i64 {
        let bits = (self.at..=self.last()).fold(0, |bits, at| bits << 1 | u64::from(bit_at(bytes, at)));
        self.value_of(bits)
    }

    fn put(&self, bytes: &mut [u8], value: i64) {
        for (index, at) in (self.at..=self.last()).rev().enumerate() {
            put_bit(bytes, at, value >> index & 1 == 1);
        }
    }

    /// The sum as it fits into the field; `None` if it does not and must not be made to.
    fn fit(&self, value: i64, more: i64, overflow: Overflow) -> Option<i64> {
        let (value, more) = match self.signed {
            true => (i128::from(value), i128::from(more)),
            // A negative value to set is a great one.
            false => (i128::from(value as u64), i128::from(more)),
        };
        let values = 1i128 << self.width;
        let (min, max) = if self.signed { (-values / 2, values / 2 - 1) } else { (0, values - 1) };
        let sum = value + more;
        // Stock takes the distance to the greatest value for negative where it is beyond 63 bits.
        let far_below = self.signed && self.width < 64 && max - value > i128::from(i64::MAX);
        match overflow {
            _ if (min..=max).contains(&sum) => Some(sum as i64),
            Overflow::Wrap => Some(self.value_of(sum as u64)),
            Overflow::Saturate => Some(if sum > max || far_below { max } else { min } as i64),
            Overflow::Fail => None,
        }
    }
}

fn parse_ops(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Vec<(Field, Op)>, ReplyError> {
    let mut ops = Vec::new();
    let mut overflow = Overflow::Wrap;
    while !args.is_empty() {
        if args.left() >= 3 && args.flag("GET") {
            ops.push((Field::parse(cx, args)?, Op::Get));
        } else if args.left() >= 4 && args.flag("SET") {
            ops.push((Field::parse(cx, args)?, Op::Set(args.i64()?, overflow)));
        } else if args.left() >= 4 && args.flag("INCRBY") {
            ops.push((Field::parse(cx, args)?, Op::Add(args.i64()?, overflow)));
        } else if args.left() >= 2 && args.flag("OVERFLOW") {
            overflow = match () {
                () if args.flag("WRAP") => Overflow::Wrap,
                () if args.flag("SAT") => Overflow::Saturate,
                () if args.flag("FAIL") => Overflow::Fail,
                () => return Err(ReplyError::fixed("ERR Invalid OVERFLOW type specified")),
            };
        } else {
            return Err(ReplyError::SYNTAX);
        }
    }
    Ok(ops)
}

/// Runs the operations in order. Each has a reply, `None` where a value would not have fitted.
fn run_ops(ops: &[(Field, Op)], bytes: &mut [u8], changes: &mut usize) -> Vec<Option<i64>> {
    let mut run = |field: &Field, op: &Op| {
        let old = field.get(bytes);
        let (new, reply_new) = match *op {
            Op::Get => return Some(old),
            Op::Set(value, overflow) => (field.fit(value, 0, overflow)?, false),
            Op::Add(more, overflow) => (field.fit(old, more, overflow)?, true),
        };
        field.put(bytes, new);
        *changes += usize::from(old != new);
        Some(if reply_new { new } else { old })
    };
    ops.iter().map(|(field, op)| run(field, op)).collect()
}

fn bitfield_of(cx: &mut Cx<'_>, args: &mut Args<'_>, read_only: bool) -> Done {
    let key = args.key()?;
    let ops = parse_ops(cx, args)?;
    let last = ops.iter().filter(|(_, op)| !matches!(op, Op::Get)).map(|(field, _)| field.last()).max();
    let mut replies = Vec::new();
    match last {
        Some(_) if read_only => {
            return Err(ReplyError::fixed("ERR BITFIELD_RO only supports the GET subcommand"));
        }
        Some(last) => change_bits(cx, key, last, |bytes| {
            let mut changes = 0;
            replies = run_ops(&ops, bytes, &mut changes);
            changes
        })?,
        None => {
            replies = with_bytes(cx.keys.get(key).map(Entry::value), |bytes| {
                ops.iter().map(|(field, _)| Some(field.get(bytes))).collect()
            })?;
        }
    }
    cx.reply.array(replies.len());
    for reply in replies {
        match reply {
            Some(n) => cx.reply.integer(n),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

fn bitfield(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    bitfield_of(cx, args, false)
}

fn bitfield_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    bitfield_of(cx, args, true)
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("bitcount", -2, flags!(READONLY), bitcount).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(BITMAP)).group(Group::Bitmap).since("2.6.0"),
    CommandSpec::new("bitpos", -3, flags!(READONLY), bitpos).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(BITMAP)).group(Group::Bitmap).since("2.8.7"),
    CommandSpec::new("getbit", 3, flags!(READONLY | FAST), getbit).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(BITMAP)).group(Group::Bitmap).since("2.2.0"),
    CommandSpec::new("setbit", 4, flags!(WRITE | DENYOOM), setbit).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(BITMAP)).group(Group::Bitmap).since("2.2.0"),
    CommandSpec::new("bitop", -4, flags!(WRITE | DENYOOM), bitop).keys(&[KeySpec::index(2).flags(key!(OW | UPDATE)), KeySpec::index(3).range(-1, 1, 0).flags(key!(RO | ACCESS))]).acl(acl!(BITMAP)).group(Group::Bitmap).since("2.6.0"),
    CommandSpec::new("bitfield", -2, flags!(WRITE | DENYOOM), bitfield).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE | ACCESS | VARIABLE_FLAGS))]).acl(acl!(BITMAP)).group(Group::Bitmap).since("3.2.0"),
    CommandSpec::new("bitfield_ro", -2, flags!(READONLY | FAST), bitfield_ro).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(BITMAP)).group(Group::Bitmap).since("6.0.0"),
];
