//! The quicklist: a deque of nodes, each a listpack, or one element too large for a listpack.
//!
//! Which element goes into which node is visible from outside (DUMP, and the way back to one listpack), so
//! the rules for filling, splitting and merging nodes are stock's.

use super::{End, Place};
use crate::listpack::{Element, Listpack, Pos};
use crate::types::Limits;
use std::collections::VecDeque;

/// A node limited by its number of elements is limited to this size as well.
const COUNTED_NODE_BYTES: usize = 8192;
/// Estimate of an entry's overhead in a listpack.
const ENTRY_OVERHEAD: usize = 8;
/// A listpack's header and end mark, of which a merge drops one.
const EMPTY_PACK_BYTES: usize = 7;

/// What `list-max-listpack-size` allows a node.
#[derive(Clone, Copy, Debug)]
pub enum NodeLimit {
    Bytes(usize),
    Elements(usize),
}

impl NodeLimit {
    pub fn of(limits: &Limits) -> Self {
        match limits.list_max_listpack_size {
            0 => NodeLimit::Elements(1),
            count @ 1.. => NodeLimit::Elements(count.min(0x7FFF) as usize),
            class => NodeLimit::Bytes(4096 << (class.saturating_neg() - 1).min(4)),
        }
    }

    pub fn halved(self) -> Self {
        match self {
            NodeLimit::Bytes(bytes) => NodeLimit::Bytes(bytes / 2),
            NodeLimit::Elements(count) => NodeLimit::Elements(count / 2),
        }
    }

    /// The limit for nodes of a longer list. Nobody sees from outside where one ends, and of 64 KiB, which allocators
    /// cut into blocks of one size and a little of their own, nine blocks of 7 KiB leave less over than seven of 8.
    fn tight(self) -> Self {
        match self {
            NodeLimit::Bytes(8192) => NodeLimit::Bytes(7168),
            other => other,
        }
    }

    /// Whether a node of this size would be too large to grow to.
    pub fn is_exceeded(self, bytes: usize, count: usize) -> bool {
        match self {
            NodeLimit::Bytes(limit) => bytes > limit,
            NodeLimit::Elements(limit) => bytes > COUNTED_NODE_BYTES || count > limit,
        }
    }

    /// Whether a list of one such node may be a plain listpack. Unlike above, a limit on elements does not
    /// limit bytes here.
    pub fn admits(self, bytes: usize, count: usize) -> bool {
        match self {
            NodeLimit::Bytes(limit) => bytes <= limit,
            NodeLimit::Elements(limit) => count <= limit,
        }
    }
}

/// A list of so many nodes gets its next one with as much room as the last one needed. Growing step by step, each node
/// would leave blocks of every size behind.
const LONG_NODES: usize = 8;
/// But no more than this.
const MOST_ROOM_BYTES: usize = 16 * 1024;

#[derive(Clone, Debug)]
pub struct Node(NodeRepr);

#[derive(Clone, Debug)]
enum NodeRepr {
    /// The count is the listpack's; kept here so that seeking need not touch each listpack.
    Packed { pack: Listpack, count: u32 },
    /// One element.
    Plain(Box<[u8]>),
}

impl Node {
    pub fn packed(pack: Listpack) -> Self {
        let count = pack.len() as u32;
        Node(NodeRepr::Packed { pack, count })
    }

    pub fn plain(element: &[u8]) -> Self {
        Node(NodeRepr::Plain(element.into()))
    }

    /// A node for a first element, with room for so many bytes.
    fn of(element: &[u8], limits: &Limits, room_bytes: usize) -> Self {
        if is_plain(element, limits) {
            return Node::plain(element);
        }
        let mut pack = Listpack::with_capacity(room_bytes);
        pack.push_back(element);
        Node::packed(pack)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.0 {
            NodeRepr::Packed { count, .. } => *count as usize,
            NodeRepr::Plain(_) => 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn byte_len(&self) -> usize {
        self.as_bytes().len()
    }

    /// The bytes an RDB file holds: the listpack's, or the one element's.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            NodeRepr::Packed { pack, .. } => pack.as_bytes(),
            NodeRepr::Plain(element) => element,
        }
    }

