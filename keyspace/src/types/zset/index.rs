//! Which leaf holds a member: a hash table of hashes and leaf numbers, without the members themselves.
//!
//! Linear hashing, as in [`crate::table`]: the table grows by one bucket at a time and never stalls. Where two
//! members share a hash both entries are candidates, and the leaf decides.
//!
//! ```text
//!  entry    │ hash: upper 32 bits │ leaf: lower 32 bits │       never 0: leaves are numbered from 1
//!  bucket   │ entry │ entry │ entry │ entry │ entry │ entry │ entry │ overflow │      one cache line
//! ```

/// The number of a leaf, from 1 on.
pub type LeafId = u32;

const PLACES: usize = 7;
/// Entries per bucket, on average, above which one is split.
const MAX_LOAD: usize = 5;
/// Entries per bucket, on average, below which two are merged.
const MIN_LOAD: usize = 3;
/// Buckets of a segment. The first one grows to it by and by.
const SEGMENT: usize = 1024;
/// Bits of a position on the line that a scan walks.
const POSITION_BITS: u32 = 32;

#[repr(align(64))]
#[derive(Clone, Default, Debug)]
struct Bucket {
    /// Entries first, zeros after them.
    entries: [u64; PLACES],
    overflow: Option<Box<Bucket>>,
}

const _: () = assert!(size_of::<Bucket>() == 64);

#[derive(Clone, Default, Debug)]
pub struct Index {
    /// All but the last are full, the last is not empty.
    segments: Vec<Vec<Bucket>>,
    len: usize,
    overflows: usize,
}

fn entry(hash: u32, leaf: LeafId) -> u64 {
    u64::from(hash) << 32 | u64::from(leaf)
}

fn hash_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

fn leaf_of(entry: u64) -> LeafId {
    entry as u32
}

impl Bucket {
    fn chain(&self) -> impl Iterator<Item = &Bucket> {
        std::iter::successors(Some(self), |bucket| bucket.overflow.as_deref())
    }

    /// The entries of the bucket and of all that overflowed from it.
    fn all(&self) -> impl Iterator<Item = u64> + '_ {
        self.chain().flat_map(|bucket| bucket.entries).filter(|&entry| entry != 0)
    }

    /// Adds an entry; `true` if that took another overflow bucket.
    fn push(&mut self, entry: u64) -> bool {
        if let Some(place) = self.entries.iter_mut().find(|place| **place == 0) {
            *place = entry;
            return false;
        }
        match &mut self.overflow {
            Some(overflow) => overflow.push(entry),
            None => {
                let mut overflow = Box::<Bucket>::default();
                overflow.entries[0] = entry;
                self.overflow = Some(overflow);
                true
            }
        }
    }

    /// Takes out the entry that was put in last, and the overflow bucket it leaves empty.
    fn pop(&mut self, freed: &mut usize) -> Option<u64> {
        if let Some(overflow) = &mut self.overflow {
            let popped = overflow.pop(freed);
            if overflow.entries[0] == 0 {
                self.overflow = None;
                *freed += 1;
            }
            return popped;
        }
        let last = self.entries.iter_mut().rev().find(|place| **place != 0)?;
        Some(std::mem::take(last))
    }

    fn replace(&mut self, old: u64, new: u64) -> bool {
        match self.entries.iter_mut().find(|place| **place == old) {
            Some(place) => {
                *place = new;
                true
            }
            None => self.overflow.as_mut().is_some_and(|overflow| overflow.replace(old, new)),
        }
    }
}

impl Index {
    pub fn memory_bytes(&self) -> usize {
        let buckets: usize = self.segments.iter().map(Vec::capacity).sum();
        (buckets + self.overflows) * size_of::<Bucket>() + self.segments.capacity() * size_of::<Vec<Bucket>>()
    }

    fn bucket_count(&self) -> usize {
        match self.segments.last() {
            Some(last) => (self.segments.len() - 1) * SEGMENT + last.len(),
            None => 0,
        }
    }

