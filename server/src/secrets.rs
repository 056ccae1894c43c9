//! Which arguments of a command are secrets, so that SLOWLOG and MONITOR do not show them.

use crate::config::{PARAMS, row_of};
use crate::exec::table::Command;
use protocol::Argv;

/// What stands in a secret's place.
pub const REDACTED: &[u8] = b"(redacted)";

/// Finds the positions of secrets in a command's arguments.
type Finder = fn(Argv<'_>) -> Vec<usize>;

/// Commands with secrets, by full name, and where these are.
const SECRETS: &[(&str, Finder)] = &[
    ("acl|deluser", after_subcommand),
    ("acl|getuser", after_subcommand),
    ("acl|setuser", after_subcommand),
    ("auth", |argv| (1..argv.len()).collect()),
    ("config|set", sensitive_parameters),
    ("hello", |argv| after_words(argv, 2, &[("AUTH", 2)])),
    ("migrate", |argv| after_words(argv, 6, &[("AUTH", 1), ("AUTH2", 2)])),
];

/// The positions of a command's secrets.
#[cold]
pub fn of(command: &Command, argv: Argv<'_>) -> Vec<usize> {
    let found = SECRETS.iter().find(|(name, _)| *name == command.full_name);
    found.map_or(Vec::new(), |(_, positions)| positions(argv))
}

fn after_subcommand(argv: Argv<'_>) -> Vec<usize> {
    (2..argv.len()).collect()
}

fn sensitive_parameters(argv: Argv<'_>) -> Vec<usize> {
    let is_sensitive = |name: &[u8]| {
        let row = std::str::from_utf8(name).ok().and_then(row_of);
        row.is_some_and(|row| PARAMS[row].flags.sensitive)
    };
    (3..argv.len()).step_by(2).filter(|&value| is_sensitive(argv.get(value - 1))).collect()
}

/// So many arguments after each of the words, looked for from argument `from` on.
fn after_words(argv: Argv<'_>, from: usize, words: &[(&str, usize)]) -> Vec<usize> {
    let mut found = Vec::new();
    for at in from..argv.len() {
        let word = words.iter().find(|(word, _)| argv.get(at).eq_ignore_ascii_case(word.as_bytes()));
        if let Some((_, count)) = word {
            found.extend((at + 1..argv.len()).take(*count));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::table::table;
    use protocol::ArgVec;

    #[test]
    fn passwords_are_secrets_and_the_rest_is_not() {
        let secrets = |name: &str, line: &str| {
            let argv: ArgVec = line.split(' ').map(str::as_bytes).collect();
            of(table().find_full(name.as_bytes()).unwrap(), argv.as_argv())
        };
        assert_eq!(secrets("auth", "auth user pass"), [1, 2]);
        assert_eq!(secrets("config|set", "config set maxmemory 1 masterauth x REQUIREPASS y"), [5, 7]);
        assert_eq!(secrets("hello", "hello 3 auth user pass setname n"), [3, 4]);
        assert_eq!(secrets("get", "get auth"), []);
    }
}
