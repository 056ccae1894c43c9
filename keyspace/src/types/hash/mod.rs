//! Hashes.
//!
//! | encoding | what | when |
//! |---|---|---|
//! | `listpack` | field, value, field, value … | within the hash-max-listpack limits; never again once left |
//! | `hashtable` | a table of fields with their values | beyond |
//! | `listpackex` | `listpack`, and times beside it | while a field of it expires |
//!
//! The fields of a hash may expire one by one ([`times`]). A hash of which none does knows nothing of that: it
//! is a [`plain::PlainHash`] and no more. Nothing here asks what time it is: a field is there until it is
//! removed, and [`HashValue::overdue`] tells which should be.

mod plain;
mod times;

pub use plain::Fields;

use super::{Corrupt, Limits};
use crate::listpack::{Element, Listpack};
use plain::PlainHash;
use times::Times;

#[derive(Clone, Debug)]
pub struct HashValue {
    repr: Repr,
}

#[derive(Clone, Debug)]
enum Repr {
    Plain(PlainHash),
    Timed(Box<Timed>),
}

/// **Invariant:** every field with a time is there, and there is at least one.
#[derive(Clone, Debug)]
struct Timed {
    fields: PlainHash,
    times: Times,
}

/// What an RDB codec may look at. The fields of a table come from [`HashValue::iter`], and when they expire
/// from [`HashValue::expires_at`].
pub enum HashEncoding<'a> {
    Listpack(&'a Listpack),
    Table,
    /// Some fields expire, the first one at this time, in milliseconds since the Unix epoch.
    Timed {
        first_ms: i64,
    },
}

/// A field and its value.
pub type Pair<'a> = (Element<'a>, Element<'a>);

impl Default for HashValue {
    fn default() -> Self {
        HashValue::plain(PlainHash::new())
    }
}

impl HashValue {
    pub fn new() -> Self {
        Self::default()
    }

    fn plain(fields: PlainHash) -> Self {
        HashValue { repr: Repr::Plain(fields) }
    }

    /// An empty hash about to be given `len` fields from an RDB file.
    pub fn for_loading(len: usize, limits: &Limits) -> Self {
        HashValue::plain(PlainHash::for_loading(len, limits))
    }

    /// Takes a stored listpack; a field that is there twice, an odd count or none at all is corrupt.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Self, Corrupt> {
        PlainHash::from_listpack(pack, limits).map(HashValue::plain)
    }

    fn fields(&self) -> &PlainHash {
        match &self.repr {
            Repr::Plain(fields) => fields,
            Repr::Timed(timed) => &timed.fields,
        }
    }

    fn fields_mut(&mut self) -> &mut PlainHash {
        match &mut self.repr {
            Repr::Plain(fields) => fields,
            Repr::Timed(timed) => &mut timed.fields,
        }
    }

    fn times(&self) -> Option<&Times> {
        match &self.repr {
            Repr::Plain(_) => None,
            Repr::Timed(timed) => Some(&timed.times),
        }
    }

    pub fn encoding(&self) -> HashEncoding<'_> {
        match self.first_expiry_ms() {
            Some(first_ms) => HashEncoding::Timed { first_ms },
            None => self.fields().encoding(),
        }
    }

    pub fn encoding_name(&self) -> &'static str {
        match (&self.repr, self.fields().encoding_name()) {
            (Repr::Timed(_), "listpack") => "listpackex",
            (_, name) => name,
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields().len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields().is_empty()
    }

    /// Heap bytes, as far as they are this value's own.
    pub fn memory_bytes(&self) -> usize {
        self.fields().memory_bytes() + self.times().map_or(0, Times::memory_bytes)
    }

    /// Allocations that dropping the value frees.
    pub fn free_effort(&self) -> usize {
        self.fields().free_effort() + self.times().map_or(0, Times::len)
    }
}

// ---- Fields ----------------------------------------------------------------------------------------------

