//! Streams.
//!
//! Entries lie in listpacks of up to stream-node-max-entries, kept in a tree by the ID of the first entry that
//! was put into each ([`node`]). Consumer groups ([`Group`]) know entries by their IDs only. What reads
//! and claims for a group is in [`read`].
//!
//! A stream stays when its last entry goes.

mod group;
mod id;
mod node;
mod read;

pub use group::{Consumer, ConsumerId, Group, GroupCorrupt, GroupLoader, Pending};
pub use id::{IdError, NewId, StreamId};
pub use node::{Entry, Fields, Node};
pub use read::{AutoClaim, AutoClaimed, Claim, Claimed, Delivered, Gone};

use super::{Corrupt, Limits};
use crate::listpack::Listpack;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::ops::Bound;

/// No entry may have more bytes of fields and values.
const MAX_ENTRY_BYTES: usize = 1 << 30;

#[derive(Clone, Default, Debug)]
pub struct StreamValue {
    /// Behind a pointer: the other types are three words.
    inner: Box<Inner>,
}

#[derive(Clone, Default, Debug)]
struct Inner {
    nodes: BTreeMap<StreamId, Node>,
    groups: BTreeMap<Box<[u8]>, Group>,
    marks: StreamMarks,
}

/// What a stream remembers besides its entries.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct StreamMarks {
    /// Number of entries.
    pub len: u64,
    /// The ID of the entry added last, be it there or not.
    pub last_id: StreamId,
    /// The ID of the first entry, 0-0 if there is none.
    pub first_id: StreamId,
    /// The highest ID that XDEL deleted, 0-0 if it never did.
    pub max_deleted_id: StreamId,
    /// Entries ever added.
    pub entries_added: u64,
}

/// Why an entry was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendError {
    /// The last possible ID is in use.
    Exhausted,
    /// The ID is 0-0.
    Zero,
    /// The ID is not greater than the last one.
    NotGreater,
    /// There are more bytes than an entry may have.
    TooLarge,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AppendError::Exhausted => {
                "The stream has exhausted the last possible ID, unable to add more items"
            }
            AppendError::Zero => "The ID specified in XADD must be greater than 0-0",
            AppendError::NotGreater => {
                "The ID specified in XADD is equal or smaller than the target stream top item"
            }
            AppendError::TooLarge => "Elements are too large to be stored",
        })
    }
}

impl std::error::Error for AppendError {}

/// What XTRIM leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrimTo {
    MaxLen(u64),
    MinId(StreamId),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trim {
    pub to: TrimTo,
    /// Remove whole nodes only.
    pub approximate: bool,
    /// Remove at most so many entries; 0 is no limit.
    pub limit: u64,
}

impl Trim {
    pub fn exact(to: TrimTo) -> Self {
        Trim { to, approximate: false, limit: 0 }
    }

    /// Without a limit given, stock takes a hundred nodes.
    pub fn approximate(to: TrimTo, limit: Option<u64>, limits: &Limits) -> Self {
        let hundred_nodes = (limits.stream_node_max_entries as u64).saturating_mul(100);
        let default = if hundred_nodes == 0 { 10_000 } else { hundred_nodes.min(1_000_000) };
        Trim { to, approximate: true, limit: limit.unwrap_or(default) }
    }
}

/// Why XSETID was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetIdError {
    BelowMaxDeleted,
    BelowTop,
    AddedBelowLen,
}

impl fmt::Display for SetIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SetIdError::BelowMaxDeleted => {
                "The ID specified in XSETID is smaller than current max_deleted_entry_id"
            }
            SetIdError::BelowTop => "The ID specified in XSETID is smaller than the target stream top item",
            SetIdError::AddedBelowLen => {
                "The entries_added specified in XSETID is smaller than the target stream length"
            }
        })
    }
}

impl std::error::Error for SetIdError {}

// ---- Figures ---------------------------------------------------------------------------------------------

impl StreamValue {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn encoding_name(&self) -> &'static str {
        "stream"
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.inner.marks.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.inner.marks.len == 0
    }

    pub fn marks(&self) -> &StreamMarks {
        &self.inner.marks
    }

    /// Heap bytes. A few nodes are taken for all.
    pub fn memory_bytes(&self) -> usize {
        const SAMPLES: usize = 16;
        let nodes = &self.inner.nodes;
        let samples = nodes.values().take(SAMPLES).map(Node::memory_bytes);
        let (count, bytes) = samples.fold((0, 0), |(count, bytes), node| (count + 1, bytes + node));
        let per_node = size_of::<(StreamId, Node)>() * 4 / 3;
        let groups = self.inner.groups.iter();
        size_of::<Inner>()
            + nodes.len() * per_node
            + bytes * nodes.len() / usize::max(count, 1)
            + groups
                .map(|(name, group)| name.len() + size_of::<Group>() + group.memory_bytes())
                .sum::<usize>()
    }

    /// Allocations that dropping the value frees.
    pub fn free_effort(&self) -> usize {
        let pending = self.inner.groups.values().map(|group| 1 + group.pending_len() / 4);
        1 + self.inner.nodes.len() + pending.sum::<usize>()
    }
}

