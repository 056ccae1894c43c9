//! What one thread asks of another: a queue and a waker, nothing else passes between threads.
//!
//! In `tests/models` this file is run through every order of its threads' steps.

use crate::sync::{AtomicBool, Mutex, Ordering, Waker};
use std::io;

pub struct Mailbox<M> {
    queue: Mutex<Vec<M>>,
    waker: Waker,
    /// The owner is at work, or a wake-up is under way: it will look before it sleeps, and another wake-up would be
    /// a wasted system call. Relaxed is enough: senders come to it from the queue's lock, and the owner goes from it to
    /// that lock.
    awake: AtomicBool,
}

impl<M> Mailbox<M> {
    pub fn new(waker: Waker) -> Mailbox<M> {
        Mailbox { queue: Mutex::new(Vec::new()), waker, awake: AtomicBool::new(false) }
    }

    pub fn post(&self, mail: M) {
        self.queue.lock().push(mail);
        if !self.awake.swap(true, Ordering::Relaxed) {
            // Fails only when the poll is gone, and then nobody reads the mail.
            let _ = self.waker.wake();
        }
    }

    /// The owner waits, for mail and whatever else concerns it. `wait` is told whether it may sleep, and says whether it
    /// was the waker that ended its sleep. Returns whether there may be mail to take.
    #[inline]
    pub fn wait(&self, wait: impl FnOnce(bool) -> io::Result<bool>) -> io::Result<bool> {
        // What is posted after the store wakes the owner; what was posted before it is seen under the lock.
        self.awake.store(false, Ordering::Relaxed);
        let is_empty = self.queue.lock().is_empty();
        let woken = wait(is_empty)?;
        self.awake.store(true, Ordering::Relaxed);
        Ok(woken || !is_empty)
    }

    /// Takes all mail into `into`, which must be empty.
    pub fn take(&self, into: &mut Vec<M>) {
        std::mem::swap(&mut *self.queue.lock(), into);
    }

    /// Takes what is wanted out, and leaves the rest in its order.
    pub fn take_where(&self, wanted: impl Fn(&M) -> bool) -> Vec<M> {
        self.queue.lock().extract_if(.., |mail| wanted(mail)).collect()
    }
}
