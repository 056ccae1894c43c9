//! Lists. The commands that wait for elements are in `list_wait.rs`.

use super::common::{bounded, count_to_pop, element, keys_to_pop, positive};
use super::prelude::*;
use keyspace::types::list::{End, ListValue, Place, index_range};

fn push(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End, creates: bool) -> Done {
    let key = args.key()?;
    let limits = &cx.settings.limits;
    let elements: Vec<&[u8]> = args.rest().collect();
    let list = if creates {
        cx.keys.get_or_create::<ListValue>(key)?
    } else {
        match cx.keys.typed_mut::<ListValue>(key)? {
            Some(list) => list,
            None => {
                cx.reply.integer(0);
                return Ok(());
            }
        }
    };
    list.push_all(end, &elements, limits);
    cx.reply.integer(list.len() as i64);
    cx.keys.changed_by(elements.len(), key, Classes::LIST, push_event(end));
    Ok(())
}

fn push_event(end: End) -> &'static str {
    if end == End::Head { "lpush" } else { "rpush" }
}

pub(super) fn pop_event(end: End) -> &'static str {
    if end == End::Head { "lpop" } else { "rpop" }
}

fn lpush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    push(cx, args, End::Head, true)
}

fn rpush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    push(cx, args, End::Tail, true)
}

fn lpushx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    push(cx, args, End::Head, false)
}

fn rpushx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    push(cx, args, End::Tail, false)
}

fn pop(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End) -> Done {
    let key = args.key()?;
    if args.left() > 1 {
        return Err(ReplyError::arity(cx.name()));
    }
    let count = if args.is_empty() { None } else { Some(positive(args)?) };
    let limits = &cx.settings.limits;
    let Some(list) = cx.keys.typed_mut::<ListValue>(key)? else {
        match count {
            None => cx.reply.null(),
            Some(_) => cx.reply.null_array(),
        }
        return Ok(());
    };
    let popped = match count {
        None => {
            list.pop(end, limits).into_iter().for_each(|popped| cx.reply.bulk(&popped));
            1
        }
        Some(0) => {
            cx.reply.array(0);
            return Ok(());
        }
        Some(count) => pop_many(list, end, count, limits, &mut cx.reply),
    };
    cx.keys.changed_by(popped, key, Classes::LIST, pop_event(end));
    cx.keys.remove_if_empty(key);
    Ok(())
}

/// Replies with up to `count` elements from one end, and removes them. Returns how many.
pub(super) fn pop_many(
    list: &mut ListValue,
    end: End,
    count: usize,
    limits: &keyspace::types::Limits,
    reply: &mut protocol::Reply<'_>,
) -> usize {
    let len = list.len();
    let count = count.min(len);
    reply.array(count);
    match end {
        End::Head => {
            list.range(0..count).for_each(|popped| element(reply, popped));
            list.trim(count as i64, -1, limits);
        }
        End::Tail => {
            list.range(len - count..len).rev().for_each(|popped| element(reply, popped));
            // The last index to keep; -1 would be the last element of all.
            if count == len {
                list.trim(len as i64, -1, limits);
            } else {
                list.trim(0, (len - count - 1) as i64, limits);
            }
        }
    }
    count
}

fn lpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    pop(cx, args, End::Head)
}

fn rpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    pop(cx, args, End::Tail)
}

fn lmpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let keys = keys_to_pop(args)?;
    let end = end(args)?;
    let count = count_to_pop(args)?;
    let limits = &cx.settings.limits;
    for key in keys {
        let Some(list) = cx.keys.typed_mut::<ListValue>(key)? else { continue };
        cx.reply.array(2);
        cx.reply.bulk(key);
        let popped = pop_many(list, end, count, limits, &mut cx.reply);
        cx.keys.changed_by(popped, key, Classes::LIST, pop_event(end));
        cx.keys.remove_if_empty(key);
        let name: &[u8] = if end == End::Head { b"LPOP" } else { b"RPOP" };
        cx.keys.effects.rewrite(cx.keys.db, &[name, key, popped.to_string().as_bytes()]);
        return Ok(());
    }
    cx.reply.null_array();
    Ok(())
}

pub(super) fn end(args: &mut Args<'_>) -> Result<End, ReplyError> {
    if args.flag("LEFT") {
        Ok(End::Head)
    } else if args.flag("RIGHT") {
        Ok(End::Tail)
    } else {
        Err(ReplyError::SYNTAX)
    }
}

