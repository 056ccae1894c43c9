//! redis_exporter, unmodified: it reads a node by itself and every node of a cluster without an error, and its
//! metrics are what INFO says.

use balas_tests::cluster::{Cluster, Kind, Node, SOON, free_port, wait_until};
use balas_tests::cluster_load::Router;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Debian's name of it.
const PROGRAM: &str = "prometheus-redis-exporter";

/// Metrics by name and labels, as they are printed.
type Metrics = BTreeMap<String, f64>;

struct Exporter {
    process: Child,
    port: u16,
    log: std::path::PathBuf,
}

impl Exporter {
    /// `None`, and a line that says so, where it is not installed.
    fn start(folder: &Path, options: &[&str]) -> Option<Exporter> {
        let (port, log) = (free_port(), folder.join("exporter.log"));
        let file = std::fs::File::create(&log).expect("a log");
        let started = Command::new(PROGRAM)
            .args(["-web.listen-address", &format!("127.0.0.1:{port}"), "-connection-timeout", "30s"])
            .args(["-include-system-metrics", "-export-client-list"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn();
        let Ok(process) = started else {
            eprintln!("left out: {PROGRAM} is not installed");
            return None;
        };
        let exporter = Exporter { process, port, log };
        wait_until("the exporter listens", SOON, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(exporter)
    }

    /// What the exporter says of a node.
    fn scrape(&self, node: &Node) -> Metrics {
        // A command is counted when it is over: no first INFO tells of itself.
        node.ask(&["INFO"]);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let target = format!("redis://{}", node.address());
        let request = format!("GET /scrape?target={target} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        let samples = answer.lines().filter(|line| line.starts_with("redis_"));
        let metrics: Metrics = samples
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect();
        assert_eq!(metrics.get("redis_up"), Some(&1.0), "{answer}");
        assert_eq!(metrics.get("redis_exporter_last_scrape_error{err=\"\"}"), Some(&0.0), "{answer}");
        metrics
    }

    /// Lines of its log that are more than news.
    fn complaints(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).expect("a log");
        log.lines().filter(|line| !line.contains("level=info")).map(str::to_owned).collect()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Metrics and the fields of INFO they come from, of which a scrape itself changes nothing.
const SAME: &[(&str, &str)] = &[
    ("redis_blocked_clients", "blocked_clients"),
    ("redis_connected_slaves", "connected_slaves"),
    ("redis_memory_max_bytes", "maxmemory"),
    ("redis_expired_keys_total", "expired_keys"),
    ("redis_evicted_keys_total", "evicted_keys"),
    ("redis_rejected_connections_total", "rejected_connections"),
    ("redis_aof_enabled", "aof_enabled"),
    ("redis_cluster_enabled", "cluster_enabled"),
    ("redis_loading_dump_file", "loading"),
    ("redis_process_id", "process_id"),
    ("redis_rdb_bgsave_in_progress", "rdb_bgsave_in_progress"),
    ("redis_rdb_last_save_timestamp_seconds", "rdb_last_save_time"),
    ("redis_repl_backlog_is_active", "repl_backlog_active"),
    ("redis_replication_backlog_bytes", "repl_backlog_size"),
    ("redis_replica_resyncs_full", "sync_full"),
    ("redis_pubsub_channels", "pubsub_channels"),
    ("redis_rdb_changes_since_last_save", "rdb_changes_since_last_save"),
    ("redis_number_of_cached_scripts", "number_of_cached_scripts"),
    ("redis_latest_fork_seconds", "latest_fork_usec"),
];

/// Metrics that are only to be there, and more than nothing.
const POSITIVE: &[&str] = &[
    "redis_connected_clients",
    "redis_memory_used_bytes",
    "redis_memory_used_peak_bytes",
    "redis_memory_used_rss_bytes",
    "redis_commands_processed_total",
    "redis_connections_received_total",
    "redis_net_input_bytes_total",
    "redis_net_output_bytes_total",
    "redis_total_system_memory_bytes",
    "redis_start_time_seconds",
    "redis_commands_total{cmd=\"config|get\"}",
    "redis_commands_duration_seconds_total{cmd=\"info\"}",
];

/// INFO as fields.
fn info(node: &Node) -> BTreeMap<String, String> {
    let text = node.ask(&["INFO", "all"]);
    text.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k.into(), v.trim().into())).collect()
}

fn number(fields: &BTreeMap<String, String>, name: &str) -> f64 {
    fields.get(name).unwrap_or_else(|| panic!("no field {name}")).parse().expect("a number")
}

/// A number in the text of a field, as in `keys=3,expires=1`.
fn part(text: &str, name: &str) -> f64 {
    let part = text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    part.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

fn assert_is_what_info_says(node: &Node, metrics: &Metrics) {
    let metric = |name: &str| *metrics.get(name).unwrap_or_else(|| panic!("{} has no {name}", node.port));
    let fields = info(node);
    for (name, field) in SAME {
        assert_eq!(metric(name), number(&fields, field), "{name} of {}", node.port);
    }
    for name in POSITIVE {
        assert!(metric(name) > 0.0, "{name} of {} is {}", node.port, metric(name));
    }
    let keys = fields.get("db0").map_or("keys=0,expires=0", String::as_str);
    assert_eq!(metric("redis_db_keys{db=\"db0\"}"), part(keys, "keys"), "keys of {}", node.port);
    assert_eq!(metric("redis_db_keys_expiring{db=\"db0\"}"), part(keys, "expires"), "of {}", node.port);
    // Scrapes and this test read no key but those that are looked at.
    assert!(metric("redis_keyspace_hits_total") <= number(&fields, "keyspace_hits"));
    let of_instance = format!(
        "redis_instance_info{{maxmemory_policy=\"{}\",os=\"{}\",process_id=\"{}\",redis_build_id=\"{}\",redis_mode=\"{}\",redis_version=\"{}\",role=\"{}\",run_id=\"{}\",tcp_port=\"{}\"}}",
        fields["maxmemory_policy"],
        fields["os"],
        fields["process_id"],
        fields["redis_build_id"],
        fields["redis_mode"],
        fields["redis_version"],
        fields["role"],
        fields["run_id"],
        node.port
    );
    assert_eq!(metric(&of_instance), 1.0);
}

fn assert_keys_are_seen(metrics: &Metrics) {
    let of_key = |metric: &str, key: &str| {
        let name = format!("{metric}{{db=\"db0\",key=\"{key}\"}}");
        *metrics.get(&name).unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(of_key("redis_key_size", "{metrics}:list"), 3.0);
    assert_eq!(of_key("redis_key_size", "{metrics}:text"), 5.0);
    let of_stream = |metric: &str| {
        let name = format!("{metric}{{db=\"db0\",stream=\"{{metrics}}:stream\"}}");
        *metrics.get(&name).unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(of_stream("redis_stream_length"), 2.0);
    assert_eq!(of_stream("redis_stream_groups"), 1.0);
    let pending =
        "redis_stream_group_messages_pending{db=\"db0\",group=\"group\",stream=\"{metrics}:stream\"}";
    assert_eq!(metrics.get(pending), Some(&1.0));
}

/// What there is to be measured.
const WRITES: &[&[&str]] = &[
    &["RPUSH", "{metrics}:list", "a", "b", "c"],
    &["SET", "{metrics}:text", "value", "EX", "10000"],
    &["XADD", "{metrics}:stream", "1-1", "field", "value"],
    &["XADD", "{metrics}:stream", "2-1", "field", "value"],
    &["XGROUP", "CREATE", "{metrics}:stream", "group", "0"],
    &["XREADGROUP", "GROUP", "group", "consumer", "COUNT", "1", "STREAMS", "{metrics}:stream", ">"],
    &["EVAL", "return redis.call('GET', KEYS[1])", "1", "{metrics}:text"],
    &["PFADD", "{metrics}:counted", "a", "b"],
];

#[test]
fn the_exporter_reads_a_node_by_itself() {
    let node = Node::start(Kind::Balas, &["appendonly yes", "maxmemory 1gb", "io-threads 2"]);
    let mut options = vec!["-check-single-keys", "db0={metrics}:list,db0={metrics}:text"];
    options.extend(["-check-single-streams", "db0={metrics}:stream"]);
    let Some(exporter) = Exporter::start(&node.folder, &options) else { return };
    for argv in WRITES {
        assert!(!node.call(argv).is_error(), "{argv:?}");
    }
    let metrics = exporter.scrape(&node);
    assert_keys_are_seen(&metrics);
    assert_is_what_info_says(&node, &metrics);
    assert_eq!(exporter.complaints(), Vec::<String>::new());
}

#[test]
fn the_exporter_reads_every_node_of_a_cluster() {
    let cluster = Cluster::of_six(&[]);
    let mut router = Router::new(cluster.ports());
    for argv in WRITES {
        router.call("{metrics}", argv).expect("written");
    }
    // Its replica is measured too.
    let acknowledged = router.call("{metrics}", &["WAIT", "1", "30000"]).expect("an answer");
    assert_eq!(acknowledged.as_i64(), Some(1));
    let Some(exporter) = Exporter::start(&cluster.nodes[0].folder, &[]) else { return };
    for (n, node) in cluster.nodes.iter().enumerate() {
        let metrics = exporter.scrape(node);
        assert_is_what_info_says(node, &metrics);
        for (name, value) in [
            ("redis_cluster_state", 1.0),
            ("redis_cluster_known_nodes", 6.0),
            ("redis_cluster_size", 3.0),
            ("redis_cluster_slots_assigned", 16384.0),
            ("redis_cluster_slots_ok", 16384.0),
            ("redis_cluster_slots_fail", 0.0),
        ] {
            assert_eq!(metrics.get(name), Some(&value), "{name} of {}", node.port);
        }
        let link = metrics.iter().find(|(name, _)| name.starts_with("redis_master_link_up"));
        assert_eq!(link.map(|(_, &up)| up), (n >= 3).then_some(1.0), "{}", node.port);
        let lag = metrics.keys().filter(|name| name.starts_with("redis_connected_slave_lag_seconds")).count();
        assert_eq!(lag, usize::from(n < 3), "{}", node.port);
    }
    assert_eq!(exporter.complaints(), Vec::<String>::new());
}
