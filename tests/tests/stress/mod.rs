//! What goes on at once, and what must hold of it.

pub mod messages;
pub mod queues;
pub mod tokens;
pub mod unrest;

use balas_tests::resp::{Client, Value};
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The database of what is checked. Random commands are kept out of it.
pub const CHECKED_DB: &str = "15";

/// How often each thing is done at least.
const ENOUGH: usize = 50;

/// One run: where the server is, and whether it goes on.
pub struct Stage {
    pub port: u16,
    pub seed: u64,
    /// Whether FLUSHALL happens.
    pub flushes: bool,
    stopped: AtomicBool,
    /// What was done, by what it is called, and how often.
    done: Mutex<BTreeMap<&'static str, usize>>,
}

impl Stage {
    pub fn new(port: u16, seed: u64, flushes: bool) -> Stage {
        Stage { port, seed, flushes, stopped: AtomicBool::new(false), done: Mutex::default() }
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    /// Counts what was done; `times` 0 says that it is going to be.
    pub fn did(&self, what: &'static str, times: usize) {
        *self.done.lock().expect("no panic under it").entry(what).or_default() += times;
    }

    /// Whether everything that is to be done was done often enough to see something.
    pub fn did_enough(&self) -> bool {
        self.done.lock().expect("no panic under it").values().all(|&times| times >= ENOUGH)
    }

    pub fn told(&self) -> String {
        format!("{:?}", self.done.lock().expect("no panic under it"))
    }

    /// Random choices of the worker of this name and number.
    pub fn rng(&self, name: &str, number: usize) -> fastrand::Rng {
        let salt =
            name.bytes().fold(number as u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        fastrand::Rng::with_seed(self.seed.wrapping_mul(1_000_003) ^ salt)
    }

    /// A connection of the user nobody kills, to the database that is checked.
    pub fn connect(&self) -> Connection {
        Connection::open(self.port, self.seed, false).expect("the server accepts")
    }

    /// Does `work` on connections that may be killed: whenever one is, it begins again with another.
    pub fn while_killed(&self, mut work: impl FnMut(&mut Connection) -> io::Result<()>) {
        while self.goes_on() {
            let Ok(mut connection) = Connection::open(self.port, self.seed, true) else { continue };
            while self.goes_on() && work(&mut connection).is_ok() {}
        }
    }
}

/// A connection whose errors end the test.
pub struct Connection {
    client: Client,
    seed: u64,
}

impl Connection {
    fn open(port: u16, seed: u64, mortal: bool) -> io::Result<Connection> {
        let mut connection = Connection { client: Client::connect(port)?, seed };
        if mortal {
            connection.call(&["AUTH", "victim", ""])?;
        }
        connection.call(&["SELECT", CHECKED_DB])?;
        Ok(connection)
    }

    /// A command that must not fail; the error is a connection that was killed.
    pub fn call<T: AsRef<[u8]>>(&mut self, argv: &[T]) -> io::Result<Value> {
        let reply = self.client.call(argv)?;
        assert!(!reply.is_error(), "seed {}: {}: {reply:?}", self.seed, words(argv));
        Ok(reply)
    }

    /// As [`Connection::call`], on a connection that nobody kills.
    pub fn ask<T: AsRef<[u8]>>(&mut self, argv: &[T]) -> Value {
        self.call(argv).unwrap_or_else(|error| panic!("seed {}: {}: {error}", self.seed, words(argv)))
    }

    pub fn int<T: AsRef<[u8]>>(&mut self, argv: &[T]) -> i64 {
        let reply = self.ask(argv);
        reply.as_i64().unwrap_or_else(|| panic!("seed {}: {}: {reply:?}", self.seed, words(argv)))
    }

    /// Commands as a transaction; `None` where a watched key was touched.
    pub fn transaction(&mut self, commands: &[&[&str]]) -> io::Result<Option<Vec<Value>>> {
        self.call(&["MULTI"])?;
        for argv in commands {
            self.call(argv)?;
        }
        match self.call(&["EXEC"])? {
            Value::List(_, replies) => {
                assert_eq!(replies.len(), commands.len());
                let bad = replies.iter().find(|reply| reply.is_error());
                assert!(bad.is_none(), "seed {}: {bad:?}", self.seed);
                Ok(Some(replies))
            }
            _ => Ok(None),
        }
    }

    /// A script by its digest, or as a whole where the server does not have it (any more).
    pub fn script(&mut self, text: &str, digest: &str, keys: &[&str], args: &[&str]) -> io::Result<Value> {
        let numkeys = keys.len().to_string();
        let with = |name: &'static str, script: &str| {
            let mut argv = vec![name.to_owned(), script.to_owned(), numkeys.clone()];
            argv.extend(keys.iter().chain(args).map(|&word| word.to_owned()));
            argv
        };
        let reply = self.client.call(&with("EVALSHA", digest))?;
        match &reply {
            Value::Line(b'-', text_of) if text_of.starts_with(b"NOSCRIPT") => self.call(&with("EVAL", text)),
            reply if reply.is_error() => panic!("seed {}: {text}: {reply:?}", self.seed),
            _ => Ok(reply),
        }
    }

    /// The raw client, for what has no one reply.
    pub fn raw(&mut self) -> &mut Client {
        &mut self.client
    }
}

pub fn words<T: AsRef<[u8]>>(argv: &[T]) -> String {
    argv.iter().map(|arg| arg.as_ref().escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

pub fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.text().unwrap_or_default()).into_owned()
}
