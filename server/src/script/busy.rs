//! Slow scripts: who they are, and how they are ended.
//!
//! A run says so here when it has taken longer than `busy-reply-threshold`. From then on, whoever would have to
//! wait for it is told BUSY, and SCRIPT KILL, FUNCTION KILL and SHUTDOWN NOSAVE find it.

use parking_lot::Mutex;
use protocol::{ArgVec, ReplyError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// A run that takes long.
pub struct SlowRun {
    /// SHA1 of a script, or name of a function.
    pub name: String,
    /// It came by EVAL or EVALSHA, not by FCALL.
    pub is_eval: bool,
    pub from_master: bool,
    /// It was about to write: it can no longer be ended without leaving half of it behind.
    pub wrote: AtomicBool,
    pub killed: AtomicBool,
    /// The command that runs it.
    pub argv: ArgVec,
    pub started: Instant,
}

#[derive(Default)]
pub struct Busy {
    count: AtomicUsize,
    runs: Mutex<Vec<Arc<SlowRun>>>,
    /// The process is about to end without saving: every script is to stop, and leave nothing in the log.
    ending: AtomicBool,
}

impl Busy {
    #[inline]
    pub fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    pub fn enter(&self, run: Arc<SlowRun>) {
        let mut runs = self.runs.lock();
        runs.push(run);
        self.count.store(runs.len(), Ordering::Relaxed);
    }

    pub fn leave(&self, run: &Arc<SlowRun>) {
        let mut runs = self.runs.lock();
        runs.retain(|other| !Arc::ptr_eq(other, run));
        self.count.store(runs.len(), Ordering::Relaxed);
    }

    pub fn end_all(&self, ending: bool) {
        self.ending.store(ending, Ordering::Relaxed);
    }

    #[inline]
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// The slow run others wait for: the one that has been going longest.
    pub fn oldest(&self) -> Option<Arc<SlowRun>> {
        self.runs.lock().iter().min_by_key(|run| run.started).cloned()
    }

    /// What somebody is told who would have to wait.
    pub fn refusal(&self) -> ReplyError {
        let is_eval = self.oldest().is_none_or(|run| run.is_eval);
        if is_eval { SLOW_SCRIPT } else { SLOW_FUNCTION }
    }

    /// SCRIPT KILL (`eval`) or FUNCTION KILL.
    pub fn kill(&self, eval: bool) -> Result<(), ReplyError> {
        let runs = self.runs.lock();
        let mut error = NOT_BUSY;
        for run in runs.iter() {
            error = match () {
                () if run.from_master => FROM_MASTER,
                () if run.wrote.load(Ordering::Relaxed) => HAS_WRITTEN,
                () if eval && !run.is_eval => SLOW_FUNCTION,
                () if !eval && run.is_eval => SLOW_SCRIPT,
                () => {
                    run.killed.store(true, Ordering::Relaxed);
                    return Ok(());
                }
            };
        }
        Err(error)
    }
}

pub const SLOW_SCRIPT: ReplyError = ReplyError::fixed(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);
pub const SLOW_FUNCTION: ReplyError = ReplyError::fixed(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
);
const NOT_BUSY: ReplyError = ReplyError::fixed("NOTBUSY No scripts in execution right now.");
const FROM_MASTER: ReplyError = ReplyError::fixed(
    "UNKILLABLE The busy script was sent by a master instance in the context of replication and cannot be killed.",
);
const HAS_WRITTEN: ReplyError = ReplyError::fixed(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the \
     script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
);
