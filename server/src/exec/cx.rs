//! What a handler is given: the client, the locked keys, the reply, and the server around them.

use super::dispatch::Batch;
use super::keys::Keys;
use super::session::Session;
use super::table::Command;
use crate::clients::ClientType;
use crate::config::Settings;
use crate::net::{IoState, SMALL_REPLIES_BYTES};
use crate::server::Server;
use crate::stats::ThreadStats;
use protocol::{Argv, Reply};
use std::sync::Arc;
use std::time::Instant;

/// The world at rest, for commands that asked for it ([`super::spec::Flags::EXCLUSIVE`]).
pub trait AtRest {
    /// Every IO thread's connections, by thread.
    fn threads(&mut self) -> Vec<&mut IoState>;
}

impl AtRest for crate::gate::World<'_> {
    fn threads(&mut self) -> Vec<&mut IoState> {
        self.threads.iter_mut().map(|guard| &mut **guard).collect()
    }
}

/// Serves clients while a script takes its time.
pub trait Attendant {
    /// Reads what clients have sent meanwhile and answers it: `world` when that is at rest for the script.
    fn attend(&mut self, world: Option<&mut dyn AtRest>);
}

/// Everything a command may use.
pub struct Cx<'a> {
    pub server: &'a Arc<Server>,
    pub settings: &'a Settings,
    pub batch: &'a Batch,
    pub stats: &'a ThreadStats,
    /// The time the command sees, frozen: milliseconds since the Unix epoch.
    pub now_ms: i64,
    pub session: &'a mut Session,
    pub keys: Keys<'a>,
    pub reply: Reply<'a>,
    pub command: &'static Command,
    pub argv: Argv<'a>,
    /// `Some` exactly while the world is at rest for this command.
    pub world: Option<&'a mut (dyn AtRest + 'a)>,
    /// The client has to wait; the reply comes later.
    pub wait: Option<Wait>,
    /// Runs inside EXEC or a script: must not wait.
    pub in_transaction: bool,
    /// The command has waited and is run again, because one of its keys may be ready.
    pub is_retry: bool,
    /// Is called by a script.
    pub in_script: bool,
    /// What TIME has told the script, to which the clock stands still.
    pub script_time_us: Option<i64>,
    /// When a command that times others has just done so, as its last act: it need not be done again.
    pub looked_at_clock: Option<Instant>,
    /// Who serves clients while a script takes its time; only there for commands that run scripts.
    pub attendant: Option<&'a mut (dyn Attendant + 'a)>,
}

/// What a client waits for.
pub enum Wait {
    /// That `replicas` replicas have acknowledged the write log up to `offset`.
    Replicas { replicas: usize, offset: u64, deadline_ms: Option<i64>, disks: Option<Disks> },
    /// That writes may go on; then the command is run as if it had just arrived.
    Unpaused,
    /// That the world is at rest; then the command is run again. Nothing has happened yet.
    World,
    /// For the keys of the session's [`Waiter`](crate::blocking::Waiter): whoever makes one ready runs the command
    /// and posts the reply.
    Keys,
}

/// WAITAOF: what counts is what is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disks {
    /// Our own has to have it too.
    pub own: bool,
}

impl Cx<'_> {
    /// Moves the client to another database.
    pub fn select(&mut self, db: usize) {
        self.session.db = db;
        self.keys.db = db;
    }

    /// Whether the command may wait: in a transaction, or for somebody who is obeyed, nothing may.
    pub fn may_wait(&self) -> bool {
        !self.in_transaction && !self.session.is_obeyed()
    }

    /// Replies longer than this are not sent: the client is closed in their place, so nobody need go on making them.
    pub fn reply_bytes_max(&self) -> usize {
        let limit_bytes = ClientType::of(self.session).output_limit(self.settings).hard_bytes;
        match limit_bytes {
            0 => usize::MAX,
            _ if self.in_script || self.session.is_obeyed() => usize::MAX,
            bytes => (bytes as usize).max(SMALL_REPLIES_BYTES),
        }
    }

    /// The command's full name, as error texts quote it.
    pub fn name(&self) -> &'static str {
        &self.command.full_name
    }
}
