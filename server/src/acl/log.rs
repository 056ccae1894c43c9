//! ACL LOG: what was denied, the latest first. Repetitions are counted.

use super::selector::Denied;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// Entries that are looked at for a repetition.
const SEARCHED: usize = 10;
/// How far apart repetitions may be.
const REPETITION_MS: i64 = 60_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    Command,
    Key,
    Channel,
    Auth,
}

impl Reason {
    pub const ALL: [Reason; 4] = [Reason::Auth, Reason::Command, Reason::Key, Reason::Channel];

    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
        }
    }

    /// As INFO calls it, behind `acl_access_denied_`.
    pub fn short_name(self) -> &'static str {
        if self == Reason::Command { "cmd" } else { self.name() }
    }
}

impl From<Denied> for Reason {
    fn from(denied: Denied) -> Reason {
        match denied {
            Denied::Command => Reason::Command,
            Denied::Key(_) => Reason::Key,
            Denied::Channel(_) => Reason::Channel,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    Toplevel,
    Multi,
    Lua,
}

impl Context {
    pub fn name(self) -> &'static str {
        match self {
            Context::Toplevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// What was denied to whom.
pub struct Happened {
    pub reason: Reason,
    pub context: Context,
    /// The command, key or channel.
    pub object: Box<[u8]>,
    pub user: Box<[u8]>,
    /// The client's line of CLIENT LIST.
    pub client: String,
}

pub struct Entry {
    pub id: u64,
    pub count: u64,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub what: Happened,
}

#[derive(Default)]
pub struct Log {
    entries: Mutex<(u64, VecDeque<Entry>)>,
    counts: [AtomicU64; 4],
}

impl Log {
    pub fn add(&self, max_len: usize, now_ms: i64, what: Happened) {
        self.counts[what.reason as usize].fetch_add(1, Ordering::Relaxed);
        let mut guard = self.entries.lock();
        let (next_id, entries) = &mut *guard;
        let repeats = |entry: &Entry| {
            let other = &entry.what;
            (other.reason, other.context) == (what.reason, what.context)
                && (now_ms - entry.updated_ms).abs() <= REPETITION_MS
                && (&other.object, &other.user) == (&what.object, &what.user)
        };
        if let Some(at) = entries.iter().take(SEARCHED).position(repeats)
            && let Some(mut entry) = entries.remove(at)
        {
            entry.count += 1;
            entry.updated_ms = now_ms;
            entry.what.client = what.client;
            entries.push_front(entry);
            return;
        }
        entries.push_front(Entry { id: *next_id, count: 1, created_ms: now_ms, updated_ms: now_ms, what });
        *next_id += 1;
        entries.truncate(max_len);
    }

    pub fn reset(&self) {
        self.entries.lock().1.clear();
    }

    /// Shows the latest `count` entries.
    pub fn show(&self, count: usize, mut show: impl FnMut(usize, &mut dyn Iterator<Item = &Entry>)) {
        let entries = &self.entries.lock().1;
        let count = count.min(entries.len());
        show(count, &mut entries.iter().take(count));
    }

    /// How often something was denied for this reason.
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_counted_and_the_oldest_go() {
        let log = Log::default();
        let what = |object: &[u8]| Happened {
            reason: Reason::Key,
            context: Context::Toplevel,
            object: object.into(),
            user: b"u".as_slice().into(),
            client: String::new(),
        };
        for (now_ms, object) in [(0, b"a"), (1, b"b"), (2, b"a"), (3, b"c"), (90_000, b"a")] {
            log.add(3, now_ms, what(object));
        }
        let mut seen = Vec::new();
        log.show(9, |len, entries| {
            seen.push((len as u64, 0, 0));
            seen.extend(entries.map(|entry| (entry.id, entry.count, entry.updated_ms)));
        });
        assert_eq!(seen, [(3, 0, 0), (3, 1, 90_000), (2, 1, 3), (0, 2, 2)]);
        assert_eq!((log.count(Reason::Key), log.count(Reason::Auth)), (5, 0));
    }
}
