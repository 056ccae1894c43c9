//! XREAD and XREADGROUP.

use super::group::see_consumer;
use super::log::{self, Owned};
use super::*;
use crate::blocking::{self, For};
use crate::commands::common::deadline;
use protocol::{ArgVec, Resp};

/// What is to be read, and how.
struct Query<'a> {
    /// Entries of each stream, at most; 0 is no limit.
    count: usize,
    /// Whether to wait for something to read, and when to give up.
    block: Option<Option<i64>>,
    /// What is delivered becomes pending.
    ack: bool,
    reader: Option<Reader<'a>>,
    keys: Vec<&'a [u8]>,
    ids: Vec<&'a [u8]>,
}

/// A consumer, and its group.
#[derive(Clone, Copy)]
struct Reader<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
}

/// What XREADGROUP's `>` is kept as, and taken for: what the group has not had.
const NEW: StreamId = StreamId::MAX;

impl<'a> Query<'a> {
    fn parse(args: &mut Args<'a>, name: &str, is_group: bool, now_ms: i64) -> Result<Query<'a>, ReplyError> {
        let mut query = Query { count: 0, block: None, ack: true, reader: None, keys: vec![], ids: vec![] };
        loop {
            if option(args, "BLOCK") {
                let timeout_ms = args.i64_in(i64::MIN..=i64::MAX, ReplyError::TIMEOUT_NOT_INTEGER)?;
                query.block = Some(deadline(timeout_ms, now_ms)?);
            } else if option(args, "COUNT") {
                query.count = args.i64()?.max(0) as usize;
            } else if args.left() >= 2 && args.flag("STREAMS") {
                break;
            } else if args.left() >= 3 && args.flag("GROUP") {
                if !is_group {
                    return Err(group_only("GROUP"));
                }
                query.reader = Some(Reader { group: args.bytes()?, consumer: args.bytes()? });
            } else if args.flag("NOACK") {
                if !is_group {
                    return Err(group_only("NOACK"));
                }
                query.ack = false;
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        let first = args.position();
        let mut words: Vec<&[u8]> = args.rest().collect();
        if !words.len().is_multiple_of(2) {
            let symbol = if is_group { '>' } else { '$' };
            return Err(said(format_args!(
                "Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be specified."
            )));
        }
        if is_group && query.reader.is_none() {
            return Err(ReplyError::fixed("ERR Missing GROUP option for XREADGROUP"));
        }
        if first != first_key(args, is_group) {
            return Err(ReplyError::SYNTAX);
        }
        query.ids = words.split_off(words.len() / 2);
        query.keys = words;
        Ok(query)
    }
}

/// Where the keys begin by the command's key specification, which is what was locked. It is misled by a group
/// or consumer called "streams" behind other options.
fn first_key(args: &Args<'_>, is_group: bool) -> usize {
    let skipped = if is_group { 4 } else { 1 };
    let found = args.argv().iter().skip(skipped).position(|word| word.eq_ignore_ascii_case(b"STREAMS"));
    found.map_or(0, |at| skipped + at + 1)
}

fn group_only(option: &str) -> ReplyError {
    said(format_args!("The {option} option is only supported by XREADGROUP. You called XREAD instead."))
}

/// The entry behind which reading of a stream is to begin, after a look at whether that can be.
fn position(
    cx: &mut Cx<'_>,
    key: &[u8],
    reader: Option<Reader<'_>>,
    text: &[u8],
) -> Result<StreamId, ReplyError> {
    let stream = cx.keys.typed::<StreamValue>(key)?;
    if let Some(Reader { group, .. }) = reader
        && stream.is_none_or(|stream| stream.group(group).is_none())
    {
        let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
        return Err(ReplyError::new(format!(
            "NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option"
        )));
    }
    match (text, reader.is_some()) {
        (b"$", false) => Ok(stream.map_or(StreamId::MIN, |stream| stream.marks().last_id)),
        (b"$", true) => Err(ReplyError::fixed(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
             consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return \
             an empty result set.",
        )),
        (b">", true) => Ok(NEW),
        (b">", false) => Err(ReplyError::fixed(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        (text, _) => id(text),
    }
}

fn read(cx: &mut Cx<'_>, args: &mut Args<'_>, is_group: bool) -> Done {
    let query = Query::parse(args, cx.name(), is_group, cx.now_ms)?;
    if cx.in_script && query.block.is_some() {
        let name = cx.name();
        return Err(ReplyError::new(format!(
            "ERR {name} command is not allowed with BLOCK option from scripts"
        )));
    }
    let each = query.keys.iter().zip(&query.ids);
    let after =
        each.map(|(key, text)| position(cx, key, query.reader, text)).collect::<Result<Vec<_>, _>>()?;
    let start = cx.reply.out.len();
    let mut served = 0;
    for (key, &after) in query.keys.iter().zip(&after) {
        let found = match query.reader {
            Some(reader) => serve_group(cx, key, reader, after, &query)?,
            None => serve(cx, key, after, query.count)?,
        };
        served += usize::from(found);
    }
    // What was delivered has been logged as such.
    cx.keys.effects.keep_out_of_log();
    match served {
        0 => wait(cx, &query, &after),
        _ => put_head(&mut cx.reply, start, |reply| match reply.resp {
            Resp::V2 => reply.array(served),
            Resp::V3 => reply.map(served),
        }),
    }
    Ok(())
}

/// There is nothing to read: waits, if that is wanted and possible.
fn wait(cx: &mut Cx<'_>, query: &Query<'_>, after: &[StreamId]) {
    let Some(deadline_ms) = query.block.filter(|_| cx.may_wait()) else {
        return cx.reply.null_array();
    };
    let (awaits, argv) = match query.reader {
        Some(_) => (For::Group, cx.argv.into()),
        None => (For::Stream, with_positions(cx, after)),
    };
    blocking::wait(cx, awaits, &query.keys, deadline_ms, argv);
}

/// The command with IDs in place of `$`: what is the end now will not be when it is run again.
fn with_positions(cx: &Cx<'_>, after: &[StreamId]) -> ArgVec {
    let first = cx.argv.len() - after.len();
    let mut argv = ArgVec::default();
    for (at, arg) in cx.argv.iter().enumerate() {
        match at.checked_sub(first) {
            Some(i) if arg == b"$" => argv.push(after[i].to_string().as_bytes()),
            _ => argv.push(arg),
        }
    }
    argv
}

/// Begins the part of the reply about one stream.
fn reply_key(reply: &mut Reply<'_>, key: &[u8]) {
    if reply.resp == Resp::V2 {
        reply.array(2);
    }
    reply.bulk(key);
}

/// Replies with entries behind one. Returns whether there are any.
fn serve(cx: &mut Cx<'_>, key: &[u8], after: StreamId, count: usize) -> Result<bool, ReplyError> {
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let Some(stream) = keys.typed::<StreamValue>(key)? else { return Ok(false) };
    let is_newer = stream.last_entry().is_some_and(|last| last.id > after);
    let Some(start) = after.next().filter(|_| is_newer) else { return Ok(false) };
    reply_key(reply, key);
    reply_entries(reply, stream.range(start, StreamId::MAX), count);
    Ok(true)
}

/// Delivers entries to a consumer: new ones, or those it has had and not acknowledged. Returns whether there
/// is anything to reply, which the latter always have.
fn serve_group(
    cx: &mut Cx<'_>,
    key: &[u8],
    reader: Reader<'_>,
    after: StreamId,
    query: &Query<'_>,
) -> Result<bool, ReplyError> {
    let stream = cx.keys.typed::<StreamValue>(key)?;
    let had =
        stream.and_then(|stream| Some((stream.last_entry()?.id, stream.group(reader.group)?.last_id())));
    let has_new = had.is_some_and(|(top, last_id)| top > last_id);
    if see_consumer(cx, key, reader.group, reader.consumer) && !query.ack {
        log::new_consumer(cx, key, reader.group, reader.consumer);
    }
    if after == NEW && !has_new {
        return Ok(false);
    }
    reply_key(&mut cx.reply, key);
    match after {
        NEW => deliver(cx, key, reader, query)?,
        after => deliver_again(cx, key, reader, after, query.count)?,
    }
    cx.keys.effects.dirty += 1;
    Ok(true)
}

fn deliver(cx: &mut Cx<'_>, key: &[u8], reader: Reader<'_>, query: &Query<'_>) -> Done {
    let Reader { group, consumer } = reader;
    let now_ms = cx.now_ms;
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let Some(stream) = keys.typed_mut::<StreamValue>(key)? else { return Ok(()) };
    let (mut ids, mut advanced) = (Vec::new(), false);
    counted(reply, |reply| {
        let delivered = stream.deliver(group, consumer, query.count, query.ack, now_ms, |entry| {
            reply_entry(reply, entry);
            ids.push(entry.id);
        });
        advanced = delivered.is_some_and(|delivered| delivered.advanced);
        ids.len()
    });
    if !query.ack {
        if advanced {
            log::group_id(cx, key, group);
        }
        return Ok(());
    }
    for id in ids {
        let owned = Owned { consumer, id, delivery_time_ms: now_ms, delivery_count: 1, last_id: id };
        log::claim(cx, key, group, &owned);
    }
    Ok(())
}

fn deliver_again(cx: &mut Cx<'_>, key: &[u8], reader: Reader<'_>, after: StreamId, count: usize) -> Done {
    let now_ms = cx.now_ms;
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let Some(stream) = keys.typed_mut::<StreamValue>(key)? else { return Ok(()) };
    counted(reply, |reply| {
        let visit = |id, entry: Option<&StreamEntry<'_>>| match entry {
            Some(entry) => reply_entry(reply, entry),
            None => {
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
            }
        };
        stream.deliver_again(reader.group, reader.consumer, after, count, now_ms, visit).unwrap_or(0)
    });
    Ok(())
}

pub(super) fn xread(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    read(cx, args, false)
}

pub(super) fn xreadgroup(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    read(cx, args, true)
}
