//! Entries come and go: XADD, XTRIM, XDEL, XSETID, XLEN.

use super::*;
use keyspace::types::Limits;
use keyspace::types::stream::{AppendError, NewId, Trim, TrimTo};

/// The options of XADD and XTRIM.
#[derive(Default)]
struct Options {
    to: Option<TrimTo>,
    approximate: bool,
    limit: Option<i64>,
    /// Where in the whole command the threshold stands; before it, `~` or `=`.
    threshold_at: usize,
    no_mkstream: bool,
    new_id: Option<NewId>,
}

impl Options {
    /// Takes the options, and for XADD the ID behind them.
    fn parse(args: &mut Args<'_>, is_add: bool) -> Result<Options, ReplyError> {
        let mut options = Options::default();
        while let Some(word) = args.peek() {
            if is_add && word == b"*" {
                options.new_id = Some(NewId::Auto);
            } else if option(args, "MAXLEN") {
                let max = options.threshold(args)?.i64()?;
                let max = u64::try_from(max);
                let max = max.map_err(|_| ReplyError::fixed("ERR The MAXLEN argument must be >= 0."))?;
                options.to = Some(TrimTo::MaxLen(max));
            } else if option(args, "MINID") {
                options.to = Some(TrimTo::MinId(id(options.threshold(args)?.bytes()?)?));
            } else if option(args, "LIMIT") {
                options.limit = Some(args.i64()?);
                if options.limit < Some(0) {
                    return Err(ReplyError::fixed("ERR The LIMIT argument must be >= 0."));
                }
            } else if is_add && args.flag("NOMKSTREAM") {
                options.no_mkstream = true;
            } else if is_add {
                options.new_id = Some(NewId::parse(word).ok_or(INVALID_ID)?);
            } else {
                return Err(ReplyError::SYNTAX);
            }
            if options.new_id.is_some() {
                args.bytes()?;
                break;
            }
        }
        Ok(options)
    }

