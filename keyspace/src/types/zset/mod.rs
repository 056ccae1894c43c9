//! Sorted sets.
//!
//! | encoding | what | when |
//! |---|---|---|
//! | `listpack` | member, score, member, score … in order | within the zset-max-listpack limits |
//! | `skiplist` | an order-statistic tree and an index of its members | beyond |
//!
//! The second one is reported by stock's name. Elements are ordered by score, and by their bytes where
//! scores are equal. Everything about ranges goes through ranks: [`ZSetValue::ranks_by_score`] and
//! [`ZSetValue::ranks_by_lex`] turn a range into ranks, which can be counted, walked from both ends, or
//! removed.

mod index;
mod leaf;
mod pack;
mod range;
mod tree;

pub use range::{LexBound, LexRange, ScoreRange};

use super::pairs::{Pairs, check_unique};
use super::random::distinct_indices;
use super::{Corrupt, Limits};
use crate::hash::hash;
use crate::listpack::{Element, Listpack, MAX_SAFE_BYTES};
use std::fmt;
use std::ops::Range;
use tree::{At, Bound, Spot, Tree};

#[derive(Clone, Debug)]
pub struct ZSetValue {
    repr: Repr,
}

#[derive(Clone, Debug)]
enum Repr {
    Listpack(Listpack),
    Tree(Box<Tree>),
}

/// What an RDB codec may look at. The elements of a tree come from [`ZSetValue::iter`].
pub enum ZSetEncoding<'a> {
    Listpack(&'a Listpack),
    Tree,
}

/// A member and its score.
pub type Scored<'a> = (Element<'a>, f64);

/// The conditions of ZADD.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct AddOptions {
    /// Add only: leave members that are there alone.
    pub nx: bool,
    /// Update only: add no member.
    pub xx: bool,
    /// Update only to a greater score.
    pub gt: bool,
    /// Update only to a lesser score.
    pub lt: bool,
    /// The score is added to the present one.
    pub incr: bool,
}

/// What ZADD did to a member. The score is the one it has now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Added {
    New(f64),
    Updated(f64),
    /// The member had this score already.
    Unchanged(f64),
    /// A condition did not hold.
    Skipped,
}

/// A score, or the sum of two, is not a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotANumber;

impl fmt::Display for NotANumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("resulting score is not a number (NaN)")
    }
}

impl std::error::Error for NotANumber {}

fn short_hash(member: &[u8]) -> u32 {
    hash(member) as u32
}

impl Default for ZSetValue {
    fn default() -> Self {
        ZSetValue { repr: Repr::Listpack(Listpack::new()) }
    }
}

impl ZSetValue {
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty set about to be given so many members, the longest of so many bytes (0: not known).
    pub fn with_hints(len: usize, longest_bytes: usize, limits: &Limits) -> Self {
        let mut zset = ZSetValue::new();
        if len > limits.zset_max_listpack_entries || longest_bytes > limits.zset_max_listpack_value_bytes {
            zset.convert_to_tree();
        }
        zset
    }

    pub fn encoding(&self) -> ZSetEncoding<'_> {
        match &self.repr {
            Repr::Listpack(pack) => ZSetEncoding::Listpack(pack),
            Repr::Tree(_) => ZSetEncoding::Tree,
        }
    }

    pub fn encoding_name(&self) -> &'static str {
        match self.repr {
            Repr::Listpack(_) => "listpack",
            Repr::Tree(_) => "skiplist",
        }
    }

    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Listpack(pack) => pack.len() / 2,
            Repr::Tree(tree) => tree.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match &self.repr {
            Repr::Listpack(pack) => pack.is_empty(),
            Repr::Tree(tree) => tree.len() == 0,
        }
    }

    /// Heap bytes, as far as they are this value's own.
    pub fn memory_bytes(&self) -> usize {
        match &self.repr {
            Repr::Listpack(pack) => pack.capacity(),
            Repr::Tree(tree) => size_of::<Tree>() + tree.memory_bytes(),
        }
    }

    /// Allocations that dropping the value frees.
    pub fn free_effort(&self) -> usize {
        match &self.repr {
            Repr::Listpack(_) => 1,
            Repr::Tree(tree) => 1 + 4 * tree.leaf_count(),
        }
    }
}

// ---- Building from stored elements, conversions ----------------------------------------------------------

