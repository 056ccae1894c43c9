//! CLIENT: what connections say about themselves, and what they may do to others.

use super::caching;
use super::help::{container, help};
use super::prelude::*;
use crate::acl::{Acl, User};
use crate::clients::{self, ClientType, View};
use crate::exec::cx::Wait;
use crate::exec::session::Session;
use crate::net::{Conn, Mail};
use protocol::Reply;
use protocol::number::parse_i64;
use std::sync::Arc;

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

pub fn check_name(name: &[u8]) -> Done {
    if name.iter().all(|b| (b'!'..=b'~').contains(b)) {
        return Ok(());
    }
    Err(ReplyError::fixed("ERR Client names cannot contain spaces, newlines or special characters."))
}

pub fn set_name(cx: &mut Cx<'_>, name: &[u8]) {
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

fn client_info(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let line = View::asking(cx.session, cx.argv).line(cx.now_ms) + "\n";
    cx.reply.verbatim("txt", line.as_bytes());
    Ok(())
}

fn client_list(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let mut of_type = None;
    let mut ids = None;
    if args.left() == 2 && args.flag("TYPE") {
        of_type = Some(client_type(args.bytes()?)?);
    } else if args.left() > 1 && args.flag("ID") {
        let mut wanted = Vec::new();
        while let Some(id) = args.next_opt() {
            wanted.push(parse_i64(id).ok_or(ReplyError::fixed("ERR Invalid client ID"))?);
        }
        ids = Some(wanted);
    } else if !args.is_empty() {
        return Err(ReplyError::SYNTAX);
    }
    let now_ms = cx.now_ms;
    let mut lines: Vec<(u64, String)> = Vec::new();
    clients::each(cx, |view| {
        let typed = of_type.is_none_or(|wanted| view.client_type() == wanted);
        if typed && ids.as_ref().is_none_or(|ids| ids.contains(&(view.session.id as i64))) {
            lines.push((view.session.id, view.line(now_ms)));
        }
    });
    match ids {
        // As asked for, and as often.
        Some(ids) => {
            let line_of = |id: &i64| lines.iter().find(|(other, _)| *other as i64 == *id).cloned();
            lines = ids.iter().filter_map(line_of).collect();
        }
        None => lines.sort_unstable(),
    }
    let text: String = lines.into_iter().map(|(_, line)| line + "\n").collect();
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn client_type(name: &[u8]) -> Result<ClientType, ReplyError> {
    ClientType::named(name)
        .ok_or_else(|| ReplyError::new([b"ERR Unknown client type '", name, b"'"].concat()))
}

/// Whom CLIENT KILL means.
#[derive(Default)]
struct Victims<'a> {
    id: Option<u64>,
    of_type: Option<ClientType>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    user: Option<Arc<User>>,
    spare_self: bool,
}

impl<'a> Victims<'a> {
    fn parse(acl: &Acl, args: &mut Args<'a>) -> Result<Victims<'a>, ReplyError> {
        let mut victims = Victims { spare_self: true, ..Victims::default() };
        while args.left() >= 2 {
            if args.flag("ID") {
                let id = args.i64().ok().and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0);
                victims.id = Some(id.ok_or(ReplyError::fixed("ERR client-id should be greater than 0"))?);
            } else if args.flag("TYPE") {
                victims.of_type = Some(client_type(args.bytes()?)?);
            } else if args.flag("ADDR") {
                victims.addr = Some(args.bytes()?);
            } else if args.flag("LADDR") {
                victims.laddr = Some(args.bytes()?);
            } else if args.flag("USER") {
                let name = args.bytes()?;
                let user = acl.user(name);
                victims.user =
                    Some(user.ok_or_else(|| ReplyError::new([b"ERR No such user '", name, b"'"].concat()))?);
            } else if args.flag("SKIPME") {
                victims.spare_self = match () {
                    () if args.flag("YES") => true,
                    () if args.flag("NO") => false,
                    () => return Err(ReplyError::SYNTAX),
                };
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        args.finish()?;
        Ok(victims)
    }

    fn include(&self, session: &Session) -> bool {
        self.id.is_none_or(|id| id == session.id)
            && self.of_type.is_none_or(|of_type| of_type == ClientType::of(session))
            && self.addr.is_none_or(|addr| addr == session.peer.as_bytes())
            && self.laddr.is_none_or(|laddr| laddr == session.local.as_bytes())
            && self.user.as_ref().is_none_or(|user| session.is_user(user))
    }
}

fn client_kill(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    // The old form names an address, and may mean the caller itself.
    if args.left() == 1 {
        let victims = Victims { addr: Some(args.bytes()?), ..Victims::default() };
        if kill(cx, &victims) == 0 {
            return Err(ReplyError::fixed("ERR No such client"));
        }
        cx.reply.ok();
        return Ok(());
    }
    let victims = Victims::parse(&cx.server.acl, args)?;
    let killed = kill(cx, &victims);
    cx.reply.integer(killed);
    Ok(())
}

fn kill(cx: &mut Cx<'_>, victims: &Victims<'_>) -> i64 {
    let mut killed = 0;
    let server = cx.server.clone();
    clients::each_other(cx, |thread, conn| {
        if victims.include(&conn.session) {
            clients::doom(&server, thread, conn);
            killed += 1;
        }
    });
    if !victims.spare_self && victims.include(cx.session) {
        cx.session.flags.insert(SessionFlags::CLOSE_AFTER_REPLY);
        killed += 1;
    }
    killed
}

/// Ends the waiting of a blocked client, as if its time were up or with an error.
fn client_unblock(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let id = args.i64()?;
    let with_error = match () {
        () if args.is_empty() || args.flag("TIMEOUT") => false,
        () if args.flag("ERROR") => true,
        () => return Err(ReplyError::fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    args.finish()?;
    let error = with_error.then(|| ReplyError::fixed("UNBLOCKED client unblocked via CLIENT UNBLOCK"));
    let mut unblocked = false;
    let (server, stats) = (cx.server.clone(), cx.stats);
    clients::each_other(cx, |thread, conn| {
        if conn.session.id as i64 == id {
            unblocked = crate::blocking::release(&server, stats, conn, error.as_ref())
                || stop_waiting_for_replicas(conn, error.as_ref(), |mail| server.post(thread, mail));
        }
    });
    cx.reply.integer(i64::from(unblocked));
    Ok(())
}

fn stop_waiting_for_replicas(conn: &mut Conn, error: Option<&ReplyError>, post: impl Fn(Mail)) -> bool {
    let client = conn.session.id;
    let Some(waiting) = &mut conn.waiting else { return false };
    let Wait::Replicas { deadline_ms, .. } = &mut waiting.wait else { return false };
    match error {
        None => {
            *deadline_ms = Some(0);
            post(Mail::LogMoved);
        }
        Some(error) => {
            let mut reply = Vec::new();
            Reply::new(&mut reply, conn.session.resp).error(error);
            post(Mail::Unblock { client, reply, write_offset: None });
        }
    }
    true
}

fn client_pause(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let timeout = args.bytes()?;
    let all = match () {
        () if args.is_empty() || args.flag("ALL") => true,
        () if args.flag("WRITE") => false,
        () => return Err(ReplyError::fixed("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    args.finish()?;
    let timeout_ms = parse_i64(timeout).ok_or(ReplyError::TIMEOUT_NOT_INTEGER)?;
    if timeout_ms < 0 {
        return Err(ReplyError::TIMEOUT_NEGATIVE);
    }
    let until_ms = cx.now_ms.checked_add(timeout_ms).ok_or(ReplyError::TIMEOUT_OUT_OF_RANGE)?;
    cx.server.pause.begin(until_ms, all);
    cx.reply.ok();
    Ok(())
}

fn client_unpause(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.server.pause.end();
    cx.reply.ok();
    Ok(())
}

fn client_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "CACHING (YES|NO)",
            "    Chooses whether what the next command reads is tracked, in OPTIN and OPTOUT mode.",
            "GETNAME",
            "    Tells the name of this connection.",
            "GETREDIR",
            "    Tells where this connection's invalidations go.",
            "ID",
            "    Tells the id of this connection.",
            "INFO",
            "    Shows this connection as CLIENT LIST does.",
            "KILL <ip:port>",
            "    Closes the connection from that address.",
            "KILL <option> <value> [<option> <value> ...]",
            "    Closes the connections that fit: ID, TYPE, ADDR, LADDR, USER, SKIPME.",
            "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <id> ...]",
            "    Shows connections, one on a line.",
            "NO-EVICT (ON|OFF)",
            "    Exempts this connection from being closed for the memory it uses.",
            "NO-TOUCH (ON|OFF)",
            "    Has this connection's reads leave no trace for eviction.",
            "PAUSE <timeout> [WRITE|ALL]",
            "    Holds commands back for so many milliseconds.",
            "REPLY (ON|OFF|SKIP)",
            "    Chooses which replies this connection gets.",
            "SETINFO <option> <value>",
            "    Notes the client library: LIB-NAME, LIB-VER.",
            "SETNAME <name>",
            "    Names this connection.",
            "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
            "    Has this connection told when keys change that it may have cached.",
            "TRACKINGINFO",
            "    Shows how this connection tracks keys.",
            "UNPAUSE",
            "    Lets commands that were held back go on.",
            "UNBLOCK <id> [TIMEOUT|ERROR]",
            "    Ends the waiting of a blocked connection.",
        ],
    )
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
    CommandSpec::new("list", -2, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL | EXCLUSIVE), client_list).acl(acl!(CONNECTION)).group(Group::Connection).since("2.4.0"),
    CommandSpec::new("info", 2, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), client_info).acl(acl!(CONNECTION)).group(Group::Connection).since("6.2.0"),
    CommandSpec::new("kill", -3, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL | EXCLUSIVE), client_kill).acl(acl!(CONNECTION)).group(Group::Connection).since("2.4.0"),
    CommandSpec::new("pause", -3, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL | EXCLUSIVE), client_pause).acl(acl!(CONNECTION)).group(Group::Connection).since("3.0.0"),
    CommandSpec::new("unpause", 2, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL | EXCLUSIVE), client_unpause).acl(acl!(CONNECTION)).group(Group::Connection).since("6.2.0"),
    CommandSpec::new("unblock", -3, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL | EXCLUSIVE), client_unblock).acl(acl!(CONNECTION)).group(Group::Connection).since("5.0.0"),
    CommandSpec::new("tracking", -3, flags!(NOSCRIPT | LOADING | STALE | SENTINEL | EXCLUSIVE), caching::tracking).acl(acl!(CONNECTION)).group(Group::Connection).since("6.0.0"),
    CommandSpec::new("caching", 3, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), caching::caching).acl(acl!(CONNECTION)).group(Group::Connection).since("6.0.0"),
    CommandSpec::new("trackinginfo", 2, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), caching::trackinginfo).acl(acl!(CONNECTION)).group(Group::Connection).since("6.2.0"),
    CommandSpec::new("getredir", 2, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), caching::getredir).acl(acl!(CONNECTION)).group(Group::Connection).since("6.0.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE | SENTINEL), client_help).acl(acl!(CONNECTION)).group(Group::Connection).since("5.0.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("client", -2, flags!(SENTINEL), container).subcommands(CLIENT).group(Group::Connection).since("2.4.0"),
];
