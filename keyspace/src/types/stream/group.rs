//! A consumer group: who reads, how far the group has come, and what was delivered but not acknowledged.

use super::StreamId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// The number of a consumer within its group.
pub type ConsumerId = u32;

/// **Invariant:** each pending entry is owned by exactly one consumer, whose own list has it too.
#[derive(Clone, Debug)]
pub struct Group {
    pub(super) last_id: StreamId,
    pub(super) entries_read: Option<i64>,
    pending: BTreeMap<StreamId, Pending>,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
    /// By number; free numbers are taken again.
    consumers: Vec<Option<Consumer>>,
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    pub delivery_time_ms: i64,
    pub delivery_count: u64,
    owner: ConsumerId,
}

#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it last tried to read or claim.
    pub seen_time_ms: i64,
    /// When it last was given something.
    pub active_time_ms: Option<i64>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Number of entries it has not acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The entries it has not acknowledged.
    pub fn pending_ids(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.pending.iter().copied()
    }
}

impl Group {
    pub(super) fn new(last_id: StreamId, entries_read: Option<i64>) -> Self {
        Group {
            last_id,
            entries_read,
            pending: BTreeMap::new(),
            names: BTreeMap::new(),
            consumers: Vec::new(),
        }
    }

    /// The last entry that was delivered.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// How many entries were delivered, as far as that is known.
    pub fn entries_read(&self) -> Option<i64> {
        self.entries_read
    }

    /// XGROUP SETID
    pub fn set_id(&mut self, last_id: StreamId, entries_read: Option<i64>) {
        self.last_id = last_id;
        self.entries_read = entries_read;
    }

    /// Moves on to a later ID; `false` if it is not later.
    pub fn advance_to(&mut self, id: StreamId) -> bool {
        let is_later = id > self.last_id;
        self.last_id = self.last_id.max(id);
        is_later
    }
}

// ---- Consumers -------------------------------------------------------------------------------------------

impl Group {
    pub fn consumer_count(&self) -> usize {
        self.names.len()
    }

    /// Consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.names.values().filter_map(|&id| self.by_id(id))
    }

    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.by_id(*self.names.get(name)?)
    }

    fn by_id(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(id as usize)?.as_ref()
    }

    pub(super) fn by_id_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.consumers.get_mut(id as usize)?.as_mut()
    }

    /// Adds a consumer; `false` if there is one of this name.
    pub fn create_consumer(&mut self, name: &[u8], now_ms: i64) -> bool {
        if self.names.contains_key(name) {
            return false;
        }
        let consumer = Consumer {
            name: name.into(),
            seen_time_ms: now_ms,
            active_time_ms: None,
            pending: BTreeSet::new(),
        };
        let id = match self.consumers.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.consumers.push(None);
                self.consumers.len() - 1
            }
        };
        self.consumers[id] = Some(consumer);
        self.names.insert(name.into(), id as ConsumerId);
        true
    }

    /// Notes that a consumer tries to read or claim, adding it where there is none. `true` if it was added.
    pub fn see_consumer(&mut self, name: &[u8], now_ms: i64) -> bool {
        let is_new = self.create_consumer(name, now_ms);
        if let Some(consumer) = self.id_of(name).and_then(|id| self.by_id_mut(id)) {
            consumer.seen_time_ms = now_ms;
        }
        is_new
    }

    pub(super) fn id_of(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// Removes a consumer with all that it has not acknowledged, and returns how much that was.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.names.remove(name)?;
        let consumer = self.consumers[id as usize].take()?;
        for entry in &consumer.pending {
            self.pending.remove(entry);
        }
        Some(consumer.pending.len())
    }
}

// ---- Pending entries -------------------------------------------------------------------------------------

impl Group {
    /// Number of entries nobody has acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// First and last of the pending entries.
    pub fn pending_edges(&self) -> Option<(StreamId, StreamId)> {
        Some((*self.pending.first_key_value()?.0, *self.pending.last_key_value()?.0))
    }

    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// Whose a pending entry is.
    pub fn owner(&self, pending: &Pending) -> &[u8] {
        self.by_id(pending.owner).map_or(&[], Consumer::name)
    }

    /// Pending entries in a range, in order. An empty range is allowed.
    pub fn pending_in(&self, ids: RangeInclusive<StreamId>) -> impl Iterator<Item = (StreamId, &Pending)> {
        let range = (!ids.is_empty()).then(|| self.pending.range(ids));
        range.into_iter().flatten().map(|(&id, pending)| (id, pending))
    }

