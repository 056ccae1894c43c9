//! HyperLogLogs.

use super::prelude::*;
use keyspace::types::hyperloglog::{self as hll, Encoding, Registers};
use keyspace::{EntryMut, SharedObject};

const NOT_ONE: ReplyError = ReplyError::fixed("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPT: ReplyError = ReplyError::fixed("INVALIDOBJ Corrupted HLL object detected");

/// The bytes of a value that can be a HyperLogLog by its header.
fn bytes<'v>(value: ValueRef<'v>) -> Result<(&'v [u8], Encoding), ReplyError> {
    let bytes = match value {
        ValueRef::Bytes(bytes) => bytes,
        ValueRef::Object(Object::Str(bytes)) => bytes,
        ValueRef::Int(_) => return Err(NOT_ONE),
        ValueRef::Object(_) => return Err(ReplyError::WRONG_TYPE),
    };
    hll::encoding(bytes).map(|encoding| (bytes, encoding)).ok_or(NOT_ONE)
}

/// Changes a value that can be a HyperLogLog by its header.
fn change<R>(mut entry: EntryMut<'_>, edit: impl FnOnce(&mut Vec<u8>) -> R) -> Result<R, ReplyError> {
    bytes(entry.value())?;
    entry.string_mut(edit).ok_or(ReplyError::WRONG_TYPE)
}

fn pfadd(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let sparse_max_bytes = cx.settings.limits.hll_sparse_max_bytes;
    let elements = args.rest();
    // A new key is a change in itself.
    let add_all = |hll: &mut Vec<u8>, mut changes: usize| {
        for element in elements {
            changes += usize::from(hll::add(hll, element, sparse_max_bytes).map_err(|_| CORRUPT)?);
        }
        if changes > 0 {
            hll::outdate(hll);
        }
        Ok(changes)
    };
    let changes = match cx.keys.get_mut(key) {
        Some(entry) => change(entry, |hll| add_all(hll, 0))??,
        None => {
            let mut hll = hll::empty();
            let changes = add_all(&mut hll, 1)?;
            insert(cx, key, hll);
            changes
        }
    };
    if changes > 0 {
        cx.keys.changed_by(changes, key, Classes::STRING, "pfadd");
    }
    cx.reply.integer(i64::from(changes > 0));
    Ok(())
}

/// Puts a new HyperLogLog at `key`.
fn insert(cx: &mut Cx<'_>, key: &[u8], hll: Vec<u8>) {
    let value = match hll.len() > keyspace::entry::INLINE_MAX {
        true => NewValue::Object(SharedObject::new(Object::Str(hll))),
        false => NewValue::Raw(&hll),
    };
    cx.keys.insert(key, value, None);
}

fn pfcount(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    if args.left() > 1 {
        let mut registers = Registers::new();
        merge_all(cx, args, &mut registers)?;
        cx.reply.integer(registers.cardinality() as i64);
        return Ok(());
    }
    let key = args.key()?;
    let Some(found) = cx.keys.get(key) else {
        cx.reply.integer(0);
        return Ok(());
    };
    let (hll, _) = bytes(found.value())?;
    let cardinality = match hll::kept_cardinality(hll) {
        Some(kept) => kept,
        None => {
            let counted = hll::cardinality(hll).map_err(|_| CORRUPT)?;
            keep(cx, key, counted)?;
            counted
        }
    };
    cx.reply.integer(cardinality as i64);
    Ok(())
}

/// Keeps what was counted with the value, which changes it: whoever reads the log has to keep it too.
fn keep(cx: &mut Cx<'_>, key: &[u8], cardinality: u64) -> Done {
    if let Some(entry) = cx.keys.get_mut(key) {
        change(entry, |hll| hll::keep_cardinality(hll, cardinality))?;
        cx.keys.signal(key);
        cx.keys.effects.dirty += 1;
    }
    Ok(())
}

/// Merges all keys that are left; true if one of them is dense.
fn merge_all(cx: &mut Cx<'_>, args: &mut Args<'_>, registers: &mut Registers) -> Result<bool, ReplyError> {
    let mut any_dense = false;
    for key in args.rest() {
        if let Some(found) = cx.keys.get(key) {
            let (hll, encoding) = bytes(found.value())?;
            any_dense |= encoding == Encoding::Dense;
            registers.merge(hll).map_err(|_| CORRUPT)?;
        }
    }
    Ok(any_dense)
}

fn pfmerge(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let sparse_max_bytes = cx.settings.limits.hll_sparse_max_bytes;
    let mut registers = Registers::new();
    // What is at the target takes part.
    let any_dense = merge_all(cx, &mut args.clone(), &mut registers)?;
    let write = |hll: &mut Vec<u8>| {
        match any_dense {
            true => registers.make_dense(hll),
            false => registers.write_to(hll, sparse_max_bytes).map_err(|_| CORRUPT)?,
        }
        hll::outdate(hll);
        Ok(())
    };
    let target = args.key()?;
    match cx.keys.get_mut(target) {
        Some(entry) => change(entry, write)??,
        None => {
            let mut hll = hll::empty();
            write(&mut hll)?;
            insert(cx, target, hll);
        }
    }
    cx.keys.changed(target, Classes::STRING, "pfadd");
    cx.reply.ok();
    Ok(())
}

// ---- For tests -------------------------------------------------------------------------------------------

