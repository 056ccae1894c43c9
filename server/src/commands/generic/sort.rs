//! SORT and SORT_RO.
//!
//! With BY or GET it looks at keys that only their patterns name, and needs the world at rest for it.

use crate::acl::User;
use crate::commands::common::store_result;
use crate::commands::prelude::*;
use crate::exec::cx::Wait;
use crate::exec::spec::KeyFlags;
use keyspace::listpack::Element;
use keyspace::types::hash::HashValue;
use keyspace::types::list::ListValue;
use keyspace::types::number::parse_double_weight;
use protocol::Argv;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

const NOT_NUMBERS: ReplyError = ReplyError::fixed("ERR One or more scores can't be converted into double");
const NO_BY_IN_CLUSTER: ReplyError = ReplyError::fixed("ERR BY option of SORT denied in Cluster mode.");
const NO_GET_IN_CLUSTER: ReplyError = ReplyError::fixed("ERR GET option of SORT denied in Cluster mode.");

const NO_BY_BY_ACL: ReplyError =
    ReplyError::fixed("ERR BY option of SORT denied due to insufficient ACL permissions.");
const NO_GET_BY_ACL: ReplyError =
    ReplyError::fixed("ERR GET option of SORT denied due to insufficient ACL permissions.");

/// Whether the client may see the keys that patterns lead to: any there may be.
fn reads_all_keys(cx: &Cx<'_>, argv: Argv<'_>) -> bool {
    let may = |user: &Arc<User>| user.rules().check_reading_all(cx.command, argv);
    !cx.session.is(SessionFlags::RESTRICTED) || cx.session.user.as_ref().is_none_or(may)
}

/// What is asked for.
#[derive(Default)]
struct Options<'a> {
    descending: bool,
    alpha: bool,
    /// Elements to pass over, and to take; all when negative.
    limit: Option<(i64, i64)>,
    store: Option<&'a [u8]>,
    by: Option<Pattern<'a>>,
    /// BY something without a `*`: the elements stay in the order they have.
    unsorted: bool,
    get: Vec<Pattern<'a>>,
}

impl<'a> Options<'a> {
    fn parse(cx: &Cx<'_>, args: &mut Args<'a>, may_store: bool) -> Result<Options<'a>, ReplyError> {
        let mut options = Options::default();
        while !args.is_empty() {
            let follow = args.left() - 1;
            match () {
                () if args.flag("ASC") => options.descending = false,
                () if args.flag("DESC") => options.descending = true,
                () if args.flag("ALPHA") => options.alpha = true,
                () if follow >= 2 && args.flag("LIMIT") => options.limit = Some((args.i64()?, args.i64()?)),
                () if may_store && follow >= 1 && args.flag("STORE") => options.store = Some(args.key()?),
                () if follow >= 1 && args.flag("BY") => {
                    let text = args.bytes()?;
                    options.by = Some(Pattern::parse(text));
                    if !text.contains(&b'*') {
                        options.unsorted = true;
                    } else if cx.settings.cluster_enabled {
                        return Err(NO_BY_IN_CLUSTER);
                    } else if !reads_all_keys(cx, args.argv()) {
                        return Err(NO_BY_BY_ACL);
                    }
                }
                () if follow >= 1 && args.flag("GET") => {
                    if cx.settings.cluster_enabled {
                        return Err(NO_GET_IN_CLUSTER);
                    }
                    if !reads_all_keys(cx, args.argv()) {
                        return Err(NO_GET_BY_ACL);
                    }
                    options.get.push(Pattern::parse(args.bytes()?));
                }
                () => return Err(ReplyError::SYNTAX),
            }
        }
        Ok(options)
    }

    /// Whether other keys than those named have to be looked at.
    fn looks_around(&self) -> bool {
        self.by.iter().chain(&self.get).any(|pattern| matches!(pattern, Pattern::Key { .. }))
    }

    /// Which of `len` sorted elements are wanted.
    fn wanted(&self, len: usize) -> Range<usize> {
        let (skipped, count) = self.limit.unwrap_or((0, -1));
        let start = usize::try_from(skipped).unwrap_or(0).min(len);
        let count = usize::try_from(count).unwrap_or(len).min(len - start);
        start..start + count
    }
}