    /// Reads `[~|=]` before a threshold, which comes next.
    fn threshold<'b, 'a>(&mut self, args: &'b mut Args<'a>) -> Result<&'b mut Args<'a>, ReplyError> {
        if self.to.is_some() {
            return Err(ReplyError::fixed(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        self.approximate = option(args, "~");
        if !self.approximate {
            option(args, "=");
        }
        self.threshold_at = args.position();
        Ok(args)
    }

    /// The trim that was asked for. Who is `obeyed` has made sure already that limits play no part.
    fn trim(&self, is_add: bool, obeyed: bool, limits: &Limits) -> Result<Option<Trim>, ReplyError> {
        let refuse = |text| Err(ReplyError::fixed(text));
        if self.to.is_none() && self.limit.is_some_and(|limit| limit > 0) {
            return refuse("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
        }
        if self.to.is_none() && !is_add {
            return refuse("ERR syntax error, XTRIM must be called with a trimming strategy");
        }
        if self.limit.is_some() && !self.approximate && !obeyed {
            return refuse("ERR syntax error, LIMIT cannot be used without the special ~ option");
        }
        let limit = if obeyed { Some(0) } else { self.limit.map(|limit| limit as u64) };
        Ok(self.to.map(|to| match self.approximate {
            true => Trim::approximate(to, limit, limits),
            false => Trim::exact(to),
        }))
    }

    /// The threshold that has the same effect without being approximate.
    fn exact_threshold(&self, stream: &StreamValue) -> String {
        match self.to {
            Some(TrimTo::MaxLen(_)) => stream.len().to_string(),
            _ => stream.first_id_with_deleted().to_string(),
        }
    }
}

pub(super) fn xadd(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let options = Options::parse(args, true)?;
    let id_at = args.position() - 1;
    let limits = &cx.settings.limits;
    let trim = options.trim(true, cx.session.is_obeyed(), limits)?;
    let pairs = args.pairs().filter(|pairs| pairs.len() > 0);
    let (Some(new_id), Some(pairs)) = (options.new_id, pairs) else {
        return Err(ReplyError::arity(cx.name()));
    };
    if new_id == NewId::Exact(StreamId::MIN) {
        return Err(said(AppendError::Zero));
    }
    let is_new = cx.keys.typed_mut::<StreamValue>(key)?.is_none();
    if is_new && options.no_mkstream {
        cx.reply.null();
        return Ok(());
    }
    let fields: Vec<(&[u8], &[u8])> = pairs.collect();
    let stream = cx.keys.get_or_create::<StreamValue>(key)?;
    let added = match stream.append(new_id, &fields, cx.now_ms as u64, limits) {
        Ok(id) => id,
        Err(error) => {
            if is_new {
                cx.keys.remove(key);
            }
            return Err(said(error));
        }
    };
    let trimmed = trim.map_or(0, |trim| stream.trim(&trim));
    let threshold = options.approximate.then(|| options.exact_threshold(stream));
    reply_id(&mut cx.reply, added);
    cx.keys.changed(key, Classes::STREAM, "xadd");
    if trimmed > 0 {
        cx.keys.event(Classes::STREAM, "xtrim", key);
    }
    let made_id = (!matches!(new_id, NewId::Exact(_))).then(|| added.to_string());
    log_exactly(
        cx,
        args,
        &[
            (options.threshold_at.wrapping_sub(1), threshold.as_ref().map(|_| "=")),
            (options.threshold_at, threshold.as_deref()),
            (id_at, made_id.as_deref()),
        ],
    );
    Ok(())
}

/// Logs the command with these arguments in place of those that would come out otherwise another time.
fn log_exactly(cx: &mut Cx<'_>, args: &Args<'_>, instead: &[(usize, Option<&str>)]) {
    if !cx.keys.effects.logged || instead.iter().all(|(_, text)| text.is_none()) {
        return;
    }
    let mut argv: Vec<&[u8]> = args.argv().iter().collect();
    for &(at, text) in instead {
        if let Some(text) = text {
            argv[at] = text.as_bytes();
        }
    }
    cx.keys.effects.rewrite(cx.keys.db, &argv);
}

pub(super) fn xtrim(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let options = Options::parse(args, false)?;
    let trim = options.trim(false, cx.session.is_obeyed(), &cx.settings.limits)?;
    let (Some(trim), Some(stream)) = (trim, cx.keys.typed_mut::<StreamValue>(key)?) else {
        cx.reply.integer(0);
        return Ok(());
    };
    let trimmed = stream.trim(&trim);
    let threshold = options.approximate.then(|| options.exact_threshold(stream));
    cx.reply.integer(trimmed as i64);
    if trimmed > 0 {
        cx.keys.changed_by(trimmed as usize, key, Classes::STREAM, "xtrim");
        let instead = [
            (options.threshold_at - 1, threshold.as_ref().map(|_| "=")),
            (options.threshold_at, threshold.as_deref()),
        ];
        log_exactly(cx, args, &instead);
    }
    Ok(())
}

pub(super) fn xdel(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let key = args.key()?;
    let deleted = match cx.keys.typed_mut::<StreamValue>(key)? {
        Some(stream) => stream.delete_all(&ids(args)?),
        None => 0,
    };
    if deleted > 0 {
        cx.keys.changed_by(deleted, key, Classes::STREAM, "xdel");
    }
    cx.reply.integer(deleted as i64);
    Ok(())
}

pub(super) fn xsetid(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, last_id) = (args.key()?, id(args.bytes()?)?);
    let (mut entries_added, mut max_deleted) = (None, None);
    while !args.is_empty() {
        if option(args, "ENTRIESADDED") {
            let added = u64::try_from(args.i64()?);
            entries_added = Some(added.map_err(|_| ReplyError::fixed("ERR entries_added must be positive"))?);
        } else if option(args, "MAXDELETEDID") {
            max_deleted = Some(id(args.bytes()?)?);
            if max_deleted > Some(last_id) {
                return Err(ReplyError::fixed(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            return Err(ReplyError::SYNTAX);
        }
    }
    let stream = cx.keys.typed_mut::<StreamValue>(key)?.ok_or(ReplyError::NO_SUCH_KEY)?;
    stream.set_id(last_id, entries_added, max_deleted).map_err(said)?;
    // Those who watch the key are not told: no entry has changed.
    cx.keys.effects.dirty += 1;
    cx.keys.event(Classes::STREAM, "xsetid", key);
    cx.reply.ok();
    Ok(())
}

pub(super) fn xlen(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let len = cx.keys.typed::<StreamValue>(args.key()?)?.map_or(0, StreamValue::len);
    cx.reply.integer(len as i64);
    Ok(())
}
