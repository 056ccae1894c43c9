//! Counters of CLUSTER INFO.

use crate::wire::{MESSAGE_TYPES, MessageType};

/// Messages by type, and links lost to full queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    sent: [u64; MESSAGE_TYPES],
    received: [u64; MESSAGE_TYPES],
    /// Links closed because their send queue passed its limit.
    pub links_buffer_limit_exceeded: u64,
    /// Frames that could not be decoded.
    pub malformed_frames: u64,
}

impl Stats {
    pub fn sent(&self, message_type: MessageType) -> u64 {
        self.sent[message_type as usize]
    }

    pub fn received(&self, message_type: MessageType) -> u64 {
        self.received[message_type as usize]
    }

    pub(super) fn count_sent(&mut self, message_type: MessageType) {
        self.sent[message_type as usize] += 1;
    }

    pub(super) fn count_received(&mut self, message_type: MessageType) {
        self.received[message_type as usize] += 1;
    }
}
