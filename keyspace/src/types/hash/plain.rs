//! Hashes whose fields do not expire, which is what hashes are as a rule.

use super::{HashEncoding, Pair};
use crate::listpack::{Element, Listpack};
use crate::types::packed::Packed;
use crate::types::pairs::{Pairs, check_unique};
use crate::types::random::{Selection, distinct_indices};
use crate::types::{Corrupt, Limits};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct PlainHash {
    repr: Repr,
}

#[derive(Clone, Debug)]
enum Repr {
    Listpack(Listpack),
    Table(Box<Packed<2>>),
}

impl Default for PlainHash {
    fn default() -> Self {
        PlainHash { repr: Repr::Listpack(Listpack::new()) }
    }
}

impl PlainHash {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn encoding(&self) -> HashEncoding<'_> {
        match &self.repr {
            Repr::Listpack(pack) => HashEncoding::Listpack(pack),
            Repr::Table(_) => HashEncoding::Table,
        }
    }

    pub fn encoding_name(&self) -> &'static str {
        match self.repr {
            Repr::Listpack(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Listpack(pack) => pack.len() / 2,
            Repr::Table(table) => table.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match &self.repr {
            Repr::Listpack(pack) => pack.is_empty(),
            Repr::Table(table) => table.is_empty(),
        }
    }

    /// Heap bytes, as far as they are this value's own.
    pub fn memory_bytes(&self) -> usize {
        match &self.repr {
            Repr::Listpack(pack) => pack.capacity(),
            Repr::Table(table) => table.memory_bytes(),
        }
    }

    /// Allocations that dropping the value frees.
    pub fn free_effort(&self) -> usize {
        match &self.repr {
            Repr::Listpack(_) => 1,
            Repr::Table(table) => table.block_count(),
        }
    }
}

// ---- Building from stored fields -------------------------------------------------------------------------

impl PlainHash {
    /// An empty hash about to be given `len` fields from an RDB file.
    pub fn for_loading(len: usize, limits: &Limits) -> Self {
        let mut hash = PlainHash::new();
        hash.expect(len, limits);
        hash
    }

    /// Takes a stored listpack; a field that is there twice, an odd count or none at all is corrupt.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Self, Corrupt> {
        check_unique(&pack, 2)?;
        let mut hash = PlainHash { repr: Repr::Listpack(pack) };
        hash.convert_if(|pack| pack.len() / 2 > limits.hash_max_listpack_entries);
        Ok(hash)
    }
}

// ---- Conversions -----------------------------------------------------------------------------------------

impl PlainHash {
    fn convert_if(&mut self, is_too_large: impl FnOnce(&Listpack) -> bool) {
        let Repr::Listpack(pack) = &self.repr else { return };
        if is_too_large(pack) {
            let mut table = Box::<Packed<2>>::default();
            for (name, value) in Pairs::of(pack) {
                table.insert([&name.to_text(), &value.to_text()]);
            }
            self.repr = Repr::Table(table);
        }
    }

    /// Before `count` fields are set at once.
    fn expect(&mut self, count: usize, limits: &Limits) {
        self.convert_if(|_| count > limits.hash_max_listpack_entries);
    }
}

// ---- Operations ------------------------------------------------------------------------------------------

