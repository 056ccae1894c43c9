//! Freeing large values away from clients: a helper thread drops what it is sent.

use keyspace::table::Table;
use keyspace::{Entry, SharedObject};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

/// Values that take more frees than this are worth a trip to another thread.
const WORTHWHILE_EFFORT: usize = 64;

/// What the helper drops.
enum Garbage {
    Object(SharedObject),
    Tables(Vec<Table<Entry>>),
}

impl Garbage {
    fn drop(self) {
        match self {
            Garbage::Object(object) => drop(object),
            Garbage::Tables(tables) => {
                drop(tables);
                DATABASES.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn objects(&self) -> usize {
        match self {
            Garbage::Object(_) => 1,
            Garbage::Tables(tables) => tables.iter().map(Table::len).sum(),
        }
    }
}

/// Objects sent and not dropped yet.
static PENDING: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// Whole databases sent and not dropped yet.
static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// Whether a database that was emptied is still being dropped.
pub fn is_flushing() -> bool {
    DATABASES.load(Ordering::Relaxed) > 0
}

/// Objects that wait to be dropped: `lazyfree_pending_objects` of INFO.
pub fn pending_objects() -> usize {
    PENDING.load(Ordering::Relaxed)
}

/// Objects dropped by the helper so far: `lazyfreed_objects` of INFO.
pub fn freed_objects() -> u64 {
    FREED.load(Ordering::Relaxed)
}

/// The command that stands in the log for a deletion, by what the `lazyfree-lazy-*` directive says that applies.
pub fn deletion(lazy: bool) -> &'static [u8] {
    if lazy { b"UNLINK" } else { b"DEL" }
}

/// Sets `lazyfreed_objects` back.
pub fn reset() {
    FREED.store(0, Ordering::Relaxed);
}

/// Drops an entry; its value elsewhere if that is much work.
pub fn drop_entry(entry: Entry) {
    if let Some(object) = entry.into_object() {
        drop_object(object);
    }
}

/// Drops an object, elsewhere if that is much work.
pub fn drop_object(object: SharedObject) {
    if object.free_effort() > WORTHWHILE_EFFORT {
        send(Garbage::Object(object));
    }
}

/// Drops the tables of a whole database elsewhere.
pub fn drop_tables(tables: Vec<Table<Entry>>) {
    if !tables.is_empty() {
        DATABASES.fetch_add(1, Ordering::Relaxed);
        send(Garbage::Tables(tables));
    }
}

fn send(garbage: Garbage) {
    static HELPER: OnceLock<Option<Sender<Garbage>>> = OnceLock::new();
    // Without a helper, or when it is gone, the garbage is dropped here.
    let Some(helper) = HELPER.get_or_init(start) else { return garbage.drop() };
    PENDING.fetch_add(garbage.objects(), Ordering::Relaxed);
    if let Err(refused) = helper.send(garbage) {
        PENDING.fetch_sub(refused.0.objects(), Ordering::Relaxed);
        refused.0.drop();
    }
}

fn start() -> Option<Sender<Garbage>> {
    let (sender, receiver) = channel::<Garbage>();
    let work = move || {
        for garbage in receiver {
            let objects = garbage.objects();
            garbage.drop();
            PENDING.fetch_sub(objects, Ordering::Relaxed);
            FREED.fetch_add(objects as u64, Ordering::Relaxed);
        }
    };
    std::thread::Builder::new().name("lazyfree".into()).spawn(work).ok()?;
    Some(sender)
}
