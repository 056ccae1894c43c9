//! Sorted sets.

mod algebra;
mod pop;
mod range;

use super::common::score as reply_score;
use super::prelude::*;
use keyspace::types::number::parse_double;
use keyspace::types::zset::{AddOptions, Added, ZSetValue};

/// Options of ZADD: conditions, and what the reply tells.
#[derive(Default)]
pub struct AddCommand {
    pub options: AddOptions,
    /// Reply with the number of changed members, not of new ones.
    pub changed: bool,
}

impl AddCommand {
    fn parse(args: &mut Args<'_>) -> AddCommand {
        let mut command = AddCommand::default();
        let o = &mut command.options;
        loop {
            match () {
                () if args.flag("NX") => o.nx = true,
                () if args.flag("XX") => o.xx = true,
                () if args.flag("CH") => command.changed = true,
                () if args.flag("INCR") => o.incr = true,
                () if args.flag("GT") => o.gt = true,
                () if args.flag("LT") => o.lt = true,
                () => return command,
            }
        }
    }

    fn check(&self, elements: usize) -> Done {
        let o = self.options;
        let error = match () {
            () if o.nx && o.xx => "ERR XX and NX options at the same time are not compatible",
            () if [o.gt, o.lt, o.nx].iter().filter(|&&set| set).count() > 1 => {
                "ERR GT, LT, and/or NX options at the same time are not compatible"
            }
            () if o.incr && elements > 1 => "ERR INCR option supports a single increment-element pair",
            () => return Ok(()),
        };
        Err(ReplyError::fixed(error))
    }
}

fn zadd(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let command = AddCommand::parse(args);
    let pairs = args.pairs().filter(|pairs| pairs.len() > 0).ok_or(ReplyError::SYNTAX)?;
    command.check(pairs.len())?;
    add(cx, key, &command, scored(pairs)?)
}

fn zincrby(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let pairs = args.pairs().ok_or(ReplyError::SYNTAX)?;
    let options = AddOptions { incr: true, ..AddOptions::default() };
    add(cx, key, &AddCommand { options, changed: false }, scored(pairs)?)
}

/// Scores and members: all scores are read before the first member is touched.
fn scored<'a>(
    pairs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<Vec<(f64, &'a [u8])>, ReplyError> {
    pairs.map(|(text, member)| Ok((parse_double(text).ok_or(ReplyError::NOT_FLOAT)?, member))).collect()
}

/// ZADD, once its arguments are understood.
pub fn add(cx: &mut Cx<'_>, key: &[u8], command: &AddCommand, elements: Vec<(f64, &[u8])>) -> Done {
    let (options, limits) = (command.options, &cx.settings.limits);
    if options.xx && cx.keys.typed_mut::<ZSetValue>(key)?.is_none() {
        match options.incr {
            true => cx.reply.null(),
            false => cx.reply.integer(0),
        }
        return Ok(());
    }
    let zset = cx.keys.get_or_create::<ZSetValue>(key)?;
    zset.expect(elements.len(), limits);
    let (mut added, mut updated, mut last) = (0, 0, Added::Skipped);
    let mut outcome = Ok(());
    for (score, member) in elements {
        match zset.add(member, score, options, limits) {
            Ok(done) => {
                added += usize::from(matches!(done, Added::New(_)));
                updated += usize::from(matches!(done, Added::Updated(_)));
                last = done;
            }
            Err(_) => {
                outcome = Err(ReplyError::SCORE_NAN);
                break;
            }
        }
    }
    if added + updated > 0 {
        let event = if options.incr { "zincr" } else { "zadd" };
        cx.keys.changed_by(added + updated, key, Classes::ZSET, event);
    }
    outcome?;
    match (options.incr, last) {
        (true, Added::Skipped) => cx.reply.null(),
        (true, Added::New(score) | Added::Updated(score) | Added::Unchanged(score)) => {
            reply_score(&mut cx.reply, score);
        }
        (false, _) => {
            let count = if command.changed { added + updated } else { added };
            cx.reply.integer(count as i64);
        }
    }
    Ok(())
}

fn zrem(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let removed = match cx.keys.typed_mut::<ZSetValue>(key)? {
        Some(zset) => args.rest().filter(|member| zset.remove(member).is_some()).count(),
        None => 0,
    };
    if removed > 0 {
        cx.keys.changed_by(removed, key, Classes::ZSET, "zrem");
        cx.keys.remove_if_empty(key);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

fn score_or_null(reply: &mut protocol::Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply_score(reply, score),
        None => reply.null(),
    }
}

fn zscore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, member) = (args.key()?, args.bytes()?);
    let score = cx.keys.typed::<ZSetValue>(key)?.and_then(|zset| zset.score(member));
    score_or_null(&mut cx.reply, score);
    Ok(())
}

fn zmscore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let zset = keys.typed::<ZSetValue>(key)?;
    reply.array(args.left());
    args.rest().for_each(|member| score_or_null(reply, zset.and_then(|zset| zset.score(member))));
    Ok(())
}

fn zcard(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let len = cx.keys.typed::<ZSetValue>(args.key()?)?.map_or(0, ZSetValue::len);
    cx.reply.integer(len as i64);
    Ok(())
}

fn rank(cx: &mut Cx<'_>, args: &mut Args<'_>, reverse: bool) -> Done {
    let (key, member) = (args.key()?, args.bytes()?);
    if args.left() > 1 {
        return Err(ReplyError::arity(cx.name()));
    }
    let with_score = args.flag("WITHSCORE");
    args.finish()?;
    let zset = cx.keys.typed::<ZSetValue>(key)?;
    let found = zset.and_then(|zset| {
        let (rank, score) = zset.rank(member)?;
        Some((if reverse { zset.len() - 1 - rank } else { rank }, score))
    });
    match (found, with_score) {
        (None, false) => cx.reply.null(),
        (None, true) => cx.reply.null_array(),
        (Some((rank, _)), false) => cx.reply.integer(rank as i64),
        (Some((rank, score)), true) => {
            cx.reply.array(2);
            cx.reply.integer(rank as i64);
            reply_score(&mut cx.reply, score);
        }
    }
    Ok(())
}

