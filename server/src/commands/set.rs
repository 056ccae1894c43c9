//! Sets: members.

use super::common::{
    ScanOptions, Scanned, delete, draw_rounds, draws, element, positive, reply_empty_scan, reply_scan,
    scan_cursor,
};
use super::prelude::*;
use super::set_algebra::{sdiff, sdiffstore, sinter, sintercard, sinterstore, sunion, sunionstore};
use keyspace::types::set::SetValue;

/// Members of one SREM in the log, in place of the SPOP that drew them.
const LOGGED_AT_ONCE: usize = 1024;

fn sadd(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let limits = &cx.settings.limits;
    let set = cx.keys.get_or_create::<SetValue>(key)?;
    let mut members = args.rest();
    let added = match members.len() {
        1 => usize::from(members.next().is_some_and(|member| set.insert(member, limits))),
        _ => set.insert_all(&members.collect::<Vec<_>>(), limits),
    };
    if added > 0 {
        cx.keys.changed_by(added, key, Classes::SET, "sadd");
    }
    cx.reply.integer(added as i64);
    Ok(())
}

fn srem(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let removed = match cx.keys.typed_mut::<SetValue>(key)? {
        Some(set) => args.rest().filter(|member| set.remove(member)).count(),
        None => 0,
    };
    if removed > 0 {
        cx.keys.changed_by(removed, key, Classes::SET, "srem");
        cx.keys.remove_if_empty(key);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

fn smove(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (from, to, member) = (args.key()?, args.key()?, args.bytes()?);
    let Some(present) = cx.keys.typed_mut::<SetValue>(from)?.map(|set| set.contains(member)) else {
        cx.reply.integer(0);
        return Ok(());
    };
    cx.keys.typed_mut::<SetValue>(to)?;
    if from == to || !present {
        cx.reply.integer(i64::from(present));
        return Ok(());
    }
    if let Some(set) = cx.keys.typed_mut::<SetValue>(from)? {
        set.remove(member);
    }
    cx.keys.changed(from, Classes::SET, "srem");
    cx.keys.remove_if_empty(from);
    if cx.keys.get_or_create::<SetValue>(to)?.insert(member, &cx.settings.limits) {
        cx.keys.changed(to, Classes::SET, "sadd");
    }
    cx.reply.integer(1);
    Ok(())
}

fn sismember(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, member) = (args.key()?, args.bytes()?);
    let found = cx.keys.typed::<SetValue>(key)?.is_some_and(|set| set.contains(member));
    cx.reply.integer(i64::from(found));
    Ok(())
}

fn smismember(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let set = keys.typed::<SetValue>(key)?;
    reply.array(args.left());
    for member in args.rest() {
        reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

fn scard(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let len = cx.keys.typed::<SetValue>(args.key()?)?.map_or(0, SetValue::len);
    cx.reply.integer(len as i64);
    Ok(())
}

fn smembers(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let set = keys.typed::<SetValue>(args.key()?)?;
    reply.set(set.map_or(0, SetValue::len));
    set.into_iter().flat_map(SetValue::iter).for_each(|member| element(reply, member));
    Ok(())
}

fn sscan(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, cursor) = (args.key()?, scan_cursor(args)?);
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let Some(set) = keys.typed::<SetValue>(key)? else {
        reply_empty_scan(reply);
        return Ok(());
    };
    let options = ScanOptions::parse(args, Scanned::Elements)?;
    reply_scan(reply, &options, cursor, |cursor, show| {
        set.scan(cursor, |member| show(member.text(&mut itoa::Buffer::new()), None))
    });
    Ok(())
}

fn spop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    if args.left() > 1 {
        return Err(ReplyError::SYNTAX);
    }
    if !args.is_empty() {
        let count = positive(args)?;
        return spop_many(cx, key, count);
    }
    let mut rng = cx.keys.rng.fork();
    let Some(popped) = cx.keys.typed_mut::<SetValue>(key)?.and_then(|set| set.pop(&mut rng)) else {
        cx.reply.null();
        return Ok(());
    };
    cx.keys.changed(key, Classes::SET, "spop");
    cx.keys.remove_if_empty(key);
    cx.keys.effects.rewrite(cx.keys.db, &[b"SREM", key, &popped]);
    cx.reply.bulk(&popped);
    Ok(())
}

fn spop_many(cx: &mut Cx<'_>, key: &[u8], count: usize) -> Done {
    let mut rng = cx.keys.rng.fork();
    let db = cx.keys.db;
    let Some(set) = cx.keys.typed_mut::<SetValue>(key)?.filter(|_| count > 0) else {
        cx.reply.set(0);
        return Ok(());
    };
    if count >= set.len() {
        cx.reply.set(set.len());
        let len = set.len();
        set.iter().for_each(|member| element(&mut cx.reply, member));
        cx.keys.effects.dirty += len as u64 - 1;
        cx.keys.event(Classes::SET, "spop", key);
        delete(cx, key);
        let word = crate::lazyfree::deletion(cx.settings.lazyfree_server_del);
        cx.keys.effects.rewrite(db, &[word, key]);
        return Ok(());
    }
    let popped = set.pop_many(count, &mut rng, &cx.settings.limits);
    cx.keys.changed_by(popped.len(), key, Classes::SET, "spop");
    for part in popped.chunks(LOGGED_AT_ONCE) {
        let mut words: Vec<&[u8]> = vec![b"SREM", key];
        words.extend(part.iter().map(Vec::as_slice));
        cx.keys.effects.rewrite(db, &words);
    }
    cx.reply.set(popped.len());
    popped.iter().for_each(|member| cx.reply.bulk(member));
    Ok(())
}

fn srandmember(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    if args.left() > 1 {
        return Err(ReplyError::SYNTAX);
    }
    let count = if args.is_empty() { None } else { Some(draws(args)?) };
    let (mut rng, bytes_max) = (cx.keys.rng.fork(), cx.reply_bytes_max());
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let set = keys.typed::<SetValue>(key)?;
    let Some(count) = count else {
        match set.and_then(|set| set.random(&mut rng)) {
            Some(member) => element(reply, member),
            None => reply.null(),
        }
        return Ok(());
    };
    let Some(set) = set else {
        reply.array(0);
        return Ok(());
    };
    let Ok(distinct) = usize::try_from(count) else {
        let repeats = count.unsigned_abs() as usize;
        reply.array(repeats);
        for round in draw_rounds(repeats) {
            set.random_with_repeats(round, &mut rng).into_iter().for_each(|member| element(reply, member));
            if reply.out.len() > bytes_max {
                break;
            }
        }
        return Ok(());
    };
    let drawn = set.random_distinct(distinct, &mut rng);
    reply.array(drawn.len());
    drawn.into_iter().for_each(|member| element(reply, member));
    Ok(())
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("sadd", -3, flags!(WRITE | DENYOOM | FAST), sadd).keys(&[KeySpec::index(1).flags(key!(RW | INSERT))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("srem", -3, flags!(WRITE | FAST), srem).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("sismember", 3, flags!(READONLY | FAST), sismember).keys(&[KeySpec::index(1).flags(key!(RO))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("smismember", -3, flags!(READONLY | FAST), smismember).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("6.2.0"),
    CommandSpec::new("scard", 2, flags!(READONLY | FAST), scard).keys(&[KeySpec::index(1).flags(key!(RO))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("smembers", 2, flags!(READONLY), smembers).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("spop", -2, flags!(WRITE | FAST), spop).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("srandmember", -2, flags!(READONLY), srandmember).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("smove", 4, flags!(WRITE | FAST), smove).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE)), KeySpec::index(2).flags(key!(RW | INSERT))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("sinter", -2, flags!(READONLY), sinter).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("sunion", -2, flags!(READONLY), sunion).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("sdiff", -2, flags!(READONLY), sdiff).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("sinterstore", -3, flags!(WRITE | DENYOOM), sinterstore).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE)), KeySpec::index(2).range(-1, 1, 0).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("sunionstore", -3, flags!(WRITE | DENYOOM), sunionstore).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE)), KeySpec::index(2).range(-1, 1, 0).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("sdiffstore", -3, flags!(WRITE | DENYOOM), sdiffstore).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE)), KeySpec::index(2).range(-1, 1, 0).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("1.0.0"),
    CommandSpec::new("sintercard", -3, flags!(READONLY), sintercard).keys(&[KeySpec::index(1).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("7.0.0"),
    CommandSpec::new("sscan", -3, flags!(READONLY), sscan).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SET)).group(Group::Set).since("2.8.0"),
];
