//! Commands about the server as a whole: INFO, TIME, LASTSAVE, SHUTDOWN, SLOWLOG, MODULE, LOLWUT.

use super::help::{container, help};
use super::prelude::*;
use crate::clock;
use crate::exec::cx::Wait;
use crate::process::shutdown::{How, Saving};
use std::sync::atomic::Ordering;

fn info(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let text = crate::info::info(cx, args.argv().tail(1).iter());
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn time(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let micros = match cx.in_script {
        true => *cx.script_time_us.get_or_insert_with(clock::now_micros),
        false => clock::now_micros(),
    };
    cx.reply.array(2);
    cx.reply.bulk_integer(micros / 1_000_000);
    cx.reply.bulk_integer(micros % 1_000_000);
    Ok(())
}

fn lastsave(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.reply.integer(cx.server.persistence.last_save_ms.load(Ordering::Relaxed) / 1000);
    Ok(())
}

/// Asks for the process to end. The client gets a reply only if that fails.
fn shutdown(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let mut how = How::default();
    let (mut save, mut no_save, mut abort, mut any) = (false, false, false, false);
    while !args.is_empty() {
        let is_abort = args.flag("ABORT");
        abort |= is_abort;
        any |= !is_abort;
        match () {
            () if is_abort => {}
            () if args.flag("NOSAVE") => no_save = true,
            () if args.flag("SAVE") => save = true,
            () if args.flag("NOW") => how.now = true,
            () if args.flag("FORCE") => how.force = true,
            () => return Err(ReplyError::SYNTAX),
        }
    }
    if abort && any || save && no_save {
        return Err(ReplyError::SYNTAX);
    }
    if abort {
        if !cx.server.shutdown.abort() {
            return Err(ReplyError::fixed("ERR No shutdown in progress."));
        }
        cx.reply.ok();
        return Ok(());
    }
    how.saving = match (save, no_save) {
        (true, _) => Saving::Yes,
        (_, true) => Saving::No,
        _ => Saving::IfConfigured,
    };
    if cx.batch.busy && how.saving != Saving::No {
        return Err(cx.server.scripts.busy.refusal());
    }
    cx.server.shutdown.ask(how, Some(cx.session.id));
    // Waits for what never comes: either the process ends, or the shutdown fails and says so.
    cx.wait = Some(Wait::Replicas { replicas: usize::MAX, offset: u64::MAX, deadline_ms: None, disks: None });
    Ok(())
}

fn lolwut(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let text = format!(
        "      __________\n     /\\________/\\\n    /  \\      /  \\\n   /____\\____/____\\\n   \\    /\\  /\\    /\n    \\  /  \\/  \\  /\n     \\/   /\\   \\/\n      \\  /  \\  /\n       \\/____\\/\n\nA balas is a spinel that passed for a ruby.\nRedis ver. {}, Balas ver. {}\n",
        crate::REDIS_VERSION,
        crate::BALAS_VERSION
    );
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn slowlog_get(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    const COUNT_DEFAULT: i64 = 10;
    let count = match args.peek() {
        None => COUNT_DEFAULT,
        Some(_) => args
            .i64()
            .ok()
            .filter(|&count| count >= -1)
            .ok_or(ReplyError::fixed("ERR count should be greater than or equal to -1"))?,
    };
    args.finish()?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let reply = &mut cx.reply;
    cx.server.slowlog.show(count, |count, entries| {
        reply.array(count);
        for entry in entries {
            reply.array(6);
            reply.integer(entry.id);
            reply.integer(entry.unix_seconds);
            reply.integer(entry.micros as i64);
            reply.array(entry.args.len());
            entry.args.iter().for_each(|arg| reply.bulk(arg));
            reply.text(&entry.peer);
            reply.text(&entry.name);
        }
    });
    Ok(())
}

fn slowlog_len(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.reply.integer(cx.server.slowlog.len() as i64);
    Ok(())
}

fn slowlog_reset(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.server.slowlog.reset();
    cx.reply.ok();
    Ok(())
}

fn slowlog_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "GET [<count>]",
            "    Shows the latest <count> entries (10 unless told, -1 for all): id, time, microseconds,",
            "    arguments, address and name of the client.",
            "LEN",
            "    Tells how many entries there are.",
            "RESET",
            "    Forgets all entries.",
        ],
    )
}