    pub fn pack(&self) -> Option<&Listpack> {
        match &self.0 {
            NodeRepr::Packed { pack, .. } => Some(pack),
            NodeRepr::Plain(_) => None,
        }
    }

    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        match &self.0 {
            NodeRepr::Packed { pack, .. } => pack.get(index as i64),
            NodeRepr::Plain(element) => (index == 0).then_some(Element::Bytes(element)),
        }
    }

    /// Runs a change on the listpack, if it is one, and counts its elements again.
    fn edit<R>(&mut self, change: impl FnOnce(&mut Listpack) -> R) -> Option<R> {
        match &mut self.0 {
            NodeRepr::Packed { pack, count } => {
                let result = change(pack);
                *count = pack.len() as u32;
                Some(result)
            }
            NodeRepr::Plain(_) => None,
        }
    }

    fn find(&self, element: &[u8]) -> Option<usize> {
        match &self.0 {
            NodeRepr::Packed { pack, .. } => pack.iter().position(|present| present.is(element)),
            NodeRepr::Plain(present) => (**present == *element).then_some(0),
        }
    }

    /// Whether one more element of this size may go into the node.
    fn has_room_for(&self, element: &[u8], limits: &Limits) -> bool {
        let bytes = self.byte_len() + element.len() + ENTRY_OVERHEAD;
        self.pack().is_some()
            && !is_plain(element, limits)
            && !NodeLimit::of(limits).tight().is_exceeded(bytes, self.len() + 1)
    }

    fn may_merge_with(&self, other: &Node, limits: &Limits) -> bool {
        if self.pack().is_none() || other.pack().is_none() {
            return false;
        }
        let bytes = self.byte_len() + other.byte_len() - EMPTY_PACK_BYTES;
        !NodeLimit::of(limits).is_exceeded(bytes, self.len() + other.len())
    }

    /// Bytes the node takes on the heap.
    fn memory_bytes(&self) -> usize {
        match &self.0 {
            NodeRepr::Packed { pack, .. } => pack.capacity(),
            NodeRepr::Plain(element) => element.len(),
        }
    }
}

fn is_plain(element: &[u8], limits: &Limits) -> bool {
    element.len() >= limits.list_plain_node_bytes
}

/// **Invariant:** no node is empty, and `len` is the sum of the nodes' lengths.
#[derive(Clone, Default, Debug)]
pub struct Quicklist {
    nodes: VecDeque<Node>,
    len: usize,
}

/// A node and the place of an element in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    pub node: usize,
    pub offset: usize,
}

// ---- Looking ---------------------------------------------------------------------------------------------

impl Quicklist {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The nodes from head to tail, as an RDB file lists them.
    pub fn nodes(&self) -> &VecDeque<Node> {
        &self.nodes
    }

    /// Heap bytes. A few nodes are taken for all: looking at each would take as long as there are many.
    pub fn memory_bytes(&self) -> usize {
        const SAMPLES: usize = 16;
        let step = (self.nodes.len() / SAMPLES).max(1);
        let samples = self.nodes.iter().step_by(step).take(SAMPLES).map(Node::memory_bytes);
        let (count, bytes) = samples.fold((0, 0), |(count, bytes), node| (count + 1, bytes + node));
        size_of::<Self>()
            + self.nodes.capacity() * size_of::<Node>()
            + bytes * self.nodes.len() / usize::max(count, 1)
    }

    /// Where the element at `index` is; walks the nodes from the nearer end.
    pub fn locate(&self, index: usize) -> Option<Cursor> {
        if index >= self.len {
            return None;
        }
        if index <= self.len / 2 {
            let mut offset = index;
            for (node, content) in self.nodes.iter().enumerate() {
                match offset.checked_sub(content.len()) {
                    None => return Some(Cursor { node, offset }),
                    Some(rest) => offset = rest,
                }
            }
        } else {
            let mut from_end = self.len - index;
            for (node, content) in self.nodes.iter().enumerate().rev() {
                match content.len().checked_sub(from_end) {
                    Some(offset) => return Some(Cursor { node, offset }),
                    None => from_end -= content.len(),
                }
            }
        }
        None
    }

    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        let at = self.locate(index)?;
        self.nodes[at.node].get(at.offset)
    }
}

// ---- The ends --------------------------------------------------------------------------------------------

impl Quicklist {
    pub fn push_node(&mut self, node: Node) {
        if !node.is_empty() {
            self.len += node.len();
            self.nodes.push_back(node);
        }
    }

    pub fn push(&mut self, end: End, element: &[u8], limits: &Limits) {
        let is_long = self.nodes.len() >= LONG_NODES;
        let outermost = match end {
            End::Head => self.nodes.front_mut(),
            End::Tail => self.nodes.back_mut(),
        };
        match outermost {
            Some(node) if node.has_room_for(element, limits) => {
                node.edit(|pack| match end {
                    End::Head => pack.push_front(element),
                    End::Tail => pack.push_back(element),
                });
            }
            full => {
                let mut room_bytes = 0;
                if let Some(full) = full {
                    full.edit(Listpack::shrink_to_fit);
                    room_bytes = if is_long { full.byte_len().min(MOST_ROOM_BYTES) } else { 0 };
                }
                let node = Node::of(element, limits, room_bytes);
                match end {
                    End::Head => self.nodes.push_front(node),
                    End::Tail => self.nodes.push_back(node),
                }
            }
        }
        self.len += 1;
    }

