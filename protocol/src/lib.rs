//! The words Balas speaks: RESP2 and RESP3, inline commands, hash slots, redirects and error texts.
//!
//! **Invariant:** this crate knows no key's value and does no IO. Bytes come in as slices and leave in
//! buffers the caller owns.

pub mod args;
pub mod error;
pub mod glob;
pub mod number;
pub mod reply;
pub mod request;
pub mod slot;

pub use args::{ArgVec, Args, Argv};
pub use error::ReplyError;
pub use reply::{Reply, Resp};
pub use slot::{SLOT_COUNT, Slot, slot_of};
