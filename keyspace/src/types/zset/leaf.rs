//! A leaf of a large sorted set: some dozens of members in order, each part in an array of its own.

use crate::types::{allocated, grow_for};

/// More members than this split a leaf.
pub const MAX_MEMBERS: usize = 64;
/// More bytes of members than this split a leaf that has several.
pub const MAX_BYTES: usize = 16 * 1024;
/// Room an array of a leaf grows by.
const STEP: usize = 8;

/// ```text
/// scores  │ s₀ │ s₁ │ s₂ │ …        what most comparisons look at
/// hashes  │ h₀ │ h₁ │ h₂ │ …        what a look-up by member looks at
/// ends    │ e₀ │ e₁ │ e₂ │ …        where a member ends; it begins where the one before ends
/// bytes   │ member₀ member₁ member₂ …
/// ```
#[derive(Clone, Default, Debug)]
pub struct Leaf {
    scores: Vec<f64>,
    hashes: Vec<u32>,
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Leaf {
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    pub fn score(&self, index: usize) -> f64 {
        self.scores[index]
    }

    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    pub fn hash(&self, index: usize) -> u32 {
        self.hashes[index]
    }

    pub fn hashes(&self) -> &[u32] {
        &self.hashes
    }

    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] as usize }
    }

    pub fn member(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..self.ends[index] as usize]
    }

    pub fn is_full(&self) -> bool {
        self.len() > MAX_MEMBERS || (self.bytes.len() > MAX_BYTES && self.len() > 1)
    }

    /// Whether the members of both would leave a leaf room to grow.
    pub fn may_merge_with(&self, other: &Leaf) -> bool {
        self.len() + other.len() <= MAX_MEMBERS * 3 / 4
            && self.bytes.len() + other.bytes.len() <= MAX_BYTES / 2
    }

    /// Where `member` is, found by its hash.
    pub fn find(&self, hash: u32, member: &[u8]) -> Option<usize> {
        let mut from = 0;
        while let Some(step) = self.hashes[from..].iter().position(|&held| held == hash) {
            if self.member(from + step) == member {
                return Some(from + step);
            }
            from += step + 1;
        }
        None
    }

    pub fn insert(&mut self, index: usize, score: f64, hash: u32, member: &[u8]) {
        let start = self.start(index);
        let len = member.len() as u32;
        assert!(self.bytes.len() + member.len() <= u32::MAX as usize, "members are shorter than 4 GiB");
        if self.scores.len() == self.scores.capacity() {
            self.scores.reserve_exact(STEP);
            self.hashes.reserve_exact(STEP);
            self.ends.reserve_exact(STEP);
        }
        self.scores.insert(index, score);
        self.hashes.insert(index, hash);
        self.ends.insert(index, start as u32);
        self.ends[index..].iter_mut().for_each(|end| *end += len);

        grow_for(&mut self.bytes, member.len());
        let old_len = self.bytes.len();
        self.bytes.extend_from_slice(member);
        self.bytes.copy_within(start..old_len, start + member.len());
        self.bytes[start..start + member.len()].copy_from_slice(member);
    }

    /// Gives a member another score that keeps it in its place.
    pub fn set_score(&mut self, index: usize, score: f64) {
        self.scores[index] = score;
    }

    /// Removes `count` members from `index` on.
    pub fn remove(&mut self, index: usize, count: usize) {
        let (start, end) = (self.start(index), self.start(index + count));
        self.scores.drain(index..index + count);
        self.hashes.drain(index..index + count);
        self.ends.drain(index..index + count);
        self.ends[index..].iter_mut().for_each(|bound| *bound -= (end - start) as u32);
        self.bytes.drain(start..end);
        if self.scores.capacity() > 2 * self.len() + STEP {
            self.shrink_to_fit();
        }
    }

    /// Cuts the leaf in two: `self` keeps the first `index` members.
    pub fn split_off(&mut self, index: usize) -> Leaf {
        let start = self.start(index);
        let mut tail = Leaf {
            scores: self.scores.split_off(index),
            hashes: self.hashes.split_off(index),
            ends: self.ends.split_off(index),
            bytes: self.bytes.split_off(start),
        };
        tail.ends.iter_mut().for_each(|end| *end -= start as u32);
        self.shrink_to_fit();
        tail.shrink_to_fit();
        tail
    }

    pub fn append(&mut self, other: &Leaf) {
        let offset = self.bytes.len() as u32;
        self.scores.extend_from_slice(&other.scores);
        self.hashes.extend_from_slice(&other.hashes);
        self.ends.extend(other.ends.iter().map(|end| end + offset));
        self.bytes.extend_from_slice(&other.bytes);
    }

    fn shrink_to_fit(&mut self) {
        self.scores.shrink_to_fit();
        self.hashes.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    /// Heap bytes of the four arrays.
    pub fn memory_bytes(&self) -> usize {
        allocated(8 * self.scores.capacity())
            + allocated(4 * self.hashes.capacity())
            + allocated(4 * self.ends.capacity())
            + allocated(self.bytes.capacity())
    }
}
