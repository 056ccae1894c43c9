//! Tips for clients and proxies: how a command may be spread over a cluster and its replies be put together.

/// Commands with the same tips, and the tips, as Redis 7.2 gives them.
#[rustfmt::skip]
const TIPS: &[(&[&str], &[&str])] = &[
    (&["client|info", "client|list", "cluster|bumpepoch", "cluster|count-failure-reports", "cluster|getkeysinslot", "cluster|info", "cluster|links", "cluster|myshardid", "cluster|nodes", "cluster|replicas", "cluster|shards", "cluster|slaves", "cluster|slots", "dump", "hrandfield", "hscan", "lastsave", "migrate", "object|encoding", "object|freq", "object|idletime", "object|refcount", "pttl", "spop", "srandmember", "sscan", "time", "ttl", "xadd", "xautoclaim", "xclaim", "xinfo|consumers", "xpending", "xtrim", "zrandmember", "zscan"],
        &["nondeterministic_output"]),
    (&["latency|doctor", "latency|graph", "latency|histogram", "latency|history", "latency|latest"],
        &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    (&["function|stats", "info", "memory|doctor", "memory|malloc-stats", "memory|stats"],
        &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    (&["scan"],
        &["nondeterministic_output", "request_policy:special", "response_policy:special"]),
    (&["command", "command|docs", "command|info", "command|list", "function|list", "hgetall", "hkeys", "hvals", "module|list", "sdiff", "sinter", "smembers", "sunion"],
        &["nondeterministic_output_order"]),
    (&["slowlog|get"],
        &["request_policy:all_nodes", "nondeterministic_output"]),
    (&["latency|reset"],
        &["request_policy:all_nodes", "response_policy:agg_sum"]),
    (&["slowlog|len"],
        &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"]),
    (&["acl|deluser", "acl|save", "acl|setuser", "client|setinfo", "client|setname", "config|resetstat", "config|rewrite", "config|set", "script|flush", "script|load", "slowlog|reset"],
        &["request_policy:all_nodes", "response_policy:all_succeeded"]),
    (&["keys"],
        &["request_policy:all_shards", "nondeterministic_output_order"]),
    (&["script|exists"],
        &["request_policy:all_shards", "response_policy:agg_logical_and"]),
    (&["wait", "waitaof"],
        &["request_policy:all_shards", "response_policy:agg_min"]),
    (&["dbsize"],
        &["request_policy:all_shards", "response_policy:agg_sum"]),
    (&["flushall", "flushdb", "function|delete", "function|flush", "function|load", "function|restore", "memory|purge", "ping"],
        &["request_policy:all_shards", "response_policy:all_succeeded"]),
    (&["function|kill", "script|kill"],
        &["request_policy:all_shards", "response_policy:one_succeeded"]),
    (&["randomkey"],
        &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"]),
    (&["mget"],
        &["request_policy:multi_shard"]),
    (&["del", "exists", "touch", "unlink"],
        &["request_policy:multi_shard", "response_policy:agg_sum"]),
    (&["mset"],
        &["request_policy:multi_shard", "response_policy:all_succeeded"]),
];

/// The tips of a command, by its full name.
pub fn of(full_name: &str) -> &'static [&'static str] {
    TIPS.iter().find(|(names, _)| names.contains(&full_name)).map_or(&[], |(_, tips)| tips)
}