// ---- Entries ---------------------------------------------------------------------------------------------

impl StreamValue {
    /// The ID an entry added now would get.
    pub fn resolve(&self, id: NewId, now_ms: u64) -> Result<StreamId, AppendError> {
        let last = self.inner.marks.last_id;
        if id == NewId::Exact(StreamId::MIN) {
            return Err(AppendError::Zero);
        }
        if last == StreamId::MAX {
            return Err(AppendError::Exhausted);
        }
        let resolved = match id {
            NewId::Exact(id) => Some(id),
            NewId::AutoSeq(ms) if ms == last.ms => last.seq.checked_add(1).map(|seq| StreamId { ms, seq }),
            NewId::AutoSeq(ms) => Some(StreamId { ms, seq: 0 }),
            NewId::Auto if now_ms > last.ms => Some(StreamId { ms: now_ms, seq: 0 }),
            NewId::Auto => last.next(),
        };
        resolved.filter(|&id| id > last).ok_or(AppendError::NotGreater)
    }

    /// Adds an entry behind all others.
    pub fn append<F: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        id: NewId,
        fields: &[(F, V)],
        now_ms: u64,
        limits: &Limits,
    ) -> Result<StreamId, AppendError> {
        let id = self.resolve(id, now_ms)?;
        let lens = fields.iter().map(|(name, value)| name.as_ref().len() + value.as_ref().len());
        let bytes = lens.fold(0usize, usize::saturating_add);
        if bytes > MAX_ENTRY_BYTES {
            return Err(AppendError::TooLarge);
        }
        let Inner { nodes, marks, .. } = &mut *self.inner;
        let mut last_node = nodes.last_entry();
        match &mut last_node {
            Some(node) if !node.get().is_full_for(bytes, limits) => {
                let master = *node.key();
                node.get_mut().append(master, id, fields);
            }
            full => {
                if let Some(full) = full {
                    full.get_mut().shrink_to_fit();
                }
                let mut node = Node::new(fields);
                node.append(id, id, fields);
                nodes.insert(id, node);
            }
        }
        marks.len += 1;
        marks.entries_added = marks.entries_added.saturating_add(1);
        marks.last_id = id;
        if marks.len == 1 {
            marks.first_id = id;
        }
        Ok(id)
    }

    /// Deletes entries and returns how many were there (XDEL).
    pub fn delete_all(&mut self, ids: &[StreamId]) -> usize {
        let deleted = ids.iter().filter(|&&id| self.delete(id)).count();
        if deleted > 0 && (self.is_empty() || ids.contains(&self.inner.marks.first_id)) {
            self.find_first();
        }
        deleted
    }

    fn delete(&mut self, id: StreamId) -> bool {
        let Inner { nodes, marks, .. } = &mut *self.inner;
        let Some((&master, node)) = nodes.range_mut(..=id).next_back() else { return false };
        if !node.delete(master, id) {
            return false;
        }
        if node.live() == 0 {
            nodes.remove(&master);
        }
        marks.len -= 1;
        marks.max_deleted_id = marks.max_deleted_id.max(id);
        true
    }

    fn find_first(&mut self) {
        self.inner.marks.first_id = self.first_entry().map_or(StreamId::MIN, |entry| entry.id);
    }

    /// Removes entries from the front and returns how many. Entries it cannot remove whole nodes of are
    /// marked as deleted, unless the trim is approximate.
    pub fn trim(&mut self, trim: &Trim) -> u64 {
        let mut removed = 0;
        while let Some((&master, node)) = self.inner.nodes.first_key_value() {
            let (len, live) = (self.inner.marks.len, node.live());
            if matches!(trim.to, TrimTo::MaxLen(max) if len <= max) {
                break;
            }
            if trim.limit > 0 && removed + live > trim.limit {
                break;
            }
            let whole = match trim.to {
                TrimTo::MaxLen(max) => len - live >= max,
                TrimTo::MinId(min) => node.entries_back(master).next().is_none_or(|last| last.id < min),
            };
            if whole {
                self.inner.nodes.pop_first();
                self.inner.marks.len -= live;
                removed += live;
                continue;
            }
            if !trim.approximate {
                removed += self.trim_first_node(trim.to);
            }
            break;
        }
        if removed > 0 {
            self.find_first();
        }
        removed
    }

    fn trim_first_node(&mut self, to: TrimTo) -> u64 {
        let Inner { nodes, marks, .. } = &mut *self.inner;
        let Some(mut first) = nodes.first_entry() else { return 0 };
        let master = *first.key();
        let mut excess = match to {
            TrimTo::MaxLen(max) => marks.len - max,
            TrimTo::MinId(_) => 0,
        };
        let removed = first.get_mut().delete_front(master, |entry| match to {
            TrimTo::MinId(min) => entry.id < min,
            TrimTo::MaxLen(_) if excess == 0 => false,
            TrimTo::MaxLen(_) => {
                excess -= u64::from(!entry.deleted);
                true
            }
        });
        marks.len -= removed;
        removed
    }

    /// XSETID: what the stream is to remember, as a replica or an operator says.
    pub fn set_id(
        &mut self,
        last_id: StreamId,
        entries_added: Option<u64>,
        max_deleted_id: Option<StreamId>,
    ) -> Result<(), SetIdError> {
        let top = self.last_entry().map(|entry| entry.id);
        let marks = &mut self.inner.marks;
        if last_id < marks.max_deleted_id {
            return Err(SetIdError::BelowMaxDeleted);
        }
        if top.is_some_and(|top| last_id < top) {
            return Err(SetIdError::BelowTop);
        }
        if top.is_some() && entries_added.is_some_and(|added| added < marks.len) {
            return Err(SetIdError::AddedBelowLen);
        }
        marks.last_id = last_id;
        marks.entries_added = entries_added.unwrap_or(marks.entries_added);
        marks.max_deleted_id =
            max_deleted_id.filter(|&id| id != StreamId::MIN).unwrap_or(marks.max_deleted_id);
        Ok(())
    }
}

