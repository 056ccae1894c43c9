//! `cmsgpack`: MessagePack, with the choices of lua-cmsgpack 0.4: which tables are arrays, which numbers integers,
//! how deep tables nest, and what a stream of several objects gives.

use super::CheckedArgs;
use crate::script::lua::errors;
use mlua::{Lua, MultiValue, Result, Table, Value};

/// A table nested deeper is packed as nil.
const NESTING_MAX: usize = 16;
/// Deepest nesting read. The original is bounded by Lua's stack.
const DEPTH_MAX: usize = 1000;

pub fn library(lua: &Lua) -> Result<Table> {
    let library = lua.create_table()?;
    library.set("pack", lua.create_function(pack)?)?;
    library.set("unpack", lua.create_function(|lua, args| unpack(lua, &args))?)?;
    library.set("unpack_one", lua.create_function(|lua, args| unpack_one(lua, &args))?)?;
    library.set("unpack_limit", lua.create_function(|lua, args| unpack_limit(lua, &args))?)?;
    library.set("_NAME", "cmsgpack")?;
    library.set("_VERSION", "lua-cmsgpack 0.4.0")?;
    library.set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    library.set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(library)
}

fn pack(lua: &Lua, args: MultiValue) -> Result<Value> {
    if args.is_empty() {
        return Err(errors::argument(lua, 0, "pack", "MessagePack pack needs input."));
    }
    let mut out = Vec::new();
    args.iter().try_for_each(|value| encode(&mut out, value, 0))?;
    lua.create_string(out).map(Value::String)
}

fn encode(out: &mut Vec<u8>, value: &Value, level: usize) -> Result<()> {
    match value {
        Value::String(text) => encode_bytes(out, &text.as_bytes()),
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(n) => encode_integer(out, *n),
        Value::Number(n) => encode_number(out, *n),
        Value::Table(table) if level < NESTING_MAX => return encode_table(out, table, level),
        _ => out.push(0xc0),
    }
    Ok(())
}

fn encode_table(out: &mut Vec<u8>, table: &Table, level: usize) -> Result<()> {
    if is_array(table)? {
        let len = table.raw_len();
        encode_head(out, len, 0x90, 0xdc);
        return (1..=len).try_for_each(|i| encode(out, &table.raw_get(i)?, level + 1));
    }
    // Twice round: only so many values can be held at once.
    let len = table.pairs::<Value, Value>().try_fold(0, |len, pair| pair.map(|_| len + 1))?;
    encode_head(out, len, 0x80, 0xde);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        encode(out, &key, level + 1)?;
        encode(out, &value, level + 1)?;
    }
    Ok(())
}

/// Whether the keys are the numbers from 1 to their count. An empty table is an array.
fn is_array(table: &Table) -> Result<bool> {
    let (mut count, mut max) = (0, 0);
    for pair in table.pairs::<Value, Value>() {
        match pair?.0 {
            Value::Integer(n) if n > 0 && n <= i64::from(i32::MAX) => max = max.max(n),
            _ => return Ok(false),
        }
        count += 1;
    }
    Ok(max == count)
}

/// The head of an array or map: small, 16 bits, 32 bits.
fn encode_head(out: &mut Vec<u8>, len: usize, small: u8, wide: u8) {
    match len {
        0..=15 => out.push(small | len as u8),
        16..=0xffff => {
            out.push(wide);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(wide + 1);
            out.extend((len as u32).to_be_bytes());
        }
    }
}