pub(super) fn move_element(cx: &mut Cx<'_>, from: &[u8], to: &[u8], from_end: End, to_end: End) -> Done {
    let limits = &cx.settings.limits;
    if cx.keys.typed_mut::<ListValue>(from)?.is_none() {
        cx.reply.null();
        return Ok(());
    }
    cx.keys.typed_mut::<ListValue>(to)?;
    let Some(moved) = cx.keys.typed_mut::<ListValue>(from)?.and_then(|list| list.pop(from_end, limits))
    else {
        cx.reply.null();
        return Ok(());
    };
    cx.keys.get_or_create::<ListValue>(to)?.push(to_end, &moved, limits);
    cx.reply.bulk(&moved);
    cx.keys.signal(to);
    cx.keys.event(Classes::LIST, push_event(to_end), to);
    cx.keys.changed(from, Classes::LIST, pop_event(from_end));
    cx.keys.remove_if_empty(from);
    Ok(())
}

fn lmove(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (from, to) = (args.key()?, args.key()?);
    let (from_end, to_end) = (end(args)?, end(args)?);
    move_element(cx, from, to, from_end, to_end)
}

fn rpoplpush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    move_element(cx, args.key()?, args.key()?, End::Tail, End::Head)
}

fn llen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let len = cx.keys.typed::<ListValue>(args.key()?)?.map_or(0, ListValue::len);
    cx.reply.integer(len as i64);
    Ok(())
}

fn lindex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let Some(list) = keys.typed::<ListValue>(key)? else {
        reply.null();
        return Ok(());
    };
    match list.get(args.i64()?) {
        Some(found) => element(reply, found),
        None => reply.null(),
    }
    Ok(())
}

fn lset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let list = cx.keys.typed_mut::<ListValue>(key)?.ok_or(ReplyError::NO_SUCH_KEY)?;
    let (index, value) = (args.i64()?, args.bytes()?);
    if !list.set(index, value, &cx.settings.limits) {
        return Err(ReplyError::INDEX_OUT_OF_RANGE);
    }
    cx.keys.changed(key, Classes::LIST, "lset");
    cx.reply.ok();
    Ok(())
}

fn lrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, start, stop) = (args.key()?, args.i64()?, args.i64()?);
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let Some(list) = keys.typed::<ListValue>(key)? else {
        reply.array(0);
        return Ok(());
    };
    let indices = index_range(start, stop, list.len());
    reply.array(indices.len());
    list.range(indices).for_each(|found| element(reply, found));
    Ok(())
}

fn ltrim(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, start, stop) = (args.key()?, args.i64()?, args.i64()?);
    if let Some(list) = cx.keys.typed_mut::<ListValue>(key)? {
        let removed = list.trim(start, stop, &cx.settings.limits);
        cx.keys.changed_by(removed, key, Classes::LIST, "ltrim");
        cx.keys.remove_if_empty(key);
    }
    cx.reply.ok();
    Ok(())
}