impl ZSetValue {
    /// Takes a stored listpack. Corrupt are: a member that is there twice, an odd count, no element, a score
    /// that is not a number. Elements out of order are put in order.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Self, Corrupt> {
        check_unique(&pack, 2)?;
        let (mut in_order, mut last) = (true, None::<(f64, Vec<u8>)>);
        for (member, score) in Pairs::of(&pack) {
            let (member, score) = (member.to_vec(), pack::score_of(score));
            if score.is_nan() {
                return Err(Corrupt { offset: 0 });
            }
            let at = At(score, &member);
            in_order &= last.as_ref().is_none_or(|(before, held)| at.is_before(*before, || held));
            last = Some((score, member));
        }
        let mut zset = ZSetValue { repr: Repr::Listpack(pack) };
        if zset.len() > limits.zset_max_listpack_entries || !in_order {
            zset.convert_to_tree();
        }
        if !in_order {
            zset.compact(limits);
        }
        Ok(zset)
    }

    /// Before `count` members are added at once.
    pub fn expect(&mut self, count: usize, limits: &Limits) {
        if count > limits.zset_max_listpack_entries {
            self.convert_to_tree();
        }
    }

    fn convert_to_tree(&mut self) {
        let Repr::Listpack(pack) = &self.repr else { return };
        let mut tree = Box::<Tree>::default();
        for (member, score) in Pairs::of(pack) {
            let member = member.to_text();
            tree.insert(pack::score_of(score), short_hash(&member), &member);
        }
        self.repr = Repr::Tree(tree);
    }

    /// Makes a listpack of a set that fits one: results that were built (ZUNIONSTORE, loading) end so.
    pub fn compact(&mut self, limits: &Limits) {
        let Repr::Tree(tree) = &self.repr else { return };
        if tree.len() > limits.zset_max_listpack_entries {
            return;
        }
        let lens = tree.iter(0..tree.len()).map(|(member, _)| member.len());
        let (longest, total) =
            lens.fold((0, 0usize), |(longest, total), len| (len.max(longest), total + len));
        if longest > limits.zset_max_listpack_value_bytes || total > MAX_SAFE_BYTES {
            return;
        }
        let mut pack = Listpack::new();
        tree.iter(0..tree.len()).for_each(|(member, score)| pack::push(&mut pack, member, score));
        self.repr = Repr::Listpack(pack);
    }
}

// ---- Single members --------------------------------------------------------------------------------------

impl ZSetValue {
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.find(member).map(|(score, _)| score)
    }

    /// A member's score, and where a tree keeps it.
    fn find(&self, member: &[u8]) -> Option<(f64, Option<Spot>)> {
        match &self.repr {
            Repr::Listpack(pack) => pack::find(pack, member).map(|(_, score)| (score, None)),
            Repr::Tree(tree) => {
                let spot = tree.find(short_hash(member), member)?;
                Some((tree.score(spot), Some(spot)))
            }
        }
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        self.score(member).is_some()
    }

    /// Adds a member, or gives it another score, as the options allow.
    pub fn add(
        &mut self,
        member: &[u8],
        score: f64,
        options: AddOptions,
        limits: &Limits,
    ) -> Result<Added, NotANumber> {
        if score.is_nan() {
            return Err(NotANumber);
        }
        let Some((present, spot)) = self.find(member) else {
            if options.xx {
                return Ok(Added::Skipped);
            }
            self.insert_new(member, score, limits);
            return Ok(Added::New(score));
        };
        if options.nx {
            return Ok(Added::Skipped);
        }
        let score = if options.incr { present + score } else { score };
        if score.is_nan() {
            return Err(NotANumber);
        }
        if (options.lt && score >= present) || (options.gt && score <= present) {
            return Ok(Added::Skipped);
        }
        if score == present {
            return Ok(Added::Unchanged(score));
        }
        self.update(member, spot, score);
        Ok(Added::Updated(score))
    }

    /// Adds a member, or gives it another score; `true` if it is new. The score is a number.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &Limits) -> bool {
        matches!(self.add(member, score, AddOptions::default(), limits), Ok(Added::New(_)))
    }

    fn insert_new(&mut self, member: &[u8], score: f64, limits: &Limits) {
        if let Repr::Listpack(pack) = &mut self.repr {
            let fits = pack.len() / 2 < limits.zset_max_listpack_entries
                && member.len() <= limits.zset_max_listpack_value_bytes
                && pack.has_room_for(member.len());
            if fits {
                return pack::insert(pack, member, score);
            }
            self.convert_to_tree();
        }
        if let Repr::Tree(tree) = &mut self.repr {
            tree.insert(score, short_hash(member), member);
        }
    }

    fn update(&mut self, member: &[u8], spot: Option<Spot>, score: f64) {
        match (&mut self.repr, spot) {
            (Repr::Tree(tree), Some(spot)) => tree.update(spot, score, member),
            (Repr::Tree(_), None) => {}
            (Repr::Listpack(pack), _) => {
                pack::remove(pack, member);
                pack::insert(pack, member, score);
            }
        }
    }

    /// Removes a member and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let (score, spot) = self.find(member)?;
        match (&mut self.repr, spot) {
            (Repr::Tree(tree), Some(spot)) => tree.remove(spot, member),
            (Repr::Tree(_), None) => {}
            (Repr::Listpack(pack), _) => pack::remove(pack, member),
        }
        Some(score)
    }

    /// A member's place in the order, counted from the lowest, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.repr {
            Repr::Listpack(pack) => {
                let rank = Pairs::of(pack).position(|(held, _)| held.is(member))?;
                Some((rank, self.score(member)?))
            }
            Repr::Tree(tree) => {
                let score = self.score(member)?;
                Some((tree.rank_of(&At(score, member)), score))
            }
        }
    }
}

