//! Commands about the connection itself: PING, AUTH, HELLO, SELECT and their like.

use super::client::{check_name, set_name};
use super::prelude::*;
use crate::acl::log::{Context, Happened, Reason};
use crate::clients::View;
use crate::clock;
use protocol::Resp;

fn ping(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if cx.session.is(SessionFlags::SUBSCRIBED) && cx.reply.resp == Resp::V2 {
        let message = args.next_opt().unwrap_or_default();
        args.finish().map_err(|_| ReplyError::arity(cx.name()))?;
        cx.reply.array(2);
        cx.reply.bulk(b"pong");
        cx.reply.bulk(message);
        return Ok(());
    }
    match (args.next_opt(), args.is_empty()) {
        (None, _) => cx.reply.simple("PONG"),
        (Some(message), true) => cx.reply.bulk(message),
        _ => return Err(ReplyError::arity(cx.name())),
    }
    Ok(())
}

fn echo(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    cx.reply.bulk(args.bytes()?);
    Ok(())
}

fn select(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let text = args.bytes()?;
    if cx.settings.cluster_enabled && super::common::int(text)? != 0 {
        return Err(ReplyError::fixed("ERR SELECT is not allowed in cluster mode"));
    }
    let index = super::common::database(text, cx.settings.databases)?;
    cx.select(index);
    cx.reply.ok();
    Ok(())
}

fn auth(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let first = args.bytes()?;
    let (user, password) = match args.next_opt() {
        None => (&b"default"[..], first),
        Some(password) => (first, password),
    };
    args.finish()?;
    if args.argv().len() == 2 && cx.server.acl.default.rules().needs_no_password {
        return Err(ReplyError::fixed(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        ));
    }
    authenticate(cx, args.argv().name(), user, password)?;
    cx.reply.ok();
    Ok(())
}

fn authenticate(cx: &mut Cx<'_>, command: &[u8], name: &[u8], password: &[u8]) -> Done {
    if let Some(user) = cx.server.acl.authenticate(name, password) {
        cx.session.log_in(user);
        return Ok(());
    }
    let happened = Happened {
        reason: Reason::Auth,
        context: if cx.in_transaction { Context::Multi } else { Context::Toplevel },
        object: command.into(),
        user: name.into(),
        client: View::own(cx.session).line(cx.now_ms),
    };
    cx.server.acl.log.add(cx.settings.acllog_max_len, clock::now_ms(), happened);
    Err(ReplyError::WRONG_PASS)
}

