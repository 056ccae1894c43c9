//! What an administrator's command can meet, worded for the person who typed it.

use crate::address::Address;
use crate::client::ClientError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a command ended with exit code 1.
#[derive(Debug)]
pub enum Error {
    /// `cli` and `top`.
    NotBuiltYet(String),
    /// The words of the command do not fit together.
    Usage(String),
    Node {
        address: Address,
        source: ClientError,
    },
    /// A node answered, but not what it must.
    Refused {
        address: Address,
        reason: String,
    },
    PortTaken(u16),
    DidNotStart {
        port: u16,
        /// What the process printed and logged since its start.
        output: String,
    },
    File {
        what: String,
        path: PathBuf,
        source: io::Error,
    },
    TimedOut {
        waited_for: String,
        waited_s: u64,
    },
    Interrupted,
    /// The cluster, or a test of it, is not as it must be; the details are printed already.
    Unwell(String),
}

impl Error {
    pub fn file(what: &str, path: impl Into<PathBuf>, source: io::Error) -> Error {
        Error::File { what: what.to_owned(), path: path.into(), source }
    }

    pub fn refused(address: &Address, reason: impl Into<String>) -> Error {
        Error::Refused { address: address.clone(), reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotBuiltYet(word) => {
                write!(f, "'{word}' is not built yet; use redis-cli, or 'balas cluster status'")
            }
            Error::Usage(text) | Error::Unwell(text) => f.write_str(text),
            Error::Node { address, source } => write!(f, "{address}: {source}"),
            Error::Refused { address, reason } => write!(f, "{address} {reason}"),
            Error::PortTaken(port) => write!(f, "port {port} is taken by another process"),
            Error::DidNotStart { port, output } => {
                write!(f, "the node on port {port} did not start")?;
                for line in output.lines() {
                    write!(f, "\n    {line}")?;
                }
                Ok(())
            }
            Error::File { what, path, source } => write!(f, "cannot {what} {}: {source}", path.display()),
            Error::TimedOut { waited_for, waited_s } => {
                write!(f, "gave up after {waited_s} s of waiting for {waited_for}")
            }
            Error::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {}