fn pfdebug(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (word, key) = (args.bytes()?, args.key()?);
    let Some(entry) = cx.keys.get_mut(key) else {
        return Err(ReplyError::fixed("ERR The specified key does not exist"));
    };
    // As in stock, to look at it this way makes it a `raw` string.
    let held = change(entry, |hll| hll.clone())?;
    let (hll, encoding) = bytes(ValueRef::Bytes(&held))?;
    match &word.to_ascii_lowercase()[..] {
        b"getreg" => {
            let mut registers = Registers::new();
            registers.merge(hll).map_err(|_| CORRUPT)?;
            make_dense(cx, key)?;
            cx.reply.array(registers.iter().len());
            registers.iter().for_each(|rank| cx.reply.integer(i64::from(rank)));
        }
        b"decode" => {
            let runs = hll::runs(hll).ok_or(ReplyError::fixed("ERR HLL encoding is not sparse"))?;
            let words: Vec<String> = runs.map(describe).collect();
            cx.reply.text(&words.join(" "));
        }
        b"encoding" => cx.reply.simple(if encoding == Encoding::Dense { "dense" } else { "sparse" }),
        b"todense" => {
            let changed = make_dense(cx, key)?;
            cx.reply.integer(i64::from(changed));
        }
        _ => {
            return Err(ReplyError::new([b"ERR Unknown PFDEBUG subcommand '", word, b"'"].concat()));
        }
    }
    Ok(())
}

fn describe(run: hll::Run) -> String {
    match run {
        hll::Run { rank: 0, len, is_long: true } => format!("Z:{len}"),
        hll::Run { rank: 0, len, .. } => format!("z:{len}"),
        hll::Run { rank, len, .. } => format!("v:{rank},{len}"),
    }
}

/// Makes the HyperLogLog at `key` dense; true if it was not.
fn make_dense(cx: &mut Cx<'_>, key: &[u8]) -> Result<bool, ReplyError> {
    let Some(entry) = cx.keys.get_mut(key) else { return Ok(false) };
    let changed = change(entry, hll::make_dense)?.map_err(|_| CORRUPT)?;
    cx.keys.effects.dirty += u64::from(changed);
    Ok(changed)
}

/// Adds elements to a sparse and to a dense one: both have to count them alike, and well.
fn pfselftest(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    const ELEMENTS: u64 = 1_000_000;
    let failed = |text: String| ReplyError::new(format!("TESTFAILED {text}"));
    let sparse_max_bytes = cx.settings.limits.hll_sparse_max_bytes;
    let seed = cx.keys.rng.u64(..);
    let (mut sparse, mut dense) = (hll::empty(), hll::empty());
    hll::make_dense(&mut dense).map_err(|_| CORRUPT)?;
    let mut checkpoint = 1;
    for n in 1..=ELEMENTS {
        let element = (n ^ seed).to_le_bytes();
        for hll in [&mut sparse, &mut dense] {
            hll::add(hll, &element, sparse_max_bytes).map_err(|_| CORRUPT)?;
        }
        if n != checkpoint {
            continue;
        }
        if n < sparse_max_bytes as u64 / 2 && hll::encoding(&sparse) != Some(Encoding::Sparse) {
            return Err(failed("sparse encoding not used".into()));
        }
        let counted = hll::cardinality(&dense).map_err(|_| CORRUPT)?;
        if hll::cardinality(&sparse) != Ok(counted) {
            return Err(failed("dense/sparse disagree".into()));
        }
        // Six standard errors; of ten elements two may well meet.
        let allowed = if n == 10 { 1 } else { (n as f64 * 6.0 * 1.04 / 128.0).ceil() as u64 };
        if counted.abs_diff(n) > allowed {
            let error = counted.abs_diff(n);
            return Err(failed(format!("Too big error. card:{n} abserr:{error}")));
        }
        checkpoint *= 10;
    }
    cx.reply.ok();
    Ok(())
}

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("pfadd", -2, flags!(WRITE | DENYOOM | FAST), pfadd).keys(&[KeySpec::index(1).flags(key!(RW | INSERT))]).acl(acl!(HYPERLOGLOG)).group(Group::Hyperloglog).since("2.8.9"),
    CommandSpec::new("pfcount", -2, flags!(READONLY | MAY_REPLICATE), pfcount).keys(&[KeySpec::index(1).range(-1, 1, 0).flags(key!(RW | ACCESS))]).acl(acl!(HYPERLOGLOG)).group(Group::Hyperloglog).since("2.8.9"),
    CommandSpec::new("pfmerge", -2, flags!(WRITE | DENYOOM), pfmerge).keys(&[KeySpec::index(1).flags(key!(RW | ACCESS | INSERT)), KeySpec::index(2).range(-1, 1, 0).flags(key!(RO | ACCESS))]).acl(acl!(HYPERLOGLOG)).group(Group::Hyperloglog).since("2.8.9"),
    CommandSpec::new("pfdebug", 3, flags!(WRITE | DENYOOM | ADMIN), pfdebug).keys(&[KeySpec::index(2).flags(key!(RW | ACCESS))]).acl(acl!(HYPERLOGLOG)).group(Group::Hyperloglog).since("2.8.9"),
    CommandSpec::new("pfselftest", 1, flags!(ADMIN), pfselftest).acl(acl!(HYPERLOGLOG)).group(Group::Hyperloglog).since("2.8.9"),
];
