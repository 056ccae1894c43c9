//! Sorted sets: unions, intersections and differences, of plain sets too.

use crate::commands::common::{at_least, element, score, store_result};
use crate::commands::prelude::*;
use crate::exec::Keys;
use foldhash::{HashMap, HashMapExt};
use keyspace::listpack::Element;
use keyspace::types::number::parse_double;
use keyspace::types::set::SetValue;
use keyspace::types::zset::ZSetValue;
use protocol::Resp;
use std::borrow::Cow;
use std::ops::ControlFlow;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Unite,
    Intersect,
    Subtract,
}

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, sum: f64, value: f64) -> f64 {
        match self {
            Aggregate::Sum => number(sum + value),
            Aggregate::Min if value < sum => value,
            Aggregate::Max if value > sum => value,
            Aggregate::Min | Aggregate::Max => sum,
        }
    }
}

/// Infinity minus infinity, and infinity times zero, count as zero.
fn number(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// One input: in a plain set each member has the score 1.
#[derive(Clone, Copy)]
enum Source<'k> {
    Set(&'k SetValue),
    ZSet(&'k ZSetValue),
}

impl<'k> Source<'k> {
    fn of(entry: &'k Entry) -> Option<Source<'k>> {
        match entry.value() {
            ValueRef::Object(Object::Set(set)) => Some(Source::Set(set)),
            ValueRef::Object(Object::ZSet(zset)) => Some(Source::ZSet(zset)),
            _ => None,
        }
    }

    fn len(self) -> usize {
        match self {
            Source::Set(set) => set.len(),
            Source::ZSet(zset) => zset.len(),
        }
    }

    fn is(self, other: Source<'_>) -> bool {
        match (self, other) {
            (Source::Set(set), Source::Set(other)) => std::ptr::eq(set, other),
            (Source::ZSet(zset), Source::ZSet(other)) => std::ptr::eq(zset, other),
            _ => false,
        }
    }

    fn score(self, member: Element<'_>) -> Option<f64> {
        match self {
            Source::Set(set) => set.contains_element(member).then_some(1.0),
            Source::ZSet(zset) => zset.score(member.text(&mut itoa::Buffer::new())),
        }
    }

    /// Shows members and scores until told to stop.
    fn each(self, show: impl FnMut((Element<'k>, f64)) -> ControlFlow<()>) {
        let _ = match self {
            Source::Set(set) => set.iter().map(|member| (member, 1.0)).try_for_each(show),
            Source::ZSet(zset) => zset.iter().try_for_each(show),
        };
    }
}

/// What is asked for, but for the keys' values.
struct Query<'a> {
    operation: Operation,
    names: Vec<&'a [u8]>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Of ZINTERCARD; 0 for none.
    limit: i64,
}

/// What becomes of the result, which decides the options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Reply,
    Store,
    Count,
}

impl<'a> Query<'a> {
    /// Parses what follows the destination. The types of the keys are checked before the options are read.
    fn parse(
        cx: &mut Cx<'_>,
        args: &mut Args<'a>,
        operation: Operation,
        purpose: Purpose,
    ) -> Result<Query<'a>, ReplyError> {
        let numkeys = args.i64()?;
        if numkeys < 1 {
            let text = format!("ERR at least 1 input key is needed for '{}' command", cx.name());
            return Err(ReplyError::new(text));
        }
        if numkeys > args.left() as i64 {
            return Err(ReplyError::SYNTAX);
        }
        let names = (0..numkeys).map(|_| args.key()).collect::<Result<Vec<_>, _>>()?;
        sources(&mut cx.keys, &names)?;
        let weights = vec![1.0; names.len()];
        let mut query =
            Query { operation, names, weights, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        while !args.is_empty() {
            query.option(args, purpose)?;
        }
        Ok(query)
    }

    fn option(&mut self, args: &mut Args<'_>, purpose: Purpose) -> Done {
        let combines = self.operation != Operation::Subtract && purpose != Purpose::Count;
        if combines && args.left() > self.names.len() && args.flag("WEIGHTS") {
            for weight in &mut self.weights {
                *weight = parse_double(args.bytes()?)
                    .ok_or(ReplyError::fixed("ERR weight value is not a float"))?;
            }
        } else if combines && args.left() >= 2 && args.flag("AGGREGATE") {
            self.aggregate = match () {
                () if args.flag("SUM") => Aggregate::Sum,
                () if args.flag("MIN") => Aggregate::Min,
                () if args.flag("MAX") => Aggregate::Max,
                () => return Err(ReplyError::SYNTAX),
            };
        } else if purpose == Purpose::Reply && args.flag("WITHSCORES") {
            self.with_scores = true;
        } else if purpose == Purpose::Count && args.left() >= 2 && args.flag("LIMIT") {
            self.limit = at_least(args, 0, "ERR LIMIT can't be negative")?;
        } else {
            return Err(ReplyError::SYNTAX);
        }
        Ok(())
    }

    /// The result in order, from the lowest score.
    fn run<'k>(&self, sources: &[Option<Source<'k>>]) -> Vec<(f64, Cow<'k, [u8]>)> {
        let mut result = match self.operation {
            Operation::Unite => self.unite(sources),
            Operation::Subtract => subtract(sources),
            Operation::Intersect => {
                let mut result = Vec::new();
                self.intersect(sources, |member, score| {
                    result.push((score, member.to_text()));
                    ControlFlow::Continue(())
                });
                result
            }
        };
        // No score is NaN; and the two zeros are the same score.
        result.sort_unstable_by(|(a, x), (b, y)| {
            a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal).then_with(|| x.cmp(y))
        });
        result
    }

    /// The inputs with their weights, the smallest first: sums of doubles depend on their order.
    fn weighted<'k>(&self, sources: &[Option<Source<'k>>]) -> Vec<(Source<'k>, f64)> {
        let mut weighted: Vec<_> = sources
            .iter()
            .zip(&self.weights)
            .filter_map(|(source, &weight)| source.map(|source| (source, weight)))
            .collect();
        weighted.sort_by_key(|(source, _)| source.len());
        weighted
    }

    fn unite<'k>(&self, sources: &[Option<Source<'k>>]) -> Vec<(f64, Cow<'k, [u8]>)> {
        let weighted = self.weighted(sources);
        let largest = weighted.last().map_or(0, |(source, _)| source.len());
        let mut scores: HashMap<Cow<'k, [u8]>, f64> = HashMap::with_capacity(largest);
        for (source, weight) in weighted {
            source.each(|(member, score)| {
                let score = number(weight * score);
                scores
                    .entry(member.to_text())
                    .and_modify(|sum| *sum = self.aggregate.of(*sum, score))
                    .or_insert(score);
                ControlFlow::Continue(())
            });
        }
        scores.into_iter().map(|(member, score)| (score, member)).collect()
    }

    fn intersect<'k>(
        &self,
        sources: &[Option<Source<'k>>],
        mut show: impl FnMut(Element<'k>, f64) -> ControlFlow<()>,
    ) {
        if sources.iter().any(Option::is_none) {
            return;
        }
        let weighted = self.weighted(sources);
        let Some((&(smallest, weight), others)) = weighted.split_first() else { return };
        smallest.each(|(member, first)| {
            let mut sum = number(weight * first);
            for &(source, weight) in others {
                let score = if source.is(smallest) { Some(first) } else { source.score(member) };
                let Some(score) = score else { return ControlFlow::Continue(()) };
                sum = self.aggregate.of(sum, weight * score);
            }
            show(member, sum)
        });
    }
}

