//! What stands for a thread's connections in the gate's cells.

/// The server keeps connections here; a model counts.
#[derive(Default)]
pub struct IoState {
    pub batches: u64,
}
