//! DEBUG: tools for tests of the server. Runs with the world at rest.

use super::help::help;
use super::prelude::*;
use crate::digest::{self, Digest};
use keyspace::access;
use keyspace::table::Item;
use protocol::Resp;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

type Handler = fn(&mut Cx<'_>, &mut Args<'_>) -> Done;

/// A subcommand: its name, how many arguments it takes at least and at most, its handler.
struct Tool {
    name: &'static str,
    args: (usize, usize),
    run: Handler,
}

const fn tool(name: &'static str, least: usize, most: usize, run: Handler) -> Tool {
    Tool { name, args: (least, most), run }
}

const ANY: usize = usize::MAX;

/// Not subcommands in COMMAND's sense: stock does not list them there.
const TOOLS: &[Tool] = &[
    tool("AOF-FLUSH-SLEEP", 1, 1, aof_flush_sleep),
    tool("ASSERT", 0, 0, |_, _| panic!("DEBUG ASSERT: 1 == 2")),
    tool("CHANGE-REPL-ID", 0, 0, change_repl_id),
    tool("CLUSTERLINK", 3, 3, cluster_link),
    tool("CONFIG-REWRITE-FORCE-ALL", 0, 0, config_rewrite_force_all),
    tool("DICT-RESIZING", 1, 1, without_effect),
    tool("DIGEST", 0, 0, dataset_digest),
    tool("DIGEST-VALUE", 0, ANY, digest_value),
    tool("DROP-CLUSTER-PACKET-FILTER", 1, 1, drop_cluster_packet_filter),
    tool("ERROR", 1, 1, error),
    tool("HELP", 0, 0, debug_help),
    tool("HTSTATS", 1, 2, htstats),
    tool("HTSTATS-KEY", 1, 2, htstats_key),
    tool("JMAP", 0, 0, without_effect),
    tool("LISTPACK", 1, 1, listpack),
    tool("LOADAOF", 0, 0, loadaof),
    tool("LOG", 1, 1, log),
    tool("OBJECT", 1, 1, object),
    tool("PANIC", 0, 0, |_, _| panic!("DEBUG PANIC")),
    tool("PAUSE-CRON", 1, 1, pause_cron),
    tool("POPULATE", 1, 3, populate),
    tool("PROTOCOL", 1, 1, protocol),
    tool("QUICKLIST", 1, 2, quicklist),
    tool("QUICKLIST-PACKED-THRESHOLD", 1, 1, quicklist_packed_threshold),
    tool("RELOAD", 0, ANY, reload),
    tool("REPLICATE", 1, ANY, replicate),
    tool("REPLYBUFFER", 2, 2, without_effect),
    tool("SDSLEN", 1, 1, sdslen),
    tool("SEGFAULT", 0, 0, |_, _| crate::process::crash::by_signal(nix::sys::signal::Signal::SIGSEGV)),
    tool("SET-ACTIVE-EXPIRE", 1, 1, set_active_expire),
    tool("SET-DISABLE-DENY-SCRIPTS", 1, 1, set_disable_deny_scripts),
    tool("SET-SKIP-CHECKSUM-VALIDATION", 1, 1, set_skip_checksum_validation),
    tool("SLEEP", 1, 1, sleep),
    tool("STRINGMATCH-LEN", 2, 2, stringmatch),
    tool("STRUCTSIZE", 0, 0, structsize),
];

fn debug(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let name = args.bytes()?;
    let found = TOOLS.iter().find(|tool| {
        tool.name.as_bytes().eq_ignore_ascii_case(name) && (tool.args.0..=tool.args.1).contains(&args.left())
    });
    match found {
        Some(tool) => (tool.run)(cx, args),
        None => Err(ReplyError::subcommand_syntax(b"DEBUG", name)),
    }
}

/// A knob of a mechanism that does not exist here: turning it changes nothing a client could see.
fn without_effect(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.reply.ok();
    Ok(())
}

