//! Sparse registers: runs of equal ones.
//!
//! | byte | run |
//! |---|---|
//! | `00xxxxxx` | `x` + 1 zeros |
//! | `01xxxxxx` `yyyyyyyy` | `xy` + 1 zeros |
//! | `1vvvvvxx` | `x` + 1 registers of `v` + 1 |
//!
//! Which of the many ways to write the same registers is taken depends on how they came about, and clients
//! can see it: a change splits one run, and then merges what it may among the next five from the run before.
//!
//! **Invariant:** functions here read no byte beyond the string and no register beyond the last, whatever the
//! bytes are (CVE-2025-32023 was the lack of that).

use super::{Corrupt, HEADER_BYTES, REGISTERS};
use crate::types::grow_for;

/// The greatest value and the longest run of a value.
const RANK_MAX: u8 = 32;
const RANK_RUN_MAX: usize = 4;
const SHORT_ZEROS_MAX: usize = 64;
/// Runs that are looked at for merging after a change.
const MERGE_REACH: usize = 5;

/// Neighbouring registers of one value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub rank: u8,
    /// At least one.
    pub len: usize,
    /// Zeros in the form of two bytes.
    pub is_long: bool,
}

impl Run {
    fn bytes(&self) -> usize {
        if self.is_long { 2 } else { 1 }
    }
}

/// The run that begins at a byte; `None` at the end, or if its second byte is missing.
#[inline]
fn run_at(hll: &[u8], at: usize) -> Option<Run> {
    let byte = *hll.get(at)?;
    Some(if byte & 0x80 != 0 {
        Run { rank: (byte >> 2 & 0x1f) + 1, len: usize::from(byte & 3) + 1, is_long: false }
    } else if byte & 0x40 == 0 {
        Run { rank: 0, len: usize::from(byte) + 1, is_long: false }
    } else {
        let low = *hll.get(at + 1)?;
        Run { rank: 0, len: (usize::from(byte & 0x3f) << 8 | usize::from(low)) + 1, is_long: true }
    })
}

fn rank_byte(rank: u8, len: usize) -> u8 {
    0x80 | (rank - 1) << 2 | (len - 1) as u8
}

/// Up to five bytes that take the place of one run.
#[derive(Default)]
struct Split {
    bytes: [u8; 5],
    len: usize,
}

impl Split {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// `len` registers of `rank`; nothing for none.
    fn push_run(&mut self, rank: u8, len: usize) {
        match (rank, len) {
            (_, 0) => {}
            (0, 1..=SHORT_ZEROS_MAX) => self.push((len - 1) as u8),
            (0, _) => {
                self.push(0x40 | ((len - 1) >> 8) as u8);
                self.push((len - 1) as u8);
            }
            _ => self.push(rank_byte(rank, len)),
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Appends a run of zeros, at most all there are.
pub fn push_zeros(hll: &mut Vec<u8>, len: usize) {
    let mut run = Split::default();
    run.push_run(0, len);
    hll.extend_from_slice(run.as_slice());
}

/// The runs, whether they add up or not. The second byte of the last one, where it is missing, is taken for 0.
pub fn runs(hll: &[u8]) -> impl Iterator<Item = Run> + '_ {
    let mut at = HEADER_BYTES;
    std::iter::from_fn(move || {
        let run = run_at(hll, at).or_else(|| run_at(&[*hll.get(at)?, 0], 0))?;
        at += run.bytes();
        Some(run)
    })
}

/// Calls `visit` with each run and its first register. Corrupt is what has too few registers or too many; all
/// that are visited exist.
pub fn each_run(hll: &[u8], mut visit: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let (mut at, mut first) = (HEADER_BYTES, 0);
    while at < hll.len() {
        let run = run_at(hll, at).filter(|run| first + run.len <= REGISTERS).ok_or(Corrupt { offset: at })?;
        visit(first, run);
        first += run.len;
        at += run.bytes();
    }
    if first == REGISTERS { Ok(()) } else { Err(Corrupt { offset: at }) }
}

/// A run, by its byte and its first register, from which a search may begin: with [`Cursor::START`] for any
/// register, otherwise for one beyond the last that was raised.
#[derive(Clone, Copy)]
pub struct Cursor {
    at: usize,
    first: usize,
}

impl Cursor {
    pub const START: Cursor = Cursor { at: HEADER_BYTES, first: 0 };
}

pub enum Raised {
    No,
    Yes,
    /// It has to be dense for that.
    DoesNotFit,
}

/// Raises a register. The string grows to at most `max_bytes`.
pub fn raise(
    hll: &mut Vec<u8>,
    cursor: &mut Cursor,
    index: usize,
    rank: u8,
    max_bytes: usize,
) -> Result<Raised, Corrupt> {
    if rank > RANK_MAX {
        return Ok(Raised::DoesNotFit);
    }
    let Cursor { mut at, mut first } = *cursor;
    let mut before = *cursor;
    let run = loop {
        let run = run_at(hll, at).ok_or(Corrupt { offset: at })?;
        if index < first + run.len {
            break run;
        }
        // One run back from where merging will begin: merging leaves it as it is.
        *cursor = before;
        before = Cursor { at, first };
        at += run.bytes();
        first += run.len;
    };
    if run.rank >= rank {
        return Ok(Raised::No);
    }
    let mut split = Split::default();
    split.push_run(run.rank, index - first);
    split.push_run(rank, 1);
    split.push_run(run.rank, first + run.len - 1 - index);
    let len = hll.len() - run.bytes() + split.len;
    if split.len > run.bytes() && len > max_bytes {
        return Ok(Raised::DoesNotFit);
    }
    replace(hll, at, run.bytes(), split.as_slice());
    merge_from(hll, before.at);
    Ok(Raised::Yes)
}

/// Puts `new` in place of `old_len` bytes.
fn replace(hll: &mut Vec<u8>, at: usize, old_len: usize, new: &[u8]) {
    let len = hll.len();
    if new.len() > old_len {
        grow_for(hll, new.len() - old_len);
        hll.resize(len + new.len() - old_len, 0);
    }
    hll.copy_within(at + old_len..len, at + new.len());
    hll.truncate(len + new.len() - old_len);
    hll[at..at + new.len()].copy_from_slice(new);
}

/// Merges neighbours of one value, as far as a run may be long.
fn merge_from(hll: &mut Vec<u8>, mut at: usize) {
    for _ in 0..MERGE_REACH {
        let Some(run) = run_at(hll, at) else { break };
        let next = run_at(hll, at + 1).filter(|next| run.rank > 0 && next.rank == run.rank);
        match next {
            Some(next) if run.len + next.len <= RANK_RUN_MAX => {
                hll[at + 1] = rank_byte(run.rank, run.len + next.len);
                hll.remove(at);
            }
            _ => at += run.bytes(),
        }
    }
}
