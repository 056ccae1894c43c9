//! `Table`: a hash table that never stalls, for items of one word.
//!
//! **Linear hashing.** The table grows by one bucket at a time: an insert beyond the mean load splits one
//! bucket in two, a remove below it merges two into one. No insert ever moves more than a bucket, so a table
//! of ten million keys behaves like one of ten, and there is no second table to look into meanwhile.
//!
//! ```text
//!  bucket, 64 bytes       ┌────────────────┬────────┬────────┬─ … ─┬────────┬──────────┐
//!  (one cache line)       │ 6 fingerprints │ item 0 │ item 1 │     │ item 5 │ overflow │──▶ another bucket
//!                         └────────────────┴────────┴────────┴─ … ─┴────────┴──────────┘
//!  buckets                first: one Vec, grown by an eighth, up to 1024 buckets; then segments of 64
//! ```
//!
//! With `n` buckets and `level = floor(log2 n)`, a hash belongs to the bucket its low `level + 1` bits name,
//! or, where that one does not exist yet, its low `level` bits. So a bucket knows *all* hashes with a certain
//! ending, and read backwards (lowest bit first) these form an interval of a line. That line is the cursor of
//! [`Table::scan`]:
//!
//! ```text
//!  hashes, bits reversed   0                                                2^48
//!  n = 4                   │   00   │   10   │   01   │   11   │
//!  n = 5                   │000│100 │   10   │   01   │   11   │   a split halves an interval,
//!                                                                 a merge joins the halves
//! ```
//!
//! A scan walks the line from left to right. Whatever splits and merges happen on the way, each hash keeps
//! its place on it, so an item that was there throughout is met exactly once.
//!
//! The seventh place of the cache line is the overflow pointer: an owning `Option<Box<Bucket>>` keeps this
//! file free of unsafe code, which a place that is sometimes an item and sometimes a pointer would not.

use std::mem;

use crate::hash::hash;
use crate::prefetch::prefetch;

/// What a table holds: a value that knows its key. One word with a niche keeps a bucket to its cache line.
pub trait Item {
    fn key(&self) -> &[u8];
}

/// Places of a bucket.
const PLACES: usize = 6;
/// Items per bucket, on average, above which an insert splits one. Fewer waste places, more waste overflow
/// buckets; between 4½ and 5½ the bytes per item hardly change.
const MAX_LOAD: usize = 5;
/// Items per bucket, on average, below which a remove merges two. Well under [`MAX_LOAD`], so that a table
/// that hovers around a size does not split and merge all the time.
const MIN_LOAD: usize = 3;
/// Buckets of the first segment at its largest: so small that moving it is nothing.
const FIRST: usize = 1024;
/// Buckets of any other segment. At 4 KiB, a power of two, allocators align them without waste.
const SEGMENT: usize = 64;
/// Bits of a hash that tell a position on the line of [`Table::scan`].
const POSITION_BITS: u32 = 48;
/// Fingerprints of a bucket, one byte per place, 0 where the place is free.
const LANES: u64 = 0x0000_0101_0101_0101;

/// A hash table. Empty, it owns nothing. Its root is in place, so that whoever holds the table is one cache
/// miss away from a bucket.
pub struct Table<T> {
    root: Root<T>,
}

const _: () = assert!(size_of::<Table<Box<u8>>>() == 40);
const _: () = assert!(size_of::<Bucket<Box<u8>>>() == 64);

struct Root<T> {
    /// Empty exactly while the table is.
    first: Vec<Bucket<T>>,
    rest: Option<Box<Segments<T>>>,
    len: u32,
    /// Overflow buckets, for [`Table::memory_bytes`].
    overflows: u32,
}

/// Buckets beyond the first segment, so many in each.
type Segments<T> = Vec<Vec<Bucket<T>>>;

#[repr(align(64))]
struct Bucket<T> {
    marks: Fingerprints,
    items: [Option<T>; PLACES],
    /// Invariant: places are filled in the order of the chain, so only its last bucket has free ones, and an
    /// overflow bucket is never empty.
    overflow: Option<Box<Bucket<T>>>,
}

impl<T> Table<T> {
    pub const fn new() -> Table<T> {
        Table { root: Root::new() }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.root.len as usize
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.root.len == 0
    }

