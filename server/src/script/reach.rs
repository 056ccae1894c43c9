//! Which scripts need the world at rest: those that touch more than the keys they declare.
//!
//! Stock lets a script without flags do that, and many do. It cannot be known beforehand, so it is guessed
//! from the text, and learned:
//!
//! * code that quotes the name of a command such as FLUSHALL or SCAN runs with the world at rest;
//! * so does, in standalone mode with several threads, the first run of a script, and a script without keys;
//! * a run that strays before it has written anything is begun again, with the world at rest, and from then on
//!   all runs of this script are.

use crate::exec::spec::Flags;
use crate::exec::table::table;

/// Commands that look at more than the keys they are given.
pub const WORLDLY: Flags =
    Flags::EXCLUSIVE.union(Flags::WALKS).union(Flags::TWO_DATABASES).union(Flags::PATTERNS);

/// Whether the code has the name of a worldly command as a quoted word.
pub fn names_the_world(code: &[u8]) -> bool {
    quoted_words(code).any(|word| {
        let command = table().find(word);
        command.is_some_and(|command| {
            let worldly = |flags: Flags| flags.intersects(WORLDLY);
            worldly(command.spec.flags) || command.subcommands.iter().any(|sub| worldly(sub.spec.flags))
        })
    })
}

/// Words of letters between quotes of one kind.
fn quoted_words(code: &[u8]) -> impl Iterator<Item = &[u8]> {
    code.iter().enumerate().filter(|(_, b)| matches!(b, b'\'' | b'"')).filter_map(|(at, &quote)| {
        let rest = &code[at + 1..];
        let len = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        (len > 0 && rest.get(len) == Some(&quote)).then_some(&rest[..len])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_quoted_name_counts() {
        assert!(names_the_world(b"redis.call('FlushAll')"));
        assert!(names_the_world(b"return redis.pcall(\"keys\", '*')"));
        for code in
            [&b"return KEYS[1]"[..], b"redis.call('get', KEYS[1])", b"-- flushall\nreturn 'scan me'", b"'"]
        {
            assert!(!names_the_world(code), "{}", String::from_utf8_lossy(code));
        }
    }
}
