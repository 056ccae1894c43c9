//! The server's gate, mailbox and write log, in every order in which their threads' steps can fall.
//!
//! The files are the server's own. Only the locks, atomics and wakers they take from `crate::sync` are others: those of
//! [`loom`], which runs a model again and again, each time in another order, and lets a load see every value that the
//! orderings of the atomics allow. Nothing of this crate is in a server.
//!
//! | variable | what |
//! |---|---|
//! | `BALAS_MODEL_PREEMPTIONS` | how often the threads are interrupted in one order, 3 by default: seconds; 4 takes minutes; `all` for no bound |
//! | `LOOM_LOCATION` | if set, a model in which nobody can go on says where each thread stands; slow |
//!
//! Loom takes `SeqCst` for acquire and release, which is less than it promises: code that needs more fails here.

#[path = "../../../server/src/gate.rs"]
pub mod gate;
#[path = "../../../server/src/net/mailbox.rs"]
pub mod mailbox;
pub mod net;
pub mod sync;
#[path = "../../../server/src/write_log.rs"]
pub mod write_log;

use loom::model::Builder;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const PREEMPTIONS: usize = 3;

/// Runs `model` in all orders of its threads' steps, up to the bound. It must do the same each time, but for that order.
pub fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = match std::env::var("BALAS_MODEL_PREEMPTIONS") {
        Err(_) => Some(PREEMPTIONS),
        Ok(all) if all == "all" => None,
        Ok(number) => Some(number.parse().expect("BALAS_MODEL_PREEMPTIONS is a number, or `all`")),
    };
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    let runs = runs.load(Relaxed);
    println!("{runs} orders");
    assert!(runs > 1, "nothing in this model can happen in two orders");
}

/// What must happen in some orders, though not in all: otherwise a model proves less than it says.
#[derive(Clone, Default)]
pub struct Seen(Arc<AtomicUsize>);

impl Seen {
    pub fn note(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn is_any(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}
