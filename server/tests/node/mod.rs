//! A server process for a test, ours or stock's, in a folder of its own, and a connection to it.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

const OURS: &str = env!("CARGO_BIN_EXE_balas");
const STOCK: &str = "redis-server";
/// Polls of 10 ms until a server answers or has ended.
const TRIES: usize = 1000;

/// A reply.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Text(String),
    List(Vec<Value>),
    Null,
}

impl Value {
    pub fn text(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            other => panic!("{other:?} is no text"),
        }
    }

    pub fn list(&self) -> &[Value] {
        match self {
            Value::List(list) => list,
            other => panic!("{other:?} is no list"),
        }
    }
}

/// A connection, with the process behind it if this one started it.
pub struct Node {
    pub port: u16,
    stream: BufReader<TcpStream>,
    process: Option<(Child, PathBuf)>,
}

impl Node {
    pub fn ours(args: &[&str]) -> Node {
        Node::start(OURS, args).expect("our own binary runs")
    }

    /// `None` where no stock server is installed.
    pub fn stock(args: &[&str]) -> Option<Node> {
        Node::start(STOCK, args)
    }

    fn start(program: &str, args: &[&str]) -> Option<Node> {
        let dir = folder();
        let port = free_port();
        let log = File::create(dir.join("log")).expect("a log");
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--save", "", "--dir"])
            .arg(&dir)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        let child = match child {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            child => child.expect("the program starts"),
        };
        let mut process = Some((child, dir));
        for _ in 0..TRIES {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                let mut node = Node { port, stream: BufReader::new(stream), process: process.take() };
                if node.ask(&["PING"]) == Value::Text("PONG".into()) {
                    return Some(node);
                }
                process = node.process.take();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{program} does not answer on port {port}");
    }

    /// Another connection to the same server.
    pub fn another(&self) -> Node {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        Node { port: self.port, stream: BufReader::new(stream), process: None }
    }

    pub fn send(&mut self, args: &[&str]) {
        self.send_all(&[args]);
    }

    /// Sends commands in one piece.
    pub fn send_all(&mut self, commands: &[&[&str]]) {
        let text: String = commands.iter().map(|args| encoded(args)).collect();
        self.stream.get_mut().write_all(text.as_bytes()).expect("the server reads");
    }

    /// Sends bytes that need be no command. What the server does not read any more is lost.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// As [`Node::ask`]; `None` when the server closes the connection instead.
    pub fn try_ask(&mut self, args: &[&str]) -> Option<Value> {
        self.send_raw(encoded(args).as_bytes());
        let is_there = self.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        is_there.then(|| self.read())
    }

    /// A command's reply; an error is its text.
    pub fn ask(&mut self, args: &[&str]) -> Value {
        self.send(args);
        self.read()
    }

    pub fn read(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a reply");
        let (kind, rest) = line.trim_end().split_at(1);
        let count = || rest.parse::<i64>().expect("a length");
        match kind {
            "$" if count() < 0 => Value::Null,
            "$" => {
                let mut bytes = vec![0; count() as usize + 2];
                self.stream.read_exact(&mut bytes).expect("the whole reply");
                bytes.truncate(bytes.len() - 2);
                Value::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" if count() < 0 => Value::Null,
            "*" | ">" => Value::List((0..count()).map(|_| self.read()).collect()),
            "%" => Value::List((0..2 * count()).map(|_| self.read()).collect()),
            "_" => Value::Null,
            _ => Value::Text(rest.to_owned()),
        }
    }

    /// Waits for the server to close the connection. False if it sends something instead.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a process of its own").0.id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the process to end.
    pub fn exit_code(&mut self) -> Option<i32> {
        let child = &mut self.process.as_mut().expect("a process of its own").0;
        for _ in 0..TRIES {
            if let Some(status) = child.try_wait().expect("it is our child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the process does not end");
    }

    pub fn log(&self) -> String {
        let dir = &self.process.as_ref().expect("a process of its own").1;
        std::fs::read_to_string(dir.join("log")).expect("a log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some((child, dir)) = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("{}", std::fs::read_to_string(dir.join("log")).unwrap_or_default());
            }
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

fn encoded(args: &[&str]) -> String {
    let mut line = format!("*{}\r\n", args.len());
    args.iter().for_each(|arg| line.push_str(&format!("${}\r\n{arg}\r\n", arg.len())));
    line
}

/// Runs our binary to its end.
pub fn run_ours(args: &[&str]) -> Output {
    Command::new(OURS).args(args).stdin(Stdio::null()).output().expect("our own binary runs")
}

/// A port that is free, that no other test of this process is given, and that no connection going out has.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 21_000;
    const COUNT: u16 = 10_000;
    // Test processes that run side by side look in different places.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    loop {
        let offset = start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + offset % COUNT;
        // Listening to find out would leave a listener behind in a process another test is starting right now.
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

/// A new empty folder.
fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("balas-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).expect("a folder");
    dir
}
