//! How the write log tells what a consumer group has done: as commands that set the outcome, whatever time it
//! is when they run.

use super::*;
use keyspace::types::stream::Group as ConsumerGroup;

/// A pending entry as it is after a command.
pub(super) struct Owned<'a> {
    pub consumer: &'a [u8],
    pub id: StreamId,
    pub delivery_time_ms: i64,
    pub delivery_count: u64,
    /// The group's last ID.
    pub last_id: StreamId,
}

/// Whose an entry is now. For an entry the stream does not have any more, this says that nobody's.
pub(super) fn claim(cx: &mut Cx<'_>, key: &[u8], group: &[u8], owned: &Owned<'_>) {
    if !cx.keys.effects.logged {
        return;
    }
    cx.keys.effects.also(
        cx.keys.db,
        &[
            b"XCLAIM",
            key,
            group,
            owned.consumer,
            b"0",
            owned.id.to_string().as_bytes(),
            b"TIME",
            owned.delivery_time_ms.to_string().as_bytes(),
            b"RETRYCOUNT",
            owned.delivery_count.to_string().as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            owned.last_id.to_string().as_bytes(),
        ],
    );
}

/// Where a group is.
pub(super) fn group_id(cx: &mut Cx<'_>, key: &[u8], name: &[u8]) {
    let found = cx.keys.held_typed::<StreamValue>(key).and_then(|stream| stream.group(name));
    let Some(marks) = found.map(|group: &ConsumerGroup| (group.last_id(), group.entries_read())) else {
        return;
    };
    let (last_id, entries_read) = (marks.0.to_string(), marks.1.unwrap_or(-1).to_string());
    let args: [&[u8]; 7] =
        [b"XGROUP", b"SETID", key, name, last_id.as_bytes(), b"ENTRIESREAD", entries_read.as_bytes()];
    cx.keys.effects.also(cx.keys.db, &args);
}

pub(super) fn new_consumer(cx: &mut Cx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) {
    cx.keys.effects.also(cx.keys.db, &[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
}
