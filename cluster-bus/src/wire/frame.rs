//! Cutting a byte stream into frames.

use super::header::{HEADER_LEN, SIGNATURE};
use super::{WireError, u32_at};

/// Default cap of one frame: the largest value a client may publish, and room for everything around it.
pub const DEFAULT_MAX_FRAME_BYTES: usize = 512 * 1024 * 1024 + 64 * 1024;

/// How many bytes the frame at the start of `stream` takes: `None` until eight bytes are there.
/// Every error is fatal for the connection.
pub fn frame_len(stream: &[u8], max: usize) -> Result<Option<usize>, WireError> {
    let signature = stream.get(..4).unwrap_or(stream);
    if !SIGNATURE.starts_with(signature) {
        return Err(WireError::BadSignature);
    }
    if stream.len() < 8 {
        return Ok(None);
    }
    let len = u32_at(stream, 4)?;
    match len as usize {
        short if short < HEADER_LEN => Err(WireError::TooShort { len }),
        long if long > max => Err(WireError::TooLong { len, max }),
        fits => Ok(Some(fits)),
    }
}

/// Collects bytes off a connection and hands out whole frames. Memory follows what arrived, never what a
/// header announced.
#[derive(Debug)]
pub struct Deframer {
    buffer: Vec<u8>,
    consumed: usize,
    max_frame_bytes: usize,
}

impl Default for Deframer {
    fn default() -> Deframer {
        Deframer::new(DEFAULT_MAX_FRAME_BYTES)
    }
}

impl Deframer {
    pub fn new(max_frame_bytes: usize) -> Deframer {
        Deframer { buffer: Vec::new(), consumed: 0, max_frame_bytes }
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, `None` when more bytes are needed. After an error, close the connection.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, WireError> {
        let waiting = &self.buffer[self.consumed..];
        match frame_len(waiting, self.max_frame_bytes)? {
            Some(len) if waiting.len() >= len => {
                let start = self.consumed;
                self.consumed += len;
                Ok(Some(&self.buffer[start..start + len]))
            }
            _ => Ok(None),
        }
    }

    /// Bytes held.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.consumed
    }
}
