//! The cluster bus wire format, version 1 (`RCmb`), as Redis 7.0 and 7.2 speak it.
//!
//! Every message is a header of [`HEADER_LEN`] bytes, which alone tells who the sender is, what it serves
//! and in which epoch, followed by a body that depends on the type. All integers are big-endian. The byte
//! tables are in `docs/cluster-bus.md`.
//!
//! **Invariant:** decoding never panics and never allocates more than the frame it was given is worth.

mod body;
mod error;
mod ext;
mod frame;
mod gossip;
mod header;
#[cfg(test)]
mod tests;

pub use body::{Body, Heartbeat};
pub use error::WireError;
pub use ext::Extension;
pub use frame::{DEFAULT_MAX_FRAME_BYTES, Deframer, frame_len};
pub use gossip::{GOSSIP_LEN, Gossip};
pub use header::{HEADER_LEN, Header, MessageFlags, raw_type};

use std::fmt;
use std::sync::Arc;

/// The types of messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum MessageType {
    Ping = 0,
    Pong = 1,
    Meet = 2,
    Fail = 3,
    Publish = 4,
    AuthRequest = 5,
    AuthAck = 6,
    Update = 7,
    MfStart = 8,
    Module = 9,
    PublishShard = 10,
}

/// How many message types there are.
pub const MESSAGE_TYPES: usize = 11;

impl MessageType {
    pub const ALL: [MessageType; MESSAGE_TYPES] = [
        MessageType::Ping,
        MessageType::Pong,
        MessageType::Meet,
        MessageType::Fail,
        MessageType::Publish,
        MessageType::AuthRequest,
        MessageType::AuthAck,
        MessageType::Update,
        MessageType::MfStart,
        MessageType::Module,
        MessageType::PublishShard,
    ];

    pub fn from_wire(n: u16) -> Option<MessageType> {
        MessageType::ALL.get(usize::from(n)).copied()
    }

    /// The name used in CLUSTER INFO's counters.
    pub const fn name(self) -> &'static str {
        match self {
            MessageType::Ping => "ping",
            MessageType::Pong => "pong",
            MessageType::Meet => "meet",
            MessageType::Fail => "fail",
            MessageType::Publish => "publish",
            MessageType::AuthRequest => "auth-req",
            MessageType::AuthAck => "auth-ack",
            MessageType::Update => "update",
            MessageType::MfStart => "mfstart",
            MessageType::Module => "module",
            MessageType::PublishShard => "publishshard",
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One message, borrowing from the frame it was decoded from (or from what it will be encoded of).
#[derive(Clone, PartialEq, Debug)]
pub struct Message<'a> {
    pub header: Header<'a>,
    pub body: Body<'a>,
}

impl<'a> Message<'a> {
    /// Decodes one whole frame, as cut by [`frame_len`].
    pub fn decode(frame: &'a [u8]) -> Result<Message<'a>, WireError> {
        let (header, raw) = Header::decode(frame)?;
        let body = Body::decode(&raw, frame)?;
        Ok(Message { header, body })
    }

    /// The bytes of this message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + self.body.len_hint());
        self.header.encode(&self.body, &mut out);
        self.body.encode(&mut out);
        let len = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out[4..8].copy_from_slice(&len.to_be_bytes());
        out
    }

    /// The bytes of this message, shared by all links it is queued on.
    pub fn encode_shared(&self) -> Arc<[u8]> {
        self.encode().into()
    }
}

/// Reads big-endian integers and fixed fields at checked offsets.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<&[u8; N], WireError> {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(WireError::Truncated {
        at,
        need: N,
        len: bytes.len(),
    })
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, WireError> {
    field(bytes, at).map(|b| u16::from_be_bytes(*b))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, WireError> {
    field(bytes, at).map(|b| u32::from_be_bytes(*b))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Result<u64, WireError> {
    field(bytes, at).map(|b| u64::from_be_bytes(*b))
}
