//! math.random: a 48-bit linear congruential generator, drand48's, so that a seed means the same everywhere.

use super::errors;
use mlua::{Lua, MultiValue, Result, Value};
use std::cell::Cell;

/// The largest draw is one less.
const DRAWS: i64 = i32::MAX as i64;

pub struct Lrand48 {
    state: Cell<u64>,
}

impl Default for Lrand48 {
    /// Where a process starts that was never seeded.
    fn default() -> Lrand48 {
        Lrand48 { state: Cell::new(0x1234_abcd_330e) }
    }
}

impl Lrand48 {
    pub fn seed(&self, seed: i32) {
        self.state.set(u64::from(seed as u32) << 16 | 0x330e);
    }

    /// 31 random bits.
    pub fn next(&self) -> i64 {
        let next = self.state.get().wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
        self.state.set(next);
        (next >> 17) as i64
    }

    /// math.random
    pub fn random(&self, lua: &Lua, args: &MultiValue) -> Result<f64> {
        let r = (self.next() % DRAWS) as f64 / DRAWS as f64;
        let interval = |n: usize| errors::argument(lua, n, "random", "interval is empty");
        match args.len() {
            0 => Ok(r),
            1 => {
                let upper = integer(lua, args, 0, "random")?;
                if upper < 1 { Err(interval(1)) } else { Ok((r * f64::from(upper)).floor() + 1.0) }
            }
            2 => {
                let (lower, upper) = (integer(lua, args, 0, "random")?, integer(lua, args, 1, "random")?);
                if lower > upper {
                    return Err(interval(2));
                }
                let span = upper.wrapping_sub(lower).wrapping_add(1);
                Ok((r * f64::from(span)).floor() + f64::from(lower))
            }
            _ => Err(errors::text(lua, "wrong number of arguments")),
        }
    }

    /// math.randomseed
    pub fn randomseed(&self, lua: &Lua, args: &MultiValue) -> Result<()> {
        self.seed(integer(lua, args, 0, "randomseed")?);
        Ok(())
    }
}

/// `luaL_checkint`: the low 32 bits of a number.
fn integer(lua: &Lua, args: &MultiValue, at: usize, function: &str) -> Result<i32> {
    let value = args.get(at).cloned();
    let number = lua.coerce_number(value.clone().unwrap_or(Value::Nil))?;
    let number =
        number.ok_or_else(|| errors::argument_type(lua, at + 1, function, "number", value.as_ref()))?;
    Ok(number as i64 as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws of a stock server after `math.randomseed(0)`, scaled by math.random(0, 2^30) there; here as drand48
    /// defines them.
    #[test]
    fn a_seed_gives_the_draws_of_lrand48() {
        let generator = Lrand48::default();
        generator.seed(0);
        let draws: Vec<i64> = (0..3).map(|_| generator.next()).collect();
        assert_eq!(draws, [366850414, 1610402240, 206956554]);
    }
}
