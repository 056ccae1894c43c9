//! What commands take, for COMMAND DOCS: redis-cli makes its hints of it.
//!
//! A command's arguments are one line of a small notation, close to the one manuals use:
//!
//! ```text
//!  name              a string of any kind              name:integer   of another type; `token` is a word as it stands
//!  NX                the word NX, called nx            [ … ]          may be left out
//!  COUNT=name        after the word COUNT              name...        once or more; +... repeats the word before it too
//!  name(a|b|c)       one of several                    name/text      hints show the text in place of the name
//!  name{a b c}       several, one after the other      name#1         of the second key specification; keys are of the first
//!  name@6.2.0        since that version                name!6.2.0     deprecated since
//! ```

mod rows;

use super::reply_statuses;
use protocol::Reply;
use rows::ROWS;

/// The line of a command, by its full name; empty for one that takes nothing.
pub fn of(full_name: &str) -> &'static str {
    let found = ROWS.binary_search_by_key(&full_name, |(name, _)| name);
    found.map_or("", |at| ROWS[at].1)
}

/// Writes the arguments of a line.
pub fn reply(reply: &mut Reply<'_>, line: &'static str) {
    write_all(reply, &Reader { rest: line }.all(' '));
}

/// An argument, as it is told to clients.
#[derive(PartialEq, Eq, Debug, Default)]
struct Argument {
    name: &'static str,
    name_is_token: bool,
    token: Option<&'static str>,
    kind: Kind,
    display: Option<&'static str>,
    key_spec: Option<i64>,
    is_optional: bool,
    is_multiple: bool,
    repeats_token: bool,
    since: Option<&'static str>,
    deprecated_since: Option<&'static str>,
}

