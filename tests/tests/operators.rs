//! What operators and their tools see of a process, beside stock's: how it ends, what it leaves behind, what it says.

use balas_tests::cluster::{SOON, now, text, wait_until};
use balas_tests::process::{self, Server};
use balas_tests::resp::{Client, Value};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Stock's server and ours, in this order.
fn both() -> [PathBuf; 2] {
    [process::stock(), process::balas()]
}

fn ask(server: &Server, argv: &[&str]) -> String {
    text(&server.client().call(argv).expect("an answer"))
}

/// Asks for what is answered by nothing but the end of the connection.
fn ask_to_end(server: &Server, argv: &[&str]) {
    let answer = server.client().call(argv);
    assert!(answer.is_err(), "{argv:?} is answered by {answer:?}:\n{}", server.log());
}

fn field(server: &Server, name: &str) -> String {
    let info = ask(server, &["INFO", "everything"]);
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

fn wait_for(server: &Server, name: &str, value: &str) {
    wait_until(&format!("{name} is {value}"), SOON, || field(server, name) == value);
}

fn fill(server: &Server, keys: usize) {
    fill_with(server, keys, "value");
}

fn fill_with(server: &Server, keys: usize, value: &str) {
    let mut client = server.client();
    for key in 0..keys {
        client.call(&["SET", &format!("key:{key}"), value]).expect("OK");
    }
}

/// Stock looks up from loading every two megabytes.
fn fill_for_loading(server: &Server, keys: usize) {
    fill_with(server, keys, &"x".repeat(100_000));
}

/// Names of files that are only there while something is being written.
fn temporary_files(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("temp-")).collect()
}

#[test]
fn an_aof_that_cannot_be_made_is_not_switched_on() {
    for binary in both() {
        let mut server = Server::start(&binary, &[]);
        let folder = server.folder.join("appendonlydir");
        fs::write(&folder, "in the way").expect("a file");
        fill(&server, 10);
        assert_eq!(
            ask(&server, &["CONFIG", "SET", "appendonly", "yes"]),
            "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to turn on AOF. Check server \
             logs."
        );
        assert_eq!(ask(&server, &["CONFIG", "GET", "appendonly"]), "appendonly\nno");
        assert_eq!(field(&server, "aof_enabled"), "0");
        assert_eq!(ask(&server, &["SET", "a", "1"]), "OK");

        fs::remove_file(&folder).expect("it is there");
        assert_eq!(ask(&server, &["CONFIG", "SET", "appendonly", "yes"]), "OK");
        wait_for(&server, "aof_rewrite_in_progress", "0");
        assert_eq!(field(&server, "aof_last_bgrewrite_status"), "ok");
        assert_eq!(ask(&server, &["SET", "b", "2"]), "OK");
        ask_to_end(&server, &["SHUTDOWN"]);
        assert_eq!(server.wait_for_end(), Some(0));
        server.launch(&["--appendonly", "yes"]);
        server.wait_until_ready();
        assert_eq!(ask(&server, &["DBSIZE"]), "12", "{}", binary.display());
    }
}

