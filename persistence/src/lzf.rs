//! LZF, the compression of strings in RDB files.
//!
//! ```text
//! 000lllll  data            lllll + 1 bytes as they are
//! llloooo   oooooooo        lll + 2 bytes from ooooo oooooooo + 1 bytes back
//! 111ooooo  l  oooooooo     l + 9 bytes from there
//! ```
//!
//! A copy may reach into what it is producing. The compressor's choices are its own: any decompressor reads
//! what it writes.

use std::fmt;

/// Bytes of the longest run of literals.
const MAX_LITERALS: usize = 32;
/// Bytes that one reference can copy.
const MAX_COPY: usize = 264;
/// Bytes a reference can reach back.
const MAX_BACK: usize = 1 << 13;
/// Shortest copy that is worth a reference.
const MIN_COPY: usize = 3;
/// Three bytes of input give at most [`MAX_COPY`] bytes of output.
const MAX_RATIO: usize = MAX_COPY / 3;

/// Compressed bytes that are not LZF, or not of the stated length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt;

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid LZF compressed string")
    }
}

impl std::error::Error for Corrupt {}

/// Appends `input` to `out`, compressed to at most `most_bytes`. False, and `out` as it was, if it takes more.
pub fn compress(input: &[u8], most_bytes: usize, out: &mut Vec<u8>) -> bool {
    // Clearing the table must not cost more than the compression.
    match input.len() {
        0..=0xFE => compress_with(&mut [0u8; 1 << 8], input, most_bytes, out),
        0xFF..=0x7FF => compress_with(&mut [0u16; 1 << 9], input, most_bytes, out),
        0x800..=0xFFFE => compress_with(&mut [0u16; 1 << 12], input, most_bytes, out),
        _ => compress_with(&mut [0u32; 1 << 14], input, most_bytes, out),
    }
}

/// One more than an index into the input; 0 is none. As narrow as the input allows.
trait Place: Copy {
    fn from_index(index: usize) -> Self;
    fn index(self) -> Option<usize>;
}

macro_rules! place {
    ($($integer:ty)*) => {$(
        impl Place for $integer {
            #[inline]
            fn from_index(index: usize) -> Self {
                index as $integer + 1
            }

            #[inline]
            fn index(self) -> Option<usize> {
                (self as usize).checked_sub(1)
            }
        }
    )*};
}

place!(u8 u16 u32);

/// `seen` has a power of two of places: by the hash of three bytes, where they were last.
fn compress_with<P: Place>(seen: &mut [P], input: &[u8], most_bytes: usize, out: &mut Vec<u8>) -> bool {
    let shift = 32 - seen.len().trailing_zeros();
    let start = out.len();
    let (mut at, mut literals_from) = (0, 0);
    // Bytes that do not compress are stepped over ever faster.
    let mut misses = 0;
    while at + MIN_COPY < input.len() && at < u32::MAX as usize {
        let next = u32::from_le_bytes([input[at], input[at + 1], input[at + 2], 0]);
        let place = &mut seen[(next.wrapping_mul(0x9E37_79B1) >> shift) as usize];
        let candidate = place.index();
        *place = P::from_index(at);
        let is_match = |&from: &usize| at - from <= MAX_BACK && input[from..from + 3] == input[at..at + 3];
        let Some(from) = candidate.filter(is_match) else {
            at += 1 + (misses >> 6);
            misses += 1;
            continue;
        };
        let len = match_len(input, from, at);
        write_literals(&input[literals_from..at], out);
        write_copy(len, at - from, out);
        if out.len() - start > most_bytes {
            break;
        }
        at += len;
        (literals_from, misses) = (at, 0);
    }
    if out.len() - start <= most_bytes {
        write_literals(&input[literals_from..], out);
    }
    let fits = out.len() - start <= most_bytes;
    if !fits {
        out.truncate(start);
    }
    fits
}

fn match_len(input: &[u8], from: usize, at: usize) -> usize {
    let most = MAX_COPY.min(input.len() - at);
    let (old, new) = (&input[from..from + most], &input[at..at + most]);
    let (old_words, new_words) = (old.as_chunks::<8>().0, new.as_chunks::<8>().0);
    for (index, (old, new)) in old_words.iter().zip(new_words).enumerate() {
        let difference = u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new);
        if difference != 0 {
            return index * 8 + difference.trailing_zeros() as usize / 8;
        }
    }
    let done = old_words.len() * 8;
    done + old[done..].iter().zip(&new[done..]).take_while(|(old, new)| old == new).count()
}

