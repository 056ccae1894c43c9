//! Errors of the CLUSTER subcommands, with stock's texts.

use crate::id::Epoch;
use protocol::Slot;
use std::fmt;

/// Why a command was refused. `Display` gives stock's text without the leading `ERR `.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandError {
    InvalidAddress { ip: String, port: i64 },
    UnknownNode { id: String },
    DontKnowNode { id: String },
    ForgetMyself,
    ForgetMyMaster,
    ReplicateMyself,
    ReplicateReplica,
    MasterNotEmpty,
    NotAMaster,
    SlotUnassigned(Slot),
    SlotBusy(Slot),
    SlotRepeated(Slot),
    NotEmptyForFlushSlots,
    SetSlotOnReplica,
    NotOwner(Slot),
    AlreadyOwner(Slot),
    TargetNotMaster,
    KeysInSlot(Slot),
    FailoverOnMaster,
    MasterUnknown,
    MasterDown,
    OthersKnown,
    EpochAlreadySet,
    ResetWithKeys,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::InvalidAddress { ip, port } => {
                write!(f, "Invalid node address specified: {ip}:{port}")
            }
            CommandError::UnknownNode { id } => write!(f, "Unknown node {id}"),
            CommandError::DontKnowNode { id } => write!(f, "I don't know about node {id}"),
            CommandError::ForgetMyself => f.write_str("I tried hard but I can't forget myself..."),
            CommandError::ForgetMyMaster => f.write_str("Can't forget my master!"),
            CommandError::ReplicateMyself => f.write_str("Can't replicate myself"),
            CommandError::ReplicateReplica => f.write_str("I can only replicate a master, not a replica."),
            CommandError::MasterNotEmpty => {
                f.write_str("To set a master the node must be empty and without assigned slots.")
            }
            CommandError::NotAMaster => f.write_str("The specified node is not a master"),
            CommandError::SlotUnassigned(slot) => write!(f, "Slot {slot} is already unassigned"),
            CommandError::SlotBusy(slot) => write!(f, "Slot {slot} is already busy"),
            CommandError::SlotRepeated(slot) => write!(f, "Slot {slot} specified multiple times"),
            CommandError::NotEmptyForFlushSlots => {
                f.write_str("DB must be empty to perform CLUSTER FLUSHSLOTS.")
            }
            CommandError::SetSlotOnReplica => f.write_str("Please use SETSLOT only with masters."),
            CommandError::NotOwner(slot) => write!(f, "I'm not the owner of hash slot {slot}"),
            CommandError::AlreadyOwner(slot) => write!(f, "I'm already the owner of hash slot {slot}"),
            CommandError::TargetNotMaster => f.write_str("Target node is not a master"),
            CommandError::KeysInSlot(slot) => write!(
                f,
                "Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
            ),
            CommandError::FailoverOnMaster => f.write_str("You should send CLUSTER FAILOVER to a replica"),
            CommandError::MasterUnknown => f.write_str("I'm a replica but my master is unknown to me"),
            CommandError::MasterDown => {
                f.write_str("Master is down or failed, please use CLUSTER FAILOVER FORCE")
            }
            CommandError::OthersKnown => f.write_str(
                "The user can assign a config epoch only when the node does not know any other node.",
            ),
            CommandError::EpochAlreadySet => f.write_str("Node config epoch is already non-zero"),
            CommandError::ResetWithKeys => {
                f.write_str("CLUSTER RESET can't be called with master nodes containing keys")
            }
        }
    }
}

impl std::error::Error for CommandError {}

/// Outcome of CLUSTER BUMPEPOCH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BumpOutcome {
    Bumped(Epoch),
    Still(Epoch),
}

impl fmt::Display for BumpOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BumpOutcome::Bumped(epoch) => write!(f, "BUMPED {epoch}"),
            BumpOutcome::Still(epoch) => write!(f, "STILL {epoch}"),
        }
    }
}
