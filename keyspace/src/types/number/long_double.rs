//! The 80-bit float INCRBYFLOAT and HINCRBYFLOAT calculate with: 64 bits of mantissa, 15 of exponent, the
//! `long double` of x86.
//!
//! Reading, adding and printing round exactly as the x87 unit and glibc do (to nearest, ties to even), so a
//! counter that a stock node and this one take turns in incrementing has the same digits on both.

use super::big::Big;
use super::{HexNumber, hex_mantissa, special, split_digits, split_exponent, split_sign, strip_hex_prefix};

/// Exponent of the lowest bit of the smallest subnormal number.
const MIN_EXPONENT: i32 = -16_445;
/// Exponent of the lowest bit of the largest numbers.
const MAX_EXPONENT: i32 = 16_383 - 63;
/// Stock refuses longer texts.
const MAX_TEXT_LEN: usize = 5 * 1024 - 1;
/// Digits after the point that are printed.
const FRACTION_DIGITS: usize = 17;
const FRACTION_SCALE: u128 = 10u128.pow(FRACTION_DIGITS as u32);

/// ± `mantissa` × 2^`exponent`, or infinite. There is no NaN: parsing refuses it, and only the sum of opposite
/// infinities would make one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Magnitude {
    Finite { mantissa: u64, exponent: i32 },
    Infinite,
}

impl LongDouble {
    pub const ZERO: LongDouble =
        LongDouble { negative: false, magnitude: Magnitude::Finite { mantissa: 0, exponent: 0 } };

    pub fn from_i64(value: i64) -> Self {
        let magnitude = Magnitude::Finite { mantissa: value.unsigned_abs(), exponent: 0 };
        LongDouble { negative: value < 0, magnitude }
    }

    /// Every double but NaN, which becomes infinite.
    pub fn from_f64(value: f64) -> Self {
        const MANTISSA_BITS: u32 = 52;
        let bits = value.abs().to_bits();
        let (biased, fraction) = ((bits >> MANTISSA_BITS) as i32, bits & ((1 << MANTISSA_BITS) - 1));
        let magnitude = match biased {
            0x7ff => Magnitude::Infinite,
            0 => Magnitude::Finite { mantissa: fraction, exponent: -1074 },
            _ => Magnitude::Finite { mantissa: fraction | 1 << MANTISSA_BITS, exponent: biased - 1075 },
        };
        LongDouble { negative: value.is_sign_negative(), magnitude }
    }

    pub fn is_finite(&self) -> bool {
        self.magnitude != Magnitude::Infinite
    }

    /// Parses what stock accepts: decimal or hexadecimal, `inf`; no spaces, no NaN, nothing that overflows or
    /// vanishes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > MAX_TEXT_LEN {
            return None;
        }
        let (negative, text) = split_sign(text);
        let magnitude = if let Some(value) = special(text) {
            if value.is_nan() {
                return None;
            }
            Magnitude::Infinite
        } else if let Some(hex) = strip_hex_prefix(text) {
            parse_hex(hex)?
        } else {
            parse_decimal(text)?
        };
        Some(LongDouble { negative, magnitude })
    }

    /// The rounded sum; `None` where it is not a number.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        match (self.magnitude, other.magnitude) {
            (Magnitude::Infinite, Magnitude::Infinite) => (self.negative == other.negative).then_some(self),
            (Magnitude::Infinite, _) => Some(self),
            (_, Magnitude::Infinite) => Some(other),
            (
                Magnitude::Finite { mantissa: m1, exponent: e1 },
                Magnitude::Finite { mantissa: m2, exponent: e2 },
            ) => Some(add_finite((self.negative, m1, e1), (other.negative, m2, e2))),
        }
    }

    /// The text as replies and stored values hold it: 17 digits after the point, trailing zeros dropped.
    pub fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.magnitude {
            Magnitude::Infinite => out.extend_from_slice(b"inf"),
            Magnitude::Finite { mantissa, exponent } if exponent >= 0 => {
                let mut integer = Big::from_u64(mantissa);
                integer.shift_left(exponent as usize);
                integer.append_digits(&mut out);
            }
            Magnitude::Finite { mantissa, exponent } => append_fixed(&mut out, mantissa, -exponent as u32),
        }
        if self.negative && out != b"0" {
            out.insert(0, b'-');
        }
        out
    }
}

/// Appends `mantissa` / 2^`shift`, rounded to 17 digits after the point.
fn append_fixed(out: &mut Vec<u8>, mantissa: u64, shift: u32) {
    let scaled = round_shift(u128::from(mantissa) * FRACTION_SCALE, false, shift);
    out.extend_from_slice((scaled / FRACTION_SCALE).to_string().as_bytes());
    let fraction = format!(".{:017}", scaled % FRACTION_SCALE);
    out.extend_from_slice(fraction.trim_end_matches('0').trim_end_matches('.').as_bytes());
}

