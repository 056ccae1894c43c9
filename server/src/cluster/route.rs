//! Routing: run it here, MOVED, ASK, or why not.

use super::Routing;
use crate::blocking::Waiter;
use crate::config::{Endpoint, Settings};
use crate::exec::SessionFlags;
use crate::exec::checks::Checked;
use crate::exec::dispatch::Target;
use crate::exec::keys::lock;
use crate::exec::spec::Flags;
use crate::exec::table::Command;
use cluster_bus::RouteNode;
use protocol::{Argv, ReplyError, Slot};

/// Tells whether a key is in this node's dataset.
type IsThere<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// Checks that the keys of a command are in one slot and that this node may serve it.
#[inline]
pub fn check(routing: &Routing, c: &Checked<'_>) -> Result<(), ReplyError> {
    check_seeing(routing, c, None)
}

/// As [`check`], for a script's command: the script holds locks of slots, so it looks for the keys itself.
pub fn check_within(routing: &Routing, c: &Checked<'_>, is_there: IsThere<'_>) -> Result<(), ReplyError> {
    check_seeing(routing, c, Some(is_there))
}

#[inline]
fn check_seeing(routing: &Routing, c: &Checked<'_>, is_there: Option<IsThere<'_>>) -> Result<(), ReplyError> {
    let slot = match c.target {
        Target::None if !c.command.has(Flags::RUNS_QUEUE) => return Ok(()),
        Target::One(slot) => Some(slot),
        _ => one_slot(c)?,
    };
    let Some(slot) = slot else { return Ok(()) };
    if routing.state_ok && routing.is_settled() && routing.is_mine(slot) {
        return Ok(());
    }
    decide(routing, c, slot, is_there)
}

/// The one slot of all keys of the command, or of the transaction it is about to run.
fn one_slot(c: &Checked<'_>) -> Result<Option<Slot>, ReplyError> {
    let mut slot = None;
    let mut crossed = false;
    let mut meet = |this: Slot| {
        crossed |= slot.is_some_and(|other| other != this);
        slot = Some(this);
    };
    each_command(c, |command, argv, target| match target {
        Target::One(slot) => meet(slot),
        // Arguments that do not add up name no keys; the handler will refuse them.
        _ => {
            let _ = command.spec.each_routed(argv, |pos| meet(Slot::of(argv.get(pos))));
        }
    });
    if crossed { Err(ReplyError::CROSS_SLOT) } else { Ok(slot) }
}

/// The command, or those of the transaction it is about to run.
fn each_command(c: &Checked<'_>, mut f: impl FnMut(&Command, Argv<'_>, Target)) {
    match &c.session.multi {
        Some(multi) if c.command.has(Flags::RUNS_QUEUE) => {
            multi.queue.iter().for_each(|queued| f(queued.command, queued.argv, queued.target));
        }
        _ => f(c.command, c.argv, c.target),
    }
}

#[cold]
fn decide(
    routing: &Routing,
    c: &Checked<'_>,
    slot: Slot,
    is_there: Option<IsThere<'_>>,
) -> Result<(), ReplyError> {
    let settings = &c.batch.settings;
    let reads_only = !c.does(Flags::WRITE);
    let is_shard_channel = c.command.has(Flags::PUBSUB);
    let serves_channels = is_shard_channel && settings.cluster_allow_pubsubshard_when_down;
    if !(routing.state_ok || serves_channels) {
        if !settings.cluster_allow_reads_when_down {
            return Err(ReplyError::CLUSTER_DOWN);
        }
        if !reads_only {
            return Err(ReplyError::CLUSTER_DOWN_READ_ONLY);
        }
    }
    let Some(owner) = routing.owner(slot) else { return Err(ReplyError::CLUSTER_DOWN_UNBOUND) };
    let mine = routing.is_mine(slot);
    if mine && routing.migrating_to(slot).is_none() {
        return Ok(());
    }
    let asking = c.asking || c.command.has(Flags::ASKING);
    let served = mine || asking && routing.importing_from(slot).is_some();
    if served && is_shard_channel {
        // A shard channel moves with its slot, and not before.
        return Ok(());
    }
    if served {
        let Count { present, absent, are_several } = count_keys(c, slot, is_there)?;
        let target = routing.migrating_to(slot);
        return match target {
            // All keys are here still, or none is named.
            Some(_) if absent == 0 => Ok(()),
            Some(_) if present > 0 => Err(ReplyError::TRY_AGAIN),
            Some(target) => Err(redirect(c, target, |host, port| ReplyError::ask(slot, host, port))),
            None if absent > 0 && are_several => Err(ReplyError::TRY_AGAIN),
            None => Ok(()),
        };
    }
    let reads_here = c.session.is(SessionFlags::READONLY) && reads_only;
    if (reads_here || is_shard_channel) && routing.is_in_my_shard(slot) {
        return Ok(());
    }
    Err(redirect(c, owner, |host, port| ReplyError::moved(slot, host, port)))
}