#[test]
fn the_first_rewrite_keeps_a_server_from_ending_while_it_runs_and_no_longer() {
    for binary in both() {
        let mut server = Server::start(&binary, &["--rdb-key-save-delay", "10000000"]);
        fill(&server, 100);
        assert_eq!(ask(&server, &["CONFIG", "SET", "appendonly", "yes"]), "OK");
        wait_for(&server, "aof_rewrite_in_progress", "1");
        assert_eq!(ask(&server, &["SHUTDOWN"]), "-ERR Errors trying to SHUTDOWN. Check logs.");
        assert_eq!(ask(&server, &["SHUTDOWN", "NOSAVE"]), "-ERR Errors trying to SHUTDOWN. Check logs.");
        // Switched off and on again, what has begun is of no use, and what begins then is whole.
        assert_eq!(ask(&server, &["CONFIG", "SET", "appendonly", "no"]), "OK");
        let folders = [&server.folder, &server.folder.join("appendonlydir")];
        let is_base = |name: &String| name.contains("base") || name.contains("rewriteaof");
        wait_until("the rewrite has ended", SOON, || {
            !folders.iter().any(|folder| temporary_files(folder).iter().any(is_base))
        });
        assert_eq!(field(&server, "aof_last_bgrewrite_status"), "ok");
        assert_eq!(ask(&server, &["CONFIG", "SET", "rdb-key-save-delay", "0"]), "OK");
        assert_eq!(ask(&server, &["SET", "a", "1"]), "OK");
        assert_eq!(ask(&server, &["CONFIG", "SET", "appendonly", "yes"]), "OK");
        assert_eq!(ask(&server, &["SET", "b", "1"]), "OK");
        wait_for(&server, "aof_rewrite_in_progress", "0");
        ask_to_end(&server, &["SHUTDOWN"]);
        assert_eq!(server.wait_for_end(), Some(0));
        assert_eq!(temporary_files(&server.folder.join("appendonlydir")), Vec::<String>::new());
        server.launch(&["--appendonly", "yes"]);
        server.wait_until_ready();
        assert_eq!(ask(&server, &["DBSIZE"]), "102", "{}", binary.display());
    }
}

#[test]
fn a_full_disk_keeps_no_server_from_ending() {
    for (index, binary) in both().into_iter().enumerate() {
        // A disk whose files cannot grow: 300 KB, in units of 512 bytes.
        let start = || Server::start_after("trap '' XFSZ; ulimit -f 600", &binary, &["--appendonly", "yes"]);
        for end in [&["SHUTDOWN"][..], &["SHUTDOWN", "NOSAVE"], &[]] {
            let mut server = start();
            let mut client = server.client();
            let value = "x".repeat(10_000);
            let mut refused = String::new();
            wait_until("writes are refused", SOON, || {
                refused = text(&client.call(&["SET", "key", &value]).expect("an answer"));
                refused != "OK"
            });
            // Stock takes it for a full disk when only half of a piece can be written.
            let reason = ["No space left on device", "File too large"][index];
            assert_eq!(refused, format!("-MISCONF Errors writing to the AOF file: {reason}"));
            assert_eq!(field(&server, "aof_last_write_status"), "err");
            if end.is_empty() {
                server.signal("TERM");
            } else {
                ask_to_end(&server, end);
            }
            assert_eq!(server.wait_for_end(), Some(0), "{} {end:?}", binary.display());
        }
        // Without an AOF there is nothing that could not be written.
        let server = start();
        let value = "x".repeat(10_000);
        wait_until("writes are refused", SOON, || ask(&server, &["SET", "key", &value]) != "OK");
        assert_eq!(ask(&server, &["CONFIG", "SET", "appendonly", "no"]), "OK");
        assert_eq!(ask(&server, &["SET", "key", "small"]), "OK");
    }
}

#[test]
fn a_first_rewrite_that_fails_keeps_no_server_from_ending() {
    let directives = ["--rdbcompression", "no"];
    let mut server = Server::start_after("trap '' XFSZ; ulimit -f 600", &process::balas(), &directives);
    fill_with(&server, 10, &"x".repeat(100_000));
    assert_eq!(ask(&server, &["CONFIG", "SET", "appendonly", "yes"]), "OK");
    wait_for(&server, "aof_last_bgrewrite_status", "err");
    assert_eq!(ask(&server, &["SET", "a", "1"]), "OK");
    assert_eq!(ask(&server, &["FLUSHALL"]), "OK");
    // It is tried again, and comes to something now.
    wait_for(&server, "aof_last_bgrewrite_status", "ok");
    assert_eq!(ask(&server, &["SET", "b", "1"]), "OK");
    assert_eq!(ask(&server, &["CONFIG", "SET", "appendonly", "no"]), "OK");
    fill_with(&server, 10, &"x".repeat(100_000));
    assert_eq!(ask(&server, &["CONFIG", "SET", "appendonly", "yes"]), "OK");
    wait_for(&server, "aof_last_bgrewrite_status", "err");
    ask_to_end(&server, &["SHUTDOWN"]);
    assert_eq!(server.wait_for_end(), Some(0));
    assert_eq!(temporary_files(&server.folder.join("appendonlydir")), Vec::<String>::new());
    // The AOF of old still counts.
    server.launch(&["--appendonly", "yes"]);
    server.wait_until_ready();
    assert_eq!(ask(&server, &["KEYS", "*"]), "b");
}

