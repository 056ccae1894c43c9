//! A hash table for many small records: the members of a large set, the fields of a large hash.
//!
//! A block per record costs an allocation, a pointer and the allocator's rounding each time, more than most
//! members are long. Here a bucket is one block that holds all of its records, a dozen or so:
//!
//! ```text
//!  bucket ──▶ │ count │ tag tag tag … │ record │ record │ record │ …      lengths are LEB128
//!  record     │ length of each part │ parts │           set: member · hash: name, value
//! ```
//!
//! A tag is a byte of a record's hash, so that a look-up reads the tags, and rarely any record but the one it
//! is for. A change writes the bucket anew.
//!
//! The table is linear hashing, as [`crate::table`] is, with the same cursor for scans: it grows by one
//! bucket at a time and never stalls. It grows by bytes as well as by records, so that a large record has its
//! bucket nearly to itself, and small ones next to it stay cheap to change.

use crate::hash::hash;
use crate::thin::ThinBytes;
use crate::types::allocated;

/// Records per bucket, on average, above which one is split.
const MAX_RECORDS: usize = 16;
/// Bytes per bucket, on average, above which one is split.
const MAX_BYTES: usize = 320;
/// Shares of both, below which two buckets are merged.
const MIN_SHARE: usize = 2;
/// Splits or merges that one change may cause. More than one, to catch up with large records.
const STEPS: usize = 4;
/// Buckets of a segment. The first one grows to it by and by.
const SEGMENT: usize = 1024;
/// Bits of a hash that tell a position on the line of [`Packed::scan`].
const POSITION_BITS: u32 = 48;

type Bucket = Option<ThinBytes>;

/// Records of `PARTS` parts, found by the first of them.
///
/// **Invariant:** `len` and `bytes` are the sums over all buckets; no bucket has a block without records.
#[derive(Clone, Default, Debug)]
pub struct Packed<const PARTS: usize> {
    /// All but the last are full, the last is not empty.
    segments: Vec<Vec<Bucket>>,
    len: usize,
    /// Bytes of all blocks.
    bytes: usize,
    /// The same as the allocator gives them.
    allocated_bytes: usize,
}

/// A bucket's block, taken apart.
#[derive(Clone, Copy)]
struct Block<'a> {
    tags: &'a [u8],
    records: &'a [u8],
}

/// A record's place among the records.
#[derive(Clone, Copy)]
struct Found {
    index: usize,
    start: usize,
    end: usize,
}

fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

// ---- Blocks ----------------------------------------------------------------------------------------------

impl<'a> Block<'a> {
    fn of(bucket: &'a Bucket) -> Self {
        let Some(block) = bucket else { return Block { tags: &[], records: &[] } };
        let (count, header_len) = decode_len(block);
        let (tags, records) = block[header_len..].split_at(count);
        Block { tags, records }
    }

    /// Bytes of the block before its records.
    fn before_records(self) -> usize {
        encoded_len(self.tags.len()) + self.tags.len()
    }

    /// All records with their tags.
    fn iter<const PARTS: usize>(self) -> impl Iterator<Item = (u8, &'a [u8], [&'a [u8]; PARTS])> {
        let mut rest = self.records;
        self.tags.iter().map(move |&tag| {
            let (parts, len) = split_record(rest);
            let (record, behind) = rest.split_at(len);
            rest = behind;
            (tag, record, parts)
        })
    }

    fn find<const PARTS: usize>(self, tag: u8, key: &[u8]) -> Option<(Found, [&'a [u8]; PARTS])> {
        let (mut walked, mut start) = (0, 0);
        for (index, _) in self.tags.iter().enumerate().filter(|&(_, &held)| held == tag) {
            while walked < index {
                start += record_len::<PARTS>(&self.records[start..]);
                walked += 1;
            }
            let (parts, len) = split_record::<PARTS>(&self.records[start..]);
            if parts[0] == key {
                return Some((Found { index, start, end: start + len }, parts));
            }
        }
        None
    }

    fn with<const PARTS: usize>(self, tag: u8, parts: [&[u8]; PARTS]) -> ThinBytes {
        let (count, lens) = (encode_len(self.tags.len() + 1), Lens::of(parts));
        let head = [count.as_slice(), self.tags, &[tag], self.records, lens.as_slice()];
        join(&head, parts, &[])
    }

    fn with_replaced<const PARTS: usize>(self, found: Found, parts: [&[u8]; PARTS]) -> ThinBytes {
        let (count, lens) = (encode_len(self.tags.len()), Lens::of(parts));
        let before = &self.records[..found.start];
        join(&[count.as_slice(), self.tags, before, lens.as_slice()], parts, &self.records[found.end..])
    }

    fn without(self, found: Found) -> Bucket {
        if self.tags.len() == 1 {
            return None;
        }
        let count = encode_len(self.tags.len() - 1);
        let (tags_before, tags_behind) = (&self.tags[..found.index], &self.tags[found.index + 1..]);
        let (before, behind) = (&self.records[..found.start], &self.records[found.end..]);
        Some(ThinBytes::from_parts(&[count.as_slice(), tags_before, tags_behind, before, behind]))
    }

    /// A block of records that were in other blocks.
    fn build(records: &[(u8, &[u8])]) -> Bucket {
        if records.is_empty() {
            return None;
        }
        let count = encode_len(records.len());
        let tags: Vec<u8> = records.iter().map(|&(tag, _)| tag).collect();
        let mut slices = vec![count.as_slice(), &tags];
        slices.extend(records.iter().map(|&(_, record)| record));
        Some(ThinBytes::from_parts(&slices))
    }
}

