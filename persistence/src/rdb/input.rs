//! Bytes out of a file or socket: counted, summed, and paid for only when they are there.

use std::io::{ErrorKind, Read};

use super::error::RdbError;
use crate::crc64::crc64;

const BUFFER_BYTES: usize = 64 << 10;
/// Bytes of a string that are allocated before the first of them has arrived.
const TRUSTED_BYTES: usize = 1 << 20;

pub struct Input<R> {
    inner: R,
    buffer: Vec<u8>,
    /// Next byte of the buffer to give out.
    at: usize,
    /// Bytes of the buffer before this one are in the checksum.
    summed: usize,
    /// Offset in the file of the buffer's first byte.
    base: u64,
    crc: u64,
}

impl<R: Read> Input<R> {
    pub fn new(inner: R) -> Self {
        Input::with_buffer(inner, BUFFER_BYTES)
    }

    pub fn with_buffer(inner: R, buffer_bytes: usize) -> Self {
        let buffer = Vec::with_capacity(buffer_bytes.clamp(64, BUFFER_BYTES));
        Input { inner, buffer, at: 0, summed: 0, base: 0, crc: 0 }
    }

    /// Bytes given out so far.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// The checksum of all bytes given out so far.
    pub fn checksum(&mut self) -> u64 {
        self.crc = crc64(self.crc, &self.buffer[self.summed..self.at]);
        self.summed = self.at;
        self.crc
    }

    pub fn corrupt(&self, what: &'static str) -> RdbError {
        RdbError::Corrupt { offset: self.offset(), what }
    }

    #[inline]
    pub fn u8(&mut self) -> Result<u8, RdbError> {
        if self.at == self.buffer.len() {
            self.fill()?;
        }
        self.at += 1;
        Ok(self.buffer[self.at - 1])
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut bytes = [0; N];
        if let Some(ready) = self.buffer.get(self.at..self.at + N) {
            bytes.copy_from_slice(ready);
            self.at += N;
            return Ok(bytes);
        }
        let offset = self.offset();
        for byte in &mut bytes {
            *byte = self.u8().map_err(|error| error.cut_off_at(offset))?;
        }
        Ok(bytes)
    }

    /// The next `len` bytes. A length that lies costs a megabyte at most before the end of the file is met.
    pub fn bytes(&mut self, len: u64) -> Result<Vec<u8>, RdbError> {
        let Ok(len) = usize::try_from(len) else { return Err(self.corrupt("length out of range")) };
        let offset = self.offset();
        let mut bytes = Vec::new();
        self.reserve(&mut bytes, len.min(TRUSTED_BYTES))?;
        let ready = len.min(self.buffer.len() - self.at);
        bytes.extend_from_slice(&self.buffer[self.at..self.at + ready]);
        self.at += ready;
        while bytes.len() < len {
            let most = (len - bytes.len()).min(bytes.len().max(TRUSTED_BYTES));
            self.reserve(&mut bytes, most)?;
            self.read_through(&mut bytes, most).map_err(|error| error.cut_off_at(offset))?;
        }
        Ok(bytes)
    }

    fn reserve(&self, bytes: &mut Vec<u8>, extra: usize) -> Result<(), RdbError> {
        bytes.try_reserve_exact(extra).map_err(|_| self.corrupt("length out of range"))
    }

    /// Reads `count` bytes past the buffer, all of which has been given out.
    fn read_through(&mut self, bytes: &mut Vec<u8>, count: usize) -> Result<(), RdbError> {
        self.retire_buffer();
        let start = bytes.len();
        let result = (&mut self.inner).take(count as u64).read_to_end(bytes);
        let read = &bytes[start..];
        self.crc = crc64(self.crc, read);
        self.base += read.len() as u64;
        match result {
            Ok(_) if read.len() == count => Ok(()),
            Ok(_) => Err(RdbError::Eof { offset: self.base }),
            Err(source) => Err(RdbError::Io { offset: self.base, source }),
        }
    }

    /// Puts a used-up buffer into the checksum and empties it.
    fn retire_buffer(&mut self) {
        self.checksum();
        self.base += self.at as u64;
        self.buffer.clear();
        (self.at, self.summed) = (0, 0);
    }

    #[cold]
    fn fill(&mut self) -> Result<(), RdbError> {
        self.retire_buffer();
        let capacity = self.buffer.capacity();
        self.buffer.resize(capacity, 0);
        let result = loop {
            match self.inner.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(*result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => Err(RdbError::Eof { offset: self.base }),
            Ok(_) => Ok(()),
            Err(source) => Err(RdbError::Io { offset: self.base, source }),
        }
    }

    /// The bytes that were read ahead, and where they came from.
    pub fn into_parts(self) -> (Vec<u8>, R) {
        (self.buffer[self.at..].to_vec(), self.inner)
    }
}
