//! A field of a large hash: name and value in one block.

use crate::table::Item;
use crate::thin::ThinBytes;

/// ```text
/// | length of the name: LEB128 | name | value |
/// ```
#[derive(Clone, Debug)]
pub struct Field(ThinBytes);

const _: () = assert!(size_of::<Option<Field>>() == 8);

impl Field {
    pub fn new(name: &[u8], value: &[u8]) -> Self {
        let (prefix, prefix_len) = encode_len(name.len());
        Field(ThinBytes::from_parts(&[&prefix[..prefix_len], name, value]))
    }

    pub fn name(&self) -> &[u8] {
        self.split().0
    }

    pub fn value(&self) -> &[u8] {
        self.split().1
    }

    #[inline]
    pub fn split(&self) -> (&[u8], &[u8]) {
        let (len, prefix_len) = decode_len(&self.0);
        self.0[prefix_len..].split_at(len)
    }

    pub fn memory_bytes(&self) -> usize {
        crate::types::allocated(self.0.memory_bytes())
    }
}

impl Item for Field {
    #[inline]
    fn key(&self) -> &[u8] {
        self.name()
    }
}

/// Seven bits per byte, lowest first, all but the last with the top bit set.
fn encode_len(len: usize) -> ([u8; 10], usize) {
    let (mut bytes, mut used, mut rest) = ([0; 10], 0, len);
    while rest >= 0x80 {
        bytes[used] = rest as u8 | 0x80;
        rest >>= 7;
        used += 1;
    }
    bytes[used] = rest as u8;
    (bytes, used + 1)
}

#[inline]
fn decode_len(bytes: &[u8]) -> (usize, usize) {
    let (mut len, mut shift) = (0, 0);
    for (index, &byte) in bytes.iter().enumerate() {
        len |= usize::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return (len, index + 1);
        }
        shift += 7;
    }
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_of_every_length() {
        for name_len in [0, 1, 127, 128, 300, 16_383, 16_384, 100_000] {
            for value_len in [0, 1, 1000] {
                let (name, value) = (vec![b'n'; name_len], vec![b'v'; value_len]);
                let field = Field::new(&name, &value);
                assert_eq!(field.split(), (&name[..], &value[..]));
            }
        }
    }
}
