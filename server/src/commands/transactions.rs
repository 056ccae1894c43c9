//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use super::prelude::*;
use crate::acl::{Context, check};
use crate::exec::Session;
use crate::exec::dispatch::{Target, Timer, call, collect_places};
use crate::exec::keys::{Place, lock};
use crate::exec::queue::{Queue, Queued};
use crate::exec::session::Multi;
use crate::server::Server;
use protocol::Slot;
use std::sync::atomic::Ordering;

fn multi(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    if cx.session.multi.is_some() {
        return Err(ReplyError::NESTED_MULTI);
    }
    cx.session.multi = Some(Multi::begin());
    cx.reply.ok();
    Ok(())
}

fn discard(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let Some(multi) = cx.session.multi.take() else { return Err(ReplyError::DISCARD_WITHOUT_MULTI) };
    multi.end();
    unwatch(cx.server, cx.session);
    cx.reply.ok();
    Ok(())
}

fn exec(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let Some(mut multi) = cx.session.multi.take() else { return Err(ReplyError::EXEC_WITHOUT_MULTI) };
    let done = run(cx, &mut multi);
    multi.end();
    done
}

/// Runs the queue with the slots of all its keys locked, as one unit of the write log.
fn run(cx: &mut Cx<'_>, multi: &mut Multi) -> Done {
    if multi.aborted {
        unwatch(cx.server, cx.session);
        return Err(ReplyError::EXEC_ABORT);
    }
    if cx.world.is_none() {
        collect_all(cx.session, &multi.queue, &mut multi.places);
        if cx.keys.lock_many(&mut multi.places).is_err() {
            unwatch(cx.server, cx.session);
            return Err(cx.server.scripts.busy.refusal());
        }
    }
    let broken = cx.session.watch_broken.load(Ordering::Acquire) || watched_key_expired(cx);
    forget_watched(cx);
    if broken {
        cx.reply.null_array();
        return Ok(());
    }
    cx.in_transaction = true;
    cx.reply.array(multi.queue.len());
    let outer = cx.command;
    let mut timer = Timer::start();
    for Queued { command, argv, target } in multi.queue.iter() {
        // Rights may have been taken since it was queued.
        if let Err((denied, _)) = check::permitted(cx.server, cx.session, command, argv, Context::Multi) {
            let error = check::no_perm_any_more(denied);
            cx.server.stats.count_error(error.code());
            cx.stats.error_replies.add(1);
            cx.reply.error(&error);
            continue;
        }
        cx.command = command;
        cx.keys.focus(target.slot());
        call(cx, command, argv, &mut timer);
    }
    cx.keys.focus(None);
    cx.looked_at_clock = timer.end_run(cx.stats);
    cx.command = outer;
    // What is logged is what the commands logged, not EXEC.
    cx.keys.effects.keep_out_of_log();
    cx.in_transaction = false;
    Ok(())
}

/// The places of all keys of the commands in the queue, and of those under WATCH.
fn collect_all(session: &Session, queue: &Queue, places: &mut Vec<Place>) {
    for Queued { command, argv, target } in queue.iter() {
        match target {
            Target::None => {}
            Target::One(slot) => places.push((session.db, slot)),
            Target::Keys => collect_places(command, argv, session.db, places),
        }
    }
    places.extend(session.watched.iter().map(|(db, key)| (*db, Slot::of(key))));
}

fn watched_key_expired(cx: &mut Cx<'_>) -> bool {
    let watched = std::mem::take(&mut cx.session.watched);
    let expired = watched.iter().any(|(db, key)| cx.keys.is_expired_in(*db, key));
    cx.session.watched = watched;
    expired
}

/// Takes the client's keys out of the side tables, with their slots locked already.
fn forget_watched(cx: &mut Cx<'_>) {
    let id = cx.session.id;
    cx.server.watches.forget(cx.session);
    for (db, key) in std::mem::take(&mut cx.session.watched) {
        cx.keys.unwatch_in(db, &key, id);
    }
}

fn watch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if cx.session.multi.is_some() {
        return Err(ReplyError::WATCH_INSIDE_MULTI);
    }
    let (db, id) = (cx.session.db, cx.session.id);
    cx.server.watches.register(cx.session);
    for key in args.rest() {
        // What has expired already is not there: that it goes is no change.
        cx.keys.exists(key);
        let is_new = cx.keys.watch(key, id);
        // Its number may be there from before, from when a script held the slot.
        if is_new || !cx.session.watched.iter().any(|(other_db, other)| *other_db == db && **other == *key) {
            cx.session.watched.push((db, key.into()));
        }
    }
    cx.reply.ok();
    Ok(())
}

fn unwatch_command(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    // Inside EXEC nothing is watched any more.
    if !cx.in_transaction {
        unwatch(cx.server, cx.session);
    }
    cx.reply.ok();
    Ok(())
}

/// Ends all watching of a client. No slot may be locked.
///
/// But what if a slow script holds a slot, on this very thread perhaps? Then the client's number stays in the side table,
/// where it means nothing.
pub fn unwatch(server: &Server, session: &mut Session) {
    server.watches.forget(session);
    for (db, key) in std::mem::take(&mut session.watched) {
        if let Ok(mut slot) = lock(server, (db, Slot::of(&key)), false) {
            slot.side_mut().watched.remove(&key, session.id);
            slot.trim();
        }
    }
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("multi", 1, flags!(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NOT_QUEUED), multi).acl(acl!(TRANSACTION)).group(Group::Transactions).since("1.2.0"),
    CommandSpec::new("exec", 1, flags!(NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG | NOT_QUEUED | RUNS_QUEUE), exec).acl(acl!(TRANSACTION)).group(Group::Transactions).since("1.2.0"),
    CommandSpec::new("discard", 1, flags!(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NOT_QUEUED), discard).acl(acl!(TRANSACTION)).group(Group::Transactions).since("2.0.0"),
    CommandSpec::new("watch", -2, flags!(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NOT_QUEUED), watch).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(RO))]).acl(acl!(TRANSACTION)).group(Group::Transactions).since("2.2.0"),
    CommandSpec::new("unwatch", 1, flags!(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY), unwatch_command).acl(acl!(TRANSACTION)).group(Group::Transactions).since("2.2.0"),
];
