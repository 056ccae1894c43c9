//! Hashes.

use super::common::{
    Draw, ScanOptions, Scanned, draw_rounds, element, reply_empty_scan, reply_scan, scan_cursor,
};
use super::prelude::*;
use keyspace::listpack::Element;
use keyspace::types::hash::HashValue;
use keyspace::types::number::LongDouble;
use protocol::Reply;

fn set_fields(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<usize, ReplyError> {
    let key = args.key()?;
    let pairs = args.pairs().ok_or_else(|| ReplyError::arity(cx.name()))?;
    let limits = &cx.settings.limits;
    let hash = cx.keys.get_or_create::<HashValue>(key)?;
    let mut only = pairs.clone();
    let added = match (only.len(), only.next()) {
        (1, Some((field, value))) => usize::from(hash.set(field, value, limits)),
        _ => hash.set_all(&pairs.clone().collect::<Vec<_>>(), limits),
    };
    cx.keys.changed_by(pairs.len(), key, Classes::HASH, "hset");
    Ok(added)
}

fn hset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let added = set_fields(cx, args)?;
    cx.reply.integer(added as i64);
    Ok(())
}

fn hmset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    set_fields(cx, args)?;
    cx.reply.ok();
    Ok(())
}

fn hsetnx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, field, value) = (args.key()?, args.bytes()?, args.bytes()?);
    let hash = cx.keys.get_or_create::<HashValue>(key)?;
    if hash.contains(field) {
        cx.reply.integer(0);
        return Ok(());
    }
    hash.set(field, value, &cx.settings.limits);
    cx.keys.changed(key, Classes::HASH, "hset");
    cx.reply.integer(1);
    Ok(())
}

/// Replies with one field, or null.
fn reply_field(reply: &mut protocol::Reply<'_>, hash: Option<&HashValue>, field: &[u8]) {
    match hash.and_then(|hash| hash.get(field)) {
        Some(value) => element(reply, value),
        None => reply.null(),
    }
}

fn hget(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, field) = (args.key()?, args.bytes()?);
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    reply_field(reply, keys.typed::<HashValue>(key)?, field);
    Ok(())
}

fn hmget(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let hash = keys.typed::<HashValue>(key)?;
    reply.array(args.left());
    args.rest().for_each(|field| reply_field(reply, hash, field));
    Ok(())
}

fn hgetall(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let hash = keys.typed::<HashValue>(args.key()?)?;
    reply.map(hash.map_or(0, HashValue::len));
    for (field, value) in hash.into_iter().flat_map(HashValue::iter) {
        element(reply, field);
        element(reply, value);
    }
    Ok(())
}

fn reply_each<'k>(
    cx: &'k mut Cx<'_>,
    args: &mut Args<'_>,
    part: impl Fn((Element<'k>, Element<'k>)) -> Element<'k>,
) -> Done {
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let hash = keys.typed::<HashValue>(args.key()?)?;
    reply.array(hash.map_or(0, HashValue::len));
    hash.into_iter().flat_map(HashValue::iter).for_each(|pair| element(reply, part(pair)));
    Ok(())
}

fn hkeys(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_each(cx, args, |(field, _)| field)
}

fn hvals(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_each(cx, args, |(_, value)| value)
}

fn hlen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let len = cx.keys.typed::<HashValue>(args.key()?)?.map_or(0, HashValue::len);
    cx.reply.integer(len as i64);
    Ok(())
}

fn hexists(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, field) = (args.key()?, args.bytes()?);
    let found = cx.keys.typed::<HashValue>(key)?.is_some_and(|hash| hash.contains(field));
    cx.reply.integer(i64::from(found));
    Ok(())
}

fn hstrlen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, field) = (args.key()?, args.bytes()?);
    let value = cx.keys.typed::<HashValue>(key)?.and_then(|hash| hash.get(field));
    let len = value.map_or(0, |value| value.text_len());
    cx.reply.integer(len as i64);
    Ok(())
}

