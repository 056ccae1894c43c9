//! Glob patterns, as KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACL rules take them.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any bytes, none included |
//! | `?` | one byte |
//! | `[abc]`, `[a-z]`, `[^a]` | one byte of a class, or not of it |
//! | `\x` | `x`, whatever it is |
//!
//! A class without its `]` reaches to the end of the pattern; a `\` at the very end stands for itself.

/// A pattern in which more stars than these have to be tried matches nothing. It is stock's limit: there each star is
/// a recursion.
const STARS_MAX: usize = 1000;

/// Whether all of `text` matches `pattern`. Takes at most the product of their lengths.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_with(pattern, text, false)
}

/// As [`matches`], with ASCII letters of either case alike.
pub fn matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_with(pattern, text, true)
}

fn matches_with(pattern: &[u8], text: &[u8], any_case: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // After the last star met: where the pattern goes on, and how much of the text the star has taken so far.
    // Earlier stars need no second try: what lies between two stars is found at its first place.
    let mut star: Option<(usize, usize)> = None;
    let mut stars = 0;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += pattern[p..].iter().take_while(|&&b| b == b'*').count();
            star = Some((p, t));
            stars += usize::from(p < pattern.len());
            if stars > STARS_MAX {
                return false;
            }
            continue;
        }
        match one(&pattern[p..], text[t], any_case) {
            Some(len) => {
                p += len;
                t += 1;
            }
            None => match &mut star {
                Some((after, taken)) => {
                    *taken += 1;
                    (p, t) = (*after, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

/// Matches one byte against the token the pattern starts with, which is no star. Returns the token's length.
fn one(pattern: &[u8], byte: u8, any_case: bool) -> Option<usize> {
    let fold = |b: u8| if any_case { b.to_ascii_lowercase() } else { b };
    let (fits, len) = match pattern {
        [] => return None,
        [b'?', ..] => (true, 1),
        [b'[', class @ ..] => {
            let (fits, len) = in_class(class, fold(byte), fold);
            (fits, 1 + len)
        }
        [b'\\', literal, ..] => (fold(*literal) == fold(byte), 2),
        [literal, ..] => (fold(*literal) == fold(byte), 1),
    };
    fits.then_some(len)
}

/// Whether a byte is in the class whose `[` is behind us, and the length of what is left of the class.
fn in_class(class: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at.min(class.len())..] {
            [] => return (found != negated, class.len()),
            [b']', ..] => return (found != negated, at + 1),
            [b'\\', literal, ..] => {
                found |= fold(*literal) == byte;
                at += 2;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (fold(*low).min(fold(*high)), fold(*low).max(fold(*high)));
                found |= (low..=high).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= fold(*literal) == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_hold() {
        for (pattern, yes, no) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", "abc"], &[]),
            ("a*b*c", &["abc", "aXbYc", "abbc", "abcbc"], &["ab", "acb", "abcd"]),
            ("a?c", &["abc"], &["ac", "abbc"]),
            ("[abc]x", &["ax", "cx"], &["x", "dx"]),
            ("[^a]", &["b"], &["a", ""]),
            ("[a-c]", &["a", "b", "c"], &["d", "-"]),
            ("[c-a]", &["a", "b", "c"], &["d"]),
            ("[]", &[], &["]", "a"]),
            ("[^]", &["]", "a"], &[""]),
            ("[\\]]", &["]"], &["\\"]),
            ("\\*", &["*"], &["a"]),
            ("a\\", &["a\\"], &["a"]),
            ("[ab", &["a", "b"], &["c", "ab"]),
            ("**a**", &["a", "bab"], &["b"]),
            ("h[ae]llo*", &["hello", "hallo world"], &["hillo"]),
        ] {
            for text in yes {
                assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
            }
            for text in no {
                assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
            }
        }
        assert!(matches_any_case(b"HeL[K-M]O", b"hello"));
        assert!(!matches(b"HELLO", b"hello"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = b"a*".repeat(200);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &b"a".repeat(5000)));
        assert!(matches(&b"*?".repeat(STARS_MAX), &b"a".repeat(5000)));
        assert!(!matches(&b"*?".repeat(STARS_MAX + 1), &b"a".repeat(5000)));
    }
}
