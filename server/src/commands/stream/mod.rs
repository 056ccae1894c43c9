//! Streams.
//!
//! What a consumer group does is logged as its outcome: XCLAIM for what was delivered or claimed, XGROUP SETID
//! where only the group has moved on ([`log`]).

mod add;
mod claim;
mod group;
mod info;
mod log;
mod pending;
mod range;
mod read;

use super::common::element;
use super::help::container;
use super::prelude::*;
use keyspace::types::stream::{Entry as StreamEntry, StreamId, StreamValue};
use protocol::Reply;
use std::fmt::Display;

// ---- Arguments -------------------------------------------------------------------------------------------

const INVALID_ID: ReplyError =
    ReplyError::fixed("ERR Invalid stream ID specified as stream command argument");

/// What a stream says about a mistake, as a reply.
fn said(error: impl Display) -> ReplyError {
    ReplyError::new(format!("ERR {error}"))
}

/// `ms` or `ms-seq`; without a sequence number it is 0.
fn id(text: &[u8]) -> Result<StreamId, ReplyError> {
    StreamId::parse(text, 0).ok_or(INVALID_ID)
}

/// Everything that is left, as IDs: all of them are valid, or nothing happens.
fn ids(args: &mut Args<'_>) -> Result<Vec<StreamId>, ReplyError> {
    args.rest().map(id).collect()
}

/// An option that takes a value: passes over its word if a value follows.
fn option(args: &mut Args<'_>, word: &str) -> bool {
    args.left() >= 2 && args.flag(word)
}

/// The texts that quote what the client sent, put together.
fn quoting(parts: &[&[u8]]) -> ReplyError {
    ReplyError::new(parts.concat())
}

