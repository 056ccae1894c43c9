//! What one thread asks of another: a queue and a waker, nothing else passes between threads.

use crate::pubsub::Delivery;
use crate::tracking::Invalidation;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A message to an IO thread.
pub enum Mail {
    /// A connection to own from now on.
    Connection(Box<super::Conn>),
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

pub struct Mailbox {
    queue: Mutex<Vec<Mail>>,
    waker: mio::Waker,
    /// The thread is at work, or a wake-up is under way: it will look before it sleeps, and another wake-up would be
    /// a wasted system call.
    awake: AtomicBool,
}

impl Mailbox {
    pub fn new(poll: &mio::Poll, token: mio::Token) -> io::Result<Mailbox> {
        Ok(Mailbox {
            queue: Mutex::new(Vec::new()),
            waker: mio::Waker::new(poll.registry(), token)?,
            awake: AtomicBool::new(false),
        })
    }

    pub fn post(&self, mail: Mail) {
        self.queue.lock().push(mail);
        if !self.awake.swap(true, Ordering::SeqCst) {
            // Fails only when the poll is gone, and then nobody reads the mail.
            let _ = self.waker.wake();
        }
    }

    /// The owner is at work: it calls [`Mailbox::may_sleep`] before it waits again.
    #[inline]
    pub fn work(&self) {
        self.awake.store(true, Ordering::Relaxed);
    }

    /// From here on new mail wakes the owner. False when there is some already.
    #[inline]
    pub fn may_sleep(&self) -> bool {
        // What is posted after the store wakes the owner; what was posted before it is seen under the lock.
        self.awake.store(false, Ordering::SeqCst);
        self.queue.lock().is_empty()
    }

    /// Takes the connections out, and leaves the rest.
    pub fn take_connections(&self, mut take: impl FnMut(Box<super::Conn>)) {
        let mut queue = self.queue.lock();
        if !queue.iter().any(|mail| matches!(mail, Mail::Connection(_))) {
            return;
        }
        for mail in std::mem::take(&mut *queue) {
            match mail {
                Mail::Connection(conn) => take(conn),
                other => queue.push(other),
            }
        }
    }

    /// Takes all mail into `into`, which must be empty.
    pub fn take(&self, into: &mut Vec<Mail>) {
        std::mem::swap(&mut *self.queue.lock(), into);
    }
}
