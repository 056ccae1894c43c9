//! What runs beside a node: `balas cluster …`.
//!
//! Nothing here links the server: a node is a process that is started, a socket that is asked and a folder that
//! is read. So all of it works on stock nodes as well, and on clusters of both. The client is public for `bench`.
//!
//! ```text
//!  args ──▶ cluster/up ──▶ cluster/create ──▶ plan         who gets which slots
//!             │                 │
//!             │                 └──▶ topology              what each node believes
//!             ▼                         │
//!           node/{conf,folder,process}  ▼
//!                                     client ──▶ resp      one socket, one reply
//! ```

#![forbid(unsafe_code)]

/// Prints a line to people. Unlike `println!` it does not panic when nobody listens any more: a closed pipe or
/// terminal must not keep a command from stopping what it started.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

/// As [`say!`], on stderr.
macro_rules! complain {
    ($($words:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

pub mod address;
mod args;
pub mod client;
mod clock;
mod cluster;
mod error;
pub mod info;
mod interrupt;
mod node;
mod plan;
pub mod resp;
mod router;
mod table;
mod topology;

use std::process::ExitCode;

pub use error::Error;

/// Runs `balas cluster …`; `args` begin with that word. The exit code is 0 only when what was asked for is done
/// (or, for `check`, `status` and `test`, when the cluster is well), else 1 with the reason on stderr.
pub fn run(args: &[String]) -> ExitCode {
    let outcome = match args.first().map(String::as_str) {
        Some(word @ ("cli" | "top")) => Err(Error::NotBuiltYet(word.to_owned())),
        _ => match args::parse(args) {
            Ok(command) => cluster::run(command),
            Err(code) => return code,
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("balas: {error}");
            ExitCode::FAILURE
        }
    }
}