/// Where a value is that belongs to an element.
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// Without a `*` it is nowhere.
    Nothing,
    /// At the key with the element in place of the `*`; in a field of the hash there, if one is named.
    Key { before: &'a [u8], after: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    fn parse(text: &'a [u8]) -> Pattern<'a> {
        if text == b"#" {
            return Pattern::Element;
        }
        let Some(star) = text.iter().position(|&byte| byte == b'*') else { return Pattern::Nothing };
        let (before, rest) = (&text[..star], &text[star + 1..]);
        let arrow = rest.windows(2).position(|two| two == b"->").filter(|at| at + 2 < rest.len());
        match arrow {
            Some(at) => Pattern::Key { before, after: &rest[..at], field: Some(&rest[at + 2..]) },
            None => Pattern::Key { before, after: rest, field: None },
        }
    }

    /// Shows `f` the value, or that there is none.
    fn look_up<R>(
        &self,
        cx: &mut Cx<'_>,
        element: &[u8],
        f: impl FnOnce(Option<&[u8]>, &mut Cx<'_>) -> R,
    ) -> R {
        let (before, after, field) = match self {
            Pattern::Element => return f(Some(element), cx),
            Pattern::Nothing => return f(None, cx),
            Pattern::Key { before, after, field } => (before, after, field),
        };
        let key = [*before, element, *after].concat();
        let mut buffer = itoa::Buffer::new();
        let value: Option<Vec<u8>> = match (cx.keys.get(&key).map(Entry::value), field) {
            (Some(ValueRef::Bytes(bytes)), None) => Some(bytes.to_vec()),
            (Some(ValueRef::Int(n)), None) => Some(buffer.format(n).as_bytes().to_vec()),
            (Some(ValueRef::Object(Object::Str(bytes))), None) => Some(bytes.to_vec()),
            (Some(ValueRef::Object(Object::Hash(hash))), Some(field)) => {
                HashValue::get(hash, field).map(|value| value.text(&mut buffer).to_vec())
            }
            _ => None,
        };
        // Slots are locked as patterns lead to them: without this, thousands would be in the end.
        if cx.world.is_some() {
            cx.keys.unlock();
        }
        f(value.as_deref(), cx)
    }
}

/// Texts one behind the other in one block.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn of<'e>(elements: impl Iterator<Item = Element<'e>>) -> Texts {
        let mut texts = Texts::default();
        let mut buffer = itoa::Buffer::new();
        elements.for_each(|element| texts.push(element.text(&mut buffer)));
        texts
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }
}

/// The elements of the value at `key`, in the order they have. What need not be sorted is cut to what is wanted,
/// and in descending order if that is asked for and there is an order at all.
fn elements(cx: &mut Cx<'_>, key: &[u8], options: &Options<'_>) -> Result<Texts, ReplyError> {
    let unsorted = options.unsorted;
    let object = match cx.keys.get(key).map(Entry::value) {
        None => return Ok(Texts::default()),
        Some(ValueRef::Object(object)) => object,
        Some(_) => return Err(ReplyError::WRONG_TYPE),
    };
    let from_end = |len: usize, wanted: Range<usize>| len - wanted.end..len - wanted.start;
    match object {
        Object::Set(set) => Ok(Texts::of(set.iter())),
        Object::List(list) if !unsorted => Ok(Texts::of(list.iter())),
        Object::ZSet(zset) if !unsorted => Ok(Texts::of(zset.iter().map(|(member, _)| member))),
        Object::List(list) => {
            let wanted = options.wanted(list.len());
            Ok(match options.descending {
                false => Texts::of(list.range(wanted)),
                true => Texts::of(list.range(from_end(list.len(), wanted)).rev()),
            })
        }
        Object::ZSet(zset) => {
            let wanted = options.wanted(zset.len());
            Ok(match options.descending {
                false => Texts::of(zset.range(wanted).map(|(member, _)| member)),
                true => Texts::of(zset.range(from_end(zset.len(), wanted)).rev().map(|(member, _)| member)),
            })
        }
        _ => Err(ReplyError::WRONG_TYPE),
    }
}

/// The first eight bytes of a text as a number that compares as they do: most comparisons end there.
fn prefix(text: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = text.len().min(8);
    bytes[..len].copy_from_slice(&text[..len]);
    u64::from_be_bytes(bytes)
}

fn directed(order: Ordering, descending: bool) -> Ordering {
    if descending { order.reverse() } else { order }
}

/// The `wanted` part of what sorting all items would give. `compare` must not find two of them equal.
fn sort_part<T>(
    mut items: Vec<T>,
    wanted: Range<usize>,
    mut compare: impl FnMut(&T, &T) -> Ordering,
) -> Vec<T> {
    if wanted.end < items.len() {
        items.select_nth_unstable_by(wanted.end, &mut compare);
        items.truncate(wanted.end);
    }
    if 0 < wanted.start && wanted.start < items.len() {
        items.select_nth_unstable_by(wanted.start, &mut compare);
    }
    items.drain(..wanted.start);
    items.sort_unstable_by(compare);
    items
}

/// The indices of the wanted elements in numeric order; of equals the lesser text is first.
fn by_number(
    cx: &mut Cx<'_>,
    texts: &Texts,
    options: &Options<'_>,
    wanted: Range<usize>,
) -> Result<Vec<usize>, ReplyError> {
    let mut weights = Vec::with_capacity(texts.len());
    for i in 0..texts.len() {
        let text = texts.get(i);
        let weight = match &options.by {
            None => parse_double_weight(text),
            Some(pattern) => {
                pattern.look_up(cx, text, |value, _| value.map_or(Some(0.0), parse_double_weight))
            }
        };
        weights.push((weight.ok_or(NOT_NUMBERS)?, i));
    }
    let sorted = sort_part(weights, wanted, |a, b| {
        let order = a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal);
        let order = order.then_with(|| texts.get(a.1).cmp(texts.get(b.1)));
        directed(order, options.descending).then(a.1.cmp(&b.1))
    });
    Ok(sorted.into_iter().map(|(_, i)| i).collect())
}

