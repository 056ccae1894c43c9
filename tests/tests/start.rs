//! How a server starts, or says why it does not: ours and stock alike.

use balas_tests::cluster::{SOON, free_port, now};
use balas_tests::process::{Server, balas, stock};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder of the test's own, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("balas-start-{}-{}", std::process::id(), free_port()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a process that ended by itself has said, and its exit code.
struct End {
    code: Option<i32>,
    out: String,
    err: String,
}

impl End {
    fn said(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Runs a server that is not to serve, in this folder.
fn run(binary: &Path, folder: &Folder, args: &[&str]) -> End {
    run_by(Command::new(binary).args(args), folder)
}

fn run_by(command: &mut Command, folder: &Folder) -> End {
    let file = |name: &str| fs::File::create(folder.0.join(name)).expect("a file");
    let mut child = command
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .expect("it runs");
    let begun = now();
    let code = loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            break status.code();
        }
        if now() - begun > SOON {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let text =
        |name: &str| String::from_utf8_lossy(&fs::read(folder.0.join(name)).unwrap_or_default()).into();
    End { code, out: text("stdout"), err: text("stderr") }
}

/// Both servers end with code 1 when they are started so, and say all of this.
fn both_refuse(args: &[&str], texts: &[&str]) {
    refuse(&[balas(), stock()], args, texts);
}

fn refuse(binaries: &[PathBuf], args: &[&str], texts: &[&str]) {
    let port = free_port().to_string();
    for binary in binaries {
        let folder = Folder::new();
        fs::write(folder.path("file"), "").expect("a file");
        let with_port = [args, &["--port", &port]].concat();
        // Of two ports the last one counts.
        let args = if args.contains(&"--port") { args } else { &with_port };
        let end = run(binary, &folder, args);
        assert_eq!(end.code, Some(1), "{}: {args:?}: {}", binary.display(), end.said());
        for text in texts {
            assert!(
                end.said().contains(text),
                "{}: {args:?}: no {text:?} in\n{}",
                binary.display(),
                end.said()
            );
        }
    }
}

const HEADER: &str = "*** FATAL CONFIG FILE ERROR (Redis 7.";

#[test]
fn a_cluster_node_that_cannot_be_one_does_not_start() {
    both_refuse(
        &["--cluster-enabled", "yes", "--port", "60001"],
        &[
            "Redis port number too high. Cluster communication port is 10,000 port numbers higher than your Redis port. \
           Your Redis port number must be 55535 or less.",
        ],
    );
    // In the words of 7.2.
    refuse(
        &[balas()],
        &["--cluster-enabled", "yes", "--bind", ""],
        &["No bind address is configured, but it is required for the Cluster bus."],
    );
    both_refuse(
        &["--cluster-enabled", "yes", "--replicaof", "127.0.0.1 1"],
        &[HEADER, "replicaof directive not allowed in cluster mode"],
    );
    both_refuse(
        &["--cluster-enabled", "yes", "--cluster-config-file", "absent/nodes.conf"],
        &["Can't open absent/nodes.conf in order to acquire a lock: No such file or directory"],
    );
}

#[test]
fn one_nodes_conf_is_one_nodes() {
    // Each kind beside itself, and beside the other.
    for (first, second) in [(balas(), balas()), (stock(), stock()), (balas(), stock())] {
        let mut node = Server::start(&first, &["--cluster-enabled", "yes"]);
        // Stock holds only a file that it found.
        node.restart();
        let id =
            |node: &Server| format!("{:?}", node.client().call(&["CLUSTER", "MYID"]).expect("it answers"));
        let before = id(&node);
        let port = free_port().to_string();
        let folder = Folder::new();
        let dir = node.folder.display().to_string();
        // Ours holds on when the file has been written anew; stock does not.
        let rounds = if first == balas() { 2 } else { 1 };
        for round in 0..rounds {
            let args = ["--port", &port, "--dir", &dir, "--cluster-enabled", "yes"];
            let end = run(&second, &folder, &args);
            let text = "Sorry, the cluster configuration file nodes.conf is already used by a different Redis Cluster \
                        node. Please make sure that different nodes use different cluster configuration files.";
            assert_eq!(end.code, Some(1), "round {round}: {}", end.said());
            assert!(end.said().contains(text), "{}", end.said());
            node.client().call(&["CLUSTER", "SAVECONFIG"]).expect("it answers");
            let others = |name: &str| name.starts_with("nodes") && name != "nodes.conf";
            let names =
                fs::read_dir(&node.folder).expect("a folder").flatten().map(|entry| entry.file_name());
            assert_eq!(names.filter(|name| others(&name.to_string_lossy())).count(), 0, "no stray files");
        }
        // Its own successor may have it.
        node.restart();
        assert_eq!(id(&node), before);
    }
}

#[test]
fn a_cluster_has_one_database() {
    // As stock since 7.2.
    let node = Server::start(&balas(), &["--cluster-enabled", "yes"]);
    let reply = node.client().call(&["CONFIG", "GET", "databases"]).expect("it answers");
    assert_eq!(reply.items()[1].text(), Some(&b"1"[..]));
    let text = "WARNING: Changing databases number from 16 to 1 since we are in cluster mode";
    assert!(node.log().contains(text), "{}", node.log());
}

#[test]
fn a_server_that_listens_nowhere_does_not_start() {
    const NOWHERE: &str = "Configured to not listen anywhere, exiting.";
    let absent = "Warning: Could not create server TCP listening socket 1.2.3.4:";
    both_refuse(&["--bind", ""], &[NOWHERE]);
    both_refuse(&["--bind", "-1.2.3.4"], &[NOWHERE, absent, "bind: Cannot assign requested address"]);
    both_refuse(&["--bind", "1.2.3.4"], &["Failed listening on port ", absent]);
    both_refuse(&["--port", "0"], &[NOWHERE]);
    both_refuse(&["--port", "0", "--cluster-enabled", "yes"], &[NOWHERE]);
    both_refuse(
        &["--unixsocket", "absent/socket"],
        &["Failed opening Unix socket: bind: No such file or directory"],
    );
    for binary in [balas(), stock()] {
        let server = Server::start(&binary, &["--bind", "127.0.0.1", "-1.2.3.4"]);
        assert!(server.log().contains(absent), "{}: {}", binary.display(), server.log());
    }
}

#[test]
fn too_few_open_files_are_told() {
    let port = free_port().to_string();
    for binary in [balas(), stock()] {
        let folder = Folder::new();
        let line = format!("ulimit -n 20; exec '{}' --port {port}", binary.display());
        let end = run_by(Command::new("sh").args(["-c", &line]), &folder);
        let text = "Your current 'ulimit -n' of 20 is not enough for the server to start. Please increase your open \
                    file limit to at least 10032. Exiting.";
        assert_eq!(end.code, Some(1), "{}", end.said());
        assert!(end.said().contains(text), "{}: {}", binary.display(), end.said());
    }
}

#[test]
fn what_cannot_be_opened_is_named() {
    both_refuse(
        &["--logfile", "/nonexistent/x"],
        &[HEADER, "Can't open the log file: No such file or directory"],
    );
    both_refuse(
        &["--appendonly", "yes", "--appenddirname", "file"],
        &["Can't open or create append-only dir file: Not a directory"],
    );
}

#[test]
fn a_bad_line_is_quoted_whatever_is_wrong_with_it() {
    for (line, reason) in [
        ("rename-command foo bar", "No such command in rename-command"),
        ("rename-command get set", "Target command name already exists"),
        ("user x on nonsense", "Error in user declaration '"),
        ("user x on (~a", "Error in user declaration '"),
    ] {
        for binary in [balas(), stock()] {
            let folder = Folder::new();
            fs::write(folder.path("conf"), format!("# first\n{line}\n")).expect("a file");
            let end = run(&binary, &folder, &["conf"]);
            assert_eq!(end.code, Some(1), "{}", end.said());
            for text in [HEADER, "at line 2\n", &format!(">>> '{line}'\n"), reason] {
                assert!(end.err.contains(text), "{}: no {text:?} in {}", binary.display(), end.err);
            }
        }
    }
    both_refuse(
        &["--user", "x", "on", "+foo"],
        &[
            "Error loading ACL rule '+foo' for the user named 'x': Unknown command or category name in ACL",
            "Critical error while loading ACLs. Exiting.",
        ],
    );
}

#[test]
fn rules_of_users_name_commands_by_their_old_names() {
    for binary in [balas(), stock()] {
        let folder = Folder::new();
        let lines = "rename-command flushdb badger\nuser x on nopass +flushdb\n";
        fs::write(folder.path("conf"), lines).expect("a file");
        let server = Server::start_with(&binary, Some(&folder.0.join("conf")), &[]);
        let mut client = server.client();
        let mut ask = |argv: &[&str]| balas_tests::cluster::text(&client.call(argv).expect("it answers"));
        assert!(ask(&["FLUSHDB"]).starts_with("-ERR unknown command"), "{}", binary.display());
        assert_eq!(ask(&["AUTH", "x", "any"]), "OK", "{}", binary.display());
        assert_eq!(ask(&["BADGER"]), "OK", "{}", binary.display());
        assert!(ask(&["GET", "a"]).starts_with("-NOPERM"), "{}", binary.display());
    }
}

#[test]
fn what_is_asked_instead_of_a_server_is_done() {
    for binary in [balas(), stock()] {
        let folder = Folder::new();
        let end = run(&binary, &folder, &["--help"]);
        assert_eq!((end.code, end.out.as_str()), (Some(1), ""), "{}", binary.display());
        assert!(end.err.contains("--test-memory <megabytes>") && end.err.contains("--check-system"));

        let end = run(&binary, &folder, &["--check-system"]);
        assert!(matches!(end.code, Some(0 | 1)), "{}", end.said());
        for name in ["slow-clocksource", "xen-clocksource", "overcommit", "THP"] {
            assert!(end.out.contains(&format!("[{name}]...")), "{}: {}", binary.display(), end.out);
        }
        assert_eq!(end.out.contains("WARNING:"), end.code == Some(1), "{}", end.out);

        let end = run(&binary, &folder, &["--test-memory"]);
        assert_eq!(end.code, Some(1));
        assert!(end.err.contains("Please specify the amount of memory to test in megabytes."), "{}", end.err);

        let end = run(&binary, &folder, &["--test-memory", "1"]);
        assert_eq!(end.code, Some(0), "{}", end.err);
        assert!(end.out.contains("Your memory passed this test."), "{}", binary.display());
    }
}
