//! Sets: intersections, unions and differences.

use super::common::{NUMKEYS, at_least, element, store_result};
use super::prelude::*;
use crate::exec::Keys;
use keyspace::listpack::Element;
use keyspace::types::set::SetValue;
use std::ops::ControlFlow;

/// The sets at `keys`, `None` where there is none. All are looked up, and their types checked, first.
fn sets<'k>(keys: &'k mut Keys<'_>, names: &[&[u8]]) -> Result<Vec<Option<&'k SetValue>>, ReplyError> {
    let mut present = Vec::with_capacity(names.len());
    for name in names {
        present.push(keys.typed::<SetValue>(name)?.is_some());
    }
    let keys = &*keys;
    let held = names.iter().zip(present).map(
        |(name, present)| {
            if present { keys.held_typed::<SetValue>(name) } else { None }
        },
    );
    Ok(held.collect())
}

/// Shows each member that all sets have.
fn intersect<'k>(sets: &[Option<&'k SetValue>], mut show: impl FnMut(Element<'k>) -> ControlFlow<()>) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<_>>>() else { return };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    let others: Vec<_> = others.iter().filter(|set| !std::ptr::eq(**set, *smallest)).collect();
    for member in smallest.iter() {
        if others.iter().all(|set| set.contains_element(member)) && show(member).is_break() {
            return;
        }
    }
}

/// Shows each member of the first set that no other has.
fn subtract<'k>(sets: &[Option<&'k SetValue>], mut show: impl FnMut(Element<'k>)) {
    let Some((Some(first), others)) = sets.split_first() else { return };
    let others: Vec<_> = others.iter().flatten().collect();
    if others.iter().any(|set| std::ptr::eq(**set, *first)) {
        return;
    }
    for member in first.iter() {
        if !others.iter().any(|set| set.contains_element(member)) {
            show(member);
        }
    }
}

/// Shows each member of any set once.
fn unite<'k>(sets: &[Option<&'k SetValue>], mut show: impl FnMut(Element<'k>)) {
    let mut seen: Vec<&SetValue> = Vec::new();
    let mut sets: Vec<_> = sets.iter().flatten().copied().collect();
    // The members of the largest set need no look-up but in the sets before it: it comes first.
    sets.sort_by_key(|set| std::cmp::Reverse(set.len()));
    for set in sets {
        for member in set.iter() {
            if !seen.iter().any(|seen| seen.contains_element(member)) {
                show(member);
            }
        }
        seen.push(set);
    }
}

#[derive(Clone, Copy)]
enum Operation {
    Intersect,
    Unite,
    Subtract,
}

impl Operation {
    fn run<'k>(self, sets: &[Option<&'k SetValue>], mut show: impl FnMut(Element<'k>)) {
        match self {
            Operation::Unite => unite(sets, show),
            Operation::Subtract => subtract(sets, show),
            Operation::Intersect => intersect(sets, |member| {
                show(member);
                ControlFlow::Continue(())
            }),
        }
    }
}

fn reply_members(cx: &mut Cx<'_>, args: &mut Args<'_>, operation: Operation) -> Done {
    let names: Vec<&[u8]> = args.rest().collect();
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let sets = sets(keys, &names)?;
    let (mut found, mut count) = (Vec::new(), 0);
    let mut out = protocol::Reply::new(&mut found, reply.resp);
    operation.run(&sets, |member| {
        element(&mut out, member);
        count += 1;
    });
    reply.set(count);
    reply.out.extend_from_slice(&found);
    Ok(())
}

pub fn sinter(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_members(cx, args, Operation::Intersect)
}

pub fn sunion(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_members(cx, args, Operation::Unite)
}

pub fn sdiff(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_members(cx, args, Operation::Subtract)
}

fn store(cx: &mut Cx<'_>, args: &mut Args<'_>, operation: Operation, event: &str) -> Done {
    let to = args.key()?;
    let names: Vec<&[u8]> = args.rest().collect();
    let limits = &cx.settings.limits;
    let sets = sets(&mut cx.keys, &names)?;
    let mut result = SetValue::new();
    operation.run(&sets, |member| {
        result.insert(member.text(&mut itoa::Buffer::new()), limits);
    });
    store_result(cx, to, result, event);
    Ok(())
}

pub fn sinterstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    store(cx, args, Operation::Intersect, "sinterstore")
}

pub fn sunionstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    store(cx, args, Operation::Unite, "sunionstore")
}

pub fn sdiffstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    store(cx, args, Operation::Subtract, "sdiffstore")
}

pub fn sintercard(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let numkeys = at_least(args, 1, NUMKEYS)?;
    if numkeys > args.left() as i64 {
        return Err(ReplyError::fixed("ERR Number of keys can't be greater than number of args"));
    }
    let names = (0..numkeys).map(|_| args.key()).collect::<Result<Vec<_>, _>>()?;
    let mut limit = 0;
    while !args.is_empty() {
        if args.left() < 2 || !args.flag("LIMIT") {
            return Err(ReplyError::SYNTAX);
        }
        limit = at_least(args, 0, "ERR LIMIT can't be negative")?;
    }
    let sets = sets(&mut cx.keys, &names)?;
    let mut count = 0;
    intersect(&sets, |_| {
        count += 1;
        if count == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    cx.reply.integer(count);
    Ok(())
}
