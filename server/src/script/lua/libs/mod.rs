//! The libraries stock links into its Lua: bit, cjson, cmsgpack, struct. Written anew, since the originals are C.

mod bit;
mod cjson;
mod cmsgpack;
mod json_text;
mod structs;

use super::errors;
use mlua::{Lua, LuaString, MultiValue, Result, Table, Value};

pub fn all(lua: &Lua) -> Result<Table> {
    let libraries = lua.create_table()?;
    libraries.set("bit", bit::library(lua)?)?;
    libraries.set("cjson", cjson::library(lua)?)?;
    libraries.set("cmsgpack", cmsgpack::library(lua)?)?;
    libraries.set("struct", structs::library(lua)?)?;
    Ok(libraries)
}

/// Arguments of a library function, checked as C libraries check theirs.
struct CheckedArgs<'a> {
    lua: &'a Lua,
    args: &'a MultiValue,
    function: &'static str,
}

impl CheckedArgs<'_> {
    fn string(&self, n: usize) -> Result<LuaString> {
        let value = self.args.get(n - 1);
        let text = value.map(|value| self.lua.coerce_string(value.clone())).transpose()?.flatten();
        text.ok_or_else(|| self.wrong_type(n, "string"))
    }

    fn number(&self, n: usize) -> Result<f64> {
        let value = self.args.get(n - 1);
        let number = value.map(|value| self.lua.coerce_number(value.clone())).transpose()?.flatten();
        number.ok_or_else(|| self.wrong_type(n, "number"))
    }

    /// A number, or `default` for nil and none.
    fn optional_number(&self, n: usize, default: f64) -> Result<f64> {
        match self.args.get(n - 1) {
            None | Some(Value::Nil) => Ok(default),
            Some(_) => self.number(n),
        }
    }

    fn wrong_type(&self, n: usize, expected: &str) -> mlua::Error {
        errors::argument_type(self.lua, n, self.function, expected, self.args.get(n - 1))
    }

    fn refuse(&self, n: usize, what: impl std::fmt::Display) -> mlua::Error {
        errors::argument(self.lua, n, self.function, what)
    }
}
