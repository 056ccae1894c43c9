//! The manifest: which files make up the AOF, in which order.
//!
//! ```text
//! file <name> seq <n> type <b|h|i> [startoffset <n>]
//! ```
//!
//! `b` is the base, `i` an increment, `h` a file of the past that is to be removed. `startoffset`, the
//! replication offset at the start of an increment, is ours; stock ignores pairs it does not know.

use std::fmt;

/// Bytes of the longest line, line feed included.
const MAX_LINE_BYTES: usize = 1024;

/// `appenddirname` and `appendfilename`, and the names made of them. All are relative to the data folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AofNames {
    pub folder: String,
    pub file: String,
    /// New bases are RDB files; otherwise they hold commands.
    pub rdb_base: bool,
}

impl Default for AofNames {
    fn default() -> Self {
        AofNames { folder: "appendonlydir".to_owned(), file: "appendonly.aof".to_owned(), rdb_base: true }
    }
}

impl AofNames {
    /// A file in the AOF's folder.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    pub fn manifest(&self) -> String {
        format!("{}.manifest", self.file)
    }

    pub fn temporary_manifest(&self) -> String {
        format!("temp-{}.manifest", self.file)
    }

    /// What is written while there is no base yet that it could follow.
    pub fn temporary_incr(&self) -> String {
        format!("temp-{}.incr", self.file)
    }

    /// The base that a rewrite is writing.
    pub fn temporary_base(&self) -> String {
        format!("temp-{}.base.rdb", self.file)
    }

    pub fn base(&self, seq: u64) -> String {
        let suffix = if self.rdb_base { "rdb" } else { "aof" };
        format!("{}.{seq}.base.{suffix}", self.file)
    }

    pub fn incr(&self, seq: u64) -> String {
        format!("{}.{seq}.incr.aof", self.file)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    Base,
    History,
    Incr,
}

impl FileKind {
    const fn letter(self) -> char {
        match self {
            FileKind::Base => 'b',
            FileKind::History => 'h',
            FileKind::Incr => 'i',
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileInfo {
    /// Without a folder.
    pub name: String,
    pub seq: u64,
    /// The replication offset at the start of the file.
    pub start_offset: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Manifest {
    pub base: Option<FileInfo>,
    /// To be removed.
    pub history: Vec<FileInfo>,
    /// In the order they were written.
    pub incrs: Vec<FileInfo>,
    base_seq: u64,
    incr_seq: u64,
}

/// Why a manifest is refused, in stock's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestError {
    /// Number and text of the line, if it is a line's fault.
    pub line: Option<(usize, String)>,
    pub what: &'static str,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((number, line)) = &self.line {
            writeln!(f, "Reading the manifest file, at line {number}\n>>> '{line}'")?;
        }
        f.write_str(self.what)
    }
}

impl std::error::Error for ManifestError {}

const INVALID: &str = "Invalid AOF manifest file format";

impl Manifest {
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incrs.is_empty()
    }

    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let mut manifest = Manifest::default();
        if text.is_empty() {
            return Err(ManifestError { line: None, what: "Found an empty AOF manifest" });
        }
        for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            if line[0] == b'#' {
                continue;
            }
            if line.len() > MAX_LINE_BYTES || line.last() != Some(&b'\n') {
                let what = "The AOF manifest file contains too long line";
                return Err(ManifestError { line: None, what });
            }
            let text = String::from_utf8_lossy(line);
            let text = text.trim_matches([' ', '\t', '\r', '\n']);
            manifest
                .add_line(text)
                .map_err(|what| ManifestError { line: Some((index + 1, text.to_owned())), what })?;
        }
        Ok(manifest)
    }

    fn add_line(&mut self, line: &str) -> Result<(), &'static str> {
        let (info, kind) = parse_line(line)?;
        match kind {
            "b" if self.base.is_some() => return Err("Found duplicate base file information"),
            "b" => {
                self.base_seq = info.seq;
                self.base = Some(info);
            }
            "h" => self.history.push(info),
            "i" if info.seq <= self.incr_seq => return Err("Found a non-monotonic sequence number"),
            "i" => {
                self.incr_seq = info.seq;
                self.incrs.push(info);
            }
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    pub fn format(&self) -> String {
        let with_kind = |kind| move |info| format_line(info, kind);
        let base = self.base.iter().map(with_kind(FileKind::Base));
        let history = self.history.iter().map(with_kind(FileKind::History));
        base.chain(history).chain(self.incrs.iter().map(with_kind(FileKind::Incr))).collect()
    }

    /// The next base; the one before becomes history.
    pub fn add_base(&mut self, names: &AofNames) -> String {
        self.base_seq += 1;
        let name = names.base(self.base_seq);
        let info = FileInfo { name: name.clone(), seq: self.base_seq, start_offset: None };
        if let Some(old) = self.base.replace(info) {
            self.history.insert(0, old);
        }
        name
    }

    /// The next increment.
    pub fn add_incr(&mut self, names: &AofNames, start_offset: Option<u64>) -> String {
        self.incr_seq += 1;
        let name = names.incr(self.incr_seq);
        self.incrs.push(FileInfo { name: name.clone(), seq: self.incr_seq, start_offset });
        name
    }

    /// All increments but the last `kept` become history: a base holds what they hold.
    pub fn retire_incrs(&mut self, kept: usize) {
        let retired = self.incrs.len().saturating_sub(kept);
        for info in self.incrs.drain(..retired) {
            self.history.insert(0, info);
        }
    }

    /// The manifest of an AOF from before there were manifests: its one file is the base.
    pub fn of_old_file(names: &AofNames) -> Self {
        let base = FileInfo { name: names.file.clone(), seq: 1, start_offset: None };
        Manifest { base: Some(base), base_seq: 1, ..Manifest::default() }
    }
}

