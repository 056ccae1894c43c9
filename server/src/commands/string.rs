//! Strings.

use super::prelude::*;
use keyspace::types::number::LongDouble;
use protocol::number::parse_i64;

/// When a value expires, as SET, GETEX and their like spell it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expiry {
    None,
    Keep,
    At(i64),
}

/// The unit and the base of an expiry argument.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ExpiryUnit {
    Ex,
    Px,
    ExAt,
    PxAt,
}

impl ExpiryUnit {
    fn of(word: &[u8]) -> Option<ExpiryUnit> {
        const WORDS: [(&str, ExpiryUnit); 4] = [
            ("EX", ExpiryUnit::Ex),
            ("PX", ExpiryUnit::Px),
            ("EXAT", ExpiryUnit::ExAt),
            ("PXAT", ExpiryUnit::PxAt),
        ];
        WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, unit)| *unit)
    }

    /// The absolute time in milliseconds that `text` means; `command` is named in the error.
    fn at_ms(self, text: &[u8], now_ms: i64, command: &str) -> Result<i64, ReplyError> {
        let n = parse_i64(text).ok_or(ReplyError::NOT_INTEGER)?;
        let invalid = || ReplyError::invalid_expire(command);
        if n <= 0 {
            return Err(invalid());
        }
        let seconds = matches!(self, ExpiryUnit::Ex | ExpiryUnit::ExAt);
        let ms = if seconds { n.checked_mul(1000).ok_or_else(invalid)? } else { n };
        match self {
            ExpiryUnit::Ex | ExpiryUnit::Px => ms.checked_add(now_ms).ok_or_else(invalid),
            ExpiryUnit::ExAt | ExpiryUnit::PxAt => Ok(ms),
        }
    }
}

/// Writes a string's value as a reply.
fn reply_value(cx: &mut Cx<'_>, key: &[u8]) -> Result<bool, ReplyError> {
    // The reply borrows nothing of the keys: value and reply are different parts of `cx`.
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    match keys.get(key).map(Entry::value) {
        None => {
            reply.null();
            return Ok(false);
        }
        Some(ValueRef::Bytes(bytes)) => reply.bulk(bytes),
        Some(ValueRef::Int(n)) => reply.bulk_integer(n),
        Some(ValueRef::Object(Object::Str(bytes))) => reply.bulk(bytes),
        Some(ValueRef::Object(_)) => return Err(ReplyError::WRONG_TYPE),
    }
    Ok(true)
}

/// Runs `f` on a string's bytes; on the empty string where there is no key.
pub fn with_bytes<R>(value: Option<ValueRef<'_>>, f: impl FnOnce(&[u8]) -> R) -> Result<R, ReplyError> {
    match value {
        None => Ok(f(b"")),
        Some(ValueRef::Bytes(bytes)) => Ok(f(bytes)),
        Some(ValueRef::Int(n)) => Ok(f(itoa::Buffer::new().format(n).as_bytes())),
        Some(ValueRef::Object(Object::Str(bytes))) => Ok(f(bytes)),
        Some(ValueRef::Object(_)) => Err(ReplyError::WRONG_TYPE),
    }
}

fn get(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_value(cx, args.key()?).map(|_| ())
}

fn set(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, value) = (args.key()?, args.bytes()?);
    if args.is_empty() {
        store(cx, key, value, None);
        cx.reply.ok();
        return Ok(());
    }
    set_with_options(cx, args, key, value)
}

#[derive(Default)]
struct SetOptions<'a> {
    nx: bool,
    xx: bool,
    get: bool,
    keep_ttl: bool,
    expiry: Option<(ExpiryUnit, &'a [u8])>,
}