#[derive(PartialEq, Eq, Debug)]
enum Kind {
    /// A word or a value, by the name of its type.
    Plain(&'static str),
    OneOf(Vec<Argument>),
    Block(Vec<Argument>),
}

impl Default for Kind {
    fn default() -> Kind {
        Kind::Plain("string")
    }
}

/// What ends a name, a type or a number.
const ENDS: &[char] = &[':', '/', '#', '(', '{', '+', '.', '@', '!', ']', ' ', '|', ')', '}'];
/// What ends a text shown in place of a name, which may hold a colon.
const DISPLAY_ENDS: &[char] = &['#', '+', '.', '@', '!', ']', ' ', '|', ')', '}'];
/// What ends a version.
const VERSION_ENDS: &[char] = &['!', ']', ' ', '|', ')', '}'];

/// Reads a line from its front.
struct Reader {
    rest: &'static str,
}

impl Reader {
    fn take(&mut self, text: &str) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// All up to the first of these characters, or to the end.
    fn until(&mut self, ends: &[char]) -> &'static str {
        let (taken, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn all(&mut self, separator: char) -> Vec<Argument> {
        let mut arguments = vec![self.argument()];
        while self.rest.starts_with(separator) {
            self.rest = &self.rest[separator.len_utf8()..];
            arguments.push(self.argument());
        }
        arguments
    }

    fn argument(&mut self) -> Argument {
        let is_optional = self.take("[");
        let mut argument = Argument { is_optional, ..self.head() };
        if self.take("(") {
            argument.kind = Kind::OneOf(self.all('|'));
            self.take(")");
        } else if self.take("{") {
            argument.kind = Kind::Block(self.all(' '));
            self.take("}");
        }
        argument.repeats_token = self.take("+");
        argument.is_multiple = self.take("...");
        argument.since = self.take("@").then(|| self.until(VERSION_ENDS));
        argument.deprecated_since = self.take("!").then(|| self.until(VERSION_ENDS));
        self.take("]");
        argument
    }

    /// Everything before brackets and marks.
    fn head(&mut self) -> Argument {
        let mut argument = Argument::default();
        let word = self.until(ENDS);
        (argument.token, argument.name) = match word.rsplit_once('=') {
            Some((token, name)) => (Some(token), name),
            None if word.starts_with(|c: char| c.is_ascii_uppercase()) => {
                argument.name_is_token = true;
                argument.kind = Kind::Plain("pure-token");
                (Some(word), word)
            }
            None => (None, word),
        };
        if self.take(":") {
            let kind = self.until(ENDS);
            argument.kind = Kind::Plain(if kind == "token" { "pure-token" } else { kind });
            argument.key_spec = (kind == "key").then_some(0);
        }
        argument.display = self.take("/").then(|| self.until(DISPLAY_ENDS));
        if self.take("#") {
            argument.key_spec = self.until(ENDS).parse().ok();
        }
        argument
    }
}

fn write_all(reply: &mut Reply<'_>, arguments: &[Argument]) {
    reply.array(arguments.len());
    arguments.iter().for_each(|argument| write(reply, argument));
}

fn write(reply: &mut Reply<'_>, argument: &Argument) {
    let name = if argument.name_is_token { argument.name.to_ascii_lowercase() } else { argument.name.into() };
    let (kind, inner) = match &argument.kind {
        Kind::Plain(kind) => (*kind, None),
        Kind::OneOf(inner) => ("oneof", Some(inner)),
        Kind::Block(inner) => ("block", Some(inner)),
    };
    let display = inner.is_none().then(|| argument.display.unwrap_or(&name));
    let flags = [
        ("optional", argument.is_optional),
        ("multiple", argument.is_multiple),
        ("multiple_token", argument.repeats_token),
    ];
    let flags: Vec<String> =
        flags.into_iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag.to_owned()).collect();
    let texts = [("name", Some(&*name)), ("type", Some(kind)), ("display_text", display)];
    let later_texts = [
        ("token", argument.token),
        ("since", argument.since),
        ("deprecated_since", argument.deprecated_since),
    ];
    let texts_len = texts.iter().chain(&later_texts).filter(|(_, text)| text.is_some()).count();
    let others = [argument.key_spec.is_some(), !flags.is_empty(), inner.is_some()];
    reply.map(texts_len + others.into_iter().filter(|is_there| *is_there).count());
    write_texts(reply, &texts);
    if let Some(key_spec) = argument.key_spec {
        reply.text("key_spec_index");
        reply.integer(key_spec);
    }
    write_texts(reply, &later_texts);
    if !flags.is_empty() {
        reply.text("flags");
        reply_statuses(reply, &flags);
    }
    if let Some(inner) = inner {
        reply.text("arguments");
        write_all(reply, inner);
    }
}

fn write_texts(reply: &mut Reply<'_>, fields: &[(&str, Option<&str>)]) {
    for (field, text) in fields {
        let Some(text) = text else { continue };
        reply.text(field);
        reply.text(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::table::table;

    #[test]
    fn rows_can_be_found_and_are_of_commands_there_are() {
        assert!(ROWS.is_sorted_by_key(|(name, _)| *name));
        for (name, _) in ROWS {
            assert!(table().each().any(|command| command.full_name == *name), "{name}");
        }
    }

    #[test]
    fn every_row_is_read_to_its_end_and_every_argument_has_a_name() {
        fn check(arguments: &[Argument], row: &str) {
            for argument in arguments {
                assert!(!argument.name.is_empty(), "{row}");
                if let Kind::OneOf(inner) | Kind::Block(inner) = &argument.kind {
                    assert!(argument.display.is_none(), "{row}");
                    check(inner, row);
                }
            }
        }
        for (name, line) in ROWS {
            let mut reader = Reader { rest: line };
            check(&reader.all(' '), name);
            assert_eq!(reader.rest, "", "{name}");
        }
    }

    #[test]
    fn marks_are_told_apart() {
        let line = "==equal:token [GET=by/x#1+...@6.2.0] at{a:key [B!1.0]}...";
        let read = Reader { rest: line }.all(' ');
        let [equal, by, at] = &read[..] else { panic!("{read:?}") };
        assert_eq!((equal.token, equal.name, &equal.kind), (Some("="), "equal", &Kind::Plain("pure-token")));
        assert_eq!((by.token, by.name, by.display, by.key_spec), (Some("GET"), "by", Some("x"), Some(1)));
        assert!(by.is_optional && by.is_multiple && by.repeats_token && by.since == Some("6.2.0"));
        let Kind::Block(inner) = &at.kind else { panic!("{at:?}") };
        assert!(at.is_multiple && inner[0].key_spec == Some(0) && inner[1].deprecated_since == Some("1.0"));
    }
}
