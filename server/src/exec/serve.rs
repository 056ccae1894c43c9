//! Running the commands of clients that wait for keys which have become ready ([`crate::blocking`]).

use super::cx::Cx;
use super::dispatch::{Batch, Timer, call, rules};
use super::keys::{Keys, Place};
use super::session::Session;
use crate::acl::check;
use crate::blocking::Waiter;
use crate::clock;
use crate::net::Mail;
use crate::server::Server;
use crate::stats::ThreadStats;
use protocol::{Reply, Slot};
use std::sync::Arc;

/// One thread's tools.
pub struct Tools<'a> {
    pub server: &'a Arc<Server>,
    pub batch: &'a Batch,
    pub stats: &'a ThreadStats,
    pub timer: &'a mut Timer,
}

/// Serves those who wait for the keys noted as ready, and for those that become ready thereby. What went before
/// has been appended to the log; its slots are still locked.
pub fn serve(tools: Tools<'_>, keys: Keys<'_>) {
    let Tools { server, batch, stats, timer } = tools;
    let mut stages = Stages::default();
    let mut free = &mut stages.first;
    let mut keys = keys;
    keys.begin_writes();
    // A command of its own, so with a time of its own: what went before may have taken long.
    let now_ms = clock::now_ms();
    while let Some((db, key)) = keys.effects.ready.pop_front() {
        let mut at = 0;
        while let Some(waiter) = next(server, &mut keys, now_ms, (db, &key), &mut at) {
            let Stage { waiter, session, out, next } = Stage::put(free, waiter);
            free = next;
            keys.db = db;
            keys.rules = rules(batch, session, waiter.command);
            keys.rules.writes = true;
            keys.rules.now_ms = now_ms;
            let mut cx = Cx {
                server,
                settings: &batch.settings,
                batch,
                stats,
                now_ms,
                reply: Reply::new(out, session.resp),
                session,
                keys,
                command: waiter.command,
                argv: waiter.argv.as_argv(),
                world: None,
                wait: None,
                in_transaction: false,
                is_retry: true,
                in_script: false,
                script_time_us: None,
                looked_at_clock: None,
                attendant: None,
            };
            let argv = waiter.argv.as_argv();
            // Its user may have lost the right meanwhile.
            match check::permitted_now(server, cx.session, waiter.command, argv) {
                Ok(()) => call(&mut cx, waiter.command, argv, timer),
                Err(error) => {
                    server.stats.count_error(error.code());
                    stats.error_replies.add(1);
                    stats.commands[waiter.command.id].rejected.add(1);
                    cx.reply.error(&error);
                }
            }
            let Cx { keys: back, wait, reply, .. } = cx;
            keys = back;
            let write_offset = keys.effects.append_to(&server.log);
            server.post_deliveries(std::mem::take(&mut keys.effects.deliveries));
            if wait.is_some() {
                reply.out.clear();
                at += 1;
                continue;
            }
            let client = waiter.session.id;
            for key in &waiter.keys {
                keys.unblock_in(db, key, client);
            }
            server.waiters.remove(server, client);
            let reply = std::mem::take(reply.out);
            server.post(waiter.session.thread, Mail::Unblock { client, reply, write_offset });
            // After its reply, in case it tracks what it has taken.
            if !keys.effects.tracked.is_empty() {
                server.tracking.tell(server, &mut keys.effects.tracked, None, &mut Vec::new());
            }
        }
    }
    if !keys.effects.tracked.is_empty() {
        server.tracking.tell(server, &mut keys.effects.tracked, None, &mut Vec::new());
    }
}

/// The first from `at` on that wait for the key and may be able to use what is there, with all its slots locked.
fn next(
    server: &Server,
    keys: &mut Keys<'_>,
    now_ms: i64,
    (db, key): (usize, &[u8]),
    at: &mut usize,
) -> Option<Arc<Waiter>> {
    let place: Place = (db, Slot::of(key));
    loop {
        if !keys.lock_also(&[place]) {
            *at = 0;
        }
        let &client = keys.waiting_for(db, key).get(*at)?;
        let found = keys.type_in(db, key, now_ms);
        let waiter = server.waiters.get(client).filter(|waiter| waiter.awaits.is_met_by(found));
        match waiter {
            None => *at += 1,
            Some(waiter) if keys.lock_also(&waiter.places) => return Some(waiter),
            // Others may have been here meanwhile: from the front again.
            Some(_) => *at = 0,
        }
    }
}

/// A command on stage: all that its [`Cx`] borrows. The locked slots pass from one `Cx` to the next, so what one
/// borrows must last as long as they do: stages are a chain of which only the free end is open.
struct Stage {
    waiter: Arc<Waiter>,
    session: Session,
    out: Vec<u8>,
    next: Option<Box<Stage>>,
}

impl Stage {
    fn put(free: &mut Option<Box<Stage>>, waiter: Arc<Waiter>) -> &mut Stage {
        let session = waiter.session.stand_in();
        free.insert(Box::new(Stage { waiter, session, out: Vec::new(), next: None }))
    }
}

#[derive(Default)]
struct Stages {
    first: Option<Box<Stage>>,
}

/// One by one: a long chain would otherwise be dropped by as deep a recursion.
impl Drop for Stages {
    fn drop(&mut self) {
        let mut first = self.first.take();
        while let Some(mut stage) = first {
            first = stage.next.take();
        }
    }
}
