//! The nodes.conf format: what a node remembers of its cluster over a restart.
//!
//! ```text
//! <id> <ip>:<port>@<bus-port>[,<hostname>][,<aux>=<value>…] <flags> <master|-> <ping-sent> <pong-recv>
//!      <config-epoch> <connected|disconnected> [<slot>|<first>-<last>|[<slot>->-<id>]|[<slot>-<-<id>]]…
//! vars currentEpoch <n> lastVoteEpoch <n>
//! ```
//!
//! Redis 7.2 writes the aux fields, 7.0 knows none; both forms are read, the 7.2 form is written. A 7.0 node
//! takes the aux fields for a host name, which the first heartbeat corrects. Addresses are hints: a node is
//! its id, and may be found elsewhere.
//!
//! CLUSTER NODES prints the same lines without aux fields.

use crate::flags::NodeFlags;
use crate::id::{Address, Epoch, NodeId, NodeIp, ShardId};
use crate::slot_set::SlotSet;
use protocol::Slot;
use std::fmt::{self, Write};

/// Default distance of the bus port from the client port.
const BUS_PORT_OFFSET: u16 = 10_000;

/// The content of nodes.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodesConf {
    /// In the order of the file. Exactly one is flagged MYSELF.
    pub nodes: Vec<NodeRecord>,
    pub current_epoch: Epoch,
    pub last_vote_epoch: Epoch,
    /// Stock always ends the file with the vars line. Without it, the file was torn or edited, and this
    /// node may have voted in an epoch it no longer knows of.
    pub saw_vars: bool,
}

/// One line: one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    pub id: NodeId,
    pub address: Address,
    pub hostname: String,
    pub human_nodename: String,
    pub shard: Option<ShardId>,
    pub flags: NodeFlags,
    pub master: Option<NodeId>,
    pub ping_sent_ms: i64,
    pub pong_received_ms: i64,
    pub config_epoch: Epoch,
    pub connected: bool,
    pub slots: SlotSet,
    /// Slots leaving for another node; only this node's own line has them.
    pub migrating: Vec<(Slot, NodeId)>,
    /// Slots coming from another node.
    pub importing: Vec<(Slot, NodeId)>,
}

/// Who reads the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineFor {
    /// nodes.conf, with aux fields.
    File,
    /// A client: CLUSTER NODES, CLUSTER REPLICAS.
    Client,
}

/// Where and why a nodes.conf makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfError {
    /// From 1.
    pub line: usize,
    /// Of the line's first byte, from 0.
    pub offset: usize,
    pub problem: ConfProblem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfProblem {
    NotText,
    TooFewFields,
    NodeId(String),
    Address(String),
    AuxField(String),
    Flag(String),
    Number(String),
    Slot(String),
    Vars,
    /// Two lines say MYSELF, or none does.
    Myself,
    /// An id has two lines.
    Repeated(NodeId),
}

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} (offset {}): ", self.line, self.offset)?;
        match &self.problem {
            ConfProblem::NotText => f.write_str("not text"),
            ConfProblem::TooFewFields => f.write_str("fewer than eight fields"),
            ConfProblem::NodeId(word) => write!(f, "'{word}' is no node id"),
            ConfProblem::Address(word) => write!(f, "'{word}' is no address"),
            ConfProblem::AuxField(word) => write!(f, "'{word}' is no known field"),
            ConfProblem::Flag(word) => write!(f, "unknown flag '{word}'"),
            ConfProblem::Number(word) => write!(f, "'{word}' is no number"),
            ConfProblem::Slot(word) => write!(f, "'{word}' is no slot or range of slots"),
            ConfProblem::Vars => f.write_str("vars without a value"),
            ConfProblem::Myself => f.write_str("exactly one node must be flagged 'myself'"),
            ConfProblem::Repeated(id) => write!(f, "node {id} has two lines"),
        }
    }
}

impl std::error::Error for ConfError {}

