//! Expiry: setting, reading and ending it.

use super::delete;
use crate::commands::prelude::*;
use crate::exec::dispatch::Loading;

/// The conditions of EXPIRE and its like.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: &mut Args<'_>) -> Result<Conditions, ReplyError> {
        let mut c = Conditions::default();
        while let Some(word) = args.peek() {
            if args.flag("NX") {
                c.nx = true;
            } else if args.flag("XX") {
                c.xx = true;
            } else if args.flag("GT") {
                c.gt = true;
            } else if args.flag("LT") {
                c.lt = true;
            } else {
                return Err(ReplyError::new([b"ERR Unsupported option ", word].concat()));
            }
        }
        if c.nx && (c.xx || c.gt || c.lt) {
            return Err(ReplyError::fixed(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if c.gt && c.lt {
            return Err(ReplyError::fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(c)
    }

    /// Whether an expiry may take the place of the present one. None is as late as can be.
    fn allow(&self, present_ms: Option<i64>, at_ms: i64) -> bool {
        let refused = self.nx && present_ms.is_some()
            || self.xx && present_ms.is_none()
            || self.gt && present_ms.is_none_or(|present| at_ms <= present)
            || self.lt && present_ms.is_some_and(|present| at_ms >= present);
        !refused
    }
}

/// Milliseconds of an argument in seconds or milliseconds, counted from `base_ms`.
fn absolute(text_value: i64, in_seconds: bool, base_ms: i64, name: &str) -> Result<i64, ReplyError> {
    let invalid = || ReplyError::invalid_expire(name);
    let ms = if in_seconds { text_value.checked_mul(1000).ok_or_else(invalid)? } else { text_value };
    // A time below the representable ones is in the past all the same, and stock lets it be.
    if ms > 0 { ms.checked_add(base_ms).ok_or_else(invalid) } else { Ok(ms.saturating_add(base_ms)) }
}

fn set_expiry(cx: &mut Cx<'_>, args: &mut Args<'_>, in_seconds: bool, relative: bool) -> Done {
    let (key, time) = (args.key()?, args.bytes()?);
    let options = args.position();
    let conditions = Conditions::parse(args)?;
    let time = protocol::number::parse_i64(time).ok_or(ReplyError::NOT_INTEGER)?;
    let base_ms = if relative { cx.now_ms } else { 0 };
    let at_ms = absolute(time, in_seconds, base_ms, cx.name())?;
    let present = cx.keys.get_mut(key).map(|entry| entry.expire_at_ms());
    if !present.is_some_and(|present_ms| conditions.allow(present_ms, at_ms)) {
        cx.reply.integer(0);
        return Ok(());
    }
    let db = cx.keys.db;
    if at_ms <= cx.now_ms && !cx.batch.role_is_replica && cx.batch.loading == Loading::No {
        delete(cx, key);
        let word = crate::lazyfree::deletion(cx.settings.lazyfree_expire);
        cx.keys.effects.rewrite(db, &[word, key]);
    } else {
        cx.keys.set_expire(key, Some(at_ms));
        cx.keys.changed(key, Classes::GENERIC, "expire");
        let at = at_ms.to_string();
        let mut words: Vec<&[u8]> = vec![b"PEXPIREAT", key, at.as_bytes()];
        words.extend(args.argv().tail(options).iter());
        cx.keys.effects.rewrite(db, &words);
    }
    cx.reply.integer(1);
    Ok(())
}

pub fn expire(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    set_expiry(cx, args, true, true)
}

pub fn pexpire(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    set_expiry(cx, args, false, true)
}

pub fn expireat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    set_expiry(cx, args, true, false)
}

pub fn pexpireat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    set_expiry(cx, args, false, false)
}

/// Replies with something of a key's expiry; -1 without one, -2 without the key.
fn reply_expiry(cx: &mut Cx<'_>, args: &mut Args<'_>, show: impl FnOnce(i64, i64) -> i64) -> Done {
    let now_ms = cx.now_ms;
    let shown = match cx.keys.look(args.key()?).map(Entry::expire_at_ms) {
        None => -2,
        Some(None) => -1,
        Some(Some(at_ms)) => show(at_ms, now_ms),
    };
    cx.reply.integer(shown);
    Ok(())
}

/// To the nearest second.
fn seconds(ms: i64) -> i64 {
    ms.saturating_add(500) / 1000
}

pub fn ttl(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_expiry(cx, args, |at_ms, now_ms| seconds(at_ms.saturating_sub(now_ms).max(0)))
}

pub fn pttl(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_expiry(cx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms).max(0))
}

pub fn expiretime(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_expiry(cx, args, |at_ms, _| seconds(at_ms))
}

pub fn pexpiretime(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_expiry(cx, args, |at_ms, _| at_ms)
}

pub fn persist(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let expires = cx.keys.get_mut(key).is_some_and(|entry| entry.expire_at_ms().is_some());
    if expires {
        cx.keys.set_expire(key, None);
        cx.keys.changed(key, Classes::GENERIC, "persist");
    }
    cx.reply.integer(i64::from(expires));
    Ok(())
}
