pub mod flags;
pub mod id;
pub mod slot_set;
pub mod wire;
