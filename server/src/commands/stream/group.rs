//! Consumer groups: XGROUP and XACK.

use super::*;
use crate::commands::help::help;
use keyspace::types::stream::Group as ConsumerGroup;

const NO_KEY: ReplyError = ReplyError::fixed(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
     option to create an empty stream automatically.",
);

/// The options of XGROUP CREATE and XGROUP SETID.
#[derive(Default)]
struct Options {
    mkstream: bool,
    /// -1 is what stock has for "not known".
    entries_read: Option<i64>,
}

impl Options {
    fn parse(args: &mut Args<'_>, creates: bool) -> Result<Options, ReplyError> {
        let mut options = Options::default();
        while !args.is_empty() {
            if creates && args.flag("MKSTREAM") {
                options.mkstream = true;
            } else if option(args, "ENTRIESREAD") {
                let read = args.i64()?;
                if read < -1 {
                    return Err(ReplyError::fixed("ERR value for ENTRIESREAD must be positive or -1"));
                }
                options.entries_read = Some(read).filter(|&read| read >= 0);
            } else {
                return Err(subcommand_syntax(args));
            }
        }
        Ok(options)
    }
}

/// Notes a change of groups, which those who watch the key are not told of.
fn noted(cx: &mut Cx<'_>, key: &[u8], event: &str) {
    cx.keys.effects.dirty += 1;
    cx.keys.event(Classes::STREAM, event, key);
}

/// Where a group starts: an ID, or `$` for the last one.
fn start(text: &[u8], stream: Option<&StreamValue>, edges: bool) -> Result<StreamId, ReplyError> {
    match text {
        b"$" => Ok(stream.map_or(StreamId::MIN, |stream| stream.marks().last_id)),
        text if edges => StreamId::parse_edge(text, 0).ok_or(INVALID_ID),
        text => id(text),
    }
}

/// An existing stream and one of its groups, to be changed.
fn group_mut<'k>(cx: &'k mut Cx<'_>, key: &[u8], name: &[u8]) -> Result<&'k mut ConsumerGroup, ReplyError> {
    let stream = cx.keys.typed_mut::<StreamValue>(key)?.ok_or(NO_KEY)?;
    stream.group_mut(name).ok_or_else(|| no_group_for_key(key, name))
}

pub(super) fn xgroup_create(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    /// Of the whole command: every option once.
    const MOST_ARGS: usize = 8;
    let (key, name, from) = (args.key()?, args.bytes()?, args.bytes()?);
    let options = Options::parse(args, true)?;
    let stream = cx.keys.typed_mut::<StreamValue>(key)?;
    if stream.is_none() && !options.mkstream {
        return Err(NO_KEY);
    }
    if args.argv().len() > MOST_ARGS {
        return Err(subcommand_syntax(args));
    }
    let is_new = stream.is_none();
    let last_id = start(from, stream.as_deref(), false)?;
    if is_new {
        cx.keys.get_or_create::<StreamValue>(key)?;
        cx.keys.signal(key);
    }
    let stream = cx.keys.get_or_create::<StreamValue>(key)?;
    if !stream.create_group(name, last_id, options.entries_read) {
        return Err(ReplyError::fixed("BUSYGROUP Consumer Group name already exists"));
    }
    noted(cx, key, "xgroup-create");
    cx.reply.ok();
    Ok(())
}

pub(super) fn xgroup_setid(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, name, from) = (args.key()?, args.bytes()?, args.bytes()?);
    let options = Options::parse(args, false)?;
    group_mut(cx, key, name)?;
    if !matches!(args.argv().len(), 5 | 7) {
        return Err(subcommand_syntax(args));
    }
    let last_id = start(from, cx.keys.held_typed(key), true)?;
    group_mut(cx, key, name)?.set_id(last_id, options.entries_read);
    noted(cx, key, "xgroup-setid");
    cx.reply.ok();
    Ok(())
}

pub(super) fn xgroup_destroy(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, name) = (args.key()?, args.bytes()?);
    let destroyed = cx.keys.typed_mut::<StreamValue>(key)?.ok_or(NO_KEY)?.destroy_group(name);
    if destroyed {
        noted(cx, key, "xgroup-destroy");
        // Who waits to read for the group is told that it is gone.
        cx.keys.wake(key);
    }
    cx.reply.integer(i64::from(destroyed));
    Ok(())
}

pub(super) fn xgroup_createconsumer(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, name, consumer) = (args.key()?, args.bytes()?, args.bytes()?);
    let now_ms = cx.now_ms;
    let created = group_mut(cx, key, name)?.create_consumer(consumer, now_ms);
    if created {
        noted(cx, key, "xgroup-createconsumer");
    }
    cx.reply.integer(i64::from(created));
    Ok(())
}

pub(super) fn xgroup_delconsumer(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, name, consumer) = (args.key()?, args.bytes()?, args.bytes()?);
    let pending = group_mut(cx, key, name)?.remove_consumer(consumer);
    if pending.is_some() {
        noted(cx, key, "xgroup-delconsumer");
    }
    cx.reply.integer(pending.unwrap_or(0) as i64);
    Ok(())
}

/// Notes that a consumer is about to read or claim, adding it where there is none: `true` then.
pub(super) fn see_consumer(cx: &mut Cx<'_>, key: &[u8], group: &[u8], consumer: &[u8]) -> bool {
    let now_ms = cx.now_ms;
    let is_new = group_mut(cx, key, group).is_ok_and(|group| group.see_consumer(consumer, now_ms));
    if is_new {
        noted(cx, key, "xgroup-createconsumer");
    }
    is_new
}

pub(super) fn xack(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, name) = (args.key()?, args.bytes()?);
    let is_there = cx.keys.typed::<StreamValue>(key)?.is_some_and(|stream| stream.group(name).is_some());
    let acknowledged = match is_there.then(|| group_mut(cx, key, name)).transpose()? {
        Some(group) => ids(args)?.into_iter().filter(|&id| group.acknowledge(id)).count(),
        None => 0,
    };
    cx.keys.effects.dirty += acknowledged as u64;
    cx.reply.integer(acknowledged as i64);
    Ok(())
}

pub(super) fn xgroup_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "CREATE <key> <groupname> <id|$> [option]",
            "    Makes a group that begins behind an entry. Options are:",
            "    * MKSTREAM",
            "      Make an empty stream where there is none.",
            "    * ENTRIESREAD entries_read",
            "      How many entries the group has read (for internal use).",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Makes a consumer in a group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    Removes a consumer and what it has not acknowledged.",
            "DESTROY <key> <groupname>",
            "    Removes a group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Sets where a group goes on, and how many entries it has read.",
        ],
    )
}
