//! Scripts and functions.
//!
//! ```text
//!  EVAL, EVALSHA, FCALL ──▶ Run: may it run? which slots? ──▶ Engine (one Lua state per thread)
//!                            ▲                                   │ redis.call
//!                            └──── check, lock, call ◀───────────┘
//! ```
//!
//! What all threads share is [`Scripts`]: the cache of bodies by SHA1, the libraries, and which scripts are slow. A thread
//! that serves clients makes a Lua state when it first needs one, and compiles what it runs.
//!
//! **Invariant:** nothing outside of `lua/` knows Lua: the interpreter is behind [`engine::Engine`], and what it
//! asks of the server is behind [`engine::Host`].

pub mod busy;
pub mod cache;
pub mod debugger;
pub mod engine;
pub mod flags;
pub mod libraries;
mod lua;
mod reach;
pub mod run;

use crate::exec::Executor;
use busy::Busy;
use cache::{Script, ScriptCache, Sha};
use libraries::Libraries;
use parking_lot::Mutex;
use std::sync::Arc;

/// What all threads share about scripts.
#[derive(Default)]
pub struct Scripts {
    pub cache: ScriptCache,
    pub libraries: Libraries,
    pub busy: Busy,
    /// What runs clients' commands beside a slow script, kept for the next one.
    pub attendant: Mutex<Option<Executor>>,
    /// Bytes the Lua states of all threads hold.
    pub vm_bytes: std::sync::atomic::AtomicU64,
}

impl Scripts {
    /// Compiles a script and puts it into the cache. The error is what the client is told, without its code.
    pub fn load(&self, body: &[u8]) -> Result<Arc<Script>, Vec<u8>> {
        let sha = Sha::of(body);
        if let Some(script) = self.cache.get(&sha) {
            return Ok(script);
        }
        let script = Arc::new(Script::new(body, sha)?);
        engine::with(self, |engine| engine.compile(&script))?;
        self.cache.add(script.clone());
        Ok(script)
    }
}
