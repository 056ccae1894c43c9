//! Listpacks of pairs: a hash's fields and values, a sorted set's members and scores.

use super::Corrupt;
use crate::listpack::{Element, Iter, Listpack, Pos};
use std::collections::BTreeSet;

/// Pairs of neighbours, from either end.
#[derive(Clone)]
pub struct Pairs<'a>(Iter<'a>);

impl<'a> Pairs<'a> {
    pub fn of(pack: &'a Listpack) -> Self {
        Pairs(pack.iter())
    }

    pub fn over(iter: Iter<'a>) -> Self {
        Pairs(iter)
    }

    /// No pairs, of whatever listpack.
    pub fn none(pack: &'a Listpack) -> Self {
        Pairs(pack.iter_none())
    }

    /// The next pair, and where it begins.
    pub fn next_with_pos(&mut self) -> Option<(Pos, Element<'a>, Element<'a>)> {
        let (pos, first) = self.0.next_with_pos()?;
        Some((pos, first, self.0.next()?))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Element<'a>, Element<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let second = self.0.next_back()?;
        Some((self.0.next_back()?, second))
    }
}

/// Checks a stored listpack in which every `stride`-th element, from the first on, has to be there once only.
pub fn check_unique(pack: &Listpack, stride: usize) -> Result<(), Corrupt> {
    if pack.is_empty() || !pack.len().is_multiple_of(stride) {
        return Err(Corrupt { offset: 4 });
    }
    let mut seen = BTreeSet::new();
    for key in pack.iter().step_by(stride) {
        if !seen.insert(key.to_text()) {
            return Err(Corrupt { offset: 0 });
        }
    }
    Ok(())
}