// ---- Ranges ----------------------------------------------------------------------------------------------

impl ZSetValue {
    fn rank_of(&self, bound: &impl Bound) -> usize {
        match &self.repr {
            Repr::Listpack(pack) => pack::rank_of(pack, bound),
            Repr::Tree(tree) => tree.rank_of(bound),
        }
    }

    /// The ranks of the elements whose score is in range.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let start = self.rank_of(&range.start());
        start..self.rank_of(&range.end()).max(start)
    }

    /// The ranks of the elements whose member is in range. All scores have to be equal.
    pub fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        let start = self.rank_of(&range.start());
        start..self.rank_of(&range.end()).max(start)
    }

    /// All elements in order, from either end.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.len())
    }

    /// The elements of these ranks in order, from either end. For an inclusive range of possibly negative
    /// ranks see [`index_range`](super::list::index_range).
    pub fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        Iter(match &self.repr {
            Repr::Listpack(pack) => IterRepr::Listpack(pack::iter(pack, ranks)),
            Repr::Tree(tree) => IterRepr::Tree(tree.iter(ranks)),
        })
    }

    pub fn by_rank(&self, rank: usize) -> Option<Scored<'_>> {
        if rank >= self.len() {
            return None;
        }
        self.range(rank..rank + 1).next()
    }

    /// Removes the elements of these ranks.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        match &mut self.repr {
            Repr::Listpack(pack) => pack.delete_range(2 * ranks.start, 2 * ranks.len()),
            Repr::Tree(tree) => tree.remove_ranks(ranks),
        }
    }

    /// Visits a part of the elements and returns the cursor of the next part, 0 at the end (ZSCAN).
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Element<'_>, f64)) -> u64 {
        match &self.repr {
            Repr::Listpack(_) => {
                self.iter().for_each(|(member, score)| visit(member, score));
                0
            }
            Repr::Tree(tree) => tree.scan(cursor, |member, score| visit(Element::Bytes(member), score)),
        }
    }
}

/// Members and scores in order, from either end.
#[derive(Clone)]
pub struct Iter<'a>(IterRepr<'a>);

#[derive(Clone)]
enum IterRepr<'a> {
    Listpack(Pairs<'a>),
    Tree(tree::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Scored<'a>;

    fn next(&mut self) -> Option<Scored<'a>> {
        match &mut self.0 {
            IterRepr::Listpack(pairs) => pairs.next().map(|(member, score)| (member, pack::score_of(score))),
            IterRepr::Tree(iter) => iter.next().map(|(member, score)| (Element::Bytes(member), score)),
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            IterRepr::Listpack(pairs) => {
                pairs.next_back().map(|(member, score)| (member, pack::score_of(score)))
            }
            IterRepr::Tree(iter) => iter.next_back().map(|(member, score)| (Element::Bytes(member), score)),
        }
    }
}

// ---- Chance ----------------------------------------------------------------------------------------------

impl ZSetValue {
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<Scored<'_>> {
        self.by_rank(rng.usize(..self.len().max(1)))
    }

    /// `count` draws, each of any element.
    pub fn random_with_repeats(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<Scored<'_>> {
        if let Repr::Listpack(_) = &self.repr {
            let elements: Vec<_> = self.iter().collect();
            return (0..count).filter_map(|_| rng.choice(&elements).copied()).collect();
        }
        (0..count).filter_map(|_| self.random(rng)).collect()
    }

    /// Up to `count` different elements, in their order.
    pub fn random_distinct(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<Scored<'_>> {
        let chosen = distinct_indices(self.len(), count, rng);
        if chosen.len() < self.len() / 16 {
            return chosen.into_iter().filter_map(|rank| self.by_rank(rank)).collect();
        }
        let mut chosen = chosen.into_iter().peekable();
        let elements = self.iter().enumerate();
        elements.filter(|(rank, _)| chosen.next_if_eq(rank).is_some()).map(|(_, element)| element).collect()
    }
}

#[cfg(test)]
mod tests;