fn hello(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let mut resp = cx.session.resp;
    if let Some(version) = args.peek() {
        resp = match args.i64() {
            Ok(2) => Resp::V2,
            Ok(3) => Resp::V3,
            Ok(_) => return Err(ReplyError::NO_PROTO),
            Err(_) if version.is_empty() => return Err(ReplyError::NO_PROTO),
            Err(_) => {
                return Err(ReplyError::fixed("ERR Protocol version is not an integer or out of range"));
            }
        };
    }
    let mut name = None;
    let mut credentials = None;
    while let Some(option) = args.next_opt() {
        if option.eq_ignore_ascii_case(b"AUTH") && args.left() >= 2 {
            credentials = Some((args.bytes()?, args.bytes()?));
        } else if option.eq_ignore_ascii_case(b"SETNAME") && args.left() >= 1 {
            name = Some(args.bytes()?);
            check_name(name.unwrap_or_default())?;
        } else {
            let text = [b"ERR Syntax error in HELLO option '", option, b"'"].concat();
            return Err(ReplyError::new(text));
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(cx, args.argv().name(), user, password)?;
    }
    if !cx.session.is(SessionFlags::AUTHENTICATED) {
        return Err(ReplyError::fixed(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    if let Some(name) = name {
        set_name(cx, name);
    }
    cx.session.resp = resp;
    cx.reply.resp = resp;
    cx.reply.map(7);
    let mode = if cx.settings.cluster_enabled { "cluster" } else { "standalone" };
    let role = if cx.batch.role_is_replica { "replica" } else { "master" };
    for (field, value) in [("server", "redis"), ("version", crate::REDIS_VERSION)] {
        cx.reply.text(field);
        cx.reply.text(value);
    }
    cx.reply.text("proto");
    cx.reply.integer(resp.number());
    cx.reply.text("id");
    cx.reply.integer(cx.session.id as i64);
    for (field, value) in [("mode", mode), ("role", role)] {
        cx.reply.text(field);
        cx.reply.text(value);
    }
    cx.reply.text("modules");
    cx.reply.array(0);
    Ok(())
}

fn quit(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.session.flags.insert(SessionFlags::CLOSE_AFTER_REPLY);
    cx.reply.ok();
    Ok(())
}

fn reset(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.session.multi = None;
    super::transactions::unwatch(cx.server, cx.session);
    cx.server.pubsub.forget(cx.session);
    cx.server.tracking.end(cx.session);
    cx.server.monitors.remove(cx.session);
    let keep = SessionFlags::UNIX_SOCKET;
    cx.session.flags &= keep;
    cx.session.log_out(&cx.server.acl);
    cx.session.resp = Resp::V2;
    cx.reply.resp = Resp::V2;
    cx.session.name.clear();
    cx.select(0);
    cx.reply.simple("RESET");
    Ok(())
}

fn readonly(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cluster_only(cx)?;
    cx.session.flags.insert(SessionFlags::READONLY);
    cx.reply.ok();
    Ok(())
}

fn readwrite(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cluster_only(cx)?;
    cx.session.flags.remove(SessionFlags::READONLY);
    cx.reply.ok();
    Ok(())
}

fn asking(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cluster_only(cx)?;
    cx.session.flags.insert(SessionFlags::ASKING);
    cx.reply.ok();
    Ok(())
}

fn cluster_only(cx: &Cx<'_>) -> Done {
    if cx.settings.cluster_enabled { Ok(()) } else { Err(ReplyError::CLUSTER_DISABLED) }
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("ping", -1, flags!(FAST | SENTINEL | WHILE_SUBSCRIBED | TELLS_OF_DISK), ping).acl(acl!(CONNECTION)).group(Group::Connection).since("1.0.0"),
    CommandSpec::new("echo", 2, flags!(LOADING | STALE | FAST), echo).acl(acl!(CONNECTION)).group(Group::Connection).since("1.0.0"),
    CommandSpec::new("hello", -1, flags!(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | SENTINEL | ALLOW_BUSY), hello).acl(acl!(CONNECTION)).group(Group::Connection).since("6.0.0"),
    CommandSpec::new("auth", -2, flags!(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | SENTINEL | ALLOW_BUSY), auth).acl(acl!(CONNECTION)).group(Group::Connection).since("1.0.0"),
    CommandSpec::new("select", 2, flags!(LOADING | STALE | FAST | TWO_DATABASES), select).acl(acl!(CONNECTION)).group(Group::Connection).since("1.0.0"),
    CommandSpec::new("quit", -1, flags!(ALLOW_BUSY | NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | NOT_QUEUED | WHILE_SUBSCRIBED), quit).acl(acl!(CONNECTION)).group(Group::Connection).since("1.0.0"),
    CommandSpec::new("reset", 1, flags!(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | NOT_QUEUED | WHILE_SUBSCRIBED), reset).acl(acl!(CONNECTION)).group(Group::Connection).since("6.2.0"),
    CommandSpec::new("readonly", 1, flags!(FAST | LOADING | STALE), readonly).acl(acl!(CONNECTION)).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("readwrite", 1, flags!(FAST | LOADING | STALE), readwrite).acl(acl!(CONNECTION)).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("asking", 1, flags!(FAST), asking).acl(acl!(CONNECTION)).group(Group::Cluster).since("3.0.0"),
];
