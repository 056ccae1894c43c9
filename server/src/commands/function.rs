//! FUNCTION, FCALL, FCALL_RO.

use super::help::{container, help};
use super::prelude::*;
use super::scripting::keys_and_args;
use crate::clock;
use crate::script::engine::Code;
use crate::script::flags::ScriptFlags;
use crate::script::libraries::{LOAD_TIMEOUT_MS, Library, LibrarySet};
use crate::script::run::{Task, run};
use persistence::rdb::functions;
use protocol::glob;
use protocol::number::parse_i64;

fn call(cx: &mut Cx<'_>, args: &mut Args<'_>, read_only: bool) -> Done {
    let argv = args.argv();
    let found = cx.server.scripts.libraries.find(args.bytes()?);
    let (library, at) = found.ok_or(ReplyError::fixed("ERR Function not found"))?;
    let numkeys = parse_i64(args.bytes()?).ok_or(ReplyError::fixed("ERR Bad number of keys provided"))?;
    let (keys, args) = keys_and_args(argv, numkeys)?;
    let function = &library.functions[at];
    let task = Task {
        code: Code::Function(&library, &function.name),
        flags: function.flags,
        reach: &library.reach,
        read_only,
        argv,
        keys,
        args,
    };
    run(cx, &task)
}

fn fcall(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    call(cx, args, false)
}

fn fcall_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    call(cx, args, true)
}

fn refused(text: Vec<u8>) -> ReplyError {
    ReplyError::new([b"ERR ", &text[..]].concat())
}

/// More arguments than a subcommand takes.
fn wrong_arguments(args: &Args<'_>) -> ReplyError {
    ReplyError::subcommand_syntax(b"FUNCTION", args.argv().get(1))
}

fn load(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let mut replace = false;
    while args.left() > 1 {
        if !args.flag("REPLACE") {
            let word = args.bytes()?;
            return Err(refused([b"Unknown option given: ", word].concat()));
        }
        replace = true;
    }
    let code = args.bytes()?;
    let timeout_ms = (!cx.session.is_obeyed()).then_some(LOAD_TIMEOUT_MS);
    let scripts = &cx.server.scripts;
    let mut set = LibrarySet::clone(&scripts.libraries.current());
    let name = scripts.load_library(&mut set, code, replace, timeout_ms).map_err(refused)?;
    scripts.libraries.replace(set);
    cx.keys.effects.dirty += 1;
    cx.reply.bulk(&name);
    Ok(())
}

fn delete(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if !cx.server.scripts.libraries.delete(args.bytes()?) {
        return Err(ReplyError::fixed("ERR Library not found"));
    }
    cx.keys.effects.dirty += 1;
    cx.reply.ok();
    Ok(())
}

