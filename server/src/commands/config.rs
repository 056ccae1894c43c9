//! CONFIG: the parameters' table seen and changed by clients.

use super::help::{container, help};
use super::prelude::*;
use crate::config::{Access, PARAMS, Values, row_of};
use crate::exec::dispatch::Loading;
use crate::server::Server;
use protocol::glob;
use std::collections::HashSet;
use std::sync::atomic::Ordering;

fn config_get(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let values = cx.server.config.values();
    let mut seen = HashSet::new();
    let mut found: Vec<(String, usize)> = Vec::new();
    let mut add = |name: String, row: usize| {
        if seen.insert(name.to_ascii_lowercase()) {
            found.push((name, row));
        }
    };
    while let Some(pattern) = args.next_opt() {
        if !pattern.iter().any(|b| b"[*?".contains(b)) {
            let name = String::from_utf8_lossy(pattern).into_owned();
            if let Some(row) = row_of(&name) {
                add(name, row);
            }
            continue;
        }
        for (row, param) in PARAMS.iter().enumerate().filter(|(_, param)| !param.flags.hidden) {
            for name in [Some(param.name), param.alias].into_iter().flatten() {
                if glob::matches_any_case(pattern, name.as_bytes()) {
                    add(name.to_owned(), row);
                }
            }
        }
    }
    cx.reply.map(found.len());
    for (name, row) in found {
        cx.reply.text(&name);
        cx.reply.text(&values.get(row).to_text(&PARAMS[row]));
    }
    Ok(())
}

/// There is nothing that would do it.
const NO_DEFRAGMENTATION: &str = "Active defragmentation cannot be enabled: it requires a Redis server compiled with a \
                                  modified Jemalloc like the one shipped by default with the Redis source distribution";

/// Sets several parameters, or none of them.
fn config_set(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let rows = rows_to_set(cx, args.clone())?;
    let old = cx.server.config.values();
    let mut new = old.clone();
    for &(row, name, value) in &rows {
        let words = [String::from_utf8_lossy(value).into_owned()];
        new.set(row, &words).map_err(|reason| failed(&name.to_ascii_lowercase(), &reason))?;
    }
    new.normalise();
    if new.bool("activedefrag") && !old.bool("activedefrag") {
        return Err(failed(b"activedefrag", NO_DEFRAGMENTATION));
    }
    apply(cx, &old, new)?;
    cx.reply.ok();
    Ok(())
}

/// A parameter's row, the name it was called by, and its new value.
type Assignment<'a> = (usize, &'a [u8], &'a [u8]);

/// The parameters named with their rows; the first that may not be set is the error.
fn rows_to_set<'a>(cx: &Cx<'_>, mut args: Args<'a>) -> Result<Vec<Assignment<'a>>, ReplyError> {
    if !args.left().is_multiple_of(2) {
        return Err(ReplyError::SYNTAX);
    }
    let mut rows: Vec<Assignment<'a>> = Vec::new();
    while let (Some(name), Some(value)) = (args.next_opt(), args.next_opt()) {
        let Some(row) = std::str::from_utf8(name).ok().and_then(row_of) else {
            let text = [b"ERR Unknown option or number of arguments for CONFIG SET - '", name, b"'"].concat();
            return Err(ReplyError::new(text));
        };
        let flags = PARAMS[row].flags;
        if flags.immutable {
            return Err(failed(name, "can't set immutable config"));
        }
        if flags.protected && !is_allowed(cx, cx.settings.enable_protected_configs) {
            return Err(failed(name, "can't set protected config"));
        }
        if flags.not_while_loading && cx.batch.loading != Loading::No {
            return Err(ReplyError::LOADING);
        }
        // As in stock, a parameter may be set by each of its names: the last value stays.
        if rows.iter().any(|&(_, other, _)| other.eq_ignore_ascii_case(name)) {
            return Err(failed(name, "duplicate parameter"));
        }
        rows.push((row, name, value));
    }
    Ok(rows)
}

fn is_allowed(cx: &Cx<'_>, access: Access) -> bool {
    access == Access::Yes || access == Access::Local && cx.session.is_local()
}

