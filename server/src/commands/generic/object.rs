//! OBJECT: how a value is kept.

use crate::commands::prelude::*;
use crate::exec::Keys;
use keyspace::access::{LfuKnobs, lfu_counter, lru_idle_ms};

/// Integers below this are shared objects in stock, whose reference count is the greatest there is.
const SHARED_INTEGERS: i64 = 10_000;

/// A container without its subcommand; the dispatcher refuses it by its arity.
pub fn object(_: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    Err(ReplyError::SYNTAX)
}

/// A key that is not there is a miss, but no event.
fn look<'k>(keys: &'k mut Keys<'_>, key: &[u8]) -> Option<&'k Entry> {
    let notify = keys.rules.notify;
    keys.rules.notify.remove(Classes::KEY_MISS);
    let found = keys.look(key).is_some();
    keys.rules.notify = notify;
    if found { keys.held(key) } else { None }
}

fn object_encoding(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    match look(keys, args.key()?) {
        None => reply.null(),
        Some(entry) => match (entry.string_encoding(), entry.value()) {
            (Some(encoding), _) => reply.text(encoding.name()),
            (None, ValueRef::Object(object)) => reply.text(object.encoding_name()),
            (None, _) => reply.null(),
        },
    }
    Ok(())
}

fn object_freq(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let Some(access) = look(&mut cx.keys, args.key()?).map(Entry::access) else {
        cx.reply.null();
        return Ok(());
    };
    if !cx.settings.maxmemory_policy.is_lfu() {
        return Err(ReplyError::fixed(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    let knobs =
        LfuKnobs { log_factor: cx.settings.lfu_log_factor, decay_time_min: cx.settings.lfu_decay_minutes };
    cx.reply.integer(i64::from(lfu_counter(access, cx.now_ms, knobs)));
    Ok(())
}

fn object_idletime(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let Some(access) = look(&mut cx.keys, args.key()?).map(Entry::access) else {
        cx.reply.null();
        return Ok(());
    };
    if cx.settings.maxmemory_policy.is_lfu() {
        return Err(ReplyError::fixed(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    cx.reply.integer((lru_idle_ms(access, cx.now_ms) / 1000) as i64);
    Ok(())
}

fn object_refcount(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let value = look(&mut cx.keys, args.key()?).map(Entry::value);
    // Stock shares none where each key needs access bits of its own.
    let shares = cx.settings.maxmemory_bytes == 0 || !cx.settings.maxmemory_policy.goes_by_access();
    match value {
        None => cx.reply.null(),
        Some(ValueRef::Int(n)) if shares && (0..SHARED_INTEGERS).contains(&n) => {
            cx.reply.integer(i64::from(i32::MAX));
        }
        Some(_) => cx.reply.integer(1),
    }
    Ok(())
}

fn object_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    const LINES: [&str; 11] = [
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    How the value of <key> is kept.",
        "FREQ <key>",
        "    The logarithmic access counter of <key>, under an LFU policy.",
        "IDLETIME <key>",
        "    Seconds since <key> was last accessed.",
        "REFCOUNT <key>",
        "    References to the value of <key>.",
        "HELP",
        "    Print this help.",
    ];
    cx.reply.array(LINES.len());
    LINES.iter().for_each(|line| cx.reply.simple(line));
    Ok(())
}

#[rustfmt::skip]
pub const OBJECT: &[CommandSpec] = &[
    CommandSpec::new("encoding", 3, flags!(READONLY), object_encoding).keys(&[KeySpec::index(2).flags(key!(RO))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("2.2.3"),
    CommandSpec::new("freq", 3, flags!(READONLY), object_freq).keys(&[KeySpec::index(2).flags(key!(RO))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("4.0.0"),
    CommandSpec::new("idletime", 3, flags!(READONLY), object_idletime).keys(&[KeySpec::index(2).flags(key!(RO))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("2.2.3"),
    CommandSpec::new("refcount", 3, flags!(READONLY), object_refcount).keys(&[KeySpec::index(2).flags(key!(RO))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("2.2.3"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), object_help).acl(acl!(KEYSPACE)).group(Group::Generic).since("6.2.0"),
];
