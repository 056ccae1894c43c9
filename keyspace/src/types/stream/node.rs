//! A node of a stream: some entries in one listpack, in exactly the bytes an RDB file holds.
//!
//! ```text
//! master entry       │ live │ deleted │ fields │ field … field │ 0 │
//! then entries       │ flags │ Δms │ Δseq │ values …                            │ count │   same fields
//!                    │ flags │ Δms │ Δseq │ fields │ field value field value … │ count │   other fields
//! ```
//!
//! An ID is kept as the difference from the node's own, which is that of the first entry ever put in. An
//! entry with the fields of the master entry has its values only. The count at the end is the number of
//! elements before it, and leads back to the flags.

use super::StreamId;
use crate::listpack::{self, Element, Listpack, Pos};
use crate::types::{Corrupt, Limits};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// Elements of a master entry besides the names of its fields.
const MASTER_EXTRA: usize = 4;
/// No node grows beyond this, whatever the limits say.
const MAX_NODE_BYTES: usize = 1 << 30;

#[derive(Clone, Debug)]
pub struct Node {
    pack: Listpack,
}

/// An entry, or what is left of a deleted one.
#[derive(Clone)]
pub struct Entry<'a> {
    pub id: StreamId,
    pub(super) deleted: bool,
    /// Where the flags are.
    pos: Pos,
    names: Option<listpack::Iter<'a>>,
    values: listpack::Iter<'a>,
    field_count: usize,
}

impl<'a> Entry<'a> {
    /// Number of fields.
    pub fn len(&self) -> usize {
        self.field_count
    }

    pub fn is_empty(&self) -> bool {
        self.field_count == 0
    }

    /// Fields and values in the order they were added in.
    pub fn fields(&self) -> Fields<'a> {
        Fields { names: self.names.clone(), values: self.values.clone(), left: self.field_count }
    }
}

/// The fields and values of an entry.
pub struct Fields<'a> {
    /// The master entry's names, if they are the entry's.
    names: Option<listpack::Iter<'a>>,
    values: listpack::Iter<'a>,
    left: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Element<'a>, Element<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = match &mut self.names {
            Some(names) => names.next()?,
            None => self.values.next()?,
        };
        Some((name, self.values.next()?))
    }
}

// ---- Looking ---------------------------------------------------------------------------------------------

impl Node {
    pub fn pack(&self) -> &Listpack {
        &self.pack
    }

    fn integer(&self, index: i64) -> i64 {
        self.pack.get(index).and_then(|element| element.as_i64()).unwrap_or(0)
    }

    /// Entries that are not deleted.
    pub fn live(&self) -> u64 {
        self.integer(0).max(0) as u64
    }

    fn deleted(&self) -> i64 {
        self.integer(1)
    }

    fn master_field_count(&self) -> usize {
        self.integer(2).max(0) as usize
    }

    /// The names of the master entry's fields, and what follows them.
    fn master_names(&self) -> listpack::Iter<'_> {
        self.pack.seek(3).map_or_else(|| self.pack.iter_none(), |pos| self.pack.iter_from(pos))
    }

    /// Entries in order, deleted ones too.
    pub fn entries(&self, master: StreamId) -> Forward<'_> {
        let first = self.pack.seek((MASTER_EXTRA + self.master_field_count()) as i64);
        Forward { node: self, master, next: first }
    }

    /// Entries from the last to the first, deleted ones too.
    pub fn entries_back(&self, master: StreamId) -> Backward<'_> {
        Backward { node: self, master, count_pos: self.pack.last() }
    }

    /// The entry whose flags are at `pos`, and where the next one begins.
    fn entry_at(&self, master: StreamId, pos: Pos) -> Option<(Entry<'_>, Option<Pos>)> {
        let mut iter = self.pack.iter_from(pos);
        let mut integer = || iter.next()?.as_i64();
        let flags = integer()?;
        let id = StreamId {
            ms: master.ms.wrapping_add_signed(integer()?),
            seq: master.seq.wrapping_add_signed(integer()?),
        };
        let same_fields = flags & SAME_FIELDS != 0;
        let field_count = if same_fields { self.master_field_count() } else { integer()?.max(0) as usize };
        let names = same_fields.then(|| self.master_names());
        let values = iter.clone();
        // Past the fields, and past the count.
        let rest = if same_fields { field_count } else { 2 * field_count };
        for _ in 0..=rest {
            iter.next()?;
        }
        let next = iter.next_with_pos().map(|(pos, _)| pos);
        Some((Entry { id, deleted: flags & DELETED != 0, pos, names, values, field_count }, next))
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.pack.capacity()
    }
}

pub struct Forward<'a> {
    node: &'a Node,
    master: StreamId,
    next: Option<Pos>,
}

impl<'a> Iterator for Forward<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (entry, next) = self.node.entry_at(self.master, self.next.take()?)?;
        self.next = next;
        Some(entry)
    }
}

pub struct Backward<'a> {
    node: &'a Node,
    master: StreamId,
    /// Where the count of the entry to come is.
    count_pos: Option<Pos>,
}

impl<'a> Iterator for Backward<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let pack = &self.node.pack;
        let count_pos = self.count_pos.take()?;
        let count = pack.at(count_pos).as_i64().filter(|&count| count > 0)?;
        let flags_pos = (0..count).try_fold(count_pos, |pos, _| pack.prev(pos))?;
        self.count_pos = pack.prev(flags_pos);
        self.node.entry_at(self.master, flags_pos).map(|(entry, _)| entry)
    }
}

// ---- Changing --------------------------------------------------------------------------------------------

