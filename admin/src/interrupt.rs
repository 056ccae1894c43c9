//! Ctrl-C, SIGTERM and a closed terminal, as a question instead of an end.

use crate::error::Error;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often the user asked to leave. Whoever waits looks at it, cleans up and returns.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Takes the signals over; from here on they only count.
    pub fn catch_signals() -> io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let count = Arc::clone(&interrupt.0);
        std::thread::spawn(move || {
            for _ in signals.forever() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(interrupt)
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub fn check(&self) -> Result<(), Error> {
        if self.count() > 0 { Err(Error::Interrupted) } else { Ok(()) }
    }
}
