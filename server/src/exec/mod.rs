//! Running commands: the table, the checks, the locks, and what a handler is given to work with.

pub mod checks;
pub mod cx;
pub mod dispatch;
pub mod effects;
pub mod keys;
pub mod queue;
mod serve;
pub mod session;
pub mod spec;
pub mod table;

pub use cx::Cx;
pub use dispatch::{Batch, Executor, Outcome};
pub use keys::Keys;
pub use session::{Session, SessionFlags};
