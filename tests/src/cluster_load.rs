//! Clients of a cluster: one that follows redirects, and one that writes and reads without end in a thread.

use crate::cluster::{Cluster, now};
use crate::resp::{Client, Value};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Redirects followed before a command is given up.
const REDIRECTS_MAX: usize = 16;

/// A client that knows who owns which slot, and follows MOVED and ASK.
pub struct Router {
    ports: Vec<u16>,
    owners: HashMap<u16, u16>,
    clients: HashMap<u16, Client>,
    pub moved: usize,
    pub asked: usize,
}

impl Router {
    pub fn new(ports: Vec<u16>) -> Router {
        Router { ports, owners: HashMap::new(), clients: HashMap::new(), moved: 0, asked: 0 }
    }

    fn client(&mut self, port: u16) -> io::Result<&mut Client> {
        match self.clients.entry(port) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => Ok(entry.insert(Client::connect(port)?)),
        }
    }

    /// Calls a command on the node of this port; a connection that fails is forgotten.
    fn call_on(&mut self, port: u16, asking: bool, argv: &[&str]) -> io::Result<Value> {
        let client = self.client(port)?;
        let result = (|| {
            if asking {
                client.call(&["ASKING"])?;
            }
            client.call(argv)
        })();
        if result.is_err() {
            self.clients.remove(&port);
        }
        result
    }

    /// Calls a command of `key` where the key is. Returns the reply and the port that gave it.
    pub fn call_at(&mut self, key: &str, argv: &[&str]) -> io::Result<(Value, u16)> {
        let slot = protocol::slot_of(key.as_bytes()).get();
        let mut port = self.owners.get(&slot).copied().unwrap_or(self.ports[0]);
        let mut asking = false;
        for _ in 0..REDIRECTS_MAX {
            let reply = match self.call_on(port, asking, argv) {
                Ok(reply) => reply,
                Err(error) => {
                    // Somebody else will know who has taken over.
                    self.owners.remove(&slot);
                    self.ports.rotate_left(1);
                    return Err(error);
                }
            };
            let Some((kind, to)) = redirect(&reply) else { return Ok((reply, port)) };
            asking = kind == "ASK";
            if asking {
                self.asked += 1;
            } else {
                self.moved += 1;
                self.owners.insert(slot, to);
            }
            port = to;
        }
        Err(io::Error::other("too many redirects"))
    }

    pub fn call(&mut self, key: &str, argv: &[&str]) -> io::Result<Value> {
        self.call_at(key, argv).map(|(reply, _)| reply)
    }
}

/// The kind and the port of a redirect.
fn redirect(reply: &Value) -> Option<(String, u16)> {
    let Value::Line(b'-', line) = reply else { return None };
    let line = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split(' ');
    let kind = words.next().filter(|kind| ["MOVED", "ASK"].contains(kind))?;
    let port = words.nth(1)?.rsplit(':').next()?.parse().ok()?;
    Some((kind.to_owned(), port))
}

/// What makes a write acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acknowledged {
    ByReply,
    /// WAIT 1 on the same connection says that a replica has it.
    ByReplica,
}

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: String,
    pub value: String,
    pub at: Instant,
}

/// What a load did.
#[derive(Debug, Default)]
pub struct Done {
    pub writes: Vec<Write>,
    /// Acknowledged writes that were not there when read.
    pub lost: Vec<String>,
    /// Commands that failed: connections that broke, a cluster that was down.
    pub failed: usize,
    pub moved: usize,
    pub asked: usize,
}

/// Writes keys one after the other, and reads back some that were acknowledged.
pub struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: Option<JoinHandle<Done>>,
}

impl Load {
    pub fn start(ports: Vec<u16>, name: &str, acknowledged: Acknowledged) -> Load {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter, name) = (stop.clone(), written.clone(), name.to_owned());
        let thread = std::thread::spawn(move || {
            let mut router = Router::new(ports);
            let mut done = Done::default();
            let mut rng = fastrand::Rng::with_seed(7);
            for n in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                step(&mut router, &mut done, &mut rng, acknowledged, &format!("{name}:{n}"));
                counter.store(done.writes.len() as u64, Ordering::Relaxed);
            }
            (done.moved, done.asked) = (router.moved, router.asked);
            done
        });
        Load { stop, written, thread: Some(thread) }
    }

    /// How many writes were acknowledged so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes were acknowledged.
    pub fn wait_for_more(&self, count: u64) {
        let target = self.written() + count;
        crate::cluster::wait_until("the load goes on", crate::cluster::SOON, || self.written() >= target);
    }

    pub fn stop(mut self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("stopped once").join().expect("the load does not panic")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn step(
    router: &mut Router,
    done: &mut Done,
    rng: &mut fastrand::Rng,
    acknowledged: Acknowledged,
    key: &str,
) {
    let value = format!("value of {key}");
    match write(router, acknowledged, key, &value) {
        Ok(true) => done.writes.push(Write { key: key.to_owned(), value, at: now() }),
        Ok(false) => done.failed += 1,
        Err(_) => {
            done.failed += 1;
            // Nobody there: no use in asking a thousand times.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    if done.writes.is_empty() {
        return;
    }
    let write = &done.writes[rng.usize(..done.writes.len())];
    match router.call(&write.key, &["GET", &write.key]) {
        Ok(reply) if reply.is_error() => done.failed += 1,
        Ok(reply) if reply.text() == Some(write.value.as_bytes()) => {}
        Ok(reply) => done.lost.push(format!("{}: {reply:?}", write.key)),
        Err(_) => done.failed += 1,
    }
}

fn write(router: &mut Router, acknowledged: Acknowledged, key: &str, value: &str) -> io::Result<bool> {
    let (reply, port) = router.call_at(key, &["SET", key, value])?;
    if reply.is_error() {
        return Ok(false);
    }
    match acknowledged {
        Acknowledged::ByReply => Ok(true),
        Acknowledged::ByReplica => {
            let replicas = router.call_on(port, false, &["WAIT", "1", "1000"])?;
            Ok(replicas.as_i64().is_some_and(|replicas| replicas >= 1))
        }
    }
}

/// Reads all of them back from a cluster in order; returns those that are missing or wrong.
pub fn missing(cluster: &Cluster, writes: &[Write]) -> Vec<String> {
    let mut router = Router::new(cluster.running().map(|node| node.port).collect());
    let mut missing = Vec::new();
    for write in writes {
        match router.call(&write.key, &["GET", &write.key]) {
            Ok(reply) if reply.text() == Some(write.value.as_bytes()) => {}
            other => missing.push(format!("{}: {other:?}", write.key)),
        }
    }
    missing
}
