//! Side tables: who waits for, watches or tracks a key of a slot. Most slots have none.

use crate::hash::hash;
use crate::table::{Item, Table};

/// A client, by the number CLIENT ID gives.
pub type ClientId = u64;

/// The side tables of a slot. What they mean is the server's business.
#[derive(Default)]
pub struct SideTables {
    /// By WATCH.
    pub watched: Waiters,
    /// By BLPOP and its like, in the order of arrival.
    pub blocked: Waiters,
    /// By client-side caching.
    pub tracked: Waiters,
}

impl SideTables {
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty() && self.blocked.is_empty() && self.tracked.is_empty()
    }
}

/// Clients by key, in the order they were added.
#[derive(Default)]
pub struct Waiters {
    by_key: Table<Waiting>,
}

struct Waiting(Box<(Box<[u8]>, Vec<ClientId>)>);

impl Item for Waiting {
    fn key(&self) -> &[u8] {
        &self.0.0
    }
}

impl Waiters {
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub fn get(&self, key: &[u8]) -> &[ClientId] {
        self.by_key.find(hash(key), key).map_or(&[], |waiting| &waiting.0.1)
    }

    /// False if the client was there already.
    pub fn add(&mut self, key: &[u8], client: ClientId) -> bool {
        let make = || Waiting(Box::new((key.into(), Vec::new())));
        let (waiting, _) = self.by_key.find_or_insert_with(hash(key), key, make);
        let clients = &mut waiting.0.1;
        let is_new = !clients.contains(&client);
        if is_new {
            clients.push(client);
        }
        is_new
    }

    /// False if the client was not there.
    pub fn remove(&mut self, key: &[u8], client: ClientId) -> bool {
        let hash = hash(key);
        let Some(Waiting(waiting)) = self.by_key.find_mut(hash, key) else { return false };
        let before = waiting.1.len();
        waiting.1.retain(|&other| other != client);
        let (after, was_there) = (waiting.1.len(), waiting.1.len() < before);
        if after == 0 {
            self.by_key.remove(hash, key);
        }
        was_there
    }

    /// All clients of a key, who are forgotten.
    pub fn take(&mut self, key: &[u8]) -> Vec<ClientId> {
        self.by_key.remove(hash(key), key).map_or(Vec::new(), |waiting| waiting.0.1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[ClientId])> {
        self.by_key.iter().map(|waiting| (&*waiting.0.0, &*waiting.0.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_stay_in_the_order_of_arrival() {
        let mut waiters = Waiters::default();
        assert!(waiters.add(b"list", 7) && waiters.add(b"list", 3) && waiters.add(b"other", 7));
        assert!(!waiters.add(b"list", 7), "there already");
        assert_eq!((waiters.get(b"list"), waiters.get(b"none")), (&[7, 3][..], &[][..]));
        assert_eq!(waiters.iter().count(), 2);
        assert!(waiters.remove(b"list", 7) && !waiters.remove(b"list", 7) && !waiters.remove(b"none", 1));
        assert_eq!(waiters.take(b"list"), [3]);
        assert!(waiters.remove(b"other", 7) && waiters.is_empty());
    }
}
