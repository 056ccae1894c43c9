//! A run: commands to both servers, every reply compared, and now and then everything that is stored.

use crate::compare::{Compare, Lots, alike, sorted};
use crate::generate::{DATABASES, Generator, Step};
use crate::known;
use crate::process::{self, Server};
use crate::resp::{Client, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Commands between two comparisons of all keys.
const CHECK_EVERY: usize = 5_000;
/// Commands shown before one that fails.
const SHOWN: usize = 400;

/// Small thresholds, so that every encoding is met.
const DIRECTIVES: &[&str] = &[
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

/// Every write is logged, and the log read back at the end.
const LOGGED: &[&str] = &["--appendonly", "yes", "--appendfsync", "no"];

type Argv = Vec<Vec<u8>>;

/// Sends `commands` random commands to both servers; panics at the first difference, with what is needed to
/// see it again.
pub fn run(seed: u64, commands: usize, resp: u8) {
    let stock = Server::start(&process::stock(), DIRECTIVES);
    let mut balas = Server::start(&process::balas(), &[DIRECTIVES, known::BALAS_ONLY, LOGGED].concat());
    let mut pair = Pair { stock: stock.client(), balas: balas.client(), recent: VecDeque::new(), seed };
    pair.both(&words(&["HELLO", &resp.to_string()]));
    let mut generator = Generator::new(seed);
    for index in 1..=commands {
        if generator.wants_transaction() {
            pair.transaction(&generator.queue());
        } else {
            pair.step(&generator.step());
        }
        if index % CHECK_EVERY == 0 || index == commands {
            pair.check_everything(true);
        }
    }
    // What Balas has logged makes the same dataset again.
    balas.restart();
    pair.balas = balas.client();
    pair.both(&words(&["HELLO", &resp.to_string()]));
    pair.check_everything(false);
}

fn words(words: &[&str]) -> Argv {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// The two servers.
struct Pair {
    stock: Client,
    balas: Client,
    recent: VecDeque<Argv>,
    seed: u64,
}

impl Pair {
    /// Sends a command to both.
    fn both(&mut self, argv: &Argv) -> (Value, Value) {
        self.recent.push_back(argv.clone());
        if self.recent.len() > SHOWN {
            self.recent.pop_front();
        }
        let sent = self.stock.send(argv).and_then(|()| self.balas.send(argv));
        let replies = sent.and_then(|()| Ok((self.stock.receive()?, self.balas.receive()?)));
        match replies {
            Ok(replies) => replies,
            Err(error) => self.fail(argv, &error.to_string()),
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
        panic!("seed {}\n{}\n{}\n{what}", self.seed, history[from..].join("\n"), line(argv));
    }

    fn expect(&self, how: Compare, argv: &Argv, stock: &Value, balas: &Value) {
        if !alike(how, stock, balas) && !known::is_known(argv, stock, balas) {
            self.fail(argv, &format!("stock: {stock:?}\nbalas: {balas:?}"));
        }
    }

    fn step(&mut self, step: &Step) {
        match step.compare {
            Compare::Lots(lots) => self.draw(lots, &step.argv),
            Compare::Scan { pairs } => self.scan(&step.argv, pairs),
            how => {
                let (stock, balas) = self.both(&step.argv);
                self.expect(how, &step.argv, &stock, &balas);
            }
        }
    }

    /// MULTI, commands, EXEC: each reply of EXEC compares as its command's does.
    fn transaction(&mut self, steps: &[Step]) {
        let exactly = |pair: &mut Pair, argv: &Argv| {
            let (stock, balas) = pair.both(argv);
            pair.expect(Compare::Exactly, argv, &stock, &balas);
            balas
        };
        exactly(self, &words(&["MULTI"]));
        let mut queued = Vec::new();
        for step in steps {
            if exactly(self, &step.argv).text() == Some(b"QUEUED") {
                queued.push(step);
            }
        }
        let exec = words(&["EXEC"]);
        let (stock, balas) = self.both(&exec);
        if stock.items().len() != queued.len() || balas.items().len() != queued.len() {
            return self.expect(Compare::Exactly, &exec, &stock, &balas);
        }
        for (step, (stock, balas)) in queued.iter().zip(stock.items().iter().zip(balas.items())) {
            self.expect(step.compare, &step.argv, stock, balas);
        }
    }

    /// A whole scan: the first reply decides about errors, the union of all is compared.
    fn scan(&mut self, argv: &Argv, pairs: bool) {
        let (stock, balas) = self.both(argv);
        if stock.is_error() || balas.is_error() {
            return self.expect(Compare::Exactly, argv, &stock, &balas);
        }
        let stock = collect(&mut self.stock, argv, stock, pairs);
        let balas = collect(&mut self.balas, argv, balas, pairs);
        self.expect(Compare::Exactly, argv, &stock, &balas);
    }

    fn draw(&mut self, lots: Lots, argv: &Argv) {
        let key = argv.get(1).cloned().unwrap_or_default();
        let source = match lots {
            Lots::Keys => words(&["KEYS", "*"]),
            Lots::Pop | Lots::SetMembers => vec![b"SMEMBERS".to_vec(), key.clone()],
            Lots::HashFields => vec![b"HGETALL".to_vec(), key.clone()],
            Lots::ZSetMembers => {
                vec![b"ZRANGE".to_vec(), key.clone(), b"0".to_vec(), b"-1".to_vec(), b"WITHSCORES".to_vec()]
            }
        };
        let (before, _) = self.both(&source);
        let (stock, balas) = self.both(argv);
        if stock.is_error() || balas.is_error() {
            return self.expect(Compare::Exactly, argv, &stock, &balas);
        }
        self.expect(Compare::Kind, argv, &stock, &balas);
        let (Value::List(_, drawn), Value::List(_, of_balas)) = (&stock, &balas) else {
            return self.check_drawn(lots, argv, &key, &before, &[balas]);
        };
        if drawn.len() != of_balas.len() {
            self.fail(argv, &format!("stock: {stock:?}\nbalas: {balas:?}"));
        }
        self.check_drawn(lots, argv, &key, &before, of_balas);
    }

    /// What Balas has drawn comes from what was there; after a pop, the rest is what is left.
    fn check_drawn(&mut self, lots: Lots, argv: &Argv, key: &[u8], before: &Value, drawn: &[Value]) {
        let members = flat(before.items());
        let drawn = flat(drawn);
        let with_pairs = argv.len() > 3;
        // Stock may spell scores in another way: of them the replies are compared elsewhere.
        let is_map = matches!(lots, Lots::HashFields | Lots::ZSetMembers);
        let whole = lots == Lots::HashFields && with_pairs;
        let known: BTreeSet<&[&[u8]]> = members
            .chunks(if is_map { 2 } else { 1 })
            .map(|group| if whole { group } else { &group[..1] })
            .collect();
        let size = if with_pairs { 2 } else { 1 };
        let is_foreign = |group: &&[&[u8]]| !known.contains(if whole { *group } else { &group[..1] });
        if let Some(foreign) = drawn.chunks(size).find(is_foreign) {
            self.fail(argv, &format!("drawn from nowhere: {foreign:?} of {before:?}"));
        }
        let repeats = argv.get(2).is_some_and(|count| count.starts_with(b"-"));
        let distinct: BTreeSet<_> = drawn.chunks(size).collect();
        if !repeats && distinct.len() != drawn.len() / size {
            self.fail(argv, &format!("drawn twice: {drawn:?}"));
        }
        if lots == Lots::Pop {
            self.after_pop(argv, key, &members, &drawn);
        }
    }

    fn after_pop(&mut self, argv: &Argv, key: &[u8], before: &[&[u8]], drawn: &[&[u8]]) {
        let (_, left) = self.both(&vec![b"SMEMBERS".to_vec(), key.to_vec()]);
        let left: BTreeSet<Vec<u8>> = flat(left.items()).iter().map(|member| member.to_vec()).collect();
        let gone: BTreeSet<_> = drawn.iter().collect();
        let expected: BTreeSet<Vec<u8>> =
            before.iter().filter(|member| !gone.contains(member)).map(|member| member.to_vec()).collect();
        if left != expected {
            self.fail(argv, &format!("left: {left:?}, expected: {expected:?}"));
        }
        // The two have drawn differently: from here on both have what Balas has left.
        let (stock, balas) = self.both(&vec![b"TYPE".to_vec(), key.to_vec()]);
        self.expect(Compare::Exactly, argv, &stock, &balas);
        if balas.text() == Some(b"set") {
            self.both(&vec![b"DEL".to_vec(), key.to_vec()]);
            self.both(&[b"SADD".to_vec(), key.to_vec()].into_iter().chain(left).collect());
        }
    }

    /// Reads back everything, in all databases, its encodings only if asked for: they have a history.
    fn check_everything(&mut self, encodings: bool) {
        for db in 0..DATABASES {
            self.both(&words(&["SELECT", &db.to_string()]));
            let all = words(&["KEYS", "*"]);
            let (stock, balas) = self.both(&all);
            self.expect(Compare::AnyOrder, &all, &stock, &balas);
            let size = words(&["DBSIZE"]);
            let (of_stock, of_balas) = self.both(&size);
            self.expect(Compare::Exactly, &size, &of_stock, &of_balas);
            for key in flat(balas.items()) {
                self.check_key(key, encodings);
            }
        }
        self.both(&words(&["SELECT", "0"]));
    }

    fn check_key(&mut self, key: &[u8], encodings: bool) {
        let command = |words: &[&str]| {
            let mut argv: Argv = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            if let Some(place) = argv.iter_mut().find(|word| word.as_slice() == b"KEY") {
                *place = key.to_vec();
            }
            argv
        };
        let (_, kind) = self.both(&command(&["TYPE", "KEY"]));
        let (read, how): (&[&str], Compare) = match kind.text() {
            Some(b"string") => (&["GET", "KEY"], Compare::Exactly),
            Some(b"list") => (&["LRANGE", "KEY", "0", "-1"], Compare::Exactly),
            Some(b"hash") => (&["HGETALL", "KEY"], Compare::PairsInAnyOrder),
            Some(b"set") => (&["SMEMBERS", "KEY"], Compare::AnyOrder),
            Some(b"stream") if encodings => {
                (&["XINFO", "STREAM", "KEY", "FULL", "COUNT", "0"], Compare::ButForTimes)
            }
            // How often an entry was read again is not logged, nor how many entries a group has read.
            Some(b"stream") => (&["XINFO", "STREAM", "KEY"], Compare::ButForTimes),
            _ => (&["ZRANGE", "KEY", "0", "-1", "WITHSCORES"], Compare::Exactly),
        };
        let encoding: Compare = if encodings { Compare::Exactly } else { Compare::Kind };
        let mut checks: Vec<(&[&str], Compare)> = vec![
            (&["TYPE", "KEY"], Compare::Exactly),
            (&["OBJECT", "ENCODING", "KEY"], encoding),
            (&["PEXPIRETIME", "KEY"], Compare::Near(10_000)),
            (read, how),
        ];
        if kind.text() == Some(b"stream") {
            checks.push((&["XPENDING", "KEY", "g1"], Compare::Exactly));
            checks.push((&["XPENDING", "KEY", "g2"], Compare::Exactly));
        }
        for (words, how) in checks {
            let argv = command(words);
            let (stock, balas) = self.both(&argv);
            self.expect(how, &argv, &stock, &balas);
        }
    }
}

/// Goes on with a scan until its cursor is 0. Returns what was found, in order, each once.
fn collect(client: &mut Client, argv: &Argv, first: Value, pairs: bool) -> Value {
    let at = usize::from(!argv[0].eq_ignore_ascii_case(b"scan")) + 1;
    let size = if pairs { 2 } else { 1 };
    let mut found: BTreeMap<Vec<Value>, ()> = BTreeMap::new();
    let mut reply = first;
    // A cursor that never ends is a difference too: it is cut off, and something will be missing or too much.
    for _ in 0..10_000 {
        let [cursor, items] = reply.items() else { return reply };
        sorted(items.items(), size).into_iter().for_each(|group| {
            found.insert(group.to_vec(), ());
        });
        if cursor.text() == Some(b"0") {
            break;
        }
        let mut next = argv.clone();
        next[at] = cursor.text().unwrap_or_default().to_vec();
        match client.call(&next) {
            Ok(value) => reply = value,
            Err(_) => break,
        }
    }
    Value::List(b'*', found.into_keys().map(|group| Value::List(b'*', group)).collect())
}

/// The texts of a reply, those of nested arrays included.
fn flat(items: &[Value]) -> Vec<&[u8]> {
    let texts = items.iter().flat_map(|item| match item {
        Value::List(_, items) => flat(items),
        item => item.text().into_iter().collect(),
    });
    texts.collect()
}