/// A number as C's `atoi` reads it: the digits there are, 0 when there are none.
fn loose_integer(text: &[u8]) -> i64 {
    let text = String::from_utf8_lossy(text);
    let end = text.char_indices().find(|&(i, c)| !(c.is_ascii_digit() || i == 0 && c == '-'));
    text[..end.map_or(text.len(), |(i, _)| i)].parse().unwrap_or(0)
}

fn set_active_expire(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    cx.server.active_expire.store(loose_integer(args.bytes()?) != 0, Relaxed);
    cx.reply.ok();
    Ok(())
}

fn set_skip_checksum_validation(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    cx.server.switches.skip_checksums.store(loose_integer(args.bytes()?) != 0, Relaxed);
    cx.reply.ok();
    Ok(())
}

fn set_disable_deny_scripts(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    cx.server.switches.scripts_not_denied.store(loose_integer(args.bytes()?) != 0, Relaxed);
    cx.reply.ok();
    Ok(())
}

fn pause_cron(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    cx.server.switches.cron_paused.store(loose_integer(args.bytes()?) != 0, Relaxed);
    cx.reply.ok();
    Ok(())
}

fn aof_flush_sleep(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let micros = loose_integer(args.bytes()?).max(0) as u64;
    cx.server.switches.aof_flush_sleep_micros.store(micros, Relaxed);
    cx.reply.ok();
    Ok(())
}

fn drop_cluster_packet_filter(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let kind = i32::try_from(args.i64()?).map_err(|_| ReplyError::NOT_INTEGER)?;
    cx.server.switches.dropped_bus_messages.store(kind, Relaxed);
    cx.reply.ok();
    Ok(())
}

/// CLUSTERLINK KILL to|from|all node-id
fn cluster_link(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if !args.flag("KILL") {
        return Err(ReplyError::SYNTAX);
    }
    let cluster = cx
        .server
        .cluster
        .as_ref()
        .ok_or(ReplyError::fixed("ERR Debug option only available for cluster mode enabled setup!"))?;
    let (to, from) = match () {
        () if args.flag("TO") => (true, false),
        () if args.flag("FROM") => (false, true),
        () if args.flag("ALL") => (true, true),
        () => return Err(ReplyError::new([b"ERR Unknown direction ", args.bytes()?].concat())),
    };
    let id = args.bytes()?;
    if !cluster.with(|machine, bus| machine.kill_links(bus, id, to, from)) {
        return Err(ReplyError::new([b"ERR Unknown node ", id].concat()));
    }
    cx.reply.ok();
    Ok(())
}

fn change_repl_id(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    crate::log::notice("Changing replication IDs after receiving DEBUG change-repl-id");
    let id: String =
        (0..40).map(|_| char::from_digit(cx.keys.rng.u32(..16), 16).expect("below 16")).collect();
    cx.server.replication.change_id(id);
    cx.reply.ok();
    Ok(())
}

fn config_rewrite_force_all(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let config = &cx.server.config;
    let failed = |text: &str| ReplyError::new(format!("ERR CONFIG-REWRITE-FORCE-ALL failed: {text}"));
    let file = config.file.as_deref().ok_or_else(|| failed("No such file or directory"))?;
    crate::config::rewrite(file, &config.values(), &crate::commands::config::user_lines(cx.server))
        .map_err(|error| failed(&crate::config::strerror(&error)))?;
    cx.reply.ok();
    Ok(())
}

fn dataset_digest(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    // The keys this command has locked so far would be locked twice.
    cx.keys.unlock();
    cx.reply.simple(&digest::of_dataset(&cx.server.keyspace).to_string());
    Ok(())
}

fn digest_value(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    cx.reply.array(args.left());
    while let Some(key) = args.next_opt() {
        let mut digest = Digest::default();
        if let Some(entry) = cx.keys.peek(key) {
            digest.mix_value(entry);
        }
        cx.reply.simple(&digest.to_string());
    }
    Ok(())
}

/// The error is the text as it stands, code and all.
fn error(_: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    Err(ReplyError::new(args.bytes()?))
}

