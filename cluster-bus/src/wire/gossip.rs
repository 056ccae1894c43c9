//! Gossip: what the sender thinks of a third node, 104 bytes each.

use super::header::{id_at, ip_at};
use super::{WireError, u16_at, u32_at};
use crate::flags::NodeFlags;
use crate::id::{NodeId, NodeIp};

/// Length of one gossip entry.
pub const GOSSIP_LEN: usize = 104;

/// One gossip entry.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gossip {
    pub node: NodeId,
    /// When the sender last pinged the node without an answer yet, Unix time; 0 is "no ping pending".
    pub ping_sent_s: u32,
    /// When the node last answered the sender, Unix time.
    pub pong_received_s: u32,
    pub ip: NodeIp,
    pub port: u16,
    pub bus_port: u16,
    pub flags: NodeFlags,
    pub second_port: u16,
}

impl Gossip {
    pub(super) fn decode(frame: &[u8], at: usize) -> Result<Gossip, WireError> {
        Ok(Gossip {
            node: id_at(frame, at)?,
            ping_sent_s: u32_at(frame, at + 40)?,
            pong_received_s: u32_at(frame, at + 44)?,
            ip: ip_at(frame, at + 48)?,
            port: u16_at(frame, at + 94)?,
            bus_port: u16_at(frame, at + 96)?,
            flags: NodeFlags::from_bits(u16_at(frame, at + 98)?),
            second_port: u16_at(frame, at + 100)?,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.node.as_bytes());
        out.extend_from_slice(&self.ping_sent_s.to_be_bytes());
        out.extend_from_slice(&self.pong_received_s.to_be_bytes());
        out.extend_from_slice(self.ip.field());
        out.extend_from_slice(&self.port.to_be_bytes());
        out.extend_from_slice(&self.bus_port.to_be_bytes());
        out.extend_from_slice(&self.flags.bits().to_be_bytes());
        out.extend_from_slice(&self.second_port.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
    }
}
