//! Glob patterns as KEYS, SCAN MATCH, PSUBSCRIBE and CONFIG GET take them: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
//!
//! The quirks are stock's: a class without its `]` ends with the pattern, a range may be given backwards, a
//! backslash at the very end stands for itself.

/// Whether all of `text` matches `pattern`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_folded(pattern, text, |b| b)
}

/// As [`matches`], ASCII letters of either case being the same.
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_folded(pattern, text, |b| b.to_ascii_lowercase())
}

/// Walks both from left to right. On a mismatch the last `*` takes one byte more: an earlier one need never be
/// asked again, so the work is bounded by the product of the lengths.
fn matches_folded(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            star = Some((p, t));
            continue;
        }
        if p == pattern.len() && t == text.len() {
            return true;
        }
        let stepped = match text.get(t) {
            Some(&b) if p < pattern.len() => one(&pattern[p..], b, fold),
            _ => None,
        };
        match (stepped, star) {
            (Some(width), _) => {
                p += width;
                t += 1;
            }
            (None, Some((after_star, from))) if from < text.len() => {
                star = Some((after_star, from + 1));
                (p, t) = (after_star, from + 1);
            }
            _ => return false,
        }
    }
}

/// Matches one byte against the front of a pattern that does not start with `*`. Returns how much of the pattern
/// that took.
fn one(pattern: &[u8], b: u8, fold: impl Fn(u8) -> u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => class_match(class, b, fold).map(|width| width + 1),
        [b'\\', escaped, ..] => (fold(*escaped) == fold(b)).then_some(2),
        [plain, ..] => (fold(*plain) == fold(b)).then_some(1),
        [] => None,
    }
}

/// `class` begins after the `[`. Returns its length, the `]` included, when `b` is in it.
fn class_match(class: &[u8], b: u8, fold: impl Fn(u8) -> u8) -> Option<usize> {
    let (negated, mut at) = if class.first() == Some(&b'^') { (true, 1) } else { (false, 0) };
    let (b, mut found) = (fold(b), false);
    loop {
        match &class[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= fold(*escaped) == b;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (fold(*low), fold(*high));
                found |= (low.min(high)..=low.max(high)).contains(&b);
                at += 3;
            }
            [plain, ..] => {
                found |= fold(*plain) == b;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_stock_does() {
        let cases: &[(&str, &str, bool)] = &[
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("a*b*c", "axxbyyc", true),
            ("*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("[abc", "b", true),
            ("[a\\]]x", "]x", true),
            ("a[", "a", false),
            ("user:*:name", "user:17:name", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), *expected, "{pattern} {text}");
        }
        assert!(matches_ignoring_case(b"MAX*[L-N]*", b"maxmemory") && !matches(b"MAX*", b"maxmemory"));
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = b"a*".repeat(50);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &[b'a'; 20_000]));
    }
}
