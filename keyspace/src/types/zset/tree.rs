//! The large sorted set: members in the order of score and bytes, with counts, so that ranks are cheap.
//!
//! ```text
//!  root      │ branch │ branch │ branch │ …                     grows as far as it has to
//!  branch    │ first score, count and number of each leaf │     up to 256 leaves
//!  leaf      │ scores, members │                              up to 64 members
//! ```
//!
//! Three levels are enough: a hundred million members make a root of some ten thousand branches, and passing
//! over their counts costs about what the walk down does. A leaf keeps its number when leaves come and go
//! before it, so the [`Index`] can say which leaf holds a member, and no member is stored twice.

use super::index::{Index, LeafId};
use super::leaf::Leaf;
use std::ops::Range;

const MAX_LEAVES: usize = 256;
/// Leaves are kept in blocks of this many, so that none of them ever moves.
const BLOCK: usize = 256;

/// A place in the order: the elements before it are those for which [`is_before`](Bound::is_before) holds.
pub trait Bound {
    /// Elements of another score lie before or after by that alone. `None` if scores do not matter.
    fn score(&self) -> Option<f64>;

    /// Whether an element of the bound's own score lies before this place. Some can tell without the member.
    fn is_passed_by<'a>(&self, member: impl FnOnce() -> &'a [u8]) -> bool;

    fn is_before<'a>(&self, score: f64, member: impl FnOnce() -> &'a [u8]) -> bool {
        match self.score() {
            Some(own) if own != score => score < own,
            _ => self.is_passed_by(member),
        }
    }

    /// Number of leading elements before this place, of some in order.
    fn partition<'a>(&self, scores: &[f64], member: impl Fn(usize) -> &'a [u8]) -> usize {
        // Searched by scores alone first, without a branch the processor has to guess.
        let (mut low, mut high) = match self.score() {
            None => (0, scores.len()),
            Some(own) => {
                let low = scores.partition_point(|score| *score < own);
                if scores.get(low) != Some(&own) {
                    return low;
                }
                // Mostly one element has it.
                let rest = &scores[low + 1..];
                let more = rest.first() == Some(&own);
                (low, low + 1 + if more { rest.partition_point(|score| *score == own) } else { 0 })
            }
        };
        while low < high {
            let middle = low + (high - low) / 2;
            if self.is_passed_by(|| member(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// The place of an element itself.
pub struct At<'m>(pub f64, pub &'m [u8]);

impl Bound for At<'_> {
    fn score(&self) -> Option<f64> {
        Some(self.0)
    }

    fn is_passed_by<'a>(&self, member: impl FnOnce() -> &'a [u8]) -> bool {
        member() < self.1
    }
}

#[derive(Clone, Default, Debug)]
struct Branch {
    leaves: Vec<LeafId>,
    /// First score of each leaf.
    firsts: Vec<f64>,
    /// Members of each leaf.
    counts: Vec<u32>,
    /// Members of all leaves.
    len: usize,
}

/// **Invariants:** no leaf and no branch is empty; firsts and counts are the leaves'; the index has exactly
/// one entry per member, with its leaf.
#[derive(Clone, Default, Debug)]
pub struct Tree {
    branches: Vec<Branch>,
    leaves: Leaves,
    index: Index,
    len: usize,
}

/// Where a member is kept, good until the tree changes. Says nothing about its rank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spot {
    leaf: LeafId,
    offset: usize,
    hash: u32,
}

/// Where an element is, or would be, in the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    branch: usize,
    slot: usize,
    offset: usize,
}

// ---- Looking ---------------------------------------------------------------------------------------------

impl Tree {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn leaf_count(&self) -> usize {
        self.branches.iter().map(|branch| branch.leaves.len()).sum()
    }

    /// Heap bytes. Leaves are sampled: looking at each of them would take as long as there are many.
    pub fn memory_bytes(&self) -> usize {
        const SAMPLES: usize = 16;
        let leaf_count = self.leaf_count();
        let branches: usize = self.branches.iter().map(|branch| branch.leaves.capacity() * 16).sum();
        let step = (leaf_count / SAMPLES).max(1);
        let ids = self.branches.iter().flat_map(|branch| &branch.leaves).step_by(step);
        let (samples, bytes) = ids
            .take(SAMPLES)
            .fold((0, 0), |(samples, bytes), &id| (samples + 1, bytes + self.leaves.get(id).memory_bytes()));
        self.index.memory_bytes()
            + self.leaves.memory_bytes()
            + self.branches.capacity() * size_of::<Branch>()
            + branches
            + bytes * leaf_count / samples.max(1)
    }

