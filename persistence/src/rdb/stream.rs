//! Streams: their nodes as they are in memory, then what they remember, then their consumer groups.
//!
//! ```text
//! | nodes | (ID, listpack) … | entries | last ID | 19, 21: first ID, max deleted ID, entries added |
//! | groups | (name, last ID, 19, 21: entries read, pending, consumers) … |
//!
//! pending:   | count | (raw ID, delivery time, deliveries) … |
//! consumers: | count | (name, seen time, 21: active time, count, raw ID …) … |
//! ```
//!
//! An ID is two lengths, a raw ID and the ID of a node 16 bytes, both parts big-endian. Unknown numbers are -1.

use std::io::Read;

use keyspace::types::stream::{
    Consumer, Group, GroupCorrupt, GroupLoader, Node, StreamId, StreamMarks, StreamValue,
};

use super::decode::Decoder;
use super::encode::{Encoder, put_len};
use super::error::RdbError;
use super::format::{RdbVersion, kind};
use super::input::Input;

const UNKNOWN: i64 = -1;

// ---- Encoding --------------------------------------------------------------------------------------------

impl Encoder {
    pub(super) fn stream_kind(&self) -> u8 {
        if self.options().version >= RdbVersion::V11 {
            kind::STREAM_LISTPACKS_3
        } else {
            kind::STREAM_LISTPACKS_2
        }
    }

    pub(super) fn stream(&self, out: &mut Vec<u8>, stream: &StreamValue) {
        put_len(out, stream.node_count() as u64);
        for (id, pack) in stream.nodes() {
            self.string(out, &id.to_bytes());
            self.blob(out, pack.as_bytes());
        }
        let marks = stream.marks();
        put_len(out, marks.len);
        put_id(out, marks.last_id);
        put_id(out, marks.first_id);
        put_id(out, marks.max_deleted_id);
        put_len(out, marks.entries_added);
        put_len(out, stream.group_count() as u64);
        for (name, group) in stream.groups() {
            self.string(out, name);
            self.group(out, group);
        }
    }

    fn group(&self, out: &mut Vec<u8>, group: &Group) {
        put_id(out, group.last_id());
        put_len(out, group.entries_read().unwrap_or(UNKNOWN) as u64);
        put_len(out, group.pending_len() as u64);
        for (id, pending) in group.pending_in(StreamId::MIN..=StreamId::MAX) {
            out.extend_from_slice(&id.to_bytes());
            out.extend_from_slice(&pending.delivery_time_ms.to_le_bytes());
            put_len(out, pending.delivery_count);
        }
        put_len(out, group.consumer_count() as u64);
        group.consumers().for_each(|consumer| self.consumer(out, consumer));
    }

    fn consumer(&self, out: &mut Vec<u8>, consumer: &Consumer) {
        self.string(out, consumer.name());
        out.extend_from_slice(&consumer.seen_time_ms.to_le_bytes());
        if self.options().version >= RdbVersion::V11 {
            out.extend_from_slice(&consumer.active_time_ms.unwrap_or(UNKNOWN).to_le_bytes());
        }
        put_len(out, consumer.pending_len() as u64);
        consumer.pending_ids().for_each(|id| out.extend_from_slice(&id.to_bytes()));
    }
}

fn put_id(out: &mut Vec<u8>, id: StreamId) {
    put_len(out, id.ms);
    put_len(out, id.seq);
}

// ---- Decoding --------------------------------------------------------------------------------------------

impl<R: Read> Input<R> {
    fn stream_id(&mut self) -> Result<StreamId, RdbError> {
        Ok(StreamId { ms: self.len()?, seq: self.len()? })
    }

    fn raw_stream_id(&mut self) -> Result<StreamId, RdbError> {
        self.array().map(StreamId::from_bytes)
    }
}

