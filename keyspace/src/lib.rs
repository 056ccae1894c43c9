//! The keyspace: values and their encodings, slot tables, expiry, eviction, snapshots, side tables.
//!
//! **Invariant:** no IO, no clock, no randomness of its own. Time comes in as milliseconds since the Unix
//! epoch, randomness as a generator the caller seeds.

pub mod access;
pub mod census;
pub mod db;
pub mod entry;
pub mod evict;
pub mod expire;
pub mod hash;
pub mod intset;
pub mod listpack;
pub mod object;
mod prefetch;
pub mod side;
pub mod slot;
pub mod snapshot;
pub mod table;
pub mod thin;
pub mod types;

pub use db::{Db, Keyspace, SlotGuard};
pub use entry::{Entry, NewValue, StringEncoding, ValueRef};
pub use object::{Object, SharedObject, Type};
pub use slot::{EntryMut, SlotData};
pub use snapshot::{SlotSaver, SnapshotId};