fn flush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if args.left() > 1 {
        return Err(wrong_arguments(args));
    }
    if !args.is_empty() && !args.flag("SYNC") && !args.flag("ASYNC") {
        return Err(ReplyError::fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    cx.server.scripts.libraries.replace(LibrarySet::default());
    cx.keys.effects.dirty += 1;
    cx.reply.ok();
    Ok(())
}

fn list(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (mut with_code, mut pattern) = (false, None);
    while let Some(word) = args.next_opt() {
        if !with_code && word.eq_ignore_ascii_case(b"WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"LIBRARYNAME") {
            let missing = ReplyError::fixed("ERR library name argument was not given");
            pattern = Some(args.next_opt().ok_or(missing)?);
        } else {
            return Err(refused([b"Unknown argument ", word].concat()));
        }
    }
    let set = cx.server.scripts.libraries.current();
    let is_shown =
        |library: &Library| pattern.is_none_or(|pattern| glob::matches_any_case(pattern, &library.name));
    let shown: Vec<_> = set.iter().filter(|library| is_shown(library)).collect();
    cx.reply.array(shown.len());
    shown.into_iter().for_each(|library| show(cx, library, with_code));
    Ok(())
}

fn show(cx: &mut Cx<'_>, library: &Library, with_code: bool) {
    let reply = &mut cx.reply;
    reply.map(if with_code { 4 } else { 3 });
    reply.text("library_name");
    reply.bulk(&library.name);
    reply.text("engine");
    reply.text("LUA");
    reply.text("functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        reply.text("name");
        reply.bulk(&function.name);
        reply.text("description");
        reply.bulk_or_null(function.description.as_deref());
        reply.text("flags");
        let flags: Vec<_> =
            ScriptFlags::NAMES.iter().filter(|(_, flag)| function.flags.contains(*flag)).collect();
        reply.set(flags.len());
        flags.into_iter().for_each(|(name, _)| reply.simple(name));
    }
    if with_code {
        reply.text("library_code");
        reply.bulk(&library.body);
    }
}

fn dump(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let set = cx.server.scripts.libraries.current();
    let payload = functions::dump(set.iter().map(|library| &*library.body));
    cx.reply.bulk(&payload);
    Ok(())
}

fn restore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    #[derive(PartialEq)]
    enum Policy {
        Flush,
        Append,
        Replace,
    }
    let payload = args.bytes()?;
    if args.left() > 1 {
        return Err(wrong_arguments(args));
    }
    let policy = match () {
        () if args.is_empty() || args.flag("APPEND") => Policy::Append,
        () if args.flag("REPLACE") => Policy::Replace,
        () if args.flag("FLUSH") => Policy::Flush,
        () => {
            return Err(ReplyError::fixed(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let codes = functions::restore(payload).map_err(|error| refused(error.to_string().into_bytes()))?;
    let scripts = &cx.server.scripts;
    let mut restored = LibrarySet::default();
    for code in codes {
        scripts.load_library(&mut restored, &code, false, None).map_err(refused)?;
    }
    let mut set = match policy {
        Policy::Flush => LibrarySet::default(),
        _ => LibrarySet::clone(&scripts.libraries.current()),
    };
    set.join(restored, policy == Policy::Replace).map_err(refused)?;
    scripts.libraries.replace(set);
    cx.keys.effects.dirty += 1;
    cx.reply.ok();
    Ok(())
}

fn stats(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let running = cx.server.scripts.busy.oldest();
    if running.as_ref().is_some_and(|run| run.is_eval) {
        return Err(cx.server.scripts.busy.refusal());
    }
    let set = cx.server.scripts.libraries.current();
    let reply = &mut cx.reply;
    reply.map(2);
    reply.text("running_script");
    match running {
        None => reply.null(),
        Some(run) => {
            reply.map(3);
            reply.text("name");
            reply.text(&run.name);
            reply.text("command");
            reply.array(run.argv.len());
            run.argv.as_argv().iter().for_each(|arg| reply.bulk(arg));
            reply.text("duration_ms");
            reply.integer(clock::monotonic().duration_since(run.started).as_millis() as i64);
        }
    }
    reply.text("engines");
    reply.map(1);
    reply.text("LUA");
    reply.map(2);
    reply.text("libraries_count");
    reply.integer(set.iter().len() as i64);
    reply.text("functions_count");
    reply.integer(set.function_count() as i64);
    Ok(())
}

fn kill(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.server.scripts.busy.kill(false)?;
    cx.reply.ok();
    Ok(())
}

fn function_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "LOAD [REPLACE] <FUNCTION CODE>",
            "    Adds the library the code names in its first line.",
            "DELETE <LIBRARY NAME>",
            "    Deletes a library with its functions.",
            "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
            "    Shows libraries: name, engine, functions, and their code if that is asked for.",
            "STATS",
            "    Shows the function that is running, if one is slow, and how much each engine holds.",
            "KILL",
            "    Ends the function that is running, unless it has written.",
            "FLUSH [ASYNC|SYNC]",
            "    Deletes all libraries.",
            "DUMP",
            "    Returns all libraries as one value for FUNCTION RESTORE.",
            "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
            "    Adds the libraries of such a value: after deleting all others, or beside them, where one of the same",
            "    name is an error unless it is to be replaced.",
        ],
    )
}

#[rustfmt::skip]
const FUNCTION: &[CommandSpec] = &[
    CommandSpec::new("load", -3, flags!(NOSCRIPT | WRITE | DENYOOM | EXCLUSIVE), load).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("delete", 3, flags!(NOSCRIPT | WRITE | EXCLUSIVE), delete).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("flush", -2, flags!(NOSCRIPT | WRITE | EXCLUSIVE), flush).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("list", -2, flags!(NOSCRIPT), list).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("dump", 2, flags!(NOSCRIPT), dump).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("restore", -3, flags!(NOSCRIPT | WRITE | DENYOOM | EXCLUSIVE), restore).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("stats", 2, flags!(NOSCRIPT | ALLOW_BUSY), stats).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("kill", 2, flags!(NOSCRIPT | ALLOW_BUSY), kill).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), function_help).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("fcall", -3, flags!(NOSCRIPT | SKIP_MONITOR | MAY_REPLICATE | NO_MANDATORY_KEYS | STALE | RUNS_SCRIPT | RUNS_FUNCTION), fcall).keys(&[KeySpec::index(2).keynum(0, 1, 1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("fcall_ro", -3, flags!(NOSCRIPT | SKIP_MONITOR | NO_MANDATORY_KEYS | STALE | READONLY | RUNS_SCRIPT | RUNS_FUNCTION), fcall_ro).keys(&[KeySpec::index(2).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("function", -2, flags!(), container).group(Group::Scripting).since("7.0.0").subcommands(FUNCTION),
];