impl NodesConf {
    /// Reads a file. `tls_primary`: the port of the address is the TLS one (`tls-cluster yes`).
    pub fn parse(bytes: &[u8], tls_primary: bool) -> Result<NodesConf, ConfError> {
        let mut conf = NodesConf::default();
        let (mut offset, mut line) = (0, 0);
        for raw in bytes.split_inclusive(|&b| b == b'\n') {
            line += 1;
            let parsed = std::str::from_utf8(raw)
                .map_err(|_| ConfProblem::NotText)
                .and_then(|text| conf.parse_line(text.trim(), tls_primary));
            parsed.map_err(|problem| ConfError { line, offset, problem })?;
            offset += raw.len();
        }
        conf.check().map_err(|problem| ConfError { line, offset, problem })?;
        Ok(conf)
    }

    fn parse_line(&mut self, text: &str, tls_primary: bool) -> Result<(), ConfProblem> {
        if text.is_empty() {
            return Ok(());
        }
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if words[0].eq_ignore_ascii_case("vars") {
            return self.parse_vars(&words[1..]);
        }
        let record = NodeRecord::parse(&words, tls_primary)?;
        if self.nodes.iter().any(|other| other.id == record.id) {
            return Err(ConfProblem::Repeated(record.id));
        }
        self.nodes.push(record);
        Ok(())
    }

    fn parse_vars(&mut self, words: &[&str]) -> Result<(), ConfProblem> {
        if !words.len().is_multiple_of(2) {
            return Err(ConfProblem::Vars);
        }
        self.saw_vars = true;
        for pair in words.chunks_exact(2) {
            // A later version may know more variables.
            if pair[0].eq_ignore_ascii_case("currentEpoch") {
                self.current_epoch = Epoch(number(pair[1])?);
            } else if pair[0].eq_ignore_ascii_case("lastVoteEpoch") {
                self.last_vote_epoch = Epoch(number(pair[1])?);
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfProblem> {
        if self.nodes.iter().filter(|node| node.flags.any(NodeFlags::MYSELF)).count() != 1 {
            return Err(ConfProblem::Myself);
        }
        Ok(())
    }

    /// The file's text.
    pub fn text(&self, tls_primary: bool) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            node.write_line(&mut text, LineFor::File, tls_primary);
            text.push('\n');
        }
        let (current, voted) = (self.current_epoch, self.last_vote_epoch);
        let _ = writeln!(text, "vars currentEpoch {current} lastVoteEpoch {voted}");
        text
    }
}

impl NodeRecord {
    fn parse(words: &[&str], tls_primary: bool) -> Result<NodeRecord, ConfProblem> {
        let [id, address, flags, master, ping, pong, epoch, link, slots @ ..] = words else {
            return Err(ConfProblem::TooFewFields);
        };
        let mut record = NodeRecord {
            id: node_id(id)?,
            address: Address::default(),
            hostname: String::new(),
            human_nodename: String::new(),
            shard: None,
            flags: NodeFlags::NONE,
            master: if *master == "-" { None } else { Some(node_id(master)?) },
            ping_sent_ms: number(ping)? as i64,
            pong_received_ms: number(pong)? as i64,
            config_epoch: Epoch(number(epoch)?),
            connected: *link == "connected",
            slots: SlotSet::default(),
            migrating: Vec::new(),
            importing: Vec::new(),
        };
        for word in flags.split(',') {
            let flag = NodeFlags::from_word(word).ok_or_else(|| ConfProblem::Flag(word.to_owned()))?;
            record.flags.insert(flag);
        }
        record.parse_endpoint(address, tls_primary)?;
        slots.iter().try_for_each(|word| record.parse_slots(word))?;
        Ok(record)
    }

    /// `ip:port@bus-port,hostname,aux=value…`
    fn parse_endpoint(&mut self, text: &str, tls_primary: bool) -> Result<(), ConfProblem> {
        let bad = || ConfProblem::Address(text.to_owned());
        let mut parts = text.split(',');
        let (ip, ports) = parts.next().and_then(|part| part.rsplit_once(':')).ok_or_else(bad)?;
        let (port, bus_port) = ports.split_once('@').map_or((ports, None), |(port, bus)| (port, Some(bus)));
        let port: u16 = port.parse().map_err(|_| bad())?;
        self.address.ip = NodeIp::new(ip).ok_or_else(bad)?;
        self.address.bus_port = match bus_port {
            Some(bus_port) => bus_port.parse().map_err(|_| bad())?,
            None => port.saturating_add(BUS_PORT_OFFSET),
        };
        if tls_primary {
            self.address.tls_port = port;
        } else {
            self.address.tcp_port = port;
        }
        self.hostname = parts.next().unwrap_or_default().to_owned();
        parts.try_for_each(|part| self.parse_aux(part))
    }

