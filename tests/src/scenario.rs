//! Scenarios of clients that wait, told to both servers line by line; what they reply must be the same.
//!
//! ```text
//!  a> BLPOP k 0      client a sends it, and is waited for until it waits
//!  b: RPUSH k 1      client b sends it and gets its reply
//!  a<                client a gets a reply
//!  a! PING           client a sends it, and nothing is awaited
//!  [2]               so many clients are to wait, before it goes on
//! ```
//!
//! `ID(a)` in a command is the number of client a. A client is made when it is first named.

use crate::cluster::now;
use crate::process::Server;
use crate::resp::{Client, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a client may take to begin to wait.
const SOON: Duration = Duration::from_secs(20);

struct Play<'s> {
    server: &'s Server,
    resp: u8,
    clients: BTreeMap<String, Client>,
    observer: Client,
    transcript: Vec<String>,
}

/// Plays `scenario` on an empty server; returns each line that has a reply, with the reply.
pub fn play(server: &Server, scenario: &str, resp: u8) -> Vec<String> {
    let mut observer = server.client();
    observer.call(&["FLUSHALL"]).expect("the server answers");
    let mut play = Play { server, resp, clients: BTreeMap::new(), observer, transcript: Vec::new() };
    scenario.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| play.line(line));
    drop(play.clients);
    // Whoever still waits is gone with its connection; the next scenario begins with nobody.
    play.clients = BTreeMap::new();
    play.wait_for_blocked(0, "the end");
    play.transcript
}

impl Play<'_> {
    fn line(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix('[') {
            let count = count.trim_end_matches(']').parse().expect("a number of clients");
            return self.wait_for_blocked(count, line);
        }
        let at = line.find(['>', ':', '<', '!']).unwrap_or_else(|| panic!("a line without a mark: {line}"));
        let (name, mark, text) = (&line[..at], &line[at..=at], line[at + 1..].trim());
        let argv: Vec<String> = text.split_whitespace().map(|word| self.word(word)).collect();
        let blocked = self.blocked();
        let client = self.client(name);
        let reply = match mark {
            ":" => Some(client.call(&argv)),
            "<" => Some(client.receive()),
            _ => {
                client.send(&argv).expect("the server reads");
                None
            }
        };
        if mark == ">" {
            self.wait_for_blocked(blocked + 1, line);
        }
        if let Some(reply) = reply {
            let reply =
                reply.map_or_else(|error| format!("{:?}", error.kind()), |reply| format!("{reply:?}"));
            self.transcript.push(format!("{line}  =>  {reply}"));
        }
    }

    /// A word of a command, with clients' numbers in place of their names.
    fn word(&mut self, word: &str) -> String {
        let Some(name) = word.strip_prefix("ID(") else { return word.to_owned() };
        let name = name.trim_end_matches(')').to_owned();
        self.client(&name);
        let list = self.observer.call(&["CLIENT", "LIST"]).expect("the server answers");
        let list = String::from_utf8_lossy(list.text().expect("a text")).into_owned();
        let of = format!(" name={name} ");
        let line = list.lines().find(|line| line.contains(&of)).expect("the client is listed");
        line.trim_start_matches("txt:").split_whitespace().next().expect("its id")[3..].to_owned()
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let (server, resp) = (self.server, self.resp);
        self.clients.entry(name.to_owned()).or_insert_with(|| {
            let mut client = server.client();
            let words = ["HELLO", &resp.to_string(), "SETNAME", name];
            client.call(&words).expect("the server answers");
            client
        })
    }

    fn blocked(&mut self) -> i64 {
        let info = self.observer.call(&["INFO", "clients"]).expect("the server answers");
        let info = String::from_utf8_lossy(info.text().expect("a text")).into_owned();
        let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
        line.and_then(|number| number.trim().parse().ok()).expect("a number")
    }

    fn wait_for_blocked(&mut self, count: i64, line: &str) {
        let since = now();
        while self.blocked() != count {
            assert!(
                since.elapsed() < SOON,
                "{line}: {} wait, not {count}\n{:#?}",
                self.blocked(),
                self.transcript
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The first line two transcripts differ in.
fn difference(one: &[String], other: &[String]) -> Option<String> {
    let longest = one.len().max(other.len());
    let line = |lines: &[String], i: usize| lines.get(i).cloned().unwrap_or_default();
    let at = (0..longest).find(|&i| line(one, i) != line(other, i))?;
    Some(format!("stock: {}\nbalas: {}", line(one, at), line(other, at)))
}

/// Plays all scenarios, a name and a text each, on both servers; returns what differs.
pub fn differences(stock: &Server, balas: &Server, scenarios: &[(&str, &str)], resp: u8) -> Vec<String> {
    let of = |(name, scenario): &(&str, &str)| {
        let expected = play(stock, scenario, resp);
        let found = difference(&expected, &play(balas, scenario, resp))?;
        Some(format!("{name}:\n{found}\n{expected:#?}"))
    };
    scenarios.iter().filter_map(of).collect()
}

/// A reply's texts, for tests that look at one server alone.
pub fn texts(reply: &Value) -> Vec<String> {
    reply
        .items()
        .iter()
        .filter_map(Value::text)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}
