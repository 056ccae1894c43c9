//! The CLUSTER subcommands that change something.

use super::node::NodeIdx;
use super::send::Audience;
use super::slot_table::Imported;
use super::{Action, BLACKLIST_TTL_MS, BumpOutcome, CommandError, Cx, Machine, notice};
use crate::flags::NodeFlags;
use crate::id::{Address, Epoch, NodeId, NodeIp, ShardId};
use crate::slot_set::SlotSet;
use protocol::Slot;
use std::net::IpAddr;

/// For so many node timeouts an imported slot is kept against older claims.
const IMPORT_SETTLED_TIMEOUTS: i64 = 2;
/// And so many of them.
const IMPORT_BIDS: u8 = 16;

impl Machine {
    /// CLUSTER MEET. `ip` must be numeric; a second MEET for an address being met is no error.
    pub fn meet(&mut self, cx: &mut Cx<'_>, ip: &str, port: i64, bus_port: i64) -> Result<(), CommandError> {
        let invalid = || CommandError::InvalidAddress { ip: ip.to_owned(), port };
        let parsed: IpAddr = ip.parse().map_err(|_| invalid())?;
        let port = u16::try_from(port).ok().filter(|p| *p > 0).ok_or_else(invalid)?;
        let bus_port = u16::try_from(bus_port).ok().filter(|p| *p > 0).ok_or_else(invalid)?;
        let (tcp_port, tls_port) = self.ports_from_wire(port, 0);
        let start = cx.out.len();
        let address = Address { ip: NodeIp::from(parsed), tcp_port, tls_port, bus_port };
        self.start_handshake(cx, address, NodeFlags::MEET);
        self.settle(cx, start);
        Ok(())
    }

    /// CLUSTER FORGET. A node forgotten already is no error.
    pub fn forget(&mut self, cx: &mut Cx<'_>, id: &[u8]) -> Result<(), CommandError> {
        let Some(idx) = self.lookup(id) else {
            let blacklisted = NodeId::parse(id).is_some_and(|id| self.is_blacklisted(&id, cx.now_ms));
            return if blacklisted { Ok(()) } else { Err(CommandError::UnknownNode { id: lossy(id) }) };
        };
        if idx == self.me {
            return Err(CommandError::ForgetMyself);
        }
        if self.me().is_replica() && self.me().master == Some(idx) {
            return Err(CommandError::ForgetMyMaster);
        }
        let start = cx.out.len();
        self.blacklist.insert(self.nodes[idx].id, cx.now_ms + BLACKLIST_TTL_MS);
        self.delete_node(cx, idx);
        self.todo.save_and_update();
        self.settle(cx, start);
        Ok(())
    }

    /// Another node forgot a node, and asks to do likewise.
    pub(super) fn hear_forgotten(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, id: &NodeId, ttl_s: u64) {
        let Some(idx) = self.nodes.find(id) else { return };
        let mine = idx == self.me || (self.me().is_replica() && self.me().master == Some(idx));
        // The sender is still being listened to, whatever it says about itself.
        if mine || idx == sender {
            return;
        }
        let ttl_ms = i64::try_from(ttl_s).unwrap_or(i64::MAX).min(BLACKLIST_TTL_MS / 1000) * 1000;
        self.blacklist.insert(*id, cx.now_ms + ttl_ms);
        self.delete_node(cx, idx);
        self.todo.save_and_update();
    }

    pub(super) fn is_blacklisted(&self, id: &NodeId, now_ms: i64) -> bool {
        self.blacklist.get(id).is_some_and(|until_ms| *until_ms >= now_ms)
    }

    /// CLUSTER REPLICATE. `db_is_empty` is asked of a master only.
    pub fn replicate(&mut self, cx: &mut Cx<'_>, id: &[u8], db_is_empty: bool) -> Result<(), CommandError> {
        let idx = self.lookup(id).ok_or_else(|| CommandError::UnknownNode { id: lossy(id) })?;
        if idx == self.me {
            return Err(CommandError::ReplicateMyself);
        }
        if self.nodes[idx].is_replica() {
            return Err(CommandError::ReplicateReplica);
        }
        if self.me().is_master() && (!self.me().slots.is_empty() || !db_is_empty) {
            return Err(CommandError::MasterNotEmpty);
        }
        let start = cx.out.len();
        self.follow_master(cx, idx);
        self.settle(cx, start);
        Ok(())
    }

    /// CLUSTER ADDSLOTS and ADDSLOTSRANGE: all or nothing.
    pub fn add_slots(&mut self, cx: &mut Cx<'_>, slots: &[Slot]) -> Result<(), CommandError> {
        let busy = |machine: &Machine, slot| machine.slots.owner(slot).is_some();
        self.check_slots(slots, |machine, slot| busy(machine, slot).then_some(CommandError::SlotBusy(slot)))?;
        let start = cx.out.len();
        for slot in slots {
            self.slots.importing.remove(slot);
            self.assign(*slot, self.me);
        }
        self.todo.save_and_update();
        self.settle(cx, start);
        Ok(())
    }

