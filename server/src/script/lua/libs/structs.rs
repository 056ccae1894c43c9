//! `struct`: C-like records in strings. Formats, sizes and errors as in the library by Roberto Ierusalimschy (0.2).

use super::CheckedArgs;
use crate::script::lua::errors;
use mlua::{Lua, MultiValue, Result, Table, Value};

/// Widest integer, in bytes.
const INTEGER_MAX: usize = 32;
const NATIVE_ALIGN: usize = 8;

pub fn library(lua: &Lua) -> Result<Table> {
    let library = lua.create_table()?;
    library.set("pack", lua.create_function(pack)?)?;
    library.set("unpack", lua.create_function(unpack)?)?;
    library.set("size", lua.create_function(size)?)?;
    Ok(library)
}

/// A format, being read.
struct Format<'a> {
    lua: &'a Lua,
    function: &'static str,
    text: &'a [u8],
    big_endian: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(lua: &'a Lua, function: &'static str, text: &'a [u8]) -> Format<'a> {
        // As a C string: nothing counts behind a NUL.
        let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
        Format { lua, function, text: &text[..end], big_endian: false, align: 1 }
    }

    fn next(&mut self) -> Option<u8> {
        let (&option, rest) = self.text.split_first()?;
        self.text = rest;
        Some(option)
    }

    fn number(&mut self, default: usize) -> Result<usize> {
        let digits = self.text.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let (text, rest) = self.text.split_at(digits);
        self.text = rest;
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i32>().ok());
        number.map(|n| n as usize).ok_or_else(|| errors::text(self.lua, "integral size overflow"))
    }

    /// Bytes an option takes; 0 for those that have no size.
    fn size(&mut self, option: u8) -> Result<usize> {
        Ok(match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > INTEGER_MAX {
                    let text = format!("integral size {size} is larger than limit of {INTEGER_MAX}");
                    return Err(errors::text(self.lua, text));
                }
                size
            }
            _ => 0,
        })
    }

    /// Bytes before an element of `size` at `position`.
    fn padding(&self, position: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        (size - (position & (size - 1))) & (size - 1)
    }

    fn control(&mut self, option: u8) -> Result<()> {
        match option {
            b' ' => {}
            b'>' => self.big_endian = true,
            b'<' => self.big_endian = false,
            b'!' => {
                let align = self.number(NATIVE_ALIGN)?;
                if !align.is_power_of_two() {
                    return Err(errors::text(self.lua, format!("alignment {align} is not a power of 2")));
                }
                self.align = align;
            }
            _ => {
                let what = format!("invalid format option '{}'", char::from(option));
                return Err(errors::argument(self.lua, 1, self.function, what));
            }
        }
        Ok(())
    }

    fn ordered<const N: usize>(&self, mut little: [u8; N]) -> [u8; N] {
        if self.big_endian {
            little.reverse();
        }
        little
    }
}

