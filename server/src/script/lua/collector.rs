//! When Lua's collector works.
//!
//! Each collection goes through all that a state holds. What holds little is left to grow to several times that first,
//! so that short scripts mostly pay for what they throw away; what holds much is kept closer.

use mlua::Lua;
use mlua::state::{GcIncParams, GcMode};
use std::cell::Cell;

/// A collection begins when so much is held of what the last one left.
const PAUSE_PERCENT: i32 = 150;
const PAUSE_WHILE_SMALL_PERCENT: i32 = 400;

/// A state that holds more is not small.
const SMALL_BYTES: usize = 4 << 20;

/// What a run leaves behind beyond this is collected at once.
const KEPT_BYTES: usize = 64 << 20;

/// What one state's collector has been told.
#[derive(Default)]
pub struct Collector {
    is_small: Cell<bool>,
}

impl Collector {
    /// Goes by what the state holds now: to be called in the course of a run, and after it.
    pub fn pace(&self, lua: &Lua) {
        let is_small = lua.used_memory() < SMALL_BYTES;
        if self.is_small.replace(is_small) != is_small {
            let percent = if is_small { PAUSE_WHILE_SMALL_PERCENT } else { PAUSE_PERCENT };
            lua.gc_set_mode(GcMode::Incremental(GcIncParams::default().pause(percent)));
        }
    }

    /// After a run.
    pub fn tidy(&self, lua: &Lua) {
        if lua.used_memory() > KEPT_BYTES {
            let _ = lua.gc_collect();
        }
        self.pace(lua);
    }
}