    fn leaf_at(&self, place: Place) -> &Leaf {
        self.leaves.get(self.branches[place.branch].leaves[place.slot])
    }

    /// Where a member is kept, if it is there.
    pub fn find(&self, hash: u32, member: &[u8]) -> Option<Spot> {
        self.index.find(hash).find_map(|leaf| {
            let offset = self.leaves.get(leaf).find(hash, member)?;
            Some(Spot { leaf, offset, hash })
        })
    }

    pub fn score(&self, spot: Spot) -> f64 {
        self.leaves.get(spot.leaf).score(spot.offset)
    }

    /// Number of elements before a place.
    pub fn rank_of(&self, bound: &impl Bound) -> usize {
        let Some(place) = self.locate(bound) else { return 0 };
        let branch = &self.branches[place.branch];
        let before: usize = self.branches[..place.branch].iter().map(|branch| branch.len).sum();
        before + branch.counts[..place.slot].iter().map(|&count| count as usize).sum::<usize>() + place.offset
    }

    /// The place in the last leaf that begins before it; `None` if the tree is empty.
    fn locate(&self, bound: &impl Bound) -> Option<Place> {
        let place = self.locate_leaf(bound)?;
        let leaf = self.leaf_at(place);
        Some(Place { offset: bound.partition(leaf.scores(), |offset| leaf.member(offset)), ..place })
    }

    /// As [`Tree::locate`], the leaf alone: its beginning.
    fn locate_leaf(&self, bound: &impl Bound) -> Option<Place> {
        let begin = |leaf: LeafId| self.leaves.get(leaf).member(0);
        let is_behind = |branch: &Branch| bound.is_before(branch.firsts[0], || begin(branch.leaves[0]));
        let branch_index = self.branches.partition_point(is_behind).saturating_sub(1);
        let branch = self.branches.get(branch_index)?;
        let slot = bound.partition(&branch.firsts, |slot| begin(branch.leaves[slot])).saturating_sub(1);
        Some(Place { branch: branch_index, slot, offset: 0 })
    }

    /// The place in the order of the member at `spot`.
    fn place_of(&self, spot: Spot, member: &[u8]) -> Option<Place> {
        let holds = |place: &Place| self.branches[place.branch].leaves[place.slot] == spot.leaf;
        let place = self.locate_leaf(&At(self.score(spot), member))?;
        // The first member of a leaf does not lie behind the leaf's beginning, so the one before was found.
        let place = if holds(&place) { Some(place) } else { self.next_leaf(place).filter(holds) };
        place.map(|place| Place { offset: spot.offset, ..place })
    }

    fn next_leaf(&self, place: Place) -> Option<Place> {
        if place.slot + 1 < self.branches[place.branch].leaves.len() {
            return Some(Place { slot: place.slot + 1, offset: 0, ..place });
        }
        (place.branch + 1 < self.branches.len()).then_some(Place {
            branch: place.branch + 1,
            slot: 0,
            offset: 0,
        })
    }

    fn previous_leaf(&self, place: Place) -> Option<Place> {
        let (branch, slot) = match place.slot.checked_sub(1) {
            Some(slot) => (place.branch, slot),
            None => {
                let branch = place.branch.checked_sub(1)?;
                (branch, self.branches[branch].leaves.len() - 1)
            }
        };
        Some(Place { branch, slot, offset: self.branches[branch].counts[slot] as usize })
    }

    fn locate_rank(&self, rank: usize) -> Option<Place> {
        let mut rest = rank;
        for (branch_index, branch) in self.branches.iter().enumerate() {
            if rest >= branch.len {
                rest -= branch.len;
                continue;
            }
            for (slot, &count) in branch.counts.iter().enumerate() {
                if rest < count as usize {
                    return Some(Place { branch: branch_index, slot, offset: rest });
                }
                rest -= count as usize;
            }
        }
        None
    }

