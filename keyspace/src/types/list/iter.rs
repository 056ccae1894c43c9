//! Walking a list from both ends.

use super::quicklist::{Cursor, Node, Quicklist, seek_in};
use crate::listpack::{self, Element, Listpack};
use std::collections::vec_deque;
use std::ops::Range;

/// Elements of a list, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    front: NodeIter<'a>,
    /// Nodes that neither end has entered.
    middle: vec_deque::Iter<'a, Node>,
    back: NodeIter<'a>,
    rest: usize,
}

/// Elements of a part of one node.
#[derive(Clone)]
enum NodeIter<'a> {
    Packed(listpack::Iter<'a>),
    Plain(Option<&'a [u8]>),
}

impl<'a> NodeIter<'a> {
    const EMPTY: NodeIter<'static> = NodeIter::Plain(None);

    fn whole(node: &'a Node) -> Self {
        match node.pack() {
            Some(pack) => NodeIter::Packed(pack.iter()),
            None => NodeIter::Plain(Some(node.as_bytes())),
        }
    }

    /// From the element at `offset` to the end.
    fn from(node: &'a Node, offset: usize) -> Self {
        match seek_in(node, offset) {
            Some((pack, pos)) => NodeIter::Packed(pack.iter_from(pos)),
            None => Self::whole(node),
        }
    }

    /// From the front through the element at `offset`.
    fn through(node: &'a Node, offset: usize) -> Self {
        match seek_in(node, offset) {
            Some((pack, pos)) => NodeIter::Packed(pack.iter_through(pos)),
            None => Self::whole(node),
        }
    }
}

impl<'a> Iterator for NodeIter<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        match self {
            NodeIter::Packed(iter) => iter.next(),
            NodeIter::Plain(element) => element.take().map(Element::Bytes),
        }
    }
}

impl DoubleEndedIterator for NodeIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            NodeIter::Packed(iter) => iter.next_back(),
            NodeIter::Plain(element) => element.take().map(Element::Bytes),
        }
    }
}

impl<'a> Iter<'a> {
    pub(super) fn over_pack(pack: &'a Listpack, indices: Range<usize>) -> Self {
        let rest = indices.len();
        let front = match (pack.seek(indices.start as i64), pack.seek(indices.end as i64 - 1)) {
            (Some(first), Some(last)) if rest > 0 => NodeIter::Packed(pack.iter_between(first, last)),
            _ => NodeIter::EMPTY,
        };
        Iter { front, middle: vec_deque::Iter::default(), back: NodeIter::EMPTY, rest }
    }

    pub(super) fn over_quicklist(quick: &'a Quicklist, indices: Range<usize>) -> Self {
        let rest = indices.len();
        let ends = (rest > 0).then(|| (quick.locate(indices.start), quick.locate(indices.end - 1)));
        let Some((Some(first), Some(last))) = ends else {
            return Iter {
                front: NodeIter::EMPTY,
                middle: vec_deque::Iter::default(),
                back: NodeIter::EMPTY,
                rest: 0,
            };
        };
        Self::between(quick, first, last, rest)
    }

    fn between(quick: &'a Quicklist, first: Cursor, last: Cursor, rest: usize) -> Self {
        let nodes = quick.nodes();
        if first.node == last.node {
            let node = &nodes[first.node];
            let front = match (seek_in(node, first.offset), seek_in(node, last.offset)) {
                (Some((pack, from)), Some((_, to))) => NodeIter::Packed(pack.iter_between(from, to)),
                _ => NodeIter::whole(node),
            };
            return Iter { front, middle: vec_deque::Iter::default(), back: NodeIter::EMPTY, rest };
        }
        let front = NodeIter::from(&nodes[first.node], first.offset);
        let middle = nodes.range(first.node + 1..last.node);
        Iter { front, middle, back: NodeIter::through(&nodes[last.node], last.offset), rest }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        loop {
            if let Some(element) = self.front.next() {
                self.rest = self.rest.saturating_sub(1);
                return Some(element);
            }
            match self.middle.next() {
                Some(node) => self.front = NodeIter::whole(node),
                None => {
                    let element = self.back.next()?;
                    self.rest = self.rest.saturating_sub(1);
                    return Some(element);
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest, Some(self.rest))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(element) = self.back.next_back() {
                self.rest = self.rest.saturating_sub(1);
                return Some(element);
            }
            match self.middle.next_back() {
                Some(node) => self.back = NodeIter::whole(node),
                None => {
                    let element = self.front.next_back()?;
                    self.rest = self.rest.saturating_sub(1);
                    return Some(element);
                }
            }
        }
    }
}

impl ExactSizeIterator for Iter<'_> {}
