//! The checks before a command runs, in the order in which stock makes them: the order of errors is visible.
//!
//! Each asks the command's flags, never its name.

use super::dispatch::{Batch, Loading, Target};
use super::session::{Session, SessionFlags};
use super::spec::Flags;
use super::table::Command;
use crate::acl::{Context, check};
use crate::config::Access;
use crate::server::Server;
use crate::tracking::Changes;
use protocol::{Argv, ReplyError, Resp};
use std::cell::Cell;
use std::sync::atomic::Ordering;

/// All that a check may look at.
pub struct Checked<'a> {
    pub server: &'a Server,
    pub batch: &'a Batch,
    pub session: &'a Session,
    pub command: &'static Command,
    /// The command's flags, or those of the script it runs.
    pub flags: Flags,
    pub argv: Argv<'a>,
    pub target: Target,
    /// ASKING came right before this command.
    pub asking: bool,
    /// Keys that were evicted to make room, for clients that cache.
    pub evicted: Cell<Option<Box<Changes>>>,
}

/// Runs them all.
#[inline]
pub fn all(c: &Checked<'_>) -> Result<(), ReplyError> {
    if c.is_plain() {
        return routed_here(c);
    }
    one_by_one(c)
}

#[inline(never)]
fn one_by_one(c: &Checked<'_>) -> Result<(), ReplyError> {
    protected(c)?;
    authenticated(c)?;
    if c.session.is_obeyed() {
        return Ok(());
    }
    allowed_in_multi(c)?;
    permitted(c)?;
    routed_here(c)?;
    enough_memory(c)?;
    disk_healthy(c)?;
    enough_replicas(c)?;
    writable(c)?;
    only_listening(c)?;
    stale(c)?;
    loading(c)?;
    not_busy(c)?;
    no_onlooker(c)
}

impl Checked<'_> {
    /// Nothing is the case that any check asks about, but that of the route: so it is for most commands.
    #[inline]
    fn is_plain(&self) -> bool {
        const ASKED: SessionFlags = SessionFlags::AUTHENTICATED
            .union(SessionFlags::RESTRICTED)
            .union(SessionFlags::MASTER)
            .union(SessionFlags::LOADER)
            .union(SessionFlags::SUBSCRIBED)
            .union(SessionFlags::REPLICA)
            .union(SessionFlags::MONITOR);
        self.batch.is_plain
            && !self.batch.busy
            && self.session.flags.intersection(ASKED) == SessionFlags::AUTHENTICATED
            && !self.command.spec.flags.intersects(Flags::PROTECTED.union(Flags::NO_MULTI))
    }

    /// The command has this flag, or it is EXEC and has queued one that has.
    #[inline]
    pub fn does(&self, flag: Flags) -> bool {
        self.flags.contains(flag) || self.command.has(Flags::RUNS_QUEUE) && queued_has(self.session, flag)
    }
}

fn protected(c: &Checked<'_>) -> Result<(), ReplyError> {
    if !c.command.has(Flags::PROTECTED) {
        return Ok(());
    }
    match c.batch.settings.enable_debug {
        Access::Yes => Ok(()),
        Access::Local if c.session.is_local() => Ok(()),
        _ => Err(ReplyError::NO_PERM_DEBUG),
    }
}

#[inline]
fn authenticated(c: &Checked<'_>) -> Result<(), ReplyError> {
    if c.session.is(SessionFlags::AUTHENTICATED) || c.command.has(Flags::NO_AUTH) || c.session.is_obeyed() {
        return Ok(());
    }
    Err(ReplyError::NO_AUTH)
}

fn allowed_in_multi(c: &Checked<'_>) -> Result<(), ReplyError> {
    if c.session.multi.is_some() && c.command.has(Flags::NO_MULTI) {
        return Err(ReplyError::fixed("ERR Command not allowed inside a transaction"));
    }
    Ok(())
}

/// The session's user must have the right.
#[inline]
fn permitted(c: &Checked<'_>) -> Result<(), ReplyError> {
    let context = if c.session.multi.is_some() { Context::Multi } else { Context::Toplevel };
    check::permitted(c.server, c.session, c.command, c.argv, context)
        .map_err(|(_, text)| check::no_perm(&text))
}

/// In a cluster, the keys must be in one slot, and that slot here.
#[inline]
fn routed_here(c: &Checked<'_>) -> Result<(), ReplyError> {
    match &c.batch.routing {
        Some(routing) => crate::cluster::route::check(routing, c),
        None => Ok(()),
    }
}

