//! What a command leaves behind besides its reply: how much it changed, and the write log's version of it.

use crate::pubsub::Delivery;
use crate::write_log::{Audience, WriteLog};
use protocol::Argv;
use protocol::reply::write_command;
use std::collections::VecDeque;
use std::ops::Range;

/// The buffer of the stream is not kept beyond this size.
const KEPT_BYTES: usize = 64 * 1024;

/// The effects of one command, or of one transaction. A thread has one of these for all its commands, each of
/// which leaves it empty.
#[derive(Default)]
pub struct Effects {
    /// Changes made: stock's "dirty" counter, which save points and propagation go by.
    pub dirty: u64,
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    /// Commands to be logged, encoded.
    stream: Vec<u8>,
    /// Ranges of `stream` that are not for all who read the log.
    parts: Vec<(Range<usize>, Audience)>,
    /// Whom commands are for from here on.
    pub audience: Audience,
    /// How many commands `stream` holds.
    commands: usize,
    /// The database the commands so far began and ended in.
    databases: Option<(usize, usize)>,
    /// The command said itself what is to be logged.
    rewritten: bool,
    /// Somebody reads the log. Otherwise nothing is encoded.
    pub logged: bool,
    /// Messages published, to be sent off before the slots are let go: so those about a key keep their order.
    pub deliveries: Vec<Delivery>,
    /// What clients that cache are to be told, likewise.
    pub tracked: crate::tracking::Changes,
    /// Keys that have changed and that clients wait for, by database, in the order in which they changed: these
    /// clients are served when the command is done ([`super::serve`]).
    pub ready: VecDeque<(usize, Box<[u8]>)>,
}

impl Effects {
    /// Makes ready for the next command.
    #[inline]
    pub fn begin(&mut self, logged: bool) {
        debug_assert!(self.stream.is_empty() && self.deliveries.is_empty() && self.ready.is_empty());
        (self.dirty, self.hits, self.misses, self.expired) = (0, 0, 0, 0);
        self.logged = logged;
        self.rewritten = false;
    }

    /// Logs `args` in place of the command as it was sent. May be called several times.
    pub fn rewrite(&mut self, db: usize, args: &[&[u8]]) {
        self.rewritten = true;
        self.also(db, args);
    }

    /// Logs `args`, a command on database `db`, before the command itself.
    pub fn also(&mut self, db: usize, args: &[&[u8]]) {
        self.push(db, args.iter().copied());
    }

    /// The command is not to be logged, whatever it changed.
    pub fn keep_out_of_log(&mut self) {
        self.rewritten = true;
    }

    /// Forgets all that was to be logged: the process ends, and what was done is lost with it.
    pub fn discard(&mut self) {
        self.stream.clear();
        self.parts.clear();
        self.commands = 0;
        self.databases = None;
        self.rewritten = true;
    }

    /// The log has become our master's stream: what has been done so far, and what is done from here on, is not in it.
    pub fn stop_logging(&mut self) {
        self.discard();
        self.logged = false;
    }

    /// Ends one command: logs it as sent when it changed something and has not said otherwise.
    #[inline]
    pub fn finish_command(&mut self, db: usize, argv: Argv<'_>, changed: bool) {
        if changed && !self.rewritten {
            self.push(db, argv.iter());
        }
        self.rewritten = false;
    }

    fn push<'a>(&mut self, db: usize, args: impl ExactSizeIterator<Item = &'a [u8]>) {
        if !self.logged {
            return;
        }
        let (first, last) = self.databases.unwrap_or((db, db));
        if last != db {
            write_command(&mut self.stream, [&b"SELECT"[..], db.to_string().as_bytes()].into_iter());
        }
        self.databases = Some((first, db));
        let start = self.stream.len();
        write_command(&mut self.stream, args);
        if self.audience != Audience::All {
            self.parts.push((start..self.stream.len(), self.audience));
        }
        self.commands += 1;
    }

    /// Appends everything to the log; several commands are one transaction. Returns the offset after it.
    #[inline]
    pub fn append_to(&mut self, log: &WriteLog) -> Option<u64> {
        let (first, last) = self.databases.take()?;
        Some(self.append(log, first, last))
    }

    fn append(&mut self, log: &WriteLog, first: usize, last: usize) -> u64 {
        let commands = std::mem::take(&mut self.commands);
        let is_unit = commands != 1 || first != last;
        let end = match () {
            () if !self.parts.is_empty() => {
                let end = log.append_parts((first, last), is_unit, &self.stream, &self.parts);
                self.parts.clear();
                end
            }
            () if is_unit => log.append_transaction(first, last, &self.stream),
            () => log.append(first, first, &self.stream),
        };
        self.stream.clear();
        if self.stream.capacity() > KEPT_BYTES {
            self.stream = Vec::new();
        }
        end
    }
}