fn subtract<'k>(sources: &[Option<Source<'k>>]) -> Vec<(f64, Cow<'k, [u8]>)> {
    let mut result = Vec::new();
    let Some((Some(first), others)) = sources.split_first() else { return result };
    if others.iter().flatten().any(|other| other.is(*first)) {
        return result;
    }
    first.each(|(member, score)| {
        if !others.iter().flatten().any(|other| other.score(member).is_some()) {
            result.push((score, member.to_text()));
        }
        ControlFlow::Continue(())
    });
    result
}

/// The values at `names`, `None` where there is none.
fn sources<'k>(keys: &'k mut Keys<'_>, names: &[&[u8]]) -> Result<Vec<Option<Source<'k>>>, ReplyError> {
    let mut present = Vec::with_capacity(names.len());
    for name in names {
        let entry = keys.get(name);
        if entry.is_some_and(|entry| Source::of(entry).is_none()) {
            return Err(ReplyError::WRONG_TYPE);
        }
        present.push(entry.is_some());
    }
    let keys = &*keys;
    let held = names.iter().zip(present);
    Ok(held.map(|(name, present)| keys.held(name).filter(|_| present).and_then(Source::of)).collect())
}

/// As [`sources`], of keys that have been looked up before: no second hit or miss is counted.
fn sources_again<'k>(keys: &'k Keys<'_>, names: &[&[u8]]) -> Vec<Option<Source<'k>>> {
    let visible = |entry: &&Entry| keys.rules.ignores_expiry || !entry.is_expired(keys.rules.now_ms);
    names.iter().map(|name| keys.held(name).filter(visible).and_then(Source::of)).collect()
}

fn reply_result(cx: &mut Cx<'_>, args: &mut Args<'_>, operation: Operation) -> Done {
    let query = Query::parse(cx, args, operation, Purpose::Reply)?;
    let (keys, reply) = (&cx.keys, &mut cx.reply);
    let result = query.run(&sources_again(keys, &query.names));
    let nested = query.with_scores && reply.resp == Resp::V3;
    reply.array(if query.with_scores && !nested { 2 * result.len() } else { result.len() });
    for (value, member) in result {
        if nested {
            reply.array(2);
        }
        element(reply, Element::Bytes(&member));
        if query.with_scores {
            score(reply, value);
        }
    }
    Ok(())
}

pub fn zunion(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_result(cx, args, Operation::Unite)
}

pub fn zinter(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_result(cx, args, Operation::Intersect)
}

pub fn zdiff(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    reply_result(cx, args, Operation::Subtract)
}

fn store(cx: &mut Cx<'_>, args: &mut Args<'_>, operation: Operation, event: &str) -> Done {
    let to = args.key()?;
    let query = Query::parse(cx, args, operation, Purpose::Store)?;
    let limits = &cx.settings.limits;
    let result = query.run(&sources_again(&cx.keys, &query.names));
    let longest = result.iter().map(|(_, member)| member.len()).max().unwrap_or(0);
    let mut zset = ZSetValue::with_hints(result.len(), longest, limits);
    for (score, member) in result {
        zset.insert(&member, score, limits);
    }
    store_result(cx, to, zset, event);
    Ok(())
}

pub fn zunionstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    store(cx, args, Operation::Unite, "zunionstore")
}

pub fn zinterstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    store(cx, args, Operation::Intersect, "zinterstore")
}

pub fn zdiffstore(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    store(cx, args, Operation::Subtract, "zdiffstore")
}

pub fn zintercard(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let query = Query::parse(cx, args, Operation::Intersect, Purpose::Count)?;
    let mut count = 0;
    query.intersect(&sources_again(&cx.keys, &query.names), |_, _| {
        count += 1;
        if count == query.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    cx.reply.integer(count);
    Ok(())
}
