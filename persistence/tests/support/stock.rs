//! A stock server in a folder of its own, stopped when it goes out of scope.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Stock {
    process: Child,
    folder: PathBuf,
    connection: BufReader<TcpStream>,
}

#[derive(PartialEq, Debug)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Option<Vec<u8>>),
    Array(Vec<Reply>),
}

impl Reply {
    pub fn is_ok(&self) -> bool {
        matches!(self, Reply::Simple(text) if text == "OK")
    }

    pub fn into_bulk(self) -> Option<Vec<u8>> {
        match self {
            Reply::Bulk(bytes) => bytes,
            other => panic!("not a bulk string: {other:?}"),
        }
    }

    pub fn into_integer(self) -> Option<i64> {
        match self {
            Reply::Integer(value) => Some(value),
            _ => None,
        }
    }
}

/// A fresh, empty folder for a test.
pub fn temp_folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder =
        std::env::temp_dir().join(format!("balas-persistence-{}-{number}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

impl Stock {
    /// `None`, and a word about it, where no stock server is installed.
    pub fn start(name: &str, arguments: &[&str]) -> Option<Stock> {
        Stock::start_in(temp_folder(name), arguments)
    }

    pub fn start_with_file(name: &str, dump: &[u8]) -> Option<Stock> {
        let folder = temp_folder(name);
        fs::write(folder.join("dump.rdb"), dump).unwrap();
        Stock::start_in(folder, &[])
    }

    pub fn start_in(folder: PathBuf, arguments: &[&str]) -> Option<Stock> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let spawned = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .arg("--dir")
            .arg(&folder)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut process) = spawned else {
            eprintln!("skipped: no redis-server");
            return None;
        };
        let mut log = BufReader::new(process.stdout.take().unwrap());
        let mut lines = String::new();
        while !lines.contains("Ready to accept connections") {
            if log.read_line(&mut lines).unwrap() == 0 {
                panic!("redis-server did not start:\n{lines}");
            }
        }
        // Whatever else it logs must not block it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let connection = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        Some(Stock { process, folder, connection })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn command<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Reply {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
            request.extend_from_slice(word.as_ref());
            request.extend_from_slice(b"\r\n");
        }
        self.connection.get_mut().write_all(&request).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "+" => Reply::Simple(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Integer(rest.parse().unwrap()),
            "$" if rest == "-1" => Reply::Bulk(None),
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.connection.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(Some(bytes))
            }
            "*" => Reply::Array((0..rest.parse::<usize>().unwrap()).map(|_| self.reply()).collect()),
            _ => panic!("unknown reply {line:?}"),
        }
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
