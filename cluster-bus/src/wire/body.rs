//! What follows the header, by message type.

use super::gossip::{GOSSIP_LEN, Gossip};
use super::header::{HEADER_LEN, Shape, id_at};
use super::{Extension, MessageType, WireError, field, u32_at, u64_at};
use crate::id::{Epoch, NodeId};
use crate::slot_set::{SLOT_BITMAP_LEN, SlotBitmap};

/// The three messages that carry gossip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heartbeat {
    Ping,
    Pong,
    /// A ping that asks the receiver to take the sender in.
    Meet,
}

/// The body of a message.
#[derive(Clone, PartialEq, Debug)]
pub enum Body<'a> {
    Heartbeat {
        kind: Heartbeat,
        gossip: Vec<Gossip>,
        extensions: Vec<Extension<'a>>,
    },
    /// A majority of masters cannot reach this node.
    Fail {
        node: NodeId,
    },
    Publish {
        channel: &'a [u8],
        message: &'a [u8],
        sharded: bool,
    },
    AuthRequest,
    AuthAck,
    /// "Your claim is old: this is who serves these slots now."
    Update {
        config_epoch: Epoch,
        node: NodeId,
        slots: &'a SlotBitmap,
    },
    MfStart,
    Module {
        module: [u8; 8],
        kind: u8,
        payload: &'a [u8],
    },
}

const UPDATE_LEN: usize = 8 + 40 + SLOT_BITMAP_LEN;
const PUBLISH_HEAD_LEN: usize = 8;
const MODULE_HEAD_LEN: usize = 13;

impl<'a> Body<'a> {
    pub const fn message_type(&self) -> MessageType {
        match self {
            Body::Heartbeat { kind: Heartbeat::Ping, .. } => MessageType::Ping,
            Body::Heartbeat { kind: Heartbeat::Pong, .. } => MessageType::Pong,
            Body::Heartbeat { kind: Heartbeat::Meet, .. } => MessageType::Meet,
            Body::Fail { .. } => MessageType::Fail,
            Body::Publish { sharded: false, .. } => MessageType::Publish,
            Body::Publish { sharded: true, .. } => MessageType::PublishShard,
            Body::AuthRequest => MessageType::AuthRequest,
            Body::AuthAck => MessageType::AuthAck,
            Body::Update { .. } => MessageType::Update,
            Body::MfStart => MessageType::MfStart,
            Body::Module { .. } => MessageType::Module,
        }
    }

    pub(super) fn decode(shape: &Shape, frame: &'a [u8]) -> Result<Body<'a>, WireError> {
        let at = HEADER_LEN;
        let exactly = |expected: usize, body: Body<'a>| {
            let expected = HEADER_LEN.saturating_add(expected);
            if frame.len() == expected {
                Ok(body)
            } else {
                Err(WireError::LengthMismatch { len: frame.len(), expected })
            }
        };
        match shape.message_type {
            MessageType::Ping => decode_heartbeat(Heartbeat::Ping, shape, frame),
            MessageType::Pong => decode_heartbeat(Heartbeat::Pong, shape, frame),
            MessageType::Meet => decode_heartbeat(Heartbeat::Meet, shape, frame),
            MessageType::Fail => exactly(40, Body::Fail { node: id_at(frame, at)? }),
            MessageType::Publish => decode_publish(frame, false),
            MessageType::PublishShard => decode_publish(frame, true),
            MessageType::AuthRequest => exactly(0, Body::AuthRequest),
            MessageType::AuthAck => exactly(0, Body::AuthAck),
            MessageType::MfStart => exactly(0, Body::MfStart),
            MessageType::Update => {
                let config_epoch = Epoch(u64_at(frame, at)?);
                let (node, slots) = (id_at(frame, at + 8)?, field(frame, at + 48)?);
                exactly(UPDATE_LEN, Body::Update { config_epoch, node, slots })
            }
            MessageType::Module => {
                let len = u32_at(frame, at + 8)? as usize;
                let (module, kind) = (*field(frame, at)?, field::<1>(frame, at + 12)?[0]);
                let payload = frame.get(at + MODULE_HEAD_LEN..).unwrap_or_default();
                exactly(MODULE_HEAD_LEN + len, Body::Module { module, kind, payload })
            }
        }
    }

