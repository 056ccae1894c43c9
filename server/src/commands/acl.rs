//! ACL: users and their rights, seen and changed by clients.

use super::common::score;
use super::help::{container, help};
use super::prelude::*;
use crate::acl::check::explain;
use crate::acl::{self, Selector};
use crate::exec::spec::Acl;
use crate::exec::table::{Command, table};
use protocol::number::parse_i64;
use std::io::Read;
use std::path::Path;

/// The most that ACL GENPASS gives, in bits.
const GENPASS_BITS_MAX: i64 = 4096;

fn acl_setuser(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let name = args.bytes()?;
    if acl::has_spaces(name) {
        return Err(ReplyError::fixed("ERR Usernames can't contain spaces or null characters"));
    }
    let rules: Vec<&[u8]> = args.rest().collect();
    let (user, old) = cx
        .server
        .acl
        .set(name, &rules, cx.settings.acl_all_channels)
        .map_err(|text| ReplyError::new([b"ERR ", &*text].concat()))?;
    acl::apply_to_sessions(cx);
    if let Some(old) = old {
        acl::end_listening(cx, &user, &old);
    }
    cx.reply.ok();
    Ok(())
}

fn acl_deluser(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if args.clone().rest().any(|name| name == b"default") {
        return Err(ReplyError::fixed("ERR The 'default' user cannot be removed"));
    }
    let gone: Vec<_> = args.rest().filter_map(|name| cx.server.acl.remove(name)).collect();
    acl::end_sessions(cx, &gone);
    cx.reply.integer(gone.len() as i64);
    Ok(())
}

fn acl_getuser(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let Some(user) = cx.server.acl.user(args.bytes()?) else {
        cx.reply.null();
        return Ok(());
    };
    let rules = user.rules();
    cx.reply.map(6);
    let flags = rules.flags();
    cx.reply.text("flags");
    cx.reply.set(flags.len());
    flags.iter().for_each(|flag| cx.reply.text(flag));
    cx.reply.text("passwords");
    cx.reply.array(rules.passwords().len());
    rules.passwords().iter().for_each(|password| cx.reply.text(&password.text()));
    reply_selector(cx, rules.root());
    cx.reply.text("selectors");
    cx.reply.array(rules.others().len());
    for selector in rules.others() {
        cx.reply.map(3);
        reply_selector(cx, selector);
    }
    Ok(())
}

/// Three pairs of a map.
fn reply_selector(cx: &mut Cx<'_>, selector: &Selector) {
    cx.reply.text("commands");
    cx.reply.text(&selector.describe_commands());
    cx.reply.text("keys");
    cx.reply.bulk(&selector.describe_keys());
    cx.reply.text("channels");
    cx.reply.bulk(&selector.describe_channels());
}

fn acl_list(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let lines = cx.server.acl.lines();
    cx.reply.array(lines.len());
    lines.iter().for_each(|line| cx.reply.bulk(line));
    Ok(())
}

fn acl_users(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let users = cx.server.acl.users();
    cx.reply.array(users.len());
    users.iter().for_each(|user| cx.reply.bulk(&user.name));
    Ok(())
}

fn acl_whoami(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.reply.bulk_or_null(cx.session.user.as_ref().map(|user| &*user.name));
    Ok(())
}

fn acl_cat(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let Some(name) = args.next_opt() else {
        cx.reply.array(Acl::all().iter_names().count());
        Acl::all().iter_names().for_each(|(name, _)| cx.reply.text(&name.to_ascii_lowercase()));
        return Ok(());
    };
    if !args.is_empty() {
        return Err(wrong_form(args));
    }
    let category = acl::category(name).ok_or_else(|| {
        ReplyError::new([b"ERR Unknown category '", &name[..name.len().min(128)], b"'"].concat())
    })?;
    let is_in = |command: &&Command| command.spec.acl_categories().intersects(category);
    let all = table().originals().flat_map(|command| std::iter::once(command).chain(&command.subcommands));
    let names: Vec<&str> = all.filter(is_in).map(|command| &*command.full_name).collect();
    cx.reply.array(names.len());
    names.iter().for_each(|name| cx.reply.text(name));
    Ok(())
}

/// More arguments than the subcommand takes, where its arity does not say so.
fn wrong_form(args: &Args<'_>) -> ReplyError {
    ReplyError::subcommand_syntax(b"ACL", args.argv().get(1))
}

fn acl_genpass(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let bits = match args.next_opt() {
        None => 256,
        Some(text) => parse_i64(text).ok_or(ReplyError::NOT_INTEGER)?,
    };
    if !args.is_empty() {
        return Err(wrong_form(args));
    }
    if !(1..=GENPASS_BITS_MAX).contains(&bits) {
        return Err(ReplyError::new(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {GENPASS_BITS_MAX}"
        )));
    }
    // A secret, so from the system's generator.
    let digits = (bits as usize).div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    let filled = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    filled.map_err(|error| ReplyError::new(format!("ERR no randomness: {error}")))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    cx.reply.text(&text[..digits]);
    Ok(())
}

fn acl_load(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    check_has_file(cx)?;
    let loaded = cx.server.acl.load_file(cx.settings);
    let gone = loaded.map_err(|errors| ReplyError::new(format!("ERR {errors}")))?;
    acl::apply_to_sessions(cx);
    acl::end_sessions(cx, &gone);
    cx.reply.ok();
    Ok(())
}

fn acl_save(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    check_has_file(cx)?;
    cx.server.acl.save_file(Path::new(&cx.settings.aclfile)).map_err(|error| {
        crate::log::warning(&format!("Writing ACL file for ACL SAVE: {error}"));
        ReplyError::fixed(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        )
    })?;
    cx.reply.ok();
    Ok(())
}