// ---- Ranges ----------------------------------------------------------------------------------------------

impl StreamValue {
    /// Entries from `start` to `end`, both included, in order.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        Range { entries: forward(&self.inner.nodes, start), start, end }
    }

    /// Entries from `end` down to `start`, both included.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> RangeBack<'_> {
        let nodes = self.inner.nodes.range(..=end);
        RangeBack { nodes, current: None, start, end }
    }

    pub fn contains(&self, id: StreamId) -> bool {
        self.get(id).is_some()
    }

    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    pub fn first_entry(&self) -> Option<Entry<'_>> {
        self.range(StreamId::MIN, StreamId::MAX).next()
    }

    pub fn last_entry(&self) -> Option<Entry<'_>> {
        self.range_back(StreamId::MIN, StreamId::MAX).next()
    }

    /// The ID of the first entry, be it deleted or not: what an approximate MINID trim is replicated as. The
    /// highest ID where there is none.
    pub fn first_id_with_deleted(&self) -> StreamId {
        let first = self.inner.nodes.first_key_value();
        let first = first.and_then(|(&master, node)| node.entries(master).next());
        first.map_or(StreamId::MAX, |entry| entry.id)
    }
}

/// All entries of the nodes from the one that may hold `start` on, deleted ones too.
fn forward(nodes: &BTreeMap<StreamId, Node>, start: StreamId) -> ForwardNodes<'_> {
    let holder = nodes.range(..=start).next_back().map_or(Bound::Unbounded, |(&id, _)| Bound::Included(id));
    ForwardNodes { nodes: nodes.range((holder, Bound::Unbounded)), current: None }
}

struct ForwardNodes<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    current: Option<node::Forward<'a>>,
}

impl<'a> Iterator for ForwardNodes<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            if let Some(entry) = self.current.as_mut().and_then(Iterator::next) {
                return Some(entry);
            }
            let (&master, node) = self.nodes.next()?;
            self.current = Some(node.entries(master));
        }
    }
}

/// Entries in order. See [`StreamValue::range`].
pub struct Range<'a> {
    entries: ForwardNodes<'a>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let entry = self.entries.find(|entry| entry.id >= self.start && !entry.deleted)?;
        (entry.id <= self.end).then_some(entry)
    }
}

/// Entries from the last to the first. See [`StreamValue::range_back`].
pub struct RangeBack<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    current: Option<node::Backward<'a>>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let entries = self.current.iter_mut().flatten();
            if let Some(entry) = { entries }.find(|entry| entry.id <= self.end && !entry.deleted) {
                return (entry.id >= self.start).then_some(entry);
            }
            let (&master, node) = self.nodes.next_back()?;
            self.current = Some(node.entries_back(master));
        }
    }
}

