//! The header: 2256 bytes that open every message.

use super::{Body, MessageType, WireError, field, u16_at, u32_at, u64_at};
use crate::flags::NodeFlags;
use crate::id::{Epoch, ID_LEN, NodeId, NodeIp};
use crate::slot_set::SlotBitmap;

/// Length of the header, and so of the shortest message.
pub const HEADER_LEN: usize = 2256;

pub(super) const SIGNATURE: &[u8; 4] = b"RCmb";
const VERSION: u16 = 1;

// Offsets of the fields.
const TOTAL_LEN: usize = 4;
const PROTOCOL: usize = 8;
const PORT: usize = 10;
const TYPE: usize = 12;
const COUNT: usize = 14;
const CURRENT_EPOCH: usize = 16;
const CONFIG_EPOCH: usize = 24;
const REPL_OFFSET: usize = 32;
const SENDER: usize = 40;
const SLOTS: usize = 80;
const MASTER: usize = 2128;
const IP: usize = 2168;
const EXTENSIONS: usize = 2214;
const SECOND_PORT: usize = 2246;
const BUS_PORT: usize = 2248;
const FLAGS: usize = 2250;
const STATE: usize = 2252;
const MESSAGE_FLAGS: usize = 2253;

/// The type of a whole frame as a number, known or not.
pub fn raw_type(frame: &[u8]) -> Option<u16> {
    u16_at(frame, TYPE).ok()
}

/// Flags of one message (`mflags[0]`), as opposed to those of its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MessageFlags {
    /// The master has paused its clients for a manual failover; its offset is final.
    pub paused: bool,
    /// Vote even though the master is up.
    pub force_ack: bool,
}

impl MessageFlags {
    const PAUSED: u8 = 1;
    const FORCE_ACK: u8 = 2;
    pub(super) const EXT_DATA: u8 = 4;

    fn from_byte(byte: u8) -> MessageFlags {
        MessageFlags { paused: byte & Self::PAUSED != 0, force_ack: byte & Self::FORCE_ACK != 0 }
    }

    fn byte(self) -> u8 {
        u8::from(self.paused) * Self::PAUSED + u8::from(self.force_ack) * Self::FORCE_ACK
    }
}

/// What the header says about its sender.
#[derive(Clone, PartialEq, Debug)]
pub struct Header<'a> {
    pub sender: NodeId,
    /// The sender's master when it is a replica.
    pub master: Option<NodeId>,
    pub current_epoch: Epoch,
    /// The sender's, or its master's when it is a replica.
    pub config_epoch: Epoch,
    /// Slots the sender (or its master) claims.
    pub slots: &'a SlotBitmap,
    /// Replication offset: produced by a master, processed by a replica.
    pub repl_offset: u64,
    /// The address to use for the sender; empty means "the one you see".
    pub ip: NodeIp,
    /// Client port of the bus's own transport (TLS when the bus is TLS).
    pub port: u16,
    /// Client port of the other transport.
    pub second_port: u16,
    pub bus_port: u16,
    pub flags: NodeFlags,
    /// Whether the sender sees the cluster as up.
    pub state_ok: bool,
    pub message_flags: MessageFlags,
}

/// The parts of the header that tell the body's shape.
pub(super) struct Shape {
    pub message_type: MessageType,
    pub count: u16,
    /// `None` when the message carries no extensions.
    pub extensions: Option<u16>,
}

impl<'a> Header<'a> {
    pub(super) fn decode(frame: &'a [u8]) -> Result<(Header<'a>, Shape), WireError> {
        if field::<4>(frame, 0)? != SIGNATURE {
            return Err(WireError::BadSignature);
        }
        let version = u16_at(frame, PROTOCOL)?;
        if version != VERSION {
            return Err(WireError::BadVersion { version });
        }
        let total = u32_at(frame, TOTAL_LEN)? as usize;
        if total != frame.len() {
            return Err(WireError::LengthMismatch { len: frame.len(), expected: total });
        }
        let raw_type = u16_at(frame, TYPE)?;
        let message_type =
            MessageType::from_wire(raw_type).ok_or(WireError::UnknownType { message_type: raw_type })?;
        let raw_flags = field::<3>(frame, MESSAGE_FLAGS)?[0];
        let extensions = u16_at(frame, EXTENSIONS)?;
        let shape = Shape {
            message_type,
            count: u16_at(frame, COUNT)?,
            extensions: (raw_flags & MessageFlags::EXT_DATA != 0).then_some(extensions),
        };
        let header = Header {
            sender: id_at(frame, SENDER)?,
            master: optional_id_at(frame, MASTER)?,
            current_epoch: Epoch(u64_at(frame, CURRENT_EPOCH)?),
            config_epoch: Epoch(u64_at(frame, CONFIG_EPOCH)?),
            slots: field(frame, SLOTS)?,
            repl_offset: u64_at(frame, REPL_OFFSET)?,
            ip: ip_at(frame, IP)?,
            port: u16_at(frame, PORT)?,
            second_port: u16_at(frame, SECOND_PORT)?,
            bus_port: u16_at(frame, BUS_PORT)?,
            flags: NodeFlags::from_bits(u16_at(frame, FLAGS)?),
            state_ok: field::<1>(frame, STATE)?[0] == 0,
            message_flags: MessageFlags::from_byte(raw_flags),
        };
        Ok((header, shape))
    }

    /// Appends the header; the caller writes the total length once it is known.
    pub(super) fn encode(&self, body: &Body<'_>, out: &mut Vec<u8>) {
        let (count, extensions) = body.counts();
        let start = out.len();
        out.resize(start + HEADER_LEN, 0);
        let h = &mut out[start..];
        let mut put = |at: usize, bytes: &[u8]| h[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, SIGNATURE);
        put(PROTOCOL, &VERSION.to_be_bytes());
        put(PORT, &self.port.to_be_bytes());
        put(TYPE, &(body.message_type() as u16).to_be_bytes());
        put(COUNT, &count.to_be_bytes());
        put(CURRENT_EPOCH, &self.current_epoch.0.to_be_bytes());
        put(CONFIG_EPOCH, &self.config_epoch.0.to_be_bytes());
        put(REPL_OFFSET, &self.repl_offset.to_be_bytes());
        put(SENDER, self.sender.as_bytes());
        put(SLOTS, self.slots);
        if let Some(master) = &self.master {
            put(MASTER, master.as_bytes());
        }
        put(IP, self.ip.field());
        put(EXTENSIONS, &extensions.to_be_bytes());
        put(SECOND_PORT, &self.second_port.to_be_bytes());
        put(BUS_PORT, &self.bus_port.to_be_bytes());
        put(FLAGS, &self.flags.bits().to_be_bytes());
        put(STATE, &[u8::from(!self.state_ok)]);
        let ext_flag = if extensions > 0 { MessageFlags::EXT_DATA } else { 0 };
        put(MESSAGE_FLAGS, &[self.message_flags.byte() | ext_flag]);
    }
}

pub(super) fn id_at(bytes: &[u8], at: usize) -> Result<NodeId, WireError> {
    NodeId::parse(field::<ID_LEN>(bytes, at)?).ok_or(WireError::BadNodeId { at })
}

fn optional_id_at(bytes: &[u8], at: usize) -> Result<Option<NodeId>, WireError> {
    if field::<ID_LEN>(bytes, at)? == &[0; ID_LEN] { Ok(None) } else { id_at(bytes, at).map(Some) }
}

pub(super) fn ip_at(bytes: &[u8], at: usize) -> Result<NodeIp, WireError> {
    NodeIp::from_field(field(bytes, at)?).ok_or(WireError::BadAddress { at })
}
