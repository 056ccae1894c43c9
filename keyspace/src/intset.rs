//! The intset: sorted integers of one width, in exactly the bytes an RDB file holds.
//!
//! ```text
//! | width in bytes (2, 4 or 8): u32 LE | count: u32 LE | ascending integers, LE, of that width |
//! ```
//!
//! **Invariant:** the integers ascend strictly. The width grows with the first integer that needs it and
//! never shrinks.

use crate::types::{Corrupt, grow_for};

const HEADER_LEN: usize = 8;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intset {
    bytes: Vec<u8>,
}

impl Default for Intset {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes the narrowest of the three widths needs for `value`.
fn width_for(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

impl Intset {
    pub fn new() -> Self {
        Intset { bytes: vec![2, 0, 0, 0, 0, 0, 0, 0] }
    }

    /// Takes untrusted bytes after looking at all of them. An empty intset is refused: nobody saves one.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Corrupt> {
        Self::validate(&bytes)?;
        Ok(Intset { bytes })
    }

    /// Checks untrusted bytes and returns the number of integers. Allocates nothing.
    pub fn validate(bytes: &[u8]) -> Result<usize, Corrupt> {
        if bytes.len() < HEADER_LEN {
            return Err(Corrupt { offset: bytes.len() });
        }
        let width = match header_word(bytes, 0) {
            width @ (2 | 4 | 8) => width as usize,
            _ => return Err(Corrupt { offset: 0 }),
        };
        let count = header_word(bytes, 4) as usize;
        if count == 0 || count.checked_mul(width) != Some(bytes.len() - HEADER_LEN) {
            return Err(Corrupt { offset: 4 });
        }
        let integers = bytes[HEADER_LEN..].chunks_exact(width).map(read);
        match integers.clone().zip(integers.skip(1)).position(|(left, right)| left >= right) {
            Some(index) => Err(Corrupt { offset: HEADER_LEN + (index + 1) * width }),
            None => Ok(count),
        }
    }

    /// The bytes as an RDB file holds them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes allocated, used or not.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn len(&self) -> usize {
        (self.bytes.len() - HEADER_LEN) / self.width()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_LEN
    }

    fn width(&self) -> usize {
        usize::from(self.bytes[0])
    }

    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }

    fn at(&self, index: usize) -> i64 {
        let start = HEADER_LEN + index * self.width();
        read(&self.bytes[start..start + self.width()])
    }

    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }

    pub fn max(&self) -> Option<i64> {
        self.get(self.len().wrapping_sub(1))
    }

    /// Integers in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + '_ {
        self.bytes[HEADER_LEN..].chunks_exact(self.width()).map(read)
    }

    pub fn contains(&self, value: i64) -> bool {
        width_for(value) <= self.width() && self.search(value).is_ok()
    }

    /// Where `value` is, or where it would go.
    fn search(&self, value: i64) -> Result<usize, usize> {
        // Sets are often filled in ascending order: look past the end first.
        if self.max().is_none_or(|max| value > max) {
            return Err(self.len());
        }
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).cmp(&value) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Adds an integer; `false` if it was there.
    pub fn insert(&mut self, value: i64) -> bool {
        if width_for(value) > self.width() {
            self.widen(width_for(value));
        }
        let Err(index) = self.search(value) else { return false };
        let (width, old_len) = (self.width(), self.bytes.len());
        let start = HEADER_LEN + index * width;
        grow_for(&mut self.bytes, width);
        self.bytes.resize(old_len + width, 0);
        self.bytes.copy_within(start..old_len, start + width);
        self.bytes[start..start + width].copy_from_slice(&value.to_le_bytes()[..width]);
        self.write_count();
        true
    }

    /// Removes an integer; `false` if it was not there.
    pub fn remove(&mut self, value: i64) -> bool {
        match self.search(value) {
            Ok(index) => {
                self.remove_at(index);
                true
            }
            Err(_) => false,
        }
    }

    /// Removes and returns the integer at `index`.
    pub fn remove_at(&mut self, index: usize) -> Option<i64> {
        let value = self.get(index)?;
        let start = HEADER_LEN + index * self.width();
        self.bytes.drain(start..start + self.width());
        if self.bytes.capacity() > 2 * self.bytes.len() + 32 {
            self.bytes.shrink_to_fit();
        }
        self.write_count();
        Some(value)
    }

    /// Rewrites every integer with more bytes.
    fn widen(&mut self, width: usize) {
        let mut bytes = Vec::with_capacity(HEADER_LEN + (self.len() + 1) * width);
        bytes.extend_from_slice(&(width as u32).to_le_bytes());
        bytes.extend_from_slice(&self.bytes[4..HEADER_LEN]);
        for value in self.iter() {
            bytes.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        self.bytes = bytes;
    }

    fn write_count(&mut self) {
        let count = self.len() as u32;
        self.bytes[4..HEADER_LEN].copy_from_slice(&count.to_le_bytes());
    }
}

fn header_word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads an integer of 2, 4 or 8 bytes.
fn read(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "intset_tests.rs"]
mod tests;