    fn parse_aux(&mut self, text: &str) -> Result<(), ConfProblem> {
        let bad = || ConfProblem::AuxField(text.to_owned());
        let (name, value) = text.split_once('=').ok_or_else(bad)?;
        match name {
            "shard-id" => self.shard = Some(ShardId::parse(value.as_bytes()).ok_or_else(bad)?),
            "nodename" => self.human_nodename = value.to_owned(),
            "tcp-port" => self.address.tcp_port = value.parse().map_err(|_| bad())?,
            "tls-port" => self.address.tls_port = value.parse().map_err(|_| bad())?,
            _ => return Err(bad()),
        }
        Ok(())
    }

    fn parse_slots(&mut self, word: &str) -> Result<(), ConfProblem> {
        let bad = || ConfProblem::Slot(word.to_owned());
        if let Some(open) = word.strip_prefix('[') {
            let open = open.strip_suffix(']').ok_or_else(bad)?;
            let moves = [("->-", &mut self.migrating), ("-<-", &mut self.importing)];
            for (arrow, list) in moves {
                if let Some((number, id)) = open.split_once(arrow) {
                    list.push((slot(number).ok_or_else(bad)?, node_id(id)?));
                    return Ok(());
                }
            }
            return Err(bad());
        }
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last) = (slot(first).ok_or_else(bad)?, slot(last).ok_or_else(bad)?);
        for n in first.get()..=last.get() {
            self.slots.insert(Slot::new(n).ok_or_else(bad)?);
        }
        Ok(())
    }

    /// Appends the node's line, without the line feed.
    pub fn write_line(&self, out: &mut String, reader: LineFor, tls_primary: bool) {
        let address = &self.address;
        let (port, other_name, other_port) = if tls_primary {
            (address.tls_port, "tcp-port", address.tcp_port)
        } else {
            (address.tcp_port, "tls-port", address.tls_port)
        };
        let _ = write!(out, "{} {}:{port}@{}", self.id, address.ip, address.bus_port);
        if !self.hostname.is_empty() || reader == LineFor::File {
            let _ = write!(out, ",{}", self.hostname);
        }
        if reader == LineFor::File {
            let _ = write!(out, ",{other_name}={other_port}");
            if !self.human_nodename.is_empty() {
                let _ = write!(out, ",nodename={}", self.human_nodename);
            }
            if let Some(shard) = self.shard {
                let _ = write!(out, ",shard-id={shard}");
            }
        }
        let _ = write!(out, " {} ", self.flags);
        match self.master {
            Some(master) => out.push_str(master.as_str()),
            None => out.push('-'),
        }
        let link = if self.connected { "connected" } else { "disconnected" };
        let _ = write!(out, " {} {} {} {link}", self.ping_sent_ms, self.pong_received_ms, self.config_epoch);
        self.write_slots(out);
    }

    fn write_slots(&self, out: &mut String) {
        for range in self.slots.ranges() {
            let (first, last) = (range.start(), range.end());
            let _ = if first == last { write!(out, " {first}") } else { write!(out, " {first}-{last}") };
        }
        let leaving = self.migrating.iter().map(|(slot, id)| (*slot, "->-", *id));
        let coming = self.importing.iter().map(|(slot, id)| (*slot, "-<-", *id));
        let mut open: Vec<_> = leaving.chain(coming).collect();
        open.sort_by_key(|(slot, ..)| *slot);
        for (slot, arrow, id) in open {
            let _ = write!(out, " [{slot}{arrow}{id}]");
        }
    }
}