#[test]
fn a_server_that_loads_ends_at_once_and_leaves_its_files_alone() {
    const KEYS: usize = 300;
    /// Loading takes twelve seconds at least.
    const LOADS_SLOWLY: [&str; 4] = ["--key-load-delay", "40000", "--save", "900 1"];
    for binary in both() {
        for aof in ["no", "yes"] {
            let mut server = Server::start(&binary, &["--appendonly", aof, "--rdbcompression", "no"]);
            fill_for_loading(&server, KEYS);
            if aof == "yes" {
                ask(&server, &["BGREWRITEAOF"]);
                wait_for(&server, "aof_rewrite_in_progress", "0");
            } else {
                ask(&server, &["SAVE"]);
            }
            ask_to_end(&server, &["SHUTDOWN", "NOSAVE"]);
            assert_eq!(server.wait_for_end(), Some(0));
            let dump = fs::read(server.folder.join("dump.rdb")).ok();
            for by_signal in [true, false] {
                server.launch(&LOADS_SLOWLY);
                wait_until("it loads", SOON, || {
                    let answer = Client::connect(server.port).and_then(|mut client| client.call(&["PING"]));
                    answer.is_ok_and(|answer| text(&answer).starts_with("-LOADING"))
                });
                let begun = now();
                if by_signal {
                    server.signal("TERM");
                } else {
                    ask_to_end(&server, &["SHUTDOWN", "SAVE"]);
                }
                assert_eq!(server.wait_for_end(), Some(0));
                assert!(now() - begun < Duration::from_secs(8), "{}", binary.display());
                assert!(dump == fs::read(server.folder.join("dump.rdb")).ok(), "the dump was left alone");
            }
            server.launch(&[]);
            server.wait_until_ready();
            assert_eq!(ask(&server, &["DBSIZE"]), KEYS.to_string());
        }
    }
}

#[test]
fn a_replica_that_loads_ends_at_once() {
    for binary in both() {
        let directives = ["--repl-diskless-sync-delay", "0", "--rdbcompression", "no"];
        let master = Server::start(&binary, &directives);
        fill_for_loading(&master, 300);
        for diskless in ["disabled", "swapdb"] {
            let mut replica = Server::start(&binary, &[]);
            fs::write(replica.folder.join("dump.rdb"), "not to be touched").expect("a file");
            let port = master.port.to_string();
            let settings = [("key-load-delay", "40000"), ("repl-diskless-load", diskless), ("save", "900 1")];
            for (name, value) in settings {
                assert_eq!(ask(&replica, &["CONFIG", "SET", name, value]), "OK");
            }
            assert_eq!(ask(&replica, &["REPLICAOF", "127.0.0.1", &port]), "OK");
            wait_until("it loads", SOON, || {
                field(&replica, "loading") == "1" || field(&replica, "async_loading") == "1"
            });
            let begun = now();
            replica.signal("TERM");
            assert_eq!(replica.wait_for_end(), Some(0));
            assert!(now() - begun < Duration::from_secs(8), "{} {diskless}", binary.display());
        }
    }
}

#[test]
fn only_a_background_save_that_fails_refuses_writes() {
    for binary in both() {
        let mut server = Server::start(&binary, &["--enable-protected-configs", "yes"]);
        fs::create_dir(server.folder.join("zz")).expect("a folder");
        assert_eq!(ask(&server, &["CONFIG", "SET", "dbfilename", "zz"]), "OK");
        assert_eq!(ask(&server, &["CONFIG", "SET", "save", "900 1"]), "OK");
        assert_eq!(ask(&server, &["SAVE"]), "-ERR");
        assert_eq!(ask(&server, &["SET", "b", "1"]), "OK");
        assert_eq!(field(&server, "rdb_last_bgsave_status"), "ok");
        assert_eq!(ask(&server, &["SHUTDOWN"]), "-ERR Errors trying to SHUTDOWN. Check logs.");
        assert_eq!(ask(&server, &["SET", "b", "1"]), "OK");
        assert_eq!(field(&server, "rdb_last_bgsave_status"), "ok");
        assert_eq!(ask(&server, &["BGSAVE"]), "Background saving started");
        wait_for(&server, "rdb_last_bgsave_status", "err");
        assert!(ask(&server, &["SET", "b", "1"]).starts_with("-MISCONF"));
        ask_to_end(&server, &["SHUTDOWN", "FORCE"]);
        assert_eq!(server.wait_for_end(), Some(0));
    }
}