fn is_integer(option: u8) -> bool {
    matches!(option, b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I')
}

fn pack(lua: &Lua, args: MultiValue) -> Result<Value> {
    let checked = CheckedArgs { lua, args: &args, function: "pack" };
    let text = checked.string(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(lua, "pack", &text);
    let mut out = Vec::new();
    let mut arg = 2;
    while let Some(option) = format.next() {
        let size = format.size(option)?;
        out.resize(out.len() + format.padding(out.len(), option, size), 0);
        match option {
            _ if is_integer(option) => {
                put_integer(&mut out, checked.number(arg)?, size, format.big_endian);
                arg += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                out.extend(format.ordered((checked.number(arg)? as f32).to_le_bytes()));
                arg += 1;
            }
            b'd' => {
                out.extend(format.ordered(checked.number(arg)?.to_le_bytes()));
                arg += 1;
            }
            b'c' | b's' => {
                let value = checked.string(arg)?;
                arg += 1;
                let value = value.as_bytes();
                let len = if size == 0 { value.len() } else { size };
                out.extend_from_slice(
                    value.get(..len).ok_or_else(|| checked.refuse(arg, "string too short"))?,
                );
                if option == b's' {
                    out.push(0);
                }
            }
            _ => format.control(option)?,
        }
    }
    lua.create_string(out).map(Value::String)
}

/// The low bytes of the number; an integer has 64 bits, those beyond are zero.
fn put_integer(out: &mut Vec<u8>, number: f64, size: usize, big_endian: bool) {
    let bits = if number < 0.0 { number as i64 as u64 } else { number as u64 };
    let start = out.len();
    out.extend((0..size).map(|i| if i < 8 { (bits >> (8 * i)) as u8 } else { 0 }));
    if big_endian {
        out[start..].reverse();
    }
}

fn get_integer(bytes: &[u8], is_signed: bool, big_endian: bool) -> f64 {
    let mut bits: u64 = 0;
    let mut push = |&b: &u8| bits = bits << 8 | u64::from(b);
    if big_endian {
        bytes.iter().for_each(&mut push)
    } else {
        bytes.iter().rev().for_each(&mut push)
    }
    if !is_signed {
        return bits as f64;
    }
    // The shift counts modulo 64, as on the machines stock runs on.
    let mask = u64::MAX.wrapping_shl((bytes.len() as u32 * 8).wrapping_sub(1));
    if bits & mask != 0 {
        bits |= mask;
    }
    bits as i64 as f64
}

fn unpack(lua: &Lua, args: MultiValue) -> Result<MultiValue> {
    let checked = CheckedArgs { lua, args: &args, function: "unpack" };
    let (text, data) = (checked.string(1)?, checked.string(2)?);
    let (text, data) = (text.as_bytes(), data.as_bytes());
    let start = checked.optional_number(3, 1.0)? as i64;
    if start == 0 {
        return Err(checked.refuse(3, "offset must be 1 or greater"));
    }
    // A negative offset is a very large one.
    let mut position = start.wrapping_sub(1) as usize;
    let mut format = Format::new(lua, "unpack", &text);
    let mut results: Vec<Value> = Vec::new();
    let too_short = || checked.refuse(2, "data string too short");
    while let Some(option) = format.next() {
        let mut size = format.size(option)?;
        position = position.wrapping_add(format.padding(position, option, size));
        let end = position.checked_add(size).filter(|&end| end <= data.len()).ok_or_else(too_short)?;
        let bytes = &data[position..end];
        if results.len() >= RESULTS_MAX {
            return Err(errors::text(lua, "stack overflow (too many results)"));
        }
        match option {
            _ if is_integer(option) => {
                let number = get_integer(bytes, option.is_ascii_lowercase(), format.big_endian);
                results.push(Value::Number(number));
            }
            b'x' => {}
            b'f' => {
                let bytes = bytes.try_into().map_err(|_| too_short())?;
                results.push(Value::Number(f32::from_le_bytes(format.ordered(bytes)).into()));
            }
            b'd' => {
                let bytes = bytes.try_into().map_err(|_| too_short())?;
                results.push(Value::Number(f64::from_le_bytes(format.ordered(bytes))));
            }
            b'c' if size == 0 => {
                let count =
                    results.last().cloned().map(|value| lua.coerce_number(value)).transpose()?.flatten();
                let count = count.ok_or_else(|| errors::text(lua, "format 'c0' needs a previous size"))?;
                results.pop();
                size = if count < 0.0 { usize::MAX } else { count as usize };
                let end =
                    position.checked_add(size).filter(|&end| end <= data.len()).ok_or_else(too_short)?;
                results.push(Value::String(lua.create_string(&data[position..end])?));
            }
            b'c' => results.push(Value::String(lua.create_string(bytes)?)),
            b's' => {
                let rest = &data[position..];
                let len = rest.iter().position(|&b| b == 0);
                let len = len.ok_or_else(|| errors::text(lua, "unfinished string in data"))?;
                results.push(Value::String(lua.create_string(&rest[..len])?));
                size = len + 1;
            }
            _ => format.control(option)?,
        }
        position += size;
    }
    results.push(Value::Number((position as f64) + 1.0));
    Ok(results.into())
}

/// What fits on Lua's stack.
const RESULTS_MAX: usize = 7900;

fn size(lua: &Lua, args: MultiValue) -> Result<f64> {
    let checked = CheckedArgs { lua, args: &args, function: "size" };
    let text = checked.string(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(lua, "size", &text);
    let mut total: usize = 0;
    while let Some(option) = format.next() {
        let size = format.size(option)?;
        total = total.saturating_add(format.padding(total, option, size));
        match option {
            b's' => return Err(checked.refuse(1, "option 's' has no fixed size")),
            b'c' if size == 0 => return Err(checked.refuse(1, "option 'c0' has no fixed size")),
            _ if !option.is_ascii_alphanumeric() => format.control(option)?,
            _ => {}
        }
        total = total.saturating_add(size);
    }
    Ok(total as f64)
}