/// One block of all that is given.
fn join<const PARTS: usize>(head: &[&[u8]], parts: [&[u8]; PARTS], tail: &[u8]) -> ThinBytes {
    let mut slices = [&[][..]; 8];
    let all = head.iter().copied().chain(parts).chain([tail]);
    let count = slices.iter_mut().zip(all).map(|(slot, slice)| *slot = slice).count();
    ThinBytes::from_parts(&slices[..count])
}

// ---- Records ---------------------------------------------------------------------------------------------

/// Up to two lengths in LEB128.
struct Lens {
    bytes: [u8; 20],
    used: usize,
}

impl Lens {
    fn of<const PARTS: usize>(parts: [&[u8]; PARTS]) -> Self {
        let mut lens = Lens { bytes: [0; 20], used: 0 };
        parts.iter().for_each(|part| lens.push(part.len()));
        lens
    }

    fn push(&mut self, len: usize) {
        let mut rest = len;
        while rest >= 0x80 {
            self.bytes[self.used] = rest as u8 | 0x80;
            self.used += 1;
            rest >>= 7;
        }
        self.bytes[self.used] = rest as u8;
        self.used += 1;
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

fn encode_len(len: usize) -> Lens {
    let mut lens = Lens { bytes: [0; 20], used: 0 };
    lens.push(len);
    lens
}

/// How many bytes a length takes.
fn encoded_len(len: usize) -> usize {
    (usize::BITS - len.leading_zeros()).div_ceil(7).max(1) as usize
}

/// A length, and how many bytes it takes.
#[inline]
fn decode_len(bytes: &[u8]) -> (usize, usize) {
    if bytes[0] < 0x80 {
        return (usize::from(bytes[0]), 1);
    }
    let (mut len, mut shift) = (0, 0);
    for (index, &byte) in bytes.iter().enumerate() {
        len |= usize::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return (len, index + 1);
        }
        shift += 7;
    }
    (0, 0)
}

#[inline]
fn record_len<const PARTS: usize>(bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut total = 0;
    for _ in 0..PARTS {
        let (len, used) = decode_len(&bytes[at..]);
        at += used;
        total += len;
    }
    at + total
}

/// The parts of the record at the front of `bytes`, and its length.
#[inline]
fn split_record<const PARTS: usize>(bytes: &[u8]) -> ([&[u8]; PARTS], usize) {
    let (mut lens, mut at) = ([0; PARTS], 0);
    for len in &mut lens {
        let (decoded, used) = decode_len(&bytes[at..]);
        *len = decoded;
        at += used;
    }
    let parts = lens.map(|len| {
        at += len;
        &bytes[at - len..at]
    });
    (parts, at)
}

// ---- The table -------------------------------------------------------------------------------------------

impl<const PARTS: usize> Packed<PARTS> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Heap bytes of the table and its records.
    pub fn memory_bytes(&self) -> usize {
        let first = self.segments.first().map_or(0, Vec::capacity);
        let buckets = first + self.segments.len().saturating_sub(1) * SEGMENT;
        let pointers = self.segments.capacity() * size_of::<Vec<Bucket>>();
        self.allocated_bytes + buckets * size_of::<Bucket>() + pointers
    }

