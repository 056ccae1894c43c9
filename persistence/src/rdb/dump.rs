//! The payload of DUMP, RESTORE and MIGRATE: type, value, version, checksum.

use keyspace::types::Limits;
use keyspace::{Object, ValueRef};

use super::decode::{Decoder, Value, is_value_kind};
use super::encode::{EncodeOptions, Encoder};
use super::error::RdbError;
use super::format::{FOOTER_BYTES, NEWEST_READ, RdbVersion};
use super::input::Input;
use crate::crc64::crc64;

/// Serializes a value in the oldest version that carries it, so that the oldest peer can read it.
pub fn dump(value: ValueRef<'_>, compress: bool) -> Vec<u8> {
    let version = match value {
        ValueRef::Object(Object::Hash(hash)) if hash.expires() => RdbVersion::V12,
        _ => RdbVersion::V10,
    };
    let encoder = Encoder::new(EncodeOptions { version, compress, ..EncodeOptions::default() });
    let size_hint = match value {
        ValueRef::Int(_) => 0,
        ValueRef::Bytes(bytes) => bytes.len(),
        ValueRef::Object(Object::Str(bytes)) => bytes.len(),
        ValueRef::Object(object) => object.memory_bytes(),
    };
    let mut payload = Vec::with_capacity(size_hint + 32);
    payload.push(encoder.kind_of(value));
    encoder.value(&mut payload, value);
    seal(&mut payload, version);
    payload
}

/// Appends version and checksum.
pub(super) fn seal(payload: &mut Vec<u8>, version: RdbVersion) {
    payload.extend_from_slice(&version.number().to_le_bytes());
    let crc = crc64(0, payload);
    payload.extend_from_slice(&crc.to_le_bytes());
}

/// Why a payload is not restored. RESTORE has a reply of its own for each.
#[derive(Debug)]
pub enum RestoreError {
    /// Too short, too new, or the checksum differs: "DUMP payload version or checksum are wrong".
    Footer,
    /// "Bad data format".
    Value(RdbError),
}

/// Checks a payload, end to end, and makes a value of it.
pub fn restore(payload: &[u8], limits: &Limits) -> Result<Value, RestoreError> {
    let body = check_footer(payload).ok_or(RestoreError::Footer)?;
    decode(body, limits).map_err(RestoreError::Value)
}

/// As [`restore`], whatever the checksum: for tests with payloads made by hand.
pub fn restore_unverified(payload: &[u8], limits: &Limits) -> Result<Value, RestoreError> {
    let (body, _) = split_footer(payload).ok_or(RestoreError::Footer)?;
    decode(body, limits).map_err(RestoreError::Value)
}

/// What is before version and checksum, if these are right.
pub(super) fn check_footer(payload: &[u8]) -> Option<&[u8]> {
    let (body, checksum) = split_footer(payload)?;
    let crc = crc64(0, &payload[..payload.len() - 8]);
    (checksum == crc.to_le_bytes()).then_some(body)
}

/// What is before the version, and the checksum after it; `None` for a version that is too new.
fn split_footer(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, footer) = payload.split_last_chunk::<FOOTER_BYTES>()?;
    let (version, checksum) = footer.split_first_chunk::<2>()?;
    (u32::from(u16::from_le_bytes(*version)) <= NEWEST_READ).then_some((body, checksum))
}

/// Bytes behind the value are ignored, as stock ignores them.
fn decode(body: &[u8], limits: &Limits) -> Result<Value, RdbError> {
    let mut input = Input::with_buffer(body, body.len());
    let kind = input.u8()?;
    if !is_value_kind(kind) {
        return Err(input.corrupt("Invalid object type"));
    }
    let value = Decoder { input: &mut input, limits }.value(kind)?;
    value.ok_or_else(|| input.corrupt("Empty collection"))
}
