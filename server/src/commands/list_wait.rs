//! Lists: the commands that wait for an element when there is none. They are logged as those that do not wait.

use super::common::{count_to_pop, deadline_ms, keys_to_pop};
use super::list::{end, move_element, pop_event, pop_many};
use super::prelude::*;
use crate::blocking::{self, For};
use keyspace::types::list::{End, ListValue};

/// The first key with elements that are not for others who wait already.
fn first_ready<'k>(cx: &mut Cx<'_>, keys: &[&'k [u8]]) -> Result<Option<&'k [u8]>, ReplyError> {
    for &key in keys {
        if cx.keys.typed_mut::<ListValue>(key)?.is_some() && !blocking::must_queue(cx, For::List, key) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Waits for one of the keys; where that is not allowed, it is as if the time were up.
fn wait_for_any(cx: &mut Cx<'_>, keys: &[&[u8]], deadline_ms: Option<i64>) {
    if !cx.may_wait() {
        return cx.reply.null_array();
    }
    let argv = cx.argv.into();
    blocking::wait(cx, For::List, keys, deadline_ms, argv);
}

fn name(end: End) -> &'static [u8] {
    if end == End::Head { b"LPOP" } else { b"RPOP" }
}

fn pop(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End) -> Done {
    let mut keys: Vec<&[u8]> = args.rest().collect();
    let timeout = keys.pop().ok_or(ReplyError::SYNTAX)?;
    let deadline_ms = deadline_ms(timeout, cx.now_ms)?;
    let Some(key) = first_ready(cx, &keys)? else {
        wait_for_any(cx, &keys, deadline_ms);
        return Ok(());
    };
    let limits = &cx.settings.limits;
    let popped = cx.keys.typed_mut::<ListValue>(key)?.and_then(|list| list.pop(end, limits));
    cx.reply.array(2);
    cx.reply.bulk(key);
    cx.reply.bulk_or_null(popped.as_deref());
    cx.keys.changed(key, Classes::LIST, pop_event(end));
    cx.keys.remove_if_empty(key);
    cx.keys.effects.rewrite(cx.keys.db, &[name(end), key]);
    Ok(())
}

fn blpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    pop(cx, args, End::Head)
}

fn brpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    pop(cx, args, End::Tail)
}

fn blmpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let timeout = args.bytes()?;
    let keys = keys_to_pop(args)?;
    let end = end(args)?;
    let count = count_to_pop(args)?;
    let deadline_ms = deadline_ms(timeout, cx.now_ms)?;
    let Some(key) = first_ready(cx, &keys)? else {
        wait_for_any(cx, &keys, deadline_ms);
        return Ok(());
    };
    let limits = &cx.settings.limits;
    let Some(list) = cx.keys.typed_mut::<ListValue>(key)? else { return Ok(()) };
    cx.reply.array(2);
    cx.reply.bulk(key);
    let popped = pop_many(list, end, count, limits, &mut cx.reply);
    cx.keys.changed_by(popped, key, Classes::LIST, pop_event(end));
    cx.keys.remove_if_empty(key);
    cx.keys.effects.rewrite(cx.keys.db, &[name(end), key, popped.to_string().as_bytes()]);
    Ok(())
}

/// Moves an element, or waits for one. False if nothing was moved.
fn move_or_wait(
    cx: &mut Cx<'_>,
    from: &[u8],
    to: &[u8],
    ends: (End, End),
    deadline_ms: Option<i64>,
) -> Result<bool, ReplyError> {
    if first_ready(cx, &[from])?.is_some() {
        move_element(cx, from, to, ends.0, ends.1)?;
        return Ok(true);
    }
    if cx.may_wait() {
        let argv = cx.argv.into();
        blocking::wait(cx, For::List, &[from], deadline_ms, argv);
    } else {
        cx.reply.null();
    }
    Ok(false)
}

fn blmove(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (from, to) = (args.key()?, args.key()?);
    let (from_word, from_end) = (args.peek().unwrap_or_default(), end(args)?);
    let (to_word, to_end) = (args.peek().unwrap_or_default(), end(args)?);
    let deadline_ms = deadline_ms(args.bytes()?, cx.now_ms)?;
    if move_or_wait(cx, from, to, (from_end, to_end), deadline_ms)? {
        cx.keys.effects.rewrite(cx.keys.db, &[b"LMOVE", from, to, from_word, to_word]);
    }
    Ok(())
}

fn brpoplpush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (from, to) = (args.key()?, args.key()?);
    let deadline_ms = deadline_ms(args.bytes()?, cx.now_ms)?;
    if move_or_wait(cx, from, to, (End::Tail, End::Head), deadline_ms)? {
        cx.keys.effects.rewrite(cx.keys.db, &[b"RPOPLPUSH", from, to]);
    }
    Ok(())
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("blpop", -3, flags!(WRITE | BLOCKING), blpop).keys(&[KeySpec::index(1).range(-2, 1, 0).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(LIST)).group(Group::List).since("2.0.0"),
    CommandSpec::new("brpop", -3, flags!(WRITE | BLOCKING), brpop).keys(&[KeySpec::index(1).range(-2, 1, 0).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(LIST)).group(Group::List).since("2.0.0"),
    CommandSpec::new("blmove", 6, flags!(WRITE | DENYOOM | BLOCKING), blmove).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE)), KeySpec::index(2).flags(key!(RW | INSERT))]).acl(acl!(LIST)).group(Group::List).since("6.2.0"),
    CommandSpec::new("blmpop", -5, flags!(WRITE | BLOCKING), blmpop).keys(&[KeySpec::index(2).keynum(0, 1, 1).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(LIST)).group(Group::List).since("7.0.0"),
    CommandSpec::new("brpoplpush", 4, flags!(WRITE | DENYOOM | BLOCKING), brpoplpush).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE)), KeySpec::index(2).flags(key!(RW | INSERT))]).acl(acl!(LIST)).group(Group::List).since("2.2.0"),
];