impl<'a> SetOptions<'a> {
    fn parse(args: &mut Args<'a>) -> Result<SetOptions<'a>, ReplyError> {
        let mut o = SetOptions::default();
        while let Some(word) = args.next_opt() {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is("NX") && !o.xx {
                o.nx = true;
            } else if is("XX") && !o.nx {
                o.xx = true;
            } else if is("GET") {
                o.get = true;
            } else if is("KEEPTTL") && o.expiry.is_none() {
                o.keep_ttl = true;
            } else if let (Some(unit), false, None) = (ExpiryUnit::of(word), o.keep_ttl, o.expiry) {
                o.expiry = Some((unit, args.bytes()?));
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        Ok(o)
    }
}

fn set_with_options(cx: &mut Cx<'_>, args: &mut Args<'_>, key: &[u8], value: &[u8]) -> Done {
    let o = SetOptions::parse(args)?;
    let at_ms = match o.expiry {
        Some((unit, text)) => Some(unit.at_ms(text, cx.now_ms, cx.name())?),
        None => None,
    };
    if o.get {
        reply_value(cx, key)?;
    }
    let exists = cx.keys.exists(key);
    if o.nx && exists || o.xx && !exists {
        if !o.get {
            cx.reply.null();
        }
        return Ok(());
    }
    let kept = if o.keep_ttl { cx.keys.peek(key).and_then(Entry::expire_at_ms) } else { None };
    cx.keys.insert(key, NewValue::Str(value), at_ms.or(kept));
    cx.keys.changed(key, Classes::STRING, "set");
    if let Some(at_ms) = at_ms {
        cx.keys.event(Classes::GENERIC, "expire", key);
        // Absolute, so that it means the same whenever it is read back.
        if !matches!(o.expiry, Some((ExpiryUnit::PxAt, _))) {
            let at = at_ms.to_string();
            cx.keys.effects.rewrite(cx.session.db, &[b"SET", key, value, b"PXAT", at.as_bytes()]);
        }
    } else if o.get {
        // Its replies are of no use in the log.
        let words: &[&[u8]] =
            if o.keep_ttl { &[b"SET", key, value, b"KEEPTTL"] } else { &[b"SET", key, value] };
        cx.keys.effects.rewrite(cx.session.db, words);
    }
    if !o.get {
        cx.reply.ok();
    }
    Ok(())
}

fn store(cx: &mut Cx<'_>, key: &[u8], value: &[u8], at_ms: Option<i64>) {
    cx.keys.insert(key, NewValue::Str(value), at_ms);
    cx.keys.changed(key, Classes::STRING, "set");
}

fn setnx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, value) = (args.key()?, args.bytes()?);
    let exists = cx.keys.exists(key);
    if !exists {
        store(cx, key, value, None);
    }
    cx.reply.integer(i64::from(!exists));
    Ok(())
}

fn set_expiring(cx: &mut Cx<'_>, args: &mut Args<'_>, unit: ExpiryUnit) -> Done {
    let (key, text, value) = (args.key()?, args.bytes()?, args.bytes()?);
    let at_ms = unit.at_ms(text, cx.now_ms, cx.name())?;
    store(cx, key, value, Some(at_ms));
    cx.keys.event(Classes::GENERIC, "expire", key);
    let at = at_ms.to_string();
    cx.keys.effects.rewrite(cx.session.db, &[b"SET", key, value, b"PXAT", at.as_bytes()]);
    cx.reply.ok();
    Ok(())
}

fn setex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    set_expiring(cx, args, ExpiryUnit::Ex)
}

fn psetex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    set_expiring(cx, args, ExpiryUnit::Px)
}

fn getset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, value) = (args.key()?, args.bytes()?);
    reply_value(cx, key)?;
    store(cx, key, value, None);
    cx.keys.effects.rewrite(cx.session.db, &[b"SET", key, value]);
    Ok(())
}

fn getdel(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    if reply_value(cx, key)? {
        cx.keys.remove(key);
        cx.keys.effects.rewrite(cx.session.db, &[b"DEL", key]);
        cx.keys.changed(key, Classes::GENERIC, "del");
    }
    Ok(())
}

