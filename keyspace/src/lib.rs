//! The keyspace: values and their encodings, slot tables, expiry, eviction, snapshots, side tables.
//!
//! **Invariant:** no IO, no clock, no randomness of its own. Time comes in as milliseconds since the Unix
//! epoch, randomness as a generator the caller seeds.

pub mod hash;
pub mod intset;
pub mod listpack;
pub mod object;
pub mod table;
pub mod thin;
pub mod types;

pub use object::{Object, Type};