#[test]
fn a_server_that_ends_leaves_no_half_written_file() {
    const NONE: Vec<String> = Vec::new();
    for binary in both() {
        let mut server = Server::start(&binary, &["--rdb-key-save-delay", "10000000"]);
        fill(&server, 100);
        assert_eq!(ask(&server, &["BGSAVE"]), "Background saving started");
        wait_until("it writes", SOON, || !temporary_files(&server.folder).is_empty());
        ask_to_end(&server, &["SHUTDOWN", "NOSAVE"]);
        assert_eq!(server.wait_for_end(), Some(0));
        assert_eq!(temporary_files(&server.folder), NONE, "{}", binary.display());

        server.launch(&["--appendonly", "yes"]);
        server.wait_until_ready();
        let folder = server.folder.join("appendonlydir");
        fill(&server, 100);
        let started = "Background append only file rewriting started";
        assert_eq!(ask(&server, &["BGREWRITEAOF"]), started);
        let is_writing =
            || !temporary_files(&server.folder).is_empty() || !temporary_files(&folder).is_empty();
        wait_until("it writes", SOON, is_writing);
        ask_to_end(&server, &["SHUTDOWN"]);
        assert_eq!(server.wait_for_end(), Some(0));
        assert_eq!([temporary_files(&server.folder), temporary_files(&folder)], [NONE, NONE]);
        server.launch(&["--appendonly", "yes"]);
        server.wait_until_ready();
        assert_eq!(ask(&server, &["DBSIZE"]), "100");
    }
}

#[test]
fn what_a_killed_rewrite_has_left_is_gone_after_the_next_start() {
    let mut server =
        Server::start(&process::balas(), &["--appendonly", "yes", "--rdb-key-save-delay", "10000000"]);
    let folder = server.folder.join("appendonlydir");
    fill(&server, 100);
    ask(&server, &["BGREWRITEAOF"]);
    wait_until("it writes", SOON, || !temporary_files(&folder).is_empty());
    server.signal("KILL");
    assert_eq!(server.wait_for_end(), None);
    assert_eq!(temporary_files(&folder), ["temp-appendonly.aof.base.rdb"]);
    server.launch(&[]);
    server.wait_until_ready();
    assert_eq!(temporary_files(&folder), Vec::<String>::new());
    assert_eq!(ask(&server, &["DBSIZE"]), "100");
}

#[test]
fn what_is_told_of_persistence_at_the_start_is_stocks() {
    for binary in both() {
        let mut server = Server::start(&binary, &["--appendonly", "yes", "--enable-debug-command", "yes"]);
        for status in ["aof_last_bgrewrite_status", "aof_last_write_status", "rdb_last_bgsave_status"] {
            assert_eq!(field(&server, status), "ok", "{status}");
        }
        fill(&server, 7);
        ask(&server, &["BGREWRITEAOF"]);
        wait_for(&server, "aof_rewrite_in_progress", "0");
        ask(&server, &["SET", "after", "1"]);
        server.restart();
        assert_eq!(field(&server, "rdb_last_load_keys_loaded"), "7", "{}", binary.display());
        assert_eq!(ask(&server, &["DEBUG", "LOADAOF"]), "OK");
        assert_eq!(ask(&server, &["DBSIZE"]), "8");
    }
}

#[test]
fn an_aof_that_is_not_there_is_not_read() {
    let server = Server::start(&process::balas(), &["--enable-debug-command", "yes"]);
    let failed = "-ERR Error trying to load the AOF files, check server logs.";
    assert_eq!(ask(&server, &["DEBUG", "LOADAOF"]), failed);
}

