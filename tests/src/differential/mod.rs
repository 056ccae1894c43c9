//! A run: commands to both servers, every reply compared, and now and then everything that is stored.

mod dataset;
mod lots;

use crate::compare::{Compare, alike};
use crate::generate::{Generator, Step};
use crate::known;
use crate::process::{self, Server};
use crate::resp::{Client, Value};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;

/// Commands between two comparisons of all keys.
const CHECK_EVERY: usize = 5_000;
/// Steps that are on their way at once: both servers see pipelines.
const PIPELINE: usize = 32;
/// Commands shown before one that fails.
const SHOWN: usize = 400;
/// Lines of Balas's log shown with it.
const LOG_LINES: usize = 30;

/// So small that the encodings of large collections are met.
const LOW_THRESHOLDS: &[&str] = &[
    "--hash-max-listpack-entries",
    "8",
    "--hash-max-listpack-value",
    "16",
    "--set-max-intset-entries",
    "8",
    "--zset-max-listpack-entries",
    "8",
    "--zset-max-listpack-value",
    "16",
    "--list-max-listpack-size",
    "4",
    "--stream-node-max-entries",
    "5",
    "--hll-sparse-max-bytes",
    "300",
];

/// For both. Payloads of DUMP are compared, and every compressor chooses for itself; stock's begins with whatever is on
/// the stack. And stock may see only by its timer that somebody has waited long enough.
const COMMON: &[&str] = &["--rdbcompression", "no", "--hz", "500"];

/// Every write is logged, and the log read back at the end.
const LOGGED: &[&str] = &["--appendonly", "yes", "--appendfsync", "no"];

type Argv = Vec<Vec<u8>>;

/// Which encodings a run's collections have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thresholds {
    /// Stock's: what random commands make stays small.
    Default,
    /// So low that collections are small, large, and change over.
    Low,
}

/// What a run has compared.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub commands: usize,
    /// Replies, those within EXEC's and those of reading back included.
    pub replies: usize,
    /// Keys whose DUMP was the same byte by byte, and those that were read by their type's commands instead.
    pub keys_by_bytes: usize,
    pub keys_by_reads: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { commands, replies, keys_by_bytes, keys_by_reads } = self;
        write!(
            f,
            "{commands} commands, {replies} replies; keys: {keys_by_bytes} by bytes, {keys_by_reads} by reads"
        )
    }
}

/// Sends `commands` random commands to both servers; panics at the first difference, with what is needed to
/// see it again.
pub fn run(seed: u64, commands: usize, resp: u8, thresholds: Thresholds) -> Counts {
    let (shared, own): (&[&str], &[&str]) = match thresholds {
        Thresholds::Default => (&[], &[]),
        Thresholds::Low => (LOW_THRESHOLDS, known::BALAS_ONLY),
    };
    let stock = Server::start(&process::stock(), &[shared, COMMON].concat());
    let balas = Server::start(&process::balas(), &[shared, COMMON, own, LOGGED].concat());
    let mut pair = Pair {
        stock: stock.client(),
        balas: balas.client(),
        server: balas,
        generator: match thresholds {
            Thresholds::Default => Generator::new(seed),
            Thresholds::Low => Generator::new(seed).without_sorted_lists(),
        },
        sent: Vec::new(),
        recent: VecDeque::new(),
        counts: Counts::default(),
        run: format!("seed {seed}, RESP{resp}, thresholds {thresholds:?}"),
    };
    let hello = words(&["HELLO", &resp.to_string()]);
    pair.both(&hello);
    while pair.counts.commands < commands {
        let before = pair.counts.commands;
        pair.next();
        if before / CHECK_EVERY != pair.counts.commands / CHECK_EVERY {
            pair.check_everything(true);
        }
    }
    pair.check_everything(true);
    // What Balas has logged makes the same dataset again.
    pair.server.restart();
    pair.balas = pair.server.client();
    pair.both(&hello);
    pair.check_everything(false);
    pair.counts
}