fn getex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let mut expiry = Expiry::Keep;
    if let Some(word) = args.next_opt() {
        expiry = match ExpiryUnit::of(word) {
            Some(unit) => {
                let text = args.bytes()?;
                args.finish()?;
                // No key, or a wrong type, is told before a wrong time.
                if cx.keys.peek(key).is_none() {
                    reply_value(cx, key)?;
                    return Ok(());
                }
                with_bytes(cx.keys.peek(key).map(Entry::value), |_| ())?;
                Expiry::At(unit.at_ms(text, cx.now_ms, cx.name())?)
            }
            None if word.eq_ignore_ascii_case(b"PERSIST") => Expiry::None,
            None => return Err(ReplyError::SYNTAX),
        };
        args.finish()?;
    }
    if !reply_value(cx, key)? {
        return Ok(());
    }
    let db = cx.session.db;
    match expiry {
        Expiry::Keep => {}
        Expiry::None => {
            if cx.keys.peek(key).and_then(Entry::expire_at_ms).is_some() {
                cx.keys.set_expire(key, None);
                cx.keys.effects.rewrite(db, &[b"PERSIST", key]);
                cx.keys.changed(key, Classes::GENERIC, "persist");
            }
        }
        Expiry::At(at_ms) if at_ms <= cx.now_ms && !cx.batch.role_is_replica => {
            cx.keys.remove(key);
            let word = crate::lazyfree::deletion(cx.settings.lazyfree_expire);
            cx.keys.effects.rewrite(db, &[word, key]);
            cx.keys.changed(key, Classes::GENERIC, "del");
        }
        Expiry::At(at_ms) => {
            cx.keys.set_expire(key, Some(at_ms));
            cx.keys.effects.rewrite(db, &[b"PEXPIREAT", key, at_ms.to_string().as_bytes()]);
            cx.keys.changed(key, Classes::GENERIC, "expire");
        }
    }
    Ok(())
}

/// Refuses a string that would be longer than any request may be.
fn check_length(cx: &Cx<'_>, len: usize, more: usize) -> Done {
    let total = len.checked_add(more).and_then(|total| i64::try_from(total).ok());
    if cx.session.is_obeyed() || total.is_some_and(|total| total <= cx.settings.proto_max_bulk_len) {
        return Ok(());
    }
    Err(ReplyError::STRING_TOO_LONG)
}

fn append(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, more) = (args.key()?, args.bytes()?);
    let present = cx.keys.peek(key).is_some();
    let len = with_bytes(cx.keys.peek(key).map(Entry::value), |bytes| bytes.len())?;
    check_length(cx, len, more.len())?;
    if present {
        let mut entry = cx.keys.get_mut(key).ok_or(ReplyError::WRONG_TYPE)?;
        entry.string_mut(|bytes| bytes.extend_from_slice(more));
    } else {
        cx.keys.insert(key, NewValue::Str(more), None);
    }
    cx.keys.changed(key, Classes::STRING, "append");
    cx.reply.integer((len + more.len()) as i64);
    Ok(())
}

fn strlen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let len = with_bytes(cx.keys.get(args.key()?).map(Entry::value), |bytes| bytes.len())?;
    cx.reply.integer(len as i64);
    Ok(())
}

fn add(cx: &mut Cx<'_>, key: &[u8], delta: i64) -> Done {
    let old = match cx.keys.get_mut(key).as_deref().map(Entry::value) {
        None => None,
        Some(ValueRef::Int(n)) => Some(n),
        Some(value) => Some(with_bytes(Some(value), parse_i64)?.ok_or(ReplyError::NOT_INTEGER)?),
    };
    let new = old.unwrap_or(0).checked_add(delta).ok_or(ReplyError::INCR_OVERFLOW)?;
    match cx.keys.get_mut(key) {
        Some(mut entry) => entry.set_value(NewValue::Int(new)),
        None => cx.keys.insert(key, NewValue::Int(new), None),
    }
    cx.keys.changed(key, Classes::STRING, "incrby");
    cx.reply.integer(new);
    Ok(())
}