fn hdel(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let removed = match cx.keys.typed_mut::<HashValue>(key)? {
        Some(hash) => args.rest().filter(|field| hash.remove(field)).count(),
        None => 0,
    };
    if removed > 0 {
        cx.keys.changed_by(removed, key, Classes::HASH, "hdel");
        cx.keys.remove_if_empty(key);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

fn hincrby(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, field, delta) = (args.key()?, args.bytes()?, args.i64()?);
    let present = cx.keys.typed_mut::<HashValue>(key)?.and_then(|hash| hash.get(field).map(|v| v.as_i64()));
    let old = match present {
        None => 0,
        Some(None) => return Err(ReplyError::fixed("ERR hash value is not an integer")),
        Some(Some(old)) => old,
    };
    let new = old.checked_add(delta).ok_or(ReplyError::INCR_OVERFLOW)?;
    let text = itoa::Buffer::new().format(new).to_owned();
    cx.keys.get_or_create::<HashValue>(key)?.update(field, text.as_bytes(), &cx.settings.limits);
    cx.keys.changed(key, Classes::HASH, "hincrby");
    cx.reply.integer(new);
    Ok(())
}

fn hincrbyfloat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, field) = (args.key()?, args.bytes()?);
    let delta = LongDouble::parse(args.bytes()?).ok_or(ReplyError::NOT_FLOAT)?;
    if !delta.is_finite() {
        return Err(ReplyError::fixed("ERR value is NaN or Infinity"));
    }
    let present = cx.keys.typed_mut::<HashValue>(key)?.and_then(|hash| hash.get(field));
    let old = match present {
        None => LongDouble::ZERO,
        Some(value) => {
            LongDouble::parse(&value.to_text()).ok_or(ReplyError::fixed("ERR hash value is not a float"))?
        }
    };
    let new = old.checked_add(delta).filter(LongDouble::is_finite).ok_or(ReplyError::INCR_NAN)?;
    let text = new.text();
    cx.keys.get_or_create::<HashValue>(key)?.update(field, &text, &cx.settings.limits);
    cx.keys.changed(key, Classes::HASH, "hincrbyfloat");
    cx.keys.effects.rewrite(cx.keys.db, &[b"HSET", key, field, &text]);
    // HSET takes the time away that the field keeps here.
    let expires_at = cx.keys.held_typed::<HashValue>(key).and_then(|hash| hash.expires_at(field));
    if let Some(at_ms) = expires_at {
        super::hash_expire::log_times(cx, key, at_ms, &[field]);
    }
    cx.reply.bulk(&text);
    Ok(())
}

fn hscan(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, cursor) = (args.key()?, scan_cursor(args)?);
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let Some(hash) = keys.typed::<HashValue>(key)? else {
        reply_empty_scan(reply);
        return Ok(());
    };
    let options = ScanOptions::parse(args, Scanned::Fields)?;
    reply_scan(reply, &options, cursor, |cursor, show| {
        hash.scan(cursor, |field, value| {
            let (mut name, mut text) = (itoa::Buffer::new(), itoa::Buffer::new());
            let value = (!options.no_values).then(|| value.text(&mut text));
            show(field.text(&mut name), value);
        })
    });
    Ok(())
}

fn hrandfield(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let draw = Draw::parse(args, "WITHVALUES")?;
    let (mut rng, bytes_max) = (cx.keys.rng.fork(), cx.reply_bytes_max());
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let hash = keys.typed::<HashValue>(key)?;
    let Some(draw) = draw else {
        match hash.and_then(|hash| hash.random(&mut rng)) {
            Some((field, _)) => element(reply, field),
            None => reply.null(),
        }
        return Ok(());
    };
    let Some(hash) = hash else {
        reply.array(0);
        return Ok(());
    };
    let show = |reply: &mut Reply<'_>, (field, value)| {
        draw.pair(reply);
        element(reply, field);
        if draw.pairs {
            element(reply, value);
        }
    };
    let Ok(distinct) = usize::try_from(draw.count) else {
        let repeats = draw.count.unsigned_abs() as usize;
        draw.head(reply, repeats);
        for round in draw_rounds(repeats) {
            hash.random_with_repeats(round, &mut rng).into_iter().for_each(|pair| show(reply, pair));
            if reply.out.len() > bytes_max {
                break;
            }
        }
        return Ok(());
    };
    let drawn = hash.random_distinct(distinct, &mut rng);
    draw.head(reply, drawn.len());
    drawn.into_iter().for_each(|pair| show(reply, pair));
    Ok(())
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("hset", -4, flags!(WRITE | DENYOOM | FAST), hset).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hsetnx", 4, flags!(WRITE | DENYOOM | FAST), hsetnx).keys(&[KeySpec::index(1).flags(key!(RW | INSERT))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hmset", -4, flags!(WRITE | DENYOOM | FAST), hmset).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hget", 3, flags!(READONLY | FAST), hget).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hmget", -3, flags!(READONLY | FAST), hmget).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hgetall", 2, flags!(READONLY), hgetall).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hkeys", 2, flags!(READONLY), hkeys).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hvals", 2, flags!(READONLY), hvals).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hlen", 2, flags!(READONLY | FAST), hlen).keys(&[KeySpec::index(1).flags(key!(RO))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hdel", -3, flags!(WRITE | FAST), hdel).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hexists", 3, flags!(READONLY | FAST), hexists).keys(&[KeySpec::index(1).flags(key!(RO))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hincrby", 4, flags!(WRITE | DENYOOM | FAST), hincrby).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(HASH)).group(Group::Hash).since("2.0.0"),
    CommandSpec::new("hincrbyfloat", 4, flags!(WRITE | DENYOOM | FAST), hincrbyfloat).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(HASH)).group(Group::Hash).since("2.6.0"),
    CommandSpec::new("hstrlen", 3, flags!(READONLY | FAST), hstrlen).keys(&[KeySpec::index(1).flags(key!(RO))]).acl(acl!(HASH)).group(Group::Hash).since("3.2.0"),
    CommandSpec::new("hscan", -3, flags!(READONLY), hscan).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("2.8.0"),
    CommandSpec::new("hrandfield", -2, flags!(READONLY), hrandfield).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(HASH)).group(Group::Hash).since("6.2.0"),
];
