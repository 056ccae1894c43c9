//! What the kernel counts for a process (proc(5)).

use std::fs;
use std::path::Path;

/// Clock ticks of utime and stime per second: what Linux shows to user space on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of all threads so far, in nanoseconds. The scheduler's own sums where the kernel keeps them, else ticks of
/// ten milliseconds. Threads that ended are counted in ticks only.
pub fn cpu_ns(pid: u32) -> Option<u64> {
    threads_ns(pid).or_else(|| ticks_ns(pid))
}

fn threads_ns(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of = |path: &Path| -> Option<u64> {
        fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    tasks.map(|task| of(&task.ok()?.path())).sum()
}

fn ticks_ns(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = fields_after_name(&stat)?;
    // utime and stime are fields 14 and 15; the name is field 2.
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks * (1_000_000_000 / TICKS_PER_SECOND))
}

/// The fields from the third on. The second is the program's name in parentheses, which may hold anything.
fn fields_after_name(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().collect())
}

/// Resident memory in bytes.
pub fn rss_bytes(pid: u32) -> Option<u64> {
    kib_line(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

/// Memory of a process and its children in bytes, pages that they share counted once: what a fork really costs.
pub fn family_bytes(pid: u32) -> Option<u64> {
    let pss = |pid: u32| kib_line(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:");
    // A child may end between being found and being read.
    let children: u64 = children(pid).into_iter().filter_map(pss).sum();
    Some(pss(pid)? + children)
}

fn children(pid: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        fields_after_name(&stat)?.get(1)?.parse().ok()
    };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&child| parent_of(child) == Some(pid)).collect()
}

fn kib_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 55 66 0 0 20 0 1";
        let fields = fields_after_name(stat).unwrap();
        assert_eq!((fields[0], fields[1], fields[11], fields[12]), ("S", "1", "55", "66"));
    }

    #[test]
    fn this_process_has_used_memory_and_time() {
        let pid = std::process::id();
        assert!(cpu_ns(pid).is_some() && ticks_ns(pid).is_some());
        assert!(rss_bytes(pid).unwrap() > 100_000);
        assert!(family_bytes(pid).unwrap() > 10_000);
    }
}
