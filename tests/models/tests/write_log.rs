//! One log of all writes, its writers and its readers.

use balas_models::gate::Gate;
use balas_models::sync::{Arc, Mutex};
use balas_models::write_log::{Cursor, Lost, WriteLog};
use balas_models::{Seen, check};
use loom::thread::{self, JoinHandle};
use std::time::Duration;

const BACKLOG_BYTES: u64 = 1 << 20;
/// Limits of waits are not reached in a model.
const FOREVER: Duration = Duration::MAX;
/// How the stream begins: with its first write it says which database it is in.
const SELECT_0: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";

/// A node with one slot, whose value is what was written to it.
struct Node {
    log: WriteLog,
    slot: Mutex<String>,
    gate: Gate,
}

impl Node {
    fn new(backlog_bytes: u64) -> Arc<Node> {
        let node = Node { log: WriteLog::new(backlog_bytes), slot: Mutex::default(), gate: Gate::new(2) };
        Arc::new(node)
    }

    /// A write command: takes effect and is logged under the slot's lock. Returns the offset after it.
    fn write(&self, what: char) -> u64 {
        let mut slot = self.slot.lock();
        slot.push(what);
        self.log.append(0, 0, what.to_string().as_bytes())
    }

    /// As an IO thread does that does not know whether somebody reads the log.
    fn write_if_read(&self, thread: usize, what: char) {
        let _cell = self.gate.enter(thread);
        let mut slot = self.slot.lock();
        slot.push(what);
        if self.log.is_active() {
            self.log.append_stream(what.to_string().as_bytes());
        }
    }

    /// Reads all there is, in pieces of so many bytes.
    fn read(&self, cursor: &Cursor, piece_bytes: usize) -> String {
        let mut out = Vec::new();
        while self.log.read(cursor, piece_bytes, &mut out).expect("nothing that is needed is dropped") > 0 {}
        String::from_utf8(out).expect("what was written is text")
    }

    /// Reads from the beginning until it has so many bytes, sleeping while there is nothing. Who is never woken waits
    /// forever, and loom reports that.
    fn follow(&self, len: usize) -> String {
        let cursor = self.log.cursor_at(0).expect("the log reaches back to its beginning");
        let mut text = String::new();
        while text.len() < len {
            let more = self.read(&cursor, usize::MAX >> 1);
            if more.is_empty() {
                self.log.wait_for_growth(cursor.get(), FOREVER);
            }
            text += &more;
        }
        text
    }
}

fn start<R: 'static>(node: &Arc<Node>, f: impl FnOnce(&Node) -> R + 'static) -> JoinHandle<R> {
    let node = node.clone();
    thread::spawn(move || f(&node))
}

fn join<R>(thread: JoinHandle<R>) -> R {
    thread.join().expect("a panic is loom's to report")
}

#[test]
fn the_log_has_a_slots_writes_in_the_order_of_their_effects() {
    let (a_first, b_first) = (Seen::default(), Seen::default());
    let seen = (a_first.clone(), b_first.clone());
    check(move || {
        let node = Node::new(BACKLOG_BYTES);
        let writers =
            ['a', 'b'].map(|letter| start(&node, move |node| [node.write(letter), node.write(letter)]));
        let cursor = node.log.cursor_at(0).unwrap();
        let early = node.read(&cursor, 3);
        let [a, b] = writers.map(join);
        let effects = node.slot.lock().clone();
        assert_eq!(early + &node.read(&cursor, 3), format!("{SELECT_0}{effects}"));
        // Each was told where its write ends.
        for (letter, ends) in [(b'a', a), (b'b', b)] {
            let told = ends.map(|end| effects.as_bytes()[end as usize - SELECT_0.len() - 1]);
            assert_eq!(told, [letter; 2]);
            assert!(ends[0] < ends[1]);
        }
        if effects.starts_with('a') { seen.0.note() } else { seen.1.note() }
    });
    assert!(a_first.is_any() && b_first.is_any());
}

#[test]
fn what_is_one_unit_stays_together() {
    const MULTI: &str = "*1\r\n$5\r\nMULTI\r\n";
    const EXEC: &str = "*1\r\n$4\r\nEXEC\r\n";
    let (transaction_first, write_first) = (Seen::default(), Seen::default());
    let seen = (transaction_first.clone(), write_first.clone());
    check(move || {
        let node = Node::new(BACKLOG_BYTES);
        let transaction = start(&node, |node| node.log.append_transaction(0, 1, b"tt"));
        node.log.append(0, 0, b"w");
        join(transaction);
        let text = node.read(&node.log.cursor_at(0).unwrap(), 7);
        // The transaction ends in another database, so whatever follows says where it is.
        let (first, second) =
            (format!("{MULTI}{SELECT_0}tt{EXEC}{SELECT_0}w"), format!("{SELECT_0}w{MULTI}tt{EXEC}"));
        assert!(text == first || text == second, "{text:?}");
        if text == first { seen.0.note() } else { seen.1.note() }
    });
    assert!(transaction_first.is_any() && write_first.is_any());
}

