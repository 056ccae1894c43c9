//! Everything a server has stored, in a form that compares.

use crate::compare::sorted;
use crate::generate::DATABASES;
use crate::resp::{Client, Value};
use std::collections::BTreeMap;
use std::io;

/// Type, expiry and value of each key of each database.
pub type Stored = BTreeMap<(usize, Vec<u8>), Vec<Value>>;

/// Reads everything. The client ends up in database 0.
pub fn everything(client: &mut Client) -> io::Result<Stored> {
    let mut stored = Stored::new();
    for db in 0..DATABASES {
        client.call(&["SELECT", &db.to_string()])?;
        for key in client.call(&["KEYS", "*"])?.items() {
            let key = key.text().unwrap_or_default();
            stored.insert((db, key.to_vec()), one(client, key)?);
        }
    }
    client.call(&["SELECT", "0"])?;
    Ok(stored)
}

fn one(client: &mut Client, key: &[u8]) -> io::Result<Vec<Value>> {
    let kind = client.call(&[b"TYPE", key])?;
    let expires = client.call(&[b"PEXPIRETIME", key])?;
    let value = match kind.text() {
        Some(b"string") => client.call(&[b"GET", key])?,
        Some(b"list") => client.call(&[b"LRANGE", key, b"0", b"-1"])?,
        Some(b"hash") => in_order(client.call(&[b"HGETALL", key])?, 2),
        Some(b"set") => in_order(client.call(&[b"SMEMBERS", key])?, 1),
        _ => client.call(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"])?,
    };
    Ok(vec![kind, expires, value])
}

fn in_order(value: Value, size: usize) -> Value {
    Value::List(b'*', sorted(value.items(), size).concat())
}
