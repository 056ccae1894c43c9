//! What every container's HELP subcommand replies.

use super::prelude::*;

/// Replies with a heading, `lines`, and the line about HELP itself. A line that starts with a blank explains
/// the one before it.
pub fn help(cx: &mut Cx<'_>, lines: &[&str]) -> Done {
    let name = cx.command.full_name.split('|').next().unwrap_or_default().to_ascii_uppercase();
    cx.reply.array(lines.len() + 3);
    cx.reply.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        cx.reply.simple(line);
    }
    cx.reply.simple("HELP");
    cx.reply.simple("    Prints this help.");
    Ok(())
}

/// The handler of a container: its arity refuses a call without a subcommand before this could run.
pub fn container(_: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    Err(ReplyError::SYNTAX)
}
