//! Lists.
//!
//! | encoding | what | when |
//! |---|---|---|
//! | `listpack` | one listpack | it fits one node of `list-max-listpack-size` |
//! | `quicklist` | a deque of listpacks | beyond; back at half of the limit, so that lists do not flip |

mod iter;
mod quicklist;

pub use iter::Iter;
pub use quicklist::{Node, Quicklist};

use super::{Corrupt, Limits};
use crate::listpack::{Element, Listpack};
use crate::types::list::quicklist::NodeLimit;
use std::ops::Range;

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Head,
    Tail,
}

/// Where LINSERT puts an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Before,
    After,
}

#[derive(Clone, Debug)]
pub struct ListValue {
    repr: Repr,
}

#[derive(Clone, Debug)]
enum Repr {
    Listpack(Listpack),
    Quicklist(Box<Quicklist>),
}

/// What an RDB codec may look at.
pub enum ListEncoding<'a> {
    Listpack(&'a Listpack),
    Quicklist(&'a Quicklist),
}

impl Default for ListValue {
    fn default() -> Self {
        ListValue { repr: Repr::Listpack(Listpack::new()) }
    }
}

impl ListValue {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn encoding(&self) -> ListEncoding<'_> {
        match &self.repr {
            Repr::Listpack(pack) => ListEncoding::Listpack(pack),
            Repr::Quicklist(quick) => ListEncoding::Quicklist(quick),
        }
    }

    pub fn encoding_name(&self) -> &'static str {
        match self.repr {
            Repr::Listpack(_) => "listpack",
            Repr::Quicklist(_) => "quicklist",
        }
    }

    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Listpack(pack) => pack.len(),
            Repr::Quicklist(quick) => quick.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match &self.repr {
            Repr::Listpack(pack) => pack.is_empty(),
            Repr::Quicklist(quick) => quick.is_empty(),
        }
    }

    /// Heap bytes, as far as they are this value's own.
    pub fn memory_bytes(&self) -> usize {
        match &self.repr {
            Repr::Listpack(pack) => pack.capacity(),
            Repr::Quicklist(quick) => quick.memory_bytes(),
        }
    }

    /// Allocations that dropping the value frees.
    pub fn free_effort(&self) -> usize {
        match &self.repr {
            Repr::Listpack(_) => 1,
            Repr::Quicklist(quick) => 1 + quick.nodes().len(),
        }
    }
}

// ---- Building from stored nodes --------------------------------------------------------------------------

impl ListValue {
    /// Builds a list from the nodes of an RDB file, and chooses the encoding as stock does after loading.
    /// Empty listpacks are dropped.
    pub fn from_nodes(nodes: impl IntoIterator<Item = Node>, limits: &Limits) -> Self {
        let mut quick = Quicklist::default();
        for node in nodes {
            quick.push_node(node);
        }
        let mut list = ListValue { repr: Repr::Quicklist(Box::new(quick)) };
        list.fit(limits);
        list
    }

    /// Builds a list from elements one by one (the oldest RDB types, SORT … STORE) and then chooses the
    /// encoding.
    pub fn from_elements<T: AsRef<[u8]>>(elements: impl IntoIterator<Item = T>, limits: &Limits) -> Self {
        let mut quick = Quicklist::default();
        for element in elements {
            quick.push(End::Tail, element.as_ref(), limits);
        }
        let mut list = ListValue { repr: Repr::Quicklist(Box::new(quick)) };
        list.fit(limits);
        list
    }

    /// Checks the bytes of one stored listpack node.
    pub fn node_from_bytes(bytes: Vec<u8>) -> Result<Node, Corrupt> {
        Listpack::from_bytes(bytes).map(Node::packed)
    }

    /// Chooses the encoding that fits a list just built.
    fn fit(&mut self, limits: &Limits) {
        self.shrink_to_listpack(NodeLimit::of(limits));
    }
}

// ---- Conversions -----------------------------------------------------------------------------------------

impl ListValue {
    /// Before `count` elements of `bytes` in all are added.
    fn before_growing(&mut self, bytes: usize, count: usize, limits: &Limits) {
        let Repr::Listpack(pack) = &mut self.repr else { return };
        let limit = NodeLimit::of(limits);
        if limit.is_exceeded(pack.byte_len().saturating_add(bytes), pack.len() + count) {
            let mut quick = Quicklist::default();
            quick.push_node(Node::packed(std::mem::take(pack)));
            self.repr = Repr::Quicklist(Box::new(quick));
        }
    }

    /// After elements went: half the limit, lest a list at the limit is converted to and fro.
    fn after_shrinking(&mut self, limits: &Limits) {
        self.shrink_to_listpack(NodeLimit::of(limits).halved());
    }

    fn shrink_to_listpack(&mut self, limit: NodeLimit) {
        let Repr::Quicklist(quick) = &mut self.repr else { return };
        if quick.is_empty() {
            self.repr = Repr::Listpack(Listpack::new());
        } else if let Some(pack) = quick.take_only_node(|node| limit.admits(node.byte_len(), node.len())) {
            self.repr = Repr::Listpack(pack);
        }
    }
}

// ---- Operations ------------------------------------------------------------------------------------------