    /// Numbers of gossip entries and extensions, for the header.
    pub(super) fn counts(&self) -> (u16, u16) {
        let Body::Heartbeat { gossip, extensions, .. } = self else { return (0, 0) };
        let written = extensions.iter().filter(|ext| ext.is_known()).count();
        (gossip.len() as u16, written as u16)
    }

    pub(super) fn len_hint(&self) -> usize {
        match self {
            Body::Heartbeat { gossip, extensions, .. } => gossip.len() * GOSSIP_LEN + extensions.len() * 64,
            Body::Publish { channel, message, .. } => PUBLISH_HEAD_LEN + channel.len() + message.len(),
            Body::Update { .. } => UPDATE_LEN,
            Body::Module { payload, .. } => MODULE_HEAD_LEN + payload.len(),
            Body::Fail { .. } => 40,
            Body::AuthRequest | Body::AuthAck | Body::MfStart => 0,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Body::Heartbeat { gossip, extensions, .. } => {
                gossip.iter().for_each(|entry| entry.encode(out));
                extensions.iter().for_each(|ext| ext.encode(out));
            }
            Body::Fail { node } => out.extend_from_slice(node.as_bytes()),
            Body::Publish { channel, message, .. } => {
                out.extend_from_slice(&(channel.len() as u32).to_be_bytes());
                out.extend_from_slice(&(message.len() as u32).to_be_bytes());
                out.extend_from_slice(channel);
                out.extend_from_slice(message);
            }
            Body::Update { config_epoch, node, slots } => {
                out.extend_from_slice(&config_epoch.0.to_be_bytes());
                out.extend_from_slice(node.as_bytes());
                out.extend_from_slice(*slots);
            }
            Body::Module { module, kind, payload } => {
                out.extend_from_slice(module);
                out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
                out.push(*kind);
                out.extend_from_slice(payload);
            }
            Body::AuthRequest | Body::AuthAck | Body::MfStart => {}
        }
    }
}

fn decode_heartbeat<'a>(kind: Heartbeat, shape: &Shape, frame: &'a [u8]) -> Result<Body<'a>, WireError> {
    let count = usize::from(shape.count);
    let after_gossip = HEADER_LEN + count * GOSSIP_LEN;
    if frame.len() < after_gossip {
        return Err(WireError::LengthMismatch { len: frame.len(), expected: after_gossip });
    }
    let gossip =
        (0..count).map(|i| Gossip::decode(frame, HEADER_LEN + i * GOSSIP_LEN)).collect::<Result<_, _>>()?;
    let mut extensions = Vec::new();
    let mut at = after_gossip;
    for _ in 0..shape.extensions.unwrap_or(0) {
        let (extension, next) = Extension::decode(frame, at)?;
        extensions.push(extension);
        at = next;
    }
    if at != frame.len() {
        return Err(WireError::LengthMismatch { len: frame.len(), expected: at });
    }
    Ok(Body::Heartbeat { kind, gossip, extensions })
}

fn decode_publish(frame: &[u8], sharded: bool) -> Result<Body<'_>, WireError> {
    let channel_len = u32_at(frame, HEADER_LEN)? as usize;
    let message_len = u32_at(frame, HEADER_LEN + 4)? as usize;
    let data = frame.get(HEADER_LEN + PUBLISH_HEAD_LEN..).unwrap_or_default();
    let expected = channel_len.saturating_add(message_len);
    if data.len() != expected {
        let expected = expected.saturating_add(HEADER_LEN + PUBLISH_HEAD_LEN);
        return Err(WireError::LengthMismatch { len: frame.len(), expected });
    }
    let (channel, message) = data.split_at(channel_len);
    Ok(Body::Publish { channel, message, sharded })
}