/// The indices of the wanted elements in the order of texts, their own or those BY names. An absent text comes first.
fn by_text(cx: &mut Cx<'_>, texts: &Texts, options: &Options<'_>, wanted: Range<usize>) -> Vec<usize> {
    let all = 0..texts.len();
    let Some(pattern) = &options.by else {
        let keyed = all.map(|i| (Some(prefix(texts.get(i))), i)).collect();
        return sorted_texts(keyed, texts, options.descending, wanted);
    };
    let (mut weights, mut keyed) = (Texts::default(), Vec::with_capacity(texts.len()));
    for i in all {
        pattern.look_up(cx, texts.get(i), |value, _| {
            weights.push(value.unwrap_or_default());
            keyed.push((value.map(prefix), i));
        });
    }
    sorted_texts(keyed, &weights, options.descending, wanted)
}

fn sorted_texts(
    keyed: Vec<(Option<u64>, usize)>,
    texts: &Texts,
    descending: bool,
    wanted: Range<usize>,
) -> Vec<usize> {
    let sorted = sort_part(keyed, wanted, |a, b| {
        let order = a.0.cmp(&b.0).then_with(|| texts.get(a.1).cmp(texts.get(b.1)));
        directed(order, descending).then(a.1.cmp(&b.1))
    });
    sorted.into_iter().map(|(_, i)| i).collect()
}

fn sort_generic(cx: &mut Cx<'_>, args: &mut Args<'_>, may_store: bool) -> Done {
    let key = args.key()?;
    let mut options = Options::parse(cx, args, may_store)?;
    if options.looks_around() && cx.world.is_none() && !cx.in_transaction {
        cx.wait = Some(Wait::World);
        return Ok(());
    }
    // A set has no order of its own that a replica, or a script, could be told of.
    if options.unsorted
        && (options.store.is_some() || cx.in_script)
        && cx.keys.peek(key).is_some_and(|e| e.type_of() == Type::Set)
    {
        (options.unsorted, options.alpha, options.by) = (false, true, None);
    }
    let texts = elements(cx, key, &options)?;
    let is_cut = options.unsorted && cx.keys.held(key).is_some_and(|entry| entry.type_of() != Type::Set);
    let wanted = if is_cut { 0..texts.len() } else { options.wanted(texts.len()) };
    let order: Vec<usize> = match () {
        () if options.unsorted => wanted.collect(),
        () if options.alpha => by_text(cx, &texts, &options, wanted),
        () => by_number(cx, &texts, &options, wanted)?,
    };
    let sorted = order.iter().map(|&i| texts.get(i));
    match options.store {
        Some(to) => store(cx, to, sorted, &options),
        None => reply(cx, sorted, &options),
    }
    Ok(())
}

fn reply<'t>(cx: &mut Cx<'_>, sorted: impl ExactSizeIterator<Item = &'t [u8]>, options: &Options<'_>) {
    cx.reply.array(sorted.len() * options.get.len().max(1));
    for element in sorted {
        if options.get.is_empty() {
            cx.reply.bulk(element);
        }
        for pattern in &options.get {
            pattern.look_up(cx, element, |value, cx| cx.reply.bulk_or_null(value));
        }
    }
}

fn store<'t>(
    cx: &mut Cx<'_>,
    to: &[u8],
    sorted: impl ExactSizeIterator<Item = &'t [u8]>,
    options: &Options<'_>,
) {
    let mut found = Texts::default();
    for element in sorted {
        if options.get.is_empty() {
            found.push(element);
        }
        for pattern in &options.get {
            pattern.look_up(cx, element, |value, _| found.push(value.unwrap_or_default()));
        }
    }
    let list = ListValue::from_elements((0..found.len()).map(|i| found.get(i)), &cx.settings.limits);
    store_result(cx, to, list, "sortstore");
    // Each element counts as a change, as in stock.
    cx.keys.effects.dirty += (found.len() as u64).saturating_sub(1);
}

pub fn sort(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    sort_generic(cx, args, true)
}

pub fn sort_ro(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    sort_generic(cx, args, false)
}

/// The key SORT stores to: of several, the last.
pub fn stored_key(argv: Argv<'_>, f: &mut dyn FnMut(usize, KeyFlags)) {
    let (mut at, mut found) = (2, None);
    while at < argv.len() {
        let is = |word: &str| argv.get(at).eq_ignore_ascii_case(word.as_bytes());
        at += match () {
            () if is("LIMIT") => 3,
            () if is("GET") || is("BY") => 2,
            () if is("STORE") && at + 1 < argv.len() => {
                found = Some(at + 1);
                2
            }
            () => 1,
        };
    }
    if let Some(at) = found {
        f(at, KeyFlags::OW | KeyFlags::UPDATE);
    }
}
