//! Ping extensions: optional facts after the gossip of PING, PONG and MEET.
//!
//! Each is an 8-byte head (length including the head, type, padding) and a payload padded to eight bytes.
//! Types 0 to 3 are shared by Redis and Valkey. Type 4 means different things to the two, so it and
//! everything above is skipped when met and never written.

use super::header::id_at;
use super::{WireError, u16_at, u32_at, u64_at};
use crate::id::{NodeId, ShardId};

const HEAD_LEN: usize = 8;

const HOSTNAME: u16 = 0;
const HUMAN_NODENAME: u16 = 1;
const FORGOTTEN_NODE: u16 = 2;
const SHARD_ID: u16 = 3;

/// One ping extension.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Extension<'a> {
    /// The announced host name. Known to Redis 7.0.
    Hostname(&'a [u8]),
    /// The name for people, used in logs. Known to Redis 7.2.
    HumanNodename(&'a [u8]),
    /// A node that CLUSTER FORGET removed, and for how long. Known to Redis 7.2.
    ForgottenNode { node: NodeId, ttl_s: u64 },
    /// The sender's shard. Known to Redis 7.2, which always sends it.
    ShardId(ShardId),
    /// Something this node does not know. Skipped on encoding.
    Unknown { extension_type: u16 },
}

impl<'a> Extension<'a> {
    /// Decodes the extension at `at` and says where the next one starts.
    pub(super) fn decode(frame: &'a [u8], at: usize) -> Result<(Extension<'a>, usize), WireError> {
        let len = u32_at(frame, at)?;
        let extension_type = u16_at(frame, at + 4)?;
        let bad = WireError::BadExtension { at, len };
        if (len as usize) < HEAD_LEN || len % 8 != 0 {
            return Err(bad);
        }
        let end = at.checked_add(len as usize).filter(|end| *end <= frame.len()).ok_or(bad)?;
        let payload = &frame[at + HEAD_LEN..end];
        // Fixed fields are read from `inside`, so they cannot reach into the next extension.
        let inside = &frame[..end];
        let extension = match extension_type {
            HOSTNAME => Extension::Hostname(up_to_nul(payload)),
            HUMAN_NODENAME => Extension::HumanNodename(up_to_nul(payload)),
            FORGOTTEN_NODE => Extension::ForgottenNode {
                node: id_at(inside, at + HEAD_LEN)?,
                ttl_s: u64_at(inside, at + HEAD_LEN + 40)?,
            },
            SHARD_ID => {
                let id = payload.get(..40).and_then(ShardId::parse);
                Extension::ShardId(id.ok_or(WireError::BadNodeId { at: at + HEAD_LEN })?)
            }
            _ => Extension::Unknown { extension_type },
        };
        Ok((extension, end))
    }

    /// True for those that are written.
    pub(super) const fn is_known(&self) -> bool {
        !matches!(self, Extension::Unknown { .. })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Extension::Hostname(name) => encode_one(HOSTNAME, &[name, &[0]], out),
            Extension::HumanNodename(name) => encode_one(HUMAN_NODENAME, &[name, &[0]], out),
            Extension::ForgottenNode { node, ttl_s } => {
                encode_one(FORGOTTEN_NODE, &[node.as_bytes(), &ttl_s.to_be_bytes()], out);
            }
            Extension::ShardId(id) => encode_one(SHARD_ID, &[id.as_bytes()], out),
            Extension::Unknown { .. } => {}
        }
    }
}

fn encode_one(extension_type: u16, parts: &[&[u8]], out: &mut Vec<u8>) {
    let payload_len: usize = parts.iter().map(|part| part.len()).sum();
    let padded_len = payload_len.next_multiple_of(8);
    out.extend_from_slice(&((HEAD_LEN + padded_len) as u32).to_be_bytes());
    out.extend_from_slice(&extension_type.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.resize(out.len() + padded_len - payload_len, 0);
}

fn up_to_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len())]
}