// ---- Groups ----------------------------------------------------------------------------------------------

impl StreamValue {
    pub fn group_count(&self) -> usize {
        self.inner.groups.len()
    }

    /// Groups in the order of their names.
    pub fn groups(&self) -> impl Iterator<Item = (&[u8], &Group)> {
        self.inner.groups.iter().map(|(name, group)| (&name[..], group))
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.inner.groups.get(name)
    }

    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.inner.groups.get_mut(name)
    }

    /// Adds a group; `false` if there is one of this name.
    pub fn create_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<i64>) -> bool {
        self.insert_group(name, Group::new(last_id, entries_read))
    }

    /// Adds a group that was loaded; `false` if there is one of this name.
    pub fn insert_group(&mut self, name: &[u8], group: Group) -> bool {
        match self.inner.groups.entry(name.into()) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(group);
                true
            }
            btree_map::Entry::Occupied(_) => false,
        }
    }

    /// Removes a group; `false` if there was none.
    pub fn destroy_group(&mut self, name: &[u8]) -> bool {
        self.inner.groups.remove(name).is_some()
    }

    /// How many entries were added up to an ID, as far as that can be told without counting.
    pub fn entries_added_up_to(&self, id: StreamId) -> Option<i64> {
        self.inner.marks.entries_added_up_to(id)
    }

    /// How many entries a group has yet to read, as far as that can be told without counting.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let marks = &self.inner.marks;
        if marks.entries_added == 0 {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(read) if !marks.has_deleted_from(group.last_id) => Some(read),
            _ => marks.entries_added_up_to(group.last_id),
        };
        read.map(|read| (marks.entries_added as i64).wrapping_sub(read))
    }
}

impl StreamMarks {
    /// Whether an entry from `start` on may have been deleted.
    fn has_deleted_from(&self, start: StreamId) -> bool {
        self.len > 0
            && self.max_deleted_id != StreamId::MIN
            && self.first_id <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    fn entries_added_up_to(&self, id: StreamId) -> Option<i64> {
        let (added, len) = (self.entries_added as i64, self.len as i64);
        if self.entries_added == 0 {
            return Some(0);
        }
        if (self.len == 0 && id <= self.last_id) || id == self.last_id {
            return Some(added);
        }
        if id > self.last_id {
            return None;
        }
        let is_whole = self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id;
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if is_whole => Some(added.wrapping_sub(len)),
            std::cmp::Ordering::Equal if is_whole => Some(added.wrapping_sub(len).wrapping_add(1)),
            _ => None,
        }
    }
}

// ---- Storing and loading ---------------------------------------------------------------------------------

impl StreamValue {
    pub fn node_count(&self) -> usize {
        self.inner.nodes.len()
    }

    /// The nodes as an RDB file lists them.
    pub fn nodes(&self) -> impl Iterator<Item = (StreamId, &Listpack)> {
        self.inner.nodes.iter().map(|(&id, node)| (id, node.pack()))
    }

    /// Builds a stream from stored nodes. Files of the oldest format (RDB type 15) know nothing but the last
    /// ID: for them the other marks are `None`. The number of entries is that of the nodes.
    ///
    /// Entries have to be as many as each node says, in order within and across nodes, and up to the last ID.
    pub fn from_nodes(
        nodes: impl IntoIterator<Item = (StreamId, Node)>,
        last_id: StreamId,
        marks: Option<StreamMarks>,
    ) -> Result<Self, Corrupt> {
        let mut stream = StreamValue::new();
        let mut newest = None;
        for (master, node) in nodes {
            let mut live = 0;
            for entry in node.entries(master).filter(|entry| !entry.deleted) {
                if newest >= Some(entry.id) || entry.id > last_id {
                    return Err(Corrupt { offset: 0 });
                }
                newest = Some(entry.id);
                live += 1;
            }
            if live != node.live() {
                return Err(Corrupt { offset: 0 });
            }
            stream.inner.marks.len += live;
            let is_behind = stream.inner.nodes.last_key_value().is_none_or(|(&last, _)| last < master);
            if !is_behind {
                return Err(Corrupt { offset: 0 });
            }
            stream.inner.nodes.insert(master, node);
        }
        let len = stream.inner.marks.len;
        match marks {
            Some(marks) => stream.inner.marks = StreamMarks { len, last_id, ..marks },
            None => {
                stream.inner.marks =
                    StreamMarks { len, last_id, entries_added: len, ..StreamMarks::default() };
                stream.find_first();
            }
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests;
