//! The check before a command: may this session's user run it?

use super::log::{Context, Happened};
use super::selector::Denied;
use crate::clients::View;
use crate::exec::spec::KeyFlags;
use crate::exec::table::Command;
use crate::exec::{Session, SessionFlags};
use crate::server::Server;
use protocol::{Argv, ReplyError};

/// The keys a command names, looked for once for all selectors.
#[derive(Default)]
pub struct NamedKeys(Option<Vec<(usize, KeyFlags)>>);

impl NamedKeys {
    pub fn get(&mut self, command: &Command, argv: Argv<'_>) -> &[(usize, KeyFlags)] {
        self.0.get_or_insert_with(|| {
            let mut keys = Vec::new();
            let found = command.spec.each_key(argv, |at, flags| {
                keys.push((at, crate::exec::spec::flags_of_call(command.spec, argv, flags)));
            });
            // MIGRATE has an empty key where other keys follow.
            if keys.iter().any(|(_, flags)| flags.contains(KeyFlags::INCOMPLETE)) {
                keys.retain(|&(at, _)| !argv.get(at).is_empty());
            }
            // What does not add up names no keys; the handler will refuse it.
            if found.is_err() { Vec::new() } else { keys }
        })
    }
}

/// What a command is refused with when its keys or channels are out of bounds, or it is itself.
fn refusal(session: &Session, command: &Command, denied: Denied) -> Vec<u8> {
    match denied {
        Denied::Command => no_command(session.user_name(), command),
        Denied::Key(_) => b"No permissions to access a key".to_vec(),
        Denied::Channel(_) => b"No permissions to access a channel".to_vec(),
    }
}

fn no_command(user: &[u8], command: &Command) -> Vec<u8> {
    let name = command.full_name.as_bytes();
    [b"User ", user, b" has no permissions to run the '", name, b"' command"].concat()
}

/// As the refusal, but naming the key or channel: for ACL DRYRUN.
pub fn explain(user: &[u8], command: &Command, argv: Argv<'_>, denied: Denied) -> Vec<u8> {
    let (at, kind) = match denied {
        Denied::Command => return no_command(user, command),
        Denied::Key(at) => (at, b"key".as_slice()),
        Denied::Channel(at) => (at, b"channel".as_slice()),
    };
    [b"User ", user, b" has no permissions to access the '", argv.get(at), b"' ", kind].concat()
}

/// Whether the session's user may run this. What it may not is noted.
#[inline]
pub fn permitted(
    server: &Server,
    session: &Session,
    command: &Command,
    argv: Argv<'_>,
    context: Context,
) -> Result<(), (Denied, Vec<u8>)> {
    if !session.is(SessionFlags::RESTRICTED) {
        return Ok(());
    }
    look(server, session, command, argv, context)
}

/// As [`permitted`], for a session whose flags may not be up to date.
pub fn permitted_now(
    server: &Server,
    session: &Session,
    command: &Command,
    argv: Argv<'_>,
) -> Result<(), ReplyError> {
    look(server, session, command, argv, Context::Toplevel).map_err(|(_, text)| no_perm(&text))
}

#[cold]
fn look(
    server: &Server,
    session: &Session,
    command: &Command,
    argv: Argv<'_>,
    context: Context,
) -> Result<(), (Denied, Vec<u8>)> {
    let Some(user) = &session.user else { return Ok(()) };
    let Err(denied) = user.check(command, argv) else { return Ok(()) };
    let object = match denied {
        Denied::Command => command.full_name.as_bytes(),
        Denied::Key(at) | Denied::Channel(at) => argv.get(at),
    };
    let (now_ms, settings) = (crate::clock::now_ms(), server.config.settings());
    server.acl.log.add(
        settings.acllog_max_len,
        now_ms,
        Happened {
            reason: denied.into(),
            context,
            object: object.into(),
            user: user.name.clone(),
            client: View::own(session).line(now_ms),
        },
    );
    Err((denied, refusal(session, command, denied)))
}

pub fn no_perm(text: &[u8]) -> ReplyError {
    ReplyError::new([b"NOPERM ", text].concat())
}

/// What EXEC says of a command that was allowed when it was queued.
pub fn no_perm_any_more(denied: Denied) -> ReplyError {
    let reason = match denied {
        Denied::Command => "no permission to execute the command or subcommand",
        Denied::Key(_) => "no permission to touch the specified keys",
        Denied::Channel(_) => "no permission to access one of the channels used as arguments",
    };
    ReplyError::new(format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command \
         is no longer allowed for the following reason: {reason}"
    ))
}
