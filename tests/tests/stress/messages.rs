//! Messages: every subscriber sees all of a publisher's, each once and in order.

use super::{Stage, text};
use balas_tests::resp::{Client, Value};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

const PUBLISHERS: usize = 3;
/// Subscribers of each way to subscribe.
const SUBSCRIBERS: usize = 2;
/// The last message.
const END: &str = "end";

/// How a subscriber hears of channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Channel,
    Pattern,
    Shard,
}

const WAYS: [Way; 3] = [Way::Channel, Way::Pattern, Way::Shard];

pub struct Messages {
    /// How many messages each publisher sent.
    sent: [AtomicUsize; PUBLISHERS],
    /// How many of each publisher's a subscriber got.
    got: Mutex<Vec<(Way, [usize; PUBLISHERS])>>,
    subscribed: AtomicUsize,
}

impl Messages {
    pub fn new() -> Messages {
        Messages { sent: Default::default(), got: Mutex::default(), subscribed: AtomicUsize::new(0) }
    }

    pub fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        stage: &'scope Stage,
    ) -> Vec<ScopedJoinHandle<'scope, ()>> {
        stage.did("messages", 0);
        let mut threads = Vec::new();
        for way in WAYS {
            for number in 0..SUBSCRIBERS {
                threads.push(scope.spawn(move || self.subscribe(stage, way, number)));
            }
        }
        for number in 0..PUBLISHERS {
            threads.push(scope.spawn(move || self.publish(stage, number)));
        }
        threads
    }

    fn publish(&self, stage: &Stage, number: usize) {
        while self.subscribed.load(Ordering::Acquire) < WAYS.len() * SUBSCRIBERS {
            std::thread::yield_now();
        }
        let (mut c, mut rng) = (stage.connect(), stage.rng("publisher", number));
        let channel = format!("channel:{number}");
        let all = 2 * SUBSCRIBERS as i64;
        let mut sent = 0;
        while stage.goes_on() {
            let message = sent.to_string();
            let receivers = match rng.u8(..3) {
                0 => {
                    let commands: [&[&str]; 2] =
                        [&["PUBLISH", &channel, &message], &["SPUBLISH", &channel, &message]];
                    let replies = c.transaction(&commands).expect("nobody kills this one").expect("no WATCH");
                    [replies[0].as_i64(), replies[1].as_i64()]
                }
                1 => {
                    let script = "return {redis.call('PUBLISH', ARGV[1], ARGV[2]), redis.call('SPUBLISH', KEYS[1], ARGV[2])}";
                    let replies = c.script(script, &"c".repeat(40), &[&channel], &[&channel, &message]);
                    let replies = replies.expect("nobody kills this one");
                    [replies.items()[0].as_i64(), replies.items()[1].as_i64()]
                }
                _ => [
                    Some(c.int(&["PUBLISH", &channel, &message])),
                    Some(c.int(&["SPUBLISH", &channel, &message])),
                ],
            };
            assert_eq!(receivers, [Some(all), Some(SUBSCRIBERS as i64)], "seed {}", stage.seed);
            sent += 1;
            stage.did("messages", 1);
        }
        self.sent[number].store(sent, Ordering::Relaxed);
        c.ask(&["PUBLISH", &channel, END]);
        c.ask(&["SPUBLISH", &channel, END]);
    }

    fn subscribe(&self, stage: &Stage, way: Way, number: usize) {
        let mut connection = stage.connect();
        if number.is_multiple_of(2) {
            connection.ask(&["HELLO", "3"]);
        }
        let client = connection.raw();
        let (command, channels): (&str, Vec<String>) = match way {
            Way::Channel => ("SUBSCRIBE", (0..PUBLISHERS).map(|n| format!("channel:{n}")).collect()),
            Way::Pattern => ("PSUBSCRIBE", vec!["chan*:[0-9]".into()]),
            Way::Shard => ("SSUBSCRIBE", (0..PUBLISHERS).map(|n| format!("channel:{n}")).collect()),
        };
        let mut argv = vec![command.to_owned()];
        argv.extend(channels.iter().cloned());
        client.send(&argv).expect("nobody kills this one");
        for _ in &channels {
            let reply = client.receive().expect("nobody kills this one");
            assert!(text(&reply.items()[0]).ends_with("subscribe"), "{reply:?}");
        }
        self.subscribed.fetch_add(1, Ordering::Release);
        let got = listen(client, stage.seed, way);
        self.got.lock().expect("no panic under it").push((way, got));
    }

    pub fn check(&self) {
        let sent = self.sent.each_ref().map(|sent| sent.load(Ordering::Relaxed));
        let got = self.got.lock().expect("no panic under it");
        assert_eq!(got.len(), WAYS.len() * SUBSCRIBERS);
        assert!(got.iter().all(|(_, got)| *got == sent), "sent {sent:?}, got {got:?}");
    }
}

/// Reads messages up to every publisher's last one.
fn listen(client: &mut Client, seed: u64, way: Way) -> [usize; PUBLISHERS] {
    let (mut next, mut ended) = ([0; PUBLISHERS], BTreeMap::new());
    while ended.len() < PUBLISHERS {
        let message = client.receive().unwrap_or_else(|error| panic!("seed {seed}: {way:?}: {error}"));
        let Value::List(_, items) = &message else { panic!("seed {seed}: {message:?}") };
        let [.., channel, body] = items.as_slice() else { panic!("seed {seed}: {message:?}") };
        let publisher: usize =
            text(channel).strip_prefix("channel:").and_then(|n| n.parse().ok()).expect("a channel of ours");
        assert!(!ended.contains_key(&publisher), "seed {seed}: {message:?} behind the end");
        if text(body) == END {
            ended.insert(publisher, ());
            continue;
        }
        assert_eq!(text(body), next[publisher].to_string(), "seed {seed}: {way:?}: {message:?}");
        next[publisher] += 1;
    }
    next
}
