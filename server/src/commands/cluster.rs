//! CLUSTER.

use super::prelude::*;
use crate::cluster::Cluster;
use crate::exec::cx::Wait;
use crate::exec::dispatch::Loading;
use cluster_bus::{BumpOutcome, CommandError, Cx as BusCx, Epoch, FailoverMode, Machine, NodeView};
use protocol::number::parse_i64;
use protocol::{Slot, slot_of};

fn here<'a>(cx: &Cx<'a>) -> Result<&'a Cluster, ReplyError> {
    cx.server.cluster.as_ref().ok_or(ReplyError::CLUSTER_DISABLED)
}

/// This node's part in the cluster, with all that it has decided so far carried out: for commands that look at the data
/// and change the machine. The world is at rest for them.
fn settled<'a>(cx: &mut Cx<'a>) -> Result<&'a Cluster, ReplyError> {
    let cluster = here(cx)?;
    carry_out(cx, cluster);
    Ok(cluster)
}

/// As [`settled`], for commands that only look: who is told that the cluster is up has to be served by the next command.
fn shown<'a>(cx: &mut Cx<'a>) -> Result<&'a Cluster, ReplyError> {
    let cluster = here(cx)?;
    if cx.world.is_some() {
        carry_out(cx, cluster);
    } else if !cluster.is_settled() && !cx.in_transaction && cx.batch.loading == Loading::No {
        // The command is run again, with the world at rest.
        cx.wait = Some(Wait::World);
        return Err(ReplyError::fixed("ERR"));
    }
    Ok(cluster)
}

/// Steps the machine and carries out what it decides: the reply must not be there before the new role is.
fn step<R>(cx: &mut Cx<'_>, cluster: &Cluster, f: impl FnOnce(&mut Machine, &mut BusCx<'_>) -> R) -> R {
    let result = cluster.with(f);
    carry_out(cx, cluster);
    // The next command sees the new routing in any case.
    cluster.refresh_routing();
    result
}

fn carry_out(cx: &mut Cx<'_>, cluster: &Cluster) {
    // But what if a script has no world at rest? Then the applier does it.
    let Some(world) = &mut cx.world else { return };
    let server = cx.server;
    let was_replica = server.replication.is_replica();
    crate::cluster::settle(server, cluster, &mut **world, cx.in_transaction);
    match (was_replica, server.replication.is_replica()) {
        (false, true) => cx.keys.effects.stop_logging(),
        (true, false) => cx.keys.effects.logged = server.log.is_active(),
        _ => {}
    }
}

/// Refuses more than `most` further arguments, before a look at what they are.
fn at_most(cx: &Cx<'_>, args: &Args<'_>, most: usize) -> Done {
    if args.left() <= most {
        return Ok(());
    }
    Err(ReplyError::subcommand_syntax(cx.argv.name(), cx.argv.get(1)))
}

fn refused(error: CommandError) -> ReplyError {
    ReplyError::new(format!("ERR {error}"))
}

fn slot(bytes: &[u8]) -> Result<Slot, ReplyError> {
    let slot = parse_i64(bytes).and_then(|n| u16::try_from(n).ok()).and_then(Slot::new);
    slot.ok_or(ReplyError::fixed("ERR Invalid or out of range slot"))
}

fn db_is_empty(cx: &Cx<'_>) -> bool {
    cx.server.keyspace.is_empty()
}

/// Ends a subcommand that changed the machine.
fn done(cx: &mut Cx<'_>, result: Result<(), CommandError>) -> Done {
    result.map_err(refused)?;
    cx.reply.ok();
    Ok(())
}

fn meet(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let cluster = here(cx)?;
    at_most(cx, args, 3)?;
    let (ip, port) = (String::from_utf8_lossy(args.bytes()?).into_owned(), args.bytes()?);
    let port = parse_i64(port).ok_or_else(|| {
        ReplyError::new(format!("ERR Invalid base port specified: {}", String::from_utf8_lossy(port)))
    })?;
    let bus_port = match args.next_opt() {
        None => port + 10_000,
        Some(text) => parse_i64(text).ok_or_else(|| {
            ReplyError::new(format!("ERR Invalid bus port specified: {}", String::from_utf8_lossy(text)))
        })?,
    };
    let result = cluster.with(|machine, bus| machine.meet(bus, &ip, port, bus_port));
    done(cx, result)
}

