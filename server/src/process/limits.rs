//! The process's limits and what it has used of the machine.

use crate::log;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeVal;

/// Descriptors kept for files, listening sockets and links between nodes.
const RESERVED_FILES: u64 = 32;

/// Lets the process open as many files as `maxclients` connections need. The error is how many clients are
/// possible.
pub fn raise_open_files(maxclients: usize) -> Result<(), usize> {
    let wanted = maxclients as u64 + RESERVED_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if soft >= wanted {
        return Ok(());
    }
    // Raising the hard limit takes a privilege; without it, as far as the hard limit goes.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok()
        || hard > soft && setrlimit(Resource::RLIMIT_NOFILE, hard.min(wanted), hard).is_ok();
    let now = getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
    if raised && now >= wanted { Ok(()) } else { Err(now.saturating_sub(RESERVED_FILES) as usize) }
}

/// As [`raise_open_files`] when the process starts: logs what came of it and returns how many clients are possible. The
/// error says that none is.
pub fn open_files_at_start(maxclients: usize) -> Result<usize, String> {
    let before = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let wanted = maxclients as u64 + RESERVED_FILES;
    match raise_open_files(maxclients) {
        Ok(()) => {
            if before < wanted {
                log::notice(&format!(
                    "Increased maximum number of open files to {wanted} (it was originally set to {before})."
                ));
            }
            Ok(maxclients)
        }
        Err(0) => Err(format!(
            "Your current 'ulimit -n' of {before} is not enough for the server to start. Please increase your open file \
             limit to at least {wanted}. Exiting."
        )),
        Err(possible) => {
            log::warning(&format!(
                "You requested maxclients of {maxclients} requiring at least {wanted} max file descriptors."
            ));
            log::warning(&format!("Current maximum open files is {}.", possible as u64 + RESERVED_FILES));
            log::warning(&format!(
                "maxclients has been reduced to {possible} to compensate for low ulimit. If you need higher \
                 maxclients increase 'ulimit -n'."
            ));
            Ok(possible)
        }
    }
}

/// Says so when the kernel lets fewer connections wait than `tcp-backlog` asks for.
pub fn check_backlog(backlog: i64) {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    if let Ok(most) = text.trim().parse::<i64>()
        && (1..backlog).contains(&most)
    {
        log::warning(&format!(
            "WARNING: The TCP backlog setting of {backlog} cannot be enforced because /proc/sys/net/core/somaxconn is set \
             to the lower value of {most}."
        ));
    }
}

/// Processor time in seconds.
#[derive(Clone, Copy, Default)]
pub struct CpuSeconds {
    pub system: f64,
    pub user: f64,
}

/// Of the whole process.
pub fn cpu_of_process() -> CpuSeconds {
    cpu(UsageWho::RUSAGE_SELF)
}

/// Of children that have ended.
pub fn cpu_of_children() -> CpuSeconds {
    cpu(UsageWho::RUSAGE_CHILDREN)
}

/// Of the calling thread.
pub fn cpu_of_thread() -> CpuSeconds {
    cpu(UsageWho::RUSAGE_THREAD)
}

fn cpu(who: UsageWho) -> CpuSeconds {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    getrusage(who)
        .map(|usage| CpuSeconds { system: seconds(usage.system_time()), user: seconds(usage.user_time()) })
        .unwrap_or_default()
}

/// `Linux 6.1.0 x86_64`, as INFO shows it.
pub fn operating_system() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| std::env::consts::OS.to_owned(),
        |name| [name.sysname(), name.release(), name.machine()].map(|part| part.to_string_lossy()).join(" "),
    )
}

/// Bytes of memory of the machine.
pub fn system_memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}
