//! Whole databases.

use crate::commands::prelude::*;
use protocol::number::parse_i64;

pub fn dbsize(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let count = cx.keys.count();
    cx.reply.integer(count as i64);
    Ok(())
}

/// Empties databases. Unless SYNC is asked for, what was in them is dropped by the helper thread: the world
/// stands still meanwhile, and nobody can tell the difference but by the time it takes.
fn flush(cx: &mut Cx<'_>, args: &mut Args<'_>, dbs: std::ops::Range<usize>) -> Done {
    let sync = args.flag("SYNC");
    if !sync {
        args.flag("ASYNC");
    }
    args.finish()?;
    cx.keys.effects.tracked.flush();
    for db in dbs {
        cx.server.tracking.forget_all(cx.server, db);
        let tables = cx.keys.take_all(db);
        let keys: usize = tables.iter().map(|table| table.len()).sum();
        cx.keys.effects.dirty += keys as u64;
        if !sync {
            crate::lazyfree::drop_tables(tables);
        }
    }
    cx.reply.ok();
    Ok(())
}

pub fn flushdb(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let db = cx.keys.db;
    flush(cx, args, db..db + 1)
}

pub fn flushall(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    flush(cx, args, 0..cx.settings.databases)?;
    cx.server.snapshots.cancel_save();
    cx.server.replication.full_syncs.cancel();
    let has_saved = !cx.settings.save.is_empty() && !cx.session.is_obeyed() && {
        // Otherwise the next start would bring everything back.
        cx.keys.unlock();
        crate::snapshot::save_at_rest(cx.server).is_ok()
    };
    cx.keys.effects.dirty = if has_saved { 0 } else { cx.keys.effects.dirty + 1 };
    Ok(())
}

pub fn swapdb(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if cx.settings.cluster_enabled {
        return Err(ReplyError::fixed("ERR SWAPDB is not allowed in cluster mode"));
    }
    let index = |text, error| {
        let n = parse_i64(text).and_then(|n| i32::try_from(n).ok());
        n.ok_or(ReplyError::fixed(error))
    };
    let first = index(args.bytes()?, "ERR invalid first DB index")?;
    let second = index(args.bytes()?, "ERR invalid second DB index")?;
    let within = |n| usize::try_from(n).ok().filter(|&n| n < cx.settings.databases);
    let (Some(first), Some(second)) = (within(first), within(second)) else {
        return Err(ReplyError::DB_OUT_OF_RANGE);
    };
    cx.keys.swap(first, second);
    cx.keys.effects.dirty += 1;
    cx.reply.ok();
    Ok(())
}
