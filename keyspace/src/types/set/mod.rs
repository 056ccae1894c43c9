//! Sets.
//!
//! | encoding | what | when |
//! |---|---|---|
//! | `intset` | sorted integers | all members are integers, at most set-max-intset-entries |
//! | `listpack` | member, member … | within the set-max-listpack limits |
//! | `hashtable` | a table of members | beyond |
//!
//! An empty set takes the encoding its first member asks for.

mod chance;

use super::number::{i64_text_len, parse_i64};
use super::packed::Packed;
use super::pairs::check_unique;
use super::{Corrupt, Limits};
use crate::intset::Intset;
use crate::listpack::{self, Element, Listpack, MAX_SAFE_BYTES, int_entry_len};

#[derive(Clone, Debug)]
pub struct SetValue {
    repr: Repr,
}

#[derive(Clone, Debug)]
enum Repr {
    Intset(Intset),
    Listpack(Listpack),
    Table(Box<Packed<1>>),
}

/// What an RDB codec may look at. The members of a table come from [`SetValue::iter`].
pub enum SetEncoding<'a> {
    Intset(&'a Intset),
    Listpack(&'a Listpack),
    Table,
}

impl Default for SetValue {
    fn default() -> Self {
        SetValue { repr: Repr::Intset(Intset::new()) }
    }
}

impl SetValue {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn encoding(&self) -> SetEncoding<'_> {
        match &self.repr {
            Repr::Intset(ints) => SetEncoding::Intset(ints),
            Repr::Listpack(pack) => SetEncoding::Listpack(pack),
            Repr::Table(_) => SetEncoding::Table,
        }
    }

    pub fn encoding_name(&self) -> &'static str {
        match self.repr {
            Repr::Intset(_) => "intset",
            Repr::Listpack(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Intset(ints) => ints.len(),
            Repr::Listpack(pack) => pack.len(),
            Repr::Table(table) => table.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match &self.repr {
            Repr::Intset(ints) => ints.is_empty(),
            Repr::Listpack(pack) => pack.is_empty(),
            Repr::Table(table) => table.is_empty(),
        }
    }

    /// Heap bytes, as far as they are this value's own.
    pub fn memory_bytes(&self) -> usize {
        match &self.repr {
            Repr::Intset(ints) => ints.capacity(),
            Repr::Listpack(pack) => pack.capacity(),
            Repr::Table(table) => table.memory_bytes(),
        }
    }

    /// Allocations that dropping the value frees.
    pub fn free_effort(&self) -> usize {
        match &self.repr {
            Repr::Intset(_) | Repr::Listpack(_) => 1,
            Repr::Table(table) => table.block_count(),
        }
    }
}

// ---- Building from stored members ------------------------------------------------------------------------

impl SetValue {
    /// An empty set about to be given `len` members from an RDB file.
    pub fn for_loading(len: usize, limits: &Limits) -> Self {
        if len > max_intset_entries(limits) {
            return SetValue { repr: Repr::Table(Box::default()) };
        }
        SetValue::new()
    }

    pub fn from_intset(ints: Intset, limits: &Limits) -> Self {
        let is_too_large = ints.len() > max_intset_entries(limits);
        let mut set = SetValue { repr: Repr::Intset(ints) };
        if is_too_large {
            set.convert_to_table();
        }
        set
    }

    /// Takes a stored listpack; a member that is there twice, or none at all, is corrupt.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Self, Corrupt> {
        check_unique(&pack, 1)?;
        let is_too_large = pack.len() > limits.set_max_listpack_entries;
        let mut set = SetValue { repr: Repr::Listpack(pack) };
        if is_too_large {
            set.convert_to_table();
        }
        Ok(set)
    }
}

// ---- Conversions -----------------------------------------------------------------------------------------

/// An intset's own limit is a thousand million.
fn max_intset_entries(limits: &Limits) -> usize {
    limits.set_max_intset_entries.min(1 << 30)
}

impl SetValue {
    fn convert_to_table(&mut self) {
        let mut table = Box::<Packed<1>>::default();
        for member in self.iter() {
            table.insert([&member.to_text()]);
        }
        self.repr = Repr::Table(table);
    }

    /// The encoding of an empty set that `hint` members are about to be added to, the first of which is
    /// given.
    fn choose(&mut self, first: &[u8], hint: usize, limits: &Limits) {
        self.repr = if hint <= limits.set_max_intset_entries && parse_i64(first).is_some() {
            Repr::Intset(Intset::new())
        } else if hint <= limits.set_max_listpack_entries {
            Repr::Listpack(Listpack::new())
        } else {
            Repr::Table(Box::default())
        };
    }

    /// Before `count` members are added at once.
    fn expect(&mut self, count: usize, limits: &Limits) {
        let is_too_large = match &self.repr {
            Repr::Intset(_) => count > limits.set_max_intset_entries,
            Repr::Listpack(_) => count > limits.set_max_listpack_entries,
            Repr::Table(_) => false,
        };
        if is_too_large {
            self.convert_to_table();
        }
    }

