//! The Redis Cluster bus: the gossip wire format, the node state machine, nodes.conf.
//!
//! * [`wire`] decodes and encodes messages, and cuts byte streams into frames.
//! * [`Machine`] is one node's part in the cluster: events in, actions out.
//! * [`RoutingTable`] is what the machine publishes for those who run commands.
//! * [`NodesConf`] is the file it remembers the cluster by.
//! * [`sim`] runs many machines in one thread and virtual time, by seed.
//!
//! **Invariant:** this crate opens no socket or file and reads no clock.
//!
//! `docs/cluster-bus.md` has the byte tables and the life of a failover.

mod flags;
mod id;
mod machine;
mod nodes_conf;
mod routing;
pub mod sim;
mod slot_set;
pub mod wire;

pub use flags::NodeFlags;
pub use id::{Address, Epoch, ID_LEN, NodeId, NodeIp, ShardId};
pub use machine::*;
pub use nodes_conf::{ConfError, ConfProblem, LineFor, NodeRecord, NodesConf};
pub use routing::{RouteNode, RoutingTable};
pub use slot_set::{SLOT_BITMAP_LEN, SlotBitmap, SlotSet, bitmap_has, bitmap_slots};