impl HashValue {
    /// Sets fields one after the other, and returns how many were new. They do not expire any more.
    pub fn set_all<F: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(F, V)], limits: &Limits) -> usize {
        if self.expires() {
            for (name, _) in fields {
                self.persist(name.as_ref());
            }
        }
        self.fields_mut().set_all(fields, limits)
    }

    /// Sets a field; `true` if it is new. It does not expire any more.
    pub fn set(&mut self, name: &[u8], value: &[u8], limits: &Limits) -> bool {
        self.persist(name);
        self.fields_mut().set(name, value, limits)
    }

    /// As [`HashValue::set`], but the field expires when it would have.
    pub fn update(&mut self, name: &[u8], value: &[u8], limits: &Limits) -> bool {
        self.fields_mut().set(name, value, limits)
    }

    pub fn get(&self, name: &[u8]) -> Option<Element<'_>> {
        self.fields().get(name)
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.fields().contains(name)
    }

    /// Removes a field; `false` if it was not there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.persist(name);
        self.fields_mut().remove(name)
    }

    pub fn iter(&self) -> Fields<'_> {
        self.fields().iter()
    }

    /// Visits a part of the fields and returns the cursor of the next part, 0 at the end (HSCAN).
    pub fn scan(&self, cursor: u64, visit: impl FnMut(Element<'_>, Element<'_>)) -> u64 {
        self.fields().scan(cursor, visit)
    }

    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<Pair<'_>> {
        self.fields().random(rng)
    }

    /// `count` draws, each of any field.
    pub fn random_with_repeats(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<Pair<'_>> {
        self.fields().random_with_repeats(count, rng)
    }

    /// Up to `count` different fields.
    pub fn random_distinct(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<Pair<'_>> {
        self.fields().random_distinct(count, rng)
    }
}

// ---- Times -----------------------------------------------------------------------------------------------

impl HashValue {
    /// Whether any field expires.
    #[inline]
    pub fn expires(&self) -> bool {
        matches!(self.repr, Repr::Timed(_))
    }

    /// When the first field expires, in milliseconds since the Unix epoch.
    pub fn first_expiry_ms(&self) -> Option<i64> {
        self.times().and_then(Times::first_ms)
    }

    /// When a field expires, in milliseconds since the Unix epoch.
    pub fn expires_at(&self, name: &[u8]) -> Option<i64> {
        self.times()?.of(name)
    }

    /// Lets a field expire at that time, in milliseconds since the Unix epoch; `false` if it is not there.
    pub fn expire_at(&mut self, name: &[u8], at_ms: i64) -> bool {
        if !self.contains(name) {
            return false;
        }
        if let Repr::Plain(fields) = &mut self.repr {
            let fields = std::mem::take(fields);
            self.repr = Repr::Timed(Box::new(Timed { fields, times: Times::default() }));
        }
        if let Repr::Timed(timed) = &mut self.repr {
            timed.times.set(name, at_ms);
        }
        true
    }

    /// Lets a field stay; `false` if it did not expire.
    pub fn persist(&mut self, name: &[u8]) -> bool {
        let Repr::Timed(timed) = &mut self.repr else { return false };
        let did_expire = timed.times.remove(name);
        if timed.times.len() == 0 {
            self.repr = Repr::Plain(std::mem::take(&mut timed.fields));
        }
        did_expire
    }

    /// Up to `most` fields that should not be there any more, the ones due first in front. As with keys, a field
    /// is there in the millisecond it expires at.
    pub fn overdue(&self, now_ms: i64, most: usize) -> Vec<Box<[u8]>> {
        self.times().map_or(Vec::new(), |times| times.before(now_ms).take(most).map(Box::from).collect())
    }

    /// The same hash without the fields that are overdue.
    pub fn without_overdue(&self, now_ms: i64) -> HashValue {
        let mut rest = self.clone();
        for name in self.overdue(now_ms, usize::MAX) {
            rest.remove(&name);
        }
        rest
    }
}

#[cfg(test)]
mod tests;