fn words(words: &[&str]) -> Argv {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// What has been sent to both servers, and whose replies have not been read.
enum Sent {
    One(Step),
    /// MULTI, these, EXEC.
    Transaction(Vec<Step>),
}

/// The two servers.
struct Pair {
    stock: Client,
    balas: Client,
    /// Balas.
    server: Server,
    generator: Generator,
    sent: Vec<Sent>,
    recent: VecDeque<Argv>,
    counts: Counts,
    /// What makes the same run again.
    run: String,
}

impl Pair {
    /// Draws what comes next, and sends it.
    fn next(&mut self) {
        if self.generator.wants_transaction() {
            let steps = self.generator.queue();
            self.counts.commands += steps.len() + 2;
            self.sent.push(Sent::Transaction(steps));
        } else {
            let step = self.generator.step();
            self.counts.commands += 1;
            match step.compare {
                Compare::Lots(lots) => self.draw(lots, &step.argv),
                Compare::Scan { pairs } => self.scan(&step.argv, pairs),
                _ => self.sent.push(Sent::One(step)),
            }
        }
        if self.sent.len() >= PIPELINE {
            self.catch_up();
        }
    }

    /// Reads and compares the replies to everything under way.
    fn catch_up(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        let (multi, exec) = (words(&["MULTI"]), words(&["EXEC"]));
        let mut all: Vec<&Argv> = Vec::new();
        for sent in &sent {
            match sent {
                Sent::One(step) => all.push(&step.argv),
                Sent::Transaction(steps) => {
                    all.push(&multi);
                    all.extend(steps.iter().map(|step| &step.argv));
                    all.push(&exec);
                }
            }
        }
        let done =
            [&mut self.stock, &mut self.balas].into_iter().try_for_each(|client| client.send_all(&all));
        if let Err(error) = done {
            self.fail(&multi, &error.to_string());
        }
        for sent in &sent {
            match sent {
                Sent::One(step) => {
                    let (stock, balas) = self.replies(&step.argv);
                    self.expect(step.compare, &step.argv, &stock, &balas);
                }
                Sent::Transaction(steps) => self.transaction(steps),
            }
        }
    }

    /// MULTI, commands, EXEC: each reply of EXEC compares as its command's does.
    fn transaction(&mut self, steps: &[Step]) {
        self.exactly(&words(&["MULTI"]));
        let mut queued = Vec::new();
        for step in steps {
            if self.exactly(&step.argv).text() == Some(b"QUEUED") {
                queued.push(step);
            }
        }
        let exec = words(&["EXEC"]);
        let (stock, balas) = self.replies(&exec);
        if stock.items().len() != queued.len() || balas.items().len() != queued.len() {
            return self.expect(Compare::Exactly, &exec, &stock, &balas);
        }
        for (step, (stock, balas)) in queued.iter().zip(stock.items().iter().zip(balas.items())) {
            self.expect(step.compare, &step.argv, stock, balas);
        }
    }

    fn exactly(&mut self, argv: &Argv) -> Value {
        let (stock, balas) = self.replies(argv);
        self.expect(Compare::Exactly, argv, &stock, &balas);
        balas
    }

    /// Sends a command to both, behind what is under way, and waits for the replies.
    fn both(&mut self, argv: &Argv) -> (Value, Value) {
        self.catch_up();
        if let Err(error) = self.stock.send(argv).and_then(|()| self.balas.send(argv)) {
            self.fail(argv, &error.to_string());
        }
        self.replies(argv)
    }

    /// The next reply of each, to this command.
    fn replies(&mut self, argv: &Argv) -> (Value, Value) {
        let read = |client: &mut Client, name: &str| {
            client.receive().map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
        };
        let replies =
            read(&mut self.stock, "stock").and_then(|stock| Ok((stock, read(&mut self.balas, "balas")?)));
        let replies = replies.unwrap_or_else(|error| self.fail(argv, &error.to_string()));
        self.recent.push_back(argv.clone());
        if self.recent.len() > SHOWN {
            self.recent.pop_front();
        }
        replies
    }

    fn expect(&mut self, how: Compare, argv: &Argv, stock: &Value, balas: &Value) {
        self.counts.replies += 1;
        if !alike(how, stock, balas) && !known::is_known(argv, stock, balas) {
            self.fail(argv, &format!("stock: {stock:?}\nbalas: {balas:?}"));
        }
        if how == Compare::Payload
            && let Value::Blob(_, payload) = stock
        {
            self.generator.keep_payload(payload);
        }
    }

    fn fail(&self, argv: &Argv, what: &str) -> ! {
        let line = |argv: &Argv| {
            let words = argv.iter().map(|word| format!("\"{}\"", word.escape_ascii()));
            words.collect::<Vec<_>>().join(" ")
        };
        let keys: BTreeSet<_> = argv.iter().skip(1).filter(|word| Generator::is_key(word)).collect();
        let related = self.recent.iter().filter(|recent| {
            recent.len() < 2 || recent.iter().any(|word| keys.contains(word)) || keys.is_empty()
        });
        let history: Vec<_> = related.map(line).collect();
        let from = history.len().saturating_sub(40);
        let log = self.server.log();
        // A report of a crash begins with why.
        let crash = log.find("BUG REPORT START").unwrap_or_default();
        let log: Vec<&str> = log[crash..].lines().take(LOG_LINES).collect();
        panic!(
            "{}\n{}\n{}\n{what}\nBalas has logged:\n{}",
            self.run,
            history[from..].join("\n"),
            line(argv),
            log.join("\n")
        );
    }
}