impl PlainHash {
    /// Sets fields one after the other, and returns how many were new.
    pub fn set_all<F: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(F, V)], limits: &Limits) -> usize {
        self.expect(fields.len(), limits);
        let is_long = |text: &[u8]| text.len() > limits.hash_max_listpack_value_bytes;
        let (mut bytes, mut any_long) = (0usize, false);
        for (name, value) in fields {
            bytes = bytes.saturating_add(name.as_ref().len()).saturating_add(value.as_ref().len());
            any_long |= is_long(name.as_ref()) || is_long(value.as_ref());
        }
        self.convert_if(|pack| any_long || !pack.has_room_for(bytes));
        let is_new = |(name, value): &&(F, V)| self.set(name.as_ref(), value.as_ref(), limits);
        fields.iter().filter(is_new).count()
    }

    /// Sets a field; `true` if it is new.
    pub fn set(&mut self, name: &[u8], value: &[u8], limits: &Limits) -> bool {
        let longest = name.len().max(value.len());
        self.convert_if(|pack| {
            longest > limits.hash_max_listpack_value_bytes || !pack.has_room_for(name.len() + value.len())
        });
        let is_new = match &mut self.repr {
            Repr::Listpack(pack) => set_in_pack(pack, name, value),
            Repr::Table(table) => return table.insert([name, value]),
        };
        self.convert_if(|pack| pack.len() / 2 > limits.hash_max_listpack_entries);
        is_new
    }

    pub fn get(&self, name: &[u8]) -> Option<Element<'_>> {
        match &self.repr {
            Repr::Listpack(pack) => pack.next(pack.find(name, 2)?).map(|pos| pack.at(pos)),
            Repr::Table(table) => table.find(name).map(|[_, value]| Element::Bytes(value)),
        }
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Removes a field; `false` if it was not there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match &mut self.repr {
            Repr::Listpack(pack) => match pack.find(name, 2) {
                Some(pos) => {
                    pack.delete_many(pos, 2);
                    true
                }
                None => false,
            },
            Repr::Table(table) => table.remove(name),
        }
    }

    pub fn iter(&self) -> Fields<'_> {
        Fields(match &self.repr {
            Repr::Listpack(pack) => FieldsRepr::Listpack(Pairs::of(pack)),
            Repr::Table(table) => FieldsRepr::Table(Box::new(table.iter().map(pair))),
        })
    }

    /// Visits a part of the fields and returns the cursor of the next part, 0 at the end (HSCAN).
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Element<'_>, Element<'_>)) -> u64 {
        match &self.repr {
            Repr::Listpack(pack) => {
                Pairs::of(pack).for_each(|(name, value)| visit(name, value));
                0
            }
            Repr::Table(table) => {
                table.scan(cursor, |[name, value]| visit(Element::Bytes(name), Element::Bytes(value)))
            }
        }
    }
}

// ---- Chance ----------------------------------------------------------------------------------------------

impl PlainHash {
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<Pair<'_>> {
        match &self.repr {
            Repr::Listpack(pack) => {
                let index = rng.usize(..(pack.len() / 2).max(1));
                let pos = pack.seek(2 * index as i64)?;
                Some((pack.at(pos), pack.at(pack.next(pos)?)))
            }
            Repr::Table(table) => table.random(rng).map(pair),
        }
    }

    /// `count` draws, each of any field.
    pub fn random_with_repeats(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<Pair<'_>> {
        match &self.repr {
            Repr::Listpack(pack) => {
                let pairs: Vec<_> = Pairs::of(pack).collect();
                (0..count).filter_map(|_| rng.choice(&pairs).copied()).collect()
            }
            Repr::Table(_) => (0..count).filter_map(|_| self.random(rng)).collect(),
        }
    }

    /// Up to `count` different fields.
    pub fn random_distinct(&self, count: usize, rng: &mut fastrand::Rng) -> Vec<Pair<'_>> {
        let table = match &self.repr {
            Repr::Listpack(pack) => {
                let chosen = distinct_indices(pack.len() / 2, count, rng);
                let mut chosen = chosen.into_iter().peekable();
                let pairs = Pairs::of(pack).enumerate();
                return pairs
                    .filter(|(index, _)| chosen.next_if_eq(index).is_some())
                    .map(|(_, pair)| pair)
                    .collect();
            }
            Repr::Table(table) => table,
        };
        if count >= table.len() / 4 {
            let mut selection = Selection::new(table.len(), count);
            return table.iter().filter(|_| selection.takes_next(rng)).map(pair).collect();
        }
        let mut drawn = BTreeMap::new();
        while drawn.len() < count {
            let Some(field) = table.random(rng) else { break };
            drawn.insert(field[0], field);
        }
        drawn.into_values().map(pair).collect()
    }
}

/// The fields of a hash with their values, each once.
pub struct Fields<'a>(FieldsRepr<'a>);

enum FieldsRepr<'a> {
    Listpack(Pairs<'a>),
    Table(Box<dyn Iterator<Item = Pair<'a>> + 'a>),
}

impl<'a> Iterator for Fields<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        match &mut self.0 {
            FieldsRepr::Listpack(iter) => iter.next(),
            FieldsRepr::Table(iter) => iter.next(),
        }
    }
}

fn pair<'a>([name, value]: [&'a [u8]; 2]) -> Pair<'a> {
    (Element::Bytes(name), Element::Bytes(value))
}

fn set_in_pack(pack: &mut Listpack, name: &[u8], value: &[u8]) -> bool {
    match pack.find(name, 2).and_then(|pos| pack.next(pos)) {
        Some(pos) => {
            pack.replace(pos, Element::of(value));
            false
        }
        None => {
            pack.push_back(name);
            pack.push_back(value);
            true
        }
    }
}
