//! XCLAIM and XAUTOCLAIM.

use super::group::see_consumer;
use super::log::{self, Owned};
use super::*;
use keyspace::types::stream::{AutoClaim, Claim, Claimed};

/// What is claimed, and for whom.
struct Target<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
}

impl<'a> Target<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Target<'a>, ReplyError> {
        Ok(Target { key: args.key()?, group: args.bytes()?, consumer: args.bytes()? })
    }

    fn check(&self, cx: &mut Cx<'_>) -> Done {
        let stream = cx.keys.typed::<StreamValue>(self.key)?;
        let found = stream.is_some_and(|stream| stream.group(self.group).is_some());
        if found { Ok(()) } else { Err(no_key_or_group(self.key, self.group)) }
    }

    /// Logs what came of claiming an entry. Returns whether it was claimed.
    fn log(&self, cx: &mut Cx<'_>, id: StreamId, claimed: &Claimed, last_id: StreamId) {
        let (consumer, delivery_time_ms, delivery_count) = match claimed {
            Claimed::Left => return,
            Claimed::Taken { delivery_time_ms, delivery_count } => {
                (self.consumer, *delivery_time_ms, *delivery_count)
            }
            Claimed::Gone(gone) => (&gone.owner[..], gone.delivery_time_ms, gone.delivery_count),
        };
        let owned = Owned { consumer, id, delivery_time_ms, delivery_count, last_id };
        cx.keys.effects.dirty += 1;
        log::claim(cx, self.key, self.group, &owned);
    }

    fn stream<'k>(&self, cx: &'k mut Cx<'_>) -> Result<&'k mut StreamValue, ReplyError> {
        cx.keys.typed_mut::<StreamValue>(self.key)?.ok_or_else(|| no_key_or_group(self.key, self.group))
    }

    fn last_id(&self, cx: &Cx<'_>) -> StreamId {
        let stream = cx.keys.held_typed::<StreamValue>(self.key);
        stream.and_then(|stream| stream.group(self.group)).map_or(StreamId::MIN, |group| group.last_id())
    }

    /// Replies with a claimed entry as the client wants it.
    fn reply(&self, cx: &mut Cx<'_>, id: StreamId, just_id: bool) {
        let (keys, reply) = (&cx.keys, &mut cx.reply);
        match keys.held_typed::<StreamValue>(self.key).and_then(|stream| stream.get(id)) {
            Some(entry) if !just_id => reply_entry(reply, &entry),
            _ => reply_id(reply, id),
        }
    }
}

fn integer(args: &mut Args<'_>, error: &'static str) -> Result<i64, ReplyError> {
    args.i64_in(i64::MIN..=i64::MAX, ReplyError::fixed(error))
}

