//! Commands made up in bulk and sent in pipelines.

use crate::error::BenchError;
use crate::server::Server;
use admin::client::Client;
use admin::resp::Value;
use protocol::reply::write_command;

/// Replies are read when so many commands have been sent.
const WINDOW: usize = 500;
/// Or so many bytes.
const WINDOW_BYTES: usize = 1 << 20;

/// A pipeline into one server.
pub struct Script<'s> {
    server: &'s Server,
    client: Client,
    batch: Vec<u8>,
    commands: usize,
    window: usize,
    /// The same sequence in each run.
    pub rng: fastrand::Rng,
}

impl<'s> Script<'s> {
    pub fn new(server: &'s Server) -> Result<Script<'s>, BenchError> {
        let rng = fastrand::Rng::with_seed(7);
        Ok(Script { server, client: server.client()?, batch: Vec::new(), commands: 0, window: WINDOW, rng })
    }

    /// Sends at most this many commands before their replies are read.
    pub fn set_window(&mut self, window: usize) {
        self.window = window;
    }

    /// Adds a command.
    pub fn send<T: AsRef<[u8]>>(&mut self, args: &[T]) -> Result<(), BenchError> {
        write_command(&mut self.batch, args.iter().map(AsRef::as_ref));
        self.commands += 1;
        if self.commands >= self.window || self.batch.len() >= WINDOW_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Adds a command of words, parted by blanks.
    pub fn words(&mut self, words: &str) -> Result<(), BenchError> {
        self.send(&words.split(' ').collect::<Vec<_>>())
    }

    /// Sends what is left and reads all replies; an error among them is one.
    pub fn flush(&mut self) -> Result<(), BenchError> {
        let commands = std::mem::take(&mut self.commands);
        let replies =
            self.client.pipeline(&self.batch, commands).map_err(BenchError::client(&self.server.name))?;
        self.batch.clear();
        match replies.iter().find(|reply| matches!(reply, Value::Error(_))) {
            Some(Value::Error(text)) => Err(BenchError::Failed(format!("{}: {text}", self.server.name))),
            _ => Ok(()),
        }
    }
}
