//! CLIENT TRACKING and its like: what clients that cache are told.

use super::prelude::*;
use crate::clients;
use crate::tracking::Wishes;

/// What CLIENT TRACKING asks for.
fn parse<'a>(cx: &mut Cx<'_>, args: &mut Args<'a>) -> Result<(Wishes, Vec<&'a [u8]>), ReplyError> {
    let mut wishes = Wishes::default();
    let mut prefixes = Vec::new();
    while !args.is_empty() {
        let has_value = args.left() > 1;
        match () {
            () if has_value && args.flag("REDIRECT") => {
                if wishes.redirect.is_some() {
                    return Err(ReplyError::fixed("ERR A client can only redirect to a single other client"));
                }
                let id = args.i64()?;
                wishes.redirect = (id != 0).then(|| thread_of(cx, id)).transpose()?;
            }
            () if args.flag("BCAST") => wishes.is_broadcast = true,
            () if args.flag("OPTIN") => wishes.opts_in = true,
            () if args.flag("OPTOUT") => wishes.opts_out = true,
            () if args.flag("NOLOOP") => wishes.no_loop = true,
            () if has_value && args.flag("PREFIX") => prefixes.push(args.bytes()?),
            () => return Err(ReplyError::SYNTAX),
        }
    }
    Ok((wishes, prefixes))
}

/// A client that is there now, with its thread. It may go later.
fn thread_of(cx: &mut Cx<'_>, id: i64) -> Result<(u64, usize), ReplyError> {
    let mut found = (cx.session.id as i64 == id).then_some(cx.session.thread);
    clients::each_other(cx, |thread, conn| {
        if conn.session.id as i64 == id {
            found = Some(thread);
        }
    });
    let thread = found.ok_or(ReplyError::fixed("ERR The client ID you want redirect to does not exist"))?;
    Ok((id as u64, thread))
}

pub fn tracking(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let switch = args.bytes()?;
    let (mut wishes, prefixes) = parse(cx, args)?;
    if switch.eq_ignore_ascii_case(b"on") {
        check(cx.session.tracking.as_deref(), &wishes, &prefixes)?;
        if wishes.is_broadcast && prefixes.is_empty() {
            wishes.prefixes.push(Box::default());
        }
        wishes.prefixes.extend(prefixes.into_iter().map(Box::from));
        cx.server.tracking.begin(cx.session, wishes);
    } else if switch.eq_ignore_ascii_case(b"off") {
        cx.server.tracking.end(cx.session);
    } else {
        return Err(ReplyError::SYNTAX);
    }
    cx.reply.ok();
    Ok(())
}

/// Whether the options go together, and with what the client has asked for before.
fn check(before: Option<&Wishes>, wishes: &Wishes, prefixes: &[&[u8]]) -> Done {
    let fail = |text| Err(ReplyError::fixed(text));
    if !wishes.is_broadcast && !prefixes.is_empty() {
        return fail("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if before.is_some_and(|before| before.is_broadcast != wishes.is_broadcast) {
        return fail(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        );
    }
    if wishes.is_broadcast && (wishes.opts_in || wishes.opts_out) {
        return fail("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if wishes.opts_in && wishes.opts_out {
        return fail("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    let switches = |before: &Wishes| wishes.opts_in && before.opts_out || wishes.opts_out && before.opts_in;
    if before.is_some_and(switches) {
        return fail(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        );
    }
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    for (at, prefix) in prefixes.iter().enumerate() {
        let known = before.map_or(&[][..], |before| &before.prefixes);
        if let Some(other) = known.iter().find(|other| overlap(prefix, other)) {
            return Err(overlapping(prefix, b"an existing", other));
        }
        if let Some(other) = prefixes[at + 1..].iter().find(|other| overlap(prefix, other)) {
            return Err(overlapping(prefix, b"another provided", other));
        }
    }
    Ok(())
}

fn overlapping(prefix: &[u8], which: &[u8], other: &[u8]) -> ReplyError {
    let text = [b"ERR Prefix '", prefix, b"' overlaps with ", which, b" prefix '", other];
    ReplyError::new([&text.concat()[..], b"'. Prefixes for a single client must not overlap."].concat())
}

pub fn caching(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let Some(wishes) = &mut cx.session.tracking else {
        return Err(ReplyError::fixed(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    match () {
        () if args.flag("YES") => {
            if !wishes.opts_in {
                return Err(ReplyError::fixed(
                    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
                ));
            }
        }
        () if args.flag("NO") => {
            if !wishes.opts_out {
                return Err(ReplyError::fixed(
                    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
                ));
            }
        }
        () => return Err(ReplyError::SYNTAX),
    }
    wishes.caching = true;
    cx.reply.ok();
    Ok(())
}

pub fn getredir(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.reply.integer(clients::redirect(cx.session));
    Ok(())
}

pub fn trackinginfo(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let redirect = clients::redirect(cx.session);
    let wishes = cx.session.tracking.as_deref();
    let has = |f: fn(&Wishes) -> bool| wishes.is_some_and(f);
    let flags = [
        ("on", wishes.is_some()),
        ("off", wishes.is_none()),
        ("bcast", has(|w| w.is_broadcast)),
        ("optin", has(|w| w.opts_in)),
        ("caching-yes", has(|w| w.opts_in && w.caching)),
        ("optout", has(|w| w.opts_out)),
        ("caching-no", has(|w| w.opts_out && w.caching)),
        ("noloop", has(|w| w.no_loop)),
        ("broken_redirect", has(|w| w.is_redirect_broken)),
    ];
    cx.reply.map(3);
    cx.reply.text("flags");
    let flags: Vec<&str> = flags.into_iter().filter(|(_, on)| *on).map(|(flag, _)| flag).collect();
    cx.reply.set(flags.len());
    flags.iter().for_each(|flag| cx.reply.text(flag));
    cx.reply.text("redirect");
    cx.reply.integer(redirect);
    cx.reply.text("prefixes");
    let prefixes = wishes.map_or(&[][..], |wishes| &wishes.prefixes);
    cx.reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| cx.reply.bulk(prefix));
    Ok(())
}
