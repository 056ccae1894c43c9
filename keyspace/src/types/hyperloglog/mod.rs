//! HyperLogLogs: strings that estimate how many different elements were added to them.
//!
//! The bytes are stock's, because clients may read and write them (GET, SET, RESTORE):
//!
//! ```text
//!  ┌────────┬──────────┬────────┬───────────────┬───────────┐
//!  │ "HYLL" │ encoding │ unused │ cardinality   │ registers │
//!  │ 4      │ 1        │ 3      │ 8, low first  │           │
//!  └────────┴──────────┴────────┴───────────────┴───────────┘
//! ```
//!
//! An element's hash chooses one of 16,384 registers; the register keeps the longest run of zeros, plus one,
//! that was met in the rest of such a hash. The encoding is 0 for [`dense`] registers and 1 for [`sparse`]
//! ones. The cardinality is a cache: its highest bit says that it has to be worked out anew.
//!
//! Nothing in the bytes can be trusted. The header is checked by [`encoding`], dense registers are valid
//! whatever they are, sparse ones are checked where they are read.

mod dense;
mod estimate;
mod sparse;

pub use sparse::Run;

use super::Corrupt;

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const CARDINALITY_AT: usize = 8;
const HEADER_BYTES: usize = 16;
/// Set in the last byte of the cardinality when it is out of date.
const OUT_OF_DATE: u8 = 0x80;

/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 14;
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// What a register is at most when elements have made it.
const RANK_MAX: usize = 64 - INDEX_BITS as usize + 1;
const DENSE_BYTES: usize = HEADER_BYTES + dense::REGISTER_BYTES;
/// Seed of the elements' hash.
const SEED: u64 = 0xadc8_3b19;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    Dense,
    Sparse,
}

/// The encoding of a string that can be a HyperLogLog by its header and length.
pub fn encoding(hll: &[u8]) -> Option<Encoding> {
    if hll.len() < HEADER_BYTES || !hll.starts_with(MAGIC) {
        return None;
    }
    match hll[ENCODING_AT] {
        0 if hll.len() == DENSE_BYTES => Some(Encoding::Dense),
        1 => Some(Encoding::Sparse),
        _ => None,
    }
}

/// A sparse one to which nothing was added.
pub fn empty() -> Vec<u8> {
    let mut hll = vec![0; HEADER_BYTES];
    hll[..MAGIC.len()].copy_from_slice(MAGIC);
    hll[ENCODING_AT] = 1;
    sparse::push_zeros(&mut hll, REGISTERS);
    hll
}

/// Adds an element; true if that changed a register, and then [`outdate`] is to follow. A sparse one that would
/// grow beyond `sparse_max_bytes`, header included, becomes dense.
pub fn add(hll: &mut Vec<u8>, element: &[u8], sparse_max_bytes: usize) -> Result<bool, Corrupt> {
    let (index, rank) = place(element);
    match encoding(hll) {
        Some(Encoding::Dense) => Ok(dense::raise(&mut hll[HEADER_BYTES..], index, rank)),
        Some(Encoding::Sparse) => {
            let mut cursor = sparse::Cursor::START;
            raise_sparse(hll, &mut cursor, index, rank, sparse_max_bytes)
        }
        None => Err(Corrupt { offset: 0 }),
    }
}

fn raise_sparse(
    hll: &mut Vec<u8>,
    cursor: &mut sparse::Cursor,
    index: usize,
    rank: u8,
    max_bytes: usize,
) -> Result<bool, Corrupt> {
    match sparse::raise(hll, cursor, index, rank, max_bytes)? {
        sparse::Raised::No => Ok(false),
        sparse::Raised::Yes => {
            // At once: one of the next elements may meet corruption.
            outdate(hll);
            Ok(true)
        }
        sparse::Raised::DoesNotFit => {
            make_dense(hll)?;
            dense::raise(&mut hll[HEADER_BYTES..], index, rank);
            Ok(true)
        }
    }
}

/// Makes a sparse one dense; true if it was not.
pub fn make_dense(hll: &mut Vec<u8>) -> Result<bool, Corrupt> {
    if encoding(hll) != Some(Encoding::Sparse) {
        return Ok(false);
    }
    let mut registers = Registers::new();
    registers.merge(hll)?;
    registers.make_dense(hll);
    Ok(true)
}

