//! The command families. Each file ends in the table of its commands.

/// `flags!(WRITE | FAST)`, `acl!(STRING)` and `key!(RO | ACCESS)`: sets of flags in a constant.
macro_rules! flags {
    ($($name:ident)|*) => { $crate::exec::spec::Flags::empty()$(.union($crate::exec::spec::Flags::$name))* };
}
macro_rules! acl {
    ($($name:ident)|*) => { $crate::exec::spec::Acl::empty()$(.union($crate::exec::spec::Acl::$name))* };
}
macro_rules! key {
    ($($name:ident)|*) => { $crate::exec::spec::KeyFlags::empty()$(.union($crate::exec::spec::KeyFlags::$name))* };
}

mod acl;
mod bitmap;
mod caching;
mod client;
mod cluster;
mod common;
pub mod config;
mod connection;
mod debug;
mod function;
mod generic;
mod geo;
mod hash;
mod hash_expire;
mod help;
mod hyperloglog;
mod introspection;
mod latency;
mod lcs;
mod list;
mod list_wait;
mod memory;
pub mod migrate;
mod partial_sort;
mod persistence;
mod pubsub;
mod replication;
mod scripting;
mod server;
mod set;
mod set_algebra;
mod stream;
mod string;
pub mod transactions;
mod zset;

use crate::exec::spec::CommandSpec;

/// What the families are written with.
mod prelude {
    pub use crate::exec::spec::{CommandSpec, Group, KeySpec};
    pub use crate::exec::{Cx, SessionFlags};
    pub use crate::notify::Classes;
    pub use keyspace::{Entry, NewValue, Object, Type, ValueRef};
    pub use protocol::{Args, ReplyError};

    /// How a handler ends.
    pub type Done = Result<(), ReplyError>;
}

/// Every family's table.
pub const FAMILIES: &[&[CommandSpec]] = &[
    acl::COMMANDS,
    bitmap::COMMANDS,
    client::COMMANDS,
    cluster::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    debug::COMMANDS,
    function::COMMANDS,
    generic::COMMANDS,
    geo::COMMANDS,
    hash::COMMANDS,
    hash_expire::COMMANDS,
    hyperloglog::COMMANDS,
    introspection::COMMANDS,
    latency::COMMANDS,
    list::COMMANDS,
    list_wait::COMMANDS,
    memory::COMMANDS,
    migrate::COMMANDS,
    persistence::COMMANDS,
    pubsub::COMMANDS,
    replication::COMMANDS,
    scripting::COMMANDS,
    server::COMMANDS,
    set::COMMANDS,
    stream::COMMANDS,
    string::COMMANDS,
    transactions::COMMANDS,
    zset::COMMANDS,
];
