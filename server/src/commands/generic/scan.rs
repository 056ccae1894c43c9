//! Commands that look at keys they do not name. They lock one slot at a time; inside a transaction, which
//! holds locks, they run with the world at rest and let go of those first.

use crate::commands::common::{ScanOptions, Scanned, reply_cursor, scan_cursor};
use crate::commands::prelude::*;
use keyspace::table::Item;
use protocol::{Reply, Resp, glob};

pub fn keys(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let pattern = args.bytes()?;
    cx.keys.unlock();
    let (mut found, mut count) = (Vec::new(), 0);
    let rules = cx.keys.rules;
    let Some(db) = cx.server.keyspace.db(cx.keys.db) else { return Err(ReplyError::INVALID_DB) };
    let mut next = db.keys_census().and_then(|census| census.next(0));
    while let Some(slot) = next {
        for entry in db.lock(slot).iter() {
            let hidden = !rules.ignores_expiry && entry.is_expired(rules.now_ms);
            if !hidden && glob::matches(pattern, entry.key()) {
                Reply::new(&mut found, Resp::V2).bulk(entry.key());
                count += 1;
            }
        }
        next = db.keys_census().and_then(|census| census.next(slot.index() + 1));
    }
    cx.reply.array(count);
    cx.reply.out.extend_from_slice(&found);
    Ok(())
}

pub fn scan(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let cursor = scan_cursor(args)?;
    let options = ScanOptions::parse(args, Scanned::Keys)?;
    cx.keys.unlock();
    let (mut found, mut items, mut dead) = (Vec::new(), 0, Vec::new());
    let rules = cx.keys.rules;
    let Some(db) = cx.server.keyspace.db(cx.keys.db) else { return Err(ReplyError::INVALID_DB) };
    let next = options.run(cursor, |cursor, seen| {
        db.scan(cursor, |_, entry| {
            *seen += 1;
            let of_type = options
                .type_name
                .is_none_or(|name| name.eq_ignore_ascii_case(entry.type_of().name().as_bytes()));
            if !rules.ignores_expiry && entry.is_expired(rules.now_ms) {
                if rules.removes_expired && options.admits(entry.key()) {
                    dead.push(entry.key().to_vec());
                }
                return;
            }
            if of_type && options.admits(entry.key()) {
                Reply::new(&mut found, Resp::V2).bulk(entry.key());
                items += 1;
            }
        })
    });
    for key in dead {
        cx.keys.meet(&key).map_err(|_| cx.server.scripts.busy.refusal())?;
    }
    reply_cursor(&mut cx.reply, next, items, &found);
    Ok(())
}

pub fn randomkey(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    /// A replica, which removes no keys, may hold expired ones only.
    const TRIES: usize = 100;
    cx.keys.unlock();
    let rules = cx.keys.rules;
    let Some(db) = cx.server.keyspace.db(cx.keys.db) else { return Err(ReplyError::INVALID_DB) };
    for attempt in 1.. {
        let drawn = db.random(cx.keys.rng, |_, entry| (entry.key().to_vec(), entry.is_expired(rules.now_ms)));
        let Some((key, expired)) = drawn else { break };
        if !expired || rules.ignores_expiry || !rules.removes_expired && attempt >= TRIES {
            cx.reply.bulk(&key);
            return Ok(());
        }
        if rules.removes_expired {
            cx.keys.meet(&key).map_err(|_| cx.server.scripts.busy.refusal())?;
        }
    }
    cx.reply.null();
    Ok(())
}
