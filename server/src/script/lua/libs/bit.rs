//! `bit`: operations on 32-bit integers, with the semantics of LuaBitOp 1.0.2.

use super::CheckedArgs;
use mlua::{Lua, MultiValue, Result, Table};

pub fn library(lua: &Lua) -> Result<Table> {
    let bit = lua.create_table()?;
    let one = |name: &'static str, f: fn(u32) -> u32| -> Result<()> {
        let function = move |lua: &Lua, args: MultiValue| Ok(signed(f(operand(lua, &args, name, 1)?)));
        bit.set(name, lua.create_function(function)?)
    };
    one("tobit", |b| b)?;
    one("bnot", |b| !b)?;
    one("bswap", u32::swap_bytes)?;
    let fold = |name: &'static str, f: fn(u32, u32) -> u32| -> Result<()> {
        let function = move |lua: &Lua, args: MultiValue| {
            let mut bits = operand(lua, &args, name, 1)?;
            for n in 2..=args.len() {
                bits = f(bits, operand(lua, &args, name, n)?);
            }
            Ok(signed(bits))
        };
        bit.set(name, lua.create_function(function)?)
    };
    fold("band", |a, b| a & b)?;
    fold("bor", |a, b| a | b)?;
    fold("bxor", |a, b| a ^ b)?;
    let shift = |name: &'static str, f: fn(u32, u32) -> u32| -> Result<()> {
        let function = move |lua: &Lua, args: MultiValue| {
            Ok(signed(f(operand(lua, &args, name, 1)?, operand(lua, &args, name, 2)? & 31)))
        };
        bit.set(name, lua.create_function(function)?)
    };
    shift("lshift", |b, n| b << n)?;
    shift("rshift", |b, n| b >> n)?;
    shift("arshift", |b, n| (b as i32 >> n) as u32)?;
    shift("rol", u32::rotate_left)?;
    shift("ror", u32::rotate_right)?;
    bit.set("tohex", lua.create_function(tohex)?)?;
    Ok(bit)
}

/// An argument, reduced to its low 32 bits as adding 2^52 + 2^51 to a double does.
fn operand(lua: &Lua, args: &MultiValue, function: &'static str, n: usize) -> Result<u32> {
    let number = CheckedArgs { lua, args, function }.number(n)?;
    Ok((number + 6_755_399_441_055_744.0).to_bits() as u32)
}

fn signed(bits: u32) -> f64 {
    f64::from(bits as i32)
}

/// At most eight digits, the lowest; upper case when their number is negative.
fn tohex(lua: &Lua, args: MultiValue) -> Result<String> {
    let bits = operand(lua, &args, "tohex", 1)?;
    let digits = if args.len() < 2 { 8 } else { operand(lua, &args, "tohex", 2)? as i32 };
    let all = if digits < 0 { format!("{bits:08X}") } else { format!("{bits:08x}") };
    let shown = digits.unsigned_abs().min(8) as usize;
    Ok(all[8 - shown..].to_owned())
}