fn node_id(word: &str) -> Result<NodeId, ConfProblem> {
    NodeId::parse(word.as_bytes()).ok_or_else(|| ConfProblem::NodeId(word.to_owned()))
}

fn number(word: &str) -> Result<u64, ConfProblem> {
    word.parse().map_err(|_| ConfProblem::Number(word.to_owned()))
}

fn slot(word: &str) -> Option<Slot> {
    word.parse().ok().and_then(Slot::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "74b9d8ae2731c44940774829ac25597016c732e7";
    const B: &str = "07c37dfeb235213a872192d90877d0cd55635b91";

    /// Written by Redis 7.0.15, but for the ids.
    fn seven_zero() -> String {
        format!(
            "{B} 127.0.0.1:30004@31004 slave {A} 0 1426238317239 4 connected\n\
             {A} 127.0.0.1:30001@31001,abc.example myself,master - 0 0 1 connected 0-5460 7000 [93-<-{B}] [94->-{B}]\n\
             vars currentEpoch 4 lastVoteEpoch 3\n"
        )
    }

    #[test]
    fn the_form_of_7_0_is_read() {
        let conf = NodesConf::parse(seven_zero().as_bytes(), false).unwrap();
        assert_eq!((conf.current_epoch, conf.last_vote_epoch, conf.saw_vars), (Epoch(4), Epoch(3), true));
        let me = &conf.nodes[1];
        assert_eq!(
            (me.hostname.as_str(), me.address.tcp_port, me.address.bus_port),
            ("abc.example", 30001, 31001)
        );
        assert_eq!(me.slots.ranges(), [0..=5460, 7000..=7000]);
        assert_eq!((me.importing.len(), me.migrating.len(), me.shard), (1, 1, None));
        assert_eq!(conf.nodes[0].master.unwrap().as_str(), A);
    }

    #[test]
    fn the_form_of_7_2_is_read_and_written() {
        let text = format!(
            "{A} ::1:30001@31001,,tls-port=0,nodename=blue,shard-id={B} myself,master,nofailover - 0 0 1 connected 1\n\
             vars currentEpoch 4 lastVoteEpoch 3\n"
        );
        let conf = NodesConf::parse(text.as_bytes(), false).unwrap();
        assert_eq!(conf.nodes[0].human_nodename, "blue");
        assert_eq!(conf.nodes[0].address.ip.as_str(), "::1");
        assert_eq!(conf.text(false), text);
    }

    #[test]
    fn clients_see_no_aux_fields() {
        let conf = NodesConf::parse(seven_zero().as_bytes(), false).unwrap();
        let mut text = String::new();
        for node in &conf.nodes {
            node.write_line(&mut text, LineFor::Client, false);
            text.push('\n');
        }
        assert_eq!(text + "vars currentEpoch 4 lastVoteEpoch 3\n", seven_zero());
    }

    #[test]
    fn errors_name_line_and_offset() {
        let torn = &seven_zero()[..150];
        let error = NodesConf::parse(torn.as_bytes(), false).unwrap_err();
        assert_eq!((error.line, error.problem), (2, ConfProblem::TooFewFields));
        assert_eq!(error.offset, seven_zero().find('\n').unwrap() + 1);
        let other = seven_zero().replace("slave", "sleeve");
        let error = NodesConf::parse(other.as_bytes(), false).unwrap_err();
        assert_eq!((error.line, error.offset), (1, 0));
        assert_eq!(error.to_string(), "line 1 (offset 0): unknown flag 'sleeve'");
        assert_eq!(NodesConf::parse(b"", false).unwrap_err().problem, ConfProblem::Myself);
    }

    proptest! {
        #[test]
        fn damage_does_not_panic(flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6), cut in any::<usize>()) {
            let mut bytes = seven_zero().into_bytes();
            for (at, byte) in flips {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(cut % (bytes.len() + 1));
            if let Ok(conf) = NodesConf::parse(&bytes, false) {
                let again = NodesConf::parse(conf.text(false).as_bytes(), false).unwrap();
                prop_assert_eq!(again.nodes.len(), conf.nodes.len());
            }
        }
    }
}
