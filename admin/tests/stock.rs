//! The commands on a cluster of stock nodes, and what they say when something is wrong.
//!
//! This program is also the command it tests: started with `cluster …` it runs `admin::run`, without it runs the
//! scenarios, each in a folder and on ports of its own, and stops what it started.
#![allow(clippy::disallowed_methods, reason = "a test waits by the clock")]

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

const STOCK: &str = "/usr/bin/redis-server";

type Scenario = (&'static str, fn(&Scene));

const SCENARIOS: &[Scenario] = &[
    ("a cluster lives: up, check, status, test, failover-test, down, up again, down", a_cluster_lives),
    ("Ctrl-C stops all nodes, and the next up resumes with the data", ctrl_c_stops_all),
    ("a reader of the output that leaves stops nothing", a_reader_leaves),
    ("Ctrl-C during the start leaves nothing", an_early_ctrl_c),
    ("passwords are written, needed, and found again", passwords),
    ("a taken port leaves nothing behind", a_taken_port),
    ("an unknown directive is shown with its line, and nothing stays", an_unknown_directive),
    ("create refuses what is not empty, not a cluster, not there, or too few", create_refuses),
    ("check fails when a slot has no owner", check_fails),
    ("words that make no sense end with 1", nonsense),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("cluster" | "cli" | "top") => return balas_admin::run(&args),
        // What cargo and test runners ask of any test.
        Some("--list") => {
            SCENARIOS.iter().for_each(|(name, _)| println!("{name}: test"));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    if !Path::new(STOCK).exists() {
        eprintln!("skipped: {STOCK} is not installed");
        return ExitCode::SUCCESS;
    }
    let filter = args.iter().find(|arg| !arg.starts_with('-'));
    for (i, (name, run)) in SCENARIOS.iter().enumerate() {
        if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            let started = Instant::now();
            run(&Scene::new(i));
            println!("ok  {name} ({:.1} s)", started.elapsed().as_secs_f64());
        }
    }
    ExitCode::SUCCESS
}

/// A folder and a run of free ports; whatever still runs there at the end is stopped.
struct Scene {
    dir: PathBuf,
    port: u16,
}

impl Scene {
    fn new(number: usize) -> Scene {
        let dir = std::env::temp_dir().join(format!("balas-admin-{}-{number}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        let all_free = |base: &u16| (*base..base + 8).all(|port| free(port) && free(port + 10_000));
        // Below the range the system hands out to clients, even with the bus on top.
        let first = 12_000 + (std::process::id() % 600) as u16 * 10;
        let port = (first..22_000).step_by(8).find(all_free).expect("free ports");
        Scene { dir, port }
    }

    fn cluster_dir(&self) -> PathBuf {
        self.dir.join("a cluster")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("cluster").args(args).current_dir(&self.dir).env_remove("REDISCLI_AUTH");
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::from(self.command(args).output().unwrap(), args)
    }

    /// Arguments of `up` in this scene.
    fn up_args<'a>(&self, more: &[&'a str]) -> Vec<&'a str> {
        [&["up", "--dir", "a cluster", "--server", STOCK], more].concat()
    }

    fn up(&self, more: &[&str]) -> Said {
        let port = self.port.to_string();
        self.run(&self.up_args(&[&["--port", &port], more].concat()))
    }

    /// Starts `up` in front and waits until it has said this.
    fn spawn_up(&self, text: &str) -> Child {
        let port = self.port.to_string();
        let mut up = self.command(&self.up_args(&["--port", &port])).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = Vec::new();
        let out = up.stdout.as_mut().unwrap();
        while !String::from_utf8_lossy(&said).contains(text) {
            let mut byte = [0];
            out.read_exact(&mut byte).expect("up says it before it ends");
            said.extend(byte);
        }
        up
    }

    fn address(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.port + node)
    }

    fn redis_cli(&self, args: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-c", "-p", &port]).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn assert_nothing_runs(&self) {
        for port in self.port..self.port + 6 {
            assert!(
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok(),
                "something still listens on {port}"
            );
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.cluster_dir().exists() {
            let _ = self.command(&["down", "--dir", "a cluster"]).output();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// How a command ended.
struct Said {
    code: i32,
    out: String,
    err: String,
    args: String,
}

impl Said {
    fn from(output: Output, args: &[&str]) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().expect("ended by itself");
        Said { code, out: text(output.stdout), err: text(output.stderr), args: args.join(" ") }
    }

    #[track_caller]
    fn ok(self, expected: &[&str]) {
        let Said { code, out, err, args } = &self;
        assert_eq!(*code, 0, "{args}\n{out}\n{err}");
        expected.iter().for_each(|text| assert!(out.contains(text), "{args}: no {text:?} in\n{out}"));
    }

    #[track_caller]
    fn fails(self, expected: &[&str]) {
        let Said { code, out, err, args } = &self;
        assert_eq!(*code, 1, "{args}\n{out}\n{err}");
        expected.iter().for_each(|text| assert!(err.contains(text), "{args}: no {text:?} in\n{err}"));
    }
}

fn a_cluster_lives(scene: &Scene) {
    scene.up(&["--detach"]).ok(&["0-5460", "5461-10922", "10923-16383", "replica of", "redis-cli -c -p"]);
    scene.run(&["check", &scene.address(5)]).ok(&["6 nodes: 3 masters, 3 replicas", "healthy"]);
    scene.run(&["status", &scene.address(0)]).ok(&["hit rate", "State ok, 16384 of 16384"]);
    scene.run(&["test", &scene.address(4)]).ok(&["17 passed, 0 failed"]);
    // Once more is the same.
    scene.run(&scene.up_args(&["--detach"])).ok(&["6 nodes were running already"]);
    let failover = ["failover-test", "--dir", "a cluster", "--server", STOCK];
    scene.run(&failover).ok(&["marked failed after", "The failover test passed"]);
    scene.run(&["check", &scene.address(0)]).ok(&["healthy"]);
    assert_eq!(scene.redis_cli(&["SET", "kept", "1"]), "OK");
    scene.run(&["down", "--dir", "a cluster"]).ok(&["Stopped 6 nodes"]);
    scene.assert_nothing_runs();
    scene.run(&["down", "--dir", "a cluster"]).ok(&["No node of"]);
    scene.run(&["check", &scene.address(0)]).fails(&["cannot connect"]);
    scene.run(&scene.up_args(&["--detach"])).ok(&["0-5460"]);
    assert_eq!(scene.redis_cli(&["GET", "kept"]), "1");
    scene.run(&scene.up_args(&["--detach", "--nodes", "9"])).fails(&["holds a cluster of 6 nodes"]);
}

fn ctrl_c_stops_all(scene: &Scene) {
    for round in 0..2 {
        let mut up = scene.spawn_up("Stop it: Ctrl-C");
        match round {
            0 => assert_eq!(scene.redis_cli(&["SET", "kept", "1"]), "OK"),
            _ => assert_eq!(scene.redis_cli(&["GET", "kept"]), "1"),
        }
        assert!(up.try_wait().unwrap().is_none(), "up stays in front");
        signal("INT", &up);
        assert!(up.wait().unwrap().success());
        scene.assert_nothing_runs();
    }
}

/// Whoever reads the output may leave at any time.
fn a_reader_leaves(scene: &Scene) {
    let mut up = scene.spawn_up("A cluster of 6 nodes is ready");
    drop(up.stdout.take());
    signal("TERM", &up);
    assert!(up.wait().unwrap().success());
    scene.assert_nothing_runs();
}

/// At whatever moment the user changes their mind, nothing is left.
fn an_early_ctrl_c(scene: &Scene) {
    for delay_ms in [50, 300, 900, 2000] {
        let port = scene.port.to_string();
        let mut up = scene.command(&scene.up_args(&["--port", &port])).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        signal("INT", &up);
        assert!(up.wait().unwrap().code().is_none_or(|code| code <= 1), "no panic");
        scene.assert_nothing_runs();
    }
}

fn passwords(scene: &Scene) {
    scene.up(&["--detach", "-a", "s3 \"cret"]).ok(&["-a PASSWORD"]);
    let seed = scene.address(0);
    scene.run(&["check", &seed]).fails(&["wants a password"]);
    scene.run(&["check", &seed, "-a", "wrong"]).fails(&["does not accept this password"]);
    scene.run(&["check", &seed, "-a", "s3 \"cret"]).ok(&["healthy"]);
    let output = scene.command(&["test", &seed]).env("REDISCLI_AUTH", "s3 \"cret").output().unwrap();
    Said::from(output, &["test"]).ok(&[" 0 failed"]);
    scene.run(&["down", "--dir", "a cluster"]).ok(&["Stopped 6 nodes"]);
    scene.run(&scene.up_args(&["--detach", "-a", "other"])).fails(&["another password"]);
    // The password is in the folder.
    scene.run(&scene.up_args(&["--detach"])).ok(&["-a PASSWORD"]);
}

fn a_taken_port(scene: &Scene) {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, scene.port + 3)).unwrap();
    scene.up(&[]).fails(&[&format!("port {} is taken", scene.port + 3)]);
    drop(taken);
    let bus = TcpListener::bind((Ipv4Addr::LOCALHOST, scene.port + 10_002)).unwrap();
    scene.up(&[]).fails(&[&format!("port {} is taken", scene.port + 10_002)]);
    drop(bus);
    assert!(!scene.cluster_dir().exists());
}

