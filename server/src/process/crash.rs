//! A bug that panics ends the process: half a server would be worse than none.

use crate::log;
use nix::sys::signal::Signal;
use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

static REPORTED: AtomicBool = AtomicBool::new(false);

/// From now on a panic of any thread is reported to the log and ends the process: with exit code 1 where
/// `use-exit-on-panic` asks for it, else by SIGABRT.
pub fn report_panics(exit_on_panic: bool) {
    std::panic::set_hook(Box::new(move |info| {
        // The first thread that panics reports; others end with it.
        if !REPORTED.swap(true, Ordering::SeqCst) {
            report(info);
        }
        if exit_on_panic {
            std::process::exit(1);
        }
        std::process::abort();
    }));
}

/// The process ends by a signal that says that it is broken: somebody sent it, or a test asked for it.
pub fn by_signal(signal: Signal) -> ! {
    if !REPORTED.swap(true, Ordering::SeqCst) {
        log::raw("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
        let number = signal as i32;
        log::warning(&format!("Redis {} crashed by signal: {number}, si_code: 0", crate::REDIS_VERSION));
        trace();
    }
    // Ends it the way whoever looks at the exit status expects. Where the signal is handled, by the default again.
    let _ = signal_hook::low_level::emulate_default_handler(signal as i32);
    std::process::abort();
}

fn trace() {
    log::raw(&format!("\n------ STACK TRACE ------\n{}\n", Backtrace::force_capture()));
    log::raw("\n=== REDIS BUG REPORT END. ===\n");
}

fn report(info: &PanicHookInfo<'_>) {
    let what = match info.payload().downcast_ref::<String>() {
        Some(text) => text,
        None => info.payload().downcast_ref::<&str>().copied().unwrap_or("a panic without a message"),
    };
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    log::raw("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
    log::warning(&format!(
        "Redis {} crashed: ASSERTION FAILED, balas={}",
        crate::REDIS_VERSION,
        crate::BALAS_VERSION
    ));
    log::warning(&format!("==> {place} '{what}' in thread {}", thread.name().unwrap_or("?")));
    trace();
}
