//! Publish and subscribe: who listens to what, and the way of a message to them.
//!
//! ```text
//!  PUBLISH, or an event ──▶ Registry (read lock) ──▶ Delivery, one per thread with listeners
//!                                                        │ mailbox
//!                                      that thread: appended to each listener's output,
//!                                      written once when the mail has been read
//! ```
//!
//! A message is encoded once. A thread that delivers asks its own sessions whether they still listen: nobody is
//! sent anything after the reply to UNSUBSCRIBE. What a client publishes to itself follows the reply to its command.

use crate::exec::Session;
use crate::exec::SessionFlags;
use crate::net::Mail;
use crate::server::Server;
use foldhash::{HashMap, HashSet};
use parking_lot::RwLock;
use protocol::{Reply, Resp, Slot, glob};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The three spaces of names one can listen to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    Channels,
    Patterns,
    /// Channels that belong to a slot, and to the nodes that serve it.
    Shard,
}

impl Space {
    pub const ALL: [Space; 3] = [Space::Channels, Space::Patterns, Space::Shard];

    /// How messages of the space begin.
    fn message_kind(self) -> &'static [u8] {
        match self {
            Space::Channels => b"message",
            Space::Patterns => b"pmessage",
            Space::Shard => b"smessage",
        }
    }

    pub fn subscribed(self) -> &'static [u8] {
        match self {
            Space::Channels => b"subscribe",
            Space::Patterns => b"psubscribe",
            Space::Shard => b"ssubscribe",
        }
    }

    pub fn unsubscribed(self) -> &'static [u8] {
        match self {
            Space::Channels => b"unsubscribe",
            Space::Patterns => b"punsubscribe",
            Space::Shard => b"sunsubscribe",
        }
    }
}

/// What one client listens to.
#[derive(Default)]
pub struct Subscriptions {
    names: [HashSet<Arc<[u8]>>; 3],
}

impl Subscriptions {
    pub fn of(&self, space: Space) -> &HashSet<Arc<[u8]>> {
        &self.names[space as usize]
    }

    /// What replies to (un)subscribing count: patterns and channels together, shard channels on their own.
    pub fn count(&self, space: Space) -> usize {
        match space {
            Space::Channels | Space::Patterns => {
                self.of(Space::Channels).len() + self.of(Space::Patterns).len()
            }
            Space::Shard => self.of(Space::Shard).len(),
        }
    }

    fn is_empty(&self) -> bool {
        self.names.iter().all(HashSet::is_empty)
    }
}

/// The clients that listen to one name, by the thread that owns them. Shared with deliveries under way.
#[derive(Default)]
struct Listeners {
    by_thread: Vec<(usize, Arc<Vec<u64>>)>,
}

impl Listeners {
    fn add(&mut self, thread: usize, client: u64) {
        match self.by_thread.iter_mut().find(|(other, _)| *other == thread) {
            Some((_, clients)) => Arc::make_mut(clients).push(client),
            None => self.by_thread.push((thread, Arc::new(vec![client]))),
        }
    }

    fn remove(&mut self, thread: usize, client: u64) {
        let Some(at) = self.by_thread.iter().position(|(other, _)| *other == thread) else { return };
        let clients = Arc::make_mut(&mut self.by_thread[at].1);
        clients.retain(|&other| other != client);
        if clients.is_empty() {
            self.by_thread.swap_remove(at);
        }
    }

    fn count(&self) -> usize {
        self.by_thread.iter().map(|(_, clients)| clients.len()).sum()
    }
}

/// A message on its way to the listeners of one thread.
pub struct Delivery {
    pub thread: usize,
    pub clients: Arc<Vec<u64>>,
    space: Space,
    /// What they listen to.
    name: Arc<[u8]>,
    /// The message as RESP2 has it; RESP3 differs in the first byte.
    bytes: Arc<[u8]>,
}

impl Delivery {
    /// Appends the message to what goes to a client, if it still listens.
    pub fn give(&self, session: &Session, out: &mut Vec<u8>) {
        let listens =
            session.subscriptions.as_ref().is_some_and(|all| all.of(self.space).contains(&self.name));
        if listens {
            let at = out.len();
            out.extend_from_slice(&self.bytes);
            if session.resp == Resp::V3 {
                out[at] = b'>';
            }
        }
    }
}

type Names = HashMap<Arc<[u8]>, Listeners>;

/// Who listens to what, on all threads.
#[derive(Default)]
pub struct PubSub {
    spaces: [RwLock<Names>; 3],
    /// How many names of each space somebody listens to: to pass by without locking.
    counts: [AtomicUsize; 3],
}

