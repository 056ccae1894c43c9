//! Queues of all kinds: what is put in comes out once, and counters tell each number once.

use super::{Connection, Stage, text};
use balas_tests::cluster::Node;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 4;
const KEYS: [&str; 3] = ["queue:a", "queue:b", "queue:c"];
const DUE: [&str; 2] = ["due:a", "due:b"];
const STREAM: &str = "tasks";
const GROUP: &str = "workers";
/// Items that may wait in all queues together, so that consumers keep up.
const BACKLOG: i64 = 3000;

/// What went in and what came out, by item.
#[derive(Default)]
struct Ledger {
    out: Mutex<BTreeMap<String, usize>>,
    put: AtomicUsize,
    taken: AtomicUsize,
}

impl Ledger {
    fn take(&self, item: String) {
        *self.out.lock().expect("no panic under it").entry(item).or_default() += 1;
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    fn waiting(&self) -> i64 {
        self.put.load(Ordering::Relaxed) as i64 - self.taken.load(Ordering::Relaxed) as i64
    }

    fn check(&self, what: &str, seed: u64) {
        let out = self.out.lock().expect("no panic under it");
        let doubled: Vec<_> = out.iter().filter(|(_, times)| **times != 1).collect();
        assert!(doubled.is_empty(), "seed {seed}: {what} came out twice: {doubled:?}");
        assert_eq!(out.len(), self.put.load(Ordering::Relaxed), "seed {seed}: {what}");
    }
}

pub struct Queues {
    items: Ledger,
    due: Ledger,
    tasks: Ledger,
    counted: Ledger,
    producing: AtomicI64,
}

impl Queues {
    pub fn new() -> Queues {
        let ledgers = Ledger::default;
        Queues {
            items: ledgers(),
            due: ledgers(),
            tasks: ledgers(),
            counted: ledgers(),
            producing: AtomicI64::new(PRODUCERS as i64),
        }
    }