#[test]
fn what_may_run_beside_a_rewrite_is_what_may_in_stock() {
    for binary in both() {
        let server = Server::start(&binary, &["--appendonly", "yes", "--rdb-key-save-delay", "10000000"]);
        fill(&server, 10);
        assert_eq!(ask(&server, &["BGREWRITEAOF"]), "Background append only file rewriting started");
        assert_eq!(
            ask(&server, &["BGSAVE"]),
            "-ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
             schedule a BGSAVE whenever possible."
        );
        assert_eq!(ask(&server, &["BGSAVE", "SCHEDULE"]), "Background saving scheduled");
        assert_eq!(field(&server, "rdb_bgsave_in_progress"), "0");
        assert_eq!(ask(&server, &["CONFIG", "SET", "rdb-key-save-delay", "0"]), "OK");
        assert_eq!(ask(&server, &["SAVE"]), "OK", "{}", binary.display());
        // What is slow already stays so; the file of SAVE makes room for that of BGSAVE.
        let dump = server.folder.join("dump.rdb");
        fs::remove_file(&dump).expect("SAVE has written it");
        assert_eq!(ask(&server, &["CONFIG", "SET", "appendonly", "no"]), "OK");
        wait_until("the scheduled save has run", SOON, || dump.exists());
        wait_for(&server, "rdb_bgsave_in_progress", "0");
        let mut client = server.client();
        let replies =
            [&["MULTI"][..], &["BGSAVE"], &["EXEC"]].map(|argv| text(&client.call(argv).expect("an answer")));
        assert_eq!(replies[2], "Background saving scheduled");
        wait_for(&server, "rdb_bgsave_in_progress", "0");
    }
}

#[test]
fn a_log_that_is_renamed_is_begun_anew() {
    for binary in both() {
        let args = ["--logfile", "my.log", "--enable-debug-command", "yes"];
        let server = Server::start(&binary, &args);
        let (log, old) = (server.folder.join("my.log"), server.folder.join("my.log.1"));
        assert_eq!(ask(&server, &["DEBUG", "LOG", "before"]), "OK");
        fs::rename(&log, &old).expect("the log is there");
        assert_eq!(ask(&server, &["DEBUG", "LOG", "behind"]), "OK");
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        assert!(read(&old).contains("DEBUG LOG: before") && !read(&old).contains("DEBUG LOG: behind"));
        assert!(read(&log).contains("DEBUG LOG: behind"), "{}", binary.display());
    }
}

/// The entries of SLOWLOG GET, latest first: the command and the name of its client, `nobody` where there is none.
fn slowlog(server: &Server) -> Vec<(String, String)> {
    let reply = server.client().call(&["SLOWLOG", "GET", "100"]).expect("an answer");
    let entries = reply.items().iter().map(|entry| {
        let parts: Vec<String> = entry.items().iter().map(text).collect();
        let name = if parts[4].is_empty() { "nobody" } else { &parts[5] };
        (parts[3].replace('\n', " "), name.to_owned())
    });
    entries.collect()
}

