//! XINFO.

use super::*;
use crate::commands::help::help;
use keyspace::types::stream::{Consumer, Group as ConsumerGroup, Pending};

/// Entries and pending entries that FULL shows, unless it is told otherwise.
const FULL_COUNT: usize = 10;

fn stream_of<'k>(
    keys: &'k mut crate::exec::keys::Keys<'_>,
    key: &[u8],
) -> Result<&'k StreamValue, ReplyError> {
    keys.typed::<StreamValue>(key)?.ok_or(ReplyError::NO_SUCH_KEY)
}

/// `[FULL [COUNT n]]`: how much FULL is to show, `None` without it. 0 is everything.
fn full_count(args: &mut Args<'_>) -> Result<Option<usize>, ReplyError> {
    if args.is_empty() {
        return Ok(None);
    }
    if !matches!(args.left(), 1 | 3) || !args.flag("FULL") {
        return Err(subcommand_syntax(args));
    }
    if args.is_empty() {
        return Ok(Some(FULL_COUNT));
    }
    if !args.flag("COUNT") {
        return Err(subcommand_syntax(args));
    }
    let count = args.i64()?;
    Ok(Some(usize::try_from(count).unwrap_or(FULL_COUNT)))
}

pub(super) fn xinfo_stream(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let stream = stream_of(keys, args.key()?)?;
    let full = full_count(args)?;
    reply.map(if full.is_some() { 9 } else { 10 });
    head(reply, stream);
    let Some(count) = full else {
        reply.bulk(b"groups");
        reply.integer(stream.group_count() as i64);
        reply.bulk(b"first-entry");
        reply_entry_or_null(reply, stream.first_entry());
        reply.bulk(b"last-entry");
        reply_entry_or_null(reply, stream.last_entry());
        return Ok(());
    };
    reply.bulk(b"entries");
    reply_entries(reply, stream.range(StreamId::MIN, StreamId::MAX), count);
    reply.bulk(b"groups");
    reply.array(stream.group_count());
    for (name, group) in stream.groups() {
        full_group(reply, stream, name, group, count);
    }
    Ok(())
}

/// What XINFO STREAM begins with, FULL or not.
fn head(reply: &mut Reply<'_>, stream: &StreamValue) {
    let marks = stream.marks();
    let masters: Vec<[u8; 16]> = stream.nodes().map(|(id, _)| id.to_bytes()).collect();
    for (name, n) in [
        ("length", marks.len),
        ("radix-tree-keys", masters.len() as u64),
        ("radix-tree-nodes", tree_nodes(&masters, 0).max(1)),
    ] {
        reply.bulk(name.as_bytes());
        reply.integer(n as i64);
    }
    reply.bulk(b"last-generated-id");
    reply_id(reply, marks.last_id);
    reply.bulk(b"max-deleted-entry-id");
    reply_id(reply, marks.max_deleted_id);
    reply.bulk(b"entries-added");
    reply.integer(marks.entries_added as i64);
    reply.bulk(b"recorded-first-entry-id");
    reply_id(reply, marks.first_id);
}

/// How many nodes a compressed radix tree of these keys has, which is what stock keeps a stream in: one for
/// each run of bytes that keys share, one for each place they part, and one where each key ends. The keys are
/// in order and differ, if at all, behind their first `depth` bytes.
fn tree_nodes(keys: &[[u8; 16]], depth: usize) -> u64 {
    let [first, .., last] = keys else {
        let Some(key) = keys.first() else { return 0 };
        return 1 + u64::from(depth < key.len());
    };
    let shared = first.iter().zip(last).skip(depth).take_while(|(a, b)| a == b).count();
    let parting = depth + shared;
    let branches = keys.chunk_by(|a, b| a[parting] == b[parting]);
    u64::from(shared > 0) + 1 + branches.map(|keys| tree_nodes(keys, parting + 1)).sum::<u64>()
}

