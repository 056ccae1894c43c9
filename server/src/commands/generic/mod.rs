//! Commands for keys of any type, and for whole databases.

mod database;
mod expire;
mod object;
mod scan;
mod sort;

use super::common::delete;
use super::prelude::*;

fn del(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    remove_all(cx, args, cx.settings.lazyfree_user_del)
}

fn unlink(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    remove_all(cx, args, true)
}

fn remove_all(cx: &mut Cx<'_>, args: &mut Args<'_>, lazily: bool) -> Done {
    let mut removed = 0;
    for key in args.rest() {
        if let Some(entry) = cx.keys.remove(key) {
            if lazily {
                crate::lazyfree::drop_entry(entry);
            }
            cx.keys.changed(key, Classes::GENERIC, "del");
            removed += 1;
        }
    }
    cx.reply.integer(removed);
    Ok(())
}

fn exists(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let found = args.rest().filter(|key| cx.keys.look(key).is_some()).count();
    cx.reply.integer(found as i64);
    Ok(())
}

fn touch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    // TOUCH is an access whatever CLIENT NO-TOUCH says.
    let touches = std::mem::replace(&mut cx.keys.rules.touches, true);
    let found = args.rest().filter(|key| cx.keys.get(key).is_some()).count();
    cx.keys.rules.touches = touches;
    cx.reply.integer(found as i64);
    Ok(())
}

fn type_of(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let name = cx.keys.look(args.key()?).map_or("none", |entry| entry.type_of().name());
    cx.reply.simple(name);
    Ok(())
}

/// Moves a value to another key. False when that is the same key, or is taken and may not be replaced.
fn rename_key(cx: &mut Cx<'_>, args: &mut Args<'_>, may_replace: bool) -> Result<bool, ReplyError> {
    let (from, to) = (args.key()?, args.key()?);
    if cx.keys.get_mut(from).is_none() {
        return Err(ReplyError::NO_SUCH_KEY);
    }
    if from == to {
        return Ok(false);
    }
    if cx.keys.exists(to) {
        if !may_replace {
            return Ok(false);
        }
        cx.keys.remove(to).into_iter().for_each(crate::lazyfree::drop_entry);
    }
    if let Some(entry) = cx.keys.remove(from) {
        let db = cx.keys.db;
        cx.keys.insert_entry(db, entry.renamed(to));
    }
    cx.keys.event(Classes::NEW, "new", to);
    cx.keys.changed(from, Classes::GENERIC, "rename_from");
    cx.keys.signal(to);
    cx.keys.event(Classes::GENERIC, "rename_to", to);
    Ok(true)
}

fn rename(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    rename_key(cx, args, true)?;
    cx.reply.ok();
    Ok(())
}

fn renamenx(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let renamed = rename_key(cx, args, false)?;
    cx.reply.integer(i64::from(renamed));
    Ok(())
}

fn move_key(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if cx.settings.cluster_enabled {
        return Err(ReplyError::fixed("ERR MOVE is not allowed in cluster mode"));
    }
    let (key, to) = (args.key()?, super::common::database(args.bytes()?, cx.settings.databases)?);
    let from = cx.keys.db;
    if from == to {
        return Err(ReplyError::SAME_OBJECT);
    }
    if !cx.keys.exists(key) || cx.keys.exists_in(to, key) {
        cx.reply.integer(0);
        return Ok(());
    }
    if let Some(entry) = cx.keys.remove(key) {
        cx.keys.insert_entry(to, entry);
    }
    cx.keys.event_in(to, Classes::NEW, "new", key);
    cx.keys.changed(key, Classes::GENERIC, "move_from");
    arrived(cx, to, key, "move_to");
    cx.reply.integer(1);
    Ok(())
}

fn copy(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (from_key, to_key) = (args.key()?, args.key()?);
    let from = cx.keys.db;
    let (mut to, mut replaces) = (from, false);
    while !args.is_empty() {
        if args.flag("REPLACE") {
            replaces = true;
        } else if args.left() >= 2 && args.flag("DB") {
            to = super::common::database(args.bytes()?, cx.settings.databases)?;
        } else {
            return Err(ReplyError::SYNTAX);
        }
    }
    if cx.settings.cluster_enabled && to != 0 {
        return Err(ReplyError::fixed("ERR Copying to another database is not allowed in cluster mode"));
    }
    if from == to && from_key == to_key {
        return Err(ReplyError::SAME_OBJECT);
    }
    let Some(mut copied) = cx.keys.get(from_key).map(|entry| entry.copied(to_key)) else {
        cx.reply.integer(0);
        return Ok(());
    };
    copied.set_access(cx.keys.rules.access.created());
    if cx.keys.exists_in(to, to_key) {
        if !replaces {
            cx.reply.integer(0);
            return Ok(());
        }
        cx.keys.db = to;
        cx.keys.remove(to_key).into_iter().for_each(crate::lazyfree::drop_entry);
        cx.keys.db = from;
    }
    cx.keys.insert_entry(to, copied);
    cx.keys.effects.dirty += 1;
    cx.keys.event_in(to, Classes::NEW, "new", to_key);
    arrived(cx, to, to_key, "copy_to");
    cx.reply.integer(1);
    Ok(())
}