    fn bucket(&self, index: usize) -> &Bucket {
        &self.segments[index / SEGMENT][index % SEGMENT]
    }

    fn bucket_mut(&mut self, index: usize) -> &mut Bucket {
        &mut self.segments[index / SEGMENT][index % SEGMENT]
    }

    /// The bucket of a hash: its low bits, one less of them where the bucket does not exist yet.
    fn index_of(&self, hash: u32) -> usize {
        let count = self.bucket_count();
        let half = 1 << count.ilog2();
        let index = hash as usize & (2 * half - 1);
        if index < count { index } else { index & (half - 1) }
    }

    /// The leaves that may hold a member of this hash.
    pub fn find(&self, hash: u32) -> impl Iterator<Item = LeafId> + '_ {
        let bucket = (!self.segments.is_empty()).then(|| self.bucket(self.index_of(hash)));
        let entries = bucket.into_iter().flat_map(Bucket::all);
        entries.filter(move |&entry| hash_of(entry) == hash).map(leaf_of)
    }

    pub fn insert(&mut self, hash: u32, leaf: LeafId) {
        if self.segments.is_empty() {
            self.push_bucket();
        } else if self.len >= self.bucket_count() * MAX_LOAD {
            self.split();
        }
        self.place(entry(hash, leaf));
        self.len += 1;
    }

    /// Removes one entry. It has to be there.
    pub fn remove(&mut self, hash: u32, leaf: LeafId) {
        let index = self.index_of(hash);
        let mut freed = 0;
        let bucket = self.bucket_mut(index);
        // The last entry of the chain takes its place.
        if let Some(last) = bucket.pop(&mut freed)
            && last != entry(hash, leaf)
        {
            let replaced = bucket.replace(entry(hash, leaf), last);
            debug_assert!(replaced, "an entry that is not there");
        }
        self.overflows -= freed;
        self.len -= 1;
        if self.len == 0 {
            self.segments = Vec::new();
        } else if self.bucket_count() > 1 && self.len < self.bucket_count() * MIN_LOAD {
            self.merge();
        }
    }

    /// A member moved to another leaf.
    pub fn repoint(&mut self, hash: u32, from: LeafId, to: LeafId) {
        let index = self.index_of(hash);
        let replaced = self.bucket_mut(index).replace(entry(hash, from), entry(hash, to));
        debug_assert!(replaced, "an entry that is not there");
    }

    /// Visits the entries of one bucket and returns the cursor of the next, 0 at the end. What is there from
    /// the first call to the last is visited at least once.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(u32, LeafId)) -> u64 {
        if self.segments.is_empty() {
            return 0;
        }
        // A bucket holds the hashes with certain low bits. Read backwards these are an interval, and the
        // cursor is a place on the line of all hashes read backwards.
        let position = cursor & ((1 << POSITION_BITS) - 1);
        let index = self.index_of((position as u32).reverse_bits());
        let count = self.bucket_count();
        let level = count.ilog2();
        let is_split = index >= 1 << level || index + (1 << level) < count;
        let width = 1u64 << (POSITION_BITS - level - u32::from(is_split));
        let begin = position & !(width - 1);
        let mut seen = Vec::new();
        for entry in self.bucket(index).all() {
            // Two members of one hash in one leaf have equal entries, and are visited together.
            if u64::from(hash_of(entry).reverse_bits()) >= position && !seen.contains(&entry) {
                seen.push(entry);
                visit(hash_of(entry), leaf_of(entry));
            }
        }
        (begin + width) & ((1 << POSITION_BITS) - 1)
    }

    fn place(&mut self, entry: u64) {
        let index = self.index_of(hash_of(entry));
        let overflowed = self.bucket_mut(index).push(entry);
        self.overflows += usize::from(overflowed);
    }

    fn split(&mut self) {
        let count = self.bucket_count();
        let half = 1 << count.ilog2();
        self.push_bucket();
        let taken = std::mem::take(self.bucket_mut(count - half));
        self.replace_all(&taken);
    }

    fn merge(&mut self) {
        let is_only = self.segments.len() == 1;
        let Some(last) = self.segments.last_mut() else { return };
        let Some(taken) = last.pop() else { return };
        if last.is_empty() {
            self.segments.pop();
        } else if last.capacity() > last.len() + last.len() / 4 + 1 && is_only {
            last.shrink_to(last.len() + last.len() / 8);
        }
        self.replace_all(&taken);
    }

    /// Puts the entries of a bucket that was taken out where they belong now.
    fn replace_all(&mut self, taken: &Bucket) {
        self.overflows -= taken.chain().count() - 1;
        taken.all().for_each(|entry| self.place(entry));
    }

    fn push_bucket(&mut self) {
        let is_first = self.segments.len() <= 1;
        match self.segments.last_mut() {
            Some(last) if last.len() < SEGMENT => {
                if is_first && last.len() == last.capacity() {
                    last.reserve_exact((last.len() / 8).clamp(1, SEGMENT - last.len()));
                }
                last.push(Bucket::default());
            }
            Some(_) => {
                let mut segment = Vec::with_capacity(SEGMENT);
                segment.push(Bucket::default());
                self.segments.push(segment);
            }
            None => self.segments.push(vec![Bucket::default()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn scanned(index: &Index) -> BTreeMap<(u32, LeafId), usize> {
        let (mut seen, mut cursor) = (BTreeMap::new(), 0);
        loop {
            cursor = index.scan(cursor, |hash, leaf| *seen.entry((hash, leaf)).or_default() += 1);
            if cursor == 0 {
                return seen;
            }
        }
    }

    #[test]
    fn grows_and_shrinks_with_colliding_hashes() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut index = Index::default();
        let mut held: Vec<(u32, LeafId)> = Vec::new();
        for round in 0..20_000 {
            let growing = round < 8_000 || rng.u8(..4) == 0;
            if growing || held.is_empty() {
                let hash = if rng.bool() { rng.u32(..) } else { rng.u32(..64) * 0x0101_0101 };
                let leaf = rng.u32(1..500);
                index.insert(hash, leaf);
                held.push((hash, leaf));
            } else {
                let (hash, leaf) = held.swap_remove(rng.usize(..held.len()));
                index.remove(hash, leaf);
            }
            if round % 997 == 0 {
                for &(hash, leaf) in &held {
                    assert!(index.find(hash).any(|found| found == leaf));
                }
                let seen = scanned(&index);
                assert!(held.iter().all(|entry| seen.get(entry) == Some(&1)));
                assert!(seen.keys().all(|entry| held.contains(entry)));
                let overflows: usize =
                    index.segments.iter().flatten().map(|bucket| bucket.chain().count() - 1).sum();
                assert_eq!(index.overflows, overflows);
            }
        }
        for (hash, leaf) in held {
            index.remove(hash, leaf);
        }
        assert_eq!(index.memory_bytes(), 0);
    }

    #[test]
    fn a_scan_meets_what_stays_whatever_comes_and_goes() {
        let mut rng = fastrand::Rng::with_seed(9);
        let mut index = Index::default();
        let steady: Vec<u32> = (0..3000).map(|_| rng.u32(..)).collect();
        steady.iter().for_each(|&hash| index.insert(hash, 1));
        let mut passing: Vec<u32> = Vec::new();
        let (mut seen, mut cursor, mut steps) = (std::collections::BTreeSet::new(), 0, 0);
        loop {
            cursor = index.scan(cursor, |hash, leaf| {
                if leaf == 1 {
                    seen.insert(hash);
                }
            });
            if cursor == 0 {
                break;
            }
            steps += 1;
            for _ in 0..40 {
                if steps % 200 < 100 {
                    passing.push(rng.u32(..));
                    index.insert(passing[passing.len() - 1], 2);
                } else if let Some(hash) = passing.pop() {
                    index.remove(hash, 2);
                }
            }
        }
        assert!(steady.iter().all(|hash| seen.contains(hash)));
    }
}
