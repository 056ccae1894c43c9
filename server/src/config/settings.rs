//! The settings the server works with: typed fields projected from the values of the table.

use super::Values;
use keyspace::evict::Policy;
use std::path::PathBuf;

/// One `save` point: snapshot after this many seconds when there were at least this many changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Save {
    pub seconds: i64,
    pub changes: u64,
}

/// Limits of a class of clients' output; zero means none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BufferLimit {
    pub hard_bytes: u64,
    pub soft_bytes: u64,
    pub soft_seconds: u64,
}

impl BufferLimit {
    /// The same, where neither limit is below `bytes`.
    pub fn at_least(&self, bytes: u64) -> BufferLimit {
        let raised = |limit: u64| if limit == 0 { 0 } else { limit.max(bytes) };
        BufferLimit { hard_bytes: raised(self.hard_bytes), soft_bytes: raised(self.soft_bytes), ..*self }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendFsync {
    Always,
    Everysec,
    No,
}

/// `repl-diskless-load`: when a full sync is loaded as it arrives, without a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DisklessLoad {
    Disabled,
    OnEmptyDb,
    /// Beside the old dataset, which is served or kept meanwhile.
    SwapDb,
}

/// What the server reads while it works. A parameter that nothing reads is in [`Values`] only.
#[derive(Clone, Debug)]
pub struct Settings {
    pub port: u16,
    pub bind: Vec<String>,
    pub unixsocket: String,
    pub tcp_backlog: i32,
    pub tcp_keepalive_seconds: u64,
    pub timeout_seconds: u64,
    pub maxclients: usize,
    pub proc_title_template: String,
    pub protected_mode: bool,
    pub databases: usize,
    pub io_threads: usize,
    pub hz: u64,
    pub loglevel: String,
    pub dir: PathBuf,
    pub tracking_table_max_keys: usize,
    pub requirepass: String,
    /// `acl-pubsub-default`: new users may use all channels.
    pub acl_all_channels: bool,
    pub aclfile: String,
    pub acllog_max_len: usize,
    pub masterauth: String,
    pub masteruser: String,

    pub maxmemory_bytes: u64,
    /// What clients may hold together; 0 for no limit.
    pub client_memory_limit_bytes: u64,
    pub maxmemory_policy: Policy,
    pub maxmemory_policy_name: String,
    pub maxmemory_samples: usize,
    pub maxmemory_eviction_tenacity: u32,
    pub lfu_log_factor: u32,
    pub lfu_decay_minutes: u32,
    pub proto_max_bulk_len: i64,
    pub query_buffer_limit_bytes: usize,
    pub buffer_limit_normal: BufferLimit,
    pub buffer_limit_replica: BufferLimit,
    pub buffer_limit_pubsub: BufferLimit,
    pub lazyfree_eviction: bool,
    pub lazyfree_expire: bool,
    pub lazyfree_server_del: bool,
    pub lazyfree_user_del: bool,
    pub lazyfree_user_flush: bool,
    pub limits: keyspace::types::Limits,

    pub slowlog_slower_than_micros: i64,
    pub slowlog_max_len: usize,
    pub latency_tracking: bool,
    pub latency_percentiles: Vec<f64>,
    pub oom_score_adj: OomScore,
    /// For a master, a replica, and a child process, of which there is none here.
    pub oom_score_adj_values: [i32; 3],
    /// Where connections to other nodes come from; empty for wherever the system likes.
    pub bind_source_addr: String,
    /// Pause after each key that is saved, in microseconds; when negative, one after so many keys.
    pub rdb_key_save_delay_micros: i64,
    pub latency_monitor_threshold_ms: u64,
    pub cluster_allow_pubsubshard_when_down: bool,
    /// A script that takes longer is slow; 0 for never.
    pub busy_reply_threshold_ms: u64,
    pub notify: crate::notify::Classes,
    pub enable_debug: Access,
    pub enable_protected_configs: Access,

    pub save: Vec<Save>,
    pub dbfilename: String,
    pub rdb_compression: bool,
    pub rdb_checksum: bool,
    pub stop_writes_on_bgsave_error: bool,
    pub sanitize_dump_payload: bool,
    pub appendonly: bool,
    pub appendfsync: AppendFsync,
    pub appendfilename: String,
    pub appenddirname: String,
    pub aof_load_truncated: bool,
    pub aof_use_rdb_preamble: bool,
    /// What time it was is noted in the AOF.
    pub aof_timestamp_enabled: bool,
    pub aof_rewrite_percentage: u64,
    pub aof_rewrite_min_bytes: u64,
    pub no_appendfsync_on_rewrite: bool,
    pub shutdown_timeout_seconds: u64,
    pub shutdown_on_sigterm: String,
    pub shutdown_on_sigint: String,

