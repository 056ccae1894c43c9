//! Dense registers: six bits each, the first one in the low bits of the first byte.
//!
//! ```text
//!  ┌────────┬────────┬────────┬────────┬─
//!  │11000000│22221111│33333322│55444444│    high bit of a byte left; digits are registers
//!  └────────┴────────┴────────┴────────┴─
//! ```
//!
//! Eight registers are six bytes. Spread to a byte each, in a register of the machine, they can be compared
//! all at once.

use super::REGISTERS;
use super::estimate::Histogram;

const BITS: usize = 6;
const MASK: u16 = (1 << BITS) - 1;
pub const REGISTER_BYTES: usize = REGISTERS * BITS / 8;
/// Bytes of eight registers.
const GROUP_BYTES: usize = 6;

/// Raises a register; true if it was less.
pub fn raise(registers: &mut [u8], index: usize, rank: u8) -> bool {
    let (at, shift) = (index * BITS / 8, index * BITS % 8);
    let low = registers[at];
    // The last register ends with the last byte.
    let high = registers.get(at + 1).copied().unwrap_or(0);
    let pair = u16::from_le_bytes([low, high]);
    if pair >> shift & MASK >= u16::from(rank) {
        return false;
    }
    let [low, high] = (pair & !(MASK << shift) | u16::from(rank) << shift).to_le_bytes();
    registers[at] = low;
    if let Some(byte) = registers.get_mut(at + 1) {
        *byte = high;
    }
    true
}

/// Six bytes as eight registers, a byte each.
#[inline]
fn spread(group: [u8; GROUP_BYTES]) -> [u8; 8] {
    let [a, b, c, d, e, f] = group;
    let all = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    let halves = all & 0x0000_0000_00ff_ffff | (all & 0x0000_ffff_ff00_0000) << 8;
    let quarters = halves & 0x0000_0fff_0000_0fff | (halves & 0x00ff_f000_00ff_f000) << 4;
    let eighths = quarters & 0x003f_003f_003f_003f | (quarters & 0x0fc0_0fc0_0fc0_0fc0) << 2;
    eighths.to_le_bytes()
}

/// The reverse of [`spread`].
#[inline]
fn gather(registers: [u8; 8]) -> [u8; GROUP_BYTES] {
    let eighths = u64::from_le_bytes(registers) & 0x3f3f_3f3f_3f3f_3f3f;
    let quarters = eighths & 0x003f_003f_003f_003f | (eighths & 0x3f00_3f00_3f00_3f00) >> 2;
    let halves = quarters & 0x0000_0fff_0000_0fff | (quarters & 0x0fff_0000_0fff_0000) >> 4;
    let all = halves & 0x0000_0000_00ff_ffff | (halves & 0x00ff_ffff_0000_0000) >> 8;
    let [a, b, c, d, e, f, ..] = all.to_le_bytes();
    [a, b, c, d, e, f]
}

/// Raises each register of `raised` to what it is in the dense `registers`.
pub fn merge(raised: &mut [u8; REGISTERS], registers: &[u8]) {
    let groups = registers.as_chunks::<GROUP_BYTES>().0;
    for (raised, group) in raised.as_chunks_mut::<8>().0.iter_mut().zip(groups) {
        let ranks = spread(*group);
        for (raised, rank) in raised.iter_mut().zip(ranks) {
            *raised = rank.max(*raised);
        }
    }
}

/// Counts the dense `registers`.
pub fn count(registers: &[u8], histogram: &mut Histogram) {
    let mut ranks = [0; REGISTERS];
    let groups = registers.as_chunks::<GROUP_BYTES>().0;
    for (ranks, group) in ranks.as_chunks_mut::<8>().0.iter_mut().zip(groups) {
        *ranks = spread(*group);
    }
    histogram.add_each(&ranks);
}

/// Appends registers, dense.
pub fn pack(ranks: &[u8; REGISTERS], out: &mut Vec<u8>) {
    ranks.as_chunks::<8>().0.iter().for_each(|group| out.extend_from_slice(&gather(*group)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_what_raising_makes() {
        let mut rng = fastrand::Rng::with_seed(3);
        let ranks: [u8; REGISTERS] = std::array::from_fn(|_| rng.u8(..64));
        let mut one_by_one = vec![0; REGISTER_BYTES];
        for (index, &rank) in ranks.iter().enumerate() {
            assert_eq!(raise(&mut one_by_one, index, rank), rank > 0);
            assert!(!raise(&mut one_by_one, index, rank));
        }
        let mut packed = Vec::new();
        pack(&ranks, &mut packed);
        assert!(packed == one_by_one);
        let mut merged = [0; REGISTERS];
        merge(&mut merged, &packed);
        assert!(merged == ranks);
    }
}