fn zrank(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    rank(cx, args, false)
}

fn zrevrank(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    rank(cx, args, true)
}

use algebra::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
use pop::{bzmpop, bzpopmax, bzpopmin, zmpop, zpopmax, zpopmin, zrandmember, zscan};
use range::{
    zcount, zlexcount, zrange, zrangebylex, zrangebyscore, zrangestore, zremrangebylex, zremrangebyrank,
    zremrangebyscore, zrevrange, zrevrangebylex, zrevrangebyscore,
};

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("zadd", -4, flags!(WRITE | DENYOOM | FAST), zadd).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("1.2.0"),
    CommandSpec::new("zincrby", 4, flags!(WRITE | DENYOOM | FAST), zincrby).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("1.2.0"),
    CommandSpec::new("zrem", -3, flags!(WRITE | FAST), zrem).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("1.2.0"),
    CommandSpec::new("zscore", 3, flags!(READONLY | FAST), zscore).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("1.2.0"),
    CommandSpec::new("zmscore", -3, flags!(READONLY | FAST), zmscore).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("6.2.0"),
    CommandSpec::new("zcard", 2, flags!(READONLY | FAST), zcard).keys(&[KeySpec::index(1).flags(key!(RO))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("1.2.0"),
    CommandSpec::new("zcount", 4, flags!(READONLY | FAST), zcount).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.0.0"),
    CommandSpec::new("zlexcount", 4, flags!(READONLY | FAST), zlexcount).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.8.9"),
    CommandSpec::new("zrank", -3, flags!(READONLY | FAST), zrank).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.0.0"),
    CommandSpec::new("zrevrank", -3, flags!(READONLY | FAST), zrevrank).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.0.0"),
    CommandSpec::new("zrange", -4, flags!(READONLY), zrange).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("1.2.0"),
    CommandSpec::new("zrevrange", -4, flags!(READONLY), zrevrange).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("1.2.0"),
    CommandSpec::new("zrangebyscore", -4, flags!(READONLY), zrangebyscore).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("1.0.5"),
    CommandSpec::new("zrevrangebyscore", -4, flags!(READONLY), zrevrangebyscore).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.2.0"),
    CommandSpec::new("zrangebylex", -4, flags!(READONLY), zrangebylex).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.8.9"),
    CommandSpec::new("zrevrangebylex", -4, flags!(READONLY), zrevrangebylex).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.8.9"),
    CommandSpec::new("zrangestore", -5, flags!(WRITE | DENYOOM), zrangestore).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE)), KeySpec::index(2).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("6.2.0"),
    CommandSpec::new("zremrangebyrank", 4, flags!(WRITE), zremrangebyrank).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.0.0"),
    CommandSpec::new("zremrangebyscore", 4, flags!(WRITE), zremrangebyscore).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("1.2.0"),
    CommandSpec::new("zremrangebylex", 4, flags!(WRITE), zremrangebylex).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.8.9"),
    CommandSpec::new("zpopmin", -2, flags!(WRITE | FAST), zpopmin).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("5.0.0"),
    CommandSpec::new("zpopmax", -2, flags!(WRITE | FAST), zpopmax).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("5.0.0"),
    CommandSpec::new("zmpop", -4, flags!(WRITE), zmpop).keys(&[KeySpec::index(1).keynum(0, 1, 1).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("7.0.0"),
    CommandSpec::new("zunion", -3, flags!(READONLY), zunion).keys(&[KeySpec::index(1).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("6.2.0"),
    CommandSpec::new("zinter", -3, flags!(READONLY), zinter).keys(&[KeySpec::index(1).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("6.2.0"),
    CommandSpec::new("zdiff", -3, flags!(READONLY), zdiff).keys(&[KeySpec::index(1).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("6.2.0"),
    CommandSpec::new("zunionstore", -4, flags!(WRITE | DENYOOM), zunionstore).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE)), KeySpec::index(2).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.0.0"),
    CommandSpec::new("zinterstore", -4, flags!(WRITE | DENYOOM), zinterstore).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE)), KeySpec::index(2).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.0.0"),
    CommandSpec::new("zdiffstore", -4, flags!(WRITE | DENYOOM), zdiffstore).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE)), KeySpec::index(2).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("6.2.0"),
    CommandSpec::new("zintercard", -3, flags!(READONLY), zintercard).keys(&[KeySpec::index(1).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("7.0.0"),
    CommandSpec::new("zrandmember", -2, flags!(READONLY), zrandmember).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("6.2.0"),
    CommandSpec::new("zscan", -3, flags!(READONLY), zscan).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("2.8.0"),
    CommandSpec::new("bzpopmin", -3, flags!(WRITE | FAST | BLOCKING), bzpopmin).keys(&[KeySpec::index(1).range(-2, 1, 0).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("5.0.0"),
    CommandSpec::new("bzpopmax", -3, flags!(WRITE | FAST | BLOCKING), bzpopmax).keys(&[KeySpec::index(1).range(-2, 1, 0).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("5.0.0"),
    CommandSpec::new("bzmpop", -5, flags!(WRITE | BLOCKING), bzmpop).keys(&[KeySpec::index(2).keynum(0, 1, 1).flags(key!(RW | ACCESS | DELETE))]).acl(acl!(SORTEDSET)).group(Group::SortedSet).since("7.0.0"),
];
