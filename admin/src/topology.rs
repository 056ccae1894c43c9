//! What nodes believe about their cluster: CLUSTER NODES, read.

use crate::address::Address;
use crate::client::Client;
use crate::error::Error;
use protocol::SLOT_COUNT;
use std::fmt;

/// Slots `first..=last`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SlotRange {
    pub first: u16,
    pub last: u16,
}

impl SlotRange {
    pub fn len(self) -> usize {
        usize::from(self.last) + 1 - usize::from(self.first)
    }

    pub fn slots(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    /// `5` or `0-5460`; `None` for anything that is no range of slots.
    fn parse(text: &str) -> Option<SlotRange> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = SlotRange { first: first.parse().ok()?, last: last.parse().ok()? };
        (range.first <= range.last && usize::from(range.last) < SLOT_COUNT).then_some(range)
    }
}

impl fmt::Display for SlotRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// One line of CLUSTER NODES.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub id: String,
    pub address: Address,
    flags: Vec<String>,
    /// The ID of the master this node replicates.
    pub master: Option<String>,
    pub slots: Vec<SlotRange>,
    /// Slots on their way from or to this node, as it spells them (`[93-<-…]`). Only a node's own line has any.
    pub moving: Vec<String>,
}

impl Node {
    pub fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|have| have == flag)
    }

    pub fn is_master(&self) -> bool {
        self.is("master")
    }

    pub fn slot_count(&self) -> usize {
        self.slots.iter().map(|range| range.len()).sum()
    }

    pub fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| (range.first..=range.last).contains(&slot))
    }

    pub fn slots_text(&self) -> String {
        let ranges: Vec<String> = self.slots.iter().map(SlotRange::to_string).collect();
        ranges.join(" ")
    }

    /// `id ip:port@bus[,host] flags master ping pong epoch link slot…`
    fn parse(line: &str, asked: &Address) -> Option<Node> {
        let mut words = line.split_ascii_whitespace();
        let id = words.next()?.to_owned();
        let place = words.next()?;
        let place = place.split(['@', ',']).next()?;
        let (host, port) = place.rsplit_once(':')?;
        // A node that has never met another does not know its own IP.
        let host = if host.is_empty() { &asked.host } else { host };
        let address = Address::new(host, port.parse().ok()?);
        let flags = words.next()?.split(',').map(str::to_owned).collect();
        let master = words.next().filter(|&id| id != "-").map(str::to_owned);
        let mut node = Node { id, address, flags, master, slots: Vec::new(), moving: Vec::new() };
        for word in words.skip(4) {
            if word.starts_with('[') {
                node.moving.push(word.to_owned());
            } else {
                node.slots.push(SlotRange::parse(word)?);
            }
        }
        Some(node)
    }
}

/// The cluster as one node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    pub nodes: Vec<Node>,
}

impl View {
    /// Asks a node.
    pub fn of(client: &mut Client) -> Result<View, Error> {
        let text = client.ask(&["CLUSTER", "NODES"])?.text();
        View::parse(&text, client.address())
            .ok_or_else(|| Error::refused(client.address(), "answers CLUSTER NODES with something else"))
    }

    /// `None` when a line is no node; `asked` is who said it.
    pub fn parse(text: &str, asked: &Address) -> Option<View> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let mut nodes: Vec<Node> = lines.map(|line| Node::parse(line, asked)).collect::<Option<_>>()?;
        nodes.sort_by(|a, b| a.address.cmp(&b.address));
        Some(View { nodes })
    }

    pub fn myself(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.is("myself"))
    }

    /// Nodes that can be asked: those with an address that are not just being met.
    pub fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.is("noaddr") && !node.is("handshake"))
    }

    pub fn by_id(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    pub fn replicas_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(move |node| node.master.as_deref() == Some(id))
    }

    /// How many slots have an owner.
    pub fn covered(&self) -> usize {
        let mut owned = vec![false; SLOT_COUNT];
        for range in self.nodes.iter().flat_map(|node| &node.slots) {
            owned[usize::from(range.first)..=usize::from(range.last)].fill(true);
        }
        owned.into_iter().filter(|&owned| owned).count()
    }

    /// What all nodes of a settled cluster must agree on: who owns which slots, and who replicates whom.
    pub fn signature(&self) -> String {
        let mut lines: Vec<String> = self
            .members()
            .map(|node| {
                let mut slots = node.slots.clone();
                slots.sort();
                let slots: Vec<String> = slots.iter().map(SlotRange::to_string).collect();
                format!("{} {} {}", node.id, node.master.as_deref().unwrap_or("-"), slots.join(","))
            })
            .collect();
        lines.sort();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
b2 127.0.0.1:7001@17001,host-b master - 0 1700 2 connected 5461-10922 [93->-a1]
a1 :7000@17000 myself,master - 0 0 1 connected 0-92 94-5460 93
c3 ::1:7002@17002 slave,fail a1 0 1700 1 disconnected
d4 :0@0 master,noaddr - 0 0 3 disconnected
";

    #[test]
    fn cluster_nodes_is_read() {
        let view = View::parse(TEXT, &Address::local(7000)).unwrap();
        let myself = view.myself().unwrap();
        assert_eq!(myself.address, Address::local(7000));
        assert_eq!(myself.slot_count(), 5461);
        assert!(myself.owns(93) && !myself.owns(5461));
        assert_eq!(view.by_id("b2").unwrap().moving, ["[93->-a1]"]);
        assert_eq!(view.by_id("c3").unwrap().address, Address::new("::1", 7002));
        assert!(view.by_id("c3").unwrap().is("fail"));
        assert_eq!(view.replicas_of("a1").count(), 1);
        assert_eq!(view.covered(), 10_923);
        assert_eq!(view.members().count(), 3);
    }

    #[test]
    fn the_signature_forgets_who_says_it() {
        let here = Address::local(7000);
        let a = View::parse(
            "a 1.1.1.1:1@1 myself,master - 0 0 1 connected 0-3 5\nb 1.1.1.2:1@1 slave a 0 0 1 connected\n",
            &here,
        );
        let b = View::parse(
            "b 1.1.1.2:1@1 myself,slave a 0 0 1 connected\na 1.1.1.1:1@1 master - 0 9 1 connected 5 0-3\n",
            &here,
        );
        assert_eq!(a.unwrap().signature(), b.unwrap().signature());
    }

    #[test]
    fn nonsense_is_no_view() {
        let here = Address::local(1);
        for text in [
            "a",
            "a b c d e f g h",
            "a 1.1.1.1:1@1 master - 0 0 1 connected 9-3",
            "a 1.1.1.1:1@1 master - 0 0 1 connected 0-16384",
        ] {
            assert!(View::parse(text, &here).is_none(), "{text}");
        }
    }
}