/// Makes room by evicting, and refuses what would need more when none can be made.
#[inline]
fn enough_memory(c: &Checked<'_>) -> Result<(), ReplyError> {
    if c.batch.settings.maxmemory_bytes == 0 {
        return Ok(());
    }
    let mut evicted = Changes::default();
    let out_of_memory = !crate::evict::make_room(c.server, &c.batch.settings, c.batch.now_ms, &mut evicted);
    if !evicted.is_empty() {
        c.evicted.set(Some(Box::new(evicted)));
    }
    // What is queued takes memory, whatever it does later.
    let is_queued = c.session.multi.is_some() && !c.command.has(Flags::NOT_QUEUED);
    if out_of_memory && (is_queued || c.does(Flags::DENYOOM)) && !c.batch.role_is_replica {
        return Err(ReplyError::OOM);
    }
    Ok(())
}

/// Whether EXEC is about to run something with this flag.
fn queued_has(session: &Session, flag: Flags) -> bool {
    session.multi.as_ref().is_some_and(|multi| multi.flags.contains(flag))
}

/// Whether EXEC is about to run nothing without this flag. True of other commands.
fn queued_have(c: &Checked<'_>, flag: Flags) -> bool {
    !c.command.has(Flags::RUNS_QUEUE)
        || c.session.multi.as_ref().is_none_or(|multi| multi.common_flags.contains(flag))
}

fn disk_healthy(c: &Checked<'_>) -> Result<(), ReplyError> {
    if !c.batch.disk_failed || !(c.does(Flags::WRITE) || c.command.has(Flags::TELLS_OF_DISK)) {
        return Ok(());
    }
    Err(c.server.persistence.write_refusal(&c.batch.settings))
}

fn enough_replicas(c: &Checked<'_>) -> Result<(), ReplyError> {
    let settings = &c.batch.settings;
    if settings.min_replicas_to_write == 0 || c.batch.role_is_replica || !c.does(Flags::WRITE) {
        return Ok(());
    }
    if c.server.replication.good_replicas.load(Ordering::Relaxed) < settings.min_replicas_to_write {
        return Err(ReplyError::NO_REPLICAS);
    }
    Ok(())
}

#[inline]
fn writable(c: &Checked<'_>) -> Result<(), ReplyError> {
    if c.batch.role_is_replica && c.batch.settings.replica_read_only && c.does(Flags::WRITE) {
        return Err(ReplyError::READ_ONLY);
    }
    Ok(())
}

/// RESP2 cannot tell a message from a reply: who listens may send little else.
#[inline]
fn only_listening(c: &Checked<'_>) -> Result<(), ReplyError> {
    let listens = c.session.is(SessionFlags::SUBSCRIBED) && c.session.resp == Resp::V2;
    if !listens || c.command.has(Flags::WHILE_SUBSCRIBED) {
        return Ok(());
    }
    let name = &c.command.full_name;
    Err(ReplyError::new(format!(
        "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context"
    )))
}

fn stale(c: &Checked<'_>) -> Result<(), ReplyError> {
    if c.batch.master_link_down
        && !c.batch.settings.replica_serve_stale_data
        && !(c.flags.contains(Flags::STALE) && queued_have(c, Flags::STALE))
    {
        return Err(ReplyError::MASTER_DOWN);
    }
    Ok(())
}

#[inline]
fn loading(c: &Checked<'_>) -> Result<(), ReplyError> {
    let is_refused = match c.batch.loading {
        Loading::No => false,
        Loading::Alone => !(c.command.has(Flags::LOADING) && queued_have(c, Flags::LOADING)),
        Loading::Beside => c.does(Flags::NO_ASYNC_LOADING),
    };
    if is_refused { Err(ReplyError::LOADING) } else { Ok(()) }
}

/// While a script takes its time, only what can help is run for others.
#[inline]
fn not_busy(c: &Checked<'_>) -> Result<(), ReplyError> {
    if c.batch.busy && !c.command.has(Flags::ALLOW_BUSY) {
        return Err(c.server.scripts.busy.refusal());
    }
    Ok(())
}

/// Replicas and monitors look on: what they send must not touch keys.
#[inline]
fn no_onlooker(c: &Checked<'_>) -> Result<(), ReplyError> {
    const ONLOOKER: SessionFlags = SessionFlags::REPLICA.union(SessionFlags::MONITOR);
    const TOUCHES: Flags = Flags::READONLY.union(Flags::WRITE).union(Flags::MAY_REPLICATE);
    if c.session.flags.intersects(ONLOOKER) && c.flags.intersects(TOUCHES) {
        return Err(ReplyError::fixed("ERR Replica can't interact with the keyspace"));
    }
    Ok(())
}