    /// Allocations that dropping the table frees.
    pub fn block_count(&self) -> usize {
        self.segments.len() + self.bucket_count()
    }

    pub fn find(&self, key: &[u8]) -> Option<[&[u8]; PARTS]> {
        if self.is_empty() {
            return None;
        }
        let hash = hash(key);
        let block = Block::of(self.bucket(self.index_of(hash)));
        block.find(tag_of(hash), key).map(|(_, parts)| parts)
    }

    /// Puts a record in the place of the one with its key, or adds it. `true` if it was added.
    pub fn insert(&mut self, parts: [&[u8]; PARTS]) -> bool {
        if self.segments.is_empty() {
            self.push_bucket();
        }
        let hash = hash(parts[0]);
        let index = self.index_of(hash);
        let block = Block::of(self.bucket(index));
        let found = block.find::<PARTS>(tag_of(hash), parts[0]);
        if let Some((found, held)) = found
            && (0..PARTS).all(|part| held[part].len() == parts[part].len())
        {
            let before_records = block.before_records();
            self.overwrite(index, before_records + found.end, parts);
            return false;
        }
        let found = found.map(|(found, _)| found);
        let changed = match found {
            Some(found) => block.with_replaced(found, parts),
            None => block.with(tag_of(hash), parts),
        };
        self.put(index, Some(changed));
        self.len += usize::from(found.is_none());
        for _ in 0..STEPS {
            let buckets = self.bucket_count();
            if self.len > buckets * MAX_RECORDS || self.bytes > buckets * MAX_BYTES {
                self.split();
            }
        }
        found.is_none()
    }

    /// Writes a record over one with parts of the same lengths, which ends at `end` in its block.
    fn overwrite(&mut self, index: usize, end: usize, parts: [&[u8]; PARTS]) {
        let Some(block) = &mut self.segments[index / SEGMENT][index % SEGMENT] else { return };
        let mut end = end;
        for part in parts.iter().rev() {
            block[end - part.len()..end].copy_from_slice(part);
            end -= part.len();
        }
    }

    /// Removes the record of a key; `false` if there is none.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        let hash = hash(key);
        let index = self.index_of(hash);
        let block = Block::of(self.bucket(index));
        let Some((found, _)) = block.find::<PARTS>(tag_of(hash), key) else { return false };
        let rest = block.without(found);
        self.put(index, rest);
        self.len -= 1;
        if self.len == 0 {
            *self = Packed::default();
            return true;
        }
        for _ in 0..STEPS {
            let buckets = self.bucket_count();
            let sparse = self.len < buckets * MAX_RECORDS / MIN_SHARE;
            if buckets > 1 && sparse && self.bytes < buckets * MAX_BYTES / MIN_SHARE {
                self.merge();
            }
        }
        true
    }

    /// All records, in the order of the buckets.
    pub fn iter(&self) -> impl Iterator<Item = [&[u8]; PARTS]> {
        let buckets = self.segments.iter().flatten();
        buckets.flat_map(|bucket| Block::of(bucket).iter::<PARTS>().map(|(_, _, parts)| parts))
    }

    /// Visits the records of one bucket, the one at `cursor`, and returns the cursor of the next. A scan
    /// begins with 0 and ends when 0 is returned. A record that is present from the first call to the last
    /// is visited exactly once, whatever else comes and goes.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut([&[u8]; PARTS])) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let cursor = cursor & ((1 << POSITION_BITS) - 1);
        let index = self.index_of((cursor << (64 - POSITION_BITS)).reverse_bits());
        let width = 1 << (POSITION_BITS - self.depth_of(index));
        let begin = cursor & !(width - 1);
        for (_, _, parts) in Block::of(self.bucket(index)).iter::<PARTS>() {
            let position = hash(parts[0]).reverse_bits() >> (64 - POSITION_BITS);
            if position >= cursor {
                visit(parts);
            }
        }
        (begin + width) & ((1 << POSITION_BITS) - 1)
    }

    /// A record, each as likely as any other.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<[&[u8]; PARTS]> {
        // Places a bucket is taken to have; a draw that hits none is repeated.
        const DRAWN: usize = 2 * MAX_RECORDS;
        const TRIES: usize = 1024;
        let buckets = self.bucket_count();
        if buckets == 0 {
            return None;
        }
        for _ in 0..TRIES {
            let block = Block::of(self.bucket(rng.usize(..buckets)));
            let held = block.tags.len();
            let places = if buckets == 1 { held } else { held.max(DRAWN) };
            let place = rng.usize(..places.max(1));
            if let Some((_, _, parts)) = block.iter().nth(place) {
                return Some(parts);
            }
        }
        // But what if large records have made nearly all buckets empty? Then the order will do.
        self.iter().nth(rng.usize(..self.len.max(1)))
    }
}