/// As Redis 7.2 does it; 7.0 names a client for what a script calls, and leaves out who has waited in vain.
#[test]
fn the_slow_log_has_what_scripts_call_and_who_has_waited() {
    let server = Server::start(&process::balas(), &["--slowlog-log-slower-than", "0"]);
    let mut client = server.client();
    let commands: [&[&str]; 6] = [
        &["CLIENT", "SETNAME", "me"],
        &["SLOWLOG", "RESET"],
        &["EVAL", "redis.call('SET', 'a', 1) redis.pcall('LPUSH', 'a', 'x')", "1", "a"],
        &["BLPOP", "zz", "0.05"],
        &["BZPOPMIN", "zz", "0.05"],
        &["XREAD", "BLOCK", "50", "STREAMS", "s", "5-5"],
    ];
    for command in commands {
        client.call(command).expect("an answer");
    }
    let expected = [
        ("XREAD BLOCK 50 STREAMS s 5-5", "me"),
        ("BZPOPMIN zz 0.05", "me"),
        ("BLPOP zz 0.05", "me"),
        ("EVAL redis.call('SET', 'a', 1) redis.pcall('LPUSH', 'a', 'x') 1 a", "me"),
        ("LPUSH a x", "nobody"),
        ("SET a 1", "nobody"),
        ("SLOWLOG RESET", "me"),
    ];
    assert_eq!(slowlog(&server), expected.map(|(command, name)| (command.to_owned(), name.to_owned())));
    // To wait is not to be slow.
    assert_eq!(
        text(&client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "1000"]).expect("an answer")),
        "OK"
    );
    client.call(&["SLOWLOG", "RESET"]).expect("an answer");
    client.call(&["BLPOP", "zz", "0.05"]).expect("an answer");
    assert!(!slowlog(&server).iter().any(|(command, _)| command.starts_with("BLPOP")));
}

#[test]
fn memory_stats_are_of_stocks_kinds() {
    let kinds = both().map(|binary| {
        let server = Server::start(&binary, &[]);
        fill(&server, 10);
        let stats = server.client().call(&["MEMORY", "STATS"]).expect("an answer");
        let kind = |value: &Value| match value {
            Value::Line(kind, _) | Value::Blob(kind, _) | Value::List(kind, _) => *kind as char,
        };
        let pairs = stats.items().chunks(2).map(|pair| (text(&pair[0]), kind(&pair[1])));
        pairs.collect::<Vec<_>>()
    });
    assert_eq!(kinds[0], kinds[1]);
}

#[test]
fn a_replica_that_has_nothing_asks_for_all() {
    for binary in both() {
        let master = Server::start(&binary, &["--repl-diskless-sync-delay", "0"]);
        let port = master.port.to_string();
        let of_master = ["--replicaof", "127.0.0.1", &port];
        let replica = Server::start(&binary, &of_master);
        wait_for(&replica, "master_link_status", "up");
        let counts = || ["sync_full", "sync_partial_ok", "sync_partial_err"].map(|name| field(&master, name));
        assert_eq!(counts(), ["1", "0", "0"], "{}", binary.display());
        // Who was a master has a history.
        let late = Server::start(&binary, &[]);
        assert_eq!(ask(&late, &["REPLICAOF", "127.0.0.1", &port]), "OK");
        wait_for(&late, "master_link_status", "up");
        assert_eq!(counts(), ["2", "0", "1"], "{}:\n{}", binary.display(), late.log());
    }
}

#[test]
fn systemd_is_told_how_it_goes() {
    let path = std::env::temp_dir().join(format!("balas-notify-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("a deadline");
    let told = || {
        let mut text = [0; 256];
        let len = socket.recv(&mut text).expect("a word in time");
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let preparations = format!("export NOTIFY_SOCKET={}", path.display());
    let mut server = Server::start_after(&preparations, &process::balas(), &["--supervised", "systemd"]);
    assert_eq!(told(), "STATUS=Redis is loading...\n");
    assert_eq!(told(), "STATUS=Ready to accept connections\n");
    assert_eq!(told(), "READY=1\n");
    ask_to_end(&server, &["SHUTDOWN", "SAVE"]);
    assert_eq!(told(), "STOPPING=1\n");
    assert_eq!(told(), "STATUS=Saving the final RDB snapshot\n");
    assert_eq!(server.wait_for_end(), Some(0));

    let master = Server::start(&process::balas(), &["--repl-diskless-sync-delay", "0"]);
    server.launch(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    assert_eq!(told(), "STATUS=Redis is loading...\n");
    let waiting =
        "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> REPLICA sync\n";
    let synced = "STATUS=MASTER <-> REPLICA sync: Finished with success. Ready to accept connections in read-write mode.\n";
    // The link need not wait until the process has said that it is ready.
    let mut rest = [told(), told(), told()];
    rest.sort();
    let mut expected = ["READY=1\n", synced, waiting];
    expected.sort_unstable();
    assert_eq!(rest, expected);
    fs::remove_file(path).expect("it is there");
}
