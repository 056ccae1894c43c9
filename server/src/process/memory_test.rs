//! `--test-memory`: writes patterns to much of the memory and reads them back.
//!
//! It finds memory that forgets or mixes up what is written to it, as far as the machine lends its memory to a process: for
//! the rest there are tools that run without an operating system. A test that finds nothing proves nothing.

use std::hint::black_box;
use std::process::ExitCode;

/// Rounds, as stock.
const PASSES: usize = 50;
const WORDS_PER_MEGABYTE: usize = (1 << 20) / size_of::<u64>();

/// Tests so many megabytes. The exit code is 1 when there are errors, or nothing is said to be tested.
pub fn run(megabytes: Option<usize>) -> ExitCode {
    let Some(megabytes) = megabytes.filter(|&megabytes| megabytes > 0) else {
        eprintln!(
            "Please specify the amount of memory to test in megabytes.\nExample: ./redis-server --test-memory 4096\n"
        );
        return ExitCode::FAILURE;
    };
    let mut words: Vec<u64> = Vec::new();
    let count = megabytes.saturating_mul(WORDS_PER_MEGABYTE);
    if let Err(error) = words.try_reserve_exact(count) {
        eprintln!("Unable to allocate {megabytes} megabytes: {error}");
        return ExitCode::FAILURE;
    }
    words.resize(count, 0);
    for pass in 1..=PASSES {
        println!("[{pass} / {PASSES}] {megabytes} MB: address, 0x00, 0xff, 0x55, 0xaa, random");
        if let Some(at) = first_error(&mut words, pass as u64) {
            println!("\n*** MEMORY ERROR DETECTED at byte {} of {megabytes} MB", at * size_of::<u64>());
            return ExitCode::FAILURE;
        }
    }
    println!("\nYour memory passed this test.");
    println!("Please if you are still in doubt use the following two tools:");
    println!("1) memtest86: http://www.memtest86.com/");
    println!("2) memtester: http://pyropus.ca/software/memtester/");
    ExitCode::SUCCESS
}

/// Writes all patterns, one after the other. The position of the first word that is another when it is read back.
fn first_error(words: &mut [u64], pass: u64) -> Option<usize> {
    let solid = [0, u64::MAX, 0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa];
    wrong(words, |at| at as u64)
        .or_else(|| solid.into_iter().find_map(|pattern| wrong(words, |_| pattern)))
        .or_else(|| wrong(words, |at| scattered(at as u64 ^ pass << 48)))
}

/// Writes to every word what `pattern` gives for its position, and reads it back from both ends.
fn wrong(words: &mut [u64], pattern: impl Fn(usize) -> u64) -> Option<usize> {
    words.iter_mut().enumerate().for_each(|(at, word)| *word = pattern(at));
    // Otherwise the compiler knows what is there, and nothing is read.
    let words = black_box(words);
    let is_wrong = |&at: &usize| words[at] != pattern(at);
    (0..words.len()).find(is_wrong).or_else(|| (0..words.len()).rev().find(is_wrong))
}

/// Bits without a pattern (the finish of SplitMix64).
fn scattered(n: u64) -> u64 {
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_works_passes_and_a_wrong_word_is_found() {
        let mut words = vec![0; WORDS_PER_MEGABYTE];
        assert_eq!(first_error(&mut words, 1), None);
        let reads = std::cell::Cell::new(0);
        // The pattern asks for another word the second time it is asked for the seventh.
        let pattern = |at: usize| {
            reads.set(reads.get() + u64::from(at == 7));
            if at == 7 { reads.get() } else { 0 }
        };
        assert_eq!(wrong(&mut words, pattern), Some(7));
    }
}
