//! Errors on their way through Lua.
//!
//! A Rust function cannot raise a Lua table or a bare string: mlua wraps what it raises. So it raises a [`Raised`],
//! and the prelude's `pcall`, `xpcall` and error handler turn that into what a script expects, by
//! [`to_value`].

use mlua::{Error, Lua, Result, Value};
use std::fmt;

#[derive(Debug)]
pub enum Raised {
    /// The error of a command or of the `redis` table: a table with `err`.
    Reply { text: Vec<u8>, counted: bool },
    /// An error of a library: text, with the position of its caller.
    Text(String),
    /// The host ends the run.
    Aborted,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raised::Reply { text, .. } => f.write_str(&String::from_utf8_lossy(text)),
            Raised::Text(text) => f.write_str(text),
            Raised::Aborted => f.write_str("Script killed by user with SCRIPT KILL..."),
        }
    }
}

impl std::error::Error for Raised {}

/// An error table of the text, as redis.call raises it. Without a code it gets `ERR`.
pub fn reply(text: &[u8], counted: bool) -> Error {
    Error::external(Raised::Reply { text: with_code(text), counted })
}

/// Stock's rule: a text with `-` in front has its own code, if a blank ends that; any other gets `ERR`.
pub fn with_code(text: &[u8]) -> Vec<u8> {
    let (text, coded) = match text {
        [b'-', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    let trimmed = text.trim_ascii_end();
    if coded && trimmed.contains(&b' ') { trimmed.to_vec() } else { [b"ERR ", trimmed].concat() }
}

/// An error of a library function, as `luaL_error` makes it: with the position of the caller.
pub fn text(lua: &Lua, text: impl fmt::Display) -> Error {
    Error::external(Raised::Text(format!("{}{text}", position(lua, 1))))
}

/// `bad argument #n to 'function' (text)`
pub fn argument(lua: &Lua, n: usize, function: &str, what: impl fmt::Display) -> Error {
    text(lua, format_args!("bad argument #{n} to '{function}' ({what})"))
}

/// A value of another type than `expected`.
pub fn argument_type(lua: &Lua, n: usize, function: &str, expected: &str, got: Option<&Value>) -> Error {
    let got = got.map_or("no value", type_name);
    argument(lua, n, function, format_args!("{expected} expected, got {got}"))
}

/// The type's name, as Lua 5.1 gives it.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// `chunk:line: ` of the function at a level of the stack, where it is Lua code.
fn position(lua: &Lua, level: usize) -> String {
    let at = lua.inspect_stack(level, |debug| {
        let line = debug.current_line()?;
        Some(format!("{}:{line}: ", debug.source().short_src.unwrap_or_default()))
    });
    at.flatten().unwrap_or_default()
}

/// What a script is to see of an error that Rust raised.
pub fn to_value(lua: &Lua, error: &Error) -> Result<Value> {
    match error.downcast_ref::<Raised>() {
        Some(Raised::Reply { text, counted }) => {
            let table = lua.create_table_with_capacity(0, 4)?;
            table.raw_set("err", lua.create_string(text)?)?;
            if *counted {
                table.raw_set("ignore_error_stats_update", true)?;
            }
            Ok(Value::Table(table))
        }
        Some(other) => lua.create_string(other.to_string()).map(Value::String),
        None => lua.create_string(plain_text(error)).map(Value::String),
    }
}

/// The text of one of mlua's own errors, without a traceback.
pub fn plain_text(error: &Error) -> String {
    match error {
        Error::CallbackError { cause, .. } => plain_text(cause),
        Error::SyntaxError { message, .. } => message.clone(),
        Error::RuntimeError(message) => {
            message.split("\nstack traceback:").next().unwrap_or_default().to_owned()
        }
        Error::MemoryError(_) => "not enough memory".to_owned(),
        other => other.to_string(),
    }
}