    /// CLUSTER DELSLOTS and DELSLOTSRANGE: all or nothing, whoever owns them.
    pub fn del_slots(&mut self, cx: &mut Cx<'_>, slots: &[Slot]) -> Result<(), CommandError> {
        let free = |machine: &Machine, slot| machine.slots.owner(slot).is_none();
        let error =
            |machine: &Machine, slot| free(machine, slot).then_some(CommandError::SlotUnassigned(slot));
        self.check_slots(slots, error)?;
        let start = cx.out.len();
        for slot in slots {
            self.slots.importing.remove(slot);
            self.unassign(*slot);
        }
        self.todo.save_and_update();
        self.settle(cx, start);
        Ok(())
    }

    fn check_slots(
        &self,
        slots: &[Slot],
        error: impl Fn(&Machine, Slot) -> Option<CommandError>,
    ) -> Result<(), CommandError> {
        let mut seen = SlotSet::default();
        for &slot in slots {
            if let Some(error) = error(self, slot) {
                return Err(error);
            }
            if !seen.insert(slot) {
                return Err(CommandError::SlotRepeated(slot));
            }
        }
        Ok(())
    }

    /// CLUSTER FLUSHSLOTS.
    pub fn flush_slots(&mut self, cx: &mut Cx<'_>, db_is_empty: bool) -> Result<(), CommandError> {
        if !db_is_empty {
            return Err(CommandError::NotEmptyForFlushSlots);
        }
        let start = cx.out.len();
        for slot in self.me().slots.iter().collect::<Vec<_>>() {
            self.unassign(slot);
        }
        self.todo.save_and_update();
        self.settle(cx, start);
        Ok(())
    }

    /// CLUSTER SETSLOT … MIGRATING.
    pub fn set_slot_migrating(&mut self, cx: &mut Cx<'_>, slot: Slot, id: &[u8]) -> Result<(), CommandError> {
        self.require_master()?;
        if self.slots.owner(slot) != Some(self.me) {
            return Err(CommandError::NotOwner(slot));
        }
        let target = self.migration_peer(id)?;
        self.slots.migrating.insert(slot, target);
        self.slots.imported.remove(&slot);
        self.slots_changed(cx);
        Ok(())
    }

    /// CLUSTER SETSLOT … IMPORTING.
    pub fn set_slot_importing(&mut self, cx: &mut Cx<'_>, slot: Slot, id: &[u8]) -> Result<(), CommandError> {
        self.require_master()?;
        if self.slots.owner(slot) == Some(self.me) {
            return Err(CommandError::AlreadyOwner(slot));
        }
        let source = self.migration_peer(id)?;
        self.slots.importing.insert(slot, source);
        self.slots_changed(cx);
        Ok(())
    }

    /// CLUSTER SETSLOT … STABLE.
    pub fn set_slot_stable(&mut self, cx: &mut Cx<'_>, slot: Slot) -> Result<(), CommandError> {
        self.require_master()?;
        self.slots.importing.remove(&slot);
        self.slots.migrating.remove(&slot);
        self.slots_changed(cx);
        Ok(())
    }

    /// CLUSTER SETSLOT … NODE: the end of a migration. `keys` is how many keys this node holds in the slot.
    ///
    /// A node that was importing the slot takes a new configuration epoch, without asking, so that its claim
    /// beats the former owner's everywhere.
    pub fn set_slot_node(
        &mut self,
        cx: &mut Cx<'_>,
        slot: Slot,
        id: &[u8],
        keys: usize,
    ) -> Result<(), CommandError> {
        self.require_master()?;
        let owner = self.lookup(id).ok_or_else(|| CommandError::UnknownNode { id: lossy(id) })?;
        if self.nodes[owner].is_replica() {
            return Err(CommandError::TargetNotMaster);
        }
        let was_mine = self.slots.owner(slot) == Some(self.me);
        if was_mine && owner != self.me && keys > 0 {
            return Err(CommandError::KeysInSlot(slot));
        }
        let start = cx.out.len();
        if keys == 0 {
            self.slots.migrating.remove(&slot);
        }
        self.unassign(slot);
        self.assign(slot, owner);
        let last_one_gone = was_mine && owner != self.me && self.me().slots.is_empty();
        if last_one_gone && self.config.allow_replica_migration {
            self.follow_new_owner(cx, owner);
        }
        if owner == self.me && self.slots.importing.remove(&slot).is_some() {
            let until_ms = cx.now_ms + IMPORT_SETTLED_TIMEOUTS * self.config.node_timeout_ms;
            self.slots.imported.insert(slot, Imported { until_ms, bids: IMPORT_BIDS });
            if self.bump_without_consensus(cx) {
                notice(cx, format!("configEpoch updated after importing slot {slot}"));
            }
            self.broadcast_pong(cx, Audience::Everybody);
        }
        self.todo.save_and_update();
        // Stock syncs a new epoch only. But a claim that peers have heard and a crash undoes leaves a slot
        // nobody claims.
        self.todo.save_and_sync();
        self.settle(cx, start);
        Ok(())
    }

    fn require_master(&self) -> Result<(), CommandError> {
        if self.me().is_replica() { Err(CommandError::SetSlotOnReplica) } else { Ok(()) }
    }

