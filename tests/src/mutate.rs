//! Payloads that were right once: a corpus of what stock has serialized, and a mutator by seed.
//!
//! `tests/corpus/` has what stock's DUMP said of one value for each type and encoding
//! (`tests/tests/fuzz.rs` makes it), and values in encodings that only older or newer servers write.

use std::path::PathBuf;

/// Version and checksum at the end of a payload.
const FOOTER_BYTES: usize = 10;
/// The version a mutated payload says it is of: the newest that is read, so that every type is met.
const VERSION: u16 = 11;
/// A mutated payload is no longer than this.
const LEN_MAX: usize = 32 << 10;

/// Bytes that mean something in one format or another: lengths' prefixes, listpack and ziplist encodings, ends.
const TELLING: [u8; 24] = [
    0x00, 0x01, 0x02, 0x0B, 0x1F, 0x3F, 0x40, 0x7F, 0x80, 0x81, 0xBF, 0xC0, 0xC1, 0xC2, 0xC3, 0xDF, 0xE0,
    0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xFE, 0xFF,
];

pub fn corpus_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The corpus: names, and payloads without their footers.
pub fn corpus() -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(corpus_folder()).expect("tests/corpus is there");
    let mut found: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let file = file.expect("a file");
            let mut body = std::fs::read(file.path()).expect("it can be read");
            body.truncate(body.len() - FOOTER_BYTES);
            (file.file_name().to_string_lossy().into_owned(), body)
        })
        .collect();
    found.sort();
    assert!(found.len() > 20, "the corpus is there: {}", found.len());
    found
}

/// The payload of a body: with a footer that is right.
pub fn with_footer(mut body: Vec<u8>) -> Vec<u8> {
    body.extend_from_slice(&VERSION.to_le_bytes());
    let crc = persistence::crc64::crc64(0, &body);
    body.extend_from_slice(&crc.to_le_bytes());
    body
}

/// Makes wrong of right.
pub struct Mutator {
    pub rng: fastrand::Rng,
}

impl Mutator {
    pub fn new(seed: u64) -> Mutator {
        Mutator { rng: fastrand::Rng::with_seed(seed) }
    }

    /// `base`, changed in one to four places; `other` is what parts are taken from.
    pub fn mutate(&mut self, base: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = base.to_vec();
        for _ in 0..self.rng.usize(1..=4) {
            self.change(&mut bytes, other);
        }
        bytes.truncate(LEN_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        if bytes.is_empty() {
            return bytes.push(self.rng.u8(..));
        }
        let at = self.rng.usize(..bytes.len());
        match self.rng.u32(..12) {
            0..3 => bytes[at] ^= 1 << self.rng.u32(..8),
            3 | 4 => bytes[at] = TELLING[self.rng.usize(..TELLING.len())],
            5 => bytes[at] = bytes[at].wrapping_add(if self.rng.bool() { 1 } else { 255 }),
            6 => bytes.truncate(at),
            7 => drop(bytes.drain(at..(at + self.rng.usize(1..=16)).min(bytes.len()))),
            8 => {
                let copied = self.part(bytes);
                drop(bytes.splice(at..at, copied));
            }
            9 => {
                let foreign = self.part(other);
                let end = (at + self.rng.usize(..=foreign.len())).min(bytes.len());
                drop(bytes.splice(at..end, foreign));
            }
            _ => self.write_length(bytes, at),
        }
    }

    fn part(&mut self, of: &[u8]) -> Vec<u8> {
        let from = self.rng.usize(..=of.len());
        of[from..(from + self.rng.usize(..64)).min(of.len())].to_vec()
    }

    /// Writes a number over what may be a length, of one to eight bytes, in either order.
    fn write_length(&mut self, bytes: &mut [u8], at: usize) {
        let left = (bytes.len() - at) as u64;
        let numbers = [
            0,
            1,
            left,
            left.wrapping_sub(1),
            left + 1,
            0x7FFF,
            0xFFFF,
            0x7FFF_FFFF,
            0xFFFF_FFFF,
            u64::MAX >> 1,
            u64::MAX,
        ];
        let number = numbers[self.rng.usize(..numbers.len())];
        let width = [1, 2, 4, 8][self.rng.usize(..4)].min(bytes.len() - at);
        let mut text = number.to_le_bytes();
        let place = &mut bytes[at..at + width];
        if self.rng.bool() {
            text[..width].reverse();
        }
        place.copy_from_slice(&text[..width]);
    }
}
