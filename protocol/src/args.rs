//! A command's arguments: slices of the buffer they arrived in, and the cursor handlers read them with.

use crate::error::ReplyError;
use crate::number::{parse_i64, parse_u64};

/// Where each argument lies in its buffer: start and end.
pub type Range = (u32, u32);

/// The arguments of one command, name included, borrowed from the buffer they were read into.
#[derive(Clone, Copy)]
pub struct Argv<'a> {
    buf: &'a [u8],
    ranges: &'a [Range],
}

impl<'a> Argv<'a> {
    /// `ranges` must lie within `buf`, one behind the other; indexing panics otherwise.
    pub fn new(buf: &'a [u8], ranges: &'a [Range]) -> Argv<'a> {
        Argv { buf, ranges }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    #[inline]
    pub fn get(&self, i: usize) -> &'a [u8] {
        let (start, end) = self.ranges[i];
        &self.buf[start as usize..end as usize]
    }

    #[inline]
    pub fn name(&self) -> &'a [u8] {
        self.get(0)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone + use<'a> {
        let buf = self.buf;
        self.ranges.iter().map(move |&(start, end)| &buf[start as usize..end as usize])
    }

    /// Appends the bytes from the first argument to the last, with what lies between them, and where in these bytes each
    /// argument is.
    #[inline]
    pub fn append_to(&self, bytes: &mut Vec<u8>, ranges: &mut Vec<Range>) {
        let [(start, _), ..] = *self.ranges else { return };
        let [.., (_, end)] = *self.ranges else { return };
        bytes.extend_from_slice(&self.buf[start as usize..end as usize]);
        ranges.extend(self.ranges.iter().map(|&(from, to)| (from - start, to - start)));
    }

    /// The first `n` arguments.
    pub fn head(&self, n: usize) -> Argv<'a> {
        Argv { buf: self.buf, ranges: &self.ranges[..n] }
    }

    /// The arguments from `first` on, as a command of their own.
    pub fn tail(&self, first: usize) -> Argv<'a> {
        Argv { buf: self.buf, ranges: &self.ranges[first..] }
    }
}

/// Arguments that own their bytes: kept by a blocked client, split from an inline line.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct ArgVec {
    buf: Vec<u8>,
    ranges: Vec<Range>,
}

impl ArgVec {
    pub fn push(&mut self, arg: &[u8]) {
        let start = self.buf.len() as u32;
        self.buf.extend_from_slice(arg);
        self.ranges.push((start, self.buf.len() as u32));
    }

    /// Takes all arguments out; the memory stays, for the next ones.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.ranges.clear();
    }

    pub fn as_argv(&self) -> Argv<'_> {
        Argv::new(&self.buf, &self.ranges)
    }

    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Heap bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.buf.capacity() + self.ranges.capacity() * size_of::<Range>()
    }
}

impl From<Argv<'_>> for ArgVec {
    fn from(argv: Argv<'_>) -> ArgVec {
        let bytes = argv.iter().map(<[u8]>::len).sum();
        let mut out = ArgVec { buf: Vec::with_capacity(bytes), ranges: Vec::with_capacity(argv.len()) };
        argv.iter().for_each(|arg| out.push(arg));
        out
    }
}

impl<'a> FromIterator<&'a [u8]> for ArgVec {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(args: I) -> ArgVec {
        let mut out = ArgVec::default();
        args.into_iter().for_each(|arg| out.push(arg));
        out
    }
}

/// A cursor over the arguments after the command's name (or after its subcommand's).
///
/// Every reading method fails with the error a client expects when the argument is missing or malformed,
/// so handlers are straight lines of `?`.
#[derive(Clone)]
pub struct Args<'a> {
    argv: Argv<'a>,
    at: usize,
}

impl<'a> Args<'a> {
    /// A cursor that starts at argument `at`.
    pub fn new(argv: Argv<'a>, at: usize) -> Args<'a> {
        Args { argv, at }
    }

    /// The whole command, name included.
    pub fn argv(&self) -> Argv<'a> {
        self.argv
    }

    /// How many arguments are left.
    #[inline]
    pub fn left(&self) -> usize {
        self.argv.len() - self.at
    }

    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// The index in the whole command of the argument that comes next.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn peek(&self) -> Option<&'a [u8]> {
        (self.at < self.argv.len()).then(|| self.argv.get(self.at))
    }

    pub fn next_opt(&mut self) -> Option<&'a [u8]> {
        let arg = self.peek()?;
        self.at += 1;
        Some(arg)
    }

    /// The next argument as it is; a missing one is a syntax error (arity has been checked before).
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], ReplyError> {
        self.next_opt().ok_or(ReplyError::SYNTAX)
    }

    /// As [`Args::bytes`], for reading a key.
    #[inline]
    pub fn key(&mut self) -> Result<&'a [u8], ReplyError> {
        self.bytes()
    }

    pub fn i64(&mut self) -> Result<i64, ReplyError> {
        parse_i64(self.bytes()?).ok_or(ReplyError::NOT_INTEGER)
    }

    /// An integer of at least `min`, with an error of the caller's for anything else.
    pub fn i64_in(
        &mut self,
        range: std::ops::RangeInclusive<i64>,
        error: ReplyError,
    ) -> Result<i64, ReplyError> {
        parse_i64(self.bytes()?).filter(|n| range.contains(n)).ok_or(error)
    }

    pub fn u64(&mut self) -> Result<u64, ReplyError> {
        parse_u64(self.bytes()?).ok_or(ReplyError::NOT_INTEGER)
    }

    /// Takes the next argument when it is this word, in any case.
    #[inline]
    pub fn flag(&mut self, word: &str) -> bool {
        match self.peek() {
            Some(arg) if arg.eq_ignore_ascii_case(word.as_bytes()) => {
                self.at += 1;
                true
            }
            _ => false,
        }
    }

    /// Everything that is left.
    pub fn rest(
        &mut self,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone + use<'a> {
        let tail = self.argv.tail(self.at);
        self.at = self.argv.len();
        tail.iter()
    }

    /// What is left in pairs; `None` when the number is odd.
    pub fn pairs(&mut self) -> Option<impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a>> {
        let tail = self.argv.tail(self.at);
        if !tail.len().is_multiple_of(2) {
            return None;
        }
        self.at = self.argv.len();
        Some((0..tail.len() / 2).map(move |i| (tail.get(2 * i), tail.get(2 * i + 1))))
    }

    /// Fails when anything is left.
    pub fn finish(&self) -> Result<(), ReplyError> {
        if self.is_empty() { Ok(()) } else { Err(ReplyError::SYNTAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_reads_in_order_and_names_the_fault() {
        let argv: ArgVec = [&b"set"[..], b"k", b"nx", b"12", b"x"].into_iter().collect();
        let mut args = Args::new(argv.as_argv(), 1);
        assert_eq!(args.key().unwrap(), b"k");
        assert!(!args.flag("XX"));
        assert!(args.flag("NX"));
        assert_eq!(args.i64().unwrap(), 12);
        assert_eq!(args.clone().i64().unwrap_err(), ReplyError::NOT_INTEGER);
        assert_eq!(args.finish().unwrap_err(), ReplyError::SYNTAX);
        assert_eq!(args.rest().collect::<Vec<_>>(), [b"x"]);
        assert!(args.finish().is_ok());
        assert_eq!(args.bytes().unwrap_err(), ReplyError::SYNTAX);
    }
}
