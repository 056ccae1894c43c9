//! The one place of this crate that reads the clock and sleeps.
#![allow(clippy::disallowed_methods, reason = "this is the adapter that reads the clock")]

use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub fn elapsed_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.elapsed_us() / 1000
    }
}

pub fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

pub fn sleep_us(us: u64) {
    std::thread::sleep(Duration::from_micros(us));
}