    pub fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        let at = match end {
            End::Head => self.locate(0)?,
            End::Tail => self.locate(self.len.checked_sub(1)?)?,
        };
        let element = self.nodes[at.node].get(at.offset)?.to_vec();
        self.delete_at(at);
        Some(element)
    }

    /// The only node's listpack, taken out, if there is just one node, and it is `wanted`.
    pub fn take_only_node(&mut self, wanted: impl FnOnce(&Node) -> bool) -> Option<Listpack> {
        if self.nodes.len() != 1 || !self.nodes.front().is_some_and(wanted) {
            return None;
        }
        match &mut self.nodes.front_mut()?.0 {
            NodeRepr::Packed { pack, .. } => Some(std::mem::take(pack)),
            NodeRepr::Plain(_) => None,
        }
    }
}

// ---- The middle ------------------------------------------------------------------------------------------

impl Quicklist {
    fn delete_at(&mut self, at: Cursor) {
        let node = &mut self.nodes[at.node];
        let emptied = match node.edit(|pack| pack.delete_range(at.offset, 1)) {
            Some(()) => node.is_empty(),
            None => true,
        };
        if emptied {
            self.nodes.remove(at.node);
        }
        self.len -= 1;
    }

    /// Removes `count` elements from `index` on.
    pub fn delete_range(&mut self, index: usize, count: usize) {
        let Some(Cursor { node: first, mut offset }) = self.locate(index) else { return };
        let mut rest = count.min(self.len - index);
        self.len -= rest;
        let (mut node, mut gone) = (first, first..first);
        while rest > 0 {
            let held = self.nodes[node].len();
            let taken = rest.min(held - offset);
            if taken == held {
                gone = if gone.is_empty() { node..node + 1 } else { gone.start..node + 1 };
            } else {
                self.nodes[node].edit(|pack| pack.delete_range(offset, taken));
            }
            rest -= taken;
            offset = 0;
            node += 1;
        }
        self.nodes.drain(gone);
    }

    /// Puts another element in the place of the one at `index`, which is there.
    pub fn replace(&mut self, index: usize, element: &[u8], limits: &Limits) {
        let Some(at) = self.locate(index) else { return };
        let large = is_plain(element, limits);
        let node = &mut self.nodes[at.node];
        match &mut node.0 {
            NodeRepr::Packed { pack, .. } if !large && pack.has_room_for(element.len()) => {
                if let Some(pos) = pack.seek(at.offset as i64) {
                    pack.replace(pos, Element::of(element));
                }
            }
            NodeRepr::Packed { .. } => self.replace_by_node(at, Node::of(element, limits, 0), limits),
            NodeRepr::Plain(present) if large => *present = element.into(),
            NodeRepr::Plain(_) => {
                self.insert_at(at, Place::After, element, limits);
                self.delete_at(at);
            }
        }
    }

    /// Splits the element's node around it and puts a node of its own there.
    fn replace_by_node(&mut self, at: Cursor, new: Node, limits: &Limits) {
        let tail = self.nodes[at.node].edit(|pack| pack.split_off(at.offset + 1)).map(Node::packed);
        self.nodes.insert(at.node + 1, new);
        self.len += 1;
        if let Some(tail) = tail.filter(|tail| !tail.is_empty()) {
            self.nodes.insert(at.node + 2, tail);
        }
        let nodes_before = self.nodes.len();
        self.delete_at(at);
        if self.nodes.len() == nodes_before {
            self.merge_around(at.node + 1, limits);
        }
    }

    /// Inserts beside the first element equal to `pivot`; `false` if there is none.
    pub fn insert(&mut self, pivot: &[u8], place: Place, element: &[u8], limits: &Limits) -> bool {
        let found = self.nodes.iter().enumerate().find_map(|(node, content)| {
            let offset = content.find(pivot)?;
            Some(Cursor { node, offset })
        });
        match found {
            Some(at) => {
                self.insert_at(at, place, element, limits);
                true
            }
            None => false,
        }
    }