fn write_literals(literals: &[u8], out: &mut Vec<u8>) {
    for run in literals.chunks(MAX_LITERALS) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn write_copy(len: usize, back: usize, out: &mut Vec<u8>) {
    let (len, back) = (len - 2, back - 1);
    if len < 7 {
        out.push((len << 5 | back >> 8) as u8);
    } else {
        out.extend_from_slice(&[7 << 5 | (back >> 8) as u8, (len - 7) as u8]);
    }
    out.push(back as u8);
}

/// Decompresses to exactly `len` bytes. Memory is taken only for a length the input could give.
pub fn decompress(input: &[u8], len: usize) -> Result<Vec<u8>, Corrupt> {
    if len > input.len().saturating_mul(MAX_RATIO) {
        return Err(Corrupt);
    }
    let mut out = Vec::new();
    out.try_reserve_exact(len).map_err(|_| Corrupt)?;
    let mut at = 0;
    while let Some(&control) = input.get(at) {
        at += 1;
        if usize::from(control) < MAX_LITERALS {
            let literals = input.get(at..at + usize::from(control) + 1).ok_or(Corrupt)?;
            at += literals.len();
            if literals.len() > len - out.len() {
                return Err(Corrupt);
            }
            out.extend_from_slice(literals);
            continue;
        }
        let mut count = usize::from(control >> 5);
        if count == 7 {
            count += usize::from(*input.get(at).ok_or(Corrupt)?);
            at += 1;
        }
        count += 2;
        let back = (usize::from(control & 0x1F) << 8 | usize::from(*input.get(at).ok_or(Corrupt)?)) + 1;
        at += 1;
        if count > len - out.len() || back > out.len() {
            return Err(Corrupt);
        }
        copy_back(&mut out, back, count);
    }
    if out.len() == len { Ok(out) } else { Err(Corrupt) }
}

fn copy_back(out: &mut Vec<u8>, back: usize, mut count: usize) {
    let from = out.len() - back;
    // What has been copied repeats, so each round may copy twice as much.
    while count > 0 {
        let step = count.min(out.len() - from);
        out.extend_from_within(from..from + step);
        count -= step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(input: &[u8]) -> usize {
        let mut out = b"before".to_vec();
        assert!(compress(input, usize::MAX, &mut out));
        assert_eq!(decompress(&out[6..], input.len()).as_deref(), Ok(input));
        out.len() - 6
    }

    #[test]
    fn repetitive_text_shrinks() {
        assert!(round_trip(&[b'a'; 100_000]) < 1500);
        assert!(round_trip(&b"user:1000:session:".repeat(50)) < 50);
        for len in 0..300 {
            round_trip(&vec![7; len]);
        }
    }

    #[test]
    fn what_does_not_fit_leaves_nothing_behind() {
        let noise: Vec<u8> = (0..200u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut out = vec![1, 2];
        assert!(!compress(&noise, noise.len() - 4, &mut out));
        assert_eq!(out, [1, 2]);
    }

    #[test]
    fn lengths_are_not_believed() {
        assert_eq!(decompress(&[0, b'a'], usize::MAX), Err(Corrupt));
        assert_eq!(decompress(&[0, b'a'], 2), Err(Corrupt));
        assert_eq!(decompress(&[0x20, 0], 3), Err(Corrupt));
        assert_eq!(decompress(&[0xE0], 3), Err(Corrupt));
        assert_eq!(decompress(&[0, b'a', 0x20, 0], 4).as_deref(), Ok(&b"aaaa"[..]));
    }

    proptest! {
        #![proptest_config(crate::test_config())]

        #[test]
        fn any_bytes_come_back(words in proptest::collection::vec(0u8..12, 0..4000)) {
            round_trip(&words);
        }

        #[test]
        fn any_input_is_refused_or_of_the_stated_length(
            input in proptest::collection::vec(any::<u8>(), 0..300),
            len in 0usize..20_000,
        ) {
            if let Ok(out) = decompress(&input, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
