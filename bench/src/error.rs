//! Why a measurement could not be made.

use admin::client::ClientError;
use std::fmt;
use std::io;

#[derive(Debug)]
pub enum BenchError {
    Io {
        what: String,
        source: io::Error,
    },
    Client {
        server: String,
        source: ClientError,
    },
    /// A server or a tool did not do what it was started for.
    Failed(String),
}

impl BenchError {
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> BenchError {
        let what = what.into();
        move |source| BenchError::Io { what, source }
    }

    pub fn client(server: &str) -> impl Fn(ClientError) -> BenchError {
        move |source| BenchError::Client { server: server.to_owned(), source }
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Io { what, source } => write!(f, "{what}: {source}"),
            BenchError::Client { server, source } => write!(f, "{server}: {source}"),
            BenchError::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for BenchError {}
