//! One folder per type. A type owns its encodings: commands see operations, never a listpack.
