//! What can be wrong with an RDB file.

use std::{fmt, io};

/// `offset` is in bytes from the start of the file, where the trouble was met.
#[derive(Debug)]
pub enum RdbError {
    /// The file ends before it is over: what is cut off begins at `offset`.
    Eof {
        offset: u64,
    },
    Io {
        offset: u64,
        source: io::Error,
    },
    /// Not an RDB file.
    Signature,
    /// Written by a server newer than this one, or by none.
    Version(u32),
    Corrupt {
        offset: u64,
        what: &'static str,
    },
    /// Neither a type nor an opcode.
    UnknownType {
        offset: u64,
        kind: u8,
    },
    Checksum {
        expected: u64,
        found: u64,
    },
    Unsupported {
        offset: u64,
        what: Unsupported,
    },
}

/// Well-formed things that this server cannot hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unsupported {
    /// A value of the named module's type.
    Module(String),
    /// Data of the named module, beside the keys.
    ModuleAux(String),
    /// Modules as the release candidates of 4.0 saved them.
    ModulePreRelease,
    /// Functions as the release candidates of 7.0 saved them.
    FunctionPreRelease,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsupported::Module(name) => {
                write!(f, "The RDB file contains module data I can't load: no matching module type '{name}'")
            }
            Unsupported::ModuleAux(name) => {
                write!(f, "The RDB file contains AUX module data I can't load: no matching module '{name}'")
            }
            Unsupported::ModulePreRelease => f.write_str("Pre-release module format not supported"),
            Unsupported::FunctionPreRelease => f.write_str("Pre-release function format not supported."),
        }
    }
}

impl RdbError {
    /// Tells where the thing begins that the end of the file was met in.
    pub(super) fn cut_off_at(self, offset: u64) -> Self {
        match self {
            RdbError::Eof { .. } => RdbError::Eof { offset },
            other => other,
        }
    }

    /// Where in the file; 0 for what concerns all of it.
    pub fn offset(&self) -> u64 {
        match self {
            RdbError::Eof { offset }
            | RdbError::Io { offset, .. }
            | RdbError::Corrupt { offset, .. }
            | RdbError::UnknownType { offset, .. }
            | RdbError::Unsupported { offset, .. } => *offset,
            RdbError::Signature | RdbError::Version(_) | RdbError::Checksum { .. } => 0,
        }
    }
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RdbError::Eof { offset } => write!(f, "unexpected end of RDB file at offset {offset}"),
            RdbError::Io { offset, source } => write!(f, "cannot read RDB file at offset {offset}: {source}"),
            RdbError::Signature => f.write_str("Wrong signature trying to load DB from file"),
            RdbError::Version(version) => write!(f, "Can't handle RDB format version {version}"),
            RdbError::Corrupt { offset, what } => write!(f, "corrupt RDB file at offset {offset}: {what}"),
            RdbError::UnknownType { offset, kind } => {
                write!(f, "Invalid object type: {kind} at offset {offset}")
            }
            RdbError::Checksum { expected, found } => {
                write!(f, "RDB CRC error: wrong RDB checksum expected: ({expected:x}) but got ({found:x})")
            }
            RdbError::Unsupported { offset, what } => write!(f, "RDB file at offset {offset}: {what}"),
        }
    }
}

impl std::error::Error for RdbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RdbError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
