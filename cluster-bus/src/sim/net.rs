//! Simulated connections.

use crate::{LinkId, NodeIp};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Position of a node in the simulation, over all its lives.
pub(super) type Host = usize;

/// Bounds of one way's delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    pub min_ms: i64,
    pub max_ms: i64,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub host: Host,
    /// Which life of the host it belongs to.
    pub life: u32,
    pub link: LinkId,
}

/// A connection. `ends[0]` dialled.
#[derive(Debug)]
pub(super) struct Connection {
    pub ends: [Option<End>; 2],
    /// The address dialled.
    pub target: (NodeIp, u16),
    /// Frames on their way, by the end that sent them, each with its time of arrival.
    pub in_flight: [VecDeque<(i64, Arc<[u8]>)>; 2],
    pub last_arrival_ms: [i64; 2],
}

/// Who can talk to whom, and every connection.
#[derive(Debug, Default)]
pub struct Network {
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) by_link: HashMap<(Host, LinkId), u64>,
    pub(super) addresses: HashMap<(NodeIp, u16), Host>,
    /// Directions that swallow packets.
    pub(super) blocked: HashSet<(Host, Host)>,
    next: u64,
}

impl Network {
    pub(super) fn open(&mut self, dialler: End, target: (NodeIp, u16)) -> u64 {
        self.next += 1;
        let connection = Connection {
            ends: [Some(dialler), None],
            target,
            in_flight: [VecDeque::new(), VecDeque::new()],
            last_arrival_ms: [0, 0],
        };
        self.connections.insert(self.next, connection);
        self.by_link.insert((dialler.host, dialler.link), self.next);
        self.next
    }

    pub(super) fn close(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        for end in connection.ends.iter().flatten() {
            self.by_link.remove(&(end.host, end.link));
        }
        Some(connection)
    }

    /// Connections with an end at `host`.
    pub(super) fn of_host(&self, host: Host) -> Vec<u64> {
        let touches = |c: &Connection| c.ends.iter().flatten().any(|end| end.host == host);
        self.connections.iter().filter(|(_, c)| touches(c)).map(|(id, _)| *id).collect()
    }

    pub(super) fn is_blocked(&self, from: Host, to: Host) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// Packets get through both ways.
    pub(super) fn can_talk(&self, a: Host, b: Host) -> bool {
        !self.is_blocked(a, b) && !self.is_blocked(b, a)
    }
}