fn log(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    crate::log::warning(&format!("DEBUG LOG: {}", String::from_utf8_lossy(args.bytes()?)));
    cx.reply.ok();
    Ok(())
}

fn entry<'k>(cx: &'k mut Cx<'_>, key: &[u8]) -> Result<&'k Entry, ReplyError> {
    // What has expired, but is not removed yet, is there too.
    cx.keys.rules.ignores_expiry = true;
    cx.keys.peek(key).ok_or(ReplyError::NO_SUCH_KEY)
}

fn encoding_name(entry: &Entry) -> &'static str {
    match entry.string_encoding() {
        Some(encoding) => encoding.name(),
        None => match entry.value() {
            ValueRef::Object(object) => object.encoding_name(),
            _ => "raw",
        },
    }
}

const DUMP_TYPE_BYTES: usize = 1;
/// Version and checksum.
const DUMP_FOOTER_BYTES: usize = 10;

fn object(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (now_ms, fill) = (cx.now_ms, cx.settings.limits.list_max_listpack_size);
    let compress = cx.settings.rdb_compression;
    let entry = entry(cx, args.bytes()?)?;
    // As in an RDB file: without the type before it, and what DUMP puts behind it.
    let length = persistence::rdb::dump(entry.value(), compress)
        .len()
        .saturating_sub(DUMP_TYPE_BYTES + DUMP_FOOTER_BYTES);
    let extra = match entry.value() {
        ValueRef::Object(Object::List(list)) if list.encoding_name() == "quicklist" => format!(
            " ql_nodes:1 ql_avg_node:{:.2} ql_listpack_max:{fill} ql_compressed:0 ql_uncompressed_size:{}",
            list.len() as f64,
            list.memory_bytes()
        ),
        _ => String::new(),
    };
    let text = format!(
        "Value at:{:p} refcount:1 encoding:{} serializedlength:{length} lru:{} lru_seconds_idle:{}{extra}",
        entry.key().as_ptr(),
        encoding_name(entry),
        entry.access(),
        access::lru_idle_ms(entry.access(), now_ms) / 1000,
    );
    cx.reply.simple(&text);
    Ok(())
}

fn sdslen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let entry = entry(cx, args.bytes()?)?;
    let key_len = entry.key().len();
    let value_len = match entry.value() {
        ValueRef::Bytes(bytes) => bytes.len(),
        ValueRef::Object(Object::Str(bytes)) => bytes.len(),
        _ => return Err(ReplyError::fixed("ERR Not an sds encoded string.")),
    };
    let text = format!(
        "key_sds_len:{key_len}, key_sds_avail:0, key_zmalloc: {key_len}, val_sds_len:{value_len}, \
         val_sds_avail:0, val_zmalloc: {value_len}"
    );
    cx.reply.simple(&text);
    Ok(())
}

fn listpack(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let entry = entry(cx, args.bytes()?)?;
    if encoding_name(entry) != "listpack" {
        return Err(ReplyError::fixed("ERR Not a listpack encoded object."));
    }
    println!("{:?}", entry.value());
    cx.reply.simple("Listpack structure printed on stdout");
    Ok(())
}

fn quicklist(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let entry = entry(cx, args.bytes()?)?;
    if encoding_name(entry) != "quicklist" {
        return Err(ReplyError::fixed("ERR Not a quicklist encoded object."));
    }
    println!("{:?}", entry.value());
    cx.reply.simple("Quicklist structure printed on stdout");
    Ok(())
}

/// Lists here have no nodes of one plain element: the threshold is only checked.
fn quicklist_packed_threshold(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let text = String::from_utf8_lossy(args.bytes()?).into_owned();
    match crate::config::memory_bytes(&text) {
        Some(bytes) if bytes < 1 << 32 => cx.reply.ok(),
        _ => {
            return Err(ReplyError::fixed(
                "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
            ));
        }
    }
    Ok(())
}