    /// All items, in the order of the buckets.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let rest = self.root.rest.iter().flat_map(|segments| segments.iter().flatten());
        self.root.first.iter().chain(rest).flat_map(Bucket::chain_items)
    }

    /// Empties the table into an iterator.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let root = mem::take(&mut self.root);
        let rest = root.rest.into_iter().flat_map(|segments| segments.into_iter().flatten());
        root.first.into_iter().chain(rest).flat_map(Bucket::into_chain).map(|(_, item)| item)
    }

    /// Bytes of heap the table itself takes; what its items own is theirs.
    pub fn memory_bytes(&self) -> usize {
        let root = &self.root;
        let segments = root.rest.as_deref().map_or(&[][..], Vec::as_slice);
        let beyond: usize = segments.iter().map(Vec::capacity).sum();
        let buckets = root.first.capacity() + beyond + root.overflows as usize;
        root.rest.as_ref().map_or(0, |segments| (segments.capacity() + 1) * size_of::<Vec<Bucket<T>>>())
            + buckets * size_of::<Bucket<T>>()
    }
}

/// Where `hash` is [`hash`]`(key)`, computed once by the caller.
impl<T: Item> Table<T> {
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<&T> {
        let root = &self.root;
        if root.len == 0 {
            return None;
        }
        let mark = fingerprint(hash);
        let mut bucket = root.bucket(root.index_of(hash));
        loop {
            if let Some(place) = bucket.place_of(mark, key) {
                return bucket.items[place].as_ref();
            }
            bucket = bucket.overflow.as_deref()?;
        }
    }

    /// Asks for the memory of the bucket where a key of this hash is.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: u64) {
        let root = &self.root;
        if root.len > 0 {
            prefetch(root.bucket(root.index_of(hash)));
        }
    }

    /// An item whose key may have this hash, told without a look at it.
    #[inline]
    pub(crate) fn candidate(&self, hash: u64) -> Option<&T> {
        let root = &self.root;
        if root.len == 0 {
            return None;
        }
        let bucket = root.bucket(root.index_of(hash));
        let place = bucket.marks.places_of(fingerprint(hash)).next()?;
        bucket.items.get(place)?.as_ref()
    }

    /// The caller must not change the item's key.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut T> {
        let root = &mut self.root;
        if root.len == 0 {
            return None;
        }
        let mark = fingerprint(hash);
        let mut bucket = root.bucket_mut(root.index_of(hash));
        loop {
            if let Some(place) = bucket.place_of(mark, key) {
                return bucket.items[place].as_mut();
            }
            bucket = bucket.overflow.as_deref_mut()?;
        }
    }

    /// Adds an item whose key is absent.
    pub fn insert(&mut self, hash: u64, item: T) -> &mut T {
        debug_assert_eq!(hash, self::hash(item.key()), "the hash of another key");
        debug_assert!(self.find(hash, item.key()).is_none(), "the key is present");
        let root = &mut self.root;
        if root.len == 0 {
            root.push_bucket();
        } else if root.len as usize >= root.bucket_count() * MAX_LOAD {
            root.split();
        }
        root.len += 1;
        root.place(hash, item)
    }

    /// Puts `item` in the place of the one with its key, which is returned, or adds it.
    pub fn replace(&mut self, hash: u64, item: T) -> Option<T> {
        if let Some(present) = self.find_mut(hash, item.key()) {
            return Some(mem::replace(present, item));
        }
        self.insert(hash, item);
        None
    }

    /// The item of `key`, made and added where absent. True when it was made.
    pub fn find_or_insert_with(&mut self, hash: u64, key: &[u8], make: impl FnOnce() -> T) -> (&mut T, bool) {
        match self.root.locate(hash, key) {
            None => (self.insert(hash, make()), true),
            Some(located) => (self.root.item_mut(located), false),
        }
    }

    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let root = &mut self.root;
        if root.len == 0 {
            return None;
        }
        let item = root.remove(hash, key)?;
        root.len -= 1;
        if root.len == 0 {
            self.root = Root::new();
        } else if root.bucket_count() > 1 && (root.len as usize) < root.bucket_count() * MIN_LOAD {
            root.merge();
        }
        Some(item)
    }

    /// Visits the items of one bucket, the one at `cursor`, and returns the cursor of the next. A scan begins
    /// with 0 and ends when 0 is returned. Whatever is inserted and removed between the calls, an item that
    /// is present from the first call to the last is visited exactly once.
    ///
    /// A cursor is below 2^48. Larger bits are ignored: it may come from a client.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(&'a T)) -> u64 {
        let root = &self.root;
        if root.len == 0 {
            return 0;
        }
        let cursor = cursor & ((1 << POSITION_BITS) - 1);
        let index = root.index_of(hash_at(cursor));
        let width = 1 << (POSITION_BITS - root.depth_of(index));
        let begin = cursor & !(width - 1);
        for item in root.bucket(index).chain_items() {
            // A merge since the last call may have put the cursor in the middle of a bucket.
            if begin == cursor || position(hash(item.key())) >= cursor {
                visit(item);
            }
        }
        (begin + width) & ((1 << POSITION_BITS) - 1)
    }

    /// The first item that `fits`, looked for from the bucket at `cursor` on, once around.
    pub fn find_from(&self, cursor: u64, fits: impl Fn(&T) -> bool) -> Option<&T> {
        let root = &self.root;
        if root.len == 0 {
            return None;
        }
        let (count, from) =
            (root.bucket_count(), root.index_of(hash_at(cursor & ((1 << POSITION_BITS) - 1))));
        let mut buckets = (from..count).chain(0..from);
        buckets.find_map(|index| root.bucket(index).chain_items().find(|item| fits(item)))
    }

    /// An item drawn with the same chance as any other, as far as overflow chains are short.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<&T> {
        /// Places a bucket is taken to have, most of them free: a draw that hits none is repeated.
        const DRAWN: usize = 2 * PLACES;
        const TRIES: usize = 256;
        let root = &self.root;
        if root.len == 0 {
            return None;
        }
        let count = root.bucket_count();
        for _ in 0..TRIES {
            let bucket = root.bucket(rng.usize(..count));
            let held = bucket.chain_len();
            let places = if count == 1 { held } else { held.max(DRAWN) };
            let place = rng.usize(..places);
            if place < held {
                return bucket.chain_items().nth(place);
            }
        }
        // But what if the hash has put all items into few buckets? Then the nearest one will do.
        self.find_from(rng.u64(..), |_| true)
    }
}

