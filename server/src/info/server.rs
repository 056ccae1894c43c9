//! What the process is: the sections Server, CPU, Cluster and Keyspace.

use super::Text;
use crate::clock;
use crate::exec::Cx;
use crate::process::limits;
use std::sync::OnceLock;

pub fn server(text: &mut Text, cx: &Cx<'_>) {
    static OS: OnceLock<String> = OnceLock::new();
    let settings = cx.settings;
    let uptime_seconds = (cx.now_ms - cx.server.started_ms) / 1000;
    text.field("redis_version", crate::REDIS_VERSION);
    text.field("redis_git_sha1", "00000000");
    text.field("redis_git_dirty", 0);
    text.field("redis_build_id", "0000000000000000");
    text.field("redis_mode", if settings.cluster_enabled { "cluster" } else { "standalone" });
    text.field("os", OS.get_or_init(limits::operating_system));
    text.field("arch_bits", usize::BITS);
    text.field("monotonic_clock", "POSIX clock_gettime");
    text.field("multiplexing_api", "epoll");
    text.field("atomicvar_api", "c11-builtin");
    text.field("gcc_version", "0.0.0");
    text.field("process_id", std::process::id());
    text.field("process_supervised", crate::process::supervised::manager().name());
    text.field("run_id", &cx.server.run_id);
    text.field("tcp_port", settings.port);
    text.field("server_time_usec", clock::now_micros());
    text.field("uptime_in_seconds", uptime_seconds);
    text.field("uptime_in_days", uptime_seconds / 86_400);
    if let Some(left_ms) = cx.server.shutdown.left_ms(cx.now_ms) {
        text.field("shutdown_in_milliseconds", left_ms);
    }
    text.field("hz", settings.hz);
    text.field("configured_hz", settings.hz);
    text.field("lru_clock", (cx.now_ms / 1000) & 0xff_ffff);
    text.field("executable", path(std::env::current_exe().ok().as_deref()));
    text.field("config_file", path(cx.server.config.file.as_deref()));
    text.flag("io_threads_active", settings.io_threads > 1);
    listeners(text, cx);
    text.field("balas_version", crate::BALAS_VERSION);
}

fn path(path: Option<&std::path::Path>) -> String {
    path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

fn listeners(text: &mut Text, cx: &Cx<'_>) {
    let settings = cx.settings;
    if settings.port != 0 {
        let addresses: String = settings.bind.iter().map(|address| format!(",bind={address}")).collect();
        text.field("listener0", format_args!("name=tcp{addresses},port={}", settings.port));
    }
    if !settings.unixsocket.is_empty() {
        text.field("listener1", format_args!("name=unix,bind={}", settings.unixsocket));
    }
}

pub fn cpu(text: &mut Text, _: &Cx<'_>) {
    let (own, children, thread) =
        (limits::cpu_of_process(), limits::cpu_of_children(), limits::cpu_of_thread());
    text.decimals("used_cpu_sys", own.system, 6);
    text.decimals("used_cpu_user", own.user, 6);
    text.decimals("used_cpu_sys_children", children.system, 6);
    text.decimals("used_cpu_user_children", children.user, 6);
    text.decimals("used_cpu_sys_main_thread", thread.system, 6);
    text.decimals("used_cpu_user_main_thread", thread.user, 6);
}

pub fn cluster(text: &mut Text, cx: &Cx<'_>) {
    text.flag("cluster_enabled", cx.settings.cluster_enabled);
}

pub fn keyspace(text: &mut Text, cx: &Cx<'_>) {
    for db in cx.server.keyspace.dbs().iter().filter(|db| !db.is_empty()) {
        let mut counts = format!("keys={},expires={},avg_ttl=0", db.len(), db.expires());
        // 7.4's field, where there is something to tell.
        if db.timed() > 0 {
            counts += &format!(",subexpiry={}", db.timed());
        }
        text.field(&format!("db{}", db.index()), counts);
    }
}