impl<R: Read> Decoder<'_, R> {
    pub(super) fn stream(&mut self, kind: u8) -> Result<StreamValue, RdbError> {
        let nodes = self.stream_nodes()?;
        let (len, last_id) = (self.input.len()?, self.input.stream_id()?);
        let marks = match kind {
            kind::STREAM_LISTPACKS => None,
            _ => Some(StreamMarks {
                len,
                last_id,
                first_id: self.input.stream_id()?,
                max_deleted_id: self.input.stream_id()?,
                entries_added: self.input.len()?,
            }),
        };
        if len > 0 && nodes.is_empty() {
            return self.corrupt("Stream length inconsistent with rax entries");
        }
        let Ok(mut stream) = StreamValue::from_nodes(nodes, last_id, marks) else {
            return self.corrupt("Listpack re-added with existing key");
        };
        for _ in 0..self.input.len()? {
            let name = self.input.string()?;
            let group = self.stream_group(kind, &stream)?;
            if !stream.insert_group(&name, group) {
                return self.corrupt("Duplicated consumer group name");
            }
        }
        Ok(stream)
    }

    fn stream_nodes(&mut self) -> Result<Vec<(StreamId, Node)>, RdbError> {
        let mut nodes = Vec::new();
        for _ in 0..self.input.len()? {
            let id = self.input.string()?;
            let Ok(id) = <[u8; 16]>::try_from(id) else {
                return self.corrupt("Stream node key entry is not the size of a stream ID");
            };
            let bytes = self.input.string()?;
            match Node::from_bytes(bytes) {
                Ok(node) => nodes.push((StreamId::from_bytes(id), node)),
                Err(_) => return self.corrupt("Stream listpack integrity check failed."),
            }
        }
        Ok(nodes)
    }

    fn stream_group(&mut self, kind: u8, stream: &StreamValue) -> Result<Group, RdbError> {
        let last_id = self.input.stream_id()?;
        let entries_read = match kind {
            kind::STREAM_LISTPACKS => stream.entries_added_up_to(last_id),
            _ => Some(self.input.len()? as i64).filter(|&read| read != UNKNOWN),
        };
        let mut loader = GroupLoader::new(last_id, entries_read);
        for _ in 0..self.input.len()? {
            let (id, time_ms) = (self.input.raw_stream_id()?, self.input.milliseconds()?);
            let count = self.input.len()?;
            loader.pending(id, time_ms, count).map_err(|what| self.group_corrupt(what))?;
        }
        for _ in 0..self.input.len()? {
            self.stream_consumer(kind, &mut loader)?;
        }
        loader.finish().map_err(|what| self.group_corrupt(what))
    }

    fn stream_consumer(&mut self, kind: u8, loader: &mut GroupLoader) -> Result<(), RdbError> {
        let (name, seen_time_ms) = (self.input.string()?, self.input.milliseconds()?);
        // Older formats do not know when a consumer was active: the best estimate is when it was seen.
        let active_time_ms =
            if kind == kind::STREAM_LISTPACKS_3 { self.input.milliseconds()? } else { seen_time_ms };
        let active_time_ms = Some(active_time_ms).filter(|&time_ms| time_ms != UNKNOWN);
        let consumer =
            loader.consumer(&name, seen_time_ms, active_time_ms).map_err(|what| self.group_corrupt(what))?;
        for _ in 0..self.input.len()? {
            let id = self.input.raw_stream_id()?;
            loader.owned(consumer, id).map_err(|what| self.group_corrupt(what))?;
        }
        Ok(())
    }

    fn group_corrupt(&self, what: GroupCorrupt) -> RdbError {
        self.input.corrupt(match what {
            GroupCorrupt::DuplicateEntry => "Duplicated PEL entry loading a stream consumer group",
            GroupCorrupt::DuplicateConsumer => "Duplicate stream consumer detected.",
            GroupCorrupt::UnknownEntry => "Consumer entry not found in group global PEL",
            GroupCorrupt::Unowned => "Stream CG PEL entry without consumer",
        })
    }
}