/// The byte that tells most keys of a bucket apart without looking at them. Never 0.
#[inline]
fn fingerprint(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// Where a hash is on the line that [`Table::scan`] walks.
#[inline]
pub(crate) fn position(hash: u64) -> u64 {
    hash.reverse_bits() >> (64 - POSITION_BITS)
}

/// A hash at `position`: as many low bits of it as the position tells.
#[inline]
fn hash_at(position: u64) -> u64 {
    (position << (64 - POSITION_BITS)).reverse_bits()
}

/// Bucket, link of its overflow chain, place in that.
struct Located {
    index: usize,
    depth: usize,
    place: usize,
}

impl<T> Default for Root<T> {
    fn default() -> Root<T> {
        Root::new()
    }
}

impl<T> Root<T> {
    const fn new() -> Root<T> {
        Root { first: Vec::new(), rest: None, len: 0, overflows: 0 }
    }

    #[inline]
    fn bucket_count(&self) -> usize {
        match &self.rest {
            None => self.first.len(),
            Some(rest) => FIRST + (rest.len() - 1) * SEGMENT + rest.last().map_or(0, Vec::len),
        }
    }

    #[inline]
    fn bucket(&self, index: usize) -> &Bucket<T> {
        match index.checked_sub(FIRST) {
            None => &self.first[index],
            Some(beyond) => match &self.rest {
                Some(rest) => &rest[beyond / SEGMENT][beyond % SEGMENT],
                None => unreachable!("an index below the number of buckets"),
            },
        }
    }

    #[inline]
    fn bucket_mut(&mut self, index: usize) -> &mut Bucket<T> {
        match index.checked_sub(FIRST) {
            None => &mut self.first[index],
            Some(beyond) => match &mut self.rest {
                Some(rest) => &mut rest[beyond / SEGMENT][beyond % SEGMENT],
                None => unreachable!("an index below the number of buckets"),
            },
        }
    }

    #[inline]
    fn index_of(&self, hash: u64) -> usize {
        let count = self.bucket_count();
        let half = 1 << count.ilog2();
        let index = hash as usize & (2 * half - 1);
        if index < count { index } else { index & (half - 1) }
    }

    /// How many low bits of a hash name this bucket.
    fn depth_of(&self, index: usize) -> u32 {
        let count = self.bucket_count();
        let level = count.ilog2();
        let is_split = index >= 1 << level || index + (1 << level) < count;
        level + is_split as u32
    }

    fn push_bucket(&mut self) {
        if self.first.len() < FIRST {
            if self.first.len() == self.first.capacity() {
                let more = (self.first.len() / 8).max(1).min(FIRST - self.first.len());
                self.first.reserve_exact(more);
            }
            return self.first.push(Bucket::default());
        }
        let rest = self.rest.get_or_insert_default();
        match rest.last_mut() {
            Some(last) if last.len() < SEGMENT => last.push(Bucket::default()),
            _ => {
                let mut segment = Vec::with_capacity(SEGMENT);
                segment.push(Bucket::default());
                rest.push(segment);
            }
        }
    }

    fn pop_bucket(&mut self) -> Option<Bucket<T>> {
        let Some(rest) = &mut self.rest else {
            let popped = self.first.pop();
            let wanted = self.first.len() + self.first.len() / 8;
            if self.first.capacity() > wanted + wanted / 8 + 1 {
                self.first.shrink_to(wanted);
            }
            return popped;
        };
        let last = rest.last_mut()?;
        let popped = last.pop();
        if last.is_empty() {
            rest.pop();
        }
        if rest.is_empty() {
            self.rest = None;
        }
        popped
    }
}

impl<T: Item> Root<T> {
    fn place(&mut self, hash: u64, item: T) -> &mut T {
        let index = self.index_of(hash);
        self.overflows += self.bucket(index).is_chain_full() as u32;
        self.bucket_mut(index).place(fingerprint(hash), item)
    }

    /// Where the item of `key` is.
    #[inline]
    fn locate(&self, hash: u64, key: &[u8]) -> Option<Located> {
        if self.len == 0 {
            return None;
        }
        let (mark, index) = (fingerprint(hash), self.index_of(hash));
        let mut chain = self.bucket(index).chain().enumerate();
        chain.find_map(|(depth, bucket)| Some(Located { index, depth, place: bucket.place_of(mark, key)? }))
    }

    #[inline]
    fn item_mut(&mut self, located: Located) -> &mut T {
        let mut bucket = self.bucket_mut(located.index);
        for _ in 0..located.depth {
            bucket = bucket.overflow.as_deref_mut().expect("located there");
        }
        bucket.items[located.place].as_mut().expect("located there")
    }

    fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let mut freed = 0;
        let item = self.bucket_mut(self.index_of(hash)).remove(fingerprint(hash), key, &mut freed);
        self.overflows -= freed;
        item
    }

    /// Adds one bucket: the one that held its hashes so far gives it half of them.
    fn split(&mut self) {
        let count = self.bucket_count();
        let half = 1 << count.ilog2();
        self.push_bucket();
        self.redistribute(|root| mem::take(root.bucket_mut(count - half)));
    }

    /// Gives up the last bucket: the one it was split from takes its items back.
    fn merge(&mut self) {
        self.redistribute(|root| root.pop_bucket().unwrap_or_default());
    }

    fn redistribute(&mut self, take: impl FnOnce(&mut Self) -> Bucket<T>) {
        let taken = take(self);
        self.overflows -= taken.chain_overflows() as u32;
        for (_, item) in taken.into_chain() {
            self.place(hash(item.key()), item);
        }
    }
}

