//! Sockets: the acceptor, the IO threads and their connections.

mod acceptor;
mod attendant;
mod conn;
mod io_thread;
mod lookahead;
mod mail;
mod mailbox;

pub use acceptor::{Listeners, accept_forever, bind_address, bind_each};
pub use conn::{Conn, Feed, FeedState, IoState, Socket};
pub use io_thread::{IoThread, SMALL_REPLIES_BYTES};
pub use mail::Mail;

/// What an IO thread gets its [`Mail`] in.
pub type Mailbox = mailbox::Mailbox<Mail>;
