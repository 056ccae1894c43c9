//! When fields expire: found by field, and in the order of time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// **Invariant:** both say the same.
#[derive(Clone, Default, Debug)]
pub struct Times {
    by_field: BTreeMap<Arc<[u8]>, i64>,
    in_order: BTreeSet<(i64, Arc<[u8]>)>,
}

impl Times {
    pub fn len(&self) -> usize {
        self.by_field.len()
    }

    /// Heap bytes, approximately: nodes of the trees are two thirds full.
    pub fn memory_bytes(&self) -> usize {
        const PER_FIELD: usize = 24 * 3 + 16;
        self.by_field.keys().take(16).map(|field| field.len() + PER_FIELD).sum::<usize>() * self.len()
            / self.len().clamp(1, 16)
    }

    pub fn of(&self, field: &[u8]) -> Option<i64> {
        self.by_field.get(field).copied()
    }

    pub fn set(&mut self, field: &[u8], at_ms: i64) {
        self.remove(field);
        let field: Arc<[u8]> = field.into();
        self.in_order.insert((at_ms, field.clone()));
        self.by_field.insert(field, at_ms);
    }

    /// `false` if the field had no time.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let Some((field, at_ms)) = self.by_field.remove_entry(field) else { return false };
        self.in_order.remove(&(at_ms, field))
    }

    pub fn first_ms(&self) -> Option<i64> {
        self.in_order.first().map(|(at_ms, _)| *at_ms)
    }

    /// The fields of which the time is before `ms`, in the order of time.
    pub fn before(&self, ms: i64) -> impl Iterator<Item = &[u8]> {
        self.in_order.iter().take_while(move |(at_ms, _)| *at_ms < ms).map(|(_, field)| &**field)
    }
}
