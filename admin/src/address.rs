//! Where a node listens.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A host, by name or by IP, and a client port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    pub fn new(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    pub fn local(port: u16) -> Address {
        Address::new("127.0.0.1", port)
    }

    /// The first socket address the name stands for.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found = (self.host.as_str(), self.port).to_socket_addrs()?;
        found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }

    /// The IP that CLUSTER MEET, which takes no names, needs.
    pub fn ip(&self) -> io::Result<IpAddr> {
        self.resolve().map(|address| address.ip())
    }
}

impl FromStr for Address {
    type Err = String;

    /// `host:port`; the last colon counts, so IPv6 may come with brackets or, as nodes print it, without.
    fn from_str(text: &str) -> Result<Address, String> {
        let wrong = || format!("'{text}' is not HOST:PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match port.parse() {
            Ok(port) if port != 0 && !host.is_empty() => Ok(Address::new(host, port)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_told_apart_at_the_last_colon() {
        for (text, host, port) in
            [("127.0.0.1:7000", "127.0.0.1", 7000), ("[::1]:6379", "::1", 6379), ("::1:6379", "::1", 6379)]
        {
            assert_eq!(text.parse::<Address>(), Ok(Address::new(host, port)));
        }
        for text in ["", "7000", "host", ":7000", "host:", "host:0", "host:65536", "host:port"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        assert_eq!(Address::new("::1", 1).to_string().parse(), Ok(Address::new("::1", 1)));
    }
}