impl Node {
    /// A node with a master entry for these fields, and no entry yet.
    pub fn new<F: AsRef<[u8]>, V>(fields: &[(F, V)]) -> Self {
        let mut pack = Listpack::new();
        pack.push_back_int(0);
        pack.push_back_int(0);
        pack.push_back_int(fields.len() as i64);
        fields.iter().for_each(|(name, _)| pack.push_back(name.as_ref()));
        pack.push_back_int(0);
        Node { pack }
    }

    /// Whether an entry of `bytes` bytes has to go into another node.
    pub fn is_full_for(&self, bytes: usize, limits: &Limits) -> bool {
        let max_bytes = match limits.stream_node_max_bytes {
            0 => MAX_NODE_BYTES,
            bytes => bytes.min(MAX_NODE_BYTES),
        };
        let max_entries = limits.stream_node_max_entries as u64;
        self.pack.byte_len() + bytes >= max_bytes
            || (max_entries > 0 && self.live().saturating_add_signed(self.deleted()) >= max_entries)
    }

    pub fn append<F: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        master: StreamId,
        id: StreamId,
        fields: &[(F, V)],
    ) {
        let same_fields = fields.len() == self.master_field_count()
            && self.master_names().zip(fields).all(|(name, (field, _))| name.is(field.as_ref()));
        self.add_to_counters(1, 0);
        let pack = &mut self.pack;
        pack.push_back_int(if same_fields { SAME_FIELDS } else { 0 });
        pack.push_back_int(id.ms.wrapping_sub(master.ms) as i64);
        pack.push_back_int(id.seq.wrapping_sub(master.seq) as i64);
        let mut count = 3 + fields.len();
        if !same_fields {
            pack.push_back_int(fields.len() as i64);
            count += 1 + fields.len();
        }
        for (name, value) in fields {
            if !same_fields {
                pack.push_back(name.as_ref());
            }
            pack.push_back(value.as_ref());
        }
        pack.push_back_int(count as i64);
    }

    /// Marks an entry as deleted, if it is there and is not.
    pub fn delete(&mut self, master: StreamId, id: StreamId) -> bool {
        let found = self.entries(master).find(|entry| entry.id == id && !entry.deleted);
        let Some(pos) = found.map(|entry| entry.pos) else { return false };
        self.mark(pos);
        self.add_to_counters(-1, 1);
        true
    }

    /// Marks entries from the front as deleted, as long as `goes` says so, and returns how many. It is asked
    /// about deleted ones too.
    pub fn delete_front(&mut self, master: StreamId, mut goes: impl FnMut(&Entry<'_>) -> bool) -> u64 {
        let doomed: Vec<Pos> = self
            .entries(master)
            .take_while(|entry| goes(entry))
            .filter(|entry| !entry.deleted)
            .map(|entry| entry.pos)
            .collect();
        // Flags are one byte before and after, so places stay.
        doomed.iter().for_each(|&pos| self.mark(pos));
        self.add_to_counters(-(doomed.len() as i64), doomed.len() as i64);
        doomed.len() as u64
    }

    fn mark(&mut self, pos: Pos) {
        let flags = self.pack.at(pos).as_i64().unwrap_or(0);
        self.pack.replace(pos, Element::Int(flags | DELETED));
    }

    fn add_to_counters(&mut self, live: i64, deleted: i64) {
        let counters = [self.integer(0).saturating_add(live), self.integer(1).saturating_add(deleted)];
        for (index, value) in counters.into_iter().enumerate() {
            if let Some(pos) = self.pack.seek(index as i64)
                && self.pack.at(pos) != Element::Int(value)
            {
                self.pack.replace(pos, Element::Int(value));
            }
        }
    }

    /// The node is full: gives back what it did not need.
    pub fn shrink_to_fit(&mut self) {
        self.pack.shrink_to_fit();
    }
}

// ---- Bytes from outside ----------------------------------------------------------------------------------

impl Node {
    /// Takes stored bytes after checking that they are entries from end to end.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Corrupt> {
        let pack = Listpack::from_bytes(bytes)?;
        let mut iter = pack.iter();
        match check_entries(&mut iter) {
            Some(()) if iter.next().is_none() => Ok(Node { pack }),
            _ => Err(Corrupt { offset: 0 }),
        }
    }
}

fn check_entries(iter: &mut listpack::Iter<'_>) -> Option<()> {
    let live = natural(iter)?;
    let entries = live.checked_add(natural(iter)?)?;
    let master_fields = natural(iter)?;
    skip(iter, master_fields)?;
    if natural(iter)? != 0 {
        return None;
    }
    for _ in 0..entries {
        let flags = integer(iter)?;
        integer(iter)?;
        integer(iter)?;
        let count = if flags & SAME_FIELDS != 0 {
            skip(iter, master_fields)?;
            3 + master_fields
        } else {
            let fields = natural(iter)?;
            skip(iter, fields)?;
            skip(iter, fields)?;
            4 + 2 * fields
        };
        if natural(iter)? != count {
            return None;
        }
    }
    Some(())
}

/// The next element, which has to be an integer, and stored as one: integers are changed in place.
fn integer(iter: &mut listpack::Iter<'_>) -> Option<i64> {
    match iter.next()? {
        Element::Int(value) => Some(value),
        Element::Bytes(_) => None,
    }
}

fn natural(iter: &mut listpack::Iter<'_>) -> Option<u64> {
    u64::try_from(integer(iter)?).ok()
}

/// Passes over `count` elements, all of which have to be there.
fn skip(iter: &mut listpack::Iter<'_>, count: u64) -> Option<()> {
    (0..count).try_for_each(|_| iter.next().map(|_| ()))
}