    fn migration_peer(&self, id: &[u8]) -> Result<NodeIdx, CommandError> {
        let idx = self.lookup(id).ok_or_else(|| CommandError::DontKnowNode { id: lossy(id) })?;
        if self.nodes[idx].is_replica() { Err(CommandError::TargetNotMaster) } else { Ok(idx) }
    }

    fn slots_changed(&mut self, cx: &mut Cx<'_>) {
        let start = cx.out.len();
        self.todo.save_and_update();
        self.settle(cx, start);
    }

    /// CLUSTER BUMPEPOCH.
    pub fn bump_epoch(&mut self, cx: &mut Cx<'_>) -> BumpOutcome {
        let start = cx.out.len();
        let bumped = self.bump_without_consensus(cx);
        self.settle(cx, start);
        let epoch = self.me().config_epoch;
        if bumped { BumpOutcome::Bumped(epoch) } else { BumpOutcome::Still(epoch) }
    }

    /// CLUSTER SET-CONFIG-EPOCH: for a node that knows nobody yet.
    pub fn set_config_epoch(&mut self, cx: &mut Cx<'_>, epoch: Epoch) -> Result<(), CommandError> {
        if self.nodes.len() > 1 {
            return Err(CommandError::OthersKnown);
        }
        if self.me().config_epoch != Epoch(0) {
            return Err(CommandError::EpochAlreadySet);
        }
        let start = cx.out.len();
        self.me_mut().config_epoch = epoch;
        notice(cx, format!("configEpoch set to {epoch} via CLUSTER SET-CONFIG-EPOCH"));
        self.current_epoch = self.current_epoch.max(epoch);
        self.todo.save_and_update();
        self.settle(cx, start);
        Ok(())
    }

    /// CLUSTER RESET: forget everybody; when `hard`, also who this node is.
    pub fn reset(&mut self, cx: &mut Cx<'_>, hard: bool, db_is_empty: bool) -> Result<(), CommandError> {
        if self.me().is_master() && !db_is_empty {
            return Err(CommandError::ResetWithKeys);
        }
        let start = cx.out.len();
        if self.me().is_replica() {
            self.become_master(cx);
            cx.out.push(Action::FlushData);
        }
        self.slots.close_all();
        self.reset_manual_failover(cx);
        self.election.forget();
        for slot in Slot::all() {
            self.unassign(slot);
        }
        for idx in self.nodes.indices() {
            if idx != self.me {
                self.delete_node(cx, idx);
            }
        }
        self.blacklist.clear();
        if hard {
            self.take_new_identity(cx);
        }
        self.todo.save_and_update();
        self.todo.save_and_sync();
        self.settle(cx, start);
        Ok(())
    }

    fn take_new_identity(&mut self, cx: &mut Cx<'_>) {
        self.current_epoch = Epoch(0);
        self.last_vote_epoch = Epoch(0);
        notice(cx, "configEpoch set to 0 via CLUSTER RESET HARD".to_owned());
        let (id, shard) = (NodeId::random(cx.rng), ShardId::random(cx.rng));
        self.nodes.rename(self.me, id);
        let me = self.me_mut();
        me.shard = shard;
        me.config_epoch = Epoch(0);
        notice(cx, format!("Node hard reset, now I'm {id}"));
    }

    /// Squares the slots with the dataset loaded at start: keys in a slot nobody owns make this master its
    /// owner; keys in somebody else's slot mark it as importing, so that an operator's tool finds them.
    pub fn account_for_keys(&mut self, cx: &mut Cx<'_>, slots_with_keys: &[Slot]) {
        if self.me().is_replica() {
            return;
        }
        let start = cx.out.len();
        for &slot in slots_with_keys {
            match self.slots.owner(slot) {
                Some(owner) if owner == self.me || self.slots.importing.contains_key(&slot) => continue,
                Some(owner) => {
                    notice(
                        cx,
                        format!(
                            "I have keys for slot {slot}, but the slot is assigned to another node. Setting it to \
                             importing state."
                        ),
                    );
                    self.slots.importing.insert(slot, owner);
                }
                None if self.slots.importing.contains_key(&slot) => continue,
                None => {
                    notice(
                        cx,
                        format!("I have keys for unassigned slot {slot}. Taking responsibility for it."),
                    );
                    self.assign(slot, self.me);
                }
            }
            self.todo.save_and_update();
            self.todo.save_and_sync();
        }
        self.settle(cx, start);
    }

    /// CLUSTER COUNT-FAILURE-REPORTS.
    pub fn count_failure_reports(&mut self, now_ms: i64, id: &[u8]) -> Result<usize, CommandError> {
        let idx = self.lookup(id).ok_or_else(|| CommandError::UnknownNode { id: lossy(id) })?;
        Ok(self.count_reports(now_ms, idx))
    }

    pub(super) fn lookup(&self, id: &[u8]) -> Option<NodeIdx> {
        self.nodes.find(&NodeId::parse(id)?)
    }
}

pub(super) fn lossy(id: &[u8]) -> String {
    String::from_utf8_lossy(id).into_owned()
}
