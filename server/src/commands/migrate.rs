//! DUMP, RESTORE and MIGRATE: values on their way to other nodes.

use super::prelude::*;
use crate::exec::spec::KeyFlags;
use keyspace::access;
use keyspace::table::Item;
use parking_lot::{Mutex, MutexGuard};
use persistence::rdb::{RestoreError, dump, restore, restore_unverified};
use protocol::Argv;
use protocol::number::parse_i64;
use protocol::reply::write_command;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// An idle connection to a target is kept for so long.
const CACHED_FOR: Duration = Duration::from_secs(10);
/// Longest line a target's reply may be.
const REPLY_LINE_MAX: usize = 64 * 1024;

fn dump_command(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let compress = cx.settings.rdb_compression;
    let payload = cx.keys.get(args.key()?).map(|entry| dump(entry.value(), compress));
    cx.reply.bulk_or_null(payload.as_deref());
    Ok(())
}

#[derive(Default)]
struct RestoreOptions {
    replace: bool,
    absolute: bool,
    idle_s: Option<u32>,
    freq: Option<u8>,
}

impl RestoreOptions {
    fn parse(args: &mut Args<'_>) -> Result<RestoreOptions, ReplyError> {
        let mut o = RestoreOptions::default();
        while !args.is_empty() {
            if args.flag("REPLACE") {
                o.replace = true;
            } else if args.flag("ABSTTL") {
                o.absolute = true;
            } else if args.left() > 1 && o.freq.is_none() && args.flag("IDLETIME") {
                let n = args.i64()?;
                if n < 0 {
                    return Err(ReplyError::fixed("ERR Invalid IDLETIME value, must be >= 0"));
                }
                o.idle_s = Some(u32::try_from(n).unwrap_or(u32::MAX));
            } else if args.left() > 1 && o.idle_s.is_none() && args.flag("FREQ") {
                let n = u8::try_from(args.i64()?);
                o.freq = Some(
                    n.map_err(|_| ReplyError::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255"))?,
                );
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        Ok(o)
    }
}

fn restore_command(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, ttl, payload) = (args.key()?, args.bytes()?, args.bytes()?);
    let o = RestoreOptions::parse(args)?;
    if !o.replace && cx.keys.exists(key) {
        return Err(ReplyError::BUSY_KEY);
    }
    let ttl_ms = parse_i64(ttl).ok_or(ReplyError::NOT_INTEGER)?;
    if ttl_ms < 0 {
        return Err(ReplyError::fixed("ERR Invalid TTL value, must be >= 0"));
    }
    let unverified = cx.server.switches.skip_checksums.load(Ordering::Relaxed);
    let restore = if unverified { restore_unverified } else { restore };
    let value = restore(payload, &cx.settings.limits).map_err(|error| match error {
        RestoreError::Footer => ReplyError::fixed("ERR DUMP payload version or checksum are wrong"),
        RestoreError::Value(error) => {
            crate::log::warning(&format!("Bad payload of RESTORE: {error}"));
            ReplyError::fixed("ERR Bad data format")
        }
    })?;
    let at_ms = match ttl_ms {
        0 => None,
        ttl_ms if o.absolute => Some(ttl_ms),
        // Beyond all time is before it, as in stock.
        ttl_ms => Some(cx.now_ms.wrapping_add(ttl_ms)),
    };
    let existed = cx.keys.remove(key).is_some();
    if at_ms.is_some_and(|at_ms| at_ms <= cx.now_ms) && !cx.batch.role_is_replica && !cx.session.is_obeyed() {
        // Born dead: what is left is the removal of the old one.
        if existed {
            let word = crate::lazyfree::deletion(cx.settings.lazyfree_server_del);
            cx.keys.effects.rewrite(cx.session.db, &[word, key]);
            cx.keys.changed(key, Classes::GENERIC, "del");
        }
        cx.reply.ok();
        return Ok(());
    }
    let mut entry = value.into_entry(key, at_ms);
    // Of the two, what the policy in force asks for.
    entry.set_access(match (cx.settings.maxmemory_policy.is_lfu(), o.idle_s, o.freq) {
        (false, Some(idle_s), _) => access::lru_idle_for(idle_s, cx.now_ms),
        (true, _, Some(freq)) => access::lfu_with(freq, cx.now_ms),
        _ => cx.keys.rules.access.created(),
    });
    cx.keys.insert_entry(cx.session.db, entry);
    cx.keys.event(Classes::NEW, "new", key);
    if let Some(at_ms) = at_ms.filter(|_| !o.absolute) {
        let at = at_ms.to_string();
        let mut words: Vec<&[u8]> = args.argv().iter().collect();
        words[2] = at.as_bytes();
        words.push(b"ABSTTL");
        cx.keys.effects.rewrite(cx.session.db, &words);
    }
    cx.keys.changed(key, Classes::GENERIC, "restore");
    cx.reply.ok();
    Ok(())
}

/// Connections to targets of MIGRATE, kept between one batch of keys and the next.
#[derive(Default)]
pub struct MigrateCache {
    idle: Mutex<HashMap<String, (Target, Instant)>>,
}

impl MigrateCache {
    fn take(&self, name: &str, now: Instant) -> Option<Target> {
        self.fresh(now).remove(name).map(|(target, _)| target)
    }

    /// How many connections are kept.
    pub fn len(&self, now: Instant) -> usize {
        self.fresh(now).len()
    }

    fn fresh(&self, now: Instant) -> MutexGuard<'_, HashMap<String, (Target, Instant)>> {
        let mut idle = self.idle.lock();
        idle.retain(|_, (_, since)| now.duration_since(*since) < CACHED_FOR);
        idle
    }

    fn put(&self, name: String, target: Target, now: Instant) {
        self.idle.lock().insert(name, (target, now));
    }
}

/// A connection to the node that keys move to.
struct Target {
    wire: BufReader<TcpStream>,
    db: Option<i64>,
}

impl Target {
    fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<Target> {
        let address = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        Ok(Target { wire: BufReader::new(stream), db: None })
    }

    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.wire.get_ref().set_read_timeout(Some(timeout))?;
        self.wire.get_ref().set_write_timeout(Some(timeout))
    }