/// Tells of a key that a command has put into database `db`.
fn arrived(cx: &mut Cx<'_>, db: usize, key: &[u8], event: &str) {
    let current = std::mem::replace(&mut cx.keys.db, db);
    cx.keys.signal(key);
    cx.keys.event(Classes::GENERIC, event, key);
    cx.keys.db = current;
}

use database::{dbsize, flushall, flushdb, swapdb};
use expire::{expire, expireat, expiretime, persist, pexpire, pexpireat, pexpiretime, pttl, ttl};
use object::{OBJECT, object};
use scan::{keys, randomkey, scan};
use sort::{sort, sort_ro, stored_key};

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("del", -2, flags!(WRITE), del).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(RM | DELETE))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("unlink", -2, flags!(WRITE | FAST), unlink).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(RM | DELETE))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("4.0.0"),
    CommandSpec::new("exists", -2, flags!(READONLY | FAST), exists).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(RO))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("type", 2, flags!(READONLY | FAST), type_of).keys(&[KeySpec::index(1).flags(key!(RO))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("expire", -3, flags!(WRITE | FAST), expire).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("pexpire", -3, flags!(WRITE | FAST), pexpire).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("2.6.0"),
    CommandSpec::new("expireat", -3, flags!(WRITE | FAST), expireat).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("1.2.0"),
    CommandSpec::new("pexpireat", -3, flags!(WRITE | FAST), pexpireat).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("2.6.0"),
    CommandSpec::new("ttl", 2, flags!(READONLY | FAST), ttl).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("pttl", 2, flags!(READONLY | FAST), pttl).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("2.6.0"),
    CommandSpec::new("expiretime", 2, flags!(READONLY | FAST), expiretime).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("7.0.0"),
    CommandSpec::new("pexpiretime", 2, flags!(READONLY | FAST), pexpiretime).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("7.0.0"),
    CommandSpec::new("persist", 2, flags!(WRITE | FAST), persist).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("2.2.0"),
    CommandSpec::new("keys", 2, flags!(READONLY | WALKS), keys).acl(acl!(KEYSPACE | DANGEROUS)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("scan", -2, flags!(READONLY | WALKS | TOUCHES_ARBITRARY_KEYS), scan).acl(acl!(KEYSPACE)).group(Group::Generic).since("2.8.0"),
    CommandSpec::new("dbsize", 1, flags!(READONLY | FAST), dbsize).acl(acl!(KEYSPACE)).group(Group::Server).since("1.0.0"),
    CommandSpec::new("randomkey", 1, flags!(READONLY | WALKS | TOUCHES_ARBITRARY_KEYS), randomkey).acl(acl!(KEYSPACE)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("rename", 3, flags!(WRITE), rename).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE)), KeySpec::index(2).flags(key!(OW | UPDATE))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("renamenx", 3, flags!(WRITE | FAST), renamenx).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | DELETE)), KeySpec::index(2).flags(key!(OW | INSERT))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("touch", -2, flags!(READONLY | FAST), touch).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(RO))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("3.2.1"),
    CommandSpec::new("flushall", -1, flags!(WRITE | EXCLUSIVE | ALWAYS_PROPAGATED), flushall).acl(acl!(KEYSPACE | DANGEROUS)).group(Group::Server).since("1.0.0"),
    CommandSpec::new("flushdb", -1, flags!(WRITE | EXCLUSIVE | ALWAYS_PROPAGATED), flushdb).acl(acl!(KEYSPACE | DANGEROUS)).group(Group::Server).since("1.0.0"),
    CommandSpec::new("swapdb", 3, flags!(WRITE | FAST | EXCLUSIVE), swapdb).acl(acl!(KEYSPACE | DANGEROUS)).group(Group::Server).since("4.0.0"),
    CommandSpec::new("move", 3, flags!(WRITE | FAST | TWO_DATABASES | EXCLUSIVE), move_key).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("copy", -3, flags!(WRITE | DENYOOM | TWO_DATABASES | EXCLUSIVE), copy).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS)), KeySpec::index(2).flags(key!(OW | UPDATE))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("6.2.0"),
    CommandSpec::new("sort", -2, flags!(WRITE | DENYOOM | PATTERNS), sort).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS)), KeySpec::unknown().flags(key!(RO | ACCESS)), KeySpec::unknown().flags(key!(OW | UPDATE))]).finder(stored_key).acl(acl!(SET | SORTEDSET | LIST | DANGEROUS)).group(Group::Generic).since("1.0.0"),
    CommandSpec::new("sort_ro", -2, flags!(READONLY | PATTERNS), sort_ro).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS)), KeySpec::unknown().flags(key!(RO | ACCESS))]).acl(acl!(SET | SORTEDSET | LIST | DANGEROUS)).group(Group::Generic).since("7.0.0"),
    CommandSpec::new("object", -2, flags!(), object).subcommands(OBJECT).group(Group::Generic).since("2.2.3"),
];
