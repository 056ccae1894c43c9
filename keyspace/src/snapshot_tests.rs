use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use super::*;
use crate::entry::{NewValue, ValueRef};

type Held = HashMap<(usize, Vec<u8>), (Vec<u8>, Option<i64>)>;

#[derive(Default)]
struct Collector {
    held: Mutex<Held>,
}

impl SlotSaver for Collector {
    fn save(&self, db: usize, slot: Slot, entries: &mut dyn Iterator<Item = &Entry>) {
        let mut held = self.held.lock();
        for entry in entries {
            assert_eq!(Slot::of(entry.key()), slot);
            let known = held.insert((db, entry.key().to_vec()), value_of(entry));
            assert!(known.is_none(), "saved twice: {entry:?}");
        }
    }
}

fn value_of(entry: &Entry) -> (Vec<u8>, Option<i64>) {
    let text = match entry.value() {
        ValueRef::Int(n) => n.to_string().into_bytes(),
        ValueRef::Bytes(bytes) => bytes.to_vec(),
        ValueRef::Object(object) => format!("{object:?}").into_bytes(),
    };
    (text, entry.expire_at_ms())
}

fn all_of(keyspace: &Keyspace) -> Held {
    let mut held = Held::new();
    for db in keyspace.dbs() {
        for slot in Slot::all().filter(|&slot| db.key_count(slot) > 0) {
            let guard = db.lock(slot);
            held.extend(guard.iter().map(|entry| ((db.index(), entry.key().to_vec()), value_of(entry))));
        }
    }
    held
}

/// One of two databases, and a key: every other one is in a slot that is large enough to be saved in steps.
fn place(rng: &mut fastrand::Rng) -> (usize, Vec<u8>) {
    let n = rng.u32(..6_000);
    let key = if rng.bool() { format!("{{large}}{n}") } else { format!("key:{n}") };
    (rng.usize(..2), key.into_bytes())
}

fn write_once(keyspace: &Keyspace, rng: &mut fastrand::Rng) {
    let (db, key) = place(rng);
    let (db, slot) = (keyspace.db(db).unwrap(), Slot::of(&key));
    let at_ms = rng.bool().then(|| rng.i64(..));
    match rng.u8(..8) {
        0 => {
            // As lazy expiry does.
            let mut guard = db.lock(slot);
            guard.ensure_saved();
            guard.remove(&key);
        }
        1 | 2 => drop(db.lock_write(slot).remove(&key)),
        3 => drop(db.lock_write(slot).set_expire(&key, at_ms)),
        4 => {
            if let Some(mut entry) = db.lock_write(slot).get_mut(&key) {
                entry.string_mut(|text| text.resize(rng.usize(..1_500), b'x'));
            }
        }
        _ => {
            let value = rng.u64(..).to_le_bytes();
            db.lock_write(slot).upsert(&key, NewValue::Str(&value), at_ms);
        }
    }
}

fn filled(seed: u64) -> Keyspace {
    let keyspace = Keyspace::new(3);
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..40_000 {
        write_once(&keyspace, &mut rng);
    }
    assert!(keyspace.db(0).unwrap().key_count(Slot::of(b"{large}")) > LARGE);
    keyspace
}

/// Lets the writers end, also when an assertion fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_snapshot_is_the_state_at_its_beginning() {
    let keyspace = filled(1);
    // Writers hold it shared for each command, as IO threads do their gate; the beginning holds it alone.
    let gate = RwLock::new(());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = StopOnDrop(&is_over);
        for seed in 0..4 {
            let (keyspace, gate, is_over) = (&keyspace, &gate, &is_over);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                while !is_over.load(Relaxed) {
                    let _gate = gate.read();
                    write_once(keyspace, &mut rng);
                }
            });
        }
        for round in 0..6 {
            let collector = Arc::new(Collector::default());
            let (expected, id) = {
                let _gate = gate.write();
                (all_of(&keyspace), keyspace.begin_snapshot(collector.clone()).unwrap())
            };
            assert!(keyspace.begin_snapshot(collector.clone()).is_none(), "one at a time");
            assert!(keyspace.walk_snapshot(id, || {
                std::thread::yield_now();
                ControlFlow::Continue(())
            }));
            let held = collector.held.lock();
            assert_eq!(held.len(), expected.len(), "round {round}");
            assert!(*held == expected, "round {round}: a value differs");
            keyspace.end_snapshot(id);
        }
        drop(stop);
    });
    assert!(!keyspace.is_snapshot_running());
}

#[test]
fn flush_and_swap_while_a_snapshot_runs() {
    let keyspace = filled(2);
    let expected = all_of(&keyspace);
    let collector = Arc::new(Collector::default());
    let id = keyspace.begin_snapshot(collector.clone()).unwrap();
    // A few steps, so that some slots are saved and a large one perhaps half.
    let mut steps = 0;
    assert!(!keyspace.walk_snapshot(id, || {
        steps += 1;
        if steps < 2_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }));
    keyspace.swap(0, 1);
    keyspace.db(1).unwrap().take_all();
    assert!(keyspace.walk_snapshot(id, || ControlFlow::Continue(())));
    assert!(*collector.held.lock() == expected);
    assert_eq!(keyspace.db(1).unwrap().len(), 0);
}

#[test]
fn a_writer_into_a_large_slot_saves_its_entry_and_a_few_more() {
    let keyspace = filled(3);
    let collector = Arc::new(Collector::default());
    let id = keyspace.begin_snapshot(collector.clone()).unwrap();
    let slot = Slot::of(b"{large}");
    let db = keyspace.db(0).unwrap();
    let key = db.lock(slot).iter().next().unwrap().key().to_vec();
    for _ in 0..3 {
        db.lock_write(slot).upsert(&key, NewValue::Int(1), None);
    }
    let saved = collector.held.lock().len();
    assert!((1..=64).contains(&saved), "{saved} of {} saved", db.key_count(slot));
    keyspace.end_snapshot(id);
    assert_eq!(Arc::strong_count(&collector), 1, "an ended snapshot lets go of its saver");
    drop(collector);
    db.lock_write(slot).upsert(b"{large}another", NewValue::Int(1), None);
}

#[test]
fn an_ended_snapshot_walks_no_further() {
    let keyspace = filled(4);
    let collector = Arc::new(Collector::default());
    let id = keyspace.begin_snapshot(collector.clone()).unwrap();
    keyspace.end_snapshot(id);
    assert!(!keyspace.walk_snapshot(id, || ControlFlow::Continue(())));
    let next = keyspace.begin_snapshot(collector.clone()).unwrap();
    keyspace.end_snapshot(id);
    assert!(keyspace.is_snapshot_running(), "the end of another one");
    assert!(keyspace.walk_snapshot(next, || ControlFlow::Continue(())));
    assert!(*collector.held.lock() == all_of(&keyspace));
}
