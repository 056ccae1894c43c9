//! What a script hands over, read where it lies: on Lua's stack. A leaf module of unsafe code.
//!
//! mlua's own way is a handle for each string: a reference that is counted, and kept in a table of Lua's. Three of them
//! for a SET cost more than the SET. So these types, which mlua asks to read themselves from the stack or to go onto it,
//! copy strings at once; whatever else there is they leave to mlua.
//!
//! **Invariant:** only strings are read as strings, and only numbers as numbers. Neither can fail or move anything, so
//! no error of Lua's, which is a jump, passes through a frame of Rust.
#![allow(unsafe_code)]

use super::bridge::Unlimited;
use super::convert::number_text;
use mlua::state::RawLua;
use mlua::{Either, FromLua, FromLuaMulti, IntoLua, Lua, MultiValue, Result, Value, ffi};
use protocol::ArgVec;
use std::cell::Cell;
use std::ffi::c_int;

/// A longer string that a script returns is not copied, but written from where it lies.
const SHORT_BYTES: usize = 1024;

/// Room for the words of the next call, if it is no more than this.
const SPARE_BYTES: usize = 64 << 10;

thread_local! {
    static SPARE: Cell<ArgVec> = Cell::default();
}

/// The arguments of a command a script calls. Numbers become text without losing digits.
pub struct Words {
    pub argv: ArgVec,
    /// Something among them was neither a string nor a number.
    pub is_malformed: bool,
}

impl Words {
    fn none() -> Words {
        let mut argv = SPARE.take();
        argv.clear();
        Words { argv, is_malformed: false }
    }
}

impl From<ArgVec> for Words {
    fn from(argv: ArgVec) -> Words {
        Words { argv, is_malformed: false }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        if self.argv.memory_bytes() <= SPARE_BYTES {
            SPARE.set(std::mem::take(&mut self.argv));
        }
    }
}

impl FromLuaMulti for Words {
    fn from_lua_multi(values: MultiValue, _: &Lua) -> Result<Words> {
        let mut words = Words::none();
        for value in &values {
            match value {
                Value::String(text) => words.argv.push(&text.as_bytes()),
                Value::Integer(n) => words.argv.push(&number_text(*n as f64)),
                Value::Number(n) => words.argv.push(&number_text(*n)),
                _ => words.is_malformed = true,
            }
        }
        Ok(words)
    }

    unsafe fn from_stack_multi(count: c_int, lua: &RawLua) -> Result<Words> {
        let mut words = Words::none();
        for at in -count..0 {
            // SAFETY: the caller promises that so many values are on top of the stack.
            match unsafe { Plain::at(at, lua) } {
                Plain::Text(text) => words.argv.push(text),
                Plain::Number(n) => words.argv.push(&number_text(n)),
                Plain::Other => words.is_malformed = true,
            }
        }
        Ok(words)
    }
}

/// What a script returns.
pub enum Returned {
    /// A short string.
    Text(Vec<u8>),
    Value(Value),
}

impl FromLua for Returned {
    fn from_lua(value: Value, _: &Lua) -> Result<Returned> {
        Ok(Returned::Value(value))
    }

    unsafe fn from_stack(at: c_int, lua: &RawLua) -> Result<Returned> {
        // SAFETY: the caller promises that there is a value, and that there is room for handling it.
        unsafe {
            match Plain::at(at, lua) {
                Plain::Text(text) if text.len() <= SHORT_BYTES => Ok(Returned::Text(text.to_vec())),
                _ => Value::from_stack(at, lua).map(Returned::Value),
            }
        }
    }
}

/// What a command has answered, on its way to the script. Until it is there, memory is not limited.
pub struct Answer {
    pub value: Either<String, Value>,
    pub unlimited: Unlimited,
}

impl IntoLua for Answer {
    fn into_lua(self, lua: &Lua) -> Result<Value> {
        self.value.into_lua(lua)
    }

    unsafe fn push_into_stack(self, lua: &RawLua) -> Result<()> {
        let Answer { value, unlimited } = self;
        // SAFETY: the caller promises of the stack what this asks for.
        let pushed = unsafe { value.push_into_stack(lua) };
        drop(unlimited);
        pushed
    }
}

/// A value that is read without a handle.
enum Plain<'a> {
    Text(&'a [u8]),
    Number(f64),
    Other,
}

impl Plain<'_> {
    /// The value at a place of the stack.
    ///
    /// # Safety
    /// There has to be one, and it has to stay there, untouched, as long as the result is used.
    unsafe fn at<'a>(at: c_int, lua: &'a RawLua) -> Plain<'a> {
        let state = lua.state();
        // SAFETY: by the contract there is a value at this place of the state that runs. Of a string, `lua_tolstring`
        // gives the address of its bytes, which Lua neither moves nor frees while it is on the stack; it converts and
        // allocates nothing, as it would for a number. `lua_tonumber` of a number copies it.
        unsafe {
            match ffi::lua_type(state, at) {
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let bytes = ffi::lua_tolstring(state, at, &mut len);
                    Plain::Text(std::slice::from_raw_parts(bytes.cast(), len))
                }
                ffi::LUA_TNUMBER => Plain::Number(ffi::lua_tonumber(state, at)),
                _ => Plain::Other,
            }
        }
    }
}
