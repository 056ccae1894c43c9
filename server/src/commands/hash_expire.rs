//! Fields of hashes that expire: HEXPIRE and its like, which Redis has since 7.4.

use super::prelude::*;
use keyspace::types::hash::HashValue;
use protocol::number::parse_i64;

/// Times have 48 bits in 7.4's files, and two of those are kept back.
const MAX_MS: i64 = (1 << 46) - 1;

/// When a time is to be set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfNone,
    IfAny,
    IfLater,
    IfEarlier,
}

impl Condition {
    fn parse(args: &mut Args<'_>) -> Condition {
        match () {
            () if args.flag("NX") => Condition::IfNone,
            () if args.flag("XX") => Condition::IfAny,
            () if args.flag("GT") => Condition::IfLater,
            () if args.flag("LT") => Condition::IfEarlier,
            () => Condition::Always,
        }
    }

    /// A field without a time expires at the end of all time.
    fn holds(self, present_ms: Option<i64>, at_ms: i64) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfNone => present_ms.is_none(),
            Condition::IfAny => present_ms.is_some(),
            Condition::IfLater => present_ms.is_some_and(|present_ms| at_ms > present_ms),
            Condition::IfEarlier => present_ms.is_none_or(|present_ms| at_ms < present_ms),
        }
    }
}

/// `FIELDS numfields field …`, the end of all of these commands.
fn fields<'a>(args: &mut Args<'a>) -> Result<Vec<&'a [u8]>, ReplyError> {
    if !args.flag("FIELDS") {
        let text = "ERR Mandatory argument FIELDS is missing or not at the right position";
        return Err(ReplyError::fixed(text));
    }
    let wrong = ReplyError::fixed("ERR Parameter `numFields` should be greater than 0");
    let count = args.next_opt().and_then(parse_i64).filter(|&count| count > 0).ok_or(wrong)?;
    if count != args.left() as i64 {
        let text = "ERR The `numfields` parameter must match the number of arguments";
        return Err(ReplyError::fixed(text));
    }
    Ok(args.rest().collect())
}

/// No such field, or no such hash.
const NO_FIELD: i64 = -2;
const NO_TIME: i64 = -1;

/// A time as it was sent, in these units from a base.
#[derive(Clone, Copy)]
struct Clock {
    unit_ms: i64,
    is_relative: bool,
}

impl Clock {
    const SECONDS_LEFT: Clock = Clock { unit_ms: 1000, is_relative: true };
    const MS_LEFT: Clock = Clock { unit_ms: 1, is_relative: true };
    const SECOND: Clock = Clock { unit_ms: 1000, is_relative: false };
    const MS: Clock = Clock { unit_ms: 1, is_relative: false };

    fn base_ms(self, cx: &Cx<'_>) -> i64 {
        if self.is_relative { cx.now_ms } else { 0 }
    }

    fn read(self, cx: &Cx<'_>, args: &mut Args<'_>) -> Result<i64, ReplyError> {
        let n = args.i64()?;
        if n < 0 {
            return Err(ReplyError::fixed("ERR invalid expire time, must be >= 0"));
        }
        let at_ms = n.checked_mul(self.unit_ms).and_then(|ms| ms.checked_add(self.base_ms(cx)));
        at_ms.filter(|&at_ms| at_ms <= MAX_MS).ok_or_else(|| ReplyError::invalid_expire(cx.name()))
    }

    /// The reply for a time: what is left is rounded up.
    fn show(self, cx: &Cx<'_>, at_ms: i64) -> i64 {
        (at_ms - self.base_ms(cx) + self.unit_ms - 1) / self.unit_ms
    }
}

fn expire(cx: &mut Cx<'_>, args: &mut Args<'_>, clock: Clock) -> Done {
    let key = args.key()?;
    let is_there = cx.keys.typed_mut::<HashValue>(key)?.is_some();
    let at_ms = clock.read(cx, args)?;
    let condition = Condition::parse(args);
    let names = fields(args)?;
    // What our master or our files say happens as they say it: removing is their business too.
    let is_past = at_ms <= cx.now_ms && !cx.session.is_obeyed();
    let (mut timed, mut removed) = (Vec::new(), Vec::new());
    cx.reply.array(names.len());
    for name in names {
        let hash = if is_there { cx.keys.typed_mut::<HashValue>(key)? } else { None };
        let code = match hash.filter(|hash| hash.contains(name)) {
            None => NO_FIELD,
            Some(hash) if !condition.holds(hash.expires_at(name), at_ms) => 0,
            Some(hash) if is_past => {
                hash.remove(name);
                removed.push(name);
                2
            }
            Some(hash) => {
                hash.expire_at(name, at_ms);
                timed.push(name);
                1
            }
        };
        cx.reply.integer(code);
    }
    if !timed.is_empty() {
        cx.keys.note_timed(key);
        log_times(cx, key, at_ms, &timed);
        cx.keys.changed_by(timed.len(), key, Classes::HASH, "hexpire");
    }
    if !removed.is_empty() {
        let hdel: Vec<&[u8]> = [&b"HDEL"[..], key].into_iter().chain(removed.iter().copied()).collect();
        cx.keys.effects.rewrite(cx.keys.db, &hdel);
        cx.keys.changed_by(removed.len(), key, Classes::HASH, "hdel");
        cx.keys.remove_if_empty(key);
    }
    Ok(())
}