    /// An intset is about to take a member that is no integer: to a listpack if all members fit one.
    fn leave_intset(&mut self, member: &[u8], limits: &Limits) {
        let Repr::Intset(ints) = &self.repr else { return };
        let ends = [ints.min(), ints.max()];
        let ends = ends.iter().flatten();
        let longest = ends.clone().map(|&end| i64_text_len(end)).max().unwrap_or(0).max(member.len());
        let entry_bytes = ends.map(|&end| int_entry_len(end)).max().unwrap_or(0);
        let fits = ints.len() < limits.set_max_listpack_entries
            && longest <= limits.set_max_listpack_value_bytes
            && entry_bytes * ints.len() + member.len() <= MAX_SAFE_BYTES;
        if !fits {
            return self.convert_to_table();
        }
        let mut pack = Listpack::with_capacity(7 + entry_bytes * ints.len() + member.len() + 2);
        ints.iter().for_each(|value| pack.push_back_int(value));
        self.repr = Repr::Listpack(pack);
    }
}

// ---- Operations ------------------------------------------------------------------------------------------

impl SetValue {
    /// Adds members one after the other, and returns how many were new.
    pub fn insert_all<T: AsRef<[u8]>>(&mut self, members: &[T], limits: &Limits) -> usize {
        match members.first() {
            Some(first) if self.is_empty() => self.choose(first.as_ref(), members.len(), limits),
            _ => self.expect(members.len(), limits),
        }
        members.iter().filter(|member| self.insert_as_is(member.as_ref(), limits)).count()
    }

    /// Adds a member; `true` if it is new.
    pub fn insert(&mut self, member: &[u8], limits: &Limits) -> bool {
        if self.is_empty() && !matches!(self.repr, Repr::Table(_)) {
            self.choose(member, 1, limits);
        }
        self.insert_as_is(member, limits)
    }

    /// Adds a member to the encoding at hand, or to the one it makes necessary.
    fn insert_as_is(&mut self, member: &[u8], limits: &Limits) -> bool {
        if let Repr::Intset(ints) = &mut self.repr {
            if let Some(value) = parse_i64(member) {
                let is_new = ints.insert(value);
                if ints.len() > max_intset_entries(limits) {
                    self.convert_to_table();
                }
                return is_new;
            }
            self.leave_intset(member, limits);
            // Whatever it has become: there was no room question for the one member that made it change.
            match &mut self.repr {
                Repr::Listpack(pack) => pack.push_back(member),
                Repr::Table(table) => return insert_in_table(table, member),
                Repr::Intset(_) => {}
            }
            return true;
        }
        if let Repr::Listpack(pack) = &mut self.repr {
            if pack.find(member, 1).is_some() {
                return false;
            }
            let fits = pack.len() < limits.set_max_listpack_entries
                && member.len() <= limits.set_max_listpack_value_bytes
                && pack.has_room_for(member.len());
            if fits {
                pack.push_back(member);
                return true;
            }
            self.convert_to_table();
        }
        match &mut self.repr {
            Repr::Table(table) => insert_in_table(table, member),
            _ => false,
        }
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.repr {
            Repr::Intset(ints) => parse_i64(member).is_some_and(|value| ints.contains(value)),
            Repr::Listpack(pack) => pack.find(member, 1).is_some(),
            Repr::Table(table) => table.find(member).is_some(),
        }
    }

    /// As [`contains`](Self::contains), for a member another set gave.
    pub fn contains_element(&self, member: Element<'_>) -> bool {
        match (&self.repr, member) {
            (Repr::Intset(ints), Element::Int(value)) => ints.contains(value),
            _ => self.contains(member.text(&mut itoa::Buffer::new())),
        }
    }

    /// Removes a member; `false` if it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.repr {
            Repr::Intset(ints) => parse_i64(member).is_some_and(|value| ints.remove(value)),
            Repr::Listpack(pack) => match pack.find(member, 1) {
                Some(pos) => {
                    pack.delete(pos);
                    true
                }
                None => false,
            },
            Repr::Table(table) => table.remove(member),
        }
    }

    pub fn iter(&self) -> Members<'_> {
        Members(match &self.repr {
            Repr::Intset(ints) => MembersRepr::Intset(ints, 0),
            Repr::Listpack(pack) => MembersRepr::Listpack(pack.iter()),
            Repr::Table(table) => {
                MembersRepr::Table(Box::new(table.iter().map(|[member]| Element::Bytes(member))))
            }
        })
    }

    /// Visits a part of the members and returns the cursor of the next part, 0 at the end (SSCAN).
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Element<'_>)) -> u64 {
        match &self.repr {
            Repr::Table(table) => table.scan(cursor, |[member]| visit(Element::Bytes(member))),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }
}

/// The members of a set, each once.
pub struct Members<'a>(MembersRepr<'a>);

enum MembersRepr<'a> {
    Intset(&'a Intset, usize),
    Listpack(listpack::Iter<'a>),
    Table(Box<dyn Iterator<Item = Element<'a>> + 'a>),
}

impl<'a> Iterator for Members<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        match &mut self.0 {
            MembersRepr::Intset(ints, index) => {
                *index += 1;
                ints.get(*index - 1).map(Element::Int)
            }
            MembersRepr::Listpack(iter) => iter.next(),
            MembersRepr::Table(iter) => iter.next(),
        }
    }
}

/// Adds a member to a table; `false`, and no work, if it is there.
fn insert_in_table(table: &mut Packed<1>, member: &[u8]) -> bool {
    table.find(member).is_none() && table.insert([member])
}

#[cfg(test)]
mod tests;
