//! Node flags, as sent in headers and gossip and spelled in CLUSTER NODES.

use std::fmt;

/// A set of node flags. The bits are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeFlags(u16);

impl NodeFlags {
    pub const NONE: NodeFlags = NodeFlags(0);
    pub const MASTER: NodeFlags = NodeFlags(1);
    pub const REPLICA: NodeFlags = NodeFlags(2);
    /// This node cannot reach it ("possible failure").
    pub const PFAIL: NodeFlags = NodeFlags(4);
    /// A majority of masters could not reach it.
    pub const FAIL: NodeFlags = NodeFlags(8);
    pub const MYSELF: NodeFlags = NodeFlags(16);
    /// Not yet introduced: its id is a placeholder.
    pub const HANDSHAKE: NodeFlags = NodeFlags(32);
    pub const NOADDR: NodeFlags = NodeFlags(64);
    /// The first message to it must be MEET.
    pub const MEET: NodeFlags = NodeFlags(128);
    /// A master that had replicas: others may migrate to it.
    pub const MIGRATE_TO: NodeFlags = NodeFlags(256);
    /// A replica that does not want to be promoted.
    pub const NOFAILOVER: NodeFlags = NodeFlags(512);

    /// PFAIL or FAIL.
    pub const FAILING: NodeFlags = NodeFlags(4 | 8);
    /// MASTER or REPLICA.
    pub const ROLE: NodeFlags = NodeFlags(1 | 2);
    /// What a third party may tell us about a node we have never met.
    pub(crate) const GOSSIPED: NodeFlags = NodeFlags(1 | 2 | 4 | 8 | 256 | 512);

    pub const fn from_bits(bits: u16) -> NodeFlags {
        NodeFlags(bits)
    }

    pub const fn bits(self) -> u16 {
        self.0
    }

    /// True when at least one of `other`'s flags is set.
    pub const fn any(self, other: NodeFlags) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn with(self, other: NodeFlags) -> NodeFlags {
        NodeFlags(self.0 | other.0)
    }

    pub const fn without(self, other: NodeFlags) -> NodeFlags {
        NodeFlags(self.0 & !other.0)
    }

    /// Only those flags that `mask` has too.
    pub const fn only(self, mask: NodeFlags) -> NodeFlags {
        NodeFlags(self.0 & mask.0)
    }

    pub fn insert(&mut self, other: NodeFlags) {
        *self = self.with(other);
    }

    pub fn remove(&mut self, other: NodeFlags) {
        *self = self.without(other);
    }

    /// The flag of a word in nodes.conf; `noflags` is the empty set.
    pub(crate) fn from_word(word: &str) -> Option<NodeFlags> {
        if word == "noflags" {
            return Some(NodeFlags::NONE);
        }
        WORDS.iter().find(|(_, w)| *w == word).map(|(flag, _)| *flag)
    }
}

/// The flags that have a word, in the order stock prints them.
const WORDS: [(NodeFlags, &str); 8] = [
    (NodeFlags::MYSELF, "myself"),
    (NodeFlags::MASTER, "master"),
    (NodeFlags::REPLICA, "slave"),
    (NodeFlags::PFAIL, "fail?"),
    (NodeFlags::FAIL, "fail"),
    (NodeFlags::HANDSHAKE, "handshake"),
    (NodeFlags::NOADDR, "noaddr"),
    (NodeFlags::NOFAILOVER, "nofailover"),
];

impl fmt::Display for NodeFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = WORDS.iter().filter(|(flag, _)| self.any(*flag)).map(|(_, word)| *word);
        f.write_str(words.next().unwrap_or("noflags"))?;
        words.try_for_each(|word| write!(f, ",{word}"))
    }
}

impl fmt::Debug for NodeFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
