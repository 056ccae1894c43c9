//! MEMORY: what the server can say about what it holds.

use super::help::{container, help};
use super::prelude::*;
use crate::info::{Usage, functions_bytes};
use keyspace::types::number::double_text;
use protocol::Reply;
use std::sync::atomic::Ordering::Relaxed;

fn memory_usage(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    while !args.is_empty() {
        if !args.flag("SAMPLES") || args.i64()? < 0 {
            return Err(ReplyError::SYNTAX);
        }
    }
    match cx.keys.peek(key).map(Entry::memory_bytes) {
        Some(bytes) => cx.reply.integer(bytes as i64),
        None => cx.reply.null(),
    }
    Ok(())
}

fn integer(reply: &mut Reply<'_>, name: &str, n: i64) {
    reply.text(name);
    reply.integer(n);
}

fn number(reply: &mut Reply<'_>, name: &str, n: f64) {
    reply.text(name);
    reply.double_text(&double_text(n));
}

fn memory_stats(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let usage = Usage::now(cx);
    let dbs: Vec<_> = cx.server.keyspace.dbs().iter().filter(|db| !db.is_empty()).collect();
    let keys = cx.server.keyspace.len() as u64;
    let replicas = usage.replicas(cx);
    let (scripts, functions) = (cx.server.scripts.cache.bytes(), functions_bytes(&cx.server.scripts));
    let reply = &mut cx.reply;
    reply.map(27 + dbs.len());
    integer(reply, "peak.allocated", usage.peak as i64);
    integer(reply, "total.allocated", usage.used as i64);
    integer(reply, "startup.allocated", usage.startup as i64);
    integer(reply, "replication.backlog", (usage.log - usage.log_for_readers) as i64);
    integer(reply, "clients.slaves", replicas as i64);
    integer(reply, "clients.normal", usage.clients as i64);
    integer(reply, "cluster.links", usage.links as i64);
    integer(reply, "aof.buffer", 0);
    integer(reply, "lua.caches", scripts as i64);
    integer(reply, "functions.caches", functions as i64);
    for db in dbs {
        reply.text(&format!("db.{}", db.index()));
        reply.map(3);
        for table in ["main", "expires", "slot-to-keys"] {
            reply.text(&format!("overhead.hashtable.{table}"));
            reply.integer(0);
        }
    }
    integer(reply, "overhead.total", usage.overhead as i64);
    integer(reply, "keys.count", keys as i64);
    integer(
        reply,
        "keys.bytes-per-key",
        ((usage.used - usage.startup) / keys.max(1)) as i64 * i64::from(keys > 0),
    );
    integer(reply, "dataset.bytes", usage.dataset() as i64);
    number(reply, "dataset.percentage", usage.dataset_percent());
    number(reply, "peak.percentage", usage.peak_percent());
    integer(reply, "allocator.allocated", usage.used as i64);
    integer(reply, "allocator.active", usage.resident as i64);
    integer(reply, "allocator.resident", usage.resident as i64);
    number(reply, "allocator-fragmentation.ratio", usage.fragmentation_ratio());
    integer(reply, "allocator-fragmentation.bytes", usage.fragmentation_bytes());
    number(reply, "allocator-rss.ratio", 1.0);
    integer(reply, "allocator-rss.bytes", 0);
    number(reply, "rss-overhead.ratio", 1.0);
    integer(reply, "rss-overhead.bytes", 0);
    number(reply, "fragmentation", usage.fragmentation_ratio());
    integer(reply, "fragmentation.bytes", usage.fragmentation_bytes());
    Ok(())
}

fn memory_doctor(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    const EMPTY_BYTES: u64 = 5 << 20;
    const LARGE_CLIENT_BYTES: u64 = 200 << 10;
    const LARGE_REPLICA_BYTES: u64 = 10 << 20;
    const MANY_SCRIPTS: usize = 1000;
    let usage = Usage::now(cx);
    let connected = cx.server.stats.connected.load(Relaxed).max(1) as u64;
    let replicas = cx.server.replication.replicas().len().max(1) as u64;
    let findings = [
        (
            usage.peak as f64 / usage.used as f64 > 1.5,
            "Memory use was more than half again as high before; the peak may come back.",
        ),
        (
            usage.fragmentation_ratio() > 1.4,
            "The process holds much more memory than is in use; MEMORY PURGE may give it back.",
        ),
        (
            usage.clients / connected > LARGE_CLIENT_BYTES,
            "Clients hold much memory each: CLIENT LIST shows which (tot-mem), maxmemory-clients limits it.",
        ),
        (
            usage.replicas(cx) / replicas > LARGE_REPLICA_BYTES,
            "Replicas lag: the write log holds what they have not read yet.",
        ),
        (
            cx.server.scripts.cache.len() > MANY_SCRIPTS,
            "There are very many cached scripts: they may be made one by one, with their arguments in the text.",
        ),
    ];
    let found: Vec<&str> = findings.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text).collect();
    let text = match () {
        () if usage.used < EMPTY_BYTES => {
            "The dataset is nearly empty: there is not enough to judge by.".into()
        }
        () if found.is_empty() => "No memory problem was found.".into(),
        () => found.join("\n"),
    };
    cx.reply.verbatim("txt", format!("{text}\n").as_bytes());
    Ok(())
}

fn memory_purge(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    crate::memory::purge();
    cx.reply.ok();
    Ok(())
}

fn memory_malloc_stats(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.reply.verbatim("txt", crate::memory::allocator_stats().as_bytes());
    Ok(())
}

fn memory_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "DOCTOR",
            "    Says what looks unhealthy about memory use.",
            "MALLOC-STATS",
            "    Shows the allocator's own statistics, where it has any.",
            "PURGE",
            "    Asks the allocator to give unused memory back.",
            "STATS",
            "    Shows what memory is used for.",
            "USAGE <key> [SAMPLES <count>]",
            "    Estimates the bytes a key and its value take.",
        ],
    )
}

#[rustfmt::skip]
const MEMORY: &[CommandSpec] = &[
    CommandSpec::new("usage", -3, flags!(READONLY), memory_usage).keys(&[KeySpec::index(2).flags(key!(RO))]).group(Group::Server).since("4.0.0"),
    CommandSpec::new("doctor", 2, flags!(), memory_doctor).group(Group::Server).since("4.0.0"),
    CommandSpec::new("stats", 2, flags!(), memory_stats).group(Group::Server).since("4.0.0"),
    CommandSpec::new("purge", 2, flags!(), memory_purge).group(Group::Server).since("4.0.0"),
    CommandSpec::new("malloc-stats", 2, flags!(), memory_malloc_stats).group(Group::Server).since("4.0.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), memory_help).group(Group::Server).since("4.0.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("memory", -2, flags!(), container).subcommands(MEMORY).group(Group::Server).since("4.0.0"),
];