/// Says that the cardinality has to be worked out anew.
pub fn outdate(hll: &mut [u8]) {
    hll[HEADER_BYTES - 1] |= OUT_OF_DATE;
}

/// The cardinality that was kept, unless it is out of date.
pub fn kept_cardinality(hll: &[u8]) -> Option<u64> {
    let kept = hll.get(CARDINALITY_AT..HEADER_BYTES)?.try_into().ok()?;
    Some(u64::from_le_bytes(kept)).filter(|_| hll[HEADER_BYTES - 1] & OUT_OF_DATE == 0)
}

pub fn keep_cardinality(hll: &mut [u8], cardinality: u64) {
    hll[CARDINALITY_AT..HEADER_BYTES].copy_from_slice(&cardinality.to_le_bytes());
}

/// Works out how many different elements were added.
pub fn cardinality(hll: &[u8]) -> Result<u64, Corrupt> {
    let mut histogram = estimate::Histogram::default();
    match encoding(hll) {
        Some(Encoding::Dense) => dense::count(&hll[HEADER_BYTES..], &mut histogram),
        Some(Encoding::Sparse) => sparse::each_run(hll, |_, run| histogram.add(run.rank, run.len))?,
        None => return Err(Corrupt { offset: 0 }),
    }
    Ok(histogram.cardinality())
}

/// The runs of equal registers as a sparse one has them; `None` of a dense one. They need not add up.
pub fn runs(hll: &[u8]) -> Option<impl Iterator<Item = Run> + '_> {
    (encoding(hll) == Some(Encoding::Sparse)).then(|| sparse::runs(hll))
}

/// The register an element goes to, and what it raises it to.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, SEED);
    let index = hash as usize & (REGISTERS - 1);
    // A bit behind the last one ends the run of zeros.
    let rest = hash >> INDEX_BITS | 1 << (64 - INDEX_BITS);
    (index, rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash2 by Austin Appleby, the variant of 64 bits.
fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word).wrapping_mul(M);
        hash = (hash ^ (word ^ word >> R).wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> R).wrapping_mul(M);
    hash ^ hash >> R
}

/// All registers, a byte each: what several HyperLogLogs are merged in.
pub struct Registers([u8; REGISTERS]);

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}

impl Registers {
    pub fn new() -> Self {
        Registers([0; REGISTERS])
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = u8> + '_ {
        self.0.iter().copied()
    }

    /// Raises each register to what it is in `hll`. In a corrupt one those before the fault are raised.
    pub fn merge(&mut self, hll: &[u8]) -> Result<(), Corrupt> {
        match encoding(hll) {
            Some(Encoding::Dense) => dense::merge(&mut self.0, &hll[HEADER_BYTES..]),
            Some(Encoding::Sparse) => sparse::each_run(hll, |first, run| {
                if run.rank > 0 {
                    self.0[first..first + run.len].iter_mut().for_each(|rank| *rank = run.rank.max(*rank));
                }
            })?,
            None => return Err(Corrupt { offset: 0 }),
        }
        Ok(())
    }

    pub fn cardinality(&self) -> u64 {
        let mut histogram = estimate::Histogram::default();
        histogram.add_each(&self.0);
        histogram.cardinality()
    }

    /// Gives `hll` these registers, dense. Its cardinality stays as it was kept.
    pub fn make_dense(&self, hll: &mut Vec<u8>) {
        hll.truncate(HEADER_BYTES);
        hll[ENCODING_AT] = 0;
        hll.reserve_exact(DENSE_BYTES - HEADER_BYTES);
        dense::pack(&self.0, hll);
    }

    /// Raises the registers of `hll` to these: the end of PFMERGE, of which it has been a source.
    pub fn write_to(&self, hll: &mut Vec<u8>, sparse_max_bytes: usize) -> Result<(), Corrupt> {
        let mut cursor = sparse::Cursor::START;
        for (index, &rank) in self.0.iter().enumerate().filter(|(_, rank)| **rank > 0) {
            if encoding(hll) != Some(Encoding::Sparse) {
                self.make_dense(hll);
                break;
            }
            raise_sparse(hll, &mut cursor, index, rank, sparse_max_bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
