//! SUBSCRIBE and its like, PUBLISH, and what PUBSUB tells about them.

use super::help::{container, help};
use super::prelude::*;
use crate::exec::spec::ChannelSpec;
use crate::pubsub::{Space, confirm};

/// Commands whose reply comes as pushes cannot run where each command has to give one reply; EXEC takes those that
/// it took before there were shard channels.
fn listen(cx: &mut Cx<'_>, args: &mut Args<'_>, space: Space) -> Done {
    if cx.in_transaction && space == Space::Shard {
        return Err(ReplyError::fixed("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"));
    }
    for name in args.rest() {
        cx.server.pubsub.subscribe(cx.session, space, name);
        told(cx, space, space.subscribed(), Some(name));
    }
    Ok(())
}

fn leave(cx: &mut Cx<'_>, args: &mut Args<'_>, space: Space) -> Done {
    if !args.is_empty() {
        for name in args.rest() {
            cx.server.pubsub.unsubscribe(cx.session, space, name);
            told(cx, space, space.unsubscribed(), Some(name));
        }
        return Ok(());
    }
    let names: Vec<_> = cx.session.subscriptions.iter().flat_map(|own| own.of(space)).cloned().collect();
    for name in &names {
        cx.server.pubsub.unsubscribe(cx.session, space, name);
        told(cx, space, space.unsubscribed(), Some(name));
    }
    if names.is_empty() {
        told(cx, space, space.unsubscribed(), None);
    }
    Ok(())
}

fn told(cx: &mut Cx<'_>, space: Space, kind: &[u8], name: Option<&[u8]>) {
    let count = cx.session.subscriptions.as_ref().map_or(0, |own| own.count(space));
    confirm(&mut cx.reply, kind, name, count);
}

fn subscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    listen(cx, args, Space::Channels)
}

fn psubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    listen(cx, args, Space::Patterns)
}

fn ssubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    listen(cx, args, Space::Shard)
}

fn unsubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    leave(cx, args, Space::Channels)
}

fn punsubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    leave(cx, args, Space::Patterns)
}

fn sunsubscribe(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    leave(cx, args, Space::Shard)
}

fn publish(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    publish_to(cx, args, false)
}

fn spublish(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    publish_to(cx, args, true)
}

/// Tells this node's clients, and the other nodes: over the bus in a cluster, else by the replication stream.
fn publish_to(cx: &mut Cx<'_>, args: &mut Args<'_>, is_shard: bool) -> Done {
    let (channel, message) = (args.bytes()?, args.bytes()?);
    let receivers = cx.server.pubsub.address(is_shard, channel, message, &mut cx.keys.effects.deliveries);
    match &cx.server.cluster {
        Some(cluster) => cluster.with(|machine, bus| machine.publish(bus, channel, message, is_shard)),
        None if cx.server.replication.has_replicas() => {
            let db = cx.session.db;
            let name: &[u8] = if is_shard { b"SPUBLISH" } else { b"PUBLISH" };
            cx.keys.effects.also(db, &[name, channel, message]);
        }
        None => {}
    }
    cx.reply.integer(receivers as i64);
    Ok(())
}

fn names(cx: &mut Cx<'_>, args: &mut Args<'_>, space: Space) -> Done {
    let pattern = args.next_opt();
    let subcommand = args.argv().get(1);
    args.finish().map_err(|_| ReplyError::subcommand_syntax(b"PUBSUB", subcommand))?;
    let names = cx.server.pubsub.names(space, pattern);
    cx.reply.array(names.len());
    names.iter().for_each(|name| cx.reply.bulk(name));
    Ok(())
}

fn counts(cx: &mut Cx<'_>, args: &mut Args<'_>, space: Space) -> Done {
    cx.reply.array(args.left() * 2);
    for name in args.rest() {
        cx.reply.bulk(name);
        let count = cx.server.pubsub.listeners(space, name);
        cx.reply.integer(count as i64);
    }
    Ok(())
}

fn channels(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    names(cx, args, Space::Channels)
}

fn shardchannels(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    names(cx, args, Space::Shard)
}