fn nodes(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let text = shown(cx)?.view(|machine| machine.nodes_text(false));
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn info(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let text = shown(cx)?.view(|machine| machine.info_text());
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn myid(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let id = here(cx)?.view(|machine| machine.my_id());
    cx.reply.text(id.as_str());
    Ok(())
}

fn myshardid(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let id = here(cx)?.view(|machine| machine.my_shard_id());
    cx.reply.text(id.as_str());
    Ok(())
}

fn slots(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let ranges = shown(cx)?.view(|machine| machine.slot_ranges());
    cx.reply.array(ranges.len());
    for range in ranges {
        cx.reply.array(3 + range.replicas.len());
        cx.reply.integer(i64::from(*range.slots.start()));
        cx.reply.integer(i64::from(*range.slots.end()));
        for node in std::iter::once(&range.master).chain(&range.replicas) {
            endpoint(cx, node);
        }
    }
    Ok(())
}

/// A node as CLUSTER SLOTS shows it: preferred endpoint, port, id, and the other names it goes by.
fn endpoint(cx: &mut Cx<'_>, node: &NodeView) {
    use crate::config::Endpoint;
    let preferred = cx.settings.cluster_preferred_endpoint;
    cx.reply.array(4);
    match preferred {
        Endpoint::Ip => cx.reply.text(node.address.ip.as_str()),
        Endpoint::Hostname if node.hostname.is_empty() => cx.reply.text("?"),
        Endpoint::Hostname => cx.reply.text(&node.hostname),
        Endpoint::Unknown => cx.reply.null(),
    }
    cx.reply.integer(i64::from(node.address.tcp_port));
    cx.reply.text(node.id.as_str());
    let mut others = Vec::new();
    if preferred != Endpoint::Ip {
        others.push(("ip", node.address.ip.as_str()));
    }
    if preferred != Endpoint::Hostname && !node.hostname.is_empty() {
        others.push(("hostname", &node.hostname));
    }
    cx.reply.map(others.len());
    for (name, value) in others {
        cx.reply.text(name);
        cx.reply.text(value);
    }
}

fn shards(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let shards = shown(cx)?.view(|machine| machine.shards());
    cx.reply.array(shards.len());
    for shard in shards {
        cx.reply.map(2);
        cx.reply.text("slots");
        cx.reply.array(shard.slots.len() * 2);
        for range in &shard.slots {
            cx.reply.integer(i64::from(*range.start()));
            cx.reply.integer(i64::from(*range.end()));
        }
        cx.reply.text("nodes");
        cx.reply.array(shard.nodes.len());
        for node in &shard.nodes {
            shard_node(cx, node);
        }
    }
    Ok(())
}

fn shard_node(cx: &mut Cx<'_>, node: &NodeView) {
    use crate::config::Endpoint;
    let has_hostname = !node.hostname.is_empty();
    cx.reply.map(7 + usize::from(has_hostname));
    cx.reply.text("id");
    cx.reply.text(node.id.as_str());
    cx.reply.text("port");
    cx.reply.integer(i64::from(node.address.tcp_port));
    cx.reply.text("ip");
    cx.reply.text(node.address.ip.as_str());
    cx.reply.text("endpoint");
    match cx.settings.cluster_preferred_endpoint {
        Endpoint::Ip => cx.reply.text(node.address.ip.as_str()),
        Endpoint::Hostname if !has_hostname => cx.reply.text("?"),
        Endpoint::Hostname => cx.reply.text(&node.hostname),
        Endpoint::Unknown => cx.reply.null(),
    }
    if has_hostname {
        cx.reply.text("hostname");
        cx.reply.text(&node.hostname);
    }
    cx.reply.text("role");
    cx.reply.text(if node.is_master() { "master" } else { "replica" });
    cx.reply.text("replication-offset");
    cx.reply.integer(node.repl_offset as i64);
    cx.reply.text("health");
    cx.reply.text(node.health());
}

fn links(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let cluster = here(cx)?;
    let links: Vec<_> = cluster
        .view(|machine| machine.links())
        .into_iter()
        .map(|link| (cluster.outgoing.bytes(link.link), link))
        .collect();
    cx.reply.array(links.len());
    for (waiting, link) in links {
        cx.reply.map(6);
        cx.reply.text("direction");
        cx.reply.text(if link.link.is_incoming() { "from" } else { "to" });
        cx.reply.text("node");
        cx.reply.text(link.node.as_str());
        cx.reply.text("create-time");
        cx.reply.integer(link.created_ms);
        cx.reply.text("events");
        cx.reply.text(if waiting > 0 { "rw" } else { "r" });
        for field in ["send-buffer-allocated", "send-buffer-used"] {
            cx.reply.text(field);
            cx.reply.integer(waiting as i64);
        }
    }
    Ok(())
}

fn keyslot(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    here(cx)?;
    cx.reply.integer(i64::from(slot_of(args.bytes()?).get()));
    Ok(())
}

fn countkeysinslot(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    here(cx)?;
    let slot = parse_slot(args)?;
    cx.reply.integer(count(cx, slot) as i64);
    Ok(())
}

fn count(cx: &Cx<'_>, slot: Slot) -> usize {
    cx.server.keyspace.db(0).map_or(0, |db| db.key_count(slot))
}

fn parse_slot(args: &mut Args<'_>) -> Result<Slot, ReplyError> {
    let n = args.i64()?;
    u16::try_from(n).ok().and_then(Slot::new).ok_or(ReplyError::fixed("ERR Invalid slot"))
}

fn getkeysinslot(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    use keyspace::table::Item;
    here(cx)?;
    let n = args.i64()?;
    let most = args.i64()?;
    let slot = u16::try_from(n).ok().and_then(Slot::new);
    let (Some(slot), Ok(most)) = (slot, usize::try_from(most)) else {
        return Err(ReplyError::fixed("ERR Invalid slot or number of keys"));
    };
    let Some(db) = cx.server.keyspace.db(0) else { return Err(ReplyError::DB_OUT_OF_RANGE) };
    let guard = db.lock(slot);
    let count = guard.len().min(most);
    cx.reply.array(count);
    guard.iter().take(count).for_each(|entry| cx.reply.bulk(entry.key()));
    Ok(())
}

fn all_slots(args: &mut Args<'_>) -> Result<Vec<Slot>, ReplyError> {
    args.rest().map(slot).collect()
}

/// Slots of `start end` pairs.
fn all_ranges(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Vec<Slot>, ReplyError> {
    let pairs = args.pairs().ok_or_else(|| ReplyError::arity(cx.name()))?;
    let mut slots = Vec::new();
    for (start, end) in pairs {
        let (start, end) = (slot(start)?, slot(end)?);
        if start > end {
            return Err(ReplyError::new(format!(
                "ERR start slot number {start} is greater than end slot number {end}"
            )));
        }
        slots.extend((start.get()..=end.get()).filter_map(Slot::new));
    }
    Ok(slots)
}

fn addslots(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (cluster, slots) = (settled(cx)?, all_slots(args)?);
    let result = step(cx, cluster, |machine, bus| machine.add_slots(bus, &slots));
    done(cx, result)
}

fn addslotsrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (cluster, slots) = (settled(cx)?, all_ranges(cx, args)?);
    let result = step(cx, cluster, |machine, bus| machine.add_slots(bus, &slots));
    done(cx, result)
}

fn delslots(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (cluster, slots) = (settled(cx)?, all_slots(args)?);
    let result = step(cx, cluster, |machine, bus| machine.del_slots(bus, &slots));
    done(cx, result)
}

fn delslotsrange(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (cluster, slots) = (settled(cx)?, all_ranges(cx, args)?);
    let result = step(cx, cluster, |machine, bus| machine.del_slots(bus, &slots));
    done(cx, result)
}

fn flushslots(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let (cluster, empty) = (settled(cx)?, db_is_empty(cx));
    let result = step(cx, cluster, |machine, bus| machine.flush_slots(bus, empty));
    done(cx, result)
}

fn setslot(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let cluster = settled(cx)?;
    let slot = slot(args.bytes()?)?;
    let action = args.bytes()?;
    let is = |name: &str| action.eq_ignore_ascii_case(name.as_bytes());
    const INVALID: ReplyError =
        ReplyError::fixed("ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP");
    let keys = count(cx, slot);
    let result = if is("stable") && args.is_empty() {
        step(cx, cluster, |machine, bus| machine.set_slot_stable(bus, slot))
    } else {
        let (Some(id), true) = (args.next_opt(), args.is_empty()) else { return Err(INVALID) };
        match () {
            () if is("migrating") => {
                step(cx, cluster, |machine, bus| machine.set_slot_migrating(bus, slot, id))
            }
            () if is("importing") => {
                step(cx, cluster, |machine, bus| machine.set_slot_importing(bus, slot, id))
            }
            () if is("node") => step(cx, cluster, |machine, bus| machine.set_slot_node(bus, slot, id, keys)),
            () => return Err(INVALID),
        }
    };
    done(cx, result)
}

fn replicate(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (cluster, id, empty) = (settled(cx)?, args.bytes()?, db_is_empty(cx));
    let result = step(cx, cluster, |machine, bus| machine.replicate(bus, id, empty));
    done(cx, result)
}

fn replicas(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let lines = here(cx)?.view(|machine| machine.replica_lines(args.bytes().unwrap_or_default(), false));
    let lines = lines.map_err(refused)?;
    cx.reply.array(lines.len());
    lines.iter().for_each(|line| cx.reply.text(line));
    Ok(())
}

fn forget(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (cluster, id) = (settled(cx)?, args.bytes()?);
    let result = step(cx, cluster, |machine, bus| machine.forget(bus, id));
    done(cx, result)
}

fn reset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let cluster = settled(cx)?;
    at_most(cx, args, 1)?;
    let hard = match () {
        () if args.is_empty() || args.flag("SOFT") => false,
        () if args.flag("HARD") => true,
        () => return Err(ReplyError::SYNTAX),
    };
    let empty = db_is_empty(cx);
    let result = step(cx, cluster, |machine, bus| machine.reset(bus, hard, empty));
    done(cx, result)
}

fn failover(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let cluster = settled(cx)?;
    at_most(cx, args, 1)?;
    let mode = match () {
        () if args.is_empty() => FailoverMode::Graceful,
        () if args.flag("FORCE") => FailoverMode::Force,
        () if args.flag("TAKEOVER") => FailoverMode::Takeover,
        () => return Err(ReplyError::SYNTAX),
    };
    let result = step(cx, cluster, |machine, bus| machine.failover(bus, mode));
    done(cx, result)
}

fn bumpepoch(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let cluster = settled(cx)?;
    let outcome = step(cx, cluster, |machine, bus| machine.bump_epoch(bus));
    let (word, epoch) = match outcome {
        BumpOutcome::Bumped(epoch) => ("BUMPED", epoch),
        BumpOutcome::Still(epoch) => ("STILL", epoch),
    };
    cx.reply.simple(&format!("{word} {}", epoch.0));
    Ok(())
}

fn set_config_epoch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let cluster = settled(cx)?;
    let epoch = args.i64()?;
    let Ok(epoch) = u64::try_from(epoch) else {
        return Err(ReplyError::new(format!("ERR Invalid config epoch specified: {epoch}")));
    };
    let result = step(cx, cluster, |machine, bus| machine.set_config_epoch(bus, Epoch(epoch)));
    done(cx, result)
}

