//! Doubles as text, byte for byte as stock 7.2 prints them.
//!
//! Stock finds the digits with Grisu2 (Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately
//! with Integers", PLDI 2010). Its digits always read back as the same double, but in about one case of a
//! thousand they are not the shortest ones, so a formatter that is always right would differ from it. This
//! is the same algorithm with the same powers of ten, the same rounding and the same layout.

use super::powers_of_ten::{FIRST_EXPONENT, POWERS, STEP};
use super::{MAX_I64_TEXT, double_as_i64};

/// The text of a double as replies and listpacks hold it: `3`, `0.1`, `1e+21`, `-0`, `inf`, `nan`.
pub fn double_text(value: f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_I64_TEXT + 4);
    append_double(&mut out, value);
    out
}

/// Appends the text of a double.
pub fn append_double(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if let Some(integer) = double_as_i64(value) {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    } else {
        let digits = Digits::of(value.abs());
        if value < 0.0 {
            out.push(b'-');
        }
        digits.append_to(out, value < 0.0);
    }
}

/// Decimal digits `d₁d₂…dₙ` × 10^`exponent`.
struct Digits {
    digits: [u8; 20],
    len: usize,
    exponent: i32,
}

impl Digits {
    fn as_slice(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    fn push(&mut self, digit: u8) {
        if digit != 0 || self.len > 0 {
            self.digits[self.len] = b'0' + digit;
            self.len += 1;
        }
    }

    /// Lays the digits out: plain up to a few zeros on either side, scientific beyond.
    fn append_to(&self, out: &mut Vec<u8>, negative: bool) {
        let len = self.len as i32;
        let magnitude = (self.exponent + len - 1).abs();
        if self.exponent >= 0 && magnitude < len + 7 {
            out.extend_from_slice(self.as_slice());
            out.resize(out.len() + self.exponent as usize, b'0');
        } else if self.exponent < 0 && (self.exponent > -7 || magnitude < 4) {
            self.append_with_point(out);
        } else {
            self.append_scientific(out, negative);
        }
    }

    fn append_with_point(&self, out: &mut Vec<u8>) {
        let point = self.len as i32 + self.exponent;
        if point <= 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(self.as_slice());
        } else {
            let (integer, fraction) = self.as_slice().split_at(point as usize);
            out.extend_from_slice(integer);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    }

    /// `d.ddde±x`, with at most 18 digits (17 of a negative number).
    fn append_scientific(&self, out: &mut Vec<u8>, negative: bool) {
        let shown = self.len.min(18 - usize::from(negative));
        let exponent = self.exponent + self.len as i32 - 1;
        out.push(self.digits[0]);
        if shown > 1 {
            out.push(b'.');
            out.extend_from_slice(&self.digits[1..shown]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    }

    /// The digits of a finite, positive double.
    fn of(value: f64) -> Self {
        let (fraction, exponent) = decompose(value);
        let upper = Scaled::normalized(2 * fraction + 1, exponent - 1);
        let lower = Scaled::lower_neighbour(fraction, exponent, upper.exponent);
        let (power, decimal_exponent) = power_for(upper.exponent);

        let value = Scaled::normalized(fraction, exponent).times(power);
        let mut upper = upper.times(power);
        let mut lower = lower.times(power);
        // Multiplying may be off by one unit: stay within what is certainly between the neighbours.
        upper.mantissa -= 1;
        lower.mantissa += 1;
        Self::between(value, upper, lower.mantissa, -decimal_exponent)
    }

    /// As few digits as tell a number between `lower` and `upper`, then as near to `value` as their count
    /// allows.
    fn between(value: Scaled, upper: Scaled, lower: u64, exponent: i32) -> Self {
        let mut digits = Digits { digits: [0; 20], len: 0, exponent };
        let to_value = upper.mantissa - value.mantissa;
        let mut delta = upper.mantissa - lower;
        let shift = upper.exponent.unsigned_abs();
        let unit = 1u64 << shift;
        let mut integer = upper.mantissa >> shift;
        let mut fraction = upper.mantissa & (unit - 1);

        let mut power = 1_000_000_000;
        for kappa in (0..10).rev() {
            digits.push((integer / power) as u8);
            integer %= power;
            let rest = (integer << shift) + fraction;
            if rest <= delta {
                digits.exponent += kappa;
                digits.round(delta, rest, power << shift, to_value);
                return digits;
            }
            power /= 10;
        }
        let mut scale = 1u64;
        loop {
            fraction *= 10;
            delta = delta.wrapping_mul(10);
            scale = scale.wrapping_mul(10);
            digits.exponent -= 1;
            digits.push((fraction >> shift) as u8);
            fraction &= unit - 1;
            if fraction < delta {
                digits.round(delta, fraction, unit, to_value.wrapping_mul(scale));
                return digits;
            }
        }
    }

    /// Lowers the last digit while that comes nearer to the value and stays between the neighbours.
    fn round(&mut self, delta: u64, rest: u64, step: u64, to_value: u64) {
        let mut rest = rest;
        while rest < to_value
            && delta - rest >= step
            && (rest.wrapping_add(step) < to_value
                || to_value - rest > rest.wrapping_add(step).wrapping_sub(to_value))
        {
            self.digits[self.len - 1] -= 1;
            rest += step;
        }
    }
}

/// `mantissa` × 2^`exponent`.
#[derive(Clone, Copy)]
struct Scaled {
    mantissa: u64,
    exponent: i32,
}

impl Scaled {
    /// The same number with the mantissa's top bit set.
    fn normalized(mantissa: u64, exponent: i32) -> Self {
        let shift = mantissa.leading_zeros();
        Scaled { mantissa: mantissa << shift, exponent: exponent - shift as i32 }
    }

    /// Half way to the next smaller double, at the given exponent. Below a power of two doubles lie twice
    /// as dense.
    fn lower_neighbour(fraction: u64, exponent: i32, at_exponent: i32) -> Self {
        let shift = if fraction == HIDDEN_BIT { 2 } else { 1 };
        let mantissa = (fraction << shift) - 1;
        Scaled { mantissa: mantissa << (exponent - shift - at_exponent), exponent: at_exponent }
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Scaled) -> Self {
        let product = u128::from(self.mantissa) * u128::from(other.mantissa);
        let rounded = (product + (1 << 63)) >> 64;
        Scaled { mantissa: rounded as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

const HIDDEN_BIT: u64 = 1 << 52;

/// A double as integer × 2^exponent.
fn decompose(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let fraction = bits & (HIDDEN_BIT - 1);
    match (bits >> 52 & 0x7FF) as i32 {
        0 => (fraction, 1 - 1075),
        biased => (fraction | HIDDEN_BIT, biased - 1075),
    }
}

/// The power of ten that brings a number of this binary exponent to an exponent between -60 and -32, and
/// which power it is. Several may do; the estimate decides which.
fn power_for(exponent: i32) -> (Scaled, i32) {
    const LOG10_OF_2: f64 = 0.301_029_995_663_981_14;
    let estimate = (-f64::from(exponent + POWERS.len() as i32) * LOG10_OF_2) as i32;
    let mut index = ((estimate - FIRST_EXPONENT) / STEP) as usize;
    loop {
        let (mantissa, power_exponent) = POWERS[index];
        match exponent + power_exponent + 64 {
            -60..=-32 => {
                let power = Scaled { mantissa, exponent: power_exponent };
                return (power, FIRST_EXPONENT + index as i32 * STEP);
            }
            ..-60 => index += 1,
            _ => index -= 1,
        }
    }
}
