//! What an IO thread may be told by others.

use super::Conn;
use crate::pubsub::Delivery;
use crate::tracking::Invalidation;
use std::sync::Arc;

/// A message to an IO thread.
pub enum Mail {
    /// A connection to own from now on.
    Connection(Box<Conn>),
    /// A reply for a client that waits, and the end of its waiting; where in the write log its write ended.
    Unblock { client: u64, reply: Vec<u8>, write_offset: Option<u64> },
    /// A key that clients wait for is gone: those who want to know are to be served.
    KeyReady { db: usize, key: Box<[u8]> },
    /// A published message. The publisher has been served.
    Deliver { delivery: Box<Delivery>, publisher: u64 },
    /// These clients listen to a shard channel that has moved to another node.
    ShardChannelGone { name: Arc<[u8]>, clients: Arc<Vec<u64>> },
    /// Output that is not a reply: an acknowledgement, an invalidation.
    Push { client: u64, bytes: Vec<u8> },
    /// A key that the client may have cached has changed.
    Invalidate { client: u64, invalidation: Invalidation },
    /// As above, on behalf of another client (and the thread that owns it) that redirects to this one.
    Redirected { client: u64, origin: (u64, usize), keys: Arc<[u8]> },
    /// The client redirects to one that is gone.
    RedirectBroke { client: u64, target: u64 },
    /// A command has been run, and this client is a monitor.
    Monitored { client: u64, bytes: Arc<[u8]> },
    /// Close this connection.
    Kill { client: u64 },
    /// The write log has grown, or is durable further than before: look after replicas and held replies.
    LogMoved,
    /// A second has passed: look for clients that are idle, or do not take what they are sent.
    Sweep,
    /// The process is ending.
    Stop,
}
