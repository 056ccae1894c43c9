//! A debugging session: SCRIPT DEBUG SYNC, then EVAL. The script stops before a line, and the client's socket speaks to the
//! debugger until the script goes on. Commands come as RESP arrays, answers go as arrays of status lines.
//!
//! What concerns the interpreter itself is left to it ([`Act`]).

use crate::net::Socket;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::time::Duration;

/// Lines before and after the one that `list` shows.
const CONTEXT: i64 = 5;
/// Values and replies are cut off here, unless `maxlen` says otherwise.
const LEN_MAX: usize = 256;
/// Longest command, and longest word of one.
const COMMAND_BYTES: usize = 1 << 20;
const WORD_BYTES: usize = 1024;
const WORDS: usize = 1024;
/// How long a client that does not read is waited for.
const SEND_PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

pub struct Debugger {
    socket: Socket,
    input: Vec<u8>,
    lines: Vec<Vec<u8>>,
    breakpoints: BTreeSet<usize>,
    current: usize,
    /// Stops at the next line.
    steps: bool,
    /// redis.breakpoint() was called.
    asked: bool,
    logs: Vec<Vec<u8>>,
    /// 0 for no limit.
    len_max: usize,
    knows_maxlen: bool,
    /// The client has gone: the script runs to its end.
    gone: bool,
}

/// What the client's next words ask for.
pub enum Act {
    /// Nothing has come yet.
    Wait,
    /// It has been answered.
    Done,
    /// The script is to go on.
    Resume,
    Abort,
    Fail(&'static str),
    Eval(Vec<u8>),
    /// A command of the server, to be run as the script would.
    Call(Vec<Vec<u8>>),
    /// The value of this variable; of all local ones, if it is `None`.
    Print(Option<Vec<u8>>),
    Trace,
}

impl Debugger {
    pub fn new(socket: Socket) -> Debugger {
        Debugger {
            socket,
            input: Vec::new(),
            lines: Vec::new(),
            breakpoints: BTreeSet::new(),
            current: 0,
            steps: true,
            asked: false,
            logs: Vec::new(),
            len_max: LEN_MAX,
            knows_maxlen: false,
            gone: false,
        }
    }

    /// A script is about to run. It stops at its first line.
    pub fn begin(&mut self, source: &[u8]) {
        self.lines = source.trim_ascii_end().split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
        self.steps = true;
    }

    pub fn end(&mut self) {
        self.log("<endsession>");
        self.send();
    }

    /// What the script calls is shown.
    pub fn is_stepping(&self) -> bool {
        self.steps
    }

    pub fn current_line(&self) -> usize {
        self.current
    }

    pub fn ask_to_stop(&mut self) {
        self.asked = true;
    }

    /// Shows what is called, or not.
    pub fn set_stepping(&mut self, steps: bool) {
        self.steps = steps;
    }

    /// The script is at a line. True if it stops there.
    pub fn arrive(&mut self, line: usize) -> bool {
        self.current = line;
        let at_breakpoint = self.breakpoints.contains(&line);
        if self.gone || !(self.steps || at_breakpoint || self.asked) {
            return false;
        }
        let reason = match () {
            () if self.asked => "redis.breakpoint() called",
            () if at_breakpoint => "break point",
            () => "step over",
        };
        (self.steps, self.asked) = (false, false);
        self.log(&format!("* Stopped at {line}, stop reason = {reason}"));
        self.log_source(line);
        self.send();
        true
    }

    pub fn log(&mut self, line: &str) {
        self.logs.push(line.as_bytes().to_vec());
    }

    /// Logs something that may be long.
    pub fn log_value(&mut self, mut line: Vec<u8>) {
        let is_cut = self.len_max > 0 && line.len() > self.len_max;
        if is_cut {
            line.truncate(self.len_max);
            line.extend_from_slice(b" ...");
        }
        self.logs.push(line);
        if is_cut && !std::mem::replace(&mut self.knows_maxlen, true) {
            self.log("<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming.");
        }
    }

    pub fn log_source(&mut self, line: usize) {
        let mark = match (line == self.current, self.breakpoints.contains(&line)) {
            (true, true) => "->#",
            (true, false) => "-> ",
            (false, true) => "  #",
            (false, false) => "   ",
        };
        let text = line.checked_sub(1).and_then(|at| self.lines.get(at));
        let text = text.map_or(&b"<out of range source code line>"[..], |text| text);
        self.logs.push([format!("{mark}{line:<3} ").as_bytes(), text].concat());
    }