fn saveconfig(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let cluster = here(cx)?;
    cluster
        .save()
        .map_err(|error| ReplyError::new(format!("ERR error saving the cluster node config: {error}")))?;
    cx.reply.ok();
    Ok(())
}

fn count_failure_reports(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let id = args.bytes()?;
    let now_ms = cx.now_ms;
    let count = here(cx)?.with(|machine, _| machine.count_failure_reports(now_ms, id)).map_err(refused)?;
    cx.reply.integer(count as i64);
    Ok(())
}

fn help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let names: Vec<String> = SUBCOMMANDS.iter().map(|sub| sub.name.to_ascii_uppercase()).collect();
    cx.reply.array(names.len() + 1);
    cx.reply.simple("CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    names.iter().for_each(|name| cx.reply.simple(name));
    Ok(())
}

/// A container without its subcommand; the dispatcher refuses it by its arity.
fn cluster(_: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    Err(ReplyError::SYNTAX)
}

#[rustfmt::skip]
const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec::new("meet", -4, flags!(NO_ASYNC_LOADING | ADMIN | STALE), meet).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("nodes", 2, flags!(STALE), nodes).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("info", 2, flags!(STALE), info).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("myid", 2, flags!(STALE), myid).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("myshardid", 2, flags!(STALE), myshardid).group(Group::Cluster).since("7.2.0"),
    CommandSpec::new("slots", 2, flags!(LOADING | STALE), slots).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("shards", 2, flags!(LOADING | STALE), shards).group(Group::Cluster).since("7.0.0"),
    CommandSpec::new("links", 2, flags!(STALE), links).group(Group::Cluster).since("7.0.0"),
    CommandSpec::new("keyslot", 3, flags!(STALE), keyslot).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("countkeysinslot", 3, flags!(STALE), countkeysinslot).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("getkeysinslot", 4, flags!(STALE), getkeysinslot).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("addslots", -3, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), addslots).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("addslotsrange", -4, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), addslotsrange).group(Group::Cluster).since("7.0.0"),
    CommandSpec::new("delslots", -3, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), delslots).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("delslotsrange", -4, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), delslotsrange).group(Group::Cluster).since("7.0.0"),
    CommandSpec::new("flushslots", 2, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), flushslots).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("setslot", -4, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), setslot).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("replicate", 3, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), replicate).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("replicas", 3, flags!(ADMIN | STALE), replicas).group(Group::Cluster).since("5.0.0"),
    CommandSpec::new("forget", 3, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), forget).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("reset", -2, flags!(ADMIN | STALE | NOSCRIPT | EXCLUSIVE), reset).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("failover", -2, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), failover).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("bumpepoch", 2, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), bumpepoch).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("set-config-epoch", 3, flags!(NO_ASYNC_LOADING | ADMIN | STALE | EXCLUSIVE), set_config_epoch).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("saveconfig", 2, flags!(NO_ASYNC_LOADING | ADMIN | STALE), saveconfig).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("count-failure-reports", 3, flags!(ADMIN | STALE), count_failure_reports).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), help).group(Group::Cluster).since("5.0.0"),
    CommandSpec::new("slaves", 3, flags!(ADMIN | STALE), replicas).group(Group::Cluster).since("3.0.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("cluster", -2, flags!(), cluster).subcommands(SUBCOMMANDS).group(Group::Cluster).since("3.0.0"),
];
