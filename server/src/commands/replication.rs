//! Commands of replication: REPLICAOF, PSYNC, REPLCONF, ROLE, WAIT.

use super::prelude::*;
use crate::exec::cx::{Disks, Wait};
use crate::exec::session::{ReplicaHandshake, Request};
use crate::log;
use crate::net::Mail;
use crate::replication::failover::Plan;
use crate::replication::{self, Replication};
use protocol::number::{parse_i64, parse_u64};
use std::sync::atomic::Ordering;

fn replicaof(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if cx.settings.cluster_enabled {
        return Err(ReplyError::fixed("ERR REPLICAOF not allowed in cluster mode."));
    }
    let (host, port) = (args.bytes()?, args.bytes()?);
    let server = cx.server.clone();
    if server.replication.failover.is_under_way() {
        return Err(ReplyError::fixed("ERR REPLICAOF not allowed while failing over."));
    }
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        server.replication.promote_at_rest(&server);
        cx.keys.effects.logged = server.log.is_active();
        cx.reply.ok();
        return Ok(());
    }
    let port = parse_i64(port).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(ReplyError::fixed("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(host).into_owned();
    if cx.server.replication.master().is_some_and(|(h, p)| h == host && p == port) {
        cx.reply.simple("OK Already connected to specified master");
        return Ok(());
    }
    log::notice(&format!("REPLICAOF {host}:{port} enabled (user request from 'id={}')", cx.session.id));
    if let Some(world) = &mut cx.world {
        server.replication.follow_at_rest(&server, &mut **world, &host, port);
    }
    cx.keys.effects.stop_logging();
    cx.reply.ok();
    Ok(())
}

fn sync(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    ready_to_serve(cx)?;
    full_sync(cx, false);
    Ok(())
}

fn psync(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let replid = args.bytes()?;
    let offset = args.i64().inspect_err(|_| {
        let label = replication::label(cx.session.replica.as_deref(), &cx.session.peer);
        log::warning(&format!("Replica {label} asks for synchronization but with a wrong offset"));
    })?;
    if args.flag("FAILOVER") {
        take_over(cx, replid)?;
    }
    ready_to_serve(cx)?;
    let handshake = cx.session.replica.get_or_insert_default().clone();
    let label = replication::label(Some(&handshake), &cx.session.peer);
    log::notice(&format!("Replica {label} asks for synchronization"));
    let server = cx.server;
    if let Some(cursor) = server.replication.partial_resync(server, replid, offset) {
        let history = server.replication.history();
        if handshake.psync2 {
            cx.reply.simple(&format!("CONTINUE {}", history.replid));
        } else {
            cx.reply.simple("CONTINUE");
        }
        server.stats.sync_partial_ok.fetch_add(1, Ordering::Relaxed);
        log::notice(&format!(
            "Partial resynchronization request from {label} accepted. Sending {} bytes of backlog starting from \
             offset {offset}.",
            server.log.end() as i64 + 1 - offset
        ));
        cx.session.request = Some(Box::new(Request::Feed(cursor)));
        return Ok(());
    }
    if replid != b"?" {
        server.stats.sync_partial_err.fetch_add(1, Ordering::Relaxed);
        log::notice(&format!(
            "Partial resynchronization not accepted: replica {label} asked for {}:{offset}, and the backlog \
             starts at {} (repl-backlog-size decides how far it reaches)",
            String::from_utf8_lossy(replid),
            server.log.first() + 1
        ));
    }
    log::notice(&format!("Full resync requested by replica {label}"));
    full_sync(cx, true);
    Ok(())
}

fn full_sync(cx: &mut Cx<'_>, announced: bool) {
    cx.server.stats.sync_full.fetch_add(1, Ordering::Relaxed);
    let framed = !cx.session.replica.as_deref().is_some_and(|said| said.eof);
    cx.session.request = Some(Box::new(Request::FullSync { framed, announced }));
}

/// Our master asks us to be master in its place.
fn take_over(cx: &mut Cx<'_>, replid: &[u8]) -> Done {
    let server = cx.server.clone();
    log::notice(&format!("Failover request received for replid {}.", String::from_utf8_lossy(replid)));
    if !server.replication.is_replica() {
        return Err(ReplyError::fixed("ERR PSYNC FAILOVER can't be sent to a master."));
    }
    if !replid.eq_ignore_ascii_case(server.replication.history().replid.as_bytes()) {
        return Err(ReplyError::fixed("ERR PSYNC FAILOVER replid must match my replid."));
    }
    server.replication.promote_at_rest(&server);
    Ok(())
}

/// Hands the master's role over to a replica, or ends doing so.
fn failover(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if cx.settings.cluster_enabled {
        return Err(ReplyError::fixed(
            "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        ));
    }
    let server = cx.server.clone();
    if args.left() == 1 && args.flag("ABORT") {
        if !server.replication.failover.abort_at_rest(&server, "Failover manually aborted") {
            return Err(ReplyError::fixed("ERR No failover in progress."));
        }
        cx.reply.ok();
        return Ok(());
    }
    let plan = failover_plan(args, cx.now_ms)?;
    may_fail_over(&server.replication, &plan)?;
    server.replication.failover.begin(&server, plan);
    cx.reply.ok();
    Ok(())
}

fn failover_plan(args: &mut Args<'_>, now_ms: i64) -> Result<Plan, ReplyError> {
    let mut plan = Plan::default();
    while !args.is_empty() {
        if args.left() > 1 && plan.deadline_ms.is_none() && args.flag("TIMEOUT") {
            let too_small = || ReplyError::fixed("ERR FAILOVER timeout must be greater than 0");
            let timeout_ms = Some(args.i64()?).filter(|&ms| ms > 0).ok_or_else(too_small)?;
            plan.deadline_ms = Some(now_ms.saturating_add(timeout_ms));
        } else if args.left() > 2 && plan.target.is_none() && args.flag("TO") {
            let host = String::from_utf8_lossy(args.bytes()?).into_owned();
            // A port that is none is nobody's.
            plan.target = Some((host, u16::try_from(args.i64()?).unwrap_or(0)));
        } else if !plan.force && args.flag("FORCE") {
            plan.force = true;
        } else {
            return Err(ReplyError::SYNTAX);
        }
    }
    Ok(plan)
}

fn may_fail_over(replication: &Replication, plan: &Plan) -> Done {
    let refused = |text: &'static str| Err(ReplyError::fixed(text));
    if replication.failover.is_under_way() {
        return refused("ERR FAILOVER already in progress.");
    }
    if replication.is_replica() {
        return refused("ERR FAILOVER is not valid when server is a replica.");
    }
    let replicas = replication.replicas();
    if replicas.is_empty() {
        return refused("ERR FAILOVER requires connected replicas.");
    }
    if plan.force && (plan.deadline_ms.is_none() || plan.target.is_none()) {
        return refused("ERR FAILOVER with force option requires both a timeout and target HOST and IP.");
    }
    let Some((host, port)) = &plan.target else { return Ok(()) };
    match replicas.iter().find(|replica| replica.ip == *host && replica.port == *port) {
        None => refused("ERR FAILOVER target HOST and PORT is not a replica."),
        Some(replica) if !replica.online => refused("ERR FAILOVER target replica is not online."),
        Some(_) => Ok(()),
    }
}

fn ready_to_serve(cx: &Cx<'_>) -> Done {
    if cx.session.is(SessionFlags::REPLICA) {
        return Err(ReplyError::fixed("ERR Already a replica"));
    }
    if cx.server.replication.failover.is_under_way() {
        return Err(ReplyError::fixed("NOMASTERLINK Can't SYNC while failing over"));
    }
    if cx.server.replication.is_link_down() {
        return Err(ReplyError::fixed("NOMASTERLINK Can't SYNC while not connected with my master"));
    }
    let is_filtered = |said: &ReplicaHandshake| said.functions_only && !said.eof;
    if cx.session.replica.as_deref().is_some_and(is_filtered) {
        return Err(ReplyError::fixed("ERR Filtered replica requires EOF capability"));
    }
    Ok(())
}

fn replconf(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    while let Some(option) = args.next_opt() {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        let value = args.bytes()?;
        if is("ack") {
            let on_disk = args.flag("FACK").then(|| args.next_opt().and_then(parse_u64)).flatten();
            if cx.session.is(SessionFlags::REPLICA)
                && let Some(offset) = parse_u64(value)
            {
                cx.session.request = Some(Box::new(Request::Ack { offset, on_disk }));
            }
            return Ok(());
        }
        if is("getack") {
            if cx.session.is(SessionFlags::MASTER) {
                let words = replication::acknowledgement(cx.server);
                cx.reply.array(words.len());
                words.iter().for_each(|word| cx.reply.text(word));
                cx.session.request = Some(Box::new(Request::AckMaster));
            }
            return Ok(());
        }
        let handshake = cx.session.replica.get_or_insert_default();
        if is("listening-port") {
            let port = parse_i64(value).and_then(|port| u16::try_from(port).ok());
            handshake.listening_port = port.ok_or(ReplyError::NOT_INTEGER)?;
        } else if is("ip-address") {
            handshake.ip_address = String::from_utf8_lossy(value).into_owned();
        } else if is("capa") {
            capability(handshake, value);
        } else if is("rdb-filter-only") {
            handshake.functions_only = rdb_filter(value)?;
        } else if !is("rdb-only") {
            let text = [b"ERR Unrecognized REPLCONF option: ", option].concat();
            return Err(ReplyError::new(text));
        }
    }
    cx.reply.ok();
    Ok(())
}

/// What a snapshot is to be limited to: true for the functions, false for keys and functions.
fn rdb_filter(names: &[u8]) -> Result<bool, ReplyError> {
    let mut names = names.split(|b| *b == b' ').filter(|name| !name.is_empty()).peekable();
    let any = names.peek().is_some();
    match names.find(|name| !name.eq_ignore_ascii_case(b"functions")) {
        None => Ok(any),
        Some(unknown) => {
            Err(ReplyError::new([b"ERR Unsupported rdb-filter-only option: ", unknown].concat()))
        }
    }
}

fn capability(handshake: &mut ReplicaHandshake, name: &[u8]) {
    match name {
        b"eof" => handshake.eof = true,
        b"psync2" => handshake.psync2 = true,
        _ => {}
    }
}

fn role(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let (server, reply) = (cx.server, &mut cx.reply);
    let replication = &server.replication;
    if let Some((host, port)) = replication.master() {
        reply.array(5);
        reply.text("slave");
        reply.text(&host);
        reply.integer(i64::from(port));
        reply.text(replication.link_state_name());
        reply.integer(if replication.is_link_up() { server.log.end() as i64 } else { -1 });
        return Ok(());
    }
    let replicas: Vec<_> = replication.replicas().into_iter().filter(|replica| replica.online).collect();
    reply.array(3);
    reply.text("master");
    reply.integer(server.log.end() as i64);
    reply.array(replicas.len());
    for replica in replicas {
        reply.array(3);
        reply.text(&replica.ip);
        reply.text(&replica.port.to_string());
        reply.text(&replica.acked_offset.to_string());
    }
    Ok(())
}

fn wait(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if cx.batch.role_is_replica {
        return Err(ReplyError::fixed(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not \
             propagated.",
        ));
    }
    let replicas = args.i64()?;
    let deadline_ms = deadline(cx, args)?;
    let offset = cx.session.last_write_offset;
    let acked = cx.server.replication.acked_by(offset);
    if acked as i64 >= replicas || cx.in_transaction {
        cx.reply.integer(acked as i64);
        return Ok(());
    }
    wait_for_replicas(cx, replicas, deadline_ms, None);
    Ok(())
}

/// When a client that gives a time in milliseconds stops waiting; `None` for never.
fn deadline(cx: &Cx<'_>, args: &mut Args<'_>) -> Result<Option<i64>, ReplyError> {
    let timeout_ms = args.i64().map_err(|_| ReplyError::TIMEOUT_NOT_INTEGER)?;
    match timeout_ms {
        ..0 => Err(ReplyError::TIMEOUT_NEGATIVE),
        0 => Ok(None),
        _ => cx.now_ms.checked_add(timeout_ms).map(Some).ok_or(ReplyError::TIMEOUT_OUT_OF_RANGE),
    }
}

fn wait_for_replicas(cx: &mut Cx<'_>, replicas: i64, deadline_ms: Option<i64>, disks: Option<Disks>) {
    // Replicas acknowledge once a second of themselves; asked, they do it now.
    cx.server.log.append_transient(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n");
    cx.server.post_all(|| Mail::LogMoved);
    let offset = cx.session.last_write_offset;
    cx.wait = Some(Wait::Replicas { replicas: replicas.max(0) as usize, offset, deadline_ms, disks });
}

/// As WAIT, for what is on disk: here (`own`, 0 or 1) and at so many replicas.
fn waitaof(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let own = args.i64()?;
    if !(0..=1).contains(&own) {
        return Err(ReplyError::fixed("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = args.i64_in(0..=i64::MAX, ReplyError::MUST_BE_POSITIVE)?;
    let deadline_ms = deadline(cx, args)?;
    if cx.batch.role_is_replica {
        return Err(ReplyError::fixed(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just \
             local and are not propagated.",
        ));
    }
    if own > 0 && !cx.settings.appendonly {
        return Err(replication::no_aof());
    }
    let offset = cx.session.last_write_offset;
    let (here, there) = replication::on_disks(cx.server, offset);
    if here as i64 >= own && there as i64 >= replicas || cx.in_transaction {
        replication::reply_on_disks(&mut cx.reply, here, there);
        return Ok(());
    }
    wait_for_replicas(cx, replicas, deadline_ms, Some(Disks { own: own > 0 }));
    Ok(())
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("replicaof", 3, flags!(NO_ASYNC_LOADING | ADMIN | NOSCRIPT | STALE | EXCLUSIVE), replicaof).group(Group::Server).since("5.0.0"),
    CommandSpec::new("failover", -1, flags!(ADMIN | NOSCRIPT | STALE | EXCLUSIVE), failover).group(Group::Server).since("6.2.0"),
    CommandSpec::new("psync", -3, flags!(NO_ASYNC_LOADING | ADMIN | NO_MULTI | NOSCRIPT | EXCLUSIVE), psync).group(Group::Server).since("2.8.0"),
    CommandSpec::new("sync", 1, flags!(NO_ASYNC_LOADING | ADMIN | NO_MULTI | NOSCRIPT | EXCLUSIVE), sync).group(Group::Server).since("1.0.0"),
    CommandSpec::new("replconf", -1, flags!(ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY), replconf).group(Group::Server).since("3.0.0"),
    CommandSpec::new("role", 1, flags!(NOSCRIPT | LOADING | STALE | FAST | SENTINEL), role).acl(acl!(ADMIN | DANGEROUS)).group(Group::Server).since("2.8.12"),
    CommandSpec::new("wait", 3, flags!(), wait).acl(acl!(CONNECTION)).group(Group::Generic).since("3.0.0"),
    CommandSpec::new("waitaof", 4, flags!(NOSCRIPT), waitaof).acl(acl!(CONNECTION)).group(Group::Generic).since("7.2.0"),
    CommandSpec::new("slaveof", 3, flags!(NO_ASYNC_LOADING | ADMIN | NOSCRIPT | STALE | EXCLUSIVE), replicaof).group(Group::Server).since("1.0.0"),
];
