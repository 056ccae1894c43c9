//! SAVE, BGSAVE and BGREWRITEAOF.

use super::prelude::*;
use crate::{aof, persist, snapshot};
use std::sync::atomic::Ordering;

fn save(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    if cx.server.persistence.saving.load(Ordering::Acquire) {
        return Err(ReplyError::fixed("ERR Background save already in progress"));
    }
    // The log says why.
    snapshot::save_at_rest(cx.server).map_err(|_| ReplyError::fixed("ERR"))?;
    cx.reply.ok();
    Ok(())
}

fn bgsave(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    const UNDER_WAY: ReplyError = ReplyError::fixed("ERR Background save already in progress");
    let may_be_later = args.flag("SCHEDULE") || cx.in_transaction;
    args.finish()?;
    let (server, is_rewriting) = (cx.server, cx.server.aof.is_rewriting());
    if server.persistence.saving.load(Ordering::Acquire) {
        return Err(UNDER_WAY);
    }
    if is_rewriting && !may_be_later {
        return Err(ReplyError::fixed(
            "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
             schedule a BGSAVE whenever possible.",
        ));
    }
    if is_rewriting || cx.in_transaction {
        server.persistence.save_scheduled.store(true, Ordering::Relaxed);
        cx.reply.simple("Background saving scheduled");
        return Ok(());
    }
    if !persist::start_save(server) {
        return Err(UNDER_WAY);
    }
    cx.reply.simple("Background saving started");
    Ok(())
}

fn bgrewriteaof(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    match aof::ask_for_rewrite(cx.server, cx.in_transaction) {
        aof::Rewrite::Started => cx.reply.simple("Background append only file rewriting started"),
        aof::Rewrite::Scheduled => cx.reply.simple("Background append only file rewriting scheduled"),
        aof::Rewrite::UnderWay => {
            return Err(ReplyError::fixed("ERR Background append only file rewriting already in progress"));
        }
    }
    Ok(())
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("save", 1, flags!(NO_ASYNC_LOADING | ADMIN | NOSCRIPT | NO_MULTI | EXCLUSIVE), save).group(Group::Server).since("1.0.0"),
    CommandSpec::new("bgsave", -1, flags!(NO_ASYNC_LOADING | ADMIN | NOSCRIPT), bgsave).group(Group::Server).since("1.0.0"),
    CommandSpec::new("bgrewriteaof", 1, flags!(NO_ASYNC_LOADING | ADMIN | NOSCRIPT), bgrewriteaof).group(Group::Server).since("1.0.0"),
];
