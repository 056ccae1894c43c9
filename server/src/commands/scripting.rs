//! EVAL, EVALSHA and their read-only forms, SCRIPT.

use super::help::{container, help};
use super::prelude::*;
use crate::exec::session::Request;
use crate::script::cache::{Script, Sha};
use crate::script::engine::Code;
use crate::script::run::{Task, run};
use protocol::Argv;
use std::sync::Arc;

/// The keys and the other arguments behind a number of keys at position 2.
pub fn keys_and_args(argv: Argv<'_>, numkeys: i64) -> Result<(Argv<'_>, Argv<'_>), ReplyError> {
    let given = argv.tail(3);
    if numkeys > given.len() as i64 {
        return Err(ReplyError::fixed("ERR Number of keys can't be greater than number of args"));
    }
    let numkeys =
        usize::try_from(numkeys).map_err(|_| ReplyError::fixed("ERR Number of keys can't be negative"))?;
    Ok((given.head(numkeys), given.tail(numkeys)))
}

/// Runs a script that was found, or says that there is none.
fn run_script(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    read_only: bool,
    find: impl FnOnce(&Cx<'_>, &[u8]) -> Result<Arc<Script>, ReplyError>,
) -> Done {
    let argv = args.argv();
    let (text, numkeys) = (args.bytes()?, args.i64()?);
    let (keys, args) = keys_and_args(argv, numkeys)?;
    let script = find(cx, text)?;
    let task = Task {
        code: Code::Script(&script),
        flags: script.flags,
        reach: &script.reach,
        read_only,
        argv,
        keys,
        args,
    };
    run(cx, &task)
}

fn load(cx: &Cx<'_>, body: &[u8]) -> Result<Arc<Script>, ReplyError> {
    cx.server.scripts.load(body).map_err(|text| ReplyError::new([b"ERR ", &text[..]].concat()))
}

fn by_sha(cx: &Cx<'_>, sha: &[u8]) -> Result<Arc<Script>, ReplyError> {
    if cx.session.debugger.is_some() {
        return Err(ReplyError::fixed("ERR Please use EVAL instead of EVALSHA for debugging"));
    }
    Sha::parse(sha).and_then(|sha| cx.server.scripts.cache.get(&sha)).ok_or(ReplyError::NO_SCRIPT)
}

fn eval(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    run_script(cx, args, false, load)
}

fn eval_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    run_script(cx, args, true, load)
}

fn evalsha(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    run_script(cx, args, false, by_sha)
}

fn evalsha_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    run_script(cx, args, true, by_sha)
}

fn script_load(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let script = load(cx, args.bytes()?)?;
    cx.reply.bulk(script.sha.as_bytes());
    Ok(())
}

fn script_exists(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    cx.reply.array(args.left());
    for sha in args.rest() {
        let exists = Sha::parse(sha).is_some_and(|sha| cx.server.scripts.cache.get(&sha).is_some());
        cx.reply.integer(i64::from(exists));
    }
    Ok(())
}

fn script_flush(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if !args.is_empty() {
        let known = args.flag("SYNC") || args.flag("ASYNC");
        if !known || !args.is_empty() {
            return Err(ReplyError::fixed("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
        }
    }
    cx.server.scripts.cache.flush();
    cx.reply.ok();
    Ok(())
}

fn script_kill(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.server.scripts.busy.kill(true)?;
    cx.reply.ok();
    Ok(())
}

/// SYNC alone: what a script changes in a debugger stays, as there is no fork to throw away.
fn script_debug(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if args.flag("NO") {
        cx.session.debugger = None;
        cx.reply.ok();
        return Ok(());
    }
    if args.flag("SYNC") {
        cx.session.request = Some(Box::new(Request::Debug));
        cx.reply.ok();
        return Ok(());
    }
    if args.flag("YES") {
        return Err(ReplyError::fixed(
            "ERR Scripts can be debugged with SYNC only, as there is no fork here",
        ));
    }
    Err(ReplyError::fixed("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
}

fn script_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "DEBUG (YES|SYNC|NO)",
            "    Debugs the next script, with SYNC: what it changes stays. There is no YES, which would need a fork.",
            "EXISTS <sha1> [<sha1> ...]",
            "    Tells for each script whether it is in the cache.",
            "FLUSH [ASYNC|SYNC]",
            "    Empties the cache of scripts.",
            "KILL",
            "    Ends the script that is running, unless it has written.",
            "LOAD <script>",
            "    Puts a script into the cache without running it.",
        ],
    )
}

#[rustfmt::skip]
const SCRIPT: &[CommandSpec] = &[
    CommandSpec::new("load", 3, flags!(NOSCRIPT | STALE), script_load).acl(acl!(SCRIPTING)).group(Group::Scripting).since("2.6.0"),
    CommandSpec::new("exists", -3, flags!(NOSCRIPT), script_exists).acl(acl!(SCRIPTING)).group(Group::Scripting).since("2.6.0"),
    CommandSpec::new("flush", -2, flags!(NOSCRIPT), script_flush).acl(acl!(SCRIPTING)).group(Group::Scripting).since("2.6.0"),
    CommandSpec::new("kill", 2, flags!(NOSCRIPT | ALLOW_BUSY), script_kill).acl(acl!(SCRIPTING)).group(Group::Scripting).since("2.6.0"),
    CommandSpec::new("debug", 3, flags!(NOSCRIPT), script_debug).acl(acl!(SCRIPTING)).group(Group::Scripting).since("3.2.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), script_help).acl(acl!(SCRIPTING)).group(Group::Scripting).since("5.0.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("eval", -3, flags!(NOSCRIPT | SKIP_MONITOR | MAY_REPLICATE | NO_MANDATORY_KEYS | STALE | RUNS_SCRIPT), eval).keys(&[KeySpec::index(2).keynum(0, 1, 1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(SCRIPTING)).group(Group::Scripting).since("2.6.0"),
    CommandSpec::new("evalsha", -3, flags!(NOSCRIPT | SKIP_MONITOR | MAY_REPLICATE | NO_MANDATORY_KEYS | STALE | RUNS_SCRIPT | BY_SHA), evalsha).keys(&[KeySpec::index(2).keynum(0, 1, 1).flags(key!(RW | ACCESS | UPDATE))]).acl(acl!(SCRIPTING)).group(Group::Scripting).since("2.6.0"),
    CommandSpec::new("eval_ro", -3, flags!(NOSCRIPT | SKIP_MONITOR | NO_MANDATORY_KEYS | STALE | READONLY | RUNS_SCRIPT), eval_ro).keys(&[KeySpec::index(2).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("evalsha_ro", -3, flags!(NOSCRIPT | SKIP_MONITOR | NO_MANDATORY_KEYS | STALE | READONLY | RUNS_SCRIPT | BY_SHA), evalsha_ro).keys(&[KeySpec::index(2).keynum(0, 1, 1).flags(key!(RO | ACCESS))]).acl(acl!(SCRIPTING)).group(Group::Scripting).since("7.0.0"),
    CommandSpec::new("script", -2, flags!(), container).group(Group::Scripting).since("2.6.0").subcommands(SCRIPT),
];