fn numsub(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    counts(cx, args, Space::Channels)
}

fn shardnumsub(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    counts(cx, args, Space::Shard)
}

fn numpat(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let count = cx.server.pubsub.count(Space::Patterns);
    cx.reply.integer(count as i64);
    Ok(())
}

fn pubsub_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "CHANNELS [<pattern>]",
            "    Return the currently active channels matching a <pattern> (default: '*').",
            "NUMPAT",
            "    Return number of subscriptions to patterns.",
            "NUMSUB [<channel> ...]",
            "    Return the number of subscribers for the specified channels, excluding",
            "    pattern subscriptions(default: no channels).",
            "SHARDCHANNELS [<pattern>]",
            "    Return the currently active shard level channels matching a <pattern> (default: '*').",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Return the number of subscribers for the specified shard level channel(s)",
        ],
    )
}

#[rustfmt::skip]
const PUBSUB: &[CommandSpec] = &[
    CommandSpec::new("channels", -2, flags!(PUBSUB | LOADING | STALE), channels).group(Group::Pubsub).since("2.8.0"),
    CommandSpec::new("numpat", 2, flags!(PUBSUB | LOADING | STALE), numpat).group(Group::Pubsub).since("2.8.0"),
    CommandSpec::new("numsub", -2, flags!(PUBSUB | LOADING | STALE), numsub).group(Group::Pubsub).since("2.8.0"),
    CommandSpec::new("shardchannels", -2, flags!(PUBSUB | LOADING | STALE), shardchannels).group(Group::Pubsub).since("7.0.0"),
    CommandSpec::new("shardnumsub", -2, flags!(PUBSUB | LOADING | STALE), shardnumsub).group(Group::Pubsub).since("7.0.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), pubsub_help).group(Group::Pubsub).since("6.2.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("subscribe", -2, flags!(PUBSUB | NOSCRIPT | LOADING | STALE | SENTINEL | WHILE_SUBSCRIBED | PUSHES), subscribe).channels(ChannelSpec::ALL).group(Group::Pubsub).since("2.0.0"),
    CommandSpec::new("unsubscribe", -1, flags!(PUBSUB | NOSCRIPT | LOADING | STALE | SENTINEL | WHILE_SUBSCRIBED | PUSHES), unsubscribe).group(Group::Pubsub).since("2.0.0"),
    CommandSpec::new("psubscribe", -2, flags!(PUBSUB | NOSCRIPT | LOADING | STALE | SENTINEL | WHILE_SUBSCRIBED | PUSHES), psubscribe).channels(ChannelSpec::ALL_PATTERNS).group(Group::Pubsub).since("2.0.0"),
    CommandSpec::new("punsubscribe", -1, flags!(PUBSUB | NOSCRIPT | LOADING | STALE | SENTINEL | WHILE_SUBSCRIBED | PUSHES), punsubscribe).group(Group::Pubsub).since("2.0.0"),
    CommandSpec::new("ssubscribe", -2, flags!(PUBSUB | NOSCRIPT | LOADING | STALE | WHILE_SUBSCRIBED | PUSHES), ssubscribe).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(NOT_KEY))]).channels(ChannelSpec::ALL).group(Group::Pubsub).since("7.0.0"),
    CommandSpec::new("sunsubscribe", -1, flags!(PUBSUB | NOSCRIPT | LOADING | STALE | WHILE_SUBSCRIBED | PUSHES), sunsubscribe).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(NOT_KEY))]).group(Group::Pubsub).since("7.0.0"),
    CommandSpec::new("publish", 3, flags!(PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE | SENTINEL), publish).channels(ChannelSpec::FIRST).group(Group::Pubsub).since("2.0.0"),
    CommandSpec::new("spublish", 3, flags!(PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE), spublish).keys(&[KeySpec::index(1).flags(key!(NOT_KEY))]).channels(ChannelSpec::FIRST).group(Group::Pubsub).since("7.0.0"),
    CommandSpec::new("pubsub", -2, flags!(), container).subcommands(PUBSUB).group(Group::Pubsub).since("2.8.0"),
];
