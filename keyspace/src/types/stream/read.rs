//! Reading and claiming on behalf of a consumer group: XREADGROUP, XCLAIM, XAUTOCLAIM.
//!
//! What changes here has to be replicated, as XCLAIM commands with the outcome in them. So each operation
//! tells its caller about every entry it dealt with.

use super::group::{ConsumerId, Group};
use super::{Entry, Inner, StreamId, StreamMarks, StreamValue, forward};

/// XAUTOCLAIM looks at so many pending entries for each one it may return.
const ATTEMPTS_PER_ENTRY: usize = 10;

/// What XREADGROUP delivered.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Delivered {
    pub count: usize,
    /// The group has moved on. With NOACK there are no XCLAIMs that say so.
    pub advanced: bool,
}

/// How XCLAIM claims.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Leave entries that were delivered more recently.
    pub min_idle_ms: i64,
    /// When the entry counts as delivered.
    pub delivery_time_ms: i64,
    /// How often it counts as delivered; one time more where this is not given.
    pub delivery_count: Option<u64>,
    /// Claim entries that are not pending, too.
    pub force: bool,
    /// Only the ID is asked for, so this is no delivery.
    pub just_id: bool,
}

/// What came of claiming an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// It is the consumer's now.
    Taken { delivery_time_ms: i64, delivery_count: u64 },
    /// It was pending, but is not in the stream any more. It is not pending now.
    Gone(Gone),
    /// It is not pending, or not for long enough.
    Left,
}

/// A pending entry that was dropped, since the stream does not have it any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone {
    pub owner: Vec<u8>,
    pub delivery_time_ms: i64,
    pub delivery_count: u64,
}

/// How XAUTOCLAIM claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AutoClaim {
    pub start: StreamId,
    pub min_idle_ms: i64,
    /// Entries to return, claimed and gone ones together.
    pub count: usize,
    pub just_id: bool,
}

/// What XAUTOCLAIM did, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AutoClaimed {
    pub entries: Vec<(StreamId, Claimed)>,
    /// Where the next call is to start; 0-0 when all pending entries were looked at.
    pub next: StreamId,
}

