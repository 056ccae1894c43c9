//! What an IO thread does with its mail.

use super::{Closed, IoThread, Turn};
use crate::exec::{Batch, Session, SessionFlags};
use crate::net::{Conn, Mail};
use crate::pubsub::shard_channel_gone;
use crate::tracking;
use mio::{Interest, Token};

impl IoThread {
    /// Handles messages of other threads. True when the thread is to end.
    pub(super) fn read_mail(&mut self, turn: &mut Turn<'_>) -> bool {
        let mut mail = std::mem::take(&mut self.mail);
        self.mailbox.take(&mut mail);
        for message in mail.drain(..) {
            match message {
                Mail::Connection(conn) => self.adopt(turn, conn),
                Mail::Deliver { delivery, publisher } => {
                    for &client in delivery.clients.iter().filter(|&&client| client != publisher) {
                        self.push(turn, client, |session, out| delivery.give(session, out));
                    }
                }
                Mail::ShardChannelGone { name, clients } => {
                    for &client in clients.iter() {
                        self.push(turn, client, |session, out| shard_channel_gone(session, &name, out));
                    }
                }
                Mail::Invalidate { client, invalidation } => {
                    let server = turn.server;
                    self.push(turn, client, |session, out| {
                        tracking::give(server, session, &invalidation, out)
                    });
                }
                Mail::Redirected { client, origin: (origin, thread), keys } => {
                    if turn.state().token_of(client).is_none() {
                        turn.server.post(thread, Mail::RedirectBroke { client: origin, target: client });
                    }
                    self.push(turn, client, |session, out| tracking::give_redirected(session, &keys, out));
                }
                Mail::RedirectBroke { client, target } => {
                    self.push(turn, client, |session, out| tracking::redirect_broke(session, target, out));
                }
                Mail::Monitored { client, bytes } => self.push(turn, client, |session, out| {
                    if session.is(SessionFlags::MONITOR) {
                        out.extend_from_slice(&bytes);
                    }
                }),
                Mail::Push { client, bytes } => self.with_conn(turn, client, |conn, _| {
                    conn.output.extend_from_slice(&bytes);
                    conn.flush().map(|_| ()).map_err(|_| Closed)
                }),
                Mail::Unblock { client, reply, write_offset } => {
                    self.answer(turn, client, &reply, write_offset);
                }
                Mail::KeyReady { db, key } => self.executor.serve_key(&turn.batch, db, key),
                Mail::Kill { client } => self.kill(turn, client),
                Mail::LogMoved => self.release_held(turn),
                Mail::Sweep => {
                    self.sweep(turn);
                    self.reassure_replicas(turn);
                }
                Mail::Stop => return true,
            }
        }
        self.mail = mail;
        self.write_pushed(turn);
        self.limit_clients(turn);
        false
    }

    /// Appends to what goes to a client that has sent nothing. It is written when the mail has been read.
    fn push(&mut self, turn: &mut Turn<'_>, client: u64, append: impl FnOnce(&mut Session, &mut Vec<u8>)) {
        let Some(token) = turn.state().token_of(client) else { return };
        let Some(mut conn) = turn.state().take(token) else { return };
        let was_empty = conn.output.is_empty();
        append(&mut conn.session, &mut conn.output);
        // What lies there already is written when the socket takes it; but too much closes it at once.
        if was_empty && !conn.output.is_empty() || !was_empty && self.over_limit(turn, &mut conn) {
            self.pushed.push(token);
        }
        self.put_back(turn, token, conn, Ok(()));
    }

    fn write_pushed(&mut self, turn: &mut Turn<'_>) {
        for token in std::mem::take(&mut self.pushed) {
            let Some(mut conn) = turn.state().take(token) else { continue };
            let result = self.send(turn, &mut conn);
            self.put_back(turn, token, conn, result);
        }
    }

    fn with_conn(
        &mut self,
        turn: &mut Turn<'_>,
        client: u64,
        f: impl FnOnce(&mut Conn, &Batch) -> Result<(), Closed>,
    ) {
        let Some(token) = turn.state().token_of(client) else { return };
        let Some(mut conn) = turn.state().take(token) else { return };
        let result = f(&mut conn, &turn.batch);
        self.put_back(turn, token, conn, result);
    }

    /// Sends replies that waited for the log to be durable.
    fn release_held(&mut self, turn: &mut Turn<'_>) {
        let durable = turn.server.durable_offset();
        let mut released = Vec::new();
        for (token, conn) in turn.state().iter_mut() {
            if conn.held_until > 0 && conn.held_until <= durable && !conn.output.is_empty() {
                released.push(token);
            }
        }
        for token in released {
            self.serve(turn, token, false, true);
        }
    }

    /// Closes a connection. A replica gets first what was written for it until now.
    fn kill(&mut self, turn: &mut Turn<'_>, client: u64) {
        let Some(token) = turn.state().token_of(client) else { return };
        let Some(mut conn) = turn.state().take(token) else { return };
        if conn.feed.is_some() {
            let _ = self.feed(turn, &mut conn);
        }
        self.put_back(turn, token, conn, Err(Closed));
    }

    fn adopt(&mut self, turn: &mut Turn<'_>, mut conn: Box<Conn>) {
        conn.session.thread = self.index;
        // Rights may have changed while it was on its way.
        conn.session.refresh_rights(&turn.server.acl);
        let token = turn.state().reserve(conn.session.id);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(conn.socket.source(), Token(token), interest).is_err() {
            return self.put_back(turn, token, conn, Err(Closed));
        }
        self.executor.stats.connections.add(1);
        turn.state().put(token, conn);
        // The socket may have become readable before it was registered.
        self.unread.push(token);
    }
}