fn lrem(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, count, value) = (args.key()?, args.i64()?, args.bytes()?);
    let list = cx.keys.typed_mut::<ListValue>(key)?;
    let removed = list.map_or(0, |list| list.remove(count, value, &cx.settings.limits));
    if removed > 0 {
        cx.keys.changed_by(removed, key, Classes::LIST, "lrem");
        cx.keys.remove_if_empty(key);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

fn linsert(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let place = match () {
        () if args.flag("AFTER") => Place::After,
        () if args.flag("BEFORE") => Place::Before,
        () => return Err(ReplyError::SYNTAX),
    };
    let (pivot, value) = (args.bytes()?, args.bytes()?);
    let Some(list) = cx.keys.typed_mut::<ListValue>(key)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    if !list.insert(pivot, place, value, &cx.settings.limits) {
        cx.reply.integer(-1);
        return Ok(());
    }
    cx.reply.integer(list.len() as i64);
    cx.keys.changed(key, Classes::LIST, "linsert");
    Ok(())
}

/// What LPOS is to find.
struct Search {
    /// The first match that counts; from the end when negative.
    rank: i64,
    /// At most so many; 0 for all. `None` for one, replied alone.
    count: Option<usize>,
    /// Elements looked at, at most; 0 for all.
    most: usize,
}

impl Search {
    fn parse(args: &mut Args<'_>) -> Result<Search, ReplyError> {
        let mut search = Search { rank: 1, count: None, most: 0 };
        let not_negative =
            |args: &mut Args<'_>, error| super::common::at_least(args, 0, error).map(|n| n as usize);
        while !args.is_empty() {
            if args.left() < 2 {
                return Err(ReplyError::SYNTAX);
            }
            if args.flag("RANK") {
                search.rank = bounded(args, -i64::MAX, i64::MAX)?;
                if search.rank == 0 {
                    return Err(ReplyError::fixed(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or \
                         use negative to start from the end of the list",
                    ));
                }
            } else if args.flag("COUNT") {
                search.count = Some(not_negative(args, "ERR COUNT can't be negative")?);
            } else if args.flag("MAXLEN") {
                search.most = not_negative(args, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        Ok(search)
    }

    /// The indices of the matches, in the order they are met.
    fn run(&self, list: &ListValue, value: &[u8]) -> Vec<usize> {
        let all = |n: usize| if n == 0 { usize::MAX } else { n };
        let skipped = (self.rank.unsigned_abs() - 1) as usize;
        let (most, wanted) = (all(self.most), all(self.count.unwrap_or(1)));
        let is_match = |(_, found): &(usize, keyspace::listpack::Element<'_>)| found.is(value);
        let index = |(index, _)| index;
        if self.rank > 0 {
            let seen = list.iter().enumerate().take(most);
            return seen.filter(is_match).skip(skipped).take(wanted).map(index).collect();
        }
        let last = list.len().wrapping_sub(1);
        let seen = list.iter().rev().enumerate().take(most).map(|(back, found)| (last - back, found));
        seen.filter(is_match).skip(skipped).take(wanted).map(index).collect()
    }
}

fn lpos(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, value) = (args.key()?, args.bytes()?);
    let search = Search::parse(args)?;
    let found = cx.keys.typed::<ListValue>(key)?.map(|list| search.run(list, value)).unwrap_or_default();
    match (search.count, found.first()) {
        (None, Some(&index)) => cx.reply.integer(index as i64),
        (None, None) => cx.reply.null(),
        (Some(_), _) => {
            cx.reply.array(found.len());
            found.iter().for_each(|&index| cx.reply.integer(index as i64));
        }
    }
    Ok(())
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("lpush", -3, flags!(WRITE | DENYOOM | FAST), lpush).keys(&[KeySpec::index(1).flags(key!(RW | INSERT))]).acl(acl!(LIST)).group(Group::List).since("1.0.0"),
    CommandSpec::new("rpush", -3, flags!(WRITE | DENYOOM | FAST), rpush).keys(&[KeySpec::index(1).flags(key!(RW | INSERT))]).acl(acl!(LIST)).group(Group::List).since("1.0.0"),
    CommandSpec::new("lpushx", -3, flags!(WRITE | DENYOOM | FAST), lpushx).keys(&[KeySpec::index(1).flags(key!(RW | INSERT))]).acl(acl!(LIST)).group(Group::List).since("2.2.0"),
    CommandSpec::new("rpushx", -3, flags!(WRITE | DENYOOM | FAST), rpushx).keys(&[KeySpec::index(1).flags(key!(RW | INSERT))]).acl(acl!(LIST)).group(Group::List).since("2.2.0"),
    CommandSpec::new("lpop", -2, flags!(WRITE | FAST), lpop).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(LIST)).group(Group::List).since("1.0.0"),
    CommandSpec::new("rpop", -2, flags!(WRITE | FAST), rpop).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(LIST)).group(Group::List).since("1.0.0"),
    CommandSpec::new("llen", 2, flags!(READONLY | FAST), llen).keys(&[KeySpec::index(1).flags(key!(RO))]).acl(acl!(LIST)).group(Group::List).since("1.0.0"),
    CommandSpec::new("lindex", 3, flags!(READONLY), lindex).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(LIST)).group(Group::List).since("1.0.0"),
    CommandSpec::new("lset", 4, flags!(WRITE | DENYOOM), lset).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(LIST)).group(Group::List).since("1.0.0"),
    CommandSpec::new("lrange", 4, flags!(READONLY), lrange).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(LIST)).group(Group::List).since("1.0.0"),
    CommandSpec::new("ltrim", 4, flags!(WRITE), ltrim).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(LIST)).group(Group::List).since("1.0.0"),
    CommandSpec::new("lrem", 4, flags!(WRITE), lrem).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(LIST)).group(Group::List).since("1.0.0"),
    CommandSpec::new("linsert", 5, flags!(WRITE | DENYOOM), linsert).keys(&[KeySpec::index(1).flags(key!(RW | INSERT))]).acl(acl!(LIST)).group(Group::List).since("2.2.0"),
    CommandSpec::new("lpos", -3, flags!(READONLY), lpos).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(LIST)).group(Group::List).since("6.0.6"),
    CommandSpec::new("lmove", 5, flags!(WRITE | DENYOOM), lmove).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE)), KeySpec::index(2).flags(key!(RW | INSERT))]).acl(acl!(LIST)).group(Group::List).since("6.2.0"),
    CommandSpec::new("rpoplpush", 3, flags!(WRITE | DENYOOM), rpoplpush).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE)), KeySpec::index(2).flags(key!(RW | INSERT))]).acl(acl!(LIST)).group(Group::List).since("1.2.0"),
    CommandSpec::new("lmpop", -4, flags!(WRITE), lmpop).keys(&[KeySpec::index(1).keynum(0, 1, 1).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(LIST)).group(Group::List).since("7.0.0"),
];
