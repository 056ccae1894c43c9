//! Lengths, strings and numbers as they stand in an RDB file.

use std::io::Read;

use keyspace::types::number::parse_double;

use super::error::RdbError;
use super::format::{encoding, length};
use super::input::Input;
use crate::lzf;

/// A length, or in its place the encoding of a string.
enum LenOrEncoding {
    Len(u64),
    Encoding(u8),
}

/// A string as it was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stored {
    Int(i64),
    Bytes(Vec<u8>),
}

impl Stored {
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Stored::Int(value) => value.to_string().into_bytes(),
            Stored::Bytes(bytes) => bytes,
        }
    }
}

impl<R: Read> Input<R> {
    fn len_or_encoding(&mut self) -> Result<LenOrEncoding, RdbError> {
        let first = self.u8()?;
        let low = first & 0x3F;
        Ok(match first >> 6 {
            length::BITS_6 => LenOrEncoding::Len(u64::from(low)),
            length::BITS_14 => LenOrEncoding::Len(u64::from(low) << 8 | u64::from(self.u8()?)),
            length::ENCODED => LenOrEncoding::Encoding(low),
            _ => match first {
                length::BITS_32 => LenOrEncoding::Len(u64::from(u32::from_be_bytes(self.array()?))),
                length::BITS_64 => LenOrEncoding::Len(u64::from_be_bytes(self.array()?)),
                _ => return Err(self.corrupt("Unknown length encoding")),
            },
        })
    }

    pub fn len(&mut self) -> Result<u64, RdbError> {
        match self.len_or_encoding()? {
            LenOrEncoding::Len(len) => Ok(len),
            LenOrEncoding::Encoding(_) => Err(self.corrupt("Unknown length encoding")),
        }
    }

    /// A string in the form it was stored in.
    pub fn stored(&mut self) -> Result<Stored, RdbError> {
        let encoding = match self.len_or_encoding()? {
            LenOrEncoding::Len(len) => return self.bytes(len).map(Stored::Bytes),
            LenOrEncoding::Encoding(encoding) => encoding,
        };
        Ok(match encoding {
            encoding::INT8 => Stored::Int(i64::from(i8::from_le_bytes(self.array()?))),
            encoding::INT16 => Stored::Int(i64::from(i16::from_le_bytes(self.array()?))),
            encoding::INT32 => Stored::Int(i64::from(i32::from_le_bytes(self.array()?))),
            encoding::LZF => Stored::Bytes(self.compressed()?),
            _ => return Err(self.corrupt("Unknown RDB string encoding type")),
        })
    }

    fn compressed(&mut self) -> Result<Vec<u8>, RdbError> {
        let (compressed_len, len) = (self.len()?, self.len()?);
        let compressed = self.bytes(compressed_len)?;
        let text = usize::try_from(len).ok().and_then(|len| lzf::decompress(&compressed, len).ok());
        text.ok_or_else(|| self.corrupt("Invalid LZF compressed string"))
    }

    pub fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        self.stored().map(Stored::into_bytes)
    }

    /// A score as the oldest sorted sets have it: text behind a length byte, three of which are special.
    pub fn text_double(&mut self) -> Result<f64, RdbError> {
        match self.u8()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => Ok(f64::NAN),
            len => {
                let text = self.bytes(u64::from(len))?;
                parse_double(&text).ok_or_else(|| self.corrupt("Invalid score"))
            }
        }
    }

    pub fn double(&mut self) -> Result<f64, RdbError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    pub fn milliseconds(&mut self) -> Result<i64, RdbError> {
        Ok(i64::from_le_bytes(self.array()?))
    }
}