impl PubSub {
    fn space(&self, space: Space) -> &RwLock<Names> {
        &self.spaces[space as usize]
    }

    /// How many names of a space somebody listens to.
    pub fn count(&self, space: Space) -> usize {
        self.counts[space as usize].load(Ordering::Relaxed)
    }

    /// Nobody would hear what is published to a channel.
    #[inline]
    pub fn is_silent(&self) -> bool {
        self.count(Space::Channels) + self.count(Space::Patterns) == 0
    }

    /// Names that match `pattern`, in no order.
    pub fn names(&self, space: Space, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        let matches = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        self.space(space).read().keys().filter(|name| matches(name)).cloned().collect()
    }

    /// How many clients listen to a name.
    pub fn listeners(&self, space: Space, name: &[u8]) -> usize {
        self.space(space).read().get(name).map_or(0, Listeners::count)
    }

    /// Finds who is to hear a message. Returns how many they are.
    pub fn address(
        &self,
        is_shard: bool,
        channel: &[u8],
        message: &[u8],
        deliveries: &mut Vec<Delivery>,
    ) -> usize {
        let space = if is_shard { Space::Shard } else { Space::Channels };
        let mut receivers = 0;
        if self.count(space) > 0
            && let Some((name, listeners)) = self.space(space).read().get_key_value(channel)
        {
            let parts = [space.message_kind(), channel, message];
            receivers += deliver(space, name, listeners, &parts, deliveries);
        }
        if !is_shard && self.count(Space::Patterns) > 0 {
            for (name, listeners) in self.space(Space::Patterns).read().iter() {
                if glob::matches(name, channel) {
                    let parts = [Space::Patterns.message_kind(), name, channel, message];
                    receivers += deliver(Space::Patterns, name, listeners, &parts, deliveries);
                }
            }
        }
        receivers
    }

    /// The client listens to one more name. False when it does already.
    pub fn subscribe(&self, session: &mut Session, space: Space, name: &[u8]) -> bool {
        let own = session.subscriptions.get_or_insert_default();
        session.flags.insert(SessionFlags::SUBSCRIBED);
        if own.of(space).contains(name) {
            return false;
        }
        let mut names = self.space(space).write();
        let name = match names.get_key_value(name) {
            Some((known, _)) => known.clone(),
            None => Arc::from(name),
        };
        names.entry(name.clone()).or_default().add(session.thread, session.id);
        self.counts[space as usize].store(names.len(), Ordering::Relaxed);
        own.names[space as usize].insert(name);
        true
    }

    /// The client listens to a name no more.
    pub fn unsubscribe(&self, session: &mut Session, space: Space, name: &[u8]) {
        if let Some(own) = &mut session.subscriptions
            && own.names[space as usize].remove(name)
        {
            self.strike(space, name, session.thread, session.id);
        }
        settle(session);
    }

    /// The client listens to nothing any more.
    pub fn forget(&self, session: &mut Session) {
        let Some(own) = session.subscriptions.take() else { return };
        for space in Space::ALL {
            for name in own.of(space) {
                self.strike(space, name, session.thread, session.id);
            }
        }
        session.flags.remove(SessionFlags::SUBSCRIBED);
    }

    fn strike(&self, space: Space, name: &[u8], thread: usize, client: u64) {
        let mut names = self.space(space).write();
        let Some(listeners) = names.get_mut(name) else { return };
        listeners.remove(thread, client);
        if listeners.by_thread.is_empty() {
            names.remove(name);
        }
        self.counts[space as usize].store(names.len(), Ordering::Relaxed);
    }

    /// Ends listening to shard channels whose slots this node does not serve any more; listeners are told.
    pub fn drop_shard_channels(&self, server: &Server, serves: impl Fn(Slot) -> bool) {
        if self.count(Space::Shard) == 0 {
            return;
        }
        let mut names = self.space(Space::Shard).write();
        let gone: Vec<_> = names.keys().filter(|name| !serves(Slot::of(name))).cloned().collect();
        for name in gone {
            for (thread, clients) in names.remove(&name).into_iter().flat_map(|all| all.by_thread) {
                server.post(thread, Mail::ShardChannelGone { name: name.clone(), clients });
            }
        }
        self.counts[Space::Shard as usize].store(names.len(), Ordering::Relaxed);
    }
}