    /// Sends what has been logged. A client that does not take it is gone.
    pub fn send(&mut self) {
        let mut out = format!("*{}\r\n", self.logs.len()).into_bytes();
        for line in self.logs.drain(..) {
            out.push(b'+');
            out.extend(line.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
            out.extend_from_slice(b"\r\n");
        }
        let mut sent = 0;
        let began = crate::clock::monotonic();
        while sent < out.len() && !self.gone {
            match self.socket.write(&out[sent..]) {
                Ok(n) => sent += n,
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && began.elapsed() < SEND_PATIENCE =>
                {
                    std::thread::sleep(PAUSE);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
    }

    /// The client has gone, or the process ends: nothing stops the script any more.
    pub fn leave(&mut self) {
        self.gone = true;
        self.steps = false;
        self.breakpoints.clear();
    }

    /// Takes the next command of the client, and carries it out if it can. Waits a little if there is none.
    pub fn next_act(&mut self) -> Act {
        let words = match split_command(&mut self.input) {
            Ok(Some(words)) => words,
            Ok(None) => return self.read(),
            Err(()) => {
                self.input.clear();
                return Act::Fail("protocol error");
            }
        };
        let act = self.act(&words);
        if matches!(act, Act::Done) {
            self.send();
        }
        act
    }

    fn read(&mut self) -> Act {
        let mut piece = [0; 1024];
        match self.socket.read(&mut piece) {
            Ok(0) => self.leave(),
            Ok(n) => self.input.extend_from_slice(&piece[..n]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                std::thread::sleep(PAUSE);
            }
            Err(_) => self.leave(),
        }
        match () {
            () if self.gone => Act::Resume,
            () if self.input.len() > COMMAND_BYTES => {
                self.input.clear();
                Act::Fail("max client buffer reached")
            }
            () => Act::Wait,
        }
    }

    fn act(&mut self, words: &[Vec<u8>]) -> Act {
        let name = words[0].to_ascii_lowercase();
        let number = |at: usize| words.get(at).and_then(|word| protocol::number::parse_i64(word));
        match &*name {
            b"h" | b"help" => HELP.iter().for_each(|line| self.log(line)),
            b"s" | b"step" | b"n" | b"next" => {
                self.steps = true;
                return Act::Resume;
            }
            b"c" | b"continue" => return Act::Resume,
            b"a" | b"abort" => return Act::Abort,
            b"t" | b"trace" => return Act::Trace,
            b"e" | b"eval" => return Act::Eval(words[1..].join(&b' ')),
            b"r" | b"redis" if words.len() > 1 => return Act::Call(words[1..].to_vec()),
            b"p" | b"print" => return Act::Print(words.get(1).cloned().filter(|_| words.len() == 2)),
            b"m" | b"maxlen" => self.limit_len(number(1)),
            b"b" | b"break" => self.change_breakpoints(&words[1..]),
            b"l" | b"list" => {
                let around = number(1).filter(|&line| line > 0).unwrap_or(self.current as i64);
                self.list(around, number(2).unwrap_or(CONTEXT));
            }
            b"w" | b"whole" => self.list(1, i64::from(i32::MAX)),
            _ => self.log("<error> Unknown Redis Lua debugger command or wrong number of arguments."),
        }
        Act::Done
    }

    fn limit_len(&mut self, len: Option<i64>) {
        if let Some(len) = len {
            self.knows_maxlen = true;
            self.len_max = if len <= 0 { 0 } else { (len as usize).max(60) };
        }
        match self.len_max {
            0 => self.log("<value> replies are unlimited."),
            len => self.log(&format!("<value> replies are truncated at {len} bytes.")),
        }
    }

    fn list(&mut self, around: i64, context: i64) {
        for line in (1..=self.lines.len()).filter(|&line| (line as i64).abs_diff(around) as i64 <= context) {
            self.log_source(line);
        }
    }

    fn change_breakpoints(&mut self, words: &[Vec<u8>]) {
        if words.is_empty() {
            let all: Vec<usize> = self.breakpoints.iter().copied().collect();
            match all.len() {
                0 => self.log("No breakpoints set. Use 'b <line>' to add one."),
                n => self.log(&format!("{n} breakpoints set:")),
            }
            return all.into_iter().for_each(|line| self.log_source(line));
        }
        for word in words {
            match protocol::number::parse_i64(word) {
                None => self.log(&format!("Invalid argument:'{}'", String::from_utf8_lossy(word))),
                Some(0) => {
                    self.breakpoints.clear();
                    self.log("All breakpoints removed.");
                }
                Some(line @ 1..) if line as usize <= self.lines.len() => {
                    self.breakpoints.insert(line as usize);
                    self.list(line, 1);
                }
                Some(1..) => self.log("Wrong line number."),
                Some(line) => {
                    let was_there = self.breakpoints.remove(&(line.unsigned_abs() as usize));
                    let said = if was_there {
                        "Breakpoint removed."
                    } else {
                        "No breakpoint in the specified line."
                    };
                    self.log(said);
                }
            }
        }
    }
}

/// Takes one command off the front of the input: its words, or nothing while it is not whole.
fn split_command(input: &mut Vec<u8>) -> Result<Option<Vec<Vec<u8>>>, ()> {
    let Some((count, mut at)) = header(input, 0, b'*', WORDS)? else { return Ok(None) };
    let mut words = Vec::with_capacity(count.min(16));
    for _ in 0..count {
        let Some((len, start)) = header(input, at, b'$', WORD_BYTES)? else { return Ok(None) };
        let Some(word) = input.get(start..start + len + 2) else { return Ok(None) };
        words.push(word.strip_suffix(b"\r\n").ok_or(())?.to_vec());
        at = start + len + 2;
    }
    input.clear();
    Ok(Some(words))
}

/// A kind and a number on a line of their own: the number, and where the line ends.
fn header(input: &[u8], at: usize, kind: u8, max: usize) -> Result<Option<(usize, usize)>, ()> {
    let rest = &input[at..];
    let Some(first) = rest.first() else { return Ok(None) };
    if *first != kind {
        return Err(());
    }
    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
        return if rest.len() > 32 { Err(()) } else { Ok(None) };
    };
    let number = protocol::number::parse_u64(&rest[1..end]).filter(|&n| n > 0 && n <= max as u64).ok_or(())?;
    Ok(Some((number as usize, at + end + 2)))
}

const HELP: &[&str] = &[
    "Redis Lua debugger help:",
    "[h]elp               This text.",
    "[s]tep               Run the current line and stop at the next.",
    "[n]ext               The same as step.",
    "[c]ontinue           Run to the next breakpoint.",
    "[l]ist [line] [ctx]  Show the source around a line: so many lines before and after it.",
    "[w]hole              Show all of the source.",
    "[p]rint <var>        Show KEYS, ARGV or what else is global.",
    "[b]reak              Show all breakpoints.",
    "[b]reak <line>       Add a breakpoint; with a minus sign, remove it; 0 removes all.",
    "[t]race              Show where the script is.",
    "[e]val <code>        Run some Lua code.",
    "[r]edis <cmd>        Run a command of the server.",
    "[m]axlen [len]       Cut off values and replies at this length; 0 for no limit.",
    "[a]bort              End the script. What it has changed stays so.",
    "",
    "A script can call:",
    "redis.debug()        Shows values here.",
    "redis.breakpoint()   Stops before the next line.",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Result<Option<Vec<String>>, ()> {
        let words = split_command(&mut text.as_bytes().to_vec())?;
        Ok(words.map(|words| words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()))
    }

    #[test]
    fn commands_are_whole_unfinished_or_none() {
        assert_eq!(split("*2\r\n$1\r\nb\r\n$2\r\n12\r\n"), Ok(Some(vec!["b".into(), "12".into()])));
        for unfinished in ["", "*", "*2", "*2\r\n", "*2\r\n$1\r\nb\r\n", "*2\r\n$1\r\nb\r\n$2\r\n12\r"] {
            assert_eq!(split(unfinished), Ok(None), "{unfinished:?}");
        }
        for none in [
            "PING\r\n",
            "*0\r\n",
            "*x\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n$1\r\nab\r\n",
            "*9999\r\n",
            "*1\r\n$9999\r\n",
        ] {
            assert_eq!(split(none), Err(()), "{none:?}");
        }
    }
}
