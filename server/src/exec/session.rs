//! What commands know of the client that sent them.

use super::keys::Place;
use super::queue::Queue;
use super::spec::Flags;
use super::table::Command;
use crate::acl::User;
use crate::pubsub::Subscriptions;
use crate::write_log::Cursor;
use protocol::Resp;
use std::cell::Cell;

bitflags::bitflags! {
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SessionFlags: u32 {
        const AUTHENTICATED = 1 << 0;
        /// The next command may touch a slot that is being imported.
        const ASKING = 1 << 1;
        /// Reads may be served by a replica of the slot's owner.
        const READONLY = 1 << 2;
        /// This is the link to our master: its writes are the stream we follow.
        const MASTER = 1 << 3;
        /// This is a replica of ours.
        const REPLICA = 1 << 4;
        const CLOSE_AFTER_REPLY = 1 << 5;
        const REPLY_OFF = 1 << 6;
        const REPLY_SKIP_NEXT = 1 << 7;
        const REPLY_SKIP = 1 << 8;
        const NO_TOUCH = 1 << 9;
        const NO_EVICT = 1 << 10;
        const MONITOR = 1 << 11;
        /// Reading back our own files: no client is on the other side.
        const LOADER = 1 << 12;
        const UNIX_SOCKET = 1 << 13;
        /// Listens to some channel.
        const SUBSCRIBED = 1 << 14;
        /// Its user may not do everything.
        const RESTRICTED = 1 << 15;
        /// Was not let in when it came, but is while the default user needs no password.
        const GUEST = 1 << 16;
        /// What it reads is tracked, or what begins with its prefixes.
        const TRACKING = 1 << 17;
    }
}

/// A client, as far as commands are concerned.
pub struct Session {
    pub id: u64,
    /// The IO thread that owns the connection.
    pub thread: usize,
    pub flags: SessionFlags,
    /// Whose session this is; `None` for those who are obeyed.
    pub user: Option<std::sync::Arc<User>>,
    pub db: usize,
    pub resp: Resp,
    pub name: String,
    pub lib_name: String,
    pub lib_version: String,
    /// `ip:port` of the peer and of our side.
    pub peer: String,
    pub local: String,
    /// The socket's number, for CLIENT LIST.
    pub fd: i32,
    pub created_ms: i64,
    pub last_used_ms: i64,
    pub last_command: Option<&'static Command>,
    pub multi: Option<Box<Multi>>,
    /// Keys under WATCH: database, key.
    pub watched: Vec<(usize, Box<[u8]>)>,
    /// A watched key has changed.
    pub watch_broken: std::sync::Arc<std::sync::atomic::AtomicBool>,
    /// What it listens to, if anything.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// What it wants to be told of keys that change, if anything.
    pub tracking: Option<Box<crate::tracking::Wishes>>,
    /// Set while a command waits for keys.
    pub blocked: Option<std::sync::Arc<crate::blocking::Waiter>>,
    /// Where in the write log this client's last write ended, for WAIT and the commit gate.
    pub last_write_offset: u64,
    /// What the client has said about itself as a replica.
    pub replica: Option<Box<ReplicaHandshake>>,
    /// The next script is debugged.
    pub debugger: Option<Box<crate::script::debugger::Debugger>>,
    /// What the last command asked for that concerns the connection itself.
    pub request: Option<Box<Request>>,
}

/// What a command asks of the connection it came by.
pub enum Request {
    /// Become a replica that goes on from the cursor.
    Feed(Cursor),
    /// Become a replica that is sent a snapshot first: `framed`, with its length before it; `announced`, with a
    /// +FULLRESYNC.
    FullSync { framed: bool, announced: bool },
    /// REPLCONF ACK of a replica.
    Ack { offset: u64, on_disk: Option<u64> },
    /// SCRIPT DEBUG SYNC: scripts are debugged from here on.
    Debug,
    /// Our master wants to know how far we are: for once it gets a reply.
    AckMaster,
}

