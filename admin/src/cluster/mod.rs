//! `balas cluster …`, one module per command.

mod check;
mod create;
mod down;
mod failover;
mod smoke;
mod status;
mod up;

use crate::args::Command;
use crate::error::Error;
use crate::interrupt::Interrupt;

pub fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Up(words) => up::run(&words, &interrupt()?),
        Command::Down(words) => down::run(&words.dir, &interrupt()?),
        Command::Create(words) => create::run(&words, &interrupt()?),
        Command::Check(words) => check::run(&words.node, &words.password.auth(None)),
        Command::Status(words) => status::run(&words.node, &words.password.auth(None)),
        Command::Test(words) => smoke::run(&words.node, &words.password.auth(None)),
        Command::FailoverTest(words) => failover::run(&words, &interrupt()?),
    }
}

/// For commands that have something to put in order before they leave.
fn interrupt() -> Result<Interrupt, Error> {
    Interrupt::catch_signals().map_err(|error| Error::file("take over", "the signals", error))
}
