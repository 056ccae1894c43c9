//! The payload of FUNCTION DUMP and FUNCTION RESTORE: the libraries as in a file, version, checksum.

use std::fmt;

use super::dump::{check_footer, seal};
use super::encode::{EncodeOptions, Encoder};
use super::error::RdbError;
use super::format::{RdbVersion, opcode};
use super::input::Input;

/// Serializes the code of libraries, in the oldest version that has functions.
pub fn dump<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let version = RdbVersion::V10;
    let encoder = Encoder::new(EncodeOptions { version, ..EncodeOptions::default() });
    let mut payload = Vec::new();
    for code in codes {
        payload.push(opcode::FUNCTION2);
        encoder.string(&mut payload, code);
    }
    seal(&mut payload, version);
    payload
}

/// Why a payload is not restored; each prints as stock's text.
#[derive(Debug)]
pub enum FunctionsError {
    Footer,
    PreRelease,
    NotAFunction,
    Broken(RdbError),
}

impl fmt::Display for FunctionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FunctionsError::Footer => "DUMP payload version or checksum are wrong",
            FunctionsError::PreRelease => "Pre-GA function format not supported",
            FunctionsError::NotAFunction => "given type is not a function",
            FunctionsError::Broken(_) => "failed loading the given functions payload",
        })
    }
}

/// The code of each library in a payload.
pub fn restore(payload: &[u8]) -> Result<Vec<Vec<u8>>, FunctionsError> {
    let body = check_footer(payload).ok_or(FunctionsError::Footer)?;
    let mut input = Input::with_buffer(body, body.len());
    let mut codes = Vec::new();
    while input.offset() < body.len() as u64 {
        match input.u8().map_err(FunctionsError::Broken)? {
            opcode::FUNCTION2 => codes.push(input.string().map_err(FunctionsError::Broken)?),
            opcode::FUNCTION_PRE_GA => return Err(FunctionsError::PreRelease),
            _ => return Err(FunctionsError::NotAFunction),
        }
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dumped_is_restored() {
        let codes: [&[u8]; 2] = [b"#!lua name=a\nreturn 1", &[b'x'; 300]];
        let payload = dump(codes.into_iter());
        assert_eq!(restore(&payload).unwrap(), codes);
        assert!(restore(&dump(std::iter::empty())).unwrap().is_empty());
    }

    #[test]
    fn what_is_broken_is_refused() {
        let payload = dump([&b"#!lua name=a\n"[..]].into_iter());
        for at in 0..payload.len() {
            let mut broken = payload.clone();
            broken[at] ^= 1;
            assert!(restore(&broken).is_err(), "bit at {at}");
        }
        assert!(matches!(restore(b""), Err(FunctionsError::Footer)));
        let mut value = vec![0, 1, b'x'];
        seal(&mut value, RdbVersion::V10);
        assert!(matches!(restore(&value), Err(FunctionsError::NotAFunction)));
        let mut cut = vec![opcode::FUNCTION2, 40, b'x'];
        seal(&mut cut, RdbVersion::V10);
        assert!(matches!(restore(&cut), Err(FunctionsError::Broken(_))));
    }
}
