//! `Census`: how many keys each slot has, readable without its lock.
//!
//! A slot's own count is stored by whoever holds its lock. Sums over groups of 128 slots are added to. So
//! DBSIZE adds up 128 numbers, the next slot with keys is found without touching the empty ones, and a slot
//! is drawn by its share of the keys in two short walks.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use protocol::slot::{SLOT_COUNT, Slot};

const GROUP: usize = 128;

/// Key counts by slot. Each is exact under its slot's lock, and as fresh as memory is without.
pub struct Census {
    slots: Box<[AtomicU32]>,
    groups: Box<[AtomicU64]>,
}

impl Census {
    pub fn new() -> Census {
        Census {
            slots: (0..SLOT_COUNT).map(|_| AtomicU32::new(0)).collect(),
            groups: (0..SLOT_COUNT / GROUP).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    #[inline]
    pub fn count(&self, slot: Slot) -> usize {
        self.slots[slot.index()].load(Relaxed) as usize
    }

    pub fn total(&self) -> usize {
        self.groups.iter().map(|group| group.load(Relaxed) as usize).sum()
    }

    /// Called under the slot's lock.
    pub(crate) fn set(&self, slot: Slot, count: u32) {
        let before = self.slots[slot.index()].load(Relaxed);
        self.slots[slot.index()].store(count, Relaxed);
        let change = (count as u64).wrapping_sub(before as u64);
        self.groups[slot.index() / GROUP].fetch_add(change, Relaxed);
    }

    /// The first slot with keys at `from` or after it.
    pub fn next(&self, from: usize) -> Option<Slot> {
        let mut index = from;
        while index < SLOT_COUNT {
            if index.is_multiple_of(GROUP) && self.groups[index / GROUP].load(Relaxed) == 0 {
                index += GROUP;
                continue;
            }
            if self.slots[index].load(Relaxed) != 0 {
                return Slot::new(index as u16);
            }
            index += 1;
        }
        None
    }

    /// A slot, drawn by its share of the keys.
    pub fn pick(&self, rng: &mut fastrand::Rng) -> Option<Slot> {
        let total = self.total() as u64;
        if total == 0 {
            return None;
        }
        let mut left = rng.u64(..total);
        let group = self.groups.iter().position(|group| {
            let count = group.load(Relaxed);
            let is_here = left < count;
            left -= if is_here { 0 } else { count };
            is_here
        });
        let first = group.unwrap_or(0) * GROUP;
        let slot = self.slots[first..first + GROUP].iter().position(|slot| {
            let count = slot.load(Relaxed) as u64;
            let is_here = left < count;
            left = left.saturating_sub(count);
            is_here
        });
        // But what if keys went while we were counting? Then any slot that still has some.
        slot.map_or_else(|| self.next(0), |slot| Slot::new((first + slot) as u16))
    }
}

impl Default for Census {
    fn default() -> Census {
        Census::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(counts: &[(u16, u32)]) -> Census {
        let census = Census::new();
        for &(slot, count) in counts {
            census.set(Slot::new(slot).unwrap(), count);
        }
        census
    }

    #[test]
    fn sums_follow_the_slots() {
        let census = census(&[(0, 5), (127, 1), (128, 2), (16_383, 9), (127, 0)]);
        assert_eq!((census.total(), census.count(Slot::new(0).unwrap())), (16, 5));
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(slot) = census.next(from) {
            found.push(slot.get());
            from = slot.index() + 1;
        }
        assert_eq!(found, [0, 128, 16_383]);
    }

    #[test]
    fn slots_are_drawn_by_their_share() {
        let mut rng = fastrand::Rng::with_seed(3);
        assert_eq!(Census::new().pick(&mut rng), None);
        let census = census(&[(3, 100), (130, 300), (16_000, 600)]);
        let mut drawn = [0; 3];
        for _ in 0..10_000 {
            let slot = census.pick(&mut rng).unwrap().get();
            drawn[[3, 130, 16_000].iter().position(|&known| known == slot).unwrap()] += 1;
        }
        for (times, expected) in drawn.into_iter().zip([1_000, 3_000, 6_000]) {
            assert!((expected * 9 / 10..expected * 11 / 10).contains(&times), "{drawn:?}");
        }
    }
}
