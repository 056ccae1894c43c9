//! Cluster mode: the bus's state machine given sockets and a clock, and the routing of commands.

pub mod route;

use arc_swap::ArcSwap;
pub use cluster_bus::RoutingTable as Routing;
use std::sync::Arc;

pub struct Cluster {
    routing: ArcSwap<Routing>,
}

impl Cluster {
    pub fn routing(&self) -> Arc<Routing> {
        self.routing.load_full()
    }
}
