//! How running times are distributed: counts in buckets whose width is under a hundredth of their value, as in the
//! HdrHistogram that stock keeps for each command (1 ns to 1 s, two significant digits), so percentiles agree.
//!
//! ```text
//!  value   0 … 255 │ 256 … 511 │ 512 … 1023 │ …
//!  width     1     │     2     │     4      │ …       128 buckets for each doubling
//! ```

use crate::stats::Counter;

/// Values below twice this have a bucket each.
const HALF: u64 = 128;
const HALF_BITS: u32 = HALF.ilog2();
/// Longer times count as this one.
const MAX_NANOS: u64 = 1_000_000_000;
const BUCKETS: usize = bucket_of(MAX_NANOS) + 1;

/// Counts of one thread, the only writer. 24 KB, so it is made when there is something to count.
pub struct Histogram {
    counts: Box<[Counter]>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: (0..BUCKETS).map(|_| Counter::default()).collect() }
    }
}

const fn bucket_of(nanos: u64) -> usize {
    let shift = (nanos | HALF).ilog2() - HALF_BITS;
    // The upper half of each doubling: the lower one is the doubling before.
    let (doubling, within) = if nanos < HALF { (0, nanos) } else { (shift as u64 * HALF, nanos >> shift) };
    (doubling + within) as usize
}

/// The largest value that falls into a bucket.
fn highest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / HALF).saturating_sub(1);
    let within = bucket - shift * HALF;
    ((within + 1) << shift) - 1
}

impl Histogram {
    #[inline]
    pub fn add(&self, nanos: u64, count: u64) {
        self.counts[bucket_of(nanos.min(MAX_NANOS))].add(count);
    }

    pub fn reset(&self) {
        self.counts.iter().for_each(Counter::reset);
    }
}

/// Counts of several threads together.
pub struct Distribution(Vec<u64>);

impl Distribution {
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Distribution {
        let mut sums = vec![0; BUCKETS];
        for histogram in histograms {
            for (sum, count) in sums.iter_mut().zip(&histogram.counts) {
                *sum += count.get();
            }
        }
        Distribution(sums)
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How many calls took no longer than each power of two, from 1024 ns up, as (microseconds, calls). Powers within
    /// which no call has ended are left out. As stock reads its histograms, each includes the bucket it is in.
    pub fn by_doublings(&self) -> Vec<(u64, u64)> {
        let mut rows = Vec::new();
        let (mut seen, mut before, mut next) = (0, 0, 0);
        for nanos in (10..=MAX_NANOS.ilog2() + 1).map(|power| 1u64 << power) {
            // Beyond the longest time there is, everything is counted.
            let (last, highest) = match nanos > MAX_NANOS {
                true => (BUCKETS - 1, nanos - 1),
                false => (bucket_of(nanos), highest_of(bucket_of(nanos))),
            };
            seen += self.0[next..=last].iter().sum::<u64>();
            next = last + 1;
            if seen > before {
                rows.push((highest / 1000, seen));
                before = seen;
            }
        }
        rows
    }

    /// The time in nanoseconds that this percentage of all calls did not exceed.
    pub fn percentile(&self, percentile: f64) -> u64 {
        let wanted = ((percentile / 100.0 * self.total() as f64 + 0.5) as u64).max(1);
        let mut seen = 0;
        let found = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(0, highest_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        let mut last = 0;
        for nanos in (0..5000).chain((5000..MAX_NANOS).step_by(99_991)) {
            let bucket = bucket_of(nanos);
            assert!(bucket == last || bucket == last + 1 || nanos > 5000, "{nanos}");
            let highest = highest_of(bucket);
            assert!(highest >= nanos && highest <= nanos + nanos / 64, "{nanos} {highest}");
            last = bucket;
        }
        assert!(bucket_of(MAX_NANOS) < BUCKETS);
    }

    #[test]
    fn doublings_add_up() {
        let times = Histogram::default();
        for (nanos, calls) in [(500, 1), (1030, 1), (1032, 2), (40_000, 3), (700_000_000, 1), (u64::MAX, 1)] {
            times.add(nanos, calls);
        }
        let rows = Distribution::of([&times].into_iter()).by_doublings();
        assert_eq!(rows, [(1, 2), (2, 4), (66, 7), (1_073_741, 9)]);
    }

    #[test]
    fn percentiles_count_calls() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.add(100, 98);
        other.add(1000, 1);
        other.add(u64::MAX, 1);
        let all = Distribution::of([&one, &other].into_iter());
        assert_eq!(all.total(), 100);
        assert_eq!(all.percentile(0.0), 100);
        assert_eq!(all.percentile(50.0), 100);
        assert_eq!(all.percentile(99.0), 1003);
        assert!(all.percentile(100.0) >= MAX_NANOS);
    }
}