fn encode_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..=31 => out.push(0xa0 | len as u8),
        len @ 32..=0xff => out.extend([0xd9, len as u8]),
        len @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend((len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn encode_number(out: &mut Vec<u8>, n: f64) {
    // What an integer of 64 bits holds exactly is one. A cast saturates: 2^63 would look like one too.
    if n as i64 as f64 == n && n < -(i64::MIN as f64) {
        return encode_integer(out, n as i64);
    }
    let short = n as f32;
    if f64::from(short) == n {
        out.push(0xca);
        out.extend(short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend(n.to_be_bytes());
    }
}

fn encode_integer(out: &mut Vec<u8>, n: i64) {
    match n {
        0..=127 => out.push(n as u8),
        128..=0xff => out.extend([0xcc, n as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend((n as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend((n as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend((n as u64).to_be_bytes());
        }
        -32..=-1 => out.push(n as i8 as u8),
        -128..=-33 => out.extend([0xd0, n as i8 as u8]),
        -32768..=-129 => {
            out.push(0xd1);
            out.extend((n as i16).to_be_bytes());
        }
        -2_147_483_648..=-32769 => {
            out.push(0xd2);
            out.extend((n as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend(n.to_be_bytes());
        }
    }
}

fn unpack(lua: &Lua, args: &MultiValue) -> Result<MultiValue> {
    unpack_some(lua, args, "unpack", 0, 0)
}

fn unpack_one(lua: &Lua, args: &MultiValue) -> Result<MultiValue> {
    let checked = CheckedArgs { lua, args, function: "unpack_one" };
    unpack_some(lua, args, "unpack_one", 1, checked.optional_number(2, 0.0)? as i64)
}

fn unpack_limit(lua: &Lua, args: &MultiValue) -> Result<MultiValue> {
    let checked = CheckedArgs { lua, args, function: "unpack_limit" };
    let (limit, offset) = (checked.number(2)? as i64, checked.optional_number(3, 0.0)? as i64);
    unpack_some(lua, args, "unpack_limit", limit, offset)
}

/// Objects of a stream: all of them without limit and offset; otherwise up to `limit`, after the offset to go on
/// from, which is -1 at the end.
fn unpack_some(
    lua: &Lua,
    args: &MultiValue,
    function: &'static str,
    limit: i64,
    offset: i64,
) -> Result<MultiValue> {
    let text = CheckedArgs { lua, args, function }.string(1)?;
    let text = text.as_bytes();
    if offset < 0 || limit < 0 {
        let len = text.len();
        let what = format!("Invalid request to unpack with offset of {offset} and limit of {len}.");
        return Err(errors::text(lua, what));
    }
    if offset as usize > text.len() {
        let len = text.len();
        return Err(errors::text(lua, format!("Start offset {offset} greater than input length {len}.")));
    }
    let all = limit == 0 && offset == 0;
    let mut reader = Reader { lua, rest: &text[offset as usize..] };
    let mut values = Vec::new();
    while !reader.rest.is_empty() && (all || (values.len() as i64) < limit) {
        if values.len() >= RESULTS_MAX {
            return Err(errors::text(
                lua,
                "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
            ));
        }
        values.push(reader.value(0)?);
    }
    if !all {
        let next = if reader.rest.is_empty() { -1 } else { (text.len() - reader.rest.len()) as i64 };
        values.insert(0, Value::Number(next as f64));
    }
    Ok(values.into())
}

/// What fits on Lua's stack.
const RESULTS_MAX: usize = 7900;

struct Reader<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(n) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(errors::text(self.lua, "Missing bytes in input.")),
        }
    }

    fn unsigned(&mut self, bytes: usize) -> Result<u64> {
        Ok(self.take(bytes)?.iter().fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        let kind = self.take(1)?[0];
        let number = |n: f64| Ok(Value::Number(n));
        match kind {
            0x00..=0x7f => number(kind.into()),
            0xe0..=0xff => number((kind as i8).into()),
            0xcc => number(self.unsigned(1)? as f64),
            0xcd => number(self.unsigned(2)? as f64),
            0xce => number(self.unsigned(4)? as f64),
            0xcf => number(self.unsigned(8)? as f64),
            0xd0 => number((self.unsigned(1)? as i8).into()),
            0xd1 => number((self.unsigned(2)? as i16).into()),
            0xd2 => number((self.unsigned(4)? as i32).into()),
            0xd3 => number(self.unsigned(8)? as i64 as f64),
            0xc0 => Ok(Value::Nil),
            0xc2 | 0xc3 => Ok(Value::Boolean(kind == 0xc3)),
            0xca => number(f32::from_bits(self.unsigned(4)? as u32).into()),
            0xcb => number(f64::from_bits(self.unsigned(8)?)),
            0xa0..=0xbf => self.text(usize::from(kind & 0x1f)),
            0xd9 => self.sized(1, Self::text),
            0xda => self.sized(2, Self::text),
            0xdb => self.sized(4, Self::text),
            0x90..=0x9f => self.array(usize::from(kind & 15), depth),
            0xdc => self.sized(2, |reader, len| reader.array(len, depth)),
            0xdd => self.sized(4, |reader, len| reader.array(len, depth)),
            0x80..=0x8f => self.map(usize::from(kind & 15), depth),
            0xde => self.sized(2, |reader, len| reader.map(len, depth)),
            0xdf => self.sized(4, |reader, len| reader.map(len, depth)),
            _ => Err(errors::text(self.lua, "Bad data format in input.")),
        }
    }

    fn sized(&mut self, bytes: usize, f: impl FnOnce(&mut Self, usize) -> Result<Value>) -> Result<Value> {
        let len = self.unsigned(bytes)? as usize;
        f(self, len)
    }

    fn text(&mut self, len: usize) -> Result<Value> {
        let text = self.take(len)?;
        self.lua.create_string(text).map(Value::String)
    }

    fn deeper(&self, depth: usize) -> Result<()> {
        if depth < DEPTH_MAX {
            Ok(())
        } else {
            Err(errors::text(self.lua, "stack overflow (too deeply nested)"))
        }
    }

    fn array(&mut self, len: usize, depth: usize) -> Result<Value> {
        self.deeper(depth)?;
        // Room for what can be there, whatever the head says.
        let table = self.lua.create_table_with_capacity(len.min(self.rest.len()), 0)?;
        for i in 1..=len {
            match self.value(depth + 1)? {
                Value::Nil => {}
                value => table.raw_set(i, value)?,
            }
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> Result<Value> {
        self.deeper(depth)?;
        let table = self.lua.create_table_with_capacity(0, len.min(self.rest.len() / 2))?;
        for _ in 0..len {
            let (key, value) = (self.value(depth + 1)?, self.value(depth + 1)?);
            match &key {
                Value::Nil => return Err(errors::text(self.lua, "table index is nil")),
                Value::Number(n) if n.is_nan() => return Err(errors::text(self.lua, "table index is NaN")),
                _ => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}
