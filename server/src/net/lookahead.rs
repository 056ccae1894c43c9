//! Reading a pipeline ahead of its execution, so that the memory of its keys is on its way when they are looked up.

use keyspace::Db;
use keyspace::hash::hash;
use protocol::request::{Limits, Progress, Step};
use protocol::{Argv, Slot};

/// Commands read ahead at most: about as many misses as a core can have under way.
const DEPTH: usize = 16;
/// Ranges kept for the next command in the same place.
const KEPT_RANGES: usize = 64;

/// Whole commands at the front of the input that have not run yet.
#[derive(Default)]
pub struct Lookahead {
    commands: Vec<Foreseen>,
    next: usize,
    len: usize,
}

/// A command that was read ahead.
#[derive(Default)]
pub struct Foreseen {
    pub consumed: usize,
    progress: Progress,
    /// Of the first argument, if there is one.
    pub slot: Option<Slot>,
    /// Of the first argument, where it looks like a key whose memory is not asked for yet.
    hash: Option<u64>,
}

impl Foreseen {
    /// The arguments, if `data` begins with the command.
    #[inline]
    pub fn argv<'a>(&'a self, data: &'a [u8]) -> Argv<'a> {
        Argv::new(data, &self.progress.ranges)
    }
}

impl Lookahead {
    /// The next command that was read ahead. A caller that cannot run it calls [`Lookahead::clear`] before it goes on.
    #[inline]
    pub fn pop(&mut self) -> Option<&Foreseen> {
        let command = self.commands[..self.len].get(self.next)?;
        self.next += 1;
        Some(command)
    }

    /// Forgets what has not run: it will be read again.
    #[inline]
    pub fn clear(&mut self) {
        (self.next, self.len) = (0, 0);
    }

    /// Reads commands at the front of `data` as far as they are whole, none of which was read yet. Anything else than a
    /// whole command is left for later.
    pub fn fill(&mut self, data: &[u8], limits: &Limits, db: Option<&Db>) {
        self.clear();
        let mut at = 0;
        while self.len < DEPTH {
            if self.commands.len() == self.len {
                self.commands.push(Foreseen::default());
            }
            let command = &mut self.commands[self.len];
            command.progress.reset();
            if command.progress.ranges.capacity() > KEPT_RANGES {
                command.progress.ranges = Vec::new();
            }
            let Ok(Step::Command { consumed }) = command.progress.advance(&data[at..], limits) else { break };
            (command.consumed, command.slot, command.hash) = (consumed, None, None);
            at += consumed;
            self.len += 1;
        }
        if self.len > 1
            && let Some(db) = db
        {
            self.prefetch(data, db);
        }
    }

    /// Asks for the memory of the first argument of each command, in case it is a key.
    fn prefetch(&mut self, data: &[u8], db: &Db) {
        let commands = &mut self.commands[..self.len];
        let (mut at, mut last) = (0, None);
        for command in commands.iter_mut() {
            if let [_, (start, end), ..] = command.progress.ranges[..] {
                let key = &data[at + start as usize..at + end as usize];
                let slot = Slot::of(key);
                command.slot = Some(slot);
                // Many commands on one key find it in the cache.
                if last != Some(slot) {
                    command.hash = Some(hash(key));
                    db.prefetch_slot(slot);
                }
                last = Some(slot);
            }
            at += command.consumed;
        }
        let keys = || commands.iter().filter_map(|command| Some((command.slot?, command.hash?)));
        keys().for_each(|(slot, hash)| db.prefetch_bucket(slot, hash));
        keys().for_each(|(slot, hash)| db.prefetch_entry(slot, hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bulk_max: 1000, unauthenticated: false };

    /// The arguments of what was read ahead, and how many bytes that was.
    fn read_ahead(data: &[u8]) -> (Vec<Vec<Vec<u8>>>, usize) {
        let keyspace = keyspace::Keyspace::new(1);
        let mut ahead = Lookahead::default();
        ahead.fill(data, &LIMITS, keyspace.db(0));
        let (mut commands, mut at) = (Vec::new(), 0);
        while let Some(command) = ahead.pop() {
            let argv = command.argv(&data[at..]);
            assert!(command.slot.is_none_or(|slot| slot == Slot::of(argv.get(1))));
            commands.push(argv.iter().map(<[u8]>::to_vec).collect());
            at += command.consumed;
        }
        (commands, at)
    }

    fn encode(args: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        protocol::reply::write_command(&mut out, args.iter().map(|arg| arg.as_bytes()));
        out
    }

    #[test]
    fn whole_commands_come_in_their_order() {
        let data = [encode(&["PING"]), encode(&["SET", "a", ""]), encode(&["GET", "a"])].concat();
        let (commands, used) = read_ahead(&data);
        let texts: Vec<Vec<&str>> = vec![vec!["PING"], vec!["SET", "a", ""], vec!["GET", "a"]];
        let texts: Vec<Vec<Vec<u8>>> =
            texts.iter().map(|args| args.iter().map(|arg| arg.as_bytes().to_vec()).collect()).collect();
        assert_eq!((commands, used), (texts, data.len()));
    }

    #[test]
    fn what_is_not_a_whole_command_is_left() {
        let whole = encode(&["GET", "key"]);
        let others: [&[u8]; 5] =
            [b"", b"*2\r\n$3\r\nGET\r\n$3\r\nke", b"PING\r\n", b"*1\r\n$1001\r\n", b"*x\r\n"];
        for other in others {
            let (commands, used) = read_ahead(&[&whole, other].concat());
            assert_eq!((commands.len(), used), (1, whole.len()), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn no_more_than_so_many_at_once() {
        let data = encode(&["GET", "key"]).repeat(DEPTH + 3);
        assert_eq!(read_ahead(&data).0.len(), DEPTH);
    }
}
