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
    /// Slots this node has just taken over by order of the operator.
    pub imported: BTreeMap<Slot, Imported>,
    /// Slots their owner stopped claiming: kept so that clients are still redirected somewhere, but not
    /// spread in UPDATE messages.
    pub unclaimed: SlotSet,
}

/// A slot that came by order of the operator: claims that may not know of the order yet are outbid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Imported {
    /// Nothing said before the order is on its way any more.
    pub until_ms: i64,
    /// How often more it may be insisted on.
    pub bids: u8,
}

impl Default for SlotTable {
    fn default() -> SlotTable {
        SlotTable {
            owners: Box::new([NOBODY; SLOT_COUNT]),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            imported: BTreeMap::new(),
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
        self.imported.clear();
    }

    /// Forgets a node that is going away. Its owned slots are removed by the caller.
    pub fn forget_node(&mut self, idx: NodeIdx) {
        self.migrating.retain(|_, target| *target != idx);
        self.importing.retain(|_, source| *source != idx);
    }
}
