//! Memory in use.

use super::Text;
use crate::exec::Cx;
use crate::memory;
use crate::process::limits;
use crate::script::Scripts;
use std::sync::atomic::Ordering::Relaxed;

/// What INFO and MEMORY STATS both show.
pub struct Usage {
    pub used: u64,
    pub peak: u64,
    pub resident: u64,
    pub startup: u64,
    /// Bytes that are not the dataset: what there was at the start, the write log, connections.
    pub overhead: u64,
    /// The write log: all of it, and what it holds for readers that lag.
    pub log: u64,
    pub log_for_readers: u64,
    pub clients: u64,
    /// The cluster bus.
    pub links: u64,
}

impl Usage {
    pub fn now(cx: &Cx<'_>) -> Usage {
        let used = memory::used_bytes();
        let stats = &cx.server.stats;
        let peak = stats.peak_memory_bytes.fetch_max(used, Relaxed).max(used);
        let startup = stats.startup_memory_bytes.load(Relaxed).min(used);
        let (log, log_for_readers) = cx.server.log.memory_bytes();
        let clients = cx.server.client_memory.total();
        let links = cx.server.cluster.as_ref().map_or(0, |cluster| cluster.links_bytes());
        let overhead = (startup + log + clients + links).min(used);
        let resident = memory::resident_bytes();
        Usage { used, peak, resident, startup, overhead, log, log_for_readers, clients, links }
    }

    /// What the write log holds for replicas, beyond the backlog.
    pub fn replicas(&self, cx: &Cx<'_>) -> u64 {
        if cx.server.replication.has_replicas() { self.log_for_readers } else { 0 }
    }

    pub fn dataset(&self) -> u64 {
        self.used - self.overhead
    }

    /// The dataset's share of what came after the start.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset(), self.used - self.startup)
    }

    pub fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak)
    }

    pub fn fragmentation_ratio(&self) -> f64 {
        self.resident as f64 / self.used.max(1) as f64
    }

    pub fn fragmentation_bytes(&self) -> i64 {
        self.resident as i64 - self.used as i64
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

pub fn memory(text: &mut Text, cx: &Cx<'_>) {
    let usage = Usage::now(cx);
    let system = limits::system_memory_bytes();
    let with_human = |text: &mut Text, name: &str, bytes: u64| {
        text.field(name, bytes);
        text.field(&format!("{name}_human"), human_bytes(bytes));
    };
    with_human(text, "used_memory", usage.used);
    with_human(text, "used_memory_rss", usage.resident);
    with_human(text, "used_memory_peak", usage.peak);
    text.field("used_memory_peak_perc", format_args!("{:.2}%", usage.peak_percent()));
    text.field("used_memory_overhead", usage.overhead);
    text.field("used_memory_startup", usage.startup);
    text.field("used_memory_dataset", usage.dataset());
    text.field("used_memory_dataset_perc", format_args!("{:.2}%", usage.dataset_percent()));
    text.field("allocator_allocated", usage.used);
    text.field("allocator_active", usage.resident);
    text.field("allocator_resident", usage.resident);
    with_human(text, "total_system_memory", system);
    scripts(text, &cx.server.scripts);
    with_human(text, "maxmemory", cx.settings.maxmemory_bytes);
    text.field("maxmemory_policy", &cx.settings.maxmemory_policy_name);
    text.decimals("allocator_frag_ratio", usage.fragmentation_ratio(), 2);
    text.field("allocator_frag_bytes", usage.fragmentation_bytes().max(0));
    text.field("allocator_rss_ratio", "1.00");
    text.field("allocator_rss_bytes", 0);
    text.field("rss_overhead_ratio", "1.00");
    text.field("rss_overhead_bytes", 0);
    text.decimals("mem_fragmentation_ratio", usage.fragmentation_ratio(), 2);
    text.field("mem_fragmentation_bytes", usage.fragmentation_bytes());
    text.field("mem_not_counted_for_evict", usage.log_for_readers);
    text.field("mem_replication_backlog", usage.log - usage.log_for_readers);
    text.field("mem_total_replication_buffers", usage.log);
    text.field("mem_clients_slaves", usage.replicas(cx));
    text.field("mem_clients_normal", usage.clients);
    text.field("mem_cluster_links", usage.links);
    text.zeros(&["mem_aof_buffer"]);
    text.field("mem_allocator", ALLOCATOR);
    text.field("active_defrag_running", 0);
    text.field("lazyfree_pending_objects", crate::lazyfree::pending_objects());
    text.field("lazyfreed_objects", crate::lazyfree::freed_objects());
}

/// Not `jemalloc`: tools that see that name ask for things only jemalloc has.
const ALLOCATOR: &str = "mimalloc-3";

/// `894.89K`: bytes in the largest unit that leaves a digit before the point.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = (bytes.ilog2() / 10).min(UNITS.len() as u32);
    format!("{:.2}{}", bytes as f64 / (1u64 << (10 * power)) as f64, UNITS[power as usize - 1])
}

/// What the libraries of functions hold.
pub fn functions_bytes(scripts: &Scripts) -> u64 {
    scripts.libraries.current().iter().map(|library| library.memory_bytes() as u64).sum()
}

/// What scripts hold: the states of the interpreter (`vm`), and what is cached beside them.
fn scripts(text: &mut Text, scripts: &Scripts) {
    let libraries = scripts.libraries.current();
    let functions = functions_bytes(scripts);
    // Scripts and functions share their states; stock has one for each.
    let vm = scripts.vm_bytes.load(Relaxed);
    let cached = scripts.cache.bytes();
    text.field("used_memory_lua", vm);
    text.field("used_memory_vm_eval", vm);
    text.field("used_memory_lua_human", human_bytes(vm));
    text.field("used_memory_scripts_eval", cached);
    text.field("number_of_cached_scripts", scripts.cache.len());
    text.field("number_of_functions", libraries.function_count());
    text.field("number_of_libraries", libraries.iter().len());
    text.field("used_memory_vm_functions", 0);
    text.field("used_memory_vm_total", vm);
    text.field("used_memory_vm_total_human", human_bytes(vm));
    text.field("used_memory_functions", functions);
    text.field("used_memory_scripts", cached + functions);
    text.field("used_memory_scripts_human", human_bytes(cached + functions));
}

#[cfg(test)]
mod tests {
    use super::human_bytes;

    #[test]
    fn bytes_read_like_stock() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (916_368, "894.89K"), (25_276_510_208, "23.54G")]
        {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