fn check_has_file(cx: &Cx<'_>) -> Done {
    if !cx.settings.aclfile.is_empty() {
        return Ok(());
    }
    Err(ReplyError::fixed(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
         command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store \
         users in the Redis configuration.",
    ))
}

fn acl_log(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if args.left() > 1 {
        return Err(wrong_form(args));
    }
    if args.flag("RESET") {
        cx.server.acl.log.reset();
        cx.reply.ok();
        return Ok(());
    }
    let count = match args.next_opt() {
        None => 10,
        Some(text) => usize::try_from(parse_i64(text).ok_or(ReplyError::NOT_INTEGER)?).unwrap_or(0),
    };
    let now_ms = crate::clock::now_ms();
    let reply = &mut cx.reply;
    cx.server.acl.log.show(count, |len, entries| {
        reply.array(len);
        for entry in entries {
            reply.map(10);
            reply.text("count");
            reply.integer(entry.count as i64);
            for (field, value) in
                [("reason", entry.what.reason.name()), ("context", entry.what.context.name())]
            {
                reply.text(field);
                reply.text(value);
            }
            for (field, value) in [("object", &entry.what.object), ("username", &entry.what.user)] {
                reply.text(field);
                reply.bulk(value);
            }
            reply.text("age-seconds");
            score(reply, (now_ms - entry.updated_ms) as f64 / 1000.0);
            reply.text("client-info");
            reply.text(&entry.what.client);
            reply.text("entry-id");
            reply.integer(entry.id as i64);
            reply.text("timestamp-created");
            reply.integer(entry.created_ms);
            reply.text("timestamp-last-updated");
            reply.integer(entry.updated_ms);
        }
    });
    Ok(())
}

fn acl_dryrun(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let name = args.bytes()?;
    let not_found =
        |what: &[u8], name: &[u8]| ReplyError::new([b"ERR ", what, b" '", name, b"' not found"].concat());
    let user = cx.server.acl.user(name).ok_or_else(|| not_found(b"User", name))?;
    let argv = args.argv().tail(args.position());
    let command = table().find(argv.name()).and_then(|command| {
        match command.subcommands.is_empty() || argv.len() < 2 {
            true => Some(command),
            false => command.subcommand(argv.get(1)),
        }
    });
    let command = command.ok_or_else(|| not_found(b"Command", argv.name()))?;
    if !command.spec.arity_fits(argv.len()) {
        return Err(ReplyError::arity(&command.full_name));
    }
    match user.check(command, argv) {
        Ok(()) => cx.reply.ok(),
        Err(denied) => cx.reply.bulk(&explain(&user.name, command, argv, denied)),
    }
    Ok(())
}

fn acl_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "CAT [<category>]",
            "    List all commands that belong to <category>, or all command categories",
            "    when no category is specified.",
            "DELUSER <username> [<username> ...]",
            "    Delete a list of users.",
            "DRYRUN <username> <command> [<arg> ...]",
            "    Returns whether the user can execute the given command without executing the command.",
            "GETUSER <username>",
            "    Get the user's details.",
            "GENPASS [<bits>]",
            "    Generate a secure 256-bit user password. The optional `bits` argument can",
            "    be used to specify a different size.",
            "LIST",
            "    Show users details in config file format.",
            "LOAD",
            "    Reload users from the ACL file.",
            "LOG [<count> | RESET]",
            "    Show the ACL log entries.",
            "SAVE",
            "    Save the current config to the ACL file.",
            "SETUSER <username> <attribute> [<attribute> ...]",
            "    Create or modify a user with the specified attributes.",
            "USERS",
            "    List all the registered usernames.",
            "WHOAMI",
            "    Return the current connection username.",
        ],
    )
}

#[rustfmt::skip]
const ACL: &[CommandSpec] = &[
    CommandSpec::new("cat", -2, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), acl_cat).group(Group::Server).since("6.0.0"),
    CommandSpec::new("deluser", -3, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL | EXCLUSIVE), acl_deluser).group(Group::Server).since("6.0.0"),
    CommandSpec::new("dryrun", -4, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL), acl_dryrun).group(Group::Server).since("7.0.0"),
    CommandSpec::new("genpass", -2, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), acl_genpass).group(Group::Server).since("6.0.0"),
    CommandSpec::new("getuser", 3, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL), acl_getuser).group(Group::Server).since("6.0.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE | SENTINEL), acl_help).group(Group::Server).since("6.0.0"),
    CommandSpec::new("list", 2, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL), acl_list).group(Group::Server).since("6.0.0"),
    CommandSpec::new("load", 2, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL | EXCLUSIVE), acl_load).group(Group::Server).since("6.0.0"),
    CommandSpec::new("log", -2, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL), acl_log).group(Group::Server).since("6.0.0"),
    CommandSpec::new("save", 2, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL), acl_save).group(Group::Server).since("6.0.0"),
    CommandSpec::new("setuser", -3, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL | EXCLUSIVE), acl_setuser).group(Group::Server).since("6.0.0"),
    CommandSpec::new("users", 2, flags!(ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL), acl_users).group(Group::Server).since("6.0.0"),
    CommandSpec::new("whoami", 2, flags!(NOSCRIPT | LOADING | STALE | SENTINEL), acl_whoami).group(Group::Server).since("6.0.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("acl", -2, flags!(SENTINEL), container).subcommands(ACL).group(Group::Server).since("6.0.0"),
];
