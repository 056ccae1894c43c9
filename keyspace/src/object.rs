//! A value too large for its entry, behind the one pointer the entry keeps.

/// The types of values, by the names `TYPE` gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    String,
    List,
    Set,
    ZSet,
    Hash,
    Stream,
}

/// The value behind an entry's pointer. Entries hold it as `Arc<Object>`: a snapshot clones the `Arc`, a
/// writer goes through `Arc::make_mut`.
#[derive(Clone, Debug)]
pub enum Object {
    /// A string that does not fit its entry.
    Str(Vec<u8>),
}
