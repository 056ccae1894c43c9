//! Sorted sets: elements from the ends, at random, and by cursor.

use crate::blocking::{self, For};
use crate::commands::common::{
    Draw, ScanOptions, Scanned, count_to_pop, deadline_ms, draw_rounds, element, keys_to_pop, positive,
    reply_empty_scan, reply_scan, scan_cursor, score,
};
use crate::commands::prelude::*;
use keyspace::types::number::append_double;
use keyspace::types::zset::{ZSetEncoding, ZSetValue};
use protocol::{Reply, Resp};

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        if self == End::Min { "zpopmin" } else { "zpopmax" }
    }

    fn command(self) -> &'static [u8] {
        if self == End::Min { b"ZPOPMIN" } else { b"ZPOPMAX" }
    }
}

/// Replies with `count` elements from one end, each as an array of its own when `nested`, and removes them.
fn pop_many(zset: &mut ZSetValue, end: End, count: usize, nested: bool, reply: &mut Reply<'_>) {
    let len = zset.len();
    let mut show = |(member, value)| {
        if nested {
            reply.array(2);
        }
        element(reply, member);
        score(reply, value);
    };
    let ranks = match end {
        End::Min => 0..count,
        End::Max => len - count..len,
    };
    match end {
        End::Min => zset.range(ranks.clone()).for_each(&mut show),
        End::Max => zset.range(ranks.clone()).rev().for_each(&mut show),
    }
    zset.remove_ranks(ranks);
}

fn pop(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End) -> Done {
    let key = args.key()?;
    if args.left() > 1 {
        return Err(ReplyError::SYNTAX);
    }
    let count = if args.is_empty() { None } else { Some(positive(args)?) };
    let nested = count.is_some() && cx.reply.resp == Resp::V3;
    let Some(zset) = cx.keys.typed_mut::<ZSetValue>(key)?.filter(|_| count != Some(0)) else {
        cx.reply.array(0);
        return Ok(());
    };
    let popped = count.unwrap_or(1).min(zset.len());
    cx.reply.array(if nested { popped } else { 2 * popped });
    pop_many(zset, end, popped, nested, &mut cx.reply);
    cx.keys.changed_by(popped, key, Classes::ZSET, end.event());
    cx.keys.remove_if_empty(key);
    Ok(())
}

pub fn zpopmin(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    pop(cx, args, End::Min)
}

pub fn zpopmax(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    pop(cx, args, End::Max)
}

fn end_to_pop(args: &mut Args<'_>) -> Result<End, ReplyError> {
    match () {
        () if args.flag("MIN") => Ok(End::Min),
        () if args.flag("MAX") => Ok(End::Max),
        () => Err(ReplyError::SYNTAX),
    }
}

pub fn zmpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let keys = keys_to_pop(args)?;
    let end = end_to_pop(args)?;
    let count = count_to_pop(args)?;
    for key in keys {
        let Some(zset) = cx.keys.typed_mut::<ZSetValue>(key)? else { continue };
        let popped = count.min(zset.len());
        cx.reply.array(2);
        cx.reply.bulk(key);
        cx.reply.array(popped);
        pop_many(zset, end, popped, true, &mut cx.reply);
        cx.keys.changed_by(popped, key, Classes::ZSET, end.event());
        cx.keys.remove_if_empty(key);
        cx.keys.effects.rewrite(cx.keys.db, &[end.command(), key, popped.to_string().as_bytes()]);
        return Ok(());
    }
    cx.reply.null_array();
    Ok(())
}

/// Pops from the first key with elements that are not for others who wait already, or waits for one. `count` is
/// BZMPOP's, whose reply has an array for each element.
fn pop_or_wait(
    cx: &mut Cx<'_>,
    keys: &[&[u8]],
    end: End,
    count: Option<usize>,
    deadline_ms: Option<i64>,
) -> Done {
    for &key in keys {
        if cx.keys.typed_mut::<ZSetValue>(key)?.is_none() || blocking::must_queue(cx, For::SortedSet, key) {
            continue;
        }
        let Some(zset) = cx.keys.typed_mut::<ZSetValue>(key)? else { continue };
        let popped = count.unwrap_or(1).min(zset.len());
        cx.reply.array(if count.is_some() { 2 } else { 3 });
        cx.reply.bulk(key);
        if count.is_some() {
            cx.reply.array(popped);
        }
        pop_many(zset, end, popped, count.is_some(), &mut cx.reply);
        cx.keys.changed_by(popped, key, Classes::ZSET, end.event());
        cx.keys.remove_if_empty(key);
        let text = popped.to_string();
        let words = [end.command(), key, text.as_bytes()];
        cx.keys.effects.rewrite(cx.keys.db, if count.is_some() { &words } else { &words[..2] });
        return Ok(());
    }
    if cx.may_wait() {
        let argv = cx.argv.into();
        blocking::wait(cx, For::SortedSet, keys, deadline_ms, argv);
    } else {
        cx.reply.null_array();
    }
    Ok(())
}

