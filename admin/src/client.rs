//! One connection to one node: blocking, with timeouts.

use crate::address::Address;
use crate::error::Error;
use crate::info::Info;
use crate::resp::{self, Value};
use protocol::reply::write_command;
use std::fmt;
use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a node may take to accept a connection, and to answer a command.
pub const TIMEOUT_MS: u64 = 5000;

/// The password every node of a cluster shares, if it has one.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Auth(Option<String>);

impl Auth {
    pub fn new(password: Option<String>) -> Auth {
        Auth(password)
    }

    pub fn password(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// Why a command got no good reply.
#[derive(Debug)]
pub enum ClientError {
    Unreachable(io::Error),
    Lost(io::Error),
    /// The node's own words.
    Reply(String),
}

impl ClientError {
    /// The first word of an error reply.
    pub fn code(&self) -> &str {
        match self {
            ClientError::Reply(text) => text.split(' ').next().unwrap_or(""),
            _ => "",
        }
    }

    pub fn at(self, address: &Address) -> Error {
        Error::Node { address: address.clone(), source: self }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable(error) => write!(f, "cannot connect: {error}"),
            ClientError::Lost(error) if timed_out(error) => {
                write!(f, "no answer within {} s", TIMEOUT_MS / 1000)
            }
            ClientError::Lost(error) => write!(f, "connection lost: {error}"),
            ClientError::Reply(text) if text.starts_with("NOAUTH") => {
                f.write_str("the node wants a password: give it with -a, or in REDISCLI_AUTH")
            }
            ClientError::Reply(text) if text.starts_with("WRONGPASS") => {
                f.write_str("the node does not accept this password")
            }
            ClientError::Reply(text) => f.write_str(text),
        }
    }
}

/// A read timeout shows as either kind, by platform.
fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

pub struct Client {
    address: Address,
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
}

impl Client {
    /// Connects and gives the password. A password for a node that has none is no error, so that one environment
    /// serves both kinds.
    pub fn connect(address: &Address, auth: &Auth) -> Result<Client, ClientError> {
        let timeout = Duration::from_millis(TIMEOUT_MS);
        let at = address.resolve().map_err(ClientError::Unreachable)?;
        let stream = TcpStream::connect_timeout(&at, timeout).map_err(ClientError::Unreachable)?;
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(timeout)))
            .and_then(|()| stream.set_write_timeout(Some(timeout)))
            .map_err(ClientError::Unreachable)?;
        let mut client = Client { address: address.clone(), stream: BufReader::new(stream), out: Vec::new() };
        if let Some(password) = auth.password() {
            match client.call(&["AUTH", password]) {
                Err(ClientError::Reply(text)) if text.starts_with("ERR") => {}
                other => drop(other?),
            }
        }
        Ok(client)
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends one command and reads its reply; an error reply is an `Err`.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Value, ClientError> {
        self.out.clear();
        write_command(&mut self.out, args.iter().map(AsRef::as_ref));
        self.stream.get_mut().write_all(&self.out).map_err(ClientError::Lost)?;
        match resp::read(&mut self.stream).map_err(ClientError::Lost)? {
            Value::Error(text) => Err(ClientError::Reply(text)),
            value => Ok(value),
        }
    }

    /// Sends many commands at once, already in RESP, and reads that many replies; error replies are values among
    /// the others. Replies must be short: nothing is read before everything is sent.
    pub fn pipeline(&mut self, commands: &[u8], count: usize) -> Result<Vec<Value>, ClientError> {
        self.stream.get_mut().write_all(commands).map_err(ClientError::Lost)?;
        (0..count).map(|_| resp::read(&mut self.stream).map_err(ClientError::Lost)).collect()
    }

    /// As [`Client::call`], for callers that report by node.
    pub fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Value, Error> {
        self.call(args).map_err(|error| error.at(&self.address))
    }

    /// `INFO`, all default sections.
    pub fn info(&mut self) -> Result<Info, Error> {
        Ok(Info::parse(&self.ask(&["INFO"])?.text()))
    }

    /// `CLUSTER INFO`, which has the same form.
    pub fn cluster_info(&mut self) -> Result<Info, Error> {
        Ok(Info::parse(&self.ask(&["CLUSTER", "INFO"])?.text()))
    }
}