/// REPLCONF of a replica that has not asked to be synchronised yet.
#[derive(Default, Clone, Debug)]
pub struct ReplicaHandshake {
    pub listening_port: u16,
    pub ip_address: String,
    pub eof: bool,
    pub psync2: bool,
    /// It wants a snapshot of the functions, without the keys.
    pub functions_only: bool,
}

/// A transaction being queued.
pub struct Multi {
    pub queue: Queue,
    /// Room for EXEC to bring the places of all keys together.
    pub places: Vec<Place>,
    /// A command was refused while queueing: EXEC will refuse too.
    pub aborted: bool,
    /// Some queued command needs the world at rest.
    pub needs_world: bool,
    /// Some queued command writes.
    pub has_writes: bool,
    /// The flags of all queued commands together.
    pub flags: Flags,
    /// The flags that every queued command has.
    pub common_flags: Flags,
}

impl Default for Multi {
    fn default() -> Multi {
        Multi {
            queue: Queue::default(),
            places: Vec::new(),
            aborted: false,
            needs_world: false,
            has_writes: false,
            flags: Flags::empty(),
            common_flags: Flags::all(),
        }
    }
}

/// Buffers of a transaction are not kept beyond this size.
const KEPT_BYTES: usize = 16 * 1024;

thread_local! {
    /// The last transaction that ended on this thread, emptied: the next one has its buffers. They are a thread's and not
    /// a session's, so that an idle connection holds none.
    static SPARE: Cell<Option<Box<Multi>>> = const { Cell::new(None) };
}

impl Multi {
    /// MULTI.
    pub fn begin() -> Box<Multi> {
        SPARE.take().unwrap_or_default()
    }

    /// EXEC or DISCARD: its buffers are for the next one.
    pub fn end(mut self: Box<Multi>) {
        if self.memory_bytes() > KEPT_BYTES {
            return;
        }
        let (mut queue, mut places) = (std::mem::take(&mut self.queue), std::mem::take(&mut self.places));
        queue.clear();
        places.clear();
        *self = Multi { queue, places, ..Multi::default() };
        SPARE.set(Some(self));
    }

    /// Heap bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.queue.memory_bytes() + self.places.capacity() * size_of::<Place>()
    }
}

impl Session {
    pub fn new(id: u64, peer: String, local: String, now_ms: i64) -> Session {
        Session {
            id,
            thread: 0,
            flags: SessionFlags::empty(),
            user: None,
            db: 0,
            resp: Resp::V2,
            name: String::new(),
            lib_name: String::new(),
            lib_version: String::new(),
            peer,
            local,
            fd: -1,
            created_ms: now_ms,
            last_used_ms: now_ms,
            last_command: None,
            multi: None,
            watched: Vec::new(),
            watch_broken: Default::default(),
            subscriptions: None,
            tracking: None,
            blocked: None,
            last_write_offset: 0,
            replica: None,
            debugger: None,
            request: None,
        }
    }

    /// The client as far as a command needs it that another thread runs for it: all that commands ask about who
    /// sent them, nothing of what they leave with the connection.
    pub fn stand_in(&self) -> Session {
        let mut session = Session::new(self.id, self.peer.clone(), self.local.clone(), self.created_ms);
        session.flags = self.flags;
        session.user.clone_from(&self.user);
        session.tracking.clone_from(&self.tracking);
        session.last_command = self.last_command;
        session.db = self.db;
        session.resp = self.resp;
        session.name.clone_from(&self.name);
        session.thread = self.thread;
        session
    }

    #[inline]
    pub fn is(&self, flag: SessionFlags) -> bool {
        self.flags.contains(flag)
    }

    /// Commands from here are obeyed without asking: they were checked where they came from.
    #[inline]
    pub fn is_obeyed(&self) -> bool {
        self.flags.intersects(SessionFlags::MASTER | SessionFlags::LOADER)
    }

    /// The peer's connection is on this machine.
    pub fn is_local(&self) -> bool {
        self.is(SessionFlags::UNIX_SOCKET)
            || self.peer.starts_with("127.")
            || self.peer.starts_with("[::1]")
            || self.peer.starts_with("[::ffff:127.")
    }
}