    /// The elements of these ranks, from either end.
    pub fn iter(&self, ranks: Range<usize>) -> Iter<'_> {
        let ranks = ranks.start..ranks.end.min(self.len);
        let none = Place { branch: 0, slot: 0, offset: 0 };
        let front = self.locate_rank(ranks.start).unwrap_or(none);
        let back = ranks.end.checked_sub(1).and_then(|last| self.locate_rank(last)).unwrap_or(none);
        Iter { tree: self, front, back: Place { offset: back.offset + 1, ..back }, rest: ranks.len() }
    }

    /// Visits a part of the members and returns the cursor of the next part, 0 at the end.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        self.index.scan(cursor, |hash, id| {
            let leaf = self.leaves.get(id);
            let of_hash = leaf.hashes().iter().enumerate().filter(|&(_, &held)| held == hash);
            of_hash.for_each(|(offset, _)| visit(leaf.member(offset), leaf.score(offset)));
        })
    }
}

/// Elements in order, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    tree: &'a Tree,
    front: Place,
    /// Behind the last element.
    back: Place,
    rest: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.checked_sub(1)?;
        let mut leaf = self.tree.leaf_at(self.front);
        if self.front.offset == leaf.len() {
            self.front = self.tree.next_leaf(self.front)?;
            leaf = self.tree.leaf_at(self.front);
        }
        let offset = self.front.offset;
        self.front.offset += 1;
        Some((leaf.member(offset), leaf.score(offset)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest, Some(self.rest))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.checked_sub(1)?;
        if self.back.offset == 0 {
            self.back = self.tree.previous_leaf(self.back)?;
        }
        self.back.offset -= 1;
        let leaf = self.tree.leaf_at(self.back);
        Some((leaf.member(self.back.offset), leaf.score(self.back.offset)))
    }
}

// ---- Changing --------------------------------------------------------------------------------------------

impl Tree {
    /// Adds a member that is not there.
    pub fn insert(&mut self, score: f64, hash: u32, member: &[u8]) {
        self.put_in(score, hash, member, None);
    }

    /// Puts a member into the leaf where it belongs. The index has it already, in the leaf `was_in`, or not yet.
    fn put_in(&mut self, score: f64, hash: u32, member: &[u8], was_in: Option<LeafId>) {
        let place = self.locate(&At(score, member)).unwrap_or_else(|| self.plant());
        let id = self.branches[place.branch].leaves[place.slot];
        self.leaves.get_mut(id).insert(place.offset, score, hash, member);
        match was_in {
            None => self.index.insert(hash, id),
            Some(old) if old != id => self.index.repoint(hash, old, id),
            Some(_) => {}
        }
        self.len += 1;
        self.branches[place.branch].len += 1;
        self.refresh(place.branch, place.slot);
        if self.leaves.get(id).is_full() {
            self.split_leaf(place);
        }
    }

    /// The first leaf of an empty tree.
    fn plant(&mut self) -> Place {
        let id = self.leaves.add(Leaf::default());
        self.branches.push(Branch { leaves: vec![id], firsts: vec![0.0], counts: vec![0], len: 0 });
        Place { branch: 0, slot: 0, offset: 0 }
    }

    /// Gives the member at `spot` another score.
    pub fn update(&mut self, spot: Spot, score: f64, member: &[u8]) {
        if self.stays_in_place(spot, score, member) {
            return self.leaves.get_mut(spot.leaf).set_score(spot.offset, score);
        }
        // The index is told once, of the new leaf. Until then it names the old one, gone or not.
        if let Some(place) = self.place_of(spot, member) {
            self.take_out(place, 1);
            self.put_in(score, spot.hash, member, Some(spot.leaf));
        }
    }

    /// Most changes of a score are small: the neighbours in the leaf stay neighbours, and nothing moves.
    fn stays_in_place(&self, Spot { leaf, offset, .. }: Spot, score: f64, member: &[u8]) -> bool {
        let leaf = self.leaves.get(leaf);
        let at = At(score, member);
        offset > 0
            && offset + 1 < leaf.len()
            && at.is_before(leaf.score(offset - 1), || leaf.member(offset - 1))
            && !at.is_before(leaf.score(offset + 1), || leaf.member(offset + 1))
    }

