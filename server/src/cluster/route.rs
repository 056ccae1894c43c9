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
        _ => one_slot(routing, c)?,
    };
    let Some(slot) = slot else { return Ok(()) };
    if routing.state_ok && routing.is_settled() && routing.is_mine(slot) {
        return Ok(());
    }
    decide(routing, c, slot, is_there)
}

/// The one slot of all keys of the command, or of the transaction it is about to run. That nobody serves the first
/// key's slot is told before the others are looked at.
fn one_slot(routing: &Routing, c: &Checked<'_>) -> Result<Option<Slot>, ReplyError> {
    let mut slot = None;
    let mut crossed = false;
    let mut meet = |this: Slot| {
        crossed |= *slot.get_or_insert(this) != this;
    };
    each_command(c, |command, argv, target| match target {
        Target::One(slot) => meet(slot),
        // Arguments that do not add up name no keys; the handler will refuse them.
        _ => {
            let _ = command.spec.each_routed(argv, |pos| meet(Slot::of(argv.get(pos))));
        }
    });
    match slot {
        Some(slot) if routing.owner_index(slot).is_none() => Err(ReplyError::CLUSTER_DOWN_UNBOUND),
        _ if crossed => Err(ReplyError::CROSS_SLOT),
        slot => Ok(slot),
    }
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

/// The order of the questions is stock's, since two of them may have a different answer each.
#[cold]
fn decide(
    routing: &Routing,
    c: &Checked<'_>,
    slot: Slot,
    is_there: Option<IsThere<'_>>,
) -> Result<(), ReplyError> {
    let Some(owner) = routing.owner(slot) else { return Err(ReplyError::CLUSTER_DOWN_UNBOUND) };
    if !routing.state_ok {
        served_when_down(c)?;
    }
    let mine = routing.is_mine(slot);
    let migrating_to = routing.migrating_to(slot).filter(|_| mine);
    let is_importing = migrating_to.is_none() && routing.importing_from(slot).is_some();
    if c.command.has(Flags::MOVES_KEYS) && (migrating_to.is_some() || is_importing) {
        return Ok(());
    }
    if let Some(target) = migrating_to {
        return match count_keys(c, slot, is_there)? {
            // All keys are here still, or none is named.
            Count { absent: 0, .. } => Ok(()),
            Count { present: 0, .. } => {
                Err(redirect(c, target, |host, port| ReplyError::ask(slot, host, port)))
            }
            _ => Err(ReplyError::TRY_AGAIN),
        };
    }
    if is_importing && (c.asking || c.command.has(Flags::ASKING)) {
        let count = count_keys(c, slot, is_there)?;
        return if count.absent > 0 && count.are_several { Err(ReplyError::TRY_AGAIN) } else { Ok(()) };
    }
    let reads_here =
        (c.session.is(SessionFlags::READONLY) || names_shard_channels(c)) && !c.does(Flags::WRITE);
    if mine || reads_here && routing.is_in_my_shard(slot) {
        return Ok(());
    }
    Err(redirect(c, owner, |host, port| ReplyError::moved(slot, host, port)))
}

fn names_shard_channels(c: &Checked<'_>) -> bool {
    c.command.has(Flags::PUBSUB)
}

/// What is served although the cluster is down, as far as its settings allow.
fn served_when_down(c: &Checked<'_>) -> Result<(), ReplyError> {
    let settings = &c.batch.settings;
    let (is_allowed, reads_only) = match names_shard_channels(c) {
        true => (settings.cluster_allow_pubsubshard_when_down, true),
        false => (settings.cluster_allow_reads_when_down, !c.does(Flags::WRITE)),
    };
    match () {
        () if !is_allowed => Err(ReplyError::CLUSTER_DOWN),
        () if !reads_only => Err(ReplyError::CLUSTER_DOWN_READ_ONLY),
        () => Ok(()),
    }
}

/// How many of a command's keys are in this node's dataset, and how many are not; and whether there is more than one,
/// however often it is named.
#[derive(Default)]
struct Count {
    present: usize,
    absent: usize,
    are_several: bool,
}

/// A shard channel moves with its slot, and not before: it is nowhere absent.
fn count_keys(c: &Checked<'_>, slot: Slot, is_there: Option<IsThere<'_>>) -> Result<Count, ReplyError> {
    if names_shard_channels(c) {
        return Ok(Count::default());
    }
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
