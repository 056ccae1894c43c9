//! XRANGE and XREVRANGE.

use super::*;

fn range(cx: &mut Cx<'_>, args: &mut Args<'_>, back: bool) -> Done {
    let (key, first, second) = (args.key()?, args.bytes()?, args.bytes()?);
    let (start, end) = if back { (second, first) } else { (first, second) };
    let start = StreamId::parse_start(start).map_err(said)?;
    let end = StreamId::parse_end(end).map_err(said)?;
    let mut count = None;
    while !args.is_empty() {
        if !option(args, "COUNT") {
            return Err(ReplyError::SYNTAX);
        }
        count = Some(args.i64()?.max(0) as usize);
    }
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let Some(stream) = keys.typed::<StreamValue>(key)? else {
        reply.array(0);
        return Ok(());
    };
    match count {
        Some(0) => reply.null_array(),
        _ if start > end => reply.array(0),
        count if back => drop(reply_entries(reply, stream.range_back(start, end), count.unwrap_or(0))),
        count => drop(reply_entries(reply, stream.range(start, end), count.unwrap_or(0))),
    }
    Ok(())
}

pub(super) fn xrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    range(cx, args, false)
}

pub(super) fn xrevrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    range(cx, args, true)
}
