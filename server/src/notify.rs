//! Keyspace notifications: the classes of events, and the channels they are published on.

use crate::pubsub::Delivery;
use crate::server::Server;
use std::fmt;

bitflags::bitflags! {
    /// Which events are published, and on which channels.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Classes: u16 {
        const KEYSPACE = 1 << 0;
        const KEYEVENT = 1 << 1;
        const GENERIC = 1 << 2;
        const STRING = 1 << 3;
        const LIST = 1 << 4;
        const SET = 1 << 5;
        const HASH = 1 << 6;
        const ZSET = 1 << 7;
        const EXPIRED = 1 << 8;
        const EVICTED = 1 << 9;
        const STREAM = 1 << 10;
        const KEY_MISS = 1 << 11;
        const MODULE = 1 << 12;
        const NEW = 1 << 13;
        /// What `A` stands for: all classes of events but key misses and new keys.
        const ALL = Self::GENERIC.bits() | Self::STRING.bits() | Self::LIST.bits() | Self::SET.bits()
            | Self::HASH.bits() | Self::ZSET.bits() | Self::EXPIRED.bits() | Self::EVICTED.bits()
            | Self::STREAM.bits() | Self::MODULE.bits();
    }
}

/// Each class and its letter, in the order CONFIG GET shows them.
const LETTERS: [(Classes, char); 14] = [
    (Classes::GENERIC, 'g'),
    (Classes::STRING, '$'),
    (Classes::LIST, 'l'),
    (Classes::SET, 's'),
    (Classes::HASH, 'h'),
    (Classes::ZSET, 'z'),
    (Classes::EXPIRED, 'x'),
    (Classes::EVICTED, 'e'),
    (Classes::STREAM, 't'),
    (Classes::MODULE, 'd'),
    (Classes::NEW, 'n'),
    (Classes::KEYSPACE, 'K'),
    (Classes::KEYEVENT, 'E'),
    (Classes::KEY_MISS, 'm'),
];

impl Classes {
    /// `None` when a letter is no class.
    pub fn parse(text: &str) -> Option<Classes> {
        text.chars().try_fold(Classes::empty(), |classes, c| {
            let class = match c {
                'A' => Classes::ALL,
                _ => LETTERS.iter().find(|(_, letter)| *letter == c)?.0,
            };
            Some(classes | class)
        })
    }
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = *self;
        if rest.contains(Classes::ALL) {
            f.write_str("A")?;
            rest -= Classes::ALL;
        }
        LETTERS
            .iter()
            .filter(|(class, _)| rest.contains(*class))
            .try_for_each(|(_, letter)| write!(f, "{letter}"))
    }
}

/// Finds who is to hear of an event, on the channels that `classes` names.
#[cold]
pub fn address(
    server: &Server,
    classes: Classes,
    db: usize,
    event: &str,
    key: &[u8],
    deliveries: &mut Vec<Delivery>,
) {
    if server.pubsub.is_silent() {
        return;
    }
    if classes.contains(Classes::KEYSPACE) {
        let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
        server.pubsub.address(false, &channel, event.as_bytes(), deliveries);
    }
    if classes.contains(Classes::KEYEVENT) {
        let channel = format!("__keyevent@{db}__:{event}");
        server.pubsub.address(false, channel.as_bytes(), key, deliveries);
    }
}

/// Publishes an event from a thread that serves no client. The key's slot is locked.
pub fn publish(server: &Server, classes: Classes, class: Classes, db: usize, event: &str, key: &[u8]) {
    if classes.intersects(class) {
        let mut deliveries = Vec::new();
        address(server, classes, db, event, key, &mut deliveries);
        server.post_deliveries(deliveries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_round_trip() {
        for (text, canonical) in [("KEA", "AKE"), ("xKg", "gxK"), ("", ""), ("Ezm", "zEm")] {
            assert_eq!(Classes::parse(text).unwrap().to_string(), canonical);
        }
        assert_eq!(Classes::parse("KQ"), None);
    }
}