fn no_group_for_key(key: &[u8], group: &[u8]) -> ReplyError {
    quoting(&[b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"])
}

fn no_key_or_group(key: &[u8], group: &[u8]) -> ReplyError {
    quoting(&[b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'"])
}

/// A subcommand with options it does not have.
fn subcommand_syntax(args: &Args<'_>) -> ReplyError {
    let argv = args.argv();
    ReplyError::subcommand_syntax(argv.get(0), argv.get(1))
}

// ---- Replies ---------------------------------------------------------------------------------------------

fn reply_id(reply: &mut Reply<'_>, id: StreamId) {
    reply.bulk(id.to_string().as_bytes());
}

fn reply_entry(reply: &mut Reply<'_>, entry: &StreamEntry<'_>) {
    reply.array(2);
    reply_id(reply, entry.id);
    reply.array(2 * entry.len());
    for (field, value) in entry.fields() {
        element(reply, field);
        element(reply, value);
    }
}

fn reply_entry_or_null(reply: &mut Reply<'_>, entry: Option<StreamEntry<'_>>) {
    match entry {
        Some(entry) => reply_entry(reply, &entry),
        None => reply.null(),
    }
}

fn reply_integer_or_null(reply: &mut Reply<'_>, n: Option<i64>) {
    match n {
        Some(n) => reply.integer(n),
        None => reply.null(),
    }
}

/// Entries as an array, at most `count` of them; 0 is no limit.
fn reply_entries<'a>(
    reply: &mut Reply<'_>,
    entries: impl Iterator<Item = StreamEntry<'a>>,
    count: usize,
) -> usize {
    counted(reply, |reply| {
        let entries = entries.take(no_limit_if_zero(count));
        entries.map(|entry| reply_entry(reply, &entry)).count()
    })
}

/// An array whose length is what `body` returns after writing the elements.
fn counted(reply: &mut Reply<'_>, body: impl FnOnce(&mut Reply<'_>) -> usize) -> usize {
    let start = reply.out.len();
    let len = body(reply);
    put_head(reply, start, |reply| reply.array(len));
    len
}

/// Puts in front of what was written since `start` what `head` writes.
fn put_head(reply: &mut Reply<'_>, start: usize, head: impl FnOnce(&mut Reply<'_>)) {
    let mut text = Vec::with_capacity(16);
    head(&mut Reply::new(&mut text, reply.resp));
    reply.out.splice(start..start, text);
}

fn no_limit_if_zero(count: usize) -> usize {
    if count == 0 { usize::MAX } else { count }
}

use add::{xadd, xdel, xlen, xsetid, xtrim};
use claim::{xautoclaim, xclaim};
use group::{
    xack, xgroup_create, xgroup_createconsumer, xgroup_delconsumer, xgroup_destroy, xgroup_help, xgroup_setid,
};
use info::{xinfo_consumers, xinfo_groups, xinfo_help, xinfo_stream};
use pending::xpending;
use range::{xrange, xrevrange};
use read::{xread, xreadgroup};

#[rustfmt::skip]
const XGROUP: &[CommandSpec] = &[
    CommandSpec::new("create", -5, flags!(WRITE | DENYOOM), xgroup_create).keys(&[KeySpec::index(2).flags(key!(RW | INSERT))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("setid", -5, flags!(WRITE), xgroup_setid).keys(&[KeySpec::index(2).flags(key!(RW | UPDATE))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("destroy", 4, flags!(WRITE), xgroup_destroy).keys(&[KeySpec::index(2).flags(key!(RW | DELETE))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("createconsumer", 5, flags!(WRITE | DENYOOM), xgroup_createconsumer).keys(&[KeySpec::index(2).flags(key!(RW | INSERT))]).acl(acl!(STREAM)).group(Group::Stream).since("6.2.0"),
    CommandSpec::new("delconsumer", 5, flags!(WRITE), xgroup_delconsumer).keys(&[KeySpec::index(2).flags(key!(RW | DELETE))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), xgroup_help).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
];

#[rustfmt::skip]
const XINFO: &[CommandSpec] = &[
    CommandSpec::new("stream", -3, flags!(READONLY), xinfo_stream).keys(&[KeySpec::index(2).flags(key!(RO | ACCESS))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("groups", 3, flags!(READONLY), xinfo_groups).keys(&[KeySpec::index(2).flags(key!(RO | ACCESS))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("consumers", 4, flags!(READONLY), xinfo_consumers).keys(&[KeySpec::index(2).flags(key!(RO | ACCESS))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), xinfo_help).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("xadd", -5, flags!(WRITE | DENYOOM | FAST), xadd).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xlen", 2, flags!(READONLY | FAST), xlen).keys(&[KeySpec::index(1).flags(key!(RO))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xrange", -4, flags!(READONLY), xrange).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xrevrange", -4, flags!(READONLY), xrevrange).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xread", -4, flags!(BLOCKING | READONLY), xread).keys(&[KeySpec::keyword("STREAMS", 1).range(-1, 1, 2).flags(key!(RO | ACCESS))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xreadgroup", -7, flags!(BLOCKING | WRITE), xreadgroup).keys(&[KeySpec::keyword("STREAMS", 4).range(-1, 1, 2).flags(key!(RO | ACCESS))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xdel", -3, flags!(WRITE | FAST), xdel).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xtrim", -4, flags!(WRITE), xtrim).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xsetid", -3, flags!(WRITE | DENYOOM | FAST), xsetid).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xack", -4, flags!(WRITE | FAST), xack).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xpending", -3, flags!(READONLY), xpending).keys(&[KeySpec::index(1).flags(key!(RO | ACCESS))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xclaim", -6, flags!(WRITE | FAST), xclaim).keys(&[KeySpec::index(1).flags(key!(RW | UPDATE))]).acl(acl!(STREAM)).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xautoclaim", -6, flags!(WRITE | FAST), xautoclaim).keys(&[KeySpec::index(1).flags(key!(RW | DELETE))]).acl(acl!(STREAM)).group(Group::Stream).since("6.2.0"),
    CommandSpec::new("xgroup", -2, flags!(), container).subcommands(XGROUP).group(Group::Stream).since("5.0.0"),
    CommandSpec::new("xinfo", -2, flags!(), container).subcommands(XINFO).group(Group::Stream).since("5.0.0"),
];