/// What is told of a group in both forms of XINFO.
fn progress(reply: &mut Reply<'_>, stream: &StreamValue, group: &ConsumerGroup) {
    reply.bulk(b"last-delivered-id");
    reply_id(reply, group.last_id());
    reply.bulk(b"entries-read");
    reply_integer_or_null(reply, group.entries_read());
    reply.bulk(b"lag");
    reply_integer_or_null(reply, stream.lag(group));
}

fn full_group(reply: &mut Reply<'_>, stream: &StreamValue, name: &[u8], group: &ConsumerGroup, count: usize) {
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(name);
    progress(reply, stream, group);
    reply.bulk(b"pel-count");
    reply.integer(group.pending_len() as i64);
    reply.bulk(b"pending");
    counted(reply, |reply| {
        let pending = group.pending_in(StreamId::MIN..=StreamId::MAX).take(no_limit_if_zero(count));
        pending.map(|(id, pending)| full_pending(reply, id, Some(group.owner(pending)), pending)).count()
    });
    reply.bulk(b"consumers");
    reply.array(group.consumer_count());
    for consumer in group.consumers() {
        full_consumer(reply, group, consumer, count);
    }
}

fn full_consumer(reply: &mut Reply<'_>, group: &ConsumerGroup, consumer: &Consumer, count: usize) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(consumer.name());
    reply.bulk(b"seen-time");
    reply.integer(consumer.seen_time_ms);
    reply.bulk(b"active-time");
    reply.integer(consumer.active_time_ms.unwrap_or(-1));
    reply.bulk(b"pel-count");
    reply.integer(consumer.pending_len() as i64);
    reply.bulk(b"pending");
    counted(reply, |reply| {
        let pending = group.pending_of(consumer, StreamId::MIN..=StreamId::MAX).take(no_limit_if_zero(count));
        pending.map(|(id, pending)| full_pending(reply, id, None, pending)).count()
    });
}

fn full_pending(reply: &mut Reply<'_>, id: StreamId, owner: Option<&[u8]>, pending: &Pending) {
    reply.array(3 + usize::from(owner.is_some()));
    reply_id(reply, id);
    owner.into_iter().for_each(|owner| reply.bulk(owner));
    reply.integer(pending.delivery_time_ms);
    reply.integer(pending.delivery_count as i64);
}

pub(super) fn xinfo_groups(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let stream = stream_of(keys, args.key()?)?;
    reply.array(stream.group_count());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"consumers");
        reply.integer(group.consumer_count() as i64);
        reply.bulk(b"pending");
        reply.integer(group.pending_len() as i64);
        progress(reply, stream, group);
    }
    Ok(())
}

pub(super) fn xinfo_consumers(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, name) = (args.key()?, args.bytes()?);
    let now_ms = cx.now_ms;
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let group = stream_of(keys, key)?.group(name).ok_or_else(|| no_group_for_key(key, name))?;
    reply.array(group.consumer_count());
    for consumer in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        reply.bulk(b"pending");
        reply.integer(consumer.pending_len() as i64);
        reply.bulk(b"idle");
        reply.integer(now_ms.saturating_sub(consumer.seen_time_ms).max(0));
        reply.bulk(b"inactive");
        reply.integer(consumer.active_time_ms.map_or(-1, |active_ms| now_ms.saturating_sub(active_ms)));
    }
    Ok(())
}

pub(super) fn xinfo_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "CONSUMERS <key> <groupname>",
            "    The consumers of a group.",
            "GROUPS <key>",
            "    The groups of a stream.",
            "STREAM <key> [FULL [COUNT <count>]]",
            "    What a stream is made of.",
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_a_radix_tree() {
        let keys = |ids: &[(u64, u64)]| -> Vec<[u8; 16]> {
            ids.iter().map(|&(ms, seq)| StreamId::new(ms, seq).to_bytes()).collect()
        };
        assert_eq!(tree_nodes(&keys(&[(1, 1)]), 0), 2);
        // A run, where they part, and two ends.
        assert_eq!(tree_nodes(&keys(&[(1, 1), (1, 2)]), 0), 4);
        // They part within the time: each goes on with a run of its own.
        assert_eq!(tree_nodes(&keys(&[(1, 1), (2, 1)]), 0), 6);
    }
}
