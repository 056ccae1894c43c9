//! MONITOR: every command, as it is run, shown to those who ask.

use crate::clock;
use crate::exec::dispatch::Loading;
use crate::exec::spec::Flags;
use crate::exec::table::Command;
use crate::exec::{Cx, Session, SessionFlags};
use crate::net::Mail;
use crate::secrets::{self, REDACTED};
use parking_lot::RwLock;
use protocol::Argv;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[derive(Default)]
pub struct Monitors {
    /// With the threads that own them.
    clients: RwLock<Vec<(u64, usize)>>,
    is_any: AtomicBool,
}

impl Monitors {
    #[inline]
    pub fn is_any(&self) -> bool {
        self.is_any.load(Relaxed)
    }

    pub fn add(&self, session: &mut Session) {
        if session.is(SessionFlags::MONITOR) {
            return;
        }
        session.flags.insert(SessionFlags::MONITOR);
        self.clients.write().push((session.id, session.thread));
        self.is_any.store(true, Relaxed);
    }

    pub fn remove(&self, session: &mut Session) {
        if !session.is(SessionFlags::MONITOR) {
            return;
        }
        session.flags.remove(SessionFlags::MONITOR);
        let mut clients = self.clients.write();
        clients.retain(|(client, _)| *client != session.id);
        self.is_any.store(!clients.is_empty(), Relaxed);
    }
}

/// Shows a command to all monitors, unless it is one that is not to be seen.
#[cold]
pub fn show(cx: &Cx<'_>, command: &Command, argv: Argv<'_>) {
    let hidden = Flags::ADMIN | Flags::SKIP_MONITOR;
    let is_hidden = command.spec.flags.intersects(hidden) && !command.has(Flags::RUNS_SCRIPT);
    if is_hidden || cx.is_retry || cx.batch.loading == Loading::Alone || cx.session.is(SessionFlags::LOADER) {
        return;
    }
    let bytes: Arc<[u8]> = line(cx, command, argv).into();
    for &(client, thread) in cx.server.monitors.clients.read().iter() {
        cx.server.post(thread, Mail::Monitored { client, bytes: bytes.clone() });
    }
}

fn line(cx: &Cx<'_>, command: &Command, argv: Argv<'_>) -> Vec<u8> {
    let micros = clock::now_micros();
    let mut line = Vec::with_capacity(64);
    let db = cx.session.db;
    // Writing to a vector cannot fail.
    let _ = write!(line, "+{}.{:06} [{db} ", micros / 1_000_000, micros % 1_000_000);
    match () {
        () if cx.in_script => line.extend_from_slice(b"lua"),
        () if cx.session.is(SessionFlags::UNIX_SOCKET) => {
            let _ = write!(line, "unix:{}", cx.settings.unixsocket);
        }
        () => line.extend_from_slice(cx.session.peer.as_bytes()),
    }
    line.push(b']');
    let hidden = secrets::of(command, argv);
    for (at, arg) in argv.iter().enumerate() {
        line.push(b' ');
        append_quoted(&mut line, if hidden.contains(&at) { REDACTED } else { arg });
    }
    line.extend_from_slice(b"\r\n");
    line
}

/// In double quotes, what is not printed plainly escaped.
pub fn append_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted() {
        let mut out = Vec::new();
        append_quoted(&mut out, b"a \"b\"\\\n\x07\x00\xff");
        assert_eq!(out, br#""a \"b\"\\\n\a\x00\xff""#);
    }
}
