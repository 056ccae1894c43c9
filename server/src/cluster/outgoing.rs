//! What waits to be sent on the links of the bus, as CLUSTER LINKS and INFO show it.
//!
//! Bytes count from the moment the machine has decided to send them until a socket has taken them.

use cluster_bus::LinkId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes waiting on one link.
#[derive(Default)]
pub struct Waiting(AtomicUsize);

impl Waiting {
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// The socket has taken so many.
    pub fn sent(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[derive(Default)]
pub struct Outgoing {
    links: Mutex<HashMap<LinkId, Arc<Waiting>>>,
}

impl Outgoing {
    /// The account of a link, which may be about to be opened.
    pub fn of(&self, link: LinkId) -> Arc<Waiting> {
        self.links.lock().entry(link).or_default().clone()
    }

    pub fn add(&self, link: LinkId, bytes: usize) {
        self.of(link).0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The link is gone, and with it what waited.
    pub fn forget(&self, link: LinkId) {
        self.links.lock().remove(&link);
    }

    /// Bytes waiting on a link.
    pub fn bytes(&self, link: LinkId) -> usize {
        self.links.lock().get(&link).map_or(0, |waiting| waiting.bytes())
    }

    /// How many links there are, and the bytes waiting on all of them.
    pub fn total(&self) -> (usize, usize) {
        let links = self.links.lock();
        (links.len(), links.values().map(|waiting| waiting.bytes()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_until_they_are_sent_or_their_link_is_gone() {
        let outgoing = Outgoing::default();
        let [one, other] = [1, 2].map(LinkId::incoming);
        outgoing.add(one, 100);
        outgoing.add(other, 10);
        outgoing.of(one).sent(40);
        assert_eq!((outgoing.bytes(one), outgoing.total()), (60, (2, 70)));
        outgoing.forget(one);
        assert_eq!((outgoing.bytes(one), outgoing.total()), (0, (1, 10)));
    }
}
