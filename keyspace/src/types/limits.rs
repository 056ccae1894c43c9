//! The thresholds at which collections change their encoding.

/// Passed to every operation that may grow a collection. The defaults are stock's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Positive: elements per list node. Negative: a size class of nodes, -1 for 4 KB to -5 for 64 KB.
    pub list_max_listpack_size: i32,
    /// List elements of this size live in a node of their own.
    pub list_plain_node_bytes: usize,
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value_bytes: usize,
    pub set_max_intset_entries: usize,
    pub set_max_listpack_entries: usize,
    pub set_max_listpack_value_bytes: usize,
    pub zset_max_listpack_entries: usize,
    pub zset_max_listpack_value_bytes: usize,
    /// 0 means no limit.
    pub stream_node_max_bytes: usize,
    /// 0 means no limit.
    pub stream_node_max_entries: usize,
    /// Of a whole HyperLogLog; larger ones are dense.
    pub hll_sparse_max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            list_max_listpack_size: -2,
            list_plain_node_bytes: 1 << 30,
            hash_max_listpack_entries: 512,
            hash_max_listpack_value_bytes: 64,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value_bytes: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value_bytes: 64,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            hll_sparse_max_bytes: 3000,
        }
    }
}
