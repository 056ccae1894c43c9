//! Sorted sets: ranges by rank, score and member.

use crate::commands::common::{element, score, store_result};
use crate::commands::prelude::*;
use keyspace::types::list::index_range;
use keyspace::types::zset::{LexRange, ScoreRange, ZSetValue};
use protocol::number::parse_i64;
use protocol::{Reply, Resp};
use std::ops::Range;

const NOT_SCORES: ReplyError = ReplyError::fixed("ERR min or max is not a float");
const NOT_MEMBERS: ReplyError = ReplyError::fixed("ERR min or max not valid string range item");

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

#[derive(Clone, Copy)]
enum Bounds<'a> {
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Bounds<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Bounds<'a>, ReplyError> {
        let rank = |text| parse_i64(text).ok_or(ReplyError::NOT_INTEGER);
        Ok(match by {
            By::Rank => Bounds::Rank(rank(min)?, rank(max)?),
            By::Score => Bounds::Score(ScoreRange::parse(min, max).ok_or(NOT_SCORES)?),
            By::Lex => Bounds::Lex(LexRange::parse(min, max).ok_or(NOT_MEMBERS)?),
        })
    }

    /// The ranks, counted from the lowest element, that the bounds enclose.
    fn ranks(&self, zset: &ZSetValue, reverse: bool) -> Range<usize> {
        match self {
            Bounds::Rank(start, stop) => {
                let ranks = index_range(*start, *stop, zset.len());
                if reverse && !ranks.is_empty() {
                    return zset.len() - ranks.end..zset.len() - ranks.start;
                }
                ranks
            }
            Bounds::Score(range) => zset.ranks_by_score(range),
            Bounds::Lex(range) => zset.ranks_by_lex(range),
        }
    }
}

/// What a ZRANGE of any form asks for.
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    /// Negative: no limit.
    limit: i64,
}

impl<'a> Query<'a> {
    /// Parses `min max [options]`. `by` and `reverse` are `None` where options decide.
    fn parse(
        args: &mut Args<'a>,
        mut by: Option<By>,
        mut reverse: Option<bool>,
        stores: bool,
    ) -> Result<Query<'a>, ReplyError> {
        let (mut min, mut max) = (args.bytes()?, args.bytes()?);
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        while !args.is_empty() {
            if !stores && args.flag("WITHSCORES") {
                with_scores = true;
            } else if args.left() >= 3 && args.flag("LIMIT") {
                (offset, limit) = (args.i64()?, args.i64()?);
            } else if reverse.is_none() && args.flag("REV") {
                reverse = Some(true);
            } else if by.is_none() && args.flag("BYLEX") {
                by = Some(By::Lex);
            } else if by.is_none() && args.flag("BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(ReplyError::fixed(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(ReplyError::fixed(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        if reverse && by != By::Rank {
            std::mem::swap(&mut min, &mut max);
        }
        Ok(Query { bounds: Bounds::parse(by, min, max)?, reverse, with_scores, offset, limit })
    }

    fn ranks(&self, zset: &ZSetValue) -> Range<usize> {
        let ranks = self.bounds.ranks(zset, self.reverse);
        if matches!(self.bounds, Bounds::Rank(..)) {
            return ranks;
        }
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX).min(ranks.len());
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX).min(ranks.len() - offset);
        if self.reverse {
            let end = ranks.end - offset;
            end - limit..end
        } else {
            let start = ranks.start + offset;
            start..start + limit
        }
    }

    fn reply(&self, reply: &mut Reply<'_>, zset: &ZSetValue) {
        let ranks = self.ranks(zset);
        let nested = self.with_scores && reply.resp == Resp::V3;
        reply.array(if self.with_scores && !nested { 2 * ranks.len() } else { ranks.len() });
        let mut show = |(member, value)| {
            if nested {
                reply.array(2);
            }
            element(reply, member);
            if self.with_scores {
                score(reply, value);
            }
        };
        match self.reverse {
            false => zset.range(ranks).for_each(&mut show),
            true => zset.range(ranks).rev().for_each(&mut show),
        }
    }
}

fn reply_range(cx: &mut Cx<'_>, args: &mut Args<'_>, by: Option<By>, reverse: Option<bool>) -> Done {
    let key = args.key()?;
    let query = Query::parse(args, by, reverse, false)?;
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    match keys.typed::<ZSetValue>(key)? {
        Some(zset) => query.reply(reply, zset),
        None => reply.array(0),
    }
    Ok(())
}

pub fn zrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_range(cx, args, None, None)
}

pub fn zrevrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_range(cx, args, Some(By::Rank), Some(true))
}

pub fn zrangebyscore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_range(cx, args, Some(By::Score), Some(false))
}

pub fn zrevrangebyscore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_range(cx, args, Some(By::Score), Some(true))
}

pub fn zrangebylex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_range(cx, args, Some(By::Lex), Some(false))
}

pub fn zrevrangebylex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_range(cx, args, Some(By::Lex), Some(true))
}

pub fn zrangestore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (to, from) = (args.key()?, args.key()?);
    let query = Query::parse(args, None, None, true)?;
    let limits = &cx.settings.limits;
    let mut result = ZSetValue::new();
    if let Some(zset) = cx.keys.typed::<ZSetValue>(from)? {
        let ranks = query.ranks(zset);
        // Only by rank is the number known before the elements are copied, in stock, and the encoding with it.
        let hint = if matches!(query.bounds, Bounds::Rank(..)) { ranks.len() } else { 0 };
        result = ZSetValue::with_hints(hint, 0, limits);
        for (member, value) in zset.range(ranks) {
            result.insert(member.text(&mut itoa::Buffer::new()), value, limits);
        }
    }
    store_result(cx, to, result, "zrangestore");
    Ok(())
}

fn count(cx: &mut Cx<'_>, args: &mut Args<'_>, by: By) -> Done {
    let key = args.key()?;
    let bounds = Bounds::parse(by, args.bytes()?, args.bytes()?)?;
    let count = cx.keys.typed::<ZSetValue>(key)?.map_or(0, |zset| bounds.ranks(zset, false).len());
    cx.reply.integer(count as i64);
    Ok(())
}

pub fn zcount(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    count(cx, args, By::Score)
}

pub fn zlexcount(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    count(cx, args, By::Lex)
}

fn remove(cx: &mut Cx<'_>, args: &mut Args<'_>, by: By, event: &str) -> Done {
    let key = args.key()?;
    let bounds = Bounds::parse(by, args.bytes()?, args.bytes()?)?;
    let removed = match cx.keys.typed_mut::<ZSetValue>(key)? {
        Some(zset) => {
            let ranks = bounds.ranks(zset, false);
            zset.remove_ranks(ranks.clone());
            ranks.len()
        }
        None => 0,
    };
    if removed > 0 {
        cx.keys.changed_by(removed, key, Classes::ZSET, event);
        cx.keys.remove_if_empty(key);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

pub fn zremrangebyrank(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    remove(cx, args, By::Rank, "zremrangebyrank")
}

pub fn zremrangebyscore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    remove(cx, args, By::Score, "zremrangebyscore")
}

pub fn zremrangebylex(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    remove(cx, args, By::Lex, "zremrangebylex")
}