fn an_unknown_directive(scene: &Scene) {
    fs::write(scene.dir.join("mine.conf"), "maxmemory 64mb\n\nno-such-directive 5\n").unwrap();
    scene.up(&["--config", "mine.conf"]).fails(&["line 3", "no-such-directive 5"]);
    assert!(!scene.cluster_dir().exists());
    scene.assert_nothing_runs();
    scene.up(&["--config", "nowhere.conf"]).fails(&["nowhere.conf"]);
    fs::write(scene.dir.join("mine.conf"), "maxmemory 64mb\nport 1\ncluster-node-timeout 3000").unwrap();
    scene.up(&["--config", "mine.conf", "--detach", "--replicas", "0", "--nodes", "3"]).ok(&["0-5460"]);
    assert_eq!(scene.redis_cli(&["CONFIG", "GET", "maxmemory"]), "maxmemory\n67108864");
}

fn create_refuses(scene: &Scene) {
    let plain = Node::start(scene, 6, &["--cluster-enabled", "no"]);
    let nodes: Vec<Node> = (0..3).map(|i| Node::start(scene, i, &[])).collect();
    let addresses: Vec<String> = (0..3).map(|i| scene.address(i)).collect();
    let [a, b, c] = [&addresses[0], &addresses[1], &addresses[2]].map(String::as_str);

    scene.run(&["create", a, b]).fails(&["at least 3 masters"]);
    scene.run(&["create", a, b, c, "--replicas", "1"]).fails(&["at least 3 masters", "at least 6 nodes"]);
    scene.run(&["create", a, b, a]).fails(&["the same node as"]);
    scene.run(&["create", a, b, &scene.address(6)]).fails(&["cluster-enabled"]);
    scene.run(&["create", a, b, &scene.address(7)]).fails(&["cannot connect"]);
    scene.run(&["create", a, b, "no-such-host.invalid:1"]).fails(&["no-such-host.invalid:1: cannot connect"]);
    // None of that has touched a node.
    scene.run(&["create", a, b, c]).ok(&["0-5460", "All slots are covered"]);
    scene.run(&["create", a, b, c]).fails(&["is not empty: it knows other nodes"]);
    drop((plain, nodes));
}