    pub fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        stage: &'scope Stage,
    ) -> Vec<ScopedJoinHandle<'scope, ()>> {
        stage.connect().ask(&["XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM"]);
        stage.did("items of each queue", 0);
        let mut threads = Vec::new();
        for n in 0..PRODUCERS {
            threads.push(scope.spawn(move || self.produce(stage, n)));
        }
        for n in 0..CONSUMERS {
            threads.push(scope.spawn(move || self.pop(stage, n)));
            threads.push(scope.spawn(move || self.pop_due(stage, n)));
            threads.push(scope.spawn(move || self.read_tasks(stage, n)));
        }
        threads
    }

    /// Whether there is, or will be, something to consume.
    fn go_on(&self, ledger: &Ledger) -> bool {
        self.producing.load(Ordering::Acquire) > 0 || ledger.waiting() > 0
    }

    fn produce(&self, stage: &Stage, number: usize) {
        let (mut c, mut rng) = (stage.connect(), stage.rng("producer", number));
        let mut made = 0;
        let mut item = || {
            made += 1;
            format!("{number}-{made}")
        };
        while stage.goes_on() {
            if self.items.waiting() + self.due.waiting() + self.tasks.waiting() > BACKLOG {
                std::thread::yield_now();
                continue;
            }
            let key = KEYS[rng.usize(..KEYS.len())];
            let items: Vec<String> = (0..rng.usize(1..4)).map(|_| item()).collect();
            push(&mut c, &mut rng, key, &items);
            self.items.put.fetch_add(items.len(), Ordering::Relaxed);

            let score = rng.u32(..1000).to_string();
            assert_eq!(c.int(&["ZADD", DUE[rng.usize(..2)], &score, &item()]), 1);
            self.due.put.fetch_add(1, Ordering::Relaxed);
            c.ask(&["XADD", STREAM, "*", "task", &item()]);
            self.tasks.put.fetch_add(1, Ordering::Relaxed);

            let counted = match rng.u8(..2) {
                0 => c.int(&["INCR", "counted"]),
                _ => c
                    .script("return redis.call('INCR', KEYS[1])", &"a".repeat(40), &["counted"], &[])
                    .ok()
                    .and_then(|value| value.as_i64())
                    .expect("a number"),
            };
            self.counted.put.fetch_add(1, Ordering::Relaxed);
            self.counted.take(counted.to_string());
            stage.did("items of each queue", 1);
        }
        self.producing.fetch_sub(1, Ordering::Release);
    }

    fn pop(&self, stage: &Stage, number: usize) {
        let (mut c, mut rng) = (stage.connect(), stage.rng("consumer", number));
        while self.go_on(&self.items) {
            let key = KEYS[rng.usize(..KEYS.len())];
            let reply = match rng.u8(..5) {
                0 => c.ask(&["BLPOP", KEYS[0], KEYS[1], KEYS[2], "0.05"]),
                1 => c.ask(&["BRPOP", KEYS[2], KEYS[0], KEYS[1], "0.05"]),
                2 => c.ask(&["BLMPOP", "0.05", "3", KEYS[1], KEYS[2], KEYS[0], "LEFT", "COUNT", "4"]),
                3 => c.ask(&["LMPOP", "2", KEYS[0], KEYS[2], "RIGHT", "COUNT", "2"]),
                _ => c.ask(&["LPOP", key, "2"]),
            };
            match reply.items() {
                [_, popped] if !popped.items().is_empty() => {
                    popped.items().iter().for_each(|item| self.items.take(text(item)));
                }
                // A key and its element, or elements alone.
                [name, item] if text(name).starts_with("queue:") => self.items.take(text(item)),
                items => items.iter().for_each(|item| self.items.take(text(item))),
            }
        }
    }

    fn pop_due(&self, stage: &Stage, number: usize) {
        let (mut c, mut rng) = (stage.connect(), stage.rng("due", number));
        while self.go_on(&self.due) {
            let reply = match rng.u8(..3) {
                0 => c.ask(&["BZPOPMIN", DUE[0], DUE[1], "0.05"]),
                1 => c.ask(&["BZPOPMAX", DUE[1], DUE[0], "0.05"]),
                _ => c.ask(&["BZMPOP", "0.05", "2", DUE[0], DUE[1], "MIN", "COUNT", "3"]),
            };
            match reply.items() {
                [_, popped] => {
                    popped.items().iter().for_each(|pair| self.due.take(text(&pair.items()[0])));
                }
                [_, item, _score] => self.due.take(text(item)),
                _ => {}
            }
        }
    }

    fn read_tasks(&self, stage: &Stage, number: usize) {
        let mut c = stage.connect();
        let name = format!("worker {number}");
        while self.go_on(&self.tasks) {
            let argv =
                ["XREADGROUP", "GROUP", GROUP, &name, "COUNT", "5", "BLOCK", "50", "STREAMS", STREAM, ">"];
            for stream in c.ask(&argv).items() {
                for entry in stream.items()[1].items() {
                    self.tasks.take(text(&entry.items()[1].items()[1]));
                    assert_eq!(c.int(&["XACK", STREAM, GROUP, &text(&entry.items()[0])]), 1);
                }
            }
        }
    }

    pub fn check(&self, stage: &Stage, node: &Node) {
        let seed = stage.seed;
        self.items.check("items", seed);
        self.due.check("due items", seed);
        self.tasks.check("tasks", seed);
        self.counted.check("numbers", seed);
        let mut c = stage.connect();
        for key in KEYS.iter().chain(&DUE) {
            assert_eq!(c.int(&["EXISTS", key]), 0, "seed {seed}: {key}");
        }
        let counted = text(&c.ask(&["GET", "counted"]));
        assert_eq!(counted, self.counted.put.load(Ordering::Relaxed).to_string(), "seed {seed}");
        assert_eq!(c.int(&["XLEN", STREAM]) as usize, self.tasks.put.load(Ordering::Relaxed), "seed {seed}");
        let pending = c.ask(&["XPENDING", STREAM, GROUP]);
        assert_eq!(pending.items()[0].as_i64(), Some(0), "seed {seed}");
        assert_eq!(node.number("clients", "blocked_clients"), 0, "seed {seed}");
    }
}

fn push(c: &mut Connection, rng: &mut fastrand::Rng, key: &str, items: &[String]) {
    let command = ["LPUSH", "RPUSH"][rng.usize(..2)];
    let mut argv = vec![command, key];
    argv.extend(items.iter().map(String::as_str));
    match rng.u8(..4) {
        0 => {
            let each: Vec<[&str; 3]> = items.iter().map(|item| [command, key, item]).collect();
            let each: Vec<&[&str]> = each.iter().map(<[_; 3]>::as_slice).collect();
            c.transaction(&each).expect("nobody kills this one");
        }
        1 => {
            let args: Vec<&str> = items.iter().map(String::as_str).collect();
            let script = "for _, item in ipairs(ARGV) do redis.call('RPUSH', KEYS[1], item) end";
            c.script(script, &"b".repeat(40), &[key], &args).expect("nobody kills this one");
        }
        _ => drop(c.ask(&argv)),
    }
}
