use std::fmt;

/// What is wrong with a frame. Offsets count from the frame's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireError {
    /// The first four bytes are not `RCmb`: not a cluster bus at all. Close the connection.
    BadSignature,
    /// The announced length is below that of a header. Close the connection.
    TooShort { len: u32 },
    /// The announced length is above the cap. Close the connection.
    TooLong { len: u32, max: usize },
    /// A field reaches beyond the end of the frame.
    Truncated { at: usize, need: usize, len: usize },
    /// A protocol version other than 1. Ignore the message.
    BadVersion { version: u16 },
    /// A type this node does not know. Ignore the message.
    UnknownType { message_type: u16 },
    /// The frame is longer or shorter than its type and counts say.
    LengthMismatch { len: usize, expected: usize },
    /// A node id that is not forty characters of `0-9a-z`.
    BadNodeId { at: usize },
    /// An address field with unprintable bytes.
    BadAddress { at: usize },
    /// A ping extension that is not padded to eight bytes, or shorter than its own head.
    BadExtension { at: usize, len: u32 },
}

impl WireError {
    /// True when the stream can no longer be trusted to hold frames.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, WireError::BadSignature | WireError::TooShort { .. } | WireError::TooLong { .. })
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::BadSignature => f.write_str("bad signature"),
            WireError::TooShort { len } => write!(f, "message length {len} is below the header's"),
            WireError::TooLong { len, max } => write!(f, "message length {len} is above the limit of {max}"),
            WireError::Truncated { at, need, len } => {
                write!(f, "{need} bytes at offset {at} reach beyond the length {len}")
            }
            WireError::BadVersion { version } => write!(f, "protocol version {version}"),
            WireError::UnknownType { message_type } => write!(f, "unknown packet type: {message_type}"),
            WireError::LengthMismatch { len, expected } => {
                write!(f, "length {len} but expected length {expected}")
            }
            WireError::BadNodeId { at } => write!(f, "no node id at offset {at}"),
            WireError::BadAddress { at } => write!(f, "no address at offset {at}"),
            WireError::BadExtension { at, len } => write!(f, "ping extension at offset {at} of length {len}"),
        }
    }
}

impl std::error::Error for WireError {}