fn incr(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    add(cx, args.key()?, 1)
}

fn decr(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    add(cx, args.key()?, -1)
}

fn incrby(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, delta) = (args.key()?, args.i64()?);
    add(cx, key, delta)
}

fn decrby(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, delta) = (args.key()?, args.i64()?);
    let delta = delta.checked_neg().ok_or(ReplyError::fixed("ERR decrement would overflow"))?;
    add(cx, key, delta)
}

fn incrbyfloat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, delta) = (args.key()?, args.bytes()?);
    let parse = |text: &[u8]| LongDouble::parse(text).ok_or(ReplyError::NOT_FLOAT);
    let present = cx.keys.get_mut(key).is_some();
    let old = match cx.keys.held(key).filter(|_| present).map(Entry::value) {
        None => LongDouble::ZERO,
        value => with_bytes(value, parse)??,
    };
    let new = old.checked_add(parse(delta)?).filter(LongDouble::is_finite).ok_or(ReplyError::INCR_NAN)?;
    let text = new.text();
    match cx.keys.get_mut(key) {
        Some(mut entry) => entry.set_value(NewValue::Plain(&text)),
        None => cx.keys.insert(key, NewValue::Plain(&text), None),
    }
    cx.keys.changed(key, Classes::STRING, "incrbyfloat");
    // The sum, lest another machine's arithmetic come to another one.
    cx.keys.effects.rewrite(cx.keys.db, &[b"SET", key, &text, b"KEEPTTL"]);
    cx.reply.bulk(&text);
    Ok(())
}

fn mget(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    cx.reply.array(args.left());
    for key in args.rest() {
        if reply_value(cx, key).is_err() {
            cx.reply.null();
        }
    }
    Ok(())
}

fn mset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let pairs = args.pairs().ok_or_else(|| ReplyError::arity(cx.name()))?;
    for (key, value) in pairs {
        store(cx, key, value, None);
    }
    cx.reply.ok();
    Ok(())
}

fn msetnx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let pairs = args.pairs().ok_or_else(|| ReplyError::arity(cx.name()))?;
    if pairs.clone().any(|(key, _)| cx.keys.exists(key)) {
        cx.reply.integer(0);
        return Ok(());
    }
    for (key, value) in pairs {
        store(cx, key, value, None);
    }
    cx.reply.integer(1);
    Ok(())
}

fn setrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, offset, patch) = (args.key()?, args.i64()?, args.bytes()?);
    let offset = usize::try_from(offset).map_err(|_| ReplyError::OFFSET_OUT_OF_RANGE)?;
    let present = cx.keys.peek(key).is_some();
    let len = with_bytes(cx.keys.peek(key).map(Entry::value), |bytes| bytes.len())?;
    if patch.is_empty() {
        cx.reply.integer(len as i64);
        return Ok(());
    }
    check_length(cx, offset, patch.len())?;
    let write = |bytes: &mut Vec<u8>| {
        let end = offset + patch.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(patch);
        bytes.len()
    };
    let new_len = if present {
        let mut entry = cx.keys.get_mut(key).ok_or(ReplyError::WRONG_TYPE)?;
        entry.string_mut(write).ok_or(ReplyError::WRONG_TYPE)?
    } else {
        let mut bytes = Vec::new();
        let new_len = write(&mut bytes);
        cx.keys.insert(key, NewValue::Raw(&bytes), None);
        new_len
    };
    cx.keys.changed(key, Classes::STRING, "setrange");
    cx.reply.integer(new_len as i64);
    Ok(())
}

fn getrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, start, end) = (args.key()?, args.i64()?, args.i64()?);
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    with_bytes(keys.get(key).map(Entry::value), |bytes| reply.bulk(range_of(bytes, start, end)))
}

