//! `test`: the test groups of the documented cluster, against any running one.

use super::check::Survey;
use crate::address::Address;
use crate::client::{Auth, Client};
use crate::clock::Stopwatch;
use crate::error::Error;
use crate::resp::Value;
use crate::router::Router;
use protocol::SLOT_COUNT;

const PINGS: usize = 100;
const PING_AVERAGE_US_MAX: u64 = 5000;
const WRITES: usize = 1000;
const READS: usize = 500;
const HITS_PERCENT_MIN: usize = 95;

/// Counts what passed and what did not, and says so as it goes.
#[derive(Default)]
struct Score {
    passed: usize,
    failed: usize,
}

impl Score {
    /// A check is passed with what was seen, or failed with what was wrong.
    fn check(&mut self, name: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(seen) => {
                self.passed += 1;
                say!("  ok      {name}: {seen}");
            }
            Err(wrong) => {
                self.failed += 1;
                say!("  FAILED  {name}: {wrong}");
            }
        }
    }
}

pub fn run(seed: &Address, auth: &Auth) -> Result<(), Error> {
    let survey = Survey::take(seed, auth)?;
    let mut router = Router::new(seed, auth);
    router.learn(&survey.view);
    // Keys of concurrent runs are apart; what a run leaves behind when it is killed expires.
    let prefix = format!("balas:test:{}", std::process::id());
    let mut score = Score::default();

    say!("Connectivity");
    ping_all(&survey, auth, &mut score);
    say!("State and slots");
    state(&survey, &mut score);
    say!("Commands");
    commands(&mut router, &prefix, &mut score);
    say!("Latency");
    score.check("average of 100 PINGs", latency(&survey, auth));
    say!("Hits");
    score.check("500 random reads of 1000 keys", hits(&mut router, &prefix));

    say!("\n{} passed, {} failed", score.passed, score.failed);
    if score.failed == 0 { Ok(()) } else { Err(Error::Unwell(format!("{} tests failed", score.failed))) }
}

fn ping_all(survey: &Survey, auth: &Auth, score: &mut Score) {
    for member in &survey.members {
        let address = &member.node.address;
        let pong = Client::connect(address, auth).and_then(|mut client| client.call(&["PING"]));
        let outcome = match pong {
            Ok(Value::Status(text)) if text == "PONG" => Ok(text),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        };
        score.check(&format!("PING {address}"), outcome);
    }
}

fn state(survey: &Survey, score: &mut Score) {
    let ok = |member: &&super::check::Member| {
        member.answer.as_ref().is_ok_and(|answer| answer.cluster.text("cluster_state") == "ok")
    };
    let (well, all) = (survey.members.iter().filter(ok).count(), survey.members.len());
    let said = format!("ok on {well} of {all} nodes");
    score.check("state", if well == all { Ok(said) } else { Err(said) });
    let covered = survey.view.covered();
    let said = format!("{covered} of {SLOT_COUNT} covered");
    score.check("slots", if covered == SLOT_COUNT { Ok(said) } else { Err(said) });
}

fn commands(router: &mut Router, prefix: &str, score: &mut Score) {
    let (key, counter) = (&format!("{prefix}:key"), &format!("{prefix}:counter"));
    let mut expect = |name: &str, key: &str, args: &[&str], expected: Value| {
        let outcome = match router.call(key, args) {
            Ok(value) if value == expected => Ok("as expected".to_owned()),
            Ok(value) => Err(format!("{value:?} instead of {expected:?}")),
            Err(error) => Err(error.to_string()),
        };
        score.check(name, outcome);
    };
    expect("SET", key, &["SET", key, "value", "EX", "60"], Value::Status("OK".into()));
    expect("GET", key, &["GET", key], Value::Bulk(b"value".to_vec()));
    expect("DEL", key, &["DEL", key], Value::Integer(1));
    expect("GET of a deleted key", key, &["GET", key], Value::Null);
    expect("INCR", counter, &["INCR", counter], Value::Integer(1));
    expect("INCR again", counter, &["INCR", counter], Value::Integer(2));
    expect("DEL of the counter", counter, &["DEL", counter], Value::Integer(1));
}

/// PINGs each node in turn.
fn latency(survey: &Survey, auth: &Auth) -> Result<String, String> {
    let connect = |address| Client::connect(address, auth).map_err(|error| format!("{address}: {error}"));
    let mut clients: Vec<Client> =
        survey.members.iter().map(|member| connect(&member.node.address)).collect::<Result<_, _>>()?;
    let mut sum_us = 0;
    for i in 0..PINGS {
        let turn = i % clients.len();
        let watch = Stopwatch::start();
        clients[turn].ask(&["PING"]).map_err(|error| error.to_string())?;
        sum_us += watch.elapsed_us();
    }
    let average_us = sum_us / PINGS as u64;
    let said = format!("{:.3} ms", average_us as f64 / 1000.0);
    if average_us < PING_AVERAGE_US_MAX { Ok(said) } else { Err(format!("{said}, 5 ms or more")) }
}

fn hits(router: &mut Router, prefix: &str) -> Result<String, String> {
    let key = |i: usize| format!("{prefix}:{i}");
    let measured = count_hits(router, &key);
    for i in 0..WRITES {
        let key = key(i);
        // They expire in any case.
        let _ = router.call(&key, &["DEL", &key]);
    }
    let hits = measured.map_err(|error| error.to_string())?;
    let percent = hits as f64 * 100.0 / READS as f64;
    let said = format!("{hits} hits, {percent:.1} %");
    if hits * 100 > READS * HITS_PERCENT_MIN { Ok(said) } else { Err(said) }
}

fn count_hits(router: &mut Router, key: &impl Fn(usize) -> String) -> Result<usize, Error> {
    for i in 0..WRITES {
        router.call(&key(i), &["SET", &key(i), &i.to_string(), "EX", "60"])?;
    }
    let mut rng = fastrand::Rng::with_seed(u64::from(std::process::id()));
    let mut hits = 0;
    for _ in 0..READS {
        let i = rng.usize(..WRITES);
        let value = router.call(&key(i), &["GET", &key(i)])?;
        hits += usize::from(value == Value::Bulk(i.to_string().into_bytes()));
    }
    Ok(hits)
}