fn failed(name: &[u8], reason: &str) -> ReplyError {
    let text = [b"ERR CONFIG SET failed (possibly related to argument '", name, b"') - ", reason.as_bytes()];
    ReplyError::new(text.concat())
}

/// Puts `new` in force and has the server act on it; takes it back when that fails.
fn apply(cx: &mut Cx<'_>, old: &Values, new: Values) -> Done {
    let config = &cx.server.config;
    let before = config.settings_shared();
    config.replace(new);
    let after = config.settings_shared();
    let Err((name, reason)) = cx.server.config_changed(&before, &after) else {
        if cx.in_transaction && after.appendonly && !before.appendonly {
            crate::log::notice(
                "AOF was enabled within a transaction. An AOF background was scheduled to start when that is over.",
            );
        }
        if before.requirepass != after.requirepass {
            cx.server.acl.require_password(&after.requirepass);
            crate::acl::apply_to_sessions(cx);
        }
        return Ok(());
    };
    crate::log::warning(&format!(
        "Failed applying new configuration. Possibly related to new {name} setting. Restoring previous settings."
    ));
    config.replace(old.clone());
    // What had been acted on already is acted on once more, the other way round.
    let _ = cx.server.config_changed(&after, &before);
    Err(failed(name.as_bytes(), &reason))
}

fn config_resetstat(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    cx.server.stats.reset();
    cx.server.eviction.reset();
    cx.server.client_memory.evicted.store(0, Ordering::Relaxed);
    crate::lazyfree::reset();
    cx.server.stats.peak_memory_bytes.store(crate::memory::used_bytes(), Ordering::Relaxed);
    cx.reply.ok();
    Ok(())
}

fn config_rewrite(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let config = &cx.server.config;
    let Some(file) = &config.file else {
        return Err(ReplyError::fixed("ERR The server is running without a config file"));
    };
    let text = match crate::config::rewrite(file, &config.values(), &user_lines(cx.server)) {
        Ok(()) => {
            crate::log::notice("CONFIG REWRITE executed with success.");
            cx.reply.ok();
            return Ok(());
        }
        Err(error) => crate::config::strerror(&error),
    };
    crate::log::warning(&format!("CONFIG REWRITE failed: {text}"));
    Err(ReplyError::new(format!("ERR Rewriting config file: {text}")))
}

/// The users, as CONFIG REWRITE writes them; none when they have a file of their own.
pub fn user_lines(server: &Server) -> Vec<String> {
    if !server.settings().aclfile.is_empty() {
        return Vec::new();
    }
    server.acl.lines().iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

fn config_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "GET <pattern> [<pattern> ...]",
            "    Shows the parameters whose names match one of the patterns.",
            "SET <directive> <value> [<directive> <value> ...]",
            "    Changes parameters: all of them, or none when one cannot be changed.",
            "RESETSTAT",
            "    Sets the counters that INFO shows back to zero.",
            "REWRITE",
            "    Brings the configuration file up to date with the parameters in force.",
        ],
    )
}

#[rustfmt::skip]
const CONFIG: &[CommandSpec] = &[
    CommandSpec::new("get", -3, flags!(ADMIN | NOSCRIPT | LOADING | STALE), config_get).group(Group::Server).since("2.0.0"),
    CommandSpec::new("set", -4, flags!(ADMIN | NOSCRIPT | LOADING | STALE | EXCLUSIVE), config_set).group(Group::Server).since("2.0.0"),
    CommandSpec::new("resetstat", 2, flags!(ADMIN | NOSCRIPT | LOADING | STALE | EXCLUSIVE), config_resetstat).group(Group::Server).since("2.0.0"),
    CommandSpec::new("rewrite", 2, flags!(ADMIN | NOSCRIPT | LOADING | STALE), config_rewrite).group(Group::Server).since("2.8.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), config_help).group(Group::Server).since("5.0.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("config", -2, flags!(), container).subcommands(CONFIG).group(Group::Server).since("2.0.0"),
];