/// `value` / 2^`shift` to the nearest integer, ties to even; `sticky` says there is a little more to `value`.
fn round_shift(value: u128, sticky: bool, shift: u32) -> u128 {
    match shift {
        0 => value,
        1..=127 => {
            let (kept, dropped, half) = (value >> shift, value & ((1 << shift) - 1), 1 << (shift - 1));
            let up = dropped > half || (dropped == half && (sticky || kept & 1 == 1));
            kept + u128::from(up)
        }
        _ => 0,
    }
}

/// Rounds `value` × 2^`exponent` to the 80-bit format.
fn round(value: u128, sticky: bool, exponent: i32) -> Magnitude {
    let top = 128 - value.leading_zeros() as i32;
    let shift = (top - 64).max(MIN_EXPONENT.saturating_sub(exponent)).max(0);
    let (mut mantissa, mut exponent) =
        (round_shift(value, sticky, shift as u32), exponent.saturating_add(shift));
    if mantissa >> 64 != 0 {
        mantissa >>= 1;
        exponent += 1;
    }
    // A short mantissa may stand for a large number with a small exponent: compare the top bits.
    if mantissa != 0 && exponent - mantissa.leading_zeros() as i32 + 64 > MAX_EXPONENT {
        return Magnitude::Infinite;
    }
    Magnitude::Finite { mantissa: mantissa as u64, exponent }
}

fn add_finite(left: (bool, u64, i32), right: (bool, u64, i32)) -> LongDouble {
    let normalize = |(negative, mantissa, exponent): (bool, u64, i32)| {
        let shift = mantissa.leading_zeros() % 64;
        (negative, mantissa << shift, exponent - shift as i32)
    };
    let (left, right) = (normalize(left), normalize(right));
    // A zero has no exponent of its own: let the other operand's rule.
    let larger_first = right.1 == 0 || (left.1 != 0 && left.2 >= right.2);
    let (large, small) = if larger_first { (left, right) } else { (right, left) };

    // 62 bits of room below the larger operand; what the smaller one has below them is one sticky bit.
    const ROOM: i32 = 62;
    let exponent = large.2 - ROOM;
    let high = u128::from(large.1) << ROOM;
    let down = if small.1 == 0 { 0 } else { large.2 - small.2 };
    let low = u128::from(small.1) << ROOM;
    let low = if down > 126 {
        u128::from(low != 0)
    } else {
        low >> down | u128::from(low & ((1 << down) - 1) != 0)
    };

    let (negative, value) = if large.0 == small.0 {
        (large.0, high + low)
    } else if high >= low {
        (large.0, high - low)
    } else {
        (small.0, low - high)
    };
    // The sum of opposites is +0; -0 remains only where both are.
    let negative = if value == 0 { left.0 && right.0 } else { negative };
    LongDouble { negative, magnitude: round(value, false, exponent) }
}

fn parse_decimal(text: &[u8]) -> Option<Magnitude> {
    let digits = split_digits(text, |byte| byte.is_ascii_digit())?;
    let exponent = split_exponent(digits.rest, *b"eE")? - digits.fraction.len() as i32;
    let mut dividend = Big::from_digits(digits.integer.iter().chain(digits.fraction));
    if dividend.is_zero() {
        return Some(Magnitude::Finite { mantissa: 0, exponent: 0 });
    }
    // Far out of range; nearer to the limits the rounding decides.
    let magnitude = dividend.bit_len() as i32 * 30 / 100 + exponent;
    if !(-6000..6000).contains(&magnitude) {
        return None;
    }
    let mut divisor = Big::from_u64(1);
    if exponent >= 0 {
        dividend.multiply_by_power_of_ten(exponent.unsigned_abs());
    } else {
        divisor.multiply_by_power_of_ten(exponent.unsigned_abs());
    }
    in_range(divide(dividend, divisor))
}

/// The rounded quotient of two nonzero numbers.
fn divide(mut dividend: Big, mut divisor: Big) -> Magnitude {
    // Scale so that the quotient has 66 or 67 bits.
    let shift = 66 + divisor.bit_len() as i32 - dividend.bit_len() as i32;
    if shift >= 0 {
        dividend.shift_left(shift.unsigned_abs() as usize);
    } else {
        divisor.shift_left(shift.unsigned_abs() as usize);
    }
    let (quotient, sticky) = dividend.divide(divisor, 68);
    round(quotient << 1 | u128::from(sticky), false, -shift - 1)
}

fn parse_hex(text: &[u8]) -> Option<Magnitude> {
    let digits = split_digits(text, |byte| byte.is_ascii_hexdigit())?;
    let shift = split_exponent(digits.rest, *b"pP")?;
    let HexNumber { mantissa, sticky, exponent } = hex_mantissa(&digits);
    if mantissa == 0 {
        return Some(Magnitude::Finite { mantissa: 0, exponent: 0 });
    }
    in_range(round(mantissa, sticky, exponent.saturating_add(shift)))
}

/// Refuses what overflowed or vanished.
fn in_range(magnitude: Magnitude) -> Option<Magnitude> {
    match magnitude {
        Magnitude::Infinite | Magnitude::Finite { mantissa: 0, .. } => None,
        finite => Some(finite),
    }
}
