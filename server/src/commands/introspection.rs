//! COMMAND: what the server knows about its commands, derived from their rows.

mod docs;
mod syntax;
mod tips;

use super::help::help;
use super::prelude::*;
use crate::exec::spec::{Acl, Begin, Find, Flags, KeyFlags, flags_of_call};
use crate::exec::table::{Command, table};
use protocol::glob;
use protocol::{ArgVec, Reply};

/// Flags that COMMAND does not show.
const HIDDEN: Flags = Flags::MAY_REPLICATE
    .union(Flags::SENTINEL)
    .union(Flags::ONLY_SENTINEL)
    .union(Flags::PROTECTED)
    .union(Flags::TOUCHES_ARBITRARY_KEYS);

fn command(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    reply_all(&mut cx.reply);
    Ok(())
}

fn reply_all(reply: &mut Reply<'_>) {
    reply.array(table().iter().count());
    table().iter().for_each(|command| reply_info(reply, command));
}

fn command_count(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.reply.integer(table().iter().count() as i64);
    Ok(())
}

fn command_info(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if args.is_empty() {
        reply_all(&mut cx.reply);
        return Ok(());
    }
    cx.reply.array(args.left());
    while let Some(name) = args.next_opt() {
        match table().find_full(name) {
            Some(command) => reply_info(&mut cx.reply, command),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

/// One command's ten facts.
fn reply_info(reply: &mut Reply<'_>, command: &Command) {
    let (first, last, step, _) = legacy_range(command);
    reply.array(10);
    reply.text(&command.full_name);
    reply.integer(i64::from(command.spec.arity));
    reply_statuses(reply, &shown_flags(command));
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let categories: Vec<String> = category_names(command.spec.acl_categories()).collect();
    reply_statuses(reply, &categories);
    let tips = tips::of(&command.full_name);
    reply.set(tips.len());
    tips.iter().for_each(|tip| reply.text(tip));
    reply_key_specs(reply, command.spec.keys);
    if command.subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(command.subcommands.len());
        command.subcommands.iter().for_each(|sub| reply_info(reply, sub));
    }
}

fn reply_statuses(reply: &mut Reply<'_>, names: &[String]) {
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(name));
}

fn shown_flags(command: &Command) -> Vec<String> {
    // Named ones in the order of their bits; ours lie above stock's.
    let shown = command.spec.flags.difference(HIDDEN) & Flags::from_bits_retain(u64::from(u32::MAX));
    let mut names: Vec<String> = shown.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect();
    if legacy_range(command).3 {
        let at = names.len() - usize::from(shown.contains(Flags::ALLOW_BUSY));
        names.insert(at, "movablekeys".into());
    }
    names
}

fn category_names(acl: Acl) -> impl Iterator<Item = String> {
    acl.iter_names().map(|(name, _)| format!("@{}", name.to_ascii_lowercase()))
}

/// First key, last key and step, as clients before key specs knew commands, and whether that is not the whole
/// truth.
fn legacy_range(command: &Command) -> (i64, i64, i64, bool) {
    let mut movable = false;
    let mut range: Option<(i64, i64)> = None;
    let specs = command.spec.keys;
    for spec in specs {
        let (Begin::Index(pos), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
            movable = true;
            continue;
        };
        let pos = pos as i64;
        let last = if last >= 0 { pos + i64::from(last) } else { i64::from(last) };
        movable |= spec.flags.contains(KeyFlags::INCOMPLETE);
        if specs.len() == 1 {
            return (pos, last, step as i64, movable);
        }
        let follows = range.is_none_or(|(_, end)| end == pos - 1);
        if step != 1 || !follows {
            movable = true;
            continue;
        }
        range = Some((range.map_or(pos, |(first, _)| first.min(pos)), last));
    }
    match range {
        Some((first, last)) => (first, last, 1, movable),
        None => (0, 0, 0, movable),
    }
}

fn reply_key_specs(reply: &mut Reply<'_>, specs: &[KeySpec]) {
    reply.set(specs.len());
    for spec in specs {
        reply.map(3);
        reply.text("flags");
        reply_statuses(reply, &key_flag_names(spec.flags));
        reply.text("begin_search");
        match spec.begin {
            Begin::Unknown => reply_spec(reply, "unknown", &[]),
            Begin::Index(pos) => reply_spec(reply, "index", &[("index", pos as i64)]),
            Begin::Keyword(word, from) => {
                reply.map(2);
                reply.text("type");
                reply.text("keyword");
                reply.text("spec");
                reply.map(2);
                reply.text("keyword");
                reply.text(word);
                reply.text("startfrom");
                reply.integer(i64::from(from));
            }
        }
        reply.text("find_keys");
        match spec.find {
            Find::Unknown => reply_spec(reply, "unknown", &[]),
            Find::Range { last, step, limit } => reply_spec(
                reply,
                "range",
                &[("lastkey", i64::from(last)), ("keystep", step as i64), ("limit", limit as i64)],
            ),
            Find::KeyNum { index, first, step } => reply_spec(
                reply,
                "keynum",
                &[("keynumidx", index as i64), ("firstkey", first as i64), ("keystep", step as i64)],
            ),
        }
    }
}

fn reply_spec(reply: &mut Reply<'_>, kind: &str, numbers: &[(&str, i64)]) {
    reply.map(2);
    reply.text("type");
    reply.text(kind);
    reply.text("spec");
    reply.map(numbers.len());
    for (name, n) in numbers {
        reply.text(name);
        reply.integer(*n);
    }
}

fn key_flag_names(flags: KeyFlags) -> Vec<String> {
    let modes = KeyFlags::RO | KeyFlags::RW | KeyFlags::OW | KeyFlags::RM;
    flags
        .iter_names()
        .map(|(name, flag)| if modes.contains(flag) { name.to_owned() } else { name.to_ascii_lowercase() })
        .collect()
}

fn command_list(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let mut fits: Box<dyn Fn(&Command) -> bool> = Box::new(|_| true);
    if !args.is_empty() {
        if args.left() != 3 || !args.flag("FILTERBY") {
            return Err(ReplyError::SYNTAX);
        }
        fits = if args.flag("MODULE") {
            Box::new(|_| false)
        } else if args.flag("ACLCAT") {
            let wanted = [b"@", args.bytes()?].concat().to_ascii_lowercase();
            Box::new(move |command| {
                category_names(command.spec.acl_categories()).any(|name| name.as_bytes() == wanted)
            })
        } else if args.flag("PATTERN") {
            let pattern = args.bytes()?.to_vec();
            Box::new(move |command| glob::matches_any_case(&pattern, command.full_name.as_bytes()))
        } else {
            return Err(ReplyError::SYNTAX);
        };
    }
    // Without a filter stock lists no subcommands, with one it does; `each` has both, containers first.
    let names: Vec<&str> = table().each().filter(|command| fits(command)).map(|c| &*c.full_name).collect();
    cx.reply.array(names.len());
    names.iter().for_each(|name| cx.reply.text(name));
    Ok(())
}

fn command_getkeys(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_keys(cx, args, false)
}

fn command_getkeysandflags(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_keys(cx, args, true)
}

fn reply_keys(cx: &mut Cx<'_>, args: &mut Args<'_>, with_flags: bool) -> Done {
    let line: ArgVec = args.argv().tail(args.position()).iter().collect();
    let argv = line.as_argv();
    let found = table().find(argv.name());
    let command = match found {
        Some(container) if !container.subcommands.is_empty() && argv.len() > 1 => {
            container.subcommand(argv.get(1))
        }
        other => other,
    };
    let Some(command) = command else {
        return Err(ReplyError::fixed("ERR Invalid command specified"));
    };
    if command.spec.keys.iter().all(|spec| spec.flags.contains(KeyFlags::NOT_KEY)) {
        return Err(ReplyError::fixed("ERR The command has no key arguments"));
    }
    if !command.spec.arity_fits(argv.len()) {
        return Err(ReplyError::fixed("ERR Invalid number of arguments specified for command"));
    }
    let mut keys = Vec::new();
    let found = command.spec.each_key(argv, |pos, flags| keys.push((pos, flags)));
    if found.is_err() {
        keys.clear();
    }
    if keys.is_empty() && !command.has(Flags::NO_MANDATORY_KEYS) {
        return Err(ReplyError::fixed("ERR Invalid arguments specified for command"));
    }
    cx.reply.array(keys.len());
    for (pos, flags) in keys {
        if !with_flags {
            cx.reply.bulk(argv.get(pos));
            continue;
        }
        cx.reply.array(2);
        cx.reply.bulk(argv.get(pos));
        reply_statuses(&mut cx.reply, &key_flag_names(flags_of_call(command.spec, argv, flags)));
    }
    Ok(())
}

fn command_docs(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let commands: Vec<&Command> = if args.is_empty() {
        table().iter().collect()
    } else {
        args.argv().tail(args.position()).iter().filter_map(|name| table().find_full(name)).collect()
    };
    cx.reply.map(commands.len());
    for command in commands {
        cx.reply.text(&command.full_name);
        docs::reply(&mut cx.reply, command);
    }
    Ok(())
}

fn command_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "(no subcommand)",
            "    Shows all commands with their facts.",
            "COUNT",
            "    Tells how many commands there are.",
            "LIST [FILTERBY (MODULE <module>|ACLCAT <category>|PATTERN <pattern>)]",
            "    Shows the names of commands.",
            "INFO [<command> ...]",
            "    Shows facts about commands, all of them unless some are named.",
            "DOCS [<command> ...]",
            "    Shows what commands are for, all of them unless some are named.",
            "GETKEYS <full-command>",
            "    Shows which arguments of a command are keys.",
            "GETKEYSANDFLAGS <full-command>",
            "    Shows which arguments of a command are keys, and what it does with them.",
        ],
    )
}

