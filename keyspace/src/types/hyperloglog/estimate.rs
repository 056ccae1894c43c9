//! From registers to a number of elements.
//!
//! The estimator is the improved one of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog
//! sketches", arXiv:1702.01284: it needs only how many registers have each value. The operations on doubles
//! are in stock's order, because the last digit of the result may hang on it.

use super::{RANK_MAX, REGISTERS};

/// How many registers have each value. Six bits may hold values that no element makes.
pub struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([0; 64])
    }
}

impl Histogram {
    pub fn add(&mut self, rank: u8, registers: usize) {
        self.0[usize::from(rank & 63)] += registers as u32;
    }

    /// Counts registers. Neighbours are counted apart, lest equal ones wait for each other.
    pub fn add_each(&mut self, ranks: &[u8; REGISTERS]) {
        let mut apart = [[0u16; 64]; 4];
        for group in ranks.as_chunks::<4>().0 {
            for (counts, rank) in apart.iter_mut().zip(group) {
                counts[usize::from(rank & 63)] += 1;
            }
        }
        for counts in &apart {
            self.0.iter_mut().zip(counts).for_each(|(sum, count)| *sum += u32::from(*count));
        }
    }

    /// The estimate.
    pub fn cardinality(&self) -> u64 {
        /// 0.5 / ln 2
        const ALPHA_INF: f64 = 0.721_347_520_444_481_7;
        let m = REGISTERS as f64;
        let count = |rank: usize| f64::from(self.0[rank]);
        let mut z = m * tau((m - count(RANK_MAX)) / m);
        for rank in (1..RANK_MAX).rev() {
            z += count(rank);
            z *= 0.5;
        }
        z += m * sigma(count(0) / m);
        to_integer(ALPHA_INF * m * m / z)
    }
}

/// The nearest integer as C's `llround` has it: what does not fit is the least one.
fn to_integer(estimate: f64) -> u64 {
    let rounded = estimate.round();
    let fits = rounded.abs() < i64::MAX as f64;
    (if fits { rounded as i64 } else { i64::MIN }) as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