    pub replicaof: Option<(String, u16)>,
    pub replica_read_only: bool,
    pub replica_serve_stale_data: bool,
    pub replica_priority: i64,
    pub replica_announced: bool,
    pub replica_announce_ip: String,
    pub replica_announce_port: u16,
    pub replica_ignore_maxmemory: bool,
    pub repl_backlog_bytes: u64,
    pub repl_backlog_ttl_seconds: u64,
    pub repl_timeout_seconds: u64,
    pub repl_ping_period_seconds: u64,
    pub repl_diskless_sync: bool,
    pub repl_diskless_sync_delay_seconds: u64,
    /// So many need not wait for more; 0 for any number.
    pub repl_diskless_sync_max_replicas: usize,
    pub repl_diskless_load: DisklessLoad,
    /// What was written for a full sync is not kept as the dump.
    pub rdb_del_sync_files: bool,
    /// Pause after each key that is loaded, in microseconds; when negative, one after so many keys.
    pub key_load_delay_micros: i64,
    /// A master's dataset up to this size is loaded before anything else is done.
    pub loading_interval_bytes: u64,
    pub repl_disable_tcp_nodelay: bool,
    pub min_replicas_to_write: usize,
    pub min_replicas_max_lag_seconds: u64,

    pub cluster_enabled: bool,
    pub cluster_config_file: String,
    pub cluster_node_timeout_ms: u64,
    pub cluster_ping_interval_ms: u64,
    pub cluster_port: u16,
    pub cluster_announce_ip: String,
    pub cluster_announce_port: u16,
    pub cluster_announce_bus_port: u16,
    pub cluster_announce_hostname: String,
    pub cluster_announce_human_nodename: String,
    pub cluster_require_full_coverage: bool,
    pub cluster_allow_reads_when_down: bool,
    pub cluster_replica_validity_factor: u64,
    pub cluster_link_sendbuf_limit_bytes: usize,
    pub cluster_migration_barrier: usize,
    pub cluster_allow_replica_migration: bool,
    pub cluster_replica_no_failover: bool,
    pub cluster_preferred_endpoint: Endpoint,
}

/// Who may use what an `enable-*` parameter guards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    No,
    Yes,
    /// Connections from this machine only.
    Local,
}

/// What `oom-score-adj-values` are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OomScore {
    /// Nothing: the process keeps the score it was given.
    Untouched,
    /// They are added to the score the process was given.
    Relative,
    Absolute,
}

/// By what name redirects call a node (`cluster-preferred-endpoint-type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    Ip,
    Hostname,
    Unknown,
}

