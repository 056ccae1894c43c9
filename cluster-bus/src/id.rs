//! Names and numbers of the bus: node ids, shard ids, epochs, addresses.

use std::fmt;

/// Length of a node id or shard id on the wire and in nodes.conf.
pub const ID_LEN: usize = 40;

macro_rules! forty_characters {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// `None` unless `bytes` are forty characters of `0-9a-z` (what stock accepts; it writes hex).
            pub fn parse(bytes: &[u8]) -> Option<$name> {
                let id: [u8; ID_LEN] = bytes.try_into().ok()?;
                id.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()).then_some($name(id))
            }

            /// A fresh random id.
            pub fn random(rng: &mut fastrand::Rng) -> $name {
                $name(std::array::from_fn(|_| b"0123456789abcdef"[rng.usize(..16)]))
            }

            pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
                &self.0
            }

            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

forty_characters! {
    /// The name of a node: forty lowercase hex digits, drawn once and kept for life.
    NodeId
}

forty_characters! {
    /// The name of a shard (a master and its replicas), known to Redis 7.2 and later.
    ShardId
}

/// A logical clock of the cluster: `currentEpoch` orders elections, `configEpoch` orders slot claims.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    pub const fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}", self.0)
    }
}

/// Room for an IP address or announced host on the wire, its closing NUL included.
pub const IP_FIELD_LEN: usize = 46;

/// An IP address (or announced host name) as the bus carries it: text of at most 45 bytes.
/// Copyable, because gossip moves thousands of these.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeIp {
    len: u8,
    text: [u8; IP_FIELD_LEN],
}

impl NodeIp {
    pub const EMPTY: NodeIp = NodeIp { len: 0, text: [0; IP_FIELD_LEN] };

    /// `None` when the text is longer than the wire allows, or holds bytes that would break a line of
    /// nodes.conf (control characters, spaces, commas) or is not ASCII.
    pub fn new(text: &str) -> Option<NodeIp> {
        NodeIp::from_bytes(text.as_bytes())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<NodeIp> {
        let fits = bytes.len() < IP_FIELD_LEN;
        let clean = bytes.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'@' | b'"' | b'\''));
        if !fits || !clean {
            return None;
        }
        let mut text = [0; IP_FIELD_LEN];
        text[..bytes.len()].copy_from_slice(bytes);
        Some(NodeIp { len: bytes.len() as u8, text })
    }

    /// The 46-byte field of a message: text up to the first NUL.
    pub(crate) fn from_field(field: &[u8; IP_FIELD_LEN]) -> Option<NodeIp> {
        let len = field.iter().position(|&b| b == 0).unwrap_or(IP_FIELD_LEN);
        NodeIp::from_bytes(&field[..len])
    }

    pub(crate) fn field(&self) -> &[u8; IP_FIELD_LEN] {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Default for NodeIp {
    fn default() -> NodeIp {
        NodeIp::EMPTY
    }
}

impl From<std::net::IpAddr> for NodeIp {
    fn from(ip: std::net::IpAddr) -> NodeIp {
        NodeIp::new(&ip.to_string()).unwrap_or_default()
    }
}

impl fmt::Display for NodeIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for NodeIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Where a node can be reached. Zero means "no such port".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Address {
    pub ip: NodeIp,
    /// Plain-text client port.
    pub tcp_port: u16,
    /// TLS client port.
    pub tls_port: u16,
    pub bus_port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_take_exactly_forty_lowercase_characters() {
        let id = NodeId::random(&mut fastrand::Rng::with_seed(1));
        assert_eq!(NodeId::parse(id.as_bytes()), Some(id));
        assert_eq!(NodeId::parse(&[b'a'; 39]), None);
        assert_eq!(NodeId::parse(&[b'A'; 40]), None);
        assert_eq!(NodeId::parse(&[0; 40]), None);
    }

    #[test]
    fn an_ip_field_cannot_break_a_line() {
        assert_eq!(NodeIp::new("10.0.0.1").unwrap().as_str(), "10.0.0.1");
        assert!(NodeIp::new("::1").is_some());
        assert!(NodeIp::new("a b").is_none());
        assert!(NodeIp::new("a\n").is_none());
        assert!(NodeIp::new(&"x".repeat(46)).is_none());
    }
}
