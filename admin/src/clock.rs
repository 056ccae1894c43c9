//! The one place of this crate that reads the clock and sleeps.
#![allow(clippy::disallowed_methods, reason = "this is the adapter that reads the clock")]

use crate::error::Error;
use crate::interrupt::Interrupt;
use std::time::{Duration, Instant};

/// Between two looks at a condition that another process fulfils.
const POLL_MS: u64 = 50;

/// Time since a moment.
#[derive(Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }

    pub fn elapsed_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

/// Lets `ms` pass, or less when the user wants to leave.
pub fn pause(ms: u64, interrupt: &Interrupt) -> Result<(), Error> {
    let watch = Stopwatch::start();
    loop {
        interrupt.check()?;
        let left_ms = ms.saturating_sub(watch.elapsed_ms());
        if left_ms == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(left_ms.min(POLL_MS)));
    }
}

/// Asks `done` again and again until it has an answer.
pub fn wait_for<T>(
    what: &str,
    timeout_ms: u64,
    interrupt: &Interrupt,
    mut done: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = done()? {
            return Ok(found);
        }
        if watch.elapsed_ms() >= timeout_ms {
            return Err(Error::TimedOut { waited_for: what.to_owned(), waited_s: timeout_ms / 1000 });
        }
        pause(POLL_MS, interrupt)?;
    }
}
