//! The gate: how a command sees the whole world at rest.
//!
//! Each IO thread holds its own cell, a lock nobody else wants, while it works through a batch. What must
//! not run beside anything else (FLUSHALL, the start of a snapshot, a change of role or topology) takes
//! every cell. The cell holds the thread's connections, so whoever has stopped the world may look at all of
//! them and change them, without any other lock.
//!
//! **Order:** `exclusive`, then the cells by index. A thread lets go of its own cell before it stops the
//! world, so two threads that want to cannot wait for each other.
//!
//! In `tests/models` this file is run through every order of its threads' steps.

use crate::net::IoState;
use crate::sync::{Mutex, MutexGuard, sleep};
use crossbeam_utils::CachePadded;
use std::time::Duration;

/// How long a thread is waited for at once.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long the others go on before it is tried again.
const RETRY: Duration = Duration::from_millis(2);

pub struct Gate {
    cells: Box<[CachePadded<Mutex<IoState>>]>,
    /// Held by whoever stops the world, and by background work while it touches keys.
    exclusive: Mutex<()>,
}

impl Gate {
    pub fn new(threads: usize) -> Gate {
        Gate {
            cells: (0..threads).map(|_| CachePadded::new(Mutex::new(IoState::default()))).collect(),
            exclusive: Mutex::new(()),
        }
    }

    pub fn threads(&self) -> usize {
        self.cells.len()
    }

    /// Starts a batch of thread `index`.
    #[inline]
    pub fn enter(&self, index: usize) -> MutexGuard<'_, IoState> {
        self.cells[index].lock()
    }

    /// Keeps the world from being stopped while background work touches keys. Does not keep IO threads out.
    pub fn enter_background(&self) -> MutexGuard<'_, ()> {
        self.exclusive.lock()
    }

    /// Waits for every thread to finish its batch and keeps them from starting another. The caller must
    /// hold no cell, and no slot's lock.
    ///
    /// But what if a thread is in a slow script? Then the others are not kept waiting with it: it lets them go, and
    /// tries again.
    pub fn stop_world(&self) -> World<'_> {
        loop {
            if let Some(world) = self.try_stop_world() {
                return world;
            }
            sleep(RETRY);
        }
    }

    /// As [`Gate::stop_world`], or nothing if a thread has not finished within a while.
    pub fn try_stop_world(&self) -> Option<World<'_>> {
        let exclusive = self.exclusive.try_lock_for(PATIENCE)?;
        let threads = self.cells.iter().map(|cell| cell.try_lock_for(PATIENCE));
        Some(World { threads: threads.collect::<Option<_>>()?, _exclusive: exclusive })
    }
}

/// The world at rest, until this is dropped.
pub struct World<'a> {
    pub threads: Vec<MutexGuard<'a, IoState>>,
    _exclusive: MutexGuard<'a, ()>,
}