fn parse_line(line: &str) -> Result<(FileInfo, &str), &'static str> {
    let words = split_words(line).ok_or(INVALID)?;
    if words.len() < 6 || words.len() % 2 != 0 {
        return Err(INVALID);
    }
    let (mut name, mut seq, mut kind, mut start_offset) = (None, 0, None, None);
    for pair in words.chunks(2) {
        let (key, value) = (pair[0].as_str(), pair[1].as_str());
        if key.eq_ignore_ascii_case("file") {
            if value.contains(['/', '\\']) {
                return Err("File can't be a path, just a filename");
            }
            name = Some(value.to_owned());
        } else if key.eq_ignore_ascii_case("seq") {
            seq = value.parse().unwrap_or(0);
        } else if key.eq_ignore_ascii_case("type") {
            kind = value.chars().next();
        } else if key.eq_ignore_ascii_case("startoffset") {
            start_offset = value.parse().ok();
        }
    }
    let (Some(name), 1.., Some(kind)) = (name, seq, kind) else { return Err(INVALID) };
    let kind = match kind {
        'b' => "b",
        'h' => "h",
        'i' => "i",
        _ => "?",
    };
    Ok((FileInfo { name, seq, start_offset }, kind))
}

fn format_line(info: &FileInfo, kind: FileKind) -> String {
    let start = info.start_offset.map(|offset| format!(" startoffset {offset}")).unwrap_or_default();
    format!("file {} seq {} type {}{start}\n", quoted(&info.name), info.seq, kind.letter())
}