#[rustfmt::skip]
const COMMAND: &[CommandSpec] = &[
    CommandSpec::new("count", 2, flags!(LOADING | STALE | SENTINEL), command_count).acl(acl!(CONNECTION)).group(Group::Server).since("2.8.13"),
    CommandSpec::new("info", -2, flags!(LOADING | STALE | SENTINEL), command_info).acl(acl!(CONNECTION)).group(Group::Server).since("2.8.13"),
    CommandSpec::new("list", -2, flags!(LOADING | STALE | SENTINEL), command_list).acl(acl!(CONNECTION)).group(Group::Server).since("7.0.0"),
    CommandSpec::new("getkeys", -3, flags!(LOADING | STALE | SENTINEL), command_getkeys).acl(acl!(CONNECTION)).group(Group::Server).since("2.8.13"),
    CommandSpec::new("getkeysandflags", -3, flags!(LOADING | STALE | SENTINEL), command_getkeysandflags).acl(acl!(CONNECTION)).group(Group::Server).since("7.0.0"),
    CommandSpec::new("docs", -2, flags!(LOADING | STALE | SENTINEL), command_docs).acl(acl!(CONNECTION)).group(Group::Server).since("7.0.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE | SENTINEL), command_help).acl(acl!(CONNECTION)).group(Group::Server).since("5.0.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("command", -1, flags!(LOADING | STALE | SENTINEL), command).subcommands(COMMAND).acl(acl!(CONNECTION)).group(Group::Server).since("2.8.13"),
];
