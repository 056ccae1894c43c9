//! Integers as text, by the strict rules of the protocol.

/// Longest decimal text of an `i64`: a sign and 19 digits.
pub const I64_TEXT_MAX: usize = 20;

/// The integer `text` spells in its one canonical form: no spaces, no `+`, no leading zeros, no `-0`.
/// `None` for anything else, or when it does not fit.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] => return if negative { None } else { Some(0) },
        [b'1'..=b'9', ..] if digits.len() < I64_TEXT_MAX => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for &b in digits {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits always fit a u64.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// As [`parse_i64`], for values that may not be negative and use all 64 bits.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] if text.len() <= I64_TEXT_MAX => text.iter().try_fold(0u64, |acc, &b| {
            let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
            acc.checked_mul(10)?.checked_add(digit)
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_canonical_form_is_an_integer() {
        for bad in
            ["", "-", "+1", "01", "-0", " 1", "1 ", "1a", "9223372036854775808", "-9223372036854775809"]
        {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
    }

    proptest! {
        #[test]
        fn text_of_an_integer_parses_back(n: i64) {
            prop_assert_eq!(parse_i64(n.to_string().as_bytes()), Some(n));
        }

        #[test]
        fn what_parses_is_its_own_text(text in "-?[0-9]{0,21}") {
            if let Some(n) = parse_i64(text.as_bytes()) {
                prop_assert_eq!(n.to_string(), text);
            }
        }
    }
}
