//! The simulator: a cluster of machines in one thread and virtual time, by seed.
//!
//! Everything that can differ between two runs comes from the seed: delays, faults, elections. A run ends
//! with [`Outcome`] or with a [`Violation`] that names the checker, and the same seed gives the same run.
//!
//! * [`World`] holds machines, disks, links and the event queue.
//! * [`Checker`] watches every step.
//! * [`Plan`] and [`run`] are the scenario: form, suffer, heal, converge.
//!
//! Links are TCP: ordered, and lost whole. A one-way partition holds frames back, as retransmission does,
//! until it heals or somebody gives the link up.

mod check;
mod net;
mod scenario;
mod world;

pub use check::{Checker, Violation};
pub use net::{Delays, Network};
pub use scenario::{Outcome, Plan, run, run_many};
pub use world::{World, WorldConfig};
