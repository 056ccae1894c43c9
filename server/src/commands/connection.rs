//! Commands about the connection itself: PING, AUTH, HELLO, SELECT, CLIENT and their like.

use super::prelude::*;
use protocol::Resp;

fn ping(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
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
    if args.argv().len() == 2 && cx.settings.requirepass.is_empty() {
        return Err(ReplyError::fixed(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        ));
    }
    authenticate(cx, user, password)?;
    cx.reply.ok();
    Ok(())
}

fn authenticate(cx: &mut Cx<'_>, user: &[u8], password: &[u8]) -> Done {
    let required = cx.settings.requirepass.as_bytes();
    if user != b"default" || !(required.is_empty() || same_bytes(required, password)) {
        return Err(ReplyError::WRONG_PASS);
    }
    cx.session.flags.insert(SessionFlags::AUTHENTICATED);
    Ok(())
}

/// Compares in a time that does not tell where the first difference is.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b.iter().chain(std::iter::repeat(&0))).fold(0, |d, (a, b)| d | (a ^ b));
    difference == 0 && a.len() == b.len()
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
        authenticate(cx, user, password)?;
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
    let keep = SessionFlags::UNIX_SOCKET;
    let open = cx.settings.requirepass.is_empty();
    cx.session.flags &= keep;
    cx.session.flags.set(SessionFlags::AUTHENTICATED, open);
    cx.session.resp = Resp::V2;
    cx.reply.resp = Resp::V2;
    cx.session.name.clear();
    cx.select(0);
    cx.reply.simple("RESET");
    Ok(())
}

fn client_id(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.reply.integer(cx.session.id as i64);
    Ok(())
}

fn client_getname(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    match cx.session.name.as_str() {
        "" => cx.reply.null(),
        name => cx.reply.text(name),
    }
    Ok(())
}

fn check_name(name: &[u8]) -> Done {
    if name.iter().all(|b| (b'!'..=b'~').contains(b)) {
        return Ok(());
    }
    Err(ReplyError::fixed("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn set_name(cx: &mut Cx<'_>, name: &[u8]) {
    cx.session.name = String::from_utf8_lossy(name).into_owned();
}

fn client_setname(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let name = args.bytes()?;
    check_name(name)?;
    set_name(cx, name);
    cx.reply.ok();
    Ok(())
}

fn client_setinfo(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (option, value) = (args.bytes()?, args.bytes()?);
    let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
    let field = match () {
        () if is("lib-name") => "lib-name",
        () if is("lib-ver") => "lib-ver",
        () => {
            let text = [b"ERR Unrecognized option '", option, b"'"].concat();
            return Err(ReplyError::new(text));
        }
    };
    if !value.iter().all(|b| (b'!'..=b'~').contains(b)) {
        let text = format!("ERR {field} cannot contain spaces, newlines or special characters.");
        return Err(ReplyError::new(text));
    }
    let value = String::from_utf8_lossy(value).into_owned();
    *(if field == "lib-name" { &mut cx.session.lib_name } else { &mut cx.session.lib_version }) = value;
    cx.reply.ok();
    Ok(())
}

fn client_reply(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let flags = &mut cx.session.flags;
    if args.flag("ON") {
        flags.remove(SessionFlags::REPLY_OFF | SessionFlags::REPLY_SKIP | SessionFlags::REPLY_SKIP_NEXT);
        cx.reply.ok();
    } else if args.flag("OFF") {
        flags.insert(SessionFlags::REPLY_OFF);
    } else if args.flag("SKIP") {
        if !flags.contains(SessionFlags::REPLY_OFF) {
            flags.insert(SessionFlags::REPLY_SKIP_NEXT);
        }
    } else {
        return Err(ReplyError::SYNTAX);
    }
    Ok(())
}

fn client_switch(cx: &mut Cx<'_>, args: &mut Args<'_>, flag: SessionFlags) -> Done {
    let on = match () {
        () if args.flag("ON") => true,
        () if args.flag("OFF") => false,
        () => return Err(ReplyError::SYNTAX),
    };
    cx.session.flags.set(flag, on);
    cx.reply.ok();
    Ok(())
}

fn client_no_evict(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    client_switch(cx, args, SessionFlags::NO_EVICT)
}

fn client_no_touch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    client_switch(cx, args, SessionFlags::NO_TOUCH)
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

/// A container without its subcommand; the dispatcher refuses it by its arity.
fn client(_: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    Err(ReplyError::SYNTAX)
}

#[rustfmt::skip]
const CLIENT: &[CommandSpec] = &[
    CommandSpec::new("id", 2, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), client_id).acl(acl!(CONNECTION)).group(Group::Connection).since("5.0.0"),
    CommandSpec::new("getname", 2, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), client_getname).acl(acl!(CONNECTION)).group(Group::Connection).since("2.6.9"),
    CommandSpec::new("setname", 3, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), client_setname).acl(acl!(CONNECTION)).group(Group::Connection).since("2.6.9"),
    CommandSpec::new("setinfo", 4, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), client_setinfo).acl(acl!(CONNECTION)).group(Group::Connection).since("7.2.0"),
    CommandSpec::new("reply", 3, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), client_reply).acl(acl!(CONNECTION)).group(Group::Connection).since("3.2.0"),
    CommandSpec::new("no-evict", 3, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL), client_no_evict).acl(acl!(CONNECTION)).group(Group::Connection).since("7.0.0"),
    CommandSpec::new("no-touch", 3, flags!(NOSCRIPT | LOADING | STALE), client_no_touch).acl(acl!(CONNECTION)).group(Group::Connection).since("7.2.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("ping", -1, flags!(FAST | SENTINEL), ping).acl(acl!(CONNECTION)).group(Group::Connection).since("1.0.0"),
    CommandSpec::new("echo", 2, flags!(LOADING | STALE | FAST), echo).acl(acl!(CONNECTION)).group(Group::Connection).since("1.0.0"),
    CommandSpec::new("hello", -1, flags!(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | SENTINEL | ALLOW_BUSY), hello).acl(acl!(CONNECTION)).group(Group::Connection).since("6.0.0"),
    CommandSpec::new("auth", -2, flags!(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | SENTINEL | ALLOW_BUSY), auth).acl(acl!(CONNECTION)).group(Group::Connection).since("1.0.0"),
    CommandSpec::new("select", 2, flags!(LOADING | STALE | FAST), select).acl(acl!(CONNECTION)).group(Group::Connection).since("1.0.0"),
    CommandSpec::new("quit", -1, flags!(ALLOW_BUSY | NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | NOT_QUEUED), quit).acl(acl!(CONNECTION)).group(Group::Connection).since("1.0.0"),
    CommandSpec::new("reset", 1, flags!(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | NOT_QUEUED), reset).acl(acl!(CONNECTION)).group(Group::Connection).since("6.2.0"),
    CommandSpec::new("client", -2, flags!(SENTINEL), client).subcommands(CLIENT).group(Group::Connection).since("2.4.0"),
    CommandSpec::new("readonly", 1, flags!(FAST | LOADING | STALE), readonly).acl(acl!(CONNECTION)).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("readwrite", 1, flags!(FAST | LOADING | STALE), readwrite).acl(acl!(CONNECTION)).group(Group::Cluster).since("3.0.0"),
    CommandSpec::new("asking", 1, flags!(FAST), asking).acl(acl!(CONNECTION)).group(Group::Cluster).since("3.0.0"),
];
