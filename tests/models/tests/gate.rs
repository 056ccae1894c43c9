//! The world at rest, and the threads that are not to be at work meanwhile.

use balas_models::gate::Gate;
use balas_models::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering::Relaxed, Patience, with_patience};
use balas_models::{Seen, check};
use loom::thread;

/// A keyspace with no lock but the gate. All is relaxed: only the gate makes one thread see what others did.
#[derive(Default)]
struct Slots {
    at_work: AtomicU64,
    writes: AtomicU64,
}

impl Slots {
    fn work(&self) {
        self.at_work.fetch_add(1, Relaxed);
        self.writes.fetch_add(1, Relaxed);
        self.at_work.fetch_sub(1, Relaxed);
    }

    /// Returns how many writes there have been.
    fn assert_at_rest(&self) -> u64 {
        assert_eq!(self.at_work.load(Relaxed), 0, "somebody is at work");
        let writes = self.writes.load(Relaxed);
        // Others have their chance here.
        thread::yield_now();
        assert_eq!(self.at_work.load(Relaxed), 0, "somebody slipped in");
        assert_eq!(self.writes.load(Relaxed), writes, "somebody wrote");
        writes
    }
}

struct Node {
    gate: Gate,
    slots: Slots,
}

impl Node {
    fn new(threads: usize) -> Arc<Node> {
        Arc::new(Node { gate: Gate::new(threads), slots: Slots::default() })
    }

    fn batch(&self, thread: usize) {
        let mut cell = self.gate.enter(thread);
        self.slots.work();
        cell.batches += 1;
    }

    /// Returns how many writes there were by then.
    fn rest(&self) -> u64 {
        let world = self.gate.stop_world();
        let writes = self.slots.assert_at_rest();
        assert_eq!(world.threads.iter().map(|state| state.batches).sum::<u64>(), writes);
        writes
    }
}

/// Runs `f` on a thread of its own.
fn start(node: &Arc<Node>, f: impl FnOnce(&Node) + 'static) -> thread::JoinHandle<()> {
    let node = node.clone();
    thread::spawn(move || f(&node))
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("a panic is loom's to report"));
}

fn with_any_patience(model: impl Fn() + Clone + Send + Sync + 'static) {
    for patience in [Patience::Endless, Patience::None] {
        println!("{patience:?}:");
        with_patience(patience, || check(model.clone()));
    }
}

#[test]
fn nobody_works_while_the_world_is_at_rest() {
    let (before, between, after) = (Seen::default(), Seen::default(), Seen::default());
    let seen = (before.clone(), between.clone(), after.clone());
    with_any_patience(move || {
        let node = Node::new(2);
        let others =
            [start(&node, |node| (0..2).for_each(|_| node.batch(0))), start(&node, |node| node.batch(1))];
        match node.rest() {
            0 => seen.0.note(),
            3 => seen.2.note(),
            _ => seen.1.note(),
        }
        join(others);
        assert_eq!(node.rest(), 3);
    });
    assert!(before.is_any() && between.is_any() && after.is_any());
}

#[test]
fn threads_that_stop_the_world_exclude_each_other() {
    with_any_patience(|| {
        let node = Node::new(2);
        // As a command does that needs the world: out of the cell, and back into it.
        let command = |node: &Node, thread| {
            node.batch(thread);
            {
                let _world = node.gate.stop_world();
                node.slots.assert_at_rest();
                node.slots.work();
            }
            node.batch(thread);
        };
        let other = start(&node, move |node| command(node, 0));
        command(&node, 1);
        join([other]);
        assert_eq!(node.slots.assert_at_rest(), 6);
    });
}

#[test]
fn background_work_is_not_at_work_while_the_world_is_at_rest() {
    with_any_patience(|| {
        let node = Node::new(1);
        let background = start(&node, |node| {
            let _no_world_at_rest = node.gate.enter_background();
            node.slots.work();
        });
        let batch = start(&node, |node| node.batch(0));
        {
            let _world = node.gate.stop_world();
            node.slots.assert_at_rest();
        }
        join([background, batch]);
        assert_eq!(node.slots.assert_at_rest(), 2);
    });
}

/// A thread is in a script that does not end before another thread has served a client.
#[test]
fn who_wants_the_world_lets_others_work_until_it_can_have_it() {
    let (in_vain, tried) = (Seen::default(), Seen::default());
    let seen = (in_vain.clone(), tried.clone());
    with_patience(Patience::None, || {
        check(move || {
            let node = Node::new(2);
            let served = Arc::new((Mutex::new(false), Condvar::new()));
            let waits_for = served.clone();
            let script = start(&node, move |node| {
                let _cell = node.gate.enter(1);
                let mut served = waits_for.0.lock();
                while !*served {
                    waits_for.1.wait(&mut served);
                }
            });
            let client = start(&node, move |node| {
                node.batch(0);
                *served.0.lock() = true;
                served.1.notify_all();
            });
            match node.gate.try_stop_world() {
                None => seen.0.note(),
                Some(_) => seen.1.note(),
            }
            assert!(node.rest() <= 1);
            join([script, client]);
        });
    });
    assert!(in_vain.is_any() && tried.is_any());
}