/// A name as it is, or in quotes if there is something in it that needs them.
fn quoted(name: &str) -> String {
    let needs_quotes =
        |byte: u8| matches!(byte, b'\\' | b'"' | b'\'' | b' ') || !(0x20..0x7F).contains(&byte);
    if !name.is_empty() && !name.bytes().any(needs_quotes) {
        return name.to_owned();
    }
    let mut text = String::from("\"");
    for byte in name.bytes() {
        match byte {
            b'\\' | b'"' => text.extend(['\\', char::from(byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x20..0x7F => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

/// Words between blanks, or between quotes of either kind; `None` if a quote is not closed, or not followed by
/// a blank.
fn split_words(line: &str) -> Option<Vec<String>> {
    let mut rest = line.as_bytes();
    let mut words = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        let Some(&first) = rest.first() else { return Some(words) };
        let mut word = Vec::new();
        if first == b'"' || first == b'\'' {
            rest = unquote(&rest[1..], first, &mut word)?;
            if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
                return None;
            }
        } else {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            word.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
}

/// Takes a quoted word and returns what follows its closing quote.
fn unquote<'a>(mut rest: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match *rest {
            [byte, ref after @ ..] if byte == quote => return Some(after),
            [b'\\', b'x', high, low, ref after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
                word.push(digit(high) << 4 | digit(low));
                rest = after;
            }
            [b'\\', byte, ref after @ ..] if quote == b'"' => {
                word.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                rest = after;
            }
            [b'\\', b'\'', ref after @ ..] if quote == b'\'' => {
                word.push(b'\'');
                rest = after;
            }
            [byte, ref after @ ..] => {
                word.push(byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                        file appendonly.aof.1.base.rdb seq 1 type h\n\
                        file appendonly.aof.3.incr.aof seq 3 type i\n\
                        file appendonly.aof.4.incr.aof seq 4 type i startoffset 77\n";

    #[test]
    fn what_is_parsed_formats_as_before() {
        let manifest = Manifest::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(manifest.format(), TEXT);
        assert_eq!(manifest.incrs[1].start_offset, Some(77));
        let odd = AofNames { file: "my \"own\".aof".to_owned(), ..AofNames::default() };
        let mut manifest = Manifest::default();
        manifest.add_base(&odd);
        manifest.add_incr(&odd, None);
        assert_eq!(Manifest::parse(manifest.format().as_bytes()), Ok(manifest));
    }

    #[test]
    fn sequence_numbers_go_on() {
        let names = AofNames::default();
        let mut manifest = Manifest::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(manifest.add_base(&names), "appendonly.aof.3.base.rdb");
        assert_eq!(manifest.add_incr(&names, None), "appendonly.aof.5.incr.aof");
        manifest.retire_incrs(1);
        assert_eq!(manifest.incrs.len(), 1);
        let history: Vec<_> = manifest.history.iter().map(|info| info.name.as_str()).collect();
        assert_eq!(
            history,
            [
                "appendonly.aof.4.incr.aof",
                "appendonly.aof.3.incr.aof",
                "appendonly.aof.2.base.rdb",
                "appendonly.aof.1.base.rdb"
            ]
        );
    }

    #[test]
    fn what_stock_refuses_is_refused_in_its_words() {
        let long = format!("file {} seq 1 type b\n", "x".repeat(1100));
        for (text, what) in [
            ("", "Found an empty AOF manifest"),
            ("\n", INVALID),
            ("file x seq 1\n", INVALID),
            ("file x seq 1 type b extra\n", INVALID),
            ("file x seq 0 type b\n", INVALID),
            ("file \"x seq 1 type b\n", INVALID),
            ("file x seq 1 type b", "The AOF manifest file contains too long line"),
            (&long, "The AOF manifest file contains too long line"),
            ("file a/x seq 1 type b\n", "File can't be a path, just a filename"),
            ("file x seq 1 type z\n", "Unknown AOF file type"),
            ("file x seq 1 type b\nfile y seq 2 type b\n", "Found duplicate base file information"),
            ("file x seq 2 type i\nfile y seq 2 type i\n", "Found a non-monotonic sequence number"),
        ] {
            assert_eq!(Manifest::parse(text.as_bytes()).map_err(|error| error.what), Err(what), "{text:?}");
        }
        let error = Manifest::parse(b"# comment\nfile x seq 1 type z\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Reading the manifest file, at line 2\n>>> 'file x seq 1 type z'\nUnknown AOF file type"
        );
    }
}
