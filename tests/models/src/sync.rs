//! The names of the server's `sync.rs`, with its signatures, from loom.
//!
//! **Time** does not pass in a model. A wait for a notice never reaches its limit, so that whoever is not woken is found. A
//! wait for a lock has no patience, and gives up whenever it might, or endless patience ([`with_patience`]).

use std::cell::Cell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub use loom::sync::Arc;
pub use loom::sync::atomic::{AtomicU64, Ordering};

/// What becomes of a wait for a lock that has a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    None,
    Endless,
}

thread_local! {
    // All threads of a model are one thread of the process.
    static PATIENCE: Cell<Patience> = const { Cell::new(Patience::Endless) };
}

/// Runs `f`, a whole model or several, with waits of that kind.
pub fn with_patience<R>(patience: Patience, f: impl FnOnce() -> R) -> R {
    let before = PATIENCE.replace(patience);
    let result = f();
    PATIENCE.set(before);
    result
}

/// Others go first.
pub fn sleep(_: Duration) {
    loom::thread::yield_now();
}

/// A flag that is stored to by exchanging it. Atomics have one order of all stores; loom knows that of exchanges, but lets
/// a store and an exchange that do not know of each other come in both orders at once.
pub struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub fn new(value: bool) -> AtomicBool {
        AtomicBool(loom::sync::atomic::AtomicBool::new(value))
    }

    pub fn load(&self, ordering: Ordering) -> bool {
        self.0.load(ordering)
    }

    pub fn store(&self, value: bool, ordering: Ordering) {
        self.0.swap(value, ordering);
    }

    pub fn swap(&self, value: bool, ordering: Ordering) -> bool {
        self.0.swap(value, ordering)
    }
}

/// A lock with the signatures of `parking_lot`'s. Loom's own does not show that it is held: its `try_lock` may wait, and
/// misses orders in which it would fail. Here all that happens to a lock happens under loom's lock of `is_held`.
#[derive(Default)]
pub struct Mutex<T> {
    is_held: loom::sync::Mutex<bool>,
    released: loom::sync::Condvar,
    value: std::sync::Mutex<T>,
}

/// Without a value only while it waits on a [`Condvar`].
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    value: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex {
            is_held: loom::sync::Mutex::new(false),
            released: loom::sync::Condvar::new(),
            value: std::sync::Mutex::new(value),
        }
    }

    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, value: Some(self.acquire()) }
    }

    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let was_held = std::mem::replace(&mut *self.is_held.lock().expect(NO_POISON), true);
        (!was_held).then(|| MutexGuard { mutex: self, value: Some(self.take()) })
    }

    #[track_caller]
    pub fn try_lock_for(&self, _: Duration) -> Option<MutexGuard<'_, T>> {
        match PATIENCE.get() {
            Patience::None => self.try_lock(),
            Patience::Endless => Some(self.lock()),
        }
    }

    #[track_caller]
    fn acquire(&self) -> std::sync::MutexGuard<'_, T> {
        let mut is_held = self.is_held.lock().expect(NO_POISON);
        while *is_held {
            is_held = self.released.wait(is_held).expect(NO_POISON);
        }
        *is_held = true;
        drop(is_held);
        self.take()
    }

    fn take(&self) -> std::sync::MutexGuard<'_, T> {
        self.value.try_lock().expect("only who holds the lock has the value")
    }

    fn release(&self) {
        *self.is_held.lock().expect(NO_POISON) = false;
        self.released.notify_all();
    }
}

const NO_POISON: &str = "loom does not poison";
const HAS_VALUE: &str = "only absent within a wait";

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect(HAS_VALUE)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(HAS_VALUE)
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        // A run that has failed is not gone on with.
        if !std::thread::panicking() {
            self.mutex.release();
        }
    }
}

/// Nobody is woken but by being told.
#[derive(Default)]
pub struct Condvar {
    /// How often it was told.
    told: loom::sync::Mutex<u64>,
    changed: loom::sync::Condvar,
}

impl Condvar {
    pub fn new() -> Condvar {
        Condvar::default()
    }

    pub fn notify_all(&self) {
        *self.told.lock().expect(NO_POISON) += 1;
        self.changed.notify_all();
    }

    #[track_caller]
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let mut told = self.told.lock().expect(NO_POISON);
        let before = *told;
        guard.value = None;
        guard.mutex.release();
        while *told == before {
            told = self.changed.wait(told).expect(NO_POISON);
        }
        drop(told);
        guard.value = Some(guard.mutex.acquire());
    }

    /// Nobody is to count on the limit: it is not reached.
    #[track_caller]
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) {
        self.wait(guard);
    }
}

/// What a thread with sockets sleeps on, in place of `mio`'s: it has a waker, and one socket.
#[derive(Clone, Default)]
pub struct Poll(Arc<(Mutex<Ready>, Condvar)>);

#[derive(Clone, Copy, Default)]
struct Ready {
    woken: bool,
    socket: bool,
    wakes: usize,
}

/// Ends its poll's sleep, also one that has not begun.
pub struct Waker(Poll);

impl Poll {
    pub fn waker(&self) -> Waker {
        Waker(self.clone())
    }

    /// The socket can be read: a sleep ends for another reason than the waker.
    pub fn socket_ready(&self) {
        self.set(|ready| ready.socket = true);
    }

    /// Takes up what is ready. If that is nothing and it may sleep, it waits for something. Returns whether the waker was
    /// among it.
    pub fn poll(&self, may_sleep: bool) -> bool {
        let (ready, changed) = &*self.0;
        let mut ready = ready.lock();
        while may_sleep && !ready.woken && !ready.socket {
            changed.wait(&mut ready);
        }
        ready.socket = false;
        std::mem::take(&mut ready.woken)
    }

    /// How often the waker was used.
    pub fn wakes(&self) -> usize {
        self.0.0.lock().wakes
    }

    fn set(&self, set: impl FnOnce(&mut Ready)) {
        let (ready, changed) = &*self.0;
        set(&mut ready.lock());
        changed.notify_all();
    }
}

impl Waker {
    pub fn wake(&self) -> io::Result<()> {
        self.0.set(|ready| {
            ready.woken = true;
            ready.wakes += 1;
        });
        Ok(())
    }
}
