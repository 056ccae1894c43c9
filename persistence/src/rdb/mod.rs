//! The RDB format: files, full syncs, the payloads of DUMP and RESTORE.
//!
//! ```text
//!  keyspace ──▶ Encoder (entry ▶ bytes, in any thread) ──▶ Writer (header … chunks … checksum) ──▶ file, socket
//!  keyspace ◀── Sink ◀── load ◀── Reader (bytes ▶ events)  ◀───────────────────────────────────── file, socket
//! ```
//!
//! **Invariant:** nothing here trusts a byte. Memory for a string is taken as its bytes arrive, collections
//! are validated from end to end before the keyspace sees them, and every error names its offset.

mod decode;
mod dump;
mod encode;
mod error;
pub mod format;
pub mod functions;
mod input;
mod load;
mod reader;
mod stream;
mod strings;
mod writer;
mod ziplist;

pub use decode::Value;
pub use dump::{RestoreError, dump, restore, restore_unverified};
pub use encode::{Access, EncodeOptions, Encoder};
pub use error::{RdbError, Unsupported};
pub use format::RdbVersion;
pub use load::{LoadError, LoadReport, Sink, load};
pub use reader::{Checksum, Doing, Event, LoadedEntry, ReadOptions, Reader, Usage};
pub use writer::{ReplicationInfo, SavedBy, Writer};