fn populate(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let positive = |n: i64| usize::try_from(n).map_err(|_| ReplyError::MUST_BE_POSITIVE);
    let count = positive(args.i64()?)?;
    let prefix = args.next_opt().unwrap_or(b"key");
    let size = if args.is_empty() { 0 } else { positive(args.i64()?)? };
    for i in 0..count {
        let key = [prefix, format!(":{i}").as_bytes()].concat();
        if cx.keys.exists(&key) {
            continue;
        }
        let mut value = format!("value:{i}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        cx.keys.insert(&key, NewValue::Str(&value), None);
        cx.keys.signal(&key);
        // Slots are locked as keys come along: without this, all of them would be in the end.
        cx.keys.unlock();
    }
    cx.reply.ok();
    Ok(())
}

fn protocol(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let reply = &mut cx.reply;
    let kind = args.bytes()?.to_ascii_lowercase();
    match &kind[..] {
        b"string" => reply.text("Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double_text(b"3.141"),
        b"bignum" => reply.big_number(b"1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|n| reply.integer(n));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|n| reply.integer(n));
        }
        b"map" => {
            reply.map(3);
            for n in 0..3 {
                reply.integer(n);
                reply.boolean(n == 1);
            }
        }
        b"attrib" => {
            if reply.resp == Resp::V3 {
                reply.attribute(1);
                reply.text("key-popularity");
                reply.array(2);
                reply.text("key:123");
                reply.integer(90);
            }
            reply.text("Some real reply following the attribute");
        }
        b"push" => {
            if reply.resp == Resp::V2 {
                return Err(ReplyError::fixed("ERR RESP2 is not supported by this command"));
            }
            // What is pushed to the client whose command this is follows the reply.
            reply.text("Some real reply following the push reply");
            reply.push(2);
            reply.text("server-cpu-usage");
            reply.integer(42);
        }
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(ReplyError::fixed(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|\
                 array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

/// Stops everything for so many seconds.
fn sleep(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let seconds: f64 =
        std::str::from_utf8(args.bytes()?).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    std::thread::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    cx.reply.ok();
    Ok(())
}

/// Sends replicas a command that is not carried out here.
fn replicate(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let words: Vec<&[u8]> = args.argv().tail(args.position()).iter().collect();
    cx.keys.effects.rewrite(cx.session.db, &words);
    cx.reply.ok();
    Ok(())
}

fn reload(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (mut save, mut flush, mut merge) = (true, true, false);
    while !args.is_empty() {
        match () {
            () if args.flag("MERGE") => merge = true,
            () if args.flag("NOFLUSH") => flush = false,
            () if args.flag("NOSAVE") => save = false,
            () => {
                return Err(ReplyError::fixed(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    let server = cx.server.clone();
    if save {
        crate::snapshot::save_at_rest(&server).map_err(|_| ReplyError::fixed("ERR"))?;
    }
    if flush {
        empty(cx);
    }
    let path = cx.settings.dir.join(&cx.settings.dbfilename);
    cx.keys.unlock();
    crate::snapshot::read_into_dataset(&server, &path, merge).map_err(|text| {
        crate::log::warning(&format!("DEBUG RELOAD: {text}"));
        ReplyError::fixed("ERR Error trying to load the RDB dump, check server logs.")
    })?;
    cx.keys.effects.ready = server.waiters.keys().into();
    crate::log::notice("DB reloaded by DEBUG RELOAD");
    cx.reply.ok();
    Ok(())
}

fn loadaof(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let server = cx.server.clone();
    empty(cx);
    let Some(world) = &mut cx.world else { return Ok(()) };
    crate::aof::read_again(&server, &mut **world).map_err(|text| {
        crate::log::warning(&format!("DEBUG LOADAOF: {text}"));
        ReplyError::fixed("ERR Error trying to load the AOF files, check server logs.")
    })?;
    cx.keys.effects.ready = server.waiters.keys().into();
    crate::log::notice("Append Only File loaded by DEBUG LOADAOF");
    cx.reply.ok();
    Ok(())
}

/// Takes everything out of all databases, and all functions. Nothing is logged: what is read in next is the same.
fn empty(cx: &mut Cx<'_>) {
    for db in 0..cx.settings.databases {
        crate::lazyfree::drop_tables(cx.keys.take_all(db));
    }
    cx.server.scripts.libraries.replace(Default::default());
}

fn structsize(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let text = format!("bits:64 entry:{} object:{} ", size_of::<Entry>(), size_of::<Object>());
    cx.reply.text(&text);
    Ok(())
}

fn stringmatch(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (pattern, text) = (args.bytes()?, args.bytes()?);
    cx.reply.integer(i64::from(protocol::glob::matches(pattern, text)));
    Ok(())
}

/// How many buckets a stock table with so many elements has.
fn stock_table_size(elements: usize) -> usize {
    elements.next_power_of_two().max(4)
}

fn table_stats(elements: usize) -> String {
    if elements == 0 {
        return "No stats available for empty dictionaries\n".into();
    }
    let size = stock_table_size(elements);
    format!("Hash table 0 stats (main hash table):\n table size: {size}\n number of elements: {elements}\n")
}

fn htstats(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let db = usize::try_from(args.i64()?).ok().and_then(|index| cx.server.keyspace.db(index));
    let db = db.ok_or(ReplyError::fixed("ERR Out of range database"))?;
    let text =
        format!("[Dictionary HT]\n{}[Expires HT]\n{}", table_stats(db.len()), table_stats(db.expires()));
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn htstats_key(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let entry = entry(cx, args.bytes()?)?;
    let elements = match entry.value() {
        ValueRef::Object(object) if matches!(object.encoding_name(), "hashtable" | "skiplist") => {
            object.len()
        }
        _ => {
            return Err(ReplyError::fixed(
                "ERR The value stored at the specified key is not represented using an hash table",
            ));
        }
    };
    cx.reply.verbatim("txt", table_stats(elements).as_bytes());
    Ok(())
}

fn debug_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "AOF-FLUSH-SLEEP <microseconds>",
            "    Sleeps before each write of the append-only file.",
            "ASSERT, PANIC, SEGFAULT",
            "    Crashes the server.",
            "CHANGE-REPL-ID",
            "    Gives the replication stream another name.",
            "CONFIG-REWRITE-FORCE-ALL",
            "    Rewrites the configuration file.",
            "DIGEST",
            "    Shows a digest of the whole dataset.",
            "DIGEST-VALUE <key> [<key> ...]",
            "    Shows digests of values.",
            "DROP-CLUSTER-PACKET-FILTER <type>",
            "    Drops bus messages of a type on arrival; -1 for none.",
            "ERROR <string>",
            "    Replies with an error.",
            "HTSTATS <dbid> [full], HTSTATS-KEY <key> [full]",
            "    Shows sizes of hash tables.",
            "LOADAOF",
            "    Reads the append-only file again.",
            "LOG <message>",
            "    Writes to the log.",
            "OBJECT <key>",
            "    Shows how a value is kept.",
            "PAUSE-CRON <0|1>",
            "    Stops what is done periodically.",
            "POPULATE <count> [<prefix>] [<size>]",
            "    Makes keys.",
            "PROTOCOL <type>",
            "    Replies with a value of a type of the protocol.",
            "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
            "    Saves the dataset and reads it back.",
            "REPLICATE <command>",
            "    Sends a command to replicas only.",
            "SET-ACTIVE-EXPIRE <0|1>",
            "    Switches the removal of expired keys in the background.",
            "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
            "    Switches the checking of checksums off.",
            "SLEEP <seconds>",
            "    Stops the server for a time.",
            "STRINGMATCH-LEN <pattern> <string>",
            "    Tells whether a glob pattern matches.",
        ],
    )
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("debug", -2, flags!(ADMIN | NOSCRIPT | LOADING | STALE | PROTECTED | EXCLUSIVE), debug).group(Group::Server).since("1.0.0"),
];
