//! Random members: SRANDMEMBER and SPOP.

use super::{Repr, SetValue};
use crate::intset::Intset;
use crate::listpack::{Element, Listpack};
use crate::types::Limits;
use crate::types::random::{Selection, distinct_indices};
use std::collections::BTreeSet;

/// A pop of so many times what remains builds a new set of what remains.
const REBUILD_FACTOR: usize = 5;

impl SetValue {
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<Element<'_>> {
        match &self.repr {
            Repr::Intset(ints) => ints.get(rng.usize(..ints.len().max(1))).map(Element::Int),
            Repr::Listpack(pack) => pack.get(rng.usize(..pack.len().max(1)) as i64),
            Repr::Table(table) => table.random(rng).map(|[member]| Element::Bytes(member)),
        }
    }

    /// `count` draws, each of any member.
    pub fn random_with_repeats(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<Element<'_>> {
        if let Repr::Listpack(pack) = &self.repr {
            let members: Vec<_> = pack.iter().collect();
            return (0..count).filter_map(|_| rng.choice(&members).copied()).collect();
        }
        (0..count).filter_map(|_| self.random(rng)).collect()
    }

    /// Up to `count` different members.
    pub fn random_distinct(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<Element<'_>> {
        match &self.repr {
            Repr::Intset(ints) => {
                let chosen = distinct_indices(ints.len(), count, rng);
                chosen.into_iter().filter_map(|index| ints.get(index)).map(Element::Int).collect()
            }
            Repr::Listpack(pack) => {
                let mut selection = Selection::new(pack.len(), count);
                pack.iter().filter(|_| selection.takes_next(rng)).collect()
            }
            Repr::Table(table) if count >= table.len() / 4 => {
                let mut selection = Selection::new(table.len(), count);
                let chosen = table.iter().filter(|_| selection.takes_next(rng));
                chosen.map(|[member]| Element::Bytes(member)).collect()
            }
            Repr::Table(table) => {
                let mut drawn: BTreeSet<&[u8]> = BTreeSet::new();
                while drawn.len() < count {
                    let Some([member]) = table.random(rng) else { break };
                    drawn.insert(member);
                }
                drawn.into_iter().map(Element::Bytes).collect()
            }
        }
    }

    /// Removes a random member.
    pub fn pop(&mut self, rng: &mut fastrand::Rng) -> Option<Vec<u8>> {
        let member = self.random(rng)?.to_vec();
        self.remove(&member);
        Some(member)
    }

    /// Removes up to `count` random members.
    ///
    /// When little remains it is a new set, as in stock: what is left of a table may be a listpack again.
    pub fn pop_many(&mut self, count: usize, rng: &mut fastrand::Rng, limits: &Limits) -> Vec<Vec<u8>> {
        let count = count.min(self.len());
        let remaining = self.len() - count;
        if remaining * REBUILD_FACTOR <= count {
            return self.pop_all_but(remaining, rng, limits);
        }
        match &mut self.repr {
            Repr::Table(_) => (0..count).filter_map(|_| self.pop(rng)).collect(),
            _ => {
                let popped: Vec<_> = self.random_distinct(count, rng).iter().map(Element::to_vec).collect();
                self.remove_chosen(&popped);
                popped
            }
        }
    }

    /// Removes members of a small set, given in the set's own order.
    fn remove_chosen(&mut self, chosen: &[Vec<u8>]) {
        let mut chosen = chosen.iter().peekable();
        let mut is_chosen = |member: Element<'_>| chosen.next_if(|next| member.is(next)).is_some();
        match &mut self.repr {
            Repr::Intset(ints) => {
                let gone: Vec<_> = ints.iter().filter(|&value| is_chosen(Element::Int(value))).collect();
                gone.into_iter().for_each(|value| {
                    ints.remove(value);
                });
            }
            Repr::Listpack(pack) => pack.retain(|_, member| !is_chosen(member)),
            Repr::Table(_) => {}
        }
    }

    fn pop_all_but(&mut self, remaining: usize, rng: &mut fastrand::Rng, limits: &Limits) -> Vec<Vec<u8>> {
        let kept: Vec<_> = self.random_distinct(remaining, rng).iter().map(Element::to_vec).collect();
        let mut rest = SetValue {
            repr: match &self.repr {
                Repr::Intset(_) => Repr::Intset(Intset::new()),
                _ => Repr::Listpack(Listpack::new()),
            },
        };
        for member in &kept {
            rest.insert_as_is(member, limits);
            self.remove(member);
        }
        let popped = self.iter().map(|member| member.to_vec()).collect();
        *self = rest;
        popped
    }
}