/// Logs what was set in absolute time.
pub fn log_times(cx: &mut Cx<'_>, key: &[u8], at_ms: i64, names: &[&[u8]]) {
    let (at_ms, count) = (at_ms.to_string(), names.len().to_string());
    let head = [&b"HPEXPIREAT"[..], key, at_ms.as_bytes(), b"FIELDS", count.as_bytes()];
    let words: Vec<&[u8]> = head.into_iter().chain(names.iter().copied()).collect();
    cx.keys.effects.rewrite(cx.keys.db, &words);
}

/// Replies with a number about each field; `show` is asked where it expires.
fn tell(cx: &mut Cx<'_>, args: &mut Args<'_>, clock: Clock) -> Done {
    let key = args.key()?;
    let hash = cx.keys.typed::<HashValue>(key)?;
    let names = fields(args)?;
    let time = |name: &[u8]| match hash.filter(|hash| hash.contains(name)) {
        None => Err(NO_FIELD),
        Some(hash) => hash.expires_at(name).ok_or(NO_TIME),
    };
    let times: Vec<_> = names.into_iter().map(time).collect();
    cx.reply.array(times.len());
    for time in times {
        let number = time.map_or_else(|code| code, |at_ms| clock.show(cx, at_ms));
        cx.reply.integer(number);
    }
    Ok(())
}

fn hexpire(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    expire(cx, args, Clock::SECONDS_LEFT)
}

fn hpexpire(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    expire(cx, args, Clock::MS_LEFT)
}

fn hexpireat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    expire(cx, args, Clock::SECOND)
}

fn hpexpireat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    expire(cx, args, Clock::MS)
}

fn httl(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    tell(cx, args, Clock::SECONDS_LEFT)
}

fn hpttl(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    tell(cx, args, Clock::MS_LEFT)
}

fn hexpiretime(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    tell(cx, args, Clock::SECOND)
}

fn hpexpiretime(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    tell(cx, args, Clock::MS)
}

fn hpersist(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let mut hash = cx.keys.typed_mut::<HashValue>(key)?;
    let names = fields(args)?;
    let mut persisted = 0;
    let persist = |name: &[u8]| match hash.as_mut().filter(|hash| hash.contains(name)) {
        None => NO_FIELD,
        Some(hash) => {
            let did_expire = hash.persist(name);
            persisted += usize::from(did_expire);
            if did_expire { 1 } else { NO_TIME }
        }
    };
    let codes: Vec<i64> = names.into_iter().map(persist).collect();
    cx.reply.array(codes.len());
    codes.into_iter().for_each(|code| cx.reply.integer(code));
    if persisted > 0 {
        cx.keys.changed_by(persisted, key, Classes::HASH, "hpersist");
    }
    Ok(())
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("hexpire", -6, flags!(WRITE | DENYOOM | FAST), hexpire).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(HASH)).group(Group::Hash).since("7.4.0"),
    CommandSpec::new("hpexpire", -6, flags!(WRITE | DENYOOM | FAST), hpexpire).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(HASH)).group(Group::Hash).since("7.4.0"),
    CommandSpec::new("hexpireat", -6, flags!(WRITE | DENYOOM | FAST), hexpireat).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(HASH)).group(Group::Hash).since("7.4.0"),
    CommandSpec::new("hpexpireat", -6, flags!(WRITE | DENYOOM | FAST), hpexpireat).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(HASH)).group(Group::Hash).since("7.4.0"),
    CommandSpec::new("httl", -5, flags!(READONLY | FAST), httl).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("7.4.0"),
    CommandSpec::new("hpttl", -5, flags!(READONLY | FAST), hpttl).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("7.4.0"),
    CommandSpec::new("hexpiretime", -5, flags!(READONLY | FAST), hexpiretime).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("7.4.0"),
    CommandSpec::new("hpexpiretime", -5, flags!(READONLY | FAST), hpexpiretime).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("7.4.0"),
    CommandSpec::new("hpersist", -5, flags!(WRITE | FAST), hpersist).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(HASH)).group(Group::Hash).since("7.4.0"),
];
