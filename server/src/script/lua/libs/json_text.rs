//! Numbers and strings of JSON as `cjson` writes and reads them: numbers by C's `%.<n>g` and `strtod`.

/// Appends a number as `%.<precision>g` does.
pub fn append_g(out: &mut Vec<u8>, n: f64, precision: usize) {
    if !n.is_finite() {
        let sign = if n.is_sign_negative() { "-" } else { "" };
        out.extend_from_slice(format!("{sign}{}", if n.is_nan() { "nan" } else { "inf" }).as_bytes());
        return;
    }
    // The exponent after rounding decides between the two forms.
    let scientific = format!("{:.*e}", precision - 1, n);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        let mantissa = without_zeros(mantissa);
        out.extend_from_slice(format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs()).as_bytes());
    } else {
        let fixed = format!("{:.*}", (precision as i32 - 1 - exponent) as usize, n);
        out.extend_from_slice(without_zeros(&fixed).as_bytes());
    }
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Reads a number off the front of `text` as `strtod` does: decimal, hexadecimal, infinity and nan. Returns it with
/// the bytes it took.
pub fn strtod(text: &[u8]) -> Option<(f64, usize)> {
    let (negative, unsigned) = match text.first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let sign_len = text.len() - unsigned.len();
    let (value, len) = named(unsigned).or_else(|| hexadecimal(unsigned)).or_else(|| decimal(unsigned))?;
    Some((if negative { -value } else { value }, sign_len + len))
}

fn named(text: &[u8]) -> Option<(f64, usize)> {
    let starts = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match () {
        () if starts(b"infinity") => Some((f64::INFINITY, 8)),
        () if starts(b"inf") => Some((f64::INFINITY, 3)),
        () if starts(b"nan") => Some((f64::NAN, 3)),
        () => None,
    }
}

fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let digits = match text {
        [b'0', b'x' | b'X', rest @ ..] => rest,
        _ => return None,
    };
    let (mut value, mut exponent, mut at, mut seen, mut in_fraction) = (0.0f64, 0i32, 0, false, false);
    while let Some(&b) = digits.get(at) {
        if b == b'.' && !in_fraction {
            in_fraction = true;
        } else if let Some(digit) = char::from(b).to_digit(16) {
            value = value * 16.0 + f64::from(digit);
            exponent -= if in_fraction { 4 } else { 0 };
            seen = true;
        } else {
            break;
        }
        at += 1;
    }
    if !seen {
        return None;
    }
    if let Some((power, len)) = exponent_part(&digits[at..], b'p') {
        exponent = exponent.saturating_add(power);
        at += len;
    }
    Some((value * 2f64.powi(exponent), 2 + at))
}

fn decimal(text: &[u8]) -> Option<(f64, usize)> {
    let digits = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut at = whole;
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        at += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if let Some((_, len)) = exponent_part(&text[at..], b'e') {
        at += len;
    }
    let value = std::str::from_utf8(&text[..at]).ok()?.parse().ok()?;
    Some((value, at))
}

/// `e+12`, `p-3`: the number, and how many bytes it took.
fn exponent_part(text: &[u8], letter: u8) -> Option<(i32, usize)> {
    if !text.first()?.eq_ignore_ascii_case(&letter) {
        return None;
    }
    let (negative, sign_len) = match text.get(1)? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let digits = text[1 + sign_len..].iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let digits_text = std::str::from_utf8(&text[1 + sign_len..1 + sign_len + digits]).ok()?;
    let number = digits_text.parse().unwrap_or(i32::MAX / 2);
    Some((if negative { -number } else { number }, 1 + sign_len + digits))
}

/// Appends a string with its quotes. What is not ASCII stays as it is.
pub fn append_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &b in text {
        match b {
            b'"' | b'\\' | b'/' => out.extend([b'\\', b]),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..=0x1f | 0x7f => out.extend_from_slice(format!("\\u{b:04x}").as_bytes()),
            _ => out.push(b),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_printf_does() {
        for (n, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (100.0, "100"),
            (1e14, "1e+14"),
            (123456789012345.0, "1.2345678901234e+14"),
            (99999999999999.9, "1e+14"),
            (12345678901234.0, "12345678901234"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e300, "1e+300"),
            (3.0 / 7.0, "0.42857142857143"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            let mut out = Vec::new();
            append_g(&mut out, n, 14);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn numbers_are_read_as_strtod_does() {
        for (text, value, len) in [
            ("1", 1.0, 1),
            ("-1.5e2,", -150.0, 6),
            ("1.e1]", 10.0, 4),
            ("1e", 1.0, 1),
            ("0x1F ", 31.0, 4),
            ("0x.8p1", 1.0, 6),
            ("0xg", 0.0, 1),
            ("-infinity", f64::NEG_INFINITY, 9),
        ] {
            assert_eq!(strtod(text.as_bytes()), Some((value, len)), "{text}");
        }
        assert_eq!(strtod(b"-"), None);
        assert_eq!(strtod(b".x"), None);
        assert!(strtod(b"nan").is_some_and(|(n, len)| n.is_nan() && len == 3));
    }
}
