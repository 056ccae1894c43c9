//! The append-only file: a base and increments, and the manifest that says which ones count.
//!
//! ```text
//!  appendonlydir/appendonly.aof.manifest     file appendonly.aof.1.base.rdb seq 1 type b
//!                                            file appendonly.aof.1.incr.aof seq 1 type i
//!                appendonly.aof.1.base.rdb   the dataset at some offset
//!                appendonly.aof.1.incr.aof   every write since, in RESP
//! ```
//!
//! **Invariant:** files that a manifest names are safe on disk before the manifest is, and are removed only
//! after a manifest without them is.

pub mod commands;
mod manifest;
mod plan;
mod reader;
mod writer;

pub use manifest::{AofNames, FileInfo, FileKind, Manifest, ManifestError};
pub use plan::{Plan, PlanError, PlannedFile, plan};
pub use reader::{AofError, AofReader, Command, Record};
pub use writer::{AofWriter, Poisoned};
