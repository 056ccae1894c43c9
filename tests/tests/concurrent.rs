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