    fn insert_at(&mut self, at: Cursor, place: Place, element: &[u8], limits: &Limits) {
        self.len += 1;
        let (here, neighbour, at_edge) = match place {
            Place::Before => (at.node, at.node.checked_sub(1), at.offset == 0),
            Place::After => (at.node + 1, Some(at.node + 1), at.offset + 1 == self.nodes[at.node].len()),
        };
        let offset = at.offset + usize::from(place == Place::After);
        if self.nodes[at.node].has_room_for(element, limits) {
            self.nodes[at.node].edit(|pack| insert_into_pack(pack, offset, element));
            return;
        }
        if !at_edge {
            return self.split_and_insert(at.node, offset, place, element, limits);
        }
        match neighbour.and_then(|index| self.nodes.get_mut(index)) {
            Some(node) if node.has_room_for(element, limits) => {
                node.edit(|pack| match place {
                    Place::Before => pack.push_back(element),
                    Place::After => pack.push_front(element),
                });
            }
            _ => self.nodes.insert(here, Node::of(element, limits, 0)),
        }
    }

    /// The node is full: cut it at `offset` and let the element join the part that stock lets it join.
    fn split_and_insert(
        &mut self,
        node: usize,
        offset: usize,
        place: Place,
        element: &[u8],
        limits: &Limits,
    ) {
        let Some(tail) = self.nodes[node].edit(|pack| pack.split_off(offset)) else { return };
        self.nodes.insert(node + 1, Node::packed(tail));
        if is_plain(element, limits) {
            self.nodes.insert(node + 1, Node::plain(element));
            return;
        }
        match place {
            Place::Before => {
                self.nodes[node].edit(|pack| pack.push_back(element));
                self.merge_around(node + 1, limits);
            }
            Place::After => {
                self.nodes[node + 1].edit(|pack| pack.push_front(element));
                self.merge_around(node, limits);
            }
        }
    }

    /// Merges small nodes about `center`: the two before it, the two after it, then it with its neighbours.
    fn merge_around(&mut self, center: usize, limits: &Limits) {
        let mut center = center;
        if center >= 2 && self.merge_with_next(center - 2, limits) {
            center -= 1;
        }
        self.merge_with_next(center + 1, limits);
        if center >= 1 && self.merge_with_next(center - 1, limits) {
            center -= 1;
        }
        self.merge_with_next(center, limits);
    }

    fn merge_with_next(&mut self, node: usize, limits: &Limits) -> bool {
        let (Some(left), Some(right)) = (self.nodes.get(node), self.nodes.get(node + 1)) else {
            return false;
        };
        if !left.may_merge_with(right, limits) {
            return false;
        }
        if let Some(Node(NodeRepr::Packed { pack: right, .. })) = self.nodes.remove(node + 1) {
            self.nodes[node].edit(|pack| pack.append(&right));
        }
        true
    }

    /// Removes up to `most` elements equal to `element`, from one end on.
    pub fn remove(&mut self, from: End, most: usize, element: &[u8]) -> usize {
        let mut removed = 0;
        let mut remove_in = |node: &mut Node| {
            let went = match &mut node.0 {
                _ if removed == most => 0,
                NodeRepr::Plain(present) => usize::from(**present == *element),
                NodeRepr::Packed { .. } => {
                    node.edit(|pack| remove_from_pack(pack, from, most - removed, element)).unwrap_or(0)
                }
            };
            removed += went;
            // A plain node that matched is to go, as is a listpack without elements.
            went > 0 && (node.is_empty() || node.pack().is_none())
        };
        let mut emptied: Vec<bool> = match from {
            End::Head => self.nodes.iter_mut().map(&mut remove_in).collect(),
            End::Tail => self.nodes.iter_mut().rev().map(&mut remove_in).collect(),
        };
        if from == End::Tail {
            emptied.reverse();
        }
        let mut emptied = emptied.into_iter();
        self.nodes.retain(|_| !emptied.next().unwrap_or(false));
        self.len -= removed;
        removed
    }
}

fn insert_into_pack(pack: &mut Listpack, index: usize, element: &[u8]) {
    match pack.seek(index as i64) {
        Some(pos) => pack.insert_before(pos, Element::of(element)),
        None => pack.push_back(element),
    }
}

/// Removes up to `most` elements equal to `element` from a listpack, from one end on.
pub fn remove_from_pack(pack: &mut Listpack, from: End, most: usize, element: &[u8]) -> usize {
    let matches = pack.iter().filter(|present| present.is(element)).count();
    let removed = matches.min(most);
    // Of the matches, those with these numbers go.
    let gone = match from {
        End::Head => 0..removed,
        End::Tail => matches - removed..matches,
    };
    if removed > 0 {
        let mut number = 0;
        pack.retain(|_, present| {
            if !present.is(element) {
                return true;
            }
            number += 1;
            !gone.contains(&(number - 1))
        });
    }
    removed
}

/// The place of the element at `offset` of a listpack node, for iterators.
pub fn seek_in(node: &Node, offset: usize) -> Option<(&Listpack, Pos)> {
    let pack = node.pack()?;
    Some((pack, pack.seek(offset as i64)?))
}