fn check_fails(scene: &Scene) {
    scene.up(&["--detach", "--nodes", "3", "--replicas", "0"]).ok(&[]);
    let seed = scene.address(0);
    assert_eq!(scene.redis_cli(&["CLUSTER", "DELSLOTS", "7"]), "OK");
    for command in ["check", "status"] {
        let said = scene.run(&[command, &seed]);
        assert!(said.out.contains("PROBLEM"), "{}", said.out);
        said.fails(&["the cluster has"]);
    }
    scene.run(&["test", &seed]).fails(&["failed"]);
    assert_eq!(scene.redis_cli(&["CLUSTER", "ADDSLOTS", "7"]), "OK");
    wait_until("all agree", || scene.run(&["check", &seed]).code == 0);
    // An open slot is a half-done move.
    let id = scene.redis_cli(&["-p", &(scene.port + 1).to_string(), "CLUSTER", "MYID"]);
    assert_eq!(scene.redis_cli(&["CLUSTER", "SETSLOT", "7", "MIGRATING", &id]), "OK");
    let said = scene.run(&["check", &seed]);
    assert!(said.out.contains("left open by a move"), "{}", said.out);
    said.fails(&["the cluster has a problem"]);
}

fn nonsense(scene: &Scene) {
    scene.run(&["sideways"]).fails(&["sideways"]);
    scene.run(&["check", "nowhere"]).fails(&["is not HOST:PORT"]);
    scene.run(&["down", "--dir", "empty"]).fails(&["holds no cluster"]);
    scene.run(&["failover-test", "--dir", "empty"]).fails(&["holds no cluster"]);
    scene.run(&["up", "--nodes", "4"]).fails(&["at least 3 masters"]);
    scene.run(&["up", "--port", "60000"]).fails(&["ports go from 1 to 55535"]);
    scene.run(&["up", "--server", "no-such-program"]).fails(&["no-such-program"]);
    scene.run(&["--help"]).ok(&["failover-test"]);
    for word in ["cli", "top"] {
        let output = Command::new(std::env::current_exe().unwrap()).arg(word).output().unwrap();
        Said::from(output, &[word]).fails(&["not built yet"]);
    }
}

/// A stock node outside any cluster folder.
struct Node(Child);

impl Node {
    fn start(scene: &Scene, number: u16, extra: &[&str]) -> Node {
        let port = (scene.port + number).to_string();
        let dir = scene.dir.join(&port);
        fs::create_dir(&dir).unwrap();
        let child = Command::new(STOCK)
            .args(["--port", &port, "--cluster-enabled", "yes", "--save", "", "--bind", "127.0.0.1", "--dir"])
            .arg(&dir)
            .args(extra)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("a node answers", || scene.redis_cli(&["-p", &port, "PING"]) == "PONG");
        Node(child)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(name: &str, process: &Child) {
    let status =
        Command::new("bash").args(["-c", &format!("kill -{name} {}", process.id())]).status().unwrap();
    assert!(status.success());
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(90), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
