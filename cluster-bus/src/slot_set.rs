//! A set of hash slots: the 2 KB bitmap of the wire, absent while empty.

use protocol::{SLOT_COUNT, Slot};
use std::fmt;
use std::ops::RangeInclusive;

/// Bytes of a slot bitmap on the wire. Slot `n` is bit `n % 8` of byte `n / 8`.
pub const SLOT_BITMAP_LEN: usize = SLOT_COUNT / 8;

/// A slot bitmap as it travels.
pub type SlotBitmap = [u8; SLOT_BITMAP_LEN];

static NO_SLOTS: SlotBitmap = [0; SLOT_BITMAP_LEN];

/// Whether `slot` is in a bitmap off the wire.
pub fn bitmap_has(bits: &SlotBitmap, slot: Slot) -> bool {
    bits[slot.index() / 8] & (1 << (slot.index() % 8)) != 0
}

/// The slots of a bitmap in order.
pub fn bitmap_slots(bits: &SlotBitmap) -> impl Iterator<Item = Slot> + '_ {
    bits.iter().enumerate().filter(|(_, byte)| **byte != 0).flat_map(|(i, &byte)| {
        (0..8u16)
            .filter(move |bit| byte & (1 << bit) != 0)
            .filter_map(move |bit| Slot::new(i as u16 * 8 + bit))
    })
}

/// A set of slots. Nodes without slots, most of a large cluster, cost no bitmap.
#[derive(Clone, Default)]
pub struct SlotSet {
    bits: Option<Box<SlotBitmap>>,
    len: u16,
}

impl SlotSet {
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn contains(&self, slot: Slot) -> bool {
        bitmap_has(self.bitmap(), slot)
    }

    /// True when the slot was not there before.
    pub fn insert(&mut self, slot: Slot) -> bool {
        let new = !self.contains(slot);
        if new {
            let bits = self.bits.get_or_insert_with(|| Box::new(NO_SLOTS));
            bits[slot.index() / 8] |= 1 << (slot.index() % 8);
            self.len += 1;
        }
        new
    }

    /// True when the slot was there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let had = self.contains(slot);
        if let (true, Some(bits)) = (had, &mut self.bits) {
            bits[slot.index() / 8] &= !(1 << (slot.index() % 8));
            self.len -= 1;
            if self.len == 0 {
                self.bits = None;
            }
        }
        had
    }

    pub fn bitmap(&self) -> &SlotBitmap {
        self.bits.as_deref().unwrap_or(&NO_SLOTS)
    }

    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        bitmap_slots(self.bitmap())
    }

    /// The set as maximal runs of consecutive slots.
    pub fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some(last) if *last.end() + 1 == slot.get() => *last = *last.start()..=slot.get(),
                _ => ranges.push(slot.get()..=slot.get()),
            }
        }
        ranges
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> SlotSet {
        let mut set = SlotSet::default();
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

impl PartialEq for SlotSet {
    fn eq(&self, other: &SlotSet) -> bool {
        self.len == other.len && self.bitmap() == other.bitmap()
    }
}

impl Eq for SlotSet {}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_neighbours() {
        let set: SlotSet = [0, 1, 2, 7, 8, 16383].into_iter().filter_map(Slot::new).collect();
        assert_eq!(set.ranges(), [0..=2, 7..=8, 16383..=16383]);
        assert_eq!(set.len(), 6);
    }

    #[test]
    fn the_last_slot_out_frees_the_bitmap() {
        let slot = Slot::new(99).unwrap();
        let mut set = SlotSet::default();
        assert!(set.insert(slot) && !set.insert(slot));
        assert!(set.remove(slot) && !set.remove(slot));
        assert_eq!(set, SlotSet::default());
    }
}