impl<T> Default for Bucket<T> {
    fn default() -> Bucket<T> {
        Bucket { marks: Fingerprints(0), items: [const { None }; PLACES], overflow: None }
    }
}

impl<T> Bucket<T> {
    fn chain(&self) -> impl Iterator<Item = &Bucket<T>> {
        std::iter::successors(Some(self), |bucket| bucket.overflow.as_deref())
    }

    fn chain_items(&self) -> impl Iterator<Item = &T> {
        self.chain().flat_map(|bucket| bucket.items.iter().flatten())
    }

    fn chain_len(&self) -> usize {
        self.chain().map(|bucket| bucket.marks.count()).sum()
    }

    fn chain_overflows(&self) -> usize {
        self.chain().count() - 1
    }

    fn is_chain_full(&self) -> bool {
        self.chain().all(|bucket| bucket.marks.first_free().is_none())
    }

    fn into_chain(mut self) -> impl Iterator<Item = (u8, T)> {
        std::iter::from_fn(move || {
            loop {
                if let Some(taken) = self.take_any() {
                    return Some(taken);
                }
                self = *self.overflow.take()?;
            }
        })
    }

    fn take(&mut self, place: usize) -> Option<T> {
        self.marks.set(place, 0);
        self.items[place].take()
    }

    fn take_any(&mut self) -> Option<(u8, T)> {
        let place = self.marks.first_taken()?;
        let mark = self.marks.get(place);
        self.take(place).map(|item| (mark, item))
    }

