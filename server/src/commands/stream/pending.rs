//! XPENDING.

use super::*;
use keyspace::types::stream::Group as ConsumerGroup;
use protocol::number::parse_i64;

/// Which pending entries are wanted.
struct Search<'a> {
    start: StreamId,
    end: StreamId,
    count: usize,
    min_idle_ms: i64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Search<'a> {
    /// `None` where only a summary is wanted. What may be wrong is found in stock's order: the count first.
    fn parse(args: &mut Args<'a>) -> Result<Option<Search<'a>>, ReplyError> {
        match args.left() {
            0 => return Ok(None),
            3..=6 => {}
            _ => return Err(ReplyError::SYNTAX),
        }
        let mut min_idle_ms = 0;
        if args.flag("IDLE") {
            min_idle_ms = args.i64()?;
            if args.left() < 3 {
                return Err(ReplyError::SYNTAX);
            }
        }
        let (start, end, count) = (args.bytes()?, args.bytes()?, args.bytes()?);
        let count = parse_i64(count).ok_or(ReplyError::NOT_INTEGER)?.max(0) as usize;
        let start = StreamId::parse_start(start).map_err(said)?;
        let end = StreamId::parse_end(end).map_err(said)?;
        Ok(Some(Search { start, end, count, min_idle_ms, consumer: args.next_opt() }))
    }

    fn reply(&self, reply: &mut Reply<'_>, group: &ConsumerGroup, now_ms: i64) {
        let range = self.start..=self.end;
        let found: Box<dyn Iterator<Item = _>> = match self.consumer {
            None => Box::new(group.pending_in(range)),
            Some(name) => match group.consumer(name) {
                Some(consumer) => Box::new(group.pending_of(consumer, range)),
                None => Box::new(std::iter::empty()),
            },
        };
        let idle_ms = |time_ms: i64| now_ms.saturating_sub(time_ms);
        let found = found.filter(|(_, pending)| {
            self.min_idle_ms == 0 || idle_ms(pending.delivery_time_ms) >= self.min_idle_ms
        });
        counted(reply, |reply| {
            let rows = found.take(self.count).map(|(id, pending)| {
                reply.array(4);
                reply_id(reply, id);
                reply.bulk(group.owner(pending));
                reply.integer(idle_ms(pending.delivery_time_ms).max(0));
                reply.integer(pending.delivery_count as i64);
            });
            rows.count()
        });
    }
}

fn summary(reply: &mut Reply<'_>, group: &ConsumerGroup) {
    reply.array(4);
    reply.integer(group.pending_len() as i64);
    let Some((first, last)) = group.pending_edges() else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply_id(reply, first);
    reply_id(reply, last);
    counted(reply, |reply| {
        let busy = group.consumers().filter(|consumer| consumer.pending_len() > 0);
        let rows = busy.map(|consumer| {
            reply.array(2);
            reply.bulk(consumer.name());
            reply.bulk_integer(consumer.pending_len() as i64);
        });
        rows.count()
    });
}

pub(super) fn xpending(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let (key, name) = (args.key()?, args.bytes()?);
    let search = Search::parse(args)?;
    let (keys, reply) = (&mut cx.keys, &mut cx.reply);
    let group = keys.typed::<StreamValue>(key)?.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_key_or_group(key, name))?;
    match search {
        None => summary(reply, group),
        Some(search) => search.reply(reply, group, cx.now_ms),
    }
    Ok(())
}
