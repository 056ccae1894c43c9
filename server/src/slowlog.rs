//! SLOWLOG: the commands that took longest, most recent first.

use crate::blocking::Waiter;
use crate::config::Settings;
use crate::exec::table::Command;
use crate::exec::{Cx, Session};
use parking_lot::Mutex;
use protocol::Argv;
use std::collections::VecDeque;

/// Arguments kept of a command, and bytes kept of an argument.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

pub struct Entry {
    pub id: i64,
    pub unix_seconds: i64,
    pub micros: u64,
    pub args: Vec<Vec<u8>>,
    pub peer: String,
    pub name: String,
}

#[derive(Default)]
pub struct Slowlog {
    entries: Mutex<(i64, VecDeque<Entry>)>,
}

impl Slowlog {
    /// Notes a command that has run. What a script calls is nobody's: no client has sent it.
    #[cold]
    pub fn record(&self, cx: &Cx<'_>, argv: Argv<'_>, micros: u64) {
        let client = (!cx.in_script).then_some(&*cx.session);
        self.note(cx.settings, cx.now_ms, (cx.command, argv, client), micros);
    }

    /// Notes a command that has waited for keys, and ends without being run again: waiting is not slow.
    #[cold]
    pub fn record_waited(&self, settings: &Settings, now_ms: i64, waiter: &Waiter) {
        if settings.slowlog_slower_than_micros == 0 {
            let ended = (waiter.command, waiter.argv.as_argv(), Some(&waiter.session));
            self.note(settings, now_ms, ended, 0);
        }
    }

    fn note(
        &self,
        settings: &Settings,
        now_ms: i64,
        (command, argv, client): (&'static Command, Argv<'_>, Option<&Session>),
        micros: u64,
    ) {
        if settings.slowlog_max_len == 0 {
            return;
        }
        let (peer, name) =
            client.map(|client| (client.peer.clone(), client.name.clone())).unwrap_or_default();
        let mut entries = self.entries.lock();
        let id = entries.0;
        entries.0 += 1;
        entries.1.push_front(Entry {
            id,
            unix_seconds: now_ms / 1000,
            micros,
            args: trimmed(argv, &crate::secrets::of(command, argv)),
            peer,
            name,
        });
        entries.1.truncate(settings.slowlog_max_len);
    }

    pub fn len(&self) -> usize {
        self.entries.lock().1.len()
    }

    pub fn reset(&self) {
        self.entries.lock().1.clear();
    }

    /// Shows the latest `count` entries.
    pub fn show(&self, count: usize, mut show: impl FnMut(usize, &mut dyn Iterator<Item = &Entry>)) {
        let entries = self.entries.lock();
        let count = count.min(entries.1.len());
        show(count, &mut entries.1.iter().take(count));
    }
}

fn trimmed(argv: Argv<'_>, secrets: &[usize]) -> Vec<Vec<u8>> {
    let kept = if argv.len() > ARGS_MAX { ARGS_MAX - 1 } else { argv.len() };
    let mut args: Vec<Vec<u8>> = argv
        .iter()
        .enumerate()
        .take(kept)
        .map(|(i, arg)| if secrets.contains(&i) { crate::secrets::REDACTED } else { arg })
        .map(|arg| match arg.len().checked_sub(ARG_BYTES_MAX) {
            None | Some(0) => arg.to_vec(),
            Some(more) => [&arg[..ARG_BYTES_MAX], format!("... ({more} more bytes)").as_bytes()].concat(),
        })
        .collect();
    if argv.len() > kept {
        args.push(format!("... ({} more arguments)", argv.len() - kept).into_bytes());
    }
    args
}