impl StreamValue {
    /// Delivers entries the group has not had to a consumer, at most `count` (0: all of them), in order. With
    /// `ack` given as `false` (NOACK) they do not become pending. `visit` gets each entry and the group's last
    /// ID, which is the entry's.
    ///
    /// `None` if there is no such group or consumer.
    pub fn deliver(
        &mut self,
        group: &[u8],
        consumer: &[u8],
        count: usize,
        ack: bool,
        now_ms: i64,
        mut visit: impl FnMut(&Entry<'_>),
    ) -> Option<Delivered> {
        let Inner { nodes, groups, marks } = &mut *self.inner;
        let group = groups.get_mut(group)?;
        let consumer = group.id_of(consumer)?;
        let mut delivered = Delivered::default();
        let Some(start) = group.last_id.next() else { return Some(delivered) };
        for entry in forward(nodes, start).filter(|entry| entry.id >= start && !entry.deleted) {
            group.advance_over(entry.id, marks);
            delivered.advanced = true;
            visit(&entry);
            if ack {
                group.assign(entry.id, consumer, now_ms, 1);
                group.set_active(consumer, now_ms);
            }
            delivered.count += 1;
            if delivered.count == count {
                break;
            }
        }
        Some(delivered)
    }

    /// Delivers entries that are pending for a consumer once more: those behind `after`, at most `count` (0:
    /// all of them), in order. Entries that are not in the stream any more are visited as `None`.
    ///
    /// `None` if there is no such group or consumer.
    pub fn deliver_again(
        &mut self,
        group: &[u8],
        consumer: &[u8],
        after: StreamId,
        count: usize,
        now_ms: i64,
        mut visit: impl FnMut(StreamId, Option<&Entry<'_>>),
    ) -> Option<usize> {
        let pending: Vec<StreamId> = {
            let group = self.group(group)?;
            let consumer = group.consumer(consumer)?;
            let most = if count == 0 { usize::MAX } else { count };
            match after.next() {
                Some(start) => {
                    let ids = group.pending_of(consumer, start..=StreamId::MAX);
                    ids.map(|(id, _)| id).take(most).collect()
                }
                None => Vec::new(),
            }
        };
        for &id in &pending {
            let is_there = match self.get(id) {
                Some(entry) => {
                    visit(id, Some(&entry));
                    true
                }
                None => {
                    visit(id, None);
                    false
                }
            };
            if is_there && let Some(group) = self.group_mut(group) {
                group.deliver_again(id, now_ms);
            }
        }
        Some(pending.len())
    }

    /// Makes a pending entry another consumer's. `None` if there is no such group or consumer.
    pub fn claim(
        &mut self,
        group: &[u8],
        consumer: &[u8],
        id: StreamId,
        claim: &Claim,
        now_ms: i64,
    ) -> Option<Claimed> {
        let is_there = self.contains(id);
        let group = self.group_mut(group)?;
        let consumer = group.id_of(consumer)?;
        let pending = group.pending(id).copied();
        if !is_there {
            return Some(group.drop_gone(id).map_or(Claimed::Left, Claimed::Gone));
        }
        let before = match pending {
            Some(pending) => {
                let idle_ms = now_ms.saturating_sub(pending.delivery_time_ms);
                if claim.min_idle_ms > 0 && idle_ms < claim.min_idle_ms {
                    return Some(Claimed::Left);
                }
                pending.delivery_count
            }
            // Made anew, and counted once for that.
            None if claim.force => 1,
            None => return Some(Claimed::Left),
        };
        let once_more = before.saturating_add(u64::from(!claim.just_id));
        let delivery_count = claim.delivery_count.unwrap_or(once_more);
        group.assign(id, consumer, claim.delivery_time_ms, delivery_count);
        group.set_active(consumer, now_ms);
        Some(Claimed::Taken { delivery_time_ms: claim.delivery_time_ms, delivery_count })
    }

    /// Makes pending entries that nobody has dealt with for some time a consumer's. `None` if there is no such
    /// group or consumer.
    pub fn claim_idle(
        &mut self,
        group: &[u8],
        consumer: &[u8],
        how: &AutoClaim,
        now_ms: i64,
    ) -> Option<AutoClaimed> {
        let claim = Claim {
            min_idle_ms: how.min_idle_ms,
            delivery_time_ms: now_ms,
            just_id: how.just_id,
            ..Claim::default()
        };
        let attempts = how.count.saturating_mul(ATTEMPTS_PER_ENTRY);
        let mut entries = Vec::new();
        let mut next = Some(how.start);
        for _ in 0..attempts {
            if entries.len() == how.count {
                break;
            }
            let Some(id) = self.group(group)?.next_pending(next) else { break };
            next = id.next();
            match self.claim(group, consumer, id, &claim, now_ms)? {
                Claimed::Left => {}
                done => entries.push((id, done)),
            }
        }
        let next = self.group(group)?.next_pending(next).unwrap_or(StreamId::MIN);
        Some(AutoClaimed { entries, next })
    }
}

impl Group {
    /// Notes that an entry is being delivered for the first time.
    fn advance_over(&mut self, id: StreamId, marks: &StreamMarks) {
        self.entries_read = match self.entries_read {
            Some(read) if !marks.has_deleted_from(id) => Some(read.wrapping_add(1)),
            _ if marks.entries_added > 0 => marks.entries_added_up_to(id),
            unknown => unknown,
        };
        self.last_id = id;
    }

    fn set_active(&mut self, consumer: ConsumerId, now_ms: i64) {
        if let Some(consumer) = self.by_id_mut(consumer) {
            consumer.active_time_ms = Some(now_ms);
        }
    }

    /// The first pending entry from `start` on; `None` starts behind the last one.
    fn next_pending(&self, start: Option<StreamId>) -> Option<StreamId> {
        self.pending_in(start?..=StreamId::MAX).next().map(|(id, _)| id)
    }

    fn drop_gone(&mut self, id: StreamId) -> Option<Gone> {
        let pending = *self.pending(id)?;
        let owner = self.owner(&pending).to_vec();
        self.acknowledge(id);
        let (delivery_time_ms, delivery_count) = (pending.delivery_time_ms, pending.delivery_count);
        Some(Gone { owner, delivery_time_ms, delivery_count })
    }
}