    /// Removes the member at `spot`.
    pub fn remove(&mut self, spot: Spot, member: &[u8]) {
        if let Some(place) = self.place_of(spot, member) {
            self.remove_at(place, 1);
        }
    }

    /// Removes the elements of these ranks.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        let mut rest = ranks.len();
        while rest > 0
            && let Some(place) = self.locate_rank(ranks.start)
        {
            let count = rest.min(self.leaf_at(place).len() - place.offset);
            self.remove_at(place, count);
            rest -= count;
        }
    }

    /// Removes `count` elements of one leaf.
    fn remove_at(&mut self, place: Place, count: usize) {
        let id = self.branches[place.branch].leaves[place.slot];
        let leaf = self.leaves.get(id);
        for offset in place.offset..place.offset + count {
            self.index.remove(leaf.hash(offset), id);
        }
        self.take_out(place, count);
    }

    /// Takes `count` elements out of a leaf. The index still has them.
    fn take_out(&mut self, place: Place, count: usize) {
        let id = self.branches[place.branch].leaves[place.slot];
        let leaf = self.leaves.get_mut(id);
        leaf.remove(place.offset, count);
        self.len -= count;
        self.branches[place.branch].len -= count;
        if leaf.len() == 0 {
            self.leaves.remove(id);
            self.drop_slot(place.branch, place.slot);
        } else {
            self.refresh(place.branch, place.slot);
            self.merge_leaf(place.branch, place.slot);
        }
        self.merge_branch(place.branch);
    }

    /// Takes over what a branch knows of a leaf that has changed.
    fn refresh(&mut self, branch: usize, slot: usize) {
        let branch = &mut self.branches[branch];
        let leaf = self.leaves.get(branch.leaves[slot]);
        branch.firsts[slot] = leaf.score(0);
        branch.counts[slot] = leaf.len() as u32;
    }

    fn drop_slot(&mut self, branch: usize, slot: usize) {
        let branch = &mut self.branches[branch];
        branch.leaves.remove(slot);
        branch.firsts.remove(slot);
        branch.counts.remove(slot);
    }

    fn split_leaf(&mut self, place: Place) {
        let branch = &self.branches[place.branch];
        let id = branch.leaves[place.slot];
        let leaf = self.leaves.get_mut(id);
        // Sets that are filled in ascending order get full leaves.
        let is_tail = place.slot + 1 == branch.leaves.len() && place.branch + 1 == self.branches.len();
        let ascending = is_tail && place.offset + 1 == leaf.len();
        let middle = if ascending { leaf.len() - 1 } else { leaf.len() / 2 };
        let tail = leaf.split_off(middle);
        let tail_hashes = tail.hashes().to_vec();
        let tail_id = self.leaves.add(tail);
        tail_hashes.into_iter().for_each(|hash| self.index.repoint(hash, id, tail_id));

        let branch = &mut self.branches[place.branch];
        branch.leaves.insert(place.slot + 1, tail_id);
        branch.firsts.insert(place.slot + 1, 0.0);
        branch.counts.insert(place.slot + 1, 0);
        self.refresh(place.branch, place.slot);
        self.refresh(place.branch, place.slot + 1);
        if self.branches[place.branch].leaves.len() > MAX_LEAVES {
            self.split_branch(place.branch, ascending);
        }
    }

    fn split_branch(&mut self, index: usize, ascending: bool) {
        let branch = &mut self.branches[index];
        let middle = if ascending { branch.leaves.len() - 1 } else { branch.leaves.len() / 2 };
        let mut tail = Branch {
            leaves: branch.leaves.split_off(middle),
            firsts: branch.firsts.split_off(middle),
            counts: branch.counts.split_off(middle),
            len: 0,
        };
        tail.len = tail.counts.iter().map(|&count| count as usize).sum();
        branch.len -= tail.len;
        self.branches.insert(index + 1, tail);
    }

    /// Joins a leaf that has become small with a neighbour, if both fit one.
    fn merge_leaf(&mut self, branch: usize, slot: usize) {
        let leaves = &self.branches[branch].leaves;
        let may_merge = |left: usize| {
            let (left, right) = (leaves.get(left), leaves.get(left + 1));
            let ids = left.copied().zip(right.copied());
            ids.filter(|&(left, right)| self.leaves.get(left).may_merge_with(self.leaves.get(right)))
        };
        let with_next = may_merge(slot).map(|ids| (slot, ids));
        let with_previous = || slot.checked_sub(1).and_then(|slot| may_merge(slot).map(|ids| (slot, ids)));
        let Some((left_slot, (left, right))) = with_next.or_else(with_previous) else { return };

        let taken = self.leaves.remove(right);
        taken.hashes().iter().for_each(|&hash| self.index.repoint(hash, right, left));
        self.leaves.get_mut(left).append(&taken);
        self.drop_slot(branch, left_slot + 1);
        self.refresh(branch, left_slot);
    }

    /// Drops a branch without leaves; joins one that has become small with the next.
    fn merge_branch(&mut self, index: usize) {
        let branch = &self.branches[index];
        if branch.leaves.is_empty() {
            self.branches.remove(index);
            return;
        }
        let fits = |next: &Branch| branch.leaves.len() + next.leaves.len() <= MAX_LEAVES / 2;
        if self.branches.get(index + 1).is_some_and(fits) {
            let next = self.branches.remove(index + 1);
            let branch = &mut self.branches[index];
            branch.leaves.extend(next.leaves);
            branch.firsts.extend(next.firsts);
            branch.counts.extend(next.counts);
            branch.len += next.len;
        }
    }
}

