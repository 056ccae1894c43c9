//! The routing table: who serves which slot, as an immutable value that any thread may read.

use crate::id::{Address, Epoch, NodeId};
use protocol::{SLOT_COUNT, Slot};
use std::collections::BTreeMap;
use std::fmt;

pub(crate) const NOBODY: u16 = u16::MAX;

/// One node of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteNode {
    pub id: NodeId,
    pub address: Address,
    /// Empty if none is announced.
    pub hostname: String,
    pub is_master: bool,
    /// Position of its master in [`RoutingTable::nodes`] when it is a replica.
    pub master: Option<u16>,
    /// FAIL, by a majority's word.
    pub failed: bool,
}

/// A snapshot of the cluster for routing. Taken with [`Machine::routing`](crate::Machine::routing) after each
/// [`Action::RoutingChanged`](crate::Action::RoutingChanged).
#[derive(Clone, PartialEq, Eq)]
pub struct RoutingTable {
    /// Slot → position in `nodes`, or `NOBODY`.
    pub(crate) owners: Box<[u16; SLOT_COUNT]>,
    /// Every node that has introduced itself.
    pub nodes: Vec<RouteNode>,
    /// Position of this node.
    pub me: u16,
    /// Slots this node is handing over, and to whom.
    pub migrating: BTreeMap<Slot, u16>,
    /// Slots this node is taking over, and from whom.
    pub importing: BTreeMap<Slot, u16>,
    /// The cluster is up.
    pub state_ok: bool,
    pub current_epoch: Epoch,
}

impl RoutingTable {
    /// Position of a slot's owner in `nodes`.
    #[inline]
    pub fn owner_index(&self, slot: Slot) -> Option<u16> {
        match self.owners[slot.index()] {
            NOBODY => None,
            index => Some(index),
        }
    }

    /// The master that owns a slot.
    #[inline]
    pub fn owner(&self, slot: Slot) -> Option<&RouteNode> {
        self.owner_index(slot).map(|index| self.node(index))
    }

    /// A node by its position, as found in this table.
    #[inline]
    pub fn node(&self, index: u16) -> &RouteNode {
        &self.nodes[usize::from(index)]
    }

    pub fn myself(&self) -> &RouteNode {
        self.node(self.me)
    }

    /// This node owns the slot.
    #[inline]
    pub fn is_mine(&self, slot: Slot) -> bool {
        self.owners[slot.index()] == self.me
    }

    /// This node or its master owns the slot: where READONLY reads and shard channels are served.
    #[inline]
    pub fn is_in_my_shard(&self, slot: Slot) -> bool {
        let owner = self.owners[slot.index()];
        owner != NOBODY && (owner == self.me || Some(owner) == self.myself().master)
    }

    /// No slot is on the move: the fast path of routing.
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.migrating.is_empty() && self.importing.is_empty()
    }

    /// Whether the slot's keys may be in part here and in part elsewhere.
    pub fn is_moving(&self, slot: Slot) -> bool {
        self.migrating.contains_key(&slot) || self.importing.contains_key(&slot)
    }

    /// Where a migrating slot's missing keys are asked for.
    pub fn migrating_to(&self, slot: Slot) -> Option<&RouteNode> {
        self.migrating.get(&slot).map(|index| self.node(*index))
    }

    pub fn importing_from(&self, slot: Slot) -> Option<&RouteNode> {
        self.importing.get(&slot).map(|index| self.node(*index))
    }
}

impl fmt::Debug for RoutingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingTable")
            .field("me", &self.myself().id)
            .field("nodes", &self.nodes.len())
            .field("state_ok", &self.state_ok)
            .finish_non_exhaustive()
    }
}
