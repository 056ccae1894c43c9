//! RESTORE of damaged payloads to a running server, which then has to do everything with whatever it let in.

use balas_tests::generate::Generator;
use balas_tests::mutate::{Mutator, corpus, with_footer};
use balas_tests::process::{Server, balas};
use balas_tests::resp::Client;
use balas_tests::stored::everything;
use std::io;

/// Payloads of a run, unless `BALAS_FUZZ_INPUTS` says otherwise.
const PAYLOADS: u64 = 20_000;
/// Payloads between two rounds of random commands, and how many these are.
const PAYLOADS_AT_ONCE: u64 = 20;
const COMMANDS_AT_ONCE: usize = 100;
/// What the keys of random commands may need, and far from what a lying length would take.
const MEMORY_MAX: u64 = 256 << 20;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn all_answered(client: &mut Client, commands: &[Vec<Vec<u8>>]) -> io::Result<usize> {
    client.send_all(&commands.iter().collect::<Vec<_>>())?;
    let mut taken = 0;
    for _ in commands {
        taken += usize::from(!client.receive()?.is_error());
    }
    Ok(taken)
}

fn used_memory(client: &mut Client) -> u64 {
    let info = client.call(&["INFO", "memory"]).expect("the server answers");
    let text = String::from_utf8_lossy(info.text().expect("a text")).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("used_memory_peak:")).expect("the peak");
    line.trim().parse().expect("a number")
}

#[test]
fn whatever_restore_lets_in_can_be_used() {
    let first_seed = variable("BALAS_FUZZ_SEED").unwrap_or(1) << 40;
    let payloads = variable("BALAS_FUZZ_INPUTS").unwrap_or(PAYLOADS);
    let directives = [
        "--enable-debug-command",
        "yes",
        "--appendonly",
        "yes",
        "--appendfsync",
        "no",
        "--hash-max-listpack-entries",
        "8",
    ];
    let mut server = Server::start(&balas(), &directives);
    let mut client = server.client();
    let corpus = corpus();
    let mut generator = Generator::new(first_seed);
    let mut accepted = 0;
    let mut batch = Vec::new();
    for seed in first_seed..first_seed + payloads {
        let mut mutator = Mutator::new(seed);
        let (base, other) = (mutator.rng.usize(..corpus.len()), mutator.rng.usize(..corpus.len()));
        let payload = with_footer(mutator.mutate(&corpus[base].1, &corpus[other].1));
        let key = Generator::any_key(&mut mutator.rng);
        batch.push(vec![b"RESTORE".to_vec(), key.into_bytes(), b"0".to_vec(), payload, b"REPLACE".to_vec()]);
        if !(seed + 1).is_multiple_of(PAYLOADS_AT_ONCE) {
            continue;
        }
        let steps: Vec<_> = (0..COMMANDS_AT_ONCE).map(|_| generator.step().argv).collect();
        let done = all_answered(&mut client, &batch).and_then(|taken| {
            accepted += taken;
            all_answered(&mut client, &steps)
        });
        if let Err(error) = done {
            let log = server.log();
            let why = log.find("BUG REPORT START").map_or("", |at| &log[at..]);
            panic!("seeds up to {seed}: {error}\n{batch:?}\n{steps:?}\n{}", &why[..why.len().min(4000)]);
        }
        batch.clear();
    }
    println!("{payloads} payloads, {accepted} accepted, peak {} bytes", used_memory(&mut client));
    assert!(accepted as u64 > payloads / 50, "only {accepted} of {payloads} are accepted");
    assert!(used_memory(&mut client) < MEMORY_MAX, "{}", used_memory(&mut client));

    // What is left can be saved and read, and so can the log of all that was let in.
    let before = everything(&mut client).expect("the server answers");
    let reload = client.call(&["DEBUG", "RELOAD"]).expect("the server answers");
    assert!(!reload.is_error(), "{reload:?}\n{}", server.log());
    assert!(everything(&mut client).expect("the server answers") == before, "the same after DEBUG RELOAD");
    server.restart();
    let mut client = server.client();
    assert!(everything(&mut client).expect("the server answers") == before, "the same after the log is read");
}