/// A session whose last subscription went leaves the subscribed mode.
fn settle(session: &mut Session) {
    if session.subscriptions.as_ref().is_none_or(|own| own.is_empty()) {
        session.subscriptions = None;
        session.flags.remove(SessionFlags::SUBSCRIBED);
    }
}

/// The registry has struck the name already: the session follows, and its client is told.
pub fn shard_channel_gone(session: &mut Session, name: &[u8], out: &mut Vec<u8>) {
    let Some(own) = &mut session.subscriptions else { return };
    if !own.names[Space::Shard as usize].remove(name) {
        return;
    }
    let left = own.count(Space::Shard);
    confirm(&mut Reply::new(out, session.resp), Space::Shard.unsubscribed(), Some(name), left);
    settle(session);
}

/// What a client is told when it has begun or ended to listen.
pub fn confirm(reply: &mut Reply<'_>, kind: &[u8], name: Option<&[u8]>, count: usize) {
    reply.push(3);
    reply.bulk(kind);
    reply.bulk_or_null(name);
    reply.integer(count as i64);
}

fn deliver(
    space: Space,
    name: &Arc<[u8]>,
    listeners: &Listeners,
    parts: &[&[u8]],
    deliveries: &mut Vec<Delivery>,
) -> usize {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 16).sum());
    protocol::reply::write_command(&mut bytes, parts.iter().copied());
    let bytes: Arc<[u8]> = bytes.into();
    deliveries.extend(listeners.by_thread.iter().map(|(thread, clients)| Delivery {
        thread: *thread,
        clients: clients.clone(),
        space,
        name: name.clone(),
        bytes: bytes.clone(),
    }));
    listeners.count()
}

impl Server {
    /// Publishes to the clients of this node, from a thread that serves none.
    pub fn publish(&self, is_shard: bool, channel: &[u8], message: &[u8]) {
        let mut deliveries = Vec::new();
        self.pubsub.address(is_shard, channel, message, &mut deliveries);
        self.post_deliveries(deliveries);
    }

    pub fn post_deliveries(&self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            self.post(delivery.thread, Mail::Deliver { delivery: Box::new(delivery), publisher: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: u64, thread: usize) -> Session {
        let mut session = Session::new(id, String::new(), String::new(), 0);
        session.thread = thread;
        session
    }

    fn heard(pubsub: &PubSub, sessions: &[&Session], channel: &[u8]) -> (usize, Vec<String>) {
        let mut deliveries = Vec::new();
        let receivers = pubsub.address(false, channel, b"m", &mut deliveries);
        let mut heard = Vec::new();
        for delivery in deliveries {
            for session in sessions.iter().filter(|s| s.thread == delivery.thread) {
                if delivery.clients.contains(&session.id) {
                    let mut out = Vec::new();
                    delivery.give(session, &mut out);
                    heard.push(String::from_utf8(out).unwrap());
                }
            }
        }
        (receivers, heard)
    }

    #[test]
    fn channels_and_patterns_on_two_threads() {
        let pubsub = PubSub::default();
        let (mut a, mut b) = (session(1, 0), session(2, 1));
        b.resp = Resp::V3;
        assert!(pubsub.subscribe(&mut a, Space::Channels, b"news"));
        assert!(!pubsub.subscribe(&mut a, Space::Channels, b"news"));
        assert!(pubsub.subscribe(&mut b, Space::Patterns, b"n*"));
        let (receivers, all) = heard(&pubsub, &[&a, &b], b"news");
        assert_eq!(receivers, 2);
        assert_eq!(
            all,
            [
                "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nm\r\n",
                ">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$1\r\nm\r\n",
            ]
        );
        assert_eq!(heard(&pubsub, &[&a, &b], b"olds").0, 0);
        pubsub.forget(&mut a);
        assert_eq!(heard(&pubsub, &[&a, &b], b"news").0, 1);
        pubsub.unsubscribe(&mut b, Space::Patterns, b"n*");
        assert!(pubsub.is_silent() && !b.flags.contains(SessionFlags::SUBSCRIBED));
    }

    #[test]
    fn nothing_reaches_a_client_that_has_unsubscribed() {
        let pubsub = PubSub::default();
        let mut a = session(1, 0);
        pubsub.subscribe(&mut a, Space::Channels, b"c");
        let mut deliveries = Vec::new();
        assert_eq!(pubsub.address(false, b"c", b"m", &mut deliveries), 1);
        pubsub.unsubscribe(&mut a, Space::Channels, b"c");
        let mut out = Vec::new();
        deliveries[0].give(&a, &mut out);
        assert!(out.is_empty());
    }
}
