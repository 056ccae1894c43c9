//! Drawing elements at random.

/// `count` different indices below `len`, ascending, each choice as likely as any other (Floyd's method).
pub fn distinct_indices(len: usize, count: usize, rng: &mut fastrand::Rng) -> Vec<usize> {
    if count >= len {
        return (0..len).collect();
    }
    // Few of many: draw. Many of few: decide one by one.
    if count < len / 16 {
        let mut chosen = std::collections::BTreeSet::new();
        for top in len - count..len {
            let drawn = rng.usize(..=top);
            if !chosen.insert(drawn) {
                chosen.insert(top);
            }
        }
        return chosen.into_iter().collect();
    }
    let mut selection = Selection::new(len, count);
    (0..len).filter(|_| selection.takes_next(rng)).collect()
}

/// Chooses `count` of `len` things that come one after the other.
pub struct Selection {
    left: usize,
    wanted: usize,
}

impl Selection {
    pub fn new(len: usize, count: usize) -> Self {
        Selection { left: len, wanted: count.min(len) }
    }

    /// Whether the next thing is among the chosen ones.
    pub fn takes_next(&mut self, rng: &mut fastrand::Rng) -> bool {
        let takes = self.wanted > 0 && rng.usize(..self.left.max(1)) < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= usize::from(takes);
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_distinct_and_all_are_drawn() {
        let mut rng = fastrand::Rng::with_seed(7);
        for (len, count) in [(10, 3), (10, 10), (10, 20), (1000, 5), (1, 1), (0, 3), (100, 99)] {
            let mut seen = vec![false; len];
            for _ in 0..2000 {
                let drawn = distinct_indices(len, count, &mut rng);
                assert_eq!(drawn.len(), count.min(len));
                assert!(drawn.is_sorted_by(|left, right| left < right));
                drawn.iter().for_each(|&index| seen[index] = true);
            }
            assert!(seen.iter().all(|&seen| seen), "{count} of {len}");
        }
    }
}
