//! What a script says about itself in its first line: `#!lua flags=no-writes,allow-stale`.

use protocol::request::split_quoted;

bitflags::bitflags! {
    /// Flags of a script or function, with the values and names of Redis 7.2.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct ScriptFlags: u8 {
        const NO_WRITES = 1 << 0;
        const ALLOW_OOM = 1 << 1;
        const ALLOW_STALE = 1 << 2;
        const NO_CLUSTER = 1 << 3;
        /// No first line: the rules from before there were flags.
        const COMPAT = 1 << 4;
        const ALLOW_CROSS_SLOT_KEYS = 1 << 5;
    }
}

impl ScriptFlags {
    /// By name, in the order in which FUNCTION LIST shows them.
    pub const NAMES: [(&'static str, ScriptFlags); 5] = [
        ("no-writes", ScriptFlags::NO_WRITES),
        ("allow-oom", ScriptFlags::ALLOW_OOM),
        ("allow-stale", ScriptFlags::ALLOW_STALE),
        ("no-cluster", ScriptFlags::NO_CLUSTER),
        ("allow-cross-slot-keys", ScriptFlags::ALLOW_CROSS_SLOT_KEYS),
    ];

    pub fn named(name: &[u8]) -> Option<ScriptFlags> {
        let found = Self::NAMES.iter().find(|(text, _)| text.as_bytes() == name);
        found.map(|(_, flag)| *flag)
    }
}

/// The flags of a script's body, and how many bytes its first line takes when that is no Lua. The line feed is
/// not counted, so that line numbers stay what they are.
pub fn of_script(body: &[u8]) -> Result<(ScriptFlags, usize), Vec<u8>> {
    if !body.starts_with(b"#!") {
        return Ok((ScriptFlags::COMPAT, 0));
    }
    let len = memchr_line(body).ok_or_else(|| b"Invalid script shebang".to_vec())?;
    let words = split_quoted(&body[..len]).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| b"Invalid engine in script shebang".to_vec())?;
    let mut words = words.as_argv().iter();
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err([b"Unexpected engine in script shebang: ", engine].concat());
    }
    let mut flags = ScriptFlags::default();
    for word in words {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err([b"Unknown lua shebang option: ", word].concat());
        };
        for name in list.split(|&b| b == b',').filter(|_| !list.is_empty()) {
            flags |= ScriptFlags::named(name)
                .ok_or_else(|| [b"Unexpected flag in script shebang: ", name].concat())?;
        }
    }
    Ok((flags, len))
}

fn memchr_line(body: &[u8]) -> Option<usize> {
    body.iter().position(|&b| b == b'\n')
}

/// What the first line of a library says.
#[derive(Debug)]
pub struct LibraryHead<'a> {
    pub engine: Vec<u8>,
    pub name: Vec<u8>,
    /// The code from the end of the first line on.
    pub code: &'a [u8],
}

/// Reads a library's first line, `#!<engine> name=<name>`.
pub fn of_library(body: &[u8]) -> Result<LibraryHead<'_>, Vec<u8>> {
    if !body.starts_with(b"#!") {
        return Err(b"Missing library metadata".to_vec());
    }
    let len = memchr_line(body).ok_or_else(|| b"Invalid library metadata".to_vec())?;
    let words = split_quoted(&body[..len]).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| b"Invalid library metadata".to_vec())?;
    let mut words = words.as_argv().iter();
    let engine = words.next().unwrap_or_default();
    let mut name = None;
    for word in words {
        if !word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"name=")) {
            return Err([b"Invalid metadata value given: ", word].concat());
        }
        if name.replace(word[5..].to_vec()).is_some() {
            return Err(b"Invalid metadata value, name argument was given multiple times".to_vec());
        }
    }
    let name = name.ok_or_else(|| b"Library name was not given".to_vec())?;
    let engine = engine.get(2..).unwrap_or_default().to_vec();
    Ok(LibraryHead { engine, name, code: &body[len..] })
}

/// Names of libraries and functions.
pub fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_without_a_first_line_keeps_the_old_rules() {
        assert_eq!(of_script(b"return 1"), Ok((ScriptFlags::COMPAT, 0)));
    }

    #[test]
    fn flags_are_read_and_bad_ones_named() {
        let both = ScriptFlags::NO_WRITES | ScriptFlags::ALLOW_STALE;
        assert_eq!(of_script(b"#!lua flags=no-writes,allow-stale\nreturn 1"), Ok((both, 33)));
        assert_eq!(of_script(b"#!lua\n"), Ok((ScriptFlags::empty(), 5)));
        for (body, error) in [
            ("#!lua", "Invalid script shebang"),
            ("#!not-lua\n", "Unexpected engine in script shebang: #!not-lua"),
            ("#!lua badger=data\n", "Unknown lua shebang option: badger=data"),
            ("#!lua flags=allow-what?\n", "Unexpected flag in script shebang: allow-what?"),
        ] {
            assert_eq!(of_script(body.as_bytes()), Err(error.as_bytes().to_vec()), "{body:?}");
        }
    }

    #[test]
    fn a_library_names_itself_once() {
        let head = of_library(b"#!lua name=test\ncode").unwrap();
        assert_eq!(
            (&head.engine[..], &head.name[..], head.code),
            (&b"lua"[..], &b"test"[..], &b"\ncode"[..])
        );
        for (body, error) in [
            ("", "Missing library metadata"),
            ("#!lua name=x", "Invalid library metadata"),
            ("#!lua\n", "Library name was not given"),
            ("#!lua name=a name=b\n", "Invalid metadata value, name argument was given multiple times"),
            ("#!lua desc=a\n", "Invalid metadata value given: desc=a"),
        ] {
            assert_eq!(of_library(body.as_bytes()).unwrap_err(), error.as_bytes(), "{body:?}");
        }
    }
}
