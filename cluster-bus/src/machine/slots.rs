//! Slot ownership: claims of other nodes, and who wins.

use super::node::NodeIdx;
use super::send::Audience;
use super::slot_table::Imported;
use super::{Action, Cx, LogLevel, Machine, log, notice};
use crate::flags::NodeFlags;
use crate::id::Epoch;
use crate::slot_set::{SlotBitmap, bitmap_has, bitmap_slots};
use crate::wire::Header;
use protocol::Slot;

impl Machine {
    /// Gives a free slot to a node. False when it has an owner already.
    pub(super) fn assign(&mut self, slot: Slot, owner: NodeIdx) -> bool {
        if self.slots.owner(slot).is_some() {
            return false;
        }
        self.slots.set_owner(slot, Some(owner));
        self.nodes[owner].slots.insert(slot);
        // A master's first slot makes it a place to migrate to, unless nobody here has replicas.
        if self.nodes[owner].slots.len() == 1 && self.masters_have_replicas() {
            self.nodes[owner].flags.insert(NodeFlags::MIGRATE_TO);
        }
        self.todo.routing = true;
        true
    }

    /// Takes a slot from its owner. False when it had none.
    pub(super) fn unassign(&mut self, slot: Slot) -> bool {
        let Some(owner) = self.slots.owner(slot) else { return false };
        self.nodes[owner].slots.remove(slot);
        self.slots.set_owner(slot, None);
        self.slots.unclaimed.remove(slot);
        self.slots.imported.remove(&slot);
        self.todo.routing = true;
        true
    }

    fn masters_have_replicas(&self) -> bool {
        self.nodes.iter().any(|(_, node)| !node.is_replica() && !node.replicas.is_empty())
    }

    /// What a heartbeat says about slots: new claims are weighed, old ones are answered with an UPDATE.
    pub(super) fn hear_slots(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, header: &Header<'_>) {
        let node = &self.nodes[sender];
        let Some(claimer) = (if node.is_master() { Some(sender) } else { node.master }) else { return };
        if self.nodes[claimer].slots.bitmap() == header.slots {
            return;
        }
        if self.nodes[sender].is_master() {
            self.hear_claims(cx, sender, header.config_epoch, header.slots);
        }
        self.correct_old_claims(cx, sender, header);
    }

    /// The sender claims slots that somebody else holds under a greater epoch: tell it who. After a
    /// partition the new owner may not be able to tell it itself.
    fn correct_old_claims(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, header: &Header<'_>) {
        let stronger = bitmap_slots(header.slots).find_map(|slot| {
            let owner = self.slots.owner(slot)?;
            let outranked = owner != sender
                && !self.slots.is_unclaimed(slot)
                && self.nodes[owner].config_epoch > header.config_epoch;
            outranked.then_some(owner)
        });
        if let Some(owner) = stronger {
            let (about, to) = (self.nodes[owner].id, self.nodes[sender].id);
            let text =
                format!("Node {to} has old slots configuration, sending an UPDATE message about {about}");
            log(cx, LogLevel::Verbose, text);
            self.send_update(cx, sender, owner);
        }
    }