    /// A reply of one line, without its CRLF.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        io::Read::take(&mut self.wire, REPLY_LINE_MAX as u64).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

struct Migration<'a> {
    host: &'a [u8],
    port: &'a [u8],
    db: i64,
    timeout: Duration,
    copy: bool,
    replace: bool,
    auth: Vec<&'a [u8]>,
    keys: Vec<&'a [u8]>,
}

impl<'a> Migration<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Migration<'a>, ReplyError> {
        let (host, port, key) = (args.bytes()?, args.bytes()?, args.bytes()?);
        let (db, timeout) = (args.bytes()?, args.bytes()?);
        let (mut copy, mut replace, mut auth, mut keys) = (false, false, Vec::new(), vec![key]);
        while !args.is_empty() {
            if args.flag("COPY") {
                copy = true;
            } else if args.flag("REPLACE") {
                replace = true;
            } else if args.left() > 1 && args.flag("AUTH") {
                auth = vec![args.bytes()?];
            } else if args.left() > 2 && args.flag("AUTH2") {
                auth = vec![args.bytes()?, args.bytes()?];
            } else if args.flag("KEYS") {
                if !key.is_empty() {
                    return Err(ReplyError::fixed(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                keys = args.rest().collect();
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        let timeout_ms = parse_i64(timeout).ok_or(ReplyError::NOT_INTEGER)?;
        let db = parse_i64(db).ok_or(ReplyError::NOT_INTEGER)?;
        let timeout = Duration::from_millis(if timeout_ms <= 0 { 1000 } else { timeout_ms as u64 });
        Ok(Migration { host, port, db, timeout, copy, replace, auth, keys })
    }

    /// The commands that put the keys there, and how many replies will come.
    fn commands(&self, cx: &mut Cx<'_>, target: &Target) -> (Vec<u8>, Vec<&'a [u8]>) {
        let mut out = Vec::new();
        if !self.auth.is_empty() {
            write_command(
                &mut out,
                [&b"AUTH"[..]].into_iter().chain(self.auth.iter().copied()).collect::<Vec<_>>().into_iter(),
            );
        }
        if target.db != Some(self.db) {
            write_command(&mut out, [&b"SELECT"[..], self.db.to_string().as_bytes()].into_iter());
        }
        let verb: &[u8] = if cx.settings.cluster_enabled { b"RESTORE-ASKING" } else { b"RESTORE" };
        let now_ms = cx.now_ms;
        let mut present = Vec::new();
        for &key in &self.keys {
            let Some(entry) = cx.keys.peek(key) else { continue };
            let ttl_ms = entry.expire_at_ms().map_or(0, |at_ms| (at_ms - now_ms).max(1));
            let payload = dump(entry.value(), cx.settings.rdb_compression);
            let ttl = ttl_ms.to_string();
            let mut words = vec![verb, entry.key(), ttl.as_bytes(), &payload];
            if self.replace {
                words.push(b"REPLACE");
            }
            write_command(&mut out, words.into_iter());
            present.push(key);
        }
        (out, present)
    }
}

fn migrate(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let migration = Migration::parse(args)?;
    if !migration.keys.iter().any(|key| cx.keys.exists(key)) {
        cx.reply.simple("NOKEY");
        return Ok(());
    }
    let host = String::from_utf8_lossy(migration.host).into_owned();
    let port = parse_i64(migration.port).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(ReplyError::NOT_INTEGER)?;
    let name = format!("{host}:{port}");
    let now = crate::clock::monotonic();
    // A connection that was kept may have been closed by the other side meanwhile: then once more with a new one.
    if let Some(target) = cx.server.migrate_cache.take(&name, now)
        && let Ok(outcome) = transfer(cx, &migration, target, &name)
    {
        return outcome;
    }
    let target = Target::connect(&host, port, migration.timeout).map_err(|error| {
        // Stock learns that nobody listens there only when it writes.
        ReplyError::fixed(match error.kind() {
            io::ErrorKind::ConnectionRefused => "IOERR error or timeout writing to target instance",
            _ => "IOERR error or timeout connecting to the client",
        })
    })?;
    transfer(cx, &migration, target, &name).unwrap_or_else(|direction| {
        Err(ReplyError::new(format!("IOERR error or timeout {direction} to target instance")))
    })
}

/// Sends the keys and reads the replies; keys that arrived are deleted here. The outer error is which way the
/// connection failed, before anything was deleted.
fn transfer(
    cx: &mut Cx<'_>,
    migration: &Migration<'_>,
    mut target: Target,
    name: &str,
) -> Result<Done, &'static str> {
    target.set_timeout(migration.timeout).map_err(|_| "writing")?;
    let (commands, present) = migration.commands(cx, &target);
    target.wire.get_mut().write_all(&commands).map_err(|_| "writing")?;
    let mut refusal = None;
    let mut refuse = |line: &str| {
        if let Some(error) = line.strip_prefix('-') {
            refusal.get_or_insert_with(|| format!("ERR Target instance replied with error: {error}"));
        }
        line.starts_with('-')
    };
    let preliminary = usize::from(!migration.auth.is_empty()) + usize::from(target.db != Some(migration.db));
    let mut accepted = true;
    for _ in 0..preliminary {
        accepted &= !refuse(&target.line().map_err(|_| "reading")?);
    }
    let mut moved = Vec::new();
    let mut broken = false;
    for &key in &present {
        match target.line() {
            Ok(line) => {
                if !refuse(&line) && accepted {
                    moved.push(key);
                }
            }
            Err(_) if moved.is_empty() => return Err("reading"),
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    if !migration.copy && !moved.is_empty() {
        for &key in &moved {
            cx.keys.remove(key);
            cx.keys.changed(key, Classes::GENERIC, "del");
        }
        let words: Vec<&[u8]> = std::iter::once(&b"DEL"[..]).chain(moved.iter().copied()).collect();
        cx.keys.effects.rewrite(cx.session.db, &words);
    } else {
        cx.keys.effects.keep_out_of_log();
    }
    if broken {
        return Ok(Err(ReplyError::fixed("IOERR error or timeout reading to target instance")));
    }
    if let Some(text) = refusal {
        return Ok(Err(ReplyError::new(text)));
    }
    target.db = Some(migration.db);
    cx.server.migrate_cache.put(name.to_owned(), target, crate::clock::monotonic());
    cx.reply.ok();
    Ok(Ok(()))
}

/// MIGRATE's one key, or those after KEYS, which may be the value of an option as well.
fn migrated_keys(argv: Argv<'_>, f: &mut dyn FnMut(usize, KeyFlags)) {
    let flags = KeyFlags::RW | KeyFlags::ACCESS | KeyFlags::DELETE;
    let mut at = 6;
    while at < argv.len() {
        let is = |word: &str| argv.get(at).eq_ignore_ascii_case(word.as_bytes());
        match () {
            // A key in both places is refused by the handler.
            () if is("keys") && !argv.get(3).is_empty() => return,
            () if is("keys") => return (at + 1..argv.len()).for_each(|pos| f(pos, flags)),
            () if is("auth") => at += 2,
            () if is("auth2") => at += 3,
            () => at += 1,
        }
    }
    f(3, flags);
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("dump", 2, flags!(READONLY), dump_command).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(KEYSPACE)).group(Group::Generic).since("2.6.0"),
    CommandSpec::new("restore", -4, flags!(WRITE | DENYOOM), restore_command).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE))]).acl(acl!(KEYSPACE | DANGEROUS)).group(Group::Generic).since("2.6.0"),
    CommandSpec::new("restore-asking", -4, flags!(WRITE | DENYOOM | ASKING), restore_command).keys(&[KeySpec::index(1).flags(key!(OW | UPDATE))]).acl(acl!(KEYSPACE | DANGEROUS)).group(Group::Server).since("3.0.0"),
    CommandSpec::new("migrate", -6, flags!(WRITE | MOVES_KEYS), migrate).keys(&[KeySpec::index(3).flags(key!(RW | ACCESS | DELETE)), KeySpec::keyword("KEYS", -2).range(-1, 1, 0).flags(key!(RW | ACCESS | DELETE | INCOMPLETE))]).finder_of_all(migrated_keys).acl(acl!(KEYSPACE | DANGEROUS)).group(Group::Generic).since("2.6.0"),
];