/// The options of XCLAIM.
#[derive(Default)]
struct Options {
    /// IDLE and TIME: the last of them counts. -1 is as if there were none.
    delivery_time_ms: Option<i64>,
    delivery_count: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Options {
    fn parse(args: &mut Args<'_>, now_ms: i64) -> Result<Options, ReplyError> {
        let mut options = Options::default();
        while !args.is_empty() {
            if args.flag("FORCE") {
                options.force = true;
            } else if args.flag("JUSTID") {
                options.just_id = true;
            } else if option(args, "IDLE") {
                let idle_ms = integer(args, "ERR Invalid IDLE option argument for XCLAIM")?;
                options.delivery_time_ms = Some(now_ms.wrapping_sub(idle_ms));
            } else if option(args, "TIME") {
                options.delivery_time_ms =
                    Some(integer(args, "ERR Invalid TIME option argument for XCLAIM")?);
            } else if option(args, "RETRYCOUNT") {
                let count = integer(args, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                options.delivery_count = u64::try_from(count).ok();
            } else if option(args, "LASTID") {
                options.last_id = id(args.bytes()?)?;
            } else {
                return Err(quoting(&[b"ERR Unrecognized XCLAIM option '", args.bytes()?, b"'"]));
            }
        }
        Ok(options)
    }

    /// A time that cannot be is taken for now, rather than refused: clocks differ.
    fn claim(&self, min_idle_ms: i64, now_ms: i64) -> Claim {
        let time_ms = self.delivery_time_ms.filter(|time_ms| (0..=now_ms).contains(time_ms));
        Claim {
            min_idle_ms,
            delivery_time_ms: time_ms.unwrap_or(now_ms),
            delivery_count: self.delivery_count,
            force: self.force,
            just_id: self.just_id,
        }
    }
}

pub(super) fn xclaim(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let target = Target::parse(args)?;
    target.check(cx)?;
    let min_idle_ms = integer(args, "ERR Invalid min-idle-time argument for XCLAIM")?.max(0);
    // The options begin at what is no ID.
    let mut ids = Vec::new();
    while let Some(id) = args.peek().and_then(|text| StreamId::parse(text, 0)) {
        ids.push(id);
        args.bytes()?;
    }
    let now_ms = cx.now_ms;
    let options = Options::parse(args, now_ms)?;
    let claim = options.claim(min_idle_ms, now_ms);
    let group = target.stream(cx)?.group_mut(target.group);
    let mut advanced = group.is_some_and(|group| group.advance_to(options.last_id));
    let last_id = target.last_id(cx);
    see_consumer(cx, target.key, target.group, target.consumer);
    let start = cx.reply.out.len();
    let mut taken = 0;
    for id in ids {
        let claimed = target.stream(cx)?.claim(target.group, target.consumer, id, &claim, now_ms);
        let claimed = claimed.unwrap_or(Claimed::Left);
        target.log(cx, id, &claimed, last_id);
        // The logged XCLAIM says how far the group is.
        advanced &= claimed == Claimed::Left;
        if let Claimed::Taken { .. } = claimed {
            target.reply(cx, id, options.just_id);
            taken += 1;
        }
    }
    if advanced {
        log::group_id(cx, target.key, target.group);
        cx.keys.effects.dirty += 1;
    }
    put_head(&mut cx.reply, start, |reply| reply.array(taken));
    cx.keys.effects.keep_out_of_log();
    Ok(())
}

pub(super) fn xautoclaim(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    /// So that stock's counters do not overflow.
    const MOST: i64 = i64::MAX / 16;
    let target = Target::parse(args)?;
    let min_idle_ms = integer(args, "ERR Invalid min-idle-time argument for XAUTOCLAIM")?.max(0);
    let start = StreamId::parse_start(args.bytes()?).map_err(said)?;
    let mut how = AutoClaim { start, min_idle_ms, count: 100, just_id: false };
    while !args.is_empty() {
        if option(args, "COUNT") {
            how.count = args.i64_in(1..=MOST, ReplyError::fixed("ERR COUNT must be > 0"))? as usize;
        } else if args.flag("JUSTID") {
            how.just_id = true;
        } else {
            return Err(ReplyError::SYNTAX);
        }
    }
    target.check(cx)?;
    see_consumer(cx, target.key, target.group, target.consumer);
    let (last_id, now_ms) = (target.last_id(cx), cx.now_ms);
    let claimed = target.stream(cx)?.claim_idle(target.group, target.consumer, &how, now_ms);
    let claimed = claimed.ok_or_else(|| no_key_or_group(target.key, target.group))?;
    for (id, outcome) in &claimed.entries {
        target.log(cx, *id, outcome, last_id);
    }
    let is_gone = |(_, outcome): &&(StreamId, Claimed)| matches!(outcome, Claimed::Gone(_));
    let (gone, taken): (Vec<_>, Vec<_>) = claimed.entries.iter().partition(is_gone);
    cx.reply.array(3);
    reply_id(&mut cx.reply, claimed.next);
    cx.reply.array(taken.len());
    taken.iter().for_each(|(id, _)| target.reply(cx, *id, how.just_id));
    cx.reply.array(gone.len());
    gone.iter().for_each(|(id, _)| reply_id(&mut cx.reply, *id));
    cx.keys.effects.keep_out_of_log();
    Ok(())
}