    /// Rebinds to `claimer` the slots it claims under a greater epoch than their owner's.
    ///
    /// When that takes the last slot of this node's shard, this node follows the claimer; otherwise the keys
    /// of the slots it lost are deleted. A slot being imported is left to the operator.
    ///
    /// A slot just imported is not given up, see [`outbid`](Machine::outbid).
    pub(super) fn hear_claims(
        &mut self,
        cx: &mut Cx<'_>,
        claimer: NodeIdx,
        epoch: Epoch,
        claims: &SlotBitmap,
    ) {
        if claimer == self.me {
            return notice(cx, "Discarding UPDATE message about myself.".to_owned());
        }
        let shard_master = self.my_master();
        let mut lost_by_me = Vec::new();
        let mut taken_from_shard = 0;
        let mut claimed = 0;
        let mut outbids = false;
        for slot in bitmap_slots(claims) {
            claimed += 1;
            let owner = self.slots.owner(slot);
            if owner == Some(claimer) {
                self.slots.unclaimed.remove(slot);
                continue;
            }
            let stronger = self.slots.is_unclaimed(slot)
                || owner.is_some_and(|owner| self.nodes[owner].config_epoch < epoch);
            if self.slots.importing.contains_key(&slot) || !stronger {
                continue;
            }
            if owner == Some(self.me) {
                if self.spend_bid(cx, slot, claimer) {
                    outbids = true;
                    continue;
                }
                lost_by_me.push(slot);
            }
            taken_from_shard += usize::from(owner.is_some() && owner == shard_master);
            self.unassign(slot);
            self.assign(slot, claimer);
            self.todo.save_and_update();
            self.todo.save_and_sync();
        }
        self.note_unclaimed(claimer, claims);
        if outbids {
            self.outbid(cx, claimer);
        }

        let emptied = taken_from_shard > 0
            && shard_master.is_some_and(|master| self.nodes[master].slots.is_empty())
            && (self.config.allow_replica_migration || claimed == taken_from_shard);
        let grandmaster = self.me().master.and_then(|master| self.nodes[master].master);
        if emptied {
            self.follow_new_owner(cx, claimer);
        } else if let Some(grandmaster) = grandmaster.filter(|idx| *idx != self.me) {
            let label = self.label(grandmaster);
            let text = format!("I'm a sub-replica! Reconfiguring myself as a replica of grandmaster {label}");
            notice(cx, text);
            self.follow_master(cx, grandmaster);
        } else if !lost_by_me.is_empty() {
            cx.out.push(Action::DeleteSlotKeys { slots: lost_by_me });
        }
    }

    /// Slots that `claimer` owned and no longer claims stay bound to it, so that clients still get a
    /// redirect, but they are up for grabs.
    fn note_unclaimed(&mut self, claimer: NodeIdx, claims: &SlotBitmap) {
        if self.nodes[claimer].slots.bitmap() == claims {
            return;
        }
        let dropped: Vec<Slot> =
            self.nodes[claimer].slots.iter().filter(|slot| !bitmap_has(claims, *slot)).collect();
        for slot in dropped {
            self.slots.unclaimed.insert(slot);
        }
    }

    /// Spends one of the bids on a slot that was just imported. False when there is none to spend on this claim.
    fn spend_bid(&mut self, cx: &Cx<'_>, slot: Slot, claimer: NodeIdx) -> bool {
        // A replica of this node that was promoted knows what it claims.
        if self.nodes[claimer].shard == self.me().shard {
            return false;
        }
        match self.slots.imported.get_mut(&slot) {
            Some(Imported { until_ms, bids }) if cx.now_ms < *until_ms && *bids > 0 => {
                *bids -= 1;
                true
            }
            _ => false,
        }
    }

    /// Takes an epoch above the claimer's, and says so to all.
    ///
    /// The operator tells the new owner of a slot first and the old one a moment later. Until the old one
    /// knows, and while what it said before is on its way, it claims the slot, perhaps under a greater epoch:
    /// it imported another slot, or resolved a collision with the very epoch the new owner took. By epochs
    /// alone it would get the slot back, the keys that arrived would be deleted, and once the operator has
    /// told it too, each of the two would hold the other for the owner, for good.
    ///
    /// But what if the operator sent the slot on, to the claimer? That node outbids this one in turn, and this
    /// one runs out of bids first.
    fn outbid(&mut self, cx: &mut Cx<'_>, claimer: NodeIdx) {
        if self.bump_without_consensus(cx) {
            let label = self.label(claimer);
            notice(cx, format!("configEpoch updated: node {label} claims slots just imported"));
        }
        self.broadcast_pong(cx, Audience::Everybody);
        self.todo.save_and_update();
    }
}