fn module_list(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.reply.array(0);
    Ok(())
}

/// C modules cannot be loaded: they would run unsafe code in the process.
fn module_refused(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    module_commands_allowed(cx)?;
    Err(ReplyError::fixed("ERR Error loading the extension. Please check the server logs."))
}

fn module_commands_allowed(cx: &Cx<'_>) -> Done {
    match cx.server.config.values().text("enable-module-command") {
        "yes" => Ok(()),
        "local" if cx.session.is_local() => Ok(()),
        _ => Err(ReplyError::fixed(
            "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it \
             from a local connection, otherwise you need to set this option in the configuration file, and then \
             restart the server.",
        )),
    }
}

fn module_unload(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    module_commands_allowed(cx)?;
    Err(ReplyError::fixed("ERR Error unloading module: no such module with that name"))
}

fn module_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(cx, &["LIST", "    Lists the modules loaded: none, as this server loads no modules."])
}

#[rustfmt::skip]
const SLOWLOG: &[CommandSpec] = &[
    CommandSpec::new("get", -2, flags!(ADMIN | LOADING | STALE), slowlog_get).group(Group::Server).since("2.2.12"),
    CommandSpec::new("len", 2, flags!(ADMIN | LOADING | STALE), slowlog_len).group(Group::Server).since("2.2.12"),
    CommandSpec::new("reset", 2, flags!(ADMIN | LOADING | STALE), slowlog_reset).group(Group::Server).since("2.2.12"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), slowlog_help).group(Group::Server).since("6.2.0"),
];

#[rustfmt::skip]
const MODULE: &[CommandSpec] = &[
    CommandSpec::new("list", 2, flags!(ADMIN | NOSCRIPT), module_list).group(Group::Server).since("4.0.0"),
    CommandSpec::new("load", -3, flags!(NO_ASYNC_LOADING | ADMIN | NOSCRIPT), module_refused).group(Group::Server).since("4.0.0"),
    CommandSpec::new("loadex", -3, flags!(NO_ASYNC_LOADING | ADMIN | NOSCRIPT), module_refused).group(Group::Server).since("7.0.0"),
    CommandSpec::new("unload", 3, flags!(NO_ASYNC_LOADING | ADMIN | NOSCRIPT), module_unload).group(Group::Server).since("4.0.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), module_help).group(Group::Server).since("5.0.0"),
];

fn monitor(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    if cx.in_transaction {
        return Err(ReplyError::fixed("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    // A replica is none.
    if !cx.session.is(SessionFlags::REPLICA) {
        cx.server.monitors.add(cx.session);
        cx.reply.ok();
    }
    Ok(())
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("monitor", 1, flags!(ADMIN | NOSCRIPT | LOADING | STALE), monitor).group(Group::Server).since("1.0.0"),
    CommandSpec::new("info", -1, flags!(LOADING | STALE | SENTINEL), info).acl(acl!(DANGEROUS)).group(Group::Server).since("1.0.0"),
    CommandSpec::new("time", 1, flags!(LOADING | STALE | FAST), time).group(Group::Server).since("2.6.0"),
    CommandSpec::new("lastsave", 1, flags!(LOADING | STALE | FAST), lastsave).acl(acl!(ADMIN | DANGEROUS)).group(Group::Server).since("1.0.0"),
    CommandSpec::new("shutdown", -1, flags!(ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | SENTINEL | ALLOW_BUSY), shutdown).group(Group::Server).since("1.0.0"),
    CommandSpec::new("slowlog", -2, flags!(), container).subcommands(SLOWLOG).group(Group::Server).since("2.2.12"),
    CommandSpec::new("module", -2, flags!(), container).subcommands(MODULE).group(Group::Server).since("4.0.0"),
    CommandSpec::new("lolwut", -1, flags!(READONLY | FAST), lolwut).group(Group::Server).since("5.0.0"),
];
