//! Numbers as text: the exact texts stock accepts and prints.

mod big;
mod double_text;
mod long_double;
mod powers_of_ten;

pub use double_text::{append_double, double_text};
pub use long_double::LongDouble;
/// What it accepts prints back as the same bytes, so a collection may keep the integer instead of the text.
pub use protocol::number::parse_i64;

/// Longest text of an `i64`, sign included.
pub const MAX_I64_TEXT: usize = 20;

/// Number of characters of an `i64`'s text.
pub fn i64_text_len(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(value < 0)
}

/// The integer a double is, if the difference cannot be seen: beyond half of the `i64` range the answer is
/// no, and -0 counts as 0.
pub fn double_as_i64(value: f64) -> Option<i64> {
    const LIMIT: f64 = (i64::MAX / 2) as f64;
    if !(-LIMIT..=LIMIT).contains(&value) {
        return None;
    }
    let integer = value as i64;
    (integer as f64 == value).then_some(integer)
}

/// What C's `strtod` makes of a text, all of which has to be a number.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Strtod {
    value: f64,
    /// The text is a number too large for a double, or one so small that it became zero.
    out_of_range: bool,
}

/// Parses a double as arguments and stored values are: decimal or hexadecimal, `inf`, `infinity` in any case
/// and with a sign; no spaces, no NaN, nothing that overflows or vanishes.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    strtod(text).filter(|number| !number.out_of_range && !number.value.is_nan()).map(|number| number.value)
}

/// Parses a double as bounds of score ranges are: leniently. Leading white space, the empty text (0) and
/// overflow (infinity) are accepted; NaN is not.
pub fn parse_double_bound(text: &[u8]) -> Option<f64> {
    lenient(text).map(|number| number.value).filter(|value| !value.is_nan())
}

/// Parses a double as what SORT goes by is: as [`parse_double_bound`], but nothing that overflows or vanishes.
pub fn parse_double_weight(text: &[u8]) -> Option<f64> {
    lenient(text).filter(|number| !number.out_of_range && !number.value.is_nan()).map(|number| number.value)
}

fn lenient(text: &[u8]) -> Option<Strtod> {
    // A C string ends at its first NUL.
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(Strtod { value: 0.0, out_of_range: false });
    }
    let number = text.iter().position(|byte| !is_c_space(*byte)).map_or(&[][..], |start| &text[start..]);
    strtod(number)
}

/// The double a score kept as text is; 0 if it is none.
pub fn parse_stored_double(text: &[u8]) -> f64 {
    strtod(text).map_or(0.0, |number| number.value)
}

fn is_c_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn strtod(text: &[u8]) -> Option<Strtod> {
    let (negative, magnitude) = split_sign(text);
    let parsed = if let Some(value) = short_integer(magnitude) {
        Strtod { value, out_of_range: false }
    } else if let Some(value) = special(magnitude) {
        Strtod { value, out_of_range: false }
    } else if let Some(hex) = strip_hex_prefix(magnitude) {
        parse_hex(hex)?
    } else {
        parse_decimal(magnitude)?
    };
    Some(Strtod { value: if negative { -parsed.value } else { parsed.value }, ..parsed })
}

/// Whole numbers that every `f64` around can tell apart: most scores there are.
fn short_integer(text: &[u8]) -> Option<f64> {
    const DIGITS_MAX: usize = 15;
    if text.is_empty() || text.len() > DIGITS_MAX {
        return None;
    }
    let digits = text.iter().map(|byte| byte.is_ascii_digit().then(|| u64::from(byte - b'0')));
    let value = digits.into_iter().try_fold(0, |value, digit| Some(value * 10 + digit?))?;
    Some(value as f64)
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

fn strip_hex_prefix(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'0', b'x' | b'X', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Infinity and NaN by the names C knows.
fn special(text: &[u8]) -> Option<f64> {
    if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
        Some(f64::INFINITY)
    } else if text.len() >= 3 && text[..3].eq_ignore_ascii_case(b"nan") && is_nan_suffix(&text[3..]) {
        Some(f64::NAN)
    } else {
        None
    }
}

/// What may follow `nan`: nothing, or a payload in parentheses.
fn is_nan_suffix(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b'(', payload @ .., b')'] => {
            payload.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        }
        _ => false,
    }
}