/// How many of a command's keys are in this node's dataset, and how many are not; and whether there is more than one,
/// however often it is named.
#[derive(Default)]
struct Count {
    present: usize,
    absent: usize,
    are_several: bool,
}

fn count_keys(c: &Checked<'_>, slot: Slot, is_there: Option<IsThere<'_>>) -> Result<Count, ReplyError> {
    if let Some(is_there) = is_there {
        return Ok(count(c, is_there));
    }
    let Ok(guard) = lock(c.server, (0, slot), false) else { return Err(c.server.scripts.busy.refusal()) };
    let now_ms = c.batch.now_ms;
    Ok(count(c, &mut |key| {
        guard.get(key).is_some_and(|entry| entry.expire_at_ms().is_none_or(|at| at > now_ms))
    }))
}

fn count(c: &Checked<'_>, is_there: IsThere<'_>) -> Count {
    let mut count = Count::default();
    let mut first = None;
    each_command(c, |command, argv, _| {
        let _ = command.spec.each_key(argv, |pos, _| {
            let key = argv.get(pos);
            count.are_several |= *first.get_or_insert_with(|| key.to_vec()) != key;
            let counter = if is_there(key) { &mut count.present } else { &mut count.absent };
            *counter += 1;
        });
    });
    count
}

/// Why a command that waits cannot go on waiting here, if so. Everybody waits for a write, so a cluster that is down
/// is the end of it even where reads are allowed.
pub fn of_waiter(routing: &Routing, settings: &Settings, waiter: &Waiter) -> Option<ReplyError> {
    if !routing.state_ok {
        return Some(ReplyError::CLUSTER_DOWN);
    }
    let slot = Slot::of(waiter.keys.first()?);
    let Some(owner) = routing.owner(slot) else { return Some(ReplyError::CLUSTER_DOWN_UNBOUND) };
    let reads_here = waiter.session.is(SessionFlags::READONLY)
        && !waiter.command.has(Flags::WRITE)
        && routing.is_in_my_shard(slot);
    if routing.is_mine(slot) || reads_here || routing.importing_from(slot).is_some() {
        return None;
    }
    Some(ReplyError::moved(slot, &endpoint(settings, owner), owner.address.tcp_port))
}

fn redirect(c: &Checked<'_>, to: &RouteNode, error: impl Fn(&str, u16) -> ReplyError) -> ReplyError {
    let port = to.address.tcp_port;
    error(&endpoint(&c.batch.settings, to), port)
}

/// The name by which clients are told to reach a node.
pub fn endpoint(settings: &Settings, node: &RouteNode) -> String {
    match settings.cluster_preferred_endpoint {
        Endpoint::Ip => node.address.ip.to_string(),
        Endpoint::Hostname if node.hostname.is_empty() => "?".to_owned(),
        Endpoint::Hostname => node.hostname.clone(),
        Endpoint::Unknown => String::new(),
    }
}