impl Settings {
    pub(super) fn project(values: &Values) -> Settings {
        let v = values;
        let text = |name| v.text(name).to_owned();
        let uint = |name| v.int(name) as u64;
        let size = |name| v.int(name) as usize;
        let limits = buffer_limits(v.text("client-output-buffer-limit"));
        Settings {
            port: v.int("port") as u16,
            bind: v.text("bind").split_ascii_whitespace().map(str::to_owned).collect(),
            unixsocket: text("unixsocket"),
            tcp_backlog: v.int("tcp-backlog") as i32,
            tcp_keepalive_seconds: uint("tcp-keepalive"),
            timeout_seconds: uint("timeout"),
            maxclients: size("maxclients"),
            proc_title_template: text("proc-title-template"),
            protected_mode: v.bool("protected-mode"),
            databases: size("databases"),
            io_threads: size("io-threads"),
            hz: uint("hz").clamp(1, 500),
            loglevel: text("loglevel"),
            dir: PathBuf::from(v.text("dir")),
            tracking_table_max_keys: size("tracking-table-max-keys"),
            requirepass: text("requirepass"),
            acl_all_channels: v.text("acl-pubsub-default") == "allchannels",
            aclfile: text("aclfile"),
            acllog_max_len: size("acllog-max-len"),
            masterauth: text("masterauth"),
            masteruser: text("masteruser"),
            maxmemory_bytes: uint("maxmemory"),
            maxmemory_policy: v.text("maxmemory-policy").parse().expect("one of the choices"),
            client_memory_limit_bytes: client_memory_limit(v.int("maxmemory-clients"), uint("maxmemory")),
            maxmemory_policy_name: text("maxmemory-policy"),
            maxmemory_samples: size("maxmemory-samples"),
            maxmemory_eviction_tenacity: v.int("maxmemory-eviction-tenacity") as u32,
            lfu_log_factor: v.int("lfu-log-factor") as u32,
            lfu_decay_minutes: v.int("lfu-decay-time") as u32,
            proto_max_bulk_len: v.int("proto-max-bulk-len"),
            query_buffer_limit_bytes: size("client-query-buffer-limit"),
            buffer_limit_normal: limits[0],
            buffer_limit_replica: limits[1],
            buffer_limit_pubsub: limits[2],
            lazyfree_eviction: v.bool("lazyfree-lazy-eviction"),
            lazyfree_expire: v.bool("lazyfree-lazy-expire"),
            lazyfree_server_del: v.bool("lazyfree-lazy-server-del"),
            lazyfree_user_del: v.bool("lazyfree-lazy-user-del"),
            lazyfree_user_flush: v.bool("lazyfree-lazy-user-flush"),
            limits: keyspace::types::Limits {
                list_max_listpack_size: v.int("list-max-listpack-size") as i32,
                hash_max_listpack_entries: size("hash-max-listpack-entries"),
                hash_max_listpack_value_bytes: size("hash-max-listpack-value"),
                set_max_intset_entries: size("set-max-intset-entries"),
                set_max_listpack_entries: size("set-max-listpack-entries"),
                set_max_listpack_value_bytes: size("set-max-listpack-value"),
                zset_max_listpack_entries: size("zset-max-listpack-entries"),
                zset_max_listpack_value_bytes: size("zset-max-listpack-value"),
                stream_node_max_bytes: size("stream-node-max-bytes"),
                stream_node_max_entries: size("stream-node-max-entries"),
                hll_sparse_max_bytes: size("hll-sparse-max-bytes"),
                ..Default::default()
            },
            slowlog_slower_than_micros: v.int("slowlog-log-slower-than"),
            slowlog_max_len: size("slowlog-max-len"),
            latency_tracking: v.bool("latency-tracking"),
            latency_percentiles: v
                .text("latency-tracking-info-percentiles")
                .split_ascii_whitespace()
                .map(|word| word.parse().expect("checked when it was set"))
                .collect(),
            oom_score_adj: match v.text("oom-score-adj") {
                "no" => OomScore::Untouched,
                "absolute" => OomScore::Absolute,
                _ => OomScore::Relative,
            },
            oom_score_adj_values: {
                let mut words = v.text("oom-score-adj-values").split_ascii_whitespace();
                [(); 3].map(|()| words.next().and_then(|word| word.parse().ok()).unwrap_or(0))
            },
            bind_source_addr: text("bind-source-addr"),
            rdb_key_save_delay_micros: v.int("rdb-key-save-delay"),
            latency_monitor_threshold_ms: uint("latency-monitor-threshold"),
            busy_reply_threshold_ms: v.int("busy-reply-threshold") as u64,
            notify: crate::notify::Classes::parse(v.text("notify-keyspace-events")).expect("canonical"),
            enable_debug: access(v.text("enable-debug-command")),
            enable_protected_configs: access(v.text("enable-protected-configs")),
            save: saves(v.text("save")),
            dbfilename: text("dbfilename"),
            rdb_compression: v.bool("rdbcompression"),
            rdb_checksum: v.bool("rdbchecksum"),
            stop_writes_on_bgsave_error: v.bool("stop-writes-on-bgsave-error"),
            sanitize_dump_payload: v.text("sanitize-dump-payload") != "no",
            appendonly: v.bool("appendonly"),
            appendfsync: match v.text("appendfsync") {
                "always" => AppendFsync::Always,
                "everysec" => AppendFsync::Everysec,
                _ => AppendFsync::No,
            },
            appendfilename: text("appendfilename"),
            appenddirname: text("appenddirname"),
            aof_load_truncated: v.bool("aof-load-truncated"),
            aof_use_rdb_preamble: v.bool("aof-use-rdb-preamble"),
            aof_timestamp_enabled: v.bool("aof-timestamp-enabled"),
            aof_rewrite_percentage: uint("auto-aof-rewrite-percentage"),
            aof_rewrite_min_bytes: uint("auto-aof-rewrite-min-size"),
            no_appendfsync_on_rewrite: v.bool("no-appendfsync-on-rewrite"),
            shutdown_timeout_seconds: uint("shutdown-timeout"),
            shutdown_on_sigterm: text("shutdown-on-sigterm"),
            shutdown_on_sigint: text("shutdown-on-sigint"),
            replicaof: v
                .text("replicaof")
                .split_once(' ')
                .map(|(host, port)| (host.to_owned(), port.parse().expect("checked when it was set"))),
            replica_read_only: v.bool("replica-read-only"),
            replica_serve_stale_data: v.bool("replica-serve-stale-data"),
            replica_priority: v.int("replica-priority"),
            replica_announced: v.bool("replica-announced"),
            replica_announce_ip: text("replica-announce-ip"),
            replica_announce_port: v.int("replica-announce-port") as u16,
            replica_ignore_maxmemory: v.bool("replica-ignore-maxmemory"),
            repl_backlog_bytes: uint("repl-backlog-size"),
            repl_backlog_ttl_seconds: uint("repl-backlog-ttl"),
            repl_timeout_seconds: uint("repl-timeout"),
            repl_ping_period_seconds: uint("repl-ping-replica-period"),
            repl_diskless_sync: v.bool("repl-diskless-sync"),
            repl_diskless_sync_delay_seconds: uint("repl-diskless-sync-delay"),
            repl_diskless_sync_max_replicas: size("repl-diskless-sync-max-replicas"),
            repl_diskless_load: match v.text("repl-diskless-load") {
                "swapdb" => DisklessLoad::SwapDb,
                "on-empty-db" => DisklessLoad::OnEmptyDb,
                _ => DisklessLoad::Disabled,
            },
            rdb_del_sync_files: v.bool("rdb-del-sync-files"),
            key_load_delay_micros: v.int("key-load-delay"),
            loading_interval_bytes: uint("loading-process-events-interval-bytes"),
            repl_disable_tcp_nodelay: v.bool("repl-disable-tcp-nodelay"),
            min_replicas_to_write: size("min-replicas-to-write"),
            min_replicas_max_lag_seconds: uint("min-replicas-max-lag"),
            cluster_enabled: v.bool("cluster-enabled"),
            cluster_config_file: text("cluster-config-file"),
            cluster_node_timeout_ms: uint("cluster-node-timeout"),
            cluster_ping_interval_ms: uint("cluster-ping-interval"),
            cluster_port: v.int("cluster-port") as u16,
            cluster_announce_ip: text("cluster-announce-ip"),
            cluster_announce_port: v.int("cluster-announce-port") as u16,
            cluster_announce_bus_port: v.int("cluster-announce-bus-port") as u16,
            cluster_announce_hostname: text("cluster-announce-hostname"),
            cluster_announce_human_nodename: text("cluster-announce-human-nodename"),
            cluster_require_full_coverage: v.bool("cluster-require-full-coverage"),
            cluster_allow_reads_when_down: v.bool("cluster-allow-reads-when-down"),
            cluster_allow_pubsubshard_when_down: v.bool("cluster-allow-pubsubshard-when-down"),
            cluster_link_sendbuf_limit_bytes: size("cluster-link-sendbuf-limit"),
            cluster_replica_validity_factor: uint("cluster-replica-validity-factor"),
            cluster_migration_barrier: size("cluster-migration-barrier"),
            cluster_allow_replica_migration: v.bool("cluster-allow-replica-migration"),
            cluster_replica_no_failover: v.bool("cluster-replica-no-failover"),
            cluster_preferred_endpoint: match v.text("cluster-preferred-endpoint-type") {
                "hostname" => Endpoint::Hostname,
                "ip" => Endpoint::Ip,
                _ => Endpoint::Unknown,
            },
        }
    }
}

/// A percentage of maxmemory is kept as a negative number. With less than so much nobody could set it right again.
fn client_memory_limit(limit: i64, maxmemory: u64) -> u64 {
    const LEAST_BYTES: u64 = 128 * 1024;
    let bytes = match u64::try_from(limit) {
        Ok(bytes) => bytes,
        Err(_) => (maxmemory as f64 * limit.unsigned_abs() as f64 / 100.0) as u64,
    };
    if bytes == 0 { 0 } else { bytes.max(LEAST_BYTES) }
}

fn access(text: &str) -> Access {
    match text {
        "yes" => Access::Yes,
        "local" => Access::Local,
        _ => Access::No,
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn saves(text: &str) -> Vec<Save> {
    numbers(text).chunks_exact(2).map(|pair| Save { seconds: pair[0] as i64, changes: pair[1] }).collect()
}

fn buffer_limits(text: &str) -> [BufferLimit; 3] {
    let n = numbers(text);
    std::array::from_fn(|class| {
        let at = class * 3;
        BufferLimit { hard_bytes: n[at], soft_bytes: n[at + 1], soft_seconds: n[at + 2] }
    })
}