/// The two runs of digits around an optional point, and what follows them.
struct Digits<'a> {
    integer: &'a [u8],
    fraction: &'a [u8],
    rest: &'a [u8],
}

/// Splits a number's digits off; there has to be one at least.
fn split_digits(text: &[u8], is_digit: impl Fn(u8) -> bool) -> Option<Digits<'_>> {
    let run = |text: &[u8]| text.iter().position(|&byte| !is_digit(byte)).unwrap_or(text.len());
    let (integer, rest) = text.split_at(run(text));
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => rest.split_at(run(rest)),
        rest => (&rest[..0], rest),
    };
    (!integer.is_empty() || !fraction.is_empty()).then_some(Digits { integer, fraction, rest })
}

/// The value of an exponent part (`e+12`) that starts with one of `marks`; huge ones stop at a million.
fn split_exponent(text: &[u8], marks: [u8; 2]) -> Option<i32> {
    let [mark, rest @ ..] = text else { return Some(0) };
    let (negative, digits) = split_sign(rest);
    if !marks.contains(mark) || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude =
        digits.iter().fold(0i32, |value, byte| (value * 10 + i32::from(byte - b'0')).min(1_000_000));
    Some(if negative { -magnitude } else { magnitude })
}

fn parse_decimal(text: &[u8]) -> Option<Strtod> {
    let digits = split_digits(text, |byte| byte.is_ascii_digit())?;
    split_exponent(digits.rest, *b"eE")?;
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let nonzero = digits.integer.iter().chain(digits.fraction).any(|&digit| digit != b'0');
    Some(Strtod { value, out_of_range: value.is_infinite() || (nonzero && value == 0.0) })
}

/// Parses what follows `0x`: hexadecimal digits with a point and a binary exponent (`1.8p3`).
fn parse_hex(text: &[u8]) -> Option<Strtod> {
    let digits = split_digits(text, |byte| byte.is_ascii_hexdigit())?;
    let exponent = split_exponent(digits.rest, *b"pP")?;
    let number = hex_mantissa(&digits);
    let value = scale_to_double(number.mantissa, number.sticky, number.exponent.saturating_add(exponent));
    Some(Strtod { value, out_of_range: value.is_infinite() || (number.mantissa != 0 && value == 0.0) })
}

/// `mantissa` × 2^`exponent`, and whether nonzero bits below it were dropped.
struct HexNumber {
    mantissa: u128,
    sticky: bool,
    exponent: i32,
}

fn hex_mantissa(digits: &Digits<'_>) -> HexNumber {
    let mut number = HexNumber { mantissa: 0, sticky: false, exponent: -4 * digits.fraction.len() as i32 };
    for &byte in digits.integer.iter().chain(digits.fraction) {
        let digit = char::from(byte).to_digit(16).unwrap_or(0);
        if number.mantissa >> 120 == 0 {
            number.mantissa = number.mantissa << 4 | u128::from(digit);
        } else {
            number.sticky |= digit != 0;
            number.exponent += 4;
        }
    }
    number
}

/// Rounds `mantissa` × 2^`exponent` to the nearest double, ties to even.
fn scale_to_double(mantissa: u128, sticky: bool, exponent: i32) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    // Where the lowest bit of the result lies: 53 bits below the top one, but not below the subnormals.
    let top = 127 - mantissa.leading_zeros() as i32;
    let lowest = (top - 52).max(-1074i32.saturating_sub(exponent));
    if lowest <= 0 {
        return ldexp(mantissa as f64, exponent);
    }
    if lowest > 127 {
        return 0.0;
    }
    let kept = mantissa >> lowest;
    let dropped = mantissa & ((1 << lowest) - 1);
    let half = 1u128 << (lowest - 1);
    let up = dropped > half || (dropped == half && (sticky || kept & 1 == 1));
    ldexp((kept + u128::from(up)) as f64, exponent.saturating_add(lowest))
}

/// `value` × 2^`exponent` for a value of at most 53 bits whose result needs no more rounding.
fn ldexp(value: f64, exponent: i32) -> f64 {
    let mut value = value;
    let mut exponent = exponent.clamp(-2200, 2200);
    while exponent != 0 {
        let step = exponent.clamp(-1000, 1000);
        value *= 2f64.powi(step);
        exponent -= step;
    }
    value
}

#[cfg(test)]
mod tests;