// ---- Leaves by number ------------------------------------------------------------------------------------

#[derive(Clone, Default, Debug)]
struct Leaves {
    blocks: Vec<Vec<Leaf>>,
    /// Numbers that are free again.
    free: Vec<LeafId>,
}

impl Leaves {
    fn get(&self, id: LeafId) -> &Leaf {
        let index = id as usize - 1;
        &self.blocks[index / BLOCK][index % BLOCK]
    }

    fn get_mut(&mut self, id: LeafId) -> &mut Leaf {
        let index = id as usize - 1;
        &mut self.blocks[index / BLOCK][index % BLOCK]
    }

    fn add(&mut self, leaf: Leaf) -> LeafId {
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = leaf;
            return id;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            // Small trees stay small: only further blocks are allocated whole.
            let capacity = if self.blocks.is_empty() { 4 } else { BLOCK };
            self.blocks.push(Vec::with_capacity(capacity));
        }
        let full_blocks = self.blocks.len() - 1;
        let block = &mut self.blocks[full_blocks];
        block.push(leaf);
        (full_blocks * BLOCK + block.len()) as LeafId
    }

    fn remove(&mut self, id: LeafId) -> Leaf {
        let leaf = std::mem::take(self.get_mut(id));
        self.free.push(id);
        if self.free.len() == self.blocks.iter().map(Vec::len).sum::<usize>() {
            *self = Leaves::default();
        }
        leaf
    }

    fn memory_bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.capacity() * size_of::<Leaf>()).sum::<usize>()
            + self.free.capacity() * size_of::<LeafId>()
    }
}

#[cfg(test)]
impl Tree {
    /// Everything that has to hold, looked at from scratch.
    pub fn check(&self) {
        let mut len = 0;
        let mut last: Option<(f64, Vec<u8>)> = None;
        for branch in &self.branches {
            assert!(!branch.leaves.is_empty() && branch.leaves.len() <= MAX_LEAVES);
            let mut branch_len = 0;
            for (slot, &id) in branch.leaves.iter().enumerate() {
                let leaf = self.leaves.get(id);
                assert!(leaf.len() > 0);
                assert_eq!((branch.firsts[slot], branch.counts[slot] as usize), (leaf.score(0), leaf.len()));
                branch_len += leaf.len();
                for offset in 0..leaf.len() {
                    let (score, member) = (leaf.score(offset), leaf.member(offset));
                    assert!(
                        last.as_ref()
                            .is_none_or(|(before, held)| At(score, member).is_before(*before, || held))
                    );
                    last = Some((score, member.to_vec()));
                    let hash = leaf.hash(offset);
                    let entries = self.index.find(hash).filter(|&held| held == id).count();
                    assert_eq!(entries, leaf.hashes().iter().filter(|&&held| held == hash).count());
                }
            }
            assert_eq!(branch.len, branch_len);
            len += branch_len;
        }
        assert_eq!(self.len, len);
    }
}