#[test]
fn readers_see_the_same_and_are_always_woken() {
    check(|| {
        let node = Node::new(BACKLOG_BYTES);
        let len = SELECT_0.len() + 2;
        let readers = [(); 2].map(|()| start(&node, move |node| node.follow(len)));
        node.write('a');
        node.write('b');
        for reader in readers {
            assert_eq!(join(reader), format!("{SELECT_0}ab"));
        }
    });
}

#[test]
fn the_end_that_is_told_does_not_fall_and_can_be_read_up_to() {
    let (early, late) = (Seen::default(), Seen::default());
    let seen = (early.clone(), late.clone());
    check(move || {
        let node = Node::new(BACKLOG_BYTES);
        let cursor = node.log.cursor_at(0).unwrap();
        let writers =
            ["a", "b"].map(|text| start(&node, move |node| node.log.append_stream(text.as_bytes())));
        let first = node.log.end();
        let second = node.log.end();
        assert!(first <= second, "{second} after {first}");
        let read = node.read(&cursor, 1);
        assert!(read.len() as u64 >= second, "{} bytes of {second}", read.len());
        if second == 0 {
            seen.0.note()
        } else {
            seen.1.note()
        }
        let ends = writers.map(join);
        assert!(ends == [1, 2] || ends == [2, 1], "{ends:?}");
        let all = read + &node.read(&cursor, 1);
        assert!(all == "ab" || all == "ba", "{all}");
    });
    assert!(early.is_any() && late.is_any());
}

#[test]
fn what_a_reader_needs_is_not_dropped() {
    /// A chunk's bytes, at the smallest.
    const PIECE_BYTES: usize = 16 * 1024;
    let (lost, held) = (Seen::default(), Seen::default());
    let seen = (lost.clone(), held.clone());
    check(move || {
        let node = Node::new(0);
        let early = node.log.cursor_at(0).unwrap();
        let writer = start(&node, |node| {
            for letter in [b'a', b'b', b'c', b'd'] {
                node.log.append_stream(&[letter; PIECE_BYTES]);
            }
        });
        // Another comes when it is too late, perhaps.
        let late = start(&node, |node| match node.log.cursor_at(PIECE_BYTES as u64) {
            Ok(cursor) => {
                let text = node.read(&cursor, usize::MAX >> 1);
                assert!(text.is_empty() || text.starts_with('b'));
                true
            }
            Err(Lost) => false,
        });
        let mut text = node.read(&early, PIECE_BYTES);
        join(writer);
        text += &node.read(&early, PIECE_BYTES);
        let order: Vec<u8> = text.bytes().step_by(PIECE_BYTES).collect();
        assert_eq!((order.as_slice(), text.len()), (&b"abcd"[..], 4 * PIECE_BYTES));
        if join(late) {
            seen.1.note()
        } else {
            seen.0.note()
        }
        // Now nobody needs it.
        drop(early);
        node.log.trim();
        assert!(node.log.held_bytes() <= 2 * PIECE_BYTES as u64);
    });
    assert!(lost.is_any() && held.is_any());
}

/// A full sync, or the first AOF: a copy of the value, and from there the log.
#[test]
fn who_begins_to_read_with_the_world_at_rest_misses_nothing() {
    let (none, some) = (Seen::default(), Seen::default());
    let seen = (none.clone(), some.clone());
    check(move || {
        let node = Node::new(BACKLOG_BYTES);
        let writers = [(0, 'a'), (1, 'b')]
            .map(|(thread, what)| start(&node, move |node| node.write_if_read(thread, what)));
        let (mut copy, cursor) = {
            let _world = node.gate.stop_world();
            node.log.set_active(true);
            let cursor = node.log.cursor_at(node.log.end()).unwrap();
            (node.slot.lock().clone(), cursor)
        };
        if copy.is_empty() {
            seen.0.note()
        } else {
            seen.1.note()
        }
        writers.into_iter().for_each(join);
        copy += &node.read(&cursor, 1);
        assert_eq!(copy, *node.slot.lock());
    });
    assert!(none.is_any() && some.is_any());
}

/// A replica that had a full sync: its AOF's thread may be asleep at the end of the old history.
#[test]
fn who_waits_is_woken_when_another_history_begins() {
    check(|| {
        let node = Node::new(BACKLOG_BYTES);
        let cursor = node.log.cursor_at(0).unwrap();
        let reader = start(&node, move |node| {
            while cursor.get() != 7 {
                node.log.wait_for_growth(0, FOREVER);
            }
        });
        node.log.restart_at(7);
        join(reader);
    });
}