// ---- Buckets ---------------------------------------------------------------------------------------------

impl<const PARTS: usize> Packed<PARTS> {
    fn bucket_count(&self) -> usize {
        match self.segments.last() {
            Some(last) => (self.segments.len() - 1) * SEGMENT + last.len(),
            None => 0,
        }
    }

    fn bucket(&self, index: usize) -> &Bucket {
        &self.segments[index / SEGMENT][index % SEGMENT]
    }

    /// Puts a block in the place of another.
    fn put(&mut self, index: usize, bucket: Bucket) {
        self.count_in(&bucket);
        let before = std::mem::replace(&mut self.segments[index / SEGMENT][index % SEGMENT], bucket);
        self.count_out(&before);
    }

    fn count_in(&mut self, bucket: &Bucket) {
        let bytes = bucket.as_ref().map_or(0, ThinBytes::memory_bytes);
        self.bytes += bytes;
        self.allocated_bytes += allocated(bytes);
    }

    fn count_out(&mut self, bucket: &Bucket) {
        let bytes = bucket.as_ref().map_or(0, ThinBytes::memory_bytes);
        self.bytes -= bytes;
        self.allocated_bytes -= allocated(bytes);
    }

    /// The bucket of a hash: its low bits, one less of them where the bucket does not exist yet.
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
        level + u32::from(is_split)
    }

    /// Adds one bucket: the one that held its hashes so far gives it half of them.
    fn split(&mut self) {
        let count = self.bucket_count();
        let half = 1 << count.ilog2();
        self.push_bucket();
        let moves = |parts: [&[u8]; PARTS]| hash(parts[0]) as usize & half != 0;
        let (mut staying, mut moving) = (Vec::new(), Vec::new());
        for (tag, record, parts) in Block::of(self.bucket(count - half)).iter::<PARTS>() {
            if moves(parts) { moving.push((tag, record)) } else { staying.push((tag, record)) }
        }
        if moving.is_empty() {
            return;
        }
        let (staying, moving) = (Block::build(&staying), Block::build(&moving));
        self.put(count - half, staying);
        self.put(count, moving);
    }

    /// Gives up the last bucket: the one it was split from takes its records back.
    fn merge(&mut self) {
        let Some(taken) = self.pop_bucket() else { return };
        self.count_out(&taken);
        if taken.is_some() {
            let index = self.bucket_count() & !(1 << self.bucket_count().ilog2());
            let (held, taken) = (Block::of(self.bucket(index)), Block::of(&taken));
            let all = held.iter::<PARTS>().chain(taken.iter::<PARTS>());
            let all: Vec<_> = all.map(|(tag, record, _)| (tag, record)).collect();
            let joined = Block::build(&all);
            self.put(index, joined);
        }
    }

    fn push_bucket(&mut self) {
        let is_first = self.segments.len() <= 1;
        match self.segments.last_mut() {
            Some(last) if last.len() < SEGMENT => {
                if is_first && last.len() == last.capacity() {
                    last.reserve_exact((last.len() / 8).clamp(1, SEGMENT - last.len()));
                }
                last.push(None);
            }
            Some(_) => {
                let mut segment = Vec::with_capacity(SEGMENT);
                segment.push(None);
                self.segments.push(segment);
            }
            None => self.segments.push(vec![None]),
        }
    }

    fn pop_bucket(&mut self) -> Option<Bucket> {
        let is_only = self.segments.len() == 1;
        let last = self.segments.last_mut()?;
        let popped = last.pop();
        if last.is_empty() {
            self.segments.pop();
        } else if is_only && last.capacity() > last.len() + last.len() / 4 + 1 {
            last.shrink_to(last.len() + last.len() / 8);
        }
        popped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn check(table: &Packed<2>, model: &BTreeMap<Vec<u8>, Vec<u8>>) {
        assert_eq!(table.len(), model.len());
        let held: BTreeMap<_, _> =
            table.iter().map(|[name, value]| (name.to_vec(), value.to_vec())).collect();
        assert_eq!(&held, model);
        let blocks: usize = table.segments.iter().flatten().flatten().map(|block| block.memory_bytes()).sum();
        assert_eq!(table.bytes, blocks);
        for index in 0..table.bucket_count() {
            for (tag, _, [name, _]) in Block::of(table.bucket(index)).iter::<2>() {
                assert_eq!((table.index_of(hash(name)), tag_of(hash(name))), (index, tag));
            }
        }
        let (mut seen, mut cursor) = (BTreeMap::new(), 0);
        loop {
            cursor = table.scan(cursor, |[name, value]| {
                assert!(seen.insert(name.to_vec(), value.to_vec()).is_none());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(&seen, model);
    }

    #[test]
    fn answers_like_a_map() {
        let mut rng = fastrand::Rng::with_seed(4);
        let (mut table, mut model) = (Packed::<2>::default(), BTreeMap::new());
        for round in 0..30_000 {
            let name = rng.u32(..3000).to_string().into_bytes();
            let growing = round < 12_000;
            if rng.u8(..10) < if growing { 9 } else { 3 } {
                let value = vec![b'v'; if rng.u8(..100) == 0 { rng.usize(..3000) } else { rng.usize(..40) }];
                assert_eq!(table.insert([&name, &value]), model.insert(name, value).is_none());
            } else {
                assert_eq!(table.remove(&name), model.remove(&name).is_some());
            }
            if round % 1999 == 0 {
                check(&table, &model);
            }
        }
        check(&table, &model);
        for (name, value) in &model {
            assert_eq!(table.find(name), Some([&name[..], &value[..]]));
        }
        assert_eq!(table.find(b"never there"), None);
        for name in model.keys() {
            assert!(table.remove(name));
        }
        assert_eq!((table.len(), table.memory_bytes()), (0, 0));
    }

    #[test]
    fn a_scan_meets_what_stays_whatever_comes_and_goes() {
        let mut rng = fastrand::Rng::with_seed(8);
        let mut table = Packed::<1>::default();
        let steady: BTreeSet<String> = (0..3000).map(|index| format!("s{index}")).collect();
        steady.iter().for_each(|member| assert!(table.insert([member.as_bytes()])));
        let (mut passing, mut seen, mut cursor, mut steps) = (Vec::new(), BTreeSet::new(), 0, 0);
        loop {
            cursor = table.scan(cursor, |[member]| {
                if member[0] == b's' {
                    assert!(seen.insert(String::from_utf8(member.to_vec()).unwrap()));
                }
            });
            if cursor == 0 {
                break;
            }
            steps += 1;
            for _ in 0..60 {
                if steps % 100 < 50 {
                    passing.push(format!("p{}", rng.u64(..)));
                    table.insert([passing[passing.len() - 1].as_bytes()]);
                } else if let Some(member) = passing.pop() {
                    table.remove(member.as_bytes());
                }
            }
        }
        assert_eq!(seen, steady);
    }

    #[test]
    fn large_records_have_buckets_to_themselves() {
        let mut table = Packed::<2>::default();
        for index in 0..100u32 {
            table.insert([&index.to_be_bytes(), &[b'v'; 10_000]]);
        }
        let most = table.segments.iter().flatten().map(|bucket| Block::of(bucket).tags.len()).max();
        assert!(most <= Some(6), "{most:?} records of 10 KB in a bucket");
        let mut rng = fastrand::Rng::with_seed(2);
        let drawn: BTreeSet<_> = (0..2000).filter_map(|_| table.random(&mut rng)).collect();
        assert_eq!(drawn.len(), 100);
        assert_eq!(table.clone().iter().count(), 100);
    }

    #[test]
    fn draws_are_fair() {
        let mut table = Packed::<1>::default();
        for index in 0..1000 {
            table.insert([format!("m{index}").as_bytes()]);
        }
        let mut rng = fastrand::Rng::with_seed(6);
        let mut counts = BTreeMap::<&[u8], u32>::new();
        for _ in 0..100_000 {
            let [member] = table.random(&mut rng).unwrap();
            *counts.entry(member).or_default() += 1;
        }
        assert_eq!(counts.len(), 1000);
        assert!(counts.values().all(|count| (50..=160).contains(count)), "a hundred each are expected");
    }
}