impl ListValue {
    /// Adds elements one after the other: pushed to the head, the last one ends up first.
    pub fn push_all<T: AsRef<[u8]>>(&mut self, end: End, elements: &[T], limits: &Limits) {
        let bytes = elements.iter().map(|element| element.as_ref().len()).sum();
        self.before_growing(bytes, elements.len(), limits);
        for element in elements {
            self.push_unchecked(end, element.as_ref(), limits);
        }
    }

    pub fn push(&mut self, end: End, element: &[u8], limits: &Limits) {
        self.before_growing(element.len(), 1, limits);
        self.push_unchecked(end, element, limits);
    }

    fn push_unchecked(&mut self, end: End, element: &[u8], limits: &Limits) {
        match &mut self.repr {
            Repr::Listpack(pack) if end == End::Head => pack.push_front(element),
            Repr::Listpack(pack) => pack.push_back(element),
            Repr::Quicklist(quick) => quick.push(end, element, limits),
        }
    }

    pub fn pop(&mut self, end: End, limits: &Limits) -> Option<Vec<u8>> {
        let popped = match &mut self.repr {
            Repr::Listpack(pack) => {
                let pos = if end == End::Head { pack.first() } else { pack.last() }?;
                let element = pack.at(pos).to_vec();
                pack.delete(pos);
                element
            }
            Repr::Quicklist(quick) => quick.pop(end)?,
        };
        self.after_shrinking(limits);
        Some(popped)
    }

    /// The element at `index`; -1 is the last one.
    pub fn get(&self, index: i64) -> Option<Element<'_>> {
        match &self.repr {
            Repr::Listpack(pack) => pack.get(index),
            Repr::Quicklist(quick) => quick.get(absolute_index(index, quick.len())?),
        }
    }

    /// Replaces the element at `index`; `false` if there is none.
    pub fn set(&mut self, index: i64, element: &[u8], limits: &Limits) -> bool {
        self.before_growing(element.len(), 1, limits);
        let replaced = match &mut self.repr {
            Repr::Listpack(pack) => match pack.seek(index) {
                Some(pos) => {
                    pack.replace(pos, Element::of(element));
                    true
                }
                None => false,
            },
            Repr::Quicklist(quick) => match absolute_index(index, quick.len()) {
                Some(index) => {
                    quick.replace(index, element, limits);
                    true
                }
                None => false,
            },
        };
        if replaced {
            self.after_shrinking(limits);
        }
        replaced
    }

    /// Inserts beside the first element equal to `pivot`; `false` if there is none.
    pub fn insert(&mut self, pivot: &[u8], place: Place, element: &[u8], limits: &Limits) -> bool {
        self.before_growing(element.len(), 1, limits);
        match &mut self.repr {
            Repr::Listpack(pack) => {
                let Some(pos) = pack.find(pivot, 1) else { return false };
                match place {
                    Place::Before => pack.insert_before(pos, Element::of(element)),
                    Place::After => {
                        pack.insert_after(pos, Element::of(element));
                    }
                }
                true
            }
            Repr::Quicklist(quick) => quick.insert(pivot, place, element, limits),
        }
    }

    /// Removes elements equal to `element`: the first `count`, the last `-count`, or all for 0. Returns how
    /// many.
    pub fn remove(&mut self, count: i64, element: &[u8], limits: &Limits) -> usize {
        let most =
            if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
        let from = if count < 0 { End::Tail } else { End::Head };
        let removed = match &mut self.repr {
            Repr::Listpack(pack) => quicklist::remove_from_pack(pack, from, most, element),
            Repr::Quicklist(quick) => quick.remove(from, most, element),
        };
        if removed > 0 {
            self.after_shrinking(limits);
        }
        removed
    }

    /// Keeps the elements from `start` to `stop`, both included; negative ones count from the end. Returns
    /// how many went.
    pub fn trim(&mut self, start: i64, stop: i64, limits: &Limits) -> usize {
        let len = self.len();
        let kept = index_range(start, stop, len);
        match &mut self.repr {
            Repr::Listpack(pack) => {
                pack.delete_range(kept.end, len - kept.end);
                pack.delete_range(0, kept.start);
            }
            Repr::Quicklist(quick) => {
                quick.delete_range(kept.end, len - kept.end);
                quick.delete_range(0, kept.start);
            }
        }
        self.after_shrinking(limits);
        len - kept.len()
    }

    /// All elements, from either end.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// The elements at `indices` (see [`index_range`]), from either end.
    pub fn range(&self, indices: Range<usize>) -> Iter<'_> {
        match &self.repr {
            Repr::Listpack(pack) => Iter::over_pack(pack, indices),
            Repr::Quicklist(quick) => Iter::over_quicklist(quick, indices),
        }
    }
}

/// The index counted from the front, if it is within `len` elements.
fn absolute_index(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(i64::try_from(len).ok()?)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < len)
}

/// The indices an inclusive range of possibly negative indices names (LRANGE, LTRIM, ZRANGE): clipped, and
/// empty where it ends before it starts.
pub fn index_range(start: i64, stop: i64, len: usize) -> Range<usize> {
    let signed_len = i64::try_from(len).unwrap_or(i64::MAX);
    let absolute = |index: i64| if index < 0 { index.saturating_add(signed_len) } else { index };
    let (start, stop) = (absolute(start).max(0), absolute(stop).min(signed_len - 1));
    if start > stop {
        return 0..0;
    }
    start as usize..stop as usize + 1
}

#[cfg(test)]
mod tests;
