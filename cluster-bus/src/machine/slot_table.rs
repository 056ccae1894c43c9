//! Who owns which slot, and which slots are on the move.

use super::node::NodeIdx;
use crate::slot_set::SlotSet;
use protocol::{SLOT_COUNT, Slot};
use std::collections::BTreeMap;

/// Owner of a slot nobody owns.
const NOBODY: u16 = u16::MAX;

/// The slots as this node sees them. The owners' own bitmaps are kept in step by [`Machine`](super::Machine).
pub(crate) struct SlotTable {
    owners: Box<[u16; SLOT_COUNT]>,
    pub migrating: BTreeMap<Slot, NodeIdx>,
    pub importing: BTreeMap<Slot, NodeIdx>,
    /// Slots their owner stopped claiming: kept so that clients are still redirected somewhere, but not
    /// spread in UPDATE messages.
    pub unclaimed: SlotSet,
}

impl Default for SlotTable {
    fn default() -> SlotTable {
        SlotTable {
            owners: Box::new([NOBODY; SLOT_COUNT]),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            unclaimed: SlotSet::default(),
        }
    }
}

impl SlotTable {
    pub fn owner(&self, slot: Slot) -> Option<NodeIdx> {
        match self.owners[slot.index()] {
            NOBODY => None,
            idx => Some(NodeIdx(idx)),
        }
    }

    pub fn set_owner(&mut self, slot: Slot, owner: Option<NodeIdx>) {
        self.owners[slot.index()] = owner.map_or(NOBODY, |idx| idx.0);
    }

    /// Nobody owns it, or its owner no longer says so.
    pub fn is_unclaimed(&self, slot: Slot) -> bool {
        self.owners[slot.index()] == NOBODY || self.unclaimed.contains(slot)
    }

    pub fn is_fully_covered(&self) -> bool {
        !self.owners.contains(&NOBODY)
    }

    /// Forgets what is on the move.
    pub fn close_all(&mut self) {
        self.migrating.clear();
        self.importing.clear();
    }

    /// Forgets a node that is going away. Its owned slots are removed by the caller.
    pub fn forget_node(&mut self, idx: NodeIdx) {
        self.migrating.retain(|_, target| *target != idx);
        self.importing.retain(|_, source| *source != idx);
    }
}
