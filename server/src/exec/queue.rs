//! The commands that MULTI queues, one behind the other in a few buffers, so that queueing one allocates nothing.
//!
//! ```text
//!  commands ─▶ SET  slot 15495 │ GET  slot 3300 │ …    and where the arguments of each begin, and their bytes:
//!  ranges   ─▶ 0..3 9..10 16..17 │ 0..3 9..10 │ …      counted from the beginning of the command's own bytes
//!  bytes    ─▶ SET␍␊$1␍␊a␍␊$1␍␊1 │ GET␍␊$1␍␊b │ …      as they came, with what lay between the arguments
//! ```

use super::dispatch::Target;
use super::table::Command;
use protocol::Argv;
use protocol::args::Range;

/// Commands in the order in which they came.
#[derive(Default)]
pub struct Queue {
    commands: Vec<Entry>,
    ranges: Vec<Range>,
    bytes: Vec<u8>,
}

struct Entry {
    command: &'static Command,
    bytes_at: usize,
    ranges_at: usize,
    argc: u32,
    target: Target,
}

/// A command of a [`Queue`].
#[derive(Clone, Copy)]
pub struct Queued<'a> {
    pub command: &'static Command,
    pub argv: Argv<'a>,
    pub target: Target,
}

impl Queue {
    pub fn push(&mut self, command: &'static Command, argv: Argv<'_>, target: Target) {
        let (bytes_at, ranges_at) = (self.bytes.len(), self.ranges.len());
        argv.append_to(&mut self.bytes, &mut self.ranges);
        let argc = (self.ranges.len() - ranges_at) as u32;
        self.commands.push(Entry { command, bytes_at, ranges_at, argc, target });
    }

    pub fn iter(&self) -> impl Iterator<Item = Queued<'_>> {
        self.commands.iter().map(|entry| {
            let ranges = &self.ranges[entry.ranges_at..][..entry.argc as usize];
            let argv = Argv::new(&self.bytes[entry.bytes_at..], ranges);
            Queued { command: entry.command, argv, target: entry.target }
        })
    }

    pub fn len(&self) -> usize {
        self.commands.len()
    }

    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Takes all commands out; the memory stays, for the next ones.
    pub fn clear(&mut self) {
        self.commands.clear();
        self.ranges.clear();
        self.bytes.clear();
    }

    /// Heap bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.commands.capacity() * size_of::<Entry>()
            + self.ranges.capacity() * size_of::<Range>()
            + self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::table::table;
    use protocol::{ArgVec, Slot};

    fn push(queue: &mut Queue, args: &[&[u8]]) {
        let command = table().find(args[0]).unwrap();
        let args: ArgVec = args.iter().copied().collect();
        let target =
            if command.one_key_first { Target::One(Slot::of(args.as_argv().get(1))) } else { Target::Keys };
        queue.push(command, args.as_argv(), target);
    }

    fn commands(queue: &Queue) -> Vec<Vec<Vec<u8>>> {
        queue.iter().map(|queued| queued.argv.iter().map(<[u8]>::to_vec).collect()).collect()
    }

    #[test]
    fn what_went_in_comes_out_in_its_order() {
        let mut queue = Queue::default();
        let long = vec![b'x'; 100_000];
        let all: [&[&[u8]]; 4] =
            [&[b"set", b"k", b""], &[b"ping"], &[b"mset", b"a", &long, b"b", b"2"], &[b"get", b""]];
        for args in all {
            push(&mut queue, args);
        }
        let expected: Vec<Vec<Vec<u8>>> =
            all.iter().map(|args| args.iter().map(|arg| arg.to_vec()).collect()).collect();
        assert_eq!((commands(&queue), queue.len()), (expected, 4));
        let names: Vec<&str> = queue.iter().map(|queued| queued.command.spec.name).collect();
        assert_eq!(names, ["set", "ping", "mset", "get"]);
        assert!(queue.memory_bytes() >= long.len());
    }

    #[test]
    fn arguments_keep_their_places_in_a_buffer_that_holds_more() {
        let buf = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$2\r\nbc\r\n";
        let get = table().find(b"get").unwrap();
        let mut queue = Queue::default();
        for ranges in [[(8, 11), (17, 18)], [(28, 31), (37, 39)]] {
            let argv = Argv::new(buf, &ranges);
            queue.push(get, argv, Target::One(Slot::of(argv.get(1))));
        }
        let words = |args: [&str; 2]| args.map(|arg| arg.as_bytes().to_vec()).to_vec();
        assert_eq!(commands(&queue), [words(["GET", "a"]), words(["GET", "bc"])]);
    }

    #[test]
    fn one_that_was_cleared_begins_anew() {
        let mut queue = Queue::default();
        push(&mut queue, &[b"set", b"k", b"v"]);
        queue.clear();
        assert!(queue.is_empty() && queue.memory_bytes() > 0);
        push(&mut queue, &[b"get", b"other"]);
        assert_eq!(commands(&queue), [[b"get".to_vec(), b"other".to_vec()]]);
    }
}
