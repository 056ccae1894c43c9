//! Bytes as clients send them, to stock and to Balas: what comes back, and whether the connection is closed, is the same.

use balas_tests::process::{self, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What ends a case: it leaves every mode a client can be in, and is answered by [`END`].
const LEAVE: &str = "RESET\r\nPING the-end\r\n";
const END: &[u8] = b"+RESET\r\n$7\r\nthe-end\r\n";
/// Begins a case in RESP3. What HELLO says of the server is not compared.
const RESP3: &str = "CLIENT REPLY SKIP\r\nHELLO 3\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

/// Names are for whoever reads a failure.
const CASES: &[(&str, &str)] = &[
    ("quotes", "SET \"a b\" 'x\\'y'\r\nGET \"a b\"\r\nSET h \"\\x41\\xzz\\n\\t\\q\"\r\nGET h\r\n"),
    ("blanks", "\r\n\n   \r\nPING\n\tSET\ta\tb\r\nGET a\r\n\"\"\r\n"),
    ("a quote that does not end", "SET \"a b\r\nPING\r\n"),
    ("text behind a quote", "SET \"a\"b c\r\nPING\r\n"),
    ("arrays of nothing", "*-1\r\n*0\r\nPING\r\n*0\r\n"),
    ("a count that is none", "*abc\r\n"),
    ("a count with a zero before it", "*01\r\n$4\r\nPING\r\n"),
    ("a count too large", "*2147483648\r\n"),
    ("no bulk string", "*1\r\n!4\r\nPING\r\n"),
    ("a negative length", "*1\r\n$-1\r\n"),
    ("a length too large", "*1\r\n$536870913\r\n"),
    ("no command", "*1\r\n$0\r\n\r\nfoo bar 'a\\r\\nb'\r\n"),
    ("HTTP, posted", "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET a b\r\n"),
    ("HTTP, its second line", "host: localhost\r\nSET a b\r\n"),
    ("commands behind QUIT", "PING\r\nQUIT\r\nPING\r\n"),
    ("RESET in a transaction", "MULTI\r\nSET a 1\r\nRESET\r\nGET a\r\nEXEC\r\n"),
    ("RESET among channels", "SUBSCRIBE a b\r\nPSUBSCRIBE c*\r\nSSUBSCRIBE s\r\nRESET\r\nPING\r\n"),
    ("commands of who listens", "SUBSCRIBE a\r\nGET x\r\nPING\r\nPING x\r\nUNSUBSCRIBE\r\nGET x\r\n"),
    ("channels in a transaction", "MULTI\r\nSUBSCRIBE a\r\nGET k\r\nPING\r\nEXEC\r\nPING\r\n"),
    ("no channels to leave", "UNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nSUNSUBSCRIBE\r\nUNSUBSCRIBE a b\r\n"),
    ("EXEC with arguments", "EXEC x\r\nMULTI\r\nEXEC x\r\nEXEC\r\nMULTI\r\nPING\r\nEXEC x\r\nPING\r\n"),
    (
        "errors in a transaction",
        "MULTI\r\nfoo\r\nEXEC\r\nMULTI\r\nSET a\r\nSET a b\r\nEXEC\r\nEXEC\r\nDISCARD\r\n",
    ),
    ("MULTI and WATCH in a transaction", "MULTI\r\nMULTI\r\nWATCH a\r\nPING\r\nEXEC\r\n"),
    ("a transaction that fails in part", "MULTI\r\nSET k v\r\nLPUSH k x\r\nINCR k\r\nGET k\r\nEXEC\r\n"),
    ("REPLY OFF", "CLIENT REPLY OFF\r\nPING\r\nfoo\r\nCLIENT REPLY ON\r\nPING\r\n"),
    (
        "REPLY SKIP",
        "CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING\r\nPING\r\nMULTI\r\nCLIENT REPLY SKIP\r\nEXEC\r\nPING\r\n",
    ),
    (
        "REPLY OFF with channels",
        "CLIENT REPLY OFF\r\nSUBSCRIBE x\r\nPUBLISH x y\r\nCLIENT REPLY ON\r\nPING\r\n",
    ),
    (
        "CLIENT CACHING",
        "CLIENT TRACKING on OPTIN\r\nCLIENT CACHING yes\r\nCLIENT GETNAME\r\nCLIENT TRACKINGINFO\r\nGET k\r\nCLIENT TRACKINGINFO\r\n",
    ),
    (
        "HELLO that fails",
        "HELLO x\r\nHELLO 4\r\nHELLO 3 AUTH a\r\nHELLO 3 foo\r\nHELLO 3 SETNAME 'a b'\r\nHELLO 3 AUTH x y\r\n",
    ),
];

/// In RESP3. What is pushed to the client whose command it is follows the reply since 7.2; with 7.0 it came before.
const CASES_RESP3: &[(&str, &str)] = &[
    ("commands of who listens", "SUBSCRIBE a\r\nGET k\r\nPING\r\nUNSUBSCRIBE\r\n"),
    ("channels in a transaction", "MULTI\r\nSUBSCRIBE a b\r\nPING\r\nEXEC\r\nGET zz\r\n"),
    (
        "keys that change",
        "CLIENT TRACKING on\r\nGET k\r\nSET k a\r\nGET k\r\nFLUSHDB\r\nMULTI\r\nGET k\r\nSET k b\r\nEXEC\r\nPING\r\n",
    ),
    ("attributes and numbers", "DEBUG PROTOCOL attrib\r\nDEBUG PROTOCOL double\r\n"),
    (
        "maps and sets of scripts",
        "EVAL \"return {map={a=1}}\" 0\r\nEVAL \"return {set={a=true}}\" 0\r\nEVAL \"return {double=1.5}\" 0\r\n",
    ),
];

/// All that comes back, up to the end of the case or of the connection.
fn answer(server: &Server, bytes: &str) -> Vec<u8> {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    // It may be closed by what comes first.
    let _ = socket.write_all(format!("{bytes}{LEAVE}").as_bytes());
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !answer.ends_with(END) {
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&chunk[..len]),
            // What was not read of a closed connection resets it.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&answer)),
        }
    }
    answer
}

#[test]
fn bytes_are_answered_alike() {
    let directives = ["--enable-debug-command", "yes"];
    let [stock, balas] =
        [process::stock(), process::balas()].map(|binary| Server::start(&binary, &directives));
    let in_resp2 = CASES.iter().map(|&(name, bytes)| (name, bytes.to_owned()));
    let in_resp3 = CASES_RESP3.iter().map(|&(name, bytes)| (name, format!("{RESP3}{bytes}")));
    for (name, bytes) in in_resp2.chain(in_resp3) {
        let [expected, got] = [&stock, &balas].map(|server| {
            answer(server, "FLUSHALL\r\n");
            String::from_utf8_lossy(&answer(server, &bytes)).into_owned()
        });
        assert_eq!(got, expected, "{name}: {bytes:?}");
    }
}
