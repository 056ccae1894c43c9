//! `--check-system`: what on this machine makes a server slow. The names of the checks are stock's.
//!
//! Of memory overcommit it minds only that it may be off: a snapshot does not fork, so it needs no promise of memory.

use super::limits::cpu_of_process;
use crate::clock;
use std::process::ExitCode;
use std::time::Duration;

/// How a check ended.
enum Finding {
    Fine,
    /// What it looks at is not there.
    Skipped,
    Warning(String),
}

type Check = fn() -> Finding;

const CHECKS: [(&str, Check); 4] = [
    ("slow-clocksource", clock_is_fast),
    ("xen-clocksource", clock_is_not_xens),
    ("overcommit", memory_is_not_promised),
    ("THP", pages_are_small),
];

/// Runs all checks and says what they found. The exit code is 1 after a warning.
pub fn run() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (name, check) in CHECKS {
        match check() {
            Finding::Fine => println!("[{name}]...OK"),
            Finding::Skipped => println!("[{name}]...skipped"),
            Finding::Warning(text) => {
                println!("[{name}]...WARNING:\n{text}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// A line of a file that the kernel writes.
fn kernel_says(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()?.lines().next().map(|line| line.trim().to_owned())
}

const CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0";

/// Reading the time must not be a call into the kernel.
fn clock_is_fast() -> Finding {
    /// Five ticks of the kernel's, by which it accounts for time.
    const FOR: Duration = Duration::from_millis(50);
    let (before, start) = (cpu_of_process(), clock::monotonic());
    while clock::monotonic().duration_since(start) < FOR {}
    let after = cpu_of_process();
    let (system, user) = (after.system - before.system, after.user - before.user);
    if system * 10.0 <= system + user {
        return Finding::Fine;
    }
    let named = |file: &str| kernel_says(&format!("{CLOCKS}/{file}")).unwrap_or_default();
    Finding::Warning(format!(
        "Slow system clocksource detected. This can result in degraded performance. Consider changing the system's \
         clocksource. Current clocksource: {}. Available clocksources: {}. For example: run the command 'echo tsc > \
         {CLOCKS}/current_clocksource' as root. To permanently change the system's clocksource you'll need to set the \
         'clocksource=' kernel command line parameter.",
        named("current_clocksource"),
        named("available_clocksource"),
    ))
}

fn clock_is_not_xens() -> Finding {
    match kernel_says(&format!("{CLOCKS}/current_clocksource")).as_deref() {
        None => Finding::Skipped,
        Some("xen") => Finding::Warning(
            "Your system is configured to use the 'xen' clocksource which might lead to degraded performance. Check the \
             result of the [slow-clocksource] system check: run 'redis-server --check-system' to check if the system's \
             clocksource isn't degrading performance."
                .into(),
        ),
        Some(_) => Finding::Fine,
    }
}

/// The kernel may refuse memory that nobody uses yet (mode 2), but hardly anybody here asks for such.
fn memory_is_not_promised() -> Finding {
    match kernel_says("/proc/sys/vm/overcommit_memory").as_deref() {
        None => Finding::Skipped,
        Some("2") => Finding::Warning(
            "Memory overcommit is off (vm.overcommit_memory = 2): the server may be refused memory that the machine has. \
             To fix this issue add 'vm.overcommit_memory = 1' to /etc/sysctl.conf and then reboot or run the command \
             'sysctl vm.overcommit_memory=1' for this to take effect."
                .into(),
        ),
        Some(_) => Finding::Fine,
    }
}

/// The server does without huge pages of its own accord, unless `disable-thp` is off.
fn pages_are_small() -> Finding {
    match kernel_says("/sys/kernel/mm/transparent_hugepage/enabled") {
        None => Finding::Skipped,
        Some(modes) if modes.contains("[always]") => Finding::Warning(
            "You have Transparent Huge Pages (THP) support enabled in your kernel. This will create latency and memory \
             usage issues with Redis, where 'disable-thp' is off. To fix this issue run the command 'echo madvise > \
             /sys/kernel/mm/transparent_hugepage/enabled' as root, and add it to your /etc/rc.local in order to retain \
             the setting after a reboot. Redis must be restarted after THP is disabled (set to 'madvise' or 'never')."
                .into(),
        ),
        Some(_) => Finding::Fine,
    }
}