fn bzpop(cx: &mut Cx<'_>, args: &mut Args<'_>, end: End) -> Done {
    let mut keys: Vec<&[u8]> = args.rest().collect();
    let timeout = keys.pop().ok_or(ReplyError::SYNTAX)?;
    let deadline_ms = deadline_ms(timeout, cx.now_ms)?;
    pop_or_wait(cx, &keys, end, None, deadline_ms)
}

pub fn bzpopmin(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    bzpop(cx, args, End::Min)
}

pub fn bzpopmax(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    bzpop(cx, args, End::Max)
}

pub fn bzmpop(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let timeout = args.bytes()?;
    let keys = keys_to_pop(args)?;
    let end = end_to_pop(args)?;
    let count = count_to_pop(args)?;
    let deadline_ms = deadline_ms(timeout, cx.now_ms)?;
    pop_or_wait(cx, &keys, end, Some(count), deadline_ms)
}

pub fn zrandmember(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let draw = Draw::parse(args, "WITHSCORES")?;
    let (mut rng, bytes_max) = (cx.keys.rng.fork(), cx.reply_bytes_max());
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let zset = keys.typed::<ZSetValue>(key)?;
    let Some(draw) = draw else {
        match zset.and_then(|zset| zset.random(&mut rng)) {
            Some((member, _)) => element(reply, member),
            None => reply.null(),
        }
        return Ok(());
    };
    let Some(zset) = zset else {
        draw.head(reply, 0);
        return Ok(());
    };
    let show = |reply: &mut Reply<'_>, (member, value)| {
        draw.pair(reply);
        element(reply, member);
        if draw.pairs {
            score(reply, value);
        }
    };
    let Ok(distinct) = usize::try_from(draw.count) else {
        let repeats = draw.count.unsigned_abs() as usize;
        draw.head(reply, repeats);
        for round in draw_rounds(repeats) {
            zset.random_with_repeats(round, &mut rng).into_iter().for_each(|pair| show(reply, pair));
            if reply.out.len() > bytes_max {
                break;
            }
        }
        return Ok(());
    };
    let drawn = zset.random_distinct(distinct, &mut rng);
    draw.head(reply, drawn.len());
    drawn.into_iter().for_each(|pair| show(reply, pair));
    Ok(())
}

pub fn zscan(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, cursor) = (args.key()?, scan_cursor(args)?);
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let Some(zset) = keys.typed::<ZSetValue>(key)? else {
        reply_empty_scan(reply);
        return Ok(());
    };
    let options = ScanOptions::parse(args, Scanned::Elements)?;
    // ZSCAN, alone of all, shows the scores of large sets with 17 digits.
    let is_large = matches!(zset.encoding(), ZSetEncoding::Tree);
    let mut text = Vec::new();
    reply_scan(reply, &options, cursor, |cursor, show| {
        zset.scan(cursor, |member, value| {
            text.clear();
            if is_large {
                append_17_digits(&mut text, value);
            } else {
                append_double(&mut text, value);
            }
            show(member.text(&mut itoa::Buffer::new()), Some(&text));
        })
    });
    Ok(())
}

/// The text C's `%.17g` gives.
fn append_17_digits(out: &mut Vec<u8>, value: f64) {
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
        return;
    }
    let scientific = format!("{value:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("that is the format");
    let exponent: i32 = exponent.parse().expect("a small number");
    let text = if (-4..17).contains(&exponent) {
        let decimals = (16 - exponent) as usize;
        trimmed(&format!("{value:.decimals$}")).to_owned()
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
    };
    out.extend_from_slice(text.as_bytes());
}

/// Without zeros at the end of a fraction.
fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seventeen_digits_are_as_c_prints_them() {
        for (value, text) in [
            (3.1, "3.1000000000000001"),
            (0.0, "0"),
            (-0.0, "-0"),
            (100.0, "100"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            let mut out = Vec::new();
            append_17_digits(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