    /// Into the first free place of the chain, in a new overflow bucket where it has none.
    fn place(&mut self, mark: u8, item: T) -> &mut T {
        let mut bucket = self;
        loop {
            if let Some(place) = bucket.marks.first_free() {
                bucket.marks.set(place, mark);
                return bucket.items[place].insert(item);
            }
            bucket = bucket.overflow.get_or_insert_default();
        }
    }
}

impl<T: Item> Bucket<T> {
    /// The place of `key` in this bucket, not in its chain.
    #[inline]
    fn place_of(&self, mark: u8, key: &[u8]) -> Option<usize> {
        self.marks
            .places_of(mark)
            .find(|&place| self.items[place].as_ref().is_some_and(|item| item.key() == key))
    }

    /// Out of the chain, whose last item takes the free place.
    fn remove(&mut self, mark: u8, key: &[u8], freed: &mut u32) -> Option<T> {
        if self.overflow.is_none() {
            let place = self.place_of(mark, key)?;
            return self.take(place);
        }
        self.chain().find_map(|bucket| bucket.place_of(mark, key))?;
        let (last_mark, last) = take_last(&mut self.overflow, freed)?;
        if last.key() == key {
            return Some(last);
        }
        let mut bucket = self;
        loop {
            if let Some(place) = bucket.place_of(mark, key) {
                bucket.marks.set(place, last_mark);
                return bucket.items[place].replace(last);
            }
            bucket = bucket.overflow.as_deref_mut()?;
        }
    }
}

/// Takes an item out of the last bucket of a chain, and that bucket away when it was its last one.
fn take_last<T>(mut link: &mut Option<Box<Bucket<T>>>, freed: &mut u32) -> Option<(u8, T)> {
    while link.as_ref()?.overflow.is_some() {
        link = &mut link.as_mut()?.overflow;
    }
    let last = link.as_mut()?;
    let taken = last.take_any();
    if last.marks.first_taken().is_none() {
        *link = None;
        *freed += 1;
    }
    taken
}

/// One byte per place, matched eight at a time in a register.
#[derive(Clone, Copy)]
struct Fingerprints(u64);

impl Fingerprints {
    #[inline]
    fn get(self, place: usize) -> u8 {
        (self.0 >> (8 * place)) as u8
    }

    #[inline]
    fn set(&mut self, place: usize, mark: u8) {
        self.0 = self.0 & !(0xff << (8 * place)) | (mark as u64) << (8 * place);
    }

    /// Places with this mark. One that has a neighbour's may slip in above a true one; keys are compared
    /// anyway.
    #[inline]
    fn places_of(self, mark: u8) -> impl Iterator<Item = usize> {
        let mut hits = zero_bytes(self.0 ^ (LANES * mark as u64));
        std::iter::from_fn(move || {
            let place = (hits != 0).then(|| hits.trailing_zeros() as usize / 8)?;
            hits &= hits - 1;
            Some(place)
        })
    }

    #[inline]
    fn first_free(self) -> Option<usize> {
        // The lowest zero byte found is always a true one.
        self.places_of(0).next()
    }

    #[inline]
    fn first_taken(self) -> Option<usize> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as usize / 8)
    }

    fn count(self) -> usize {
        (0..PLACES).filter(|&place| self.get(place) != 0).count()
    }
}

/// The top bit of each zero byte among the lanes (and perhaps of bytes of value 1 above a zero one).
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LANES) & !word & (LANES << 7)
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table::new()
    }
}

impl<T: Item + Clone> Clone for Table<T> {
    fn clone(&self) -> Table<T> {
        let mut copy = Table::new();
        for item in self.iter() {
            copy.insert(hash(item.key()), item.clone());
        }
        copy
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
