//! Commands of replication: REPLICAOF, PSYNC, REPLCONF, ROLE, WAIT.

use super::prelude::*;
use crate::exec::cx::Wait;
use crate::exec::session::{ReplicaHandshake, Request};
use crate::log;
use crate::net::Mail;
use crate::replication;
use protocol::number::{parse_i64, parse_u64};
use std::sync::atomic::Ordering;

fn replicaof(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if cx.settings.cluster_enabled {
        return Err(ReplyError::fixed("ERR REPLICAOF not allowed in cluster mode."));
    }
    let (host, port) = (args.bytes()?, args.bytes()?);
    let server = cx.server.clone();
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        server.replication.promote_at_rest(&server);
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
    cx.reply.ok();
    Ok(())
}

fn sync(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    ready_to_serve(cx)?;
    cx.server.stats.sync_full.fetch_add(1, Ordering::Relaxed);
    cx.session.request = Some(Box::new(Request::FullSync { framed: true, announced: false }));
    Ok(())
}

fn psync(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (replid, offset) = (args.bytes()?, args.i64()?);
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
    server.stats.sync_full.fetch_add(1, Ordering::Relaxed);
    log::notice(&format!("Full resync requested by replica {label}"));
    cx.session.request = Some(Box::new(Request::FullSync { framed: !handshake.eof, announced: true }));
    Ok(())
}

fn ready_to_serve(cx: &Cx<'_>) -> Done {
    if cx.session.is(SessionFlags::REPLICA) {
        return Err(ReplyError::fixed("ERR Already a replica"));
    }
    if cx.server.replication.is_link_down() {
        return Err(ReplyError::fixed("NOMASTERLINK Can't SYNC while not connected with my master"));
    }
    Ok(())
}

fn replconf(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    while let Some(option) = args.next_opt() {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        let value = args.bytes()?;
        if is("ack") {
            if cx.session.is(SessionFlags::REPLICA)
                && let Some(offset) = parse_u64(value)
            {
                cx.session.request = Some(Box::new(Request::Ack { offset }));
            }
            return Ok(());
        }
        if is("getack") {
            if cx.session.is(SessionFlags::MASTER) {
                let offset = cx.server.log.end().to_string();
                cx.reply.array(3);
                cx.reply.text("REPLCONF");
                cx.reply.text("ACK");
                cx.reply.text(&offset);
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
        } else if !(is("fack") || is("rdb-only") || is("rdb-filter-only")) {
            let text = [b"ERR Unrecognized REPLCONF option: ", option].concat();
            return Err(ReplyError::new(text));
        }
    }
    cx.reply.ok();
    Ok(())
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
        let state = match () {
            () if replication.is_link_up() => "connected",
            () if replication.syncing.load(Ordering::Relaxed) => "sync",
            () => "connect",
        };
        reply.text(state);
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
    let timeout_ms = args.i64().map_err(|_| ReplyError::TIMEOUT_NOT_INTEGER)?;
    if timeout_ms < 0 {
        return Err(ReplyError::TIMEOUT_NEGATIVE);
    }
    let offset = cx.session.last_write_offset;
    let acked = cx.server.replication.acked_by(offset);
    if acked as i64 >= replicas || cx.in_transaction {
        cx.reply.integer(acked as i64);
        return Ok(());
    }
    // Replicas acknowledge once a second of themselves; asked, they do it now.
    cx.server.log.append_transient(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n");
    cx.server.post_all(|| Mail::LogMoved);
    let deadline_ms = (timeout_ms > 0).then(|| cx.now_ms.saturating_add(timeout_ms));
    cx.wait = Some(Wait::Replicas { replicas: replicas.max(0) as usize, offset, deadline_ms });
    Ok(())
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("replicaof", 3, flags!(NO_ASYNC_LOADING | ADMIN | NOSCRIPT | STALE | EXCLUSIVE), replicaof).group(Group::Server).since("5.0.0"),
    CommandSpec::new("psync", -3, flags!(NO_ASYNC_LOADING | ADMIN | NO_MULTI | NOSCRIPT | EXCLUSIVE), psync).group(Group::Server).since("2.8.0"),
    CommandSpec::new("sync", 1, flags!(NO_ASYNC_LOADING | ADMIN | NO_MULTI | NOSCRIPT | EXCLUSIVE), sync).group(Group::Server).since("1.0.0"),
    CommandSpec::new("replconf", -1, flags!(ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY), replconf).group(Group::Server).since("3.0.0"),
    CommandSpec::new("role", 1, flags!(NOSCRIPT | LOADING | STALE | FAST | SENTINEL), role).acl(acl!(ADMIN | DANGEROUS)).group(Group::Server).since("2.8.12"),
    CommandSpec::new("wait", 3, flags!(), wait).acl(acl!(CONNECTION)).group(Group::Generic).since("3.0.0"),
    CommandSpec::new("slaveof", 3, flags!(NO_ASYNC_LOADING | ADMIN | NOSCRIPT | STALE | EXCLUSIVE), replicaof).group(Group::Server).since("1.0.0"),
];
