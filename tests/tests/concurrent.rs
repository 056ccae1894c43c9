//! Many clients at once: the server stays whole, and what it logs makes the dataset it has.

use balas_tests::generate::Generator;
use balas_tests::process::{Server, balas};
use balas_tests::stored::everything;

const CLIENTS: u64 = 6;
const COMMANDS: usize = 10_000;

fn send_all(server: &Server, seed: u64) {
    let mut client = server.client();
    let mut generator = Generator::new(seed);
    for _ in 0..COMMANDS {
        let steps = match generator.wants_transaction() {
            true => generator.queue(),
            false => vec![generator.step()],
        };
        let transaction = steps.len() > 1;
        let mut send = |argv: &[Vec<u8>]| {
            if let Err(error) = client.call(argv) {
                panic!("seed {seed}: {argv:?}: {error}");
            }
        };
        if transaction {
            send(&[b"MULTI".to_vec()]);
        }
        steps.iter().for_each(|step| send(&step.argv));
        if transaction {
            send(&[b"EXEC".to_vec()]);
        }
    }
}

#[test]
fn the_log_of_many_clients_makes_the_dataset_again() {
    let seed = std::env::var("BALAS_DIFF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
    let directives = ["--appendonly", "yes", "--appendfsync", "no", "--io-threads", "4"];
    let mut server = Server::start(&balas(), &directives);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || send_all(server, seed * 1000 + client));
        }
    });
    let before = everything(&mut server.client()).expect("the server answers");
    assert!(!before.is_empty(), "nothing to compare");
    server.restart();
    let after = everything(&mut server.client()).expect("the server answers");
    for (key, value) in &before {
        assert_eq!(after.get(key), Some(value), "seed {seed}: {key:?}");
    }
    assert_eq!(after.len(), before.len(), "seed {seed}");
}

/// Replies wait for the disk with `appendfsync always`. They were lost when the setting changed meanwhile, or when
/// a rewrite brought the log to disk.
#[test]
fn replies_that_wait_for_the_disk_come_whatever_is_set_meanwhile() {
    let directives = ["--appendonly", "yes", "--appendfsync", "always", "--io-threads", "2"];
    let server = Server::start(&balas(), &directives);
    let mut writers: Vec<_> = (0..8).map(|_| server.client()).collect();
    let mut administrator = server.client();
    for round in 0..40 {
        for writer in &mut writers {
            writer.send(&["INCR", "written"]).expect("sent");
        }
        let line =
            ["CONFIG SET appendfsync everysec", "CONFIG SET appendfsync no", "BGREWRITEAOF"][round % 3];
        administrator.call(&line.split(' ').collect::<Vec<_>>()).expect("an answer");
        for writer in &mut writers {
            let reply = writer.receive().unwrap_or_else(|error| panic!("after {line}: {error}"));
            assert!(reply.as_i64().is_some(), "{reply:?}");
        }
        administrator.call(&["CONFIG", "SET", "appendfsync", "always"]).expect("an answer");
    }
    let written = administrator.call(&["GET", "written"]).expect("an answer");
    assert_eq!(written.text(), Some(&b"320"[..]));
}

/// Replies that could not be sent any more are nobody else's.
#[test]
fn nobody_gets_the_replies_of_a_client_that_has_gone() {
    let server = Server::start(&balas(), &["--io-threads", "1"]);
    let mut stays = server.client();
    let long = "x".repeat(2000);
    for round in 0..300 {
        let mut goes = server.client();
        let echo = vec!["ECHO", long.as_str()];
        let pipeline = vec![&echo; 20];
        for _ in 0..5 {
            // The server may have noticed already.
            let _ = goes.send_all(&pipeline);
        }
        drop(goes);
        for nth in 0..5 {
            let word = format!("{round}-{nth}");
            let reply = stays.call(&["ECHO", &word]).expect("answered");
            assert!(
                reply.text() == Some(word.as_bytes()),
                "round {round}: {} bytes",
                format!("{reply:?}").len()
            );
        }
    }
}