    /// A consumer's pending entries in a range, in order.
    pub fn pending_of<'a>(
        &'a self,
        consumer: &'a Consumer,
        ids: RangeInclusive<StreamId>,
    ) -> impl Iterator<Item = (StreamId, &'a Pending)> {
        let range = (!ids.is_empty()).then(|| consumer.pending.range(ids));
        range.into_iter().flatten().filter_map(|&id| Some((id, self.pending.get(&id)?)))
    }

    /// Acknowledges an entry; `false` if it was not pending.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        if let Some(owner) = self.by_id_mut(pending.owner) {
            owner.pending.remove(&id);
        }
        true
    }

    /// Makes an entry a consumer's, whosever it was, as if it was just delivered so many times.
    pub(super) fn assign(
        &mut self,
        id: StreamId,
        owner: ConsumerId,
        delivery_time_ms: i64,
        delivery_count: u64,
    ) {
        let before = self.pending.insert(id, Pending { delivery_time_ms, delivery_count, owner });
        if let Some(before) = before.filter(|before| before.owner != owner)
            && let Some(loser) = self.by_id_mut(before.owner)
        {
            loser.pending.remove(&id);
        }
        if let Some(consumer) = self.by_id_mut(owner) {
            consumer.pending.insert(id);
        }
    }

    /// Notes that a pending entry was delivered to its owner once more.
    pub(super) fn deliver_again(&mut self, id: StreamId, now_ms: i64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.delivery_time_ms = now_ms;
            pending.delivery_count = pending.delivery_count.saturating_add(1);
        }
    }

    pub fn memory_bytes(&self) -> usize {
        // A B-tree's nodes are three quarters full or so.
        let pending = self.pending.len() * (size_of::<(StreamId, Pending)>() + size_of::<StreamId>()) * 4 / 3;
        let names: usize = self.names.keys().map(|name| 2 * name.len() + 64).sum();
        pending + names + self.consumers.capacity() * size_of::<Option<Consumer>>()
    }
}

// ---- Loading ---------------------------------------------------------------------------------------------

/// Builds a group from what an RDB file has: first all pending entries, then the consumers and which entries
/// are theirs.
pub struct GroupLoader {
    group: Group,
    /// Pending entries whose owner has not been met: time and count of their deliveries.
    unowned: BTreeMap<StreamId, (i64, u64)>,
}

/// What is stored of a group contradicts itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupCorrupt {
    /// An entry is pending twice, or belongs to two consumers.
    DuplicateEntry,
    DuplicateConsumer,
    /// A consumer has an entry that is not pending.
    UnknownEntry,
    /// A pending entry is nobody's.
    Unowned,
}

impl GroupLoader {
    pub fn new(last_id: StreamId, entries_read: Option<i64>) -> Self {
        GroupLoader { group: Group::new(last_id, entries_read), unowned: BTreeMap::new() }
    }

    pub fn pending(
        &mut self,
        id: StreamId,
        delivery_time_ms: i64,
        delivery_count: u64,
    ) -> Result<(), GroupCorrupt> {
        match self.unowned.insert(id, (delivery_time_ms, delivery_count)) {
            Some(_) => Err(GroupCorrupt::DuplicateEntry),
            None => Ok(()),
        }
    }

    /// Begins a consumer; the entries that follow are its own.
    pub fn consumer(
        &mut self,
        name: &[u8],
        seen_time_ms: i64,
        active_time_ms: Option<i64>,
    ) -> Result<ConsumerId, GroupCorrupt> {
        if !self.group.create_consumer(name, seen_time_ms) {
            return Err(GroupCorrupt::DuplicateConsumer);
        }
        let id = self.group.id_of(name).unwrap_or_default();
        if let Some(consumer) = self.group.by_id_mut(id) {
            consumer.active_time_ms = active_time_ms;
        }
        Ok(id)
    }

    pub fn owned(&mut self, consumer: ConsumerId, id: StreamId) -> Result<(), GroupCorrupt> {
        let Some((time_ms, count)) = self.unowned.remove(&id) else {
            let is_taken = self.group.pending.contains_key(&id);
            return Err(if is_taken { GroupCorrupt::DuplicateEntry } else { GroupCorrupt::UnknownEntry });
        };
        self.group.assign(id, consumer, time_ms, count);
        Ok(())
    }

    pub fn finish(self) -> Result<Group, GroupCorrupt> {
        if self.unowned.is_empty() { Ok(self.group) } else { Err(GroupCorrupt::Unowned) }
    }
}