/// The bytes from `start` to `end`, both counted from the end when negative.
fn range_of(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    let len = bytes.len() as i64;
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let from_end = |i: i64| if i < 0 { (len + i).max(0) } else { i };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end || len == 0 { b"" } else { &bytes[start as usize..=end as usize] }
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("set", -3, flags!(WRITE | DENYOOM | BRIEF), set).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE | VARIABLE_FLAGS))]).acl(acl!(STRING)).group(Group::String).since("1.0.0"),
    CommandSpec::new("setnx", 3, flags!(WRITE | DENYOOM | FAST), setnx).keys(&[KeySpec::index(1).flags(key!(OW | INSERT))]).acl(acl!(STRING)).group(Group::String).since("1.0.0"),
    CommandSpec::new("setex", 4, flags!(WRITE | DENYOOM | BRIEF), setex).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("2.0.0"),
    CommandSpec::new("psetex", 4, flags!(WRITE | DENYOOM | BRIEF), psetex).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("2.6.0"),
    CommandSpec::new("getset", 3, flags!(WRITE | DENYOOM | FAST), getset).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("1.0.0"),
    CommandSpec::new("getdel", 2, flags!(WRITE | FAST), getdel).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(STRING)).group(Group::String).since("6.2.0"),
    CommandSpec::new("getex", -2, flags!(WRITE | FAST), getex).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("6.2.0"),
    CommandSpec::new("get", 2, flags!(READONLY | FAST), get).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(STRING)).group(Group::String).since("1.0.0"),
    CommandSpec::new("append", 3, flags!(WRITE | DENYOOM | FAST), append).keys(&[KeySpec::index(1).flags(key!(RW | INSERT))]).acl(acl!(STRING)).group(Group::String).since("2.0.0"),
    CommandSpec::new("strlen", 2, flags!(READONLY | FAST), strlen).keys(&[KeySpec::index(1).flags(key!(RO))]).acl(acl!(STRING)).group(Group::String).since("2.2.0"),
    CommandSpec::new("incr", 2, flags!(WRITE | DENYOOM | FAST), incr).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("1.0.0"),
    CommandSpec::new("decr", 2, flags!(WRITE | DENYOOM | FAST), decr).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("1.0.0"),
    CommandSpec::new("incrby", 3, flags!(WRITE | DENYOOM | FAST), incrby).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("1.0.0"),
    CommandSpec::new("decrby", 3, flags!(WRITE | DENYOOM | FAST), decrby).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("1.0.0"),
    CommandSpec::new("mget", -2, flags!(READONLY | FAST), mget).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(RO | ACCESS))]).acl(acl!(STRING)).group(Group::String).since("1.0.0"),
    CommandSpec::new("mset", -3, flags!(WRITE | DENYOOM), mset).keys(&[KeySpec::index(1).range(-1, 2, 0).flags(key!(OW | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("1.0.1"),
    CommandSpec::new("msetnx", -3, flags!(WRITE | DENYOOM), msetnx).keys(&[KeySpec::index(1).range(-1, 2, 0).flags(key!(OW | INSERT))]).acl(acl!(STRING)).group(Group::String).since("1.0.1"),
    CommandSpec::new("setrange", 4, flags!(WRITE | DENYOOM), setrange).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("2.2.0"),
    CommandSpec::new("getrange", 4, flags!(READONLY), getrange).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(STRING)).group(Group::String).since("2.4.0"),
    CommandSpec::new("substr", 4, flags!(READONLY), getrange).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(STRING)).group(Group::String).since("1.0.0"),
    CommandSpec::new("incrbyfloat", 3, flags!(WRITE | DENYOOM | FAST), incrbyfloat).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(STRING)).group(Group::String).since("2.6.0"),
    CommandSpec::new("lcs", -3, flags!(READONLY), super::lcs::lcs).keys(&[KeySpec::index(1).range(1, 1, 0).flags(key!(RO | ACCESS))]).acl(acl!(STRING)).group(Group::String).since("7.0.0"),
];
