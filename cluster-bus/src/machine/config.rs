//! What the operator configured, as far as the bus cares.

use crate::id::NodeIp;

/// Settings of the bus. All can change while it runs ([`Machine::reconfigure`](super::Machine::reconfigure)).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `cluster-node-timeout`: silence after which a node may be failing.
    pub node_timeout_ms: i64,
    /// `cluster-ping-interval` (hidden in stock): 0 is half the node timeout.
    pub ping_interval_ms: i64,
    /// `cluster-replica-validity-factor`: 0 is "any data is good enough".
    pub replica_validity_factor: i64,
    /// `repl-ping-replica-period`, part of the validity of a replica's data.
    pub repl_ping_period_ms: i64,
    /// `cluster-migration-barrier`: replicas a master keeps when one migrates away.
    pub migration_barrier: usize,
    /// `cluster-allow-replica-migration`.
    pub allow_replica_migration: bool,
    /// `cluster-require-full-coverage`.
    pub require_full_coverage: bool,
    /// `cluster-replica-no-failover`.
    pub replica_no_failover: bool,
    /// `cluster-announce-ip`: `None` lets the peers find out.
    pub announce_ip: Option<NodeIp>,
    /// Announced plain-text client port (`cluster-announce-port` or `port`), 0 if none.
    pub tcp_port: u16,
    /// Announced TLS client port (`cluster-announce-tls-port` or `tls-port`), 0 if none.
    pub tls_port: u16,
    /// Announced bus port (`cluster-announce-bus-port`, `cluster-port`, or client port + 10000).
    pub bus_port: u16,
    /// `tls-cluster`: the bus is TLS, so the TLS client port is the primary one.
    pub tls_cluster: bool,
    /// `tls-replication`: replicas dial the TLS port of their master.
    pub tls_replication: bool,
    /// `cluster-announce-hostname`, empty if none.
    pub hostname: String,
    /// `cluster-announce-human-nodename`, empty if none.
    pub human_nodename: String,
    /// Whether refused connections count as evidence of death (ours, off = stock behaviour).
    pub refusal_evidence: Option<RefusalEvidence>,
}

/// When refused connections make a node PFAIL before `node_timeout_ms`.
///
/// A host that answers a dial with a reset is up and says that nobody listens: its process died. One refusal
/// proves little (a restart, a full accept queue), so a node must have been seen alive and then refuse
/// `min_refusals` dials in a row over at least `min_duration_ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefusalEvidence {
    pub min_refusals: u32,
    pub min_duration_ms: i64,
}

impl RefusalEvidence {
    /// Three refusals over a fifth of the node timeout, at least 500 ms and at most 3 s.
    pub fn for_node_timeout(node_timeout_ms: i64) -> RefusalEvidence {
        RefusalEvidence { min_refusals: 3, min_duration_ms: (node_timeout_ms / 5).clamp(500, 3000) }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node_timeout_ms: 15_000,
            ping_interval_ms: 0,
            replica_validity_factor: 10,
            repl_ping_period_ms: 10_000,
            migration_barrier: 1,
            allow_replica_migration: true,
            require_full_coverage: true,
            replica_no_failover: false,
            announce_ip: None,
            tcp_port: 6379,
            tls_port: 0,
            bus_port: 16379,
            tls_cluster: false,
            tls_replication: false,
            hostname: String::new(),
            human_nodename: String::new(),
            refusal_evidence: Some(RefusalEvidence::for_node_timeout(15_000)),
        }
    }
}

impl Config {
    /// The defaults for a node timeout, the weight of refused connections included.
    pub fn for_node_timeout(node_timeout_ms: i64) -> Config {
        let refusal_evidence = Some(RefusalEvidence::for_node_timeout(node_timeout_ms));
        Config { node_timeout_ms, refusal_evidence, ..Config::default() }
    }

    pub(crate) fn ping_interval_ms(&self) -> i64 {
        if self.ping_interval_ms > 0 { self.ping_interval_ms } else { self.node_timeout_ms / 2 }
    }

    /// Life of a node that has not introduced itself yet.
    pub(crate) fn handshake_timeout_ms(&self) -> i64 {
        self.node_timeout_ms.max(1000)
    }

    /// How long an election may take before it is void.
    pub(crate) fn auth_timeout_ms(&self) -> i64 {
        (self.node_timeout_ms * 2).max(2000)
    }
}
