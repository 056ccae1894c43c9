//! One run of a script or function: whether it may run, and what it may call.

use super::busy::SlowRun;
use super::cache::Reach;
use super::debugger::Debugger;
use super::engine::{self, Called, Code, Ended, Host, Job, Verdict};
use super::flags::ScriptFlags;
use super::reach::WORLDLY;
use crate::acl::{Context, check};
use crate::clock;
use crate::cluster::route;
use crate::exec::checks::Checked;
use crate::exec::cx::{AtRest, Wait};
use crate::exec::dispatch::{Target, Timer, call, collect_places};
use crate::exec::keys::Place;
use crate::exec::spec::Flags;
use crate::exec::table::{Command, table};
use crate::exec::{Cx, SessionFlags};
use crate::log;
use crate::server::Server;
use crate::write_log::Audience;
use protocol::{ArgVec, Argv, Reply, ReplyError, Resp, Slot};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a run that has written waits for a slot it has not declared.
const STRAY_PATIENCE: Duration = Duration::from_millis(200);

/// A script or function with what was said about it, ready to run.
pub struct Task<'a> {
    pub code: Code<'a>,
    pub flags: ScriptFlags,
    pub reach: &'a Reach,
    /// By EVAL_RO, EVALSHA_RO or FCALL_RO.
    pub read_only: bool,
    pub argv: Argv<'a>,
    pub keys: Argv<'a>,
    pub args: Argv<'a>,
}

impl Task<'_> {
    fn is_eval(&self) -> bool {
        matches!(self.code, Code::Script(_))
    }

    /// The SHA1 of a script, the name of a function.
    fn name(&self) -> Cow<'_, str> {
        match self.code {
            Code::Script(script) => Cow::Borrowed(script.sha.as_str()),
            Code::Function(_, name) => String::from_utf8_lossy(name),
        }
    }
}

/// Runs it. The reply, or the error, is written when this returns `Ok`.
pub fn run(cx: &mut Cx<'_>, task: &Task<'_>) -> Result<(), ReplyError> {
    if needs_world(cx, task) {
        return ask_for_world(cx);
    }
    may_run(cx, task)?;
    let (db, resp, was_in_transaction) = (cx.session.db, cx.reply.resp, cx.in_transaction);
    let rules = cx.keys.rules;
    cx.in_transaction = true;
    cx.in_script = true;
    cx.script_time_us = None;
    let mut run = Run::new(cx, task);
    if let Code::Script(script) = task.code {
        run.debugger = run.cx.session.debugger.take();
        run.debugger.iter_mut().for_each(|debugger| debugger.begin(script.code()));
    }
    let job = Job { code: task.code, keys: task.keys, args: task.args };
    let scripts = run.cx.server.clone();
    let ended = engine::with(&scripts.scripts, |engine| engine.run(&mut run, &job));
    let outcome = run.finish(ended);
    cx.select(db);
    cx.reply.resp = resp;
    cx.keys.rules = rules;
    cx.in_transaction = was_in_transaction;
    cx.in_script = false;
    match outcome {
        Outcome::Done => {}
        Outcome::Counted(text) => {
            cx.stats.commands[cx.command.id].failed.add(1);
            cx.reply.error(&ReplyError::new(text));
        }
        Outcome::Failed(text) => return Err(ReplyError::new(text)),
        Outcome::NeedsWorld => {
            task.reach.note_stray();
            return ask_for_world(cx);
        }
    }
    // What is logged is what the commands logged.
    cx.keys.effects.keep_out_of_log();
    if cx.world.is_some() {
        task.reach.note_tried();
    }
    Ok(())
}

/// The command is run again, with the world at rest.
fn ask_for_world(cx: &mut Cx<'_>) -> Result<(), ReplyError> {
    cx.wait = Some(Wait::World);
    Err(ReplyError::fixed("ERR"))
}

/// Whether the world has to be at rest before this may begin.
fn needs_world(cx: &Cx<'_>, task: &Task<'_>) -> bool {
    if cx.world.is_some() {
        return false;
    }
    if task.reach.needs_world() {
        return true;
    }
    match cx.batch.routing {
        Some(_) => task.flags.contains(ScriptFlags::ALLOW_CROSS_SLOT_KEYS),
        None => cx.server.gate.threads() > 1 && (task.keys.is_empty() || !task.reach.is_tried()),
    }
}

/// The checks before a run, in stock's order.
fn may_run(cx: &Cx<'_>, task: &Task<'_>) -> Result<(), ReplyError> {
    let has = |flag| task.flags.contains(flag);
    let batch = cx.batch;
    let stale = batch.master_link_down && !cx.settings.replica_serve_stale_data;
    if has(ScriptFlags::COMPAT) {
        return if stale { Err(ReplyError::MASTER_DOWN) } else { Ok(()) };
    }
    let fail = |text| Err(ReplyError::fixed(text));
    if has(ScriptFlags::NO_CLUSTER) && batch.routing.is_some() {
        return fail("ERR Can not run script on cluster, 'no-cluster' flag is set.");
    }
    if stale && !has(ScriptFlags::ALLOW_STALE) {
        return fail(
            "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is \
             not set on the script.",
        );
    }
    if !has(ScriptFlags::NO_WRITES) {
        if batch.role_is_replica && cx.settings.replica_read_only && !cx.session.is_obeyed() {
            return fail("READONLY Can not run script with write flag on readonly replica");
        }
        if batch.disk_failed && !batch.role_is_replica && !cx.session.is_obeyed() {
            return Err(cx.server.persistence.write_refusal(cx.settings));
        }
        if task.read_only {
            return fail("ERR Can not execute a script with write flag using *_ro command.");
        }
        if lacks_replicas(cx) {
            return Err(ReplyError::NO_REPLICAS);
        }
    }
    let may_oom = has(ScriptFlags::ALLOW_OOM) || has(ScriptFlags::NO_WRITES);
    if !may_oom && is_out_of_memory(cx) {
        return fail(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
        );
    }
    Ok(())
}

fn lacks_replicas(cx: &Cx<'_>) -> bool {
    let wanted = cx.settings.min_replicas_to_write;
    wanted > 0
        && !cx.batch.role_is_replica
        && cx.server.replication.good_replicas.load(Ordering::Relaxed) < wanted
}

/// Room was made before the command, as far as it could be.
fn is_out_of_memory(cx: &Cx<'_>) -> bool {
    let limit = cx.settings.maxmemory_bytes;
    limit > 0 && !cx.session.is_obeyed() && crate::memory::used_bytes() > limit
}

/// What the checks are to ask of a command that runs a script: the script's own flags, where it has some.
pub fn effective_flags(server: &Server, command: &Command, argv: Argv<'_>) -> Flags {
    let flags = command.spec.flags;
    let text = argv.get(1);
    let declared = if command.has(Flags::RUNS_FUNCTION) {
        server.scripts.libraries.find(text).map(|(library, at)| library.functions[at].flags)
    } else if command.has(Flags::BY_SHA) {
        super::cache::Sha::parse(text).and_then(|sha| server.scripts.cache.flags_of(&sha))
    } else {
        super::flags::of_script(text).ok().map(|(flags, _)| flags)
    };
    let Some(declared) = declared.filter(|declared| !declared.contains(ScriptFlags::COMPAT)) else {
        return flags;
    };
    let has = |flag| declared.contains(flag);
    let mut flags = flags - (Flags::STALE | Flags::DENYOOM | Flags::WRITE | Flags::MAY_REPLICATE);
    flags.set(Flags::WRITE, !has(ScriptFlags::NO_WRITES));
    flags.set(Flags::DENYOOM, !has(ScriptFlags::NO_WRITES) && !has(ScriptFlags::ALLOW_OOM));
    flags.set(Flags::STALE, has(ScriptFlags::ALLOW_STALE));
    flags
}

enum Outcome {
    Done,
    /// An error the statistics know already.
    Counted(Vec<u8>),
    Failed(Vec<u8>),
    NeedsWorld,
}

/// Why a run is to end before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It strayed, and nothing has been written: begin again.
    Restart,
    Killed,
    /// The process ends.
    Discarded,
}

struct Run<'r, 'c> {
    cx: &'r mut Cx<'c>,
    task: &'r Task<'r>,
    may_write: bool,
    may_oom: bool,
    may_cross: bool,
    /// A command that writes was about to run: what comes after it is not refused any more.
    wrote: bool,
    /// Commands go to the log, unless the script wants it otherwise.
    is_logged: bool,
    was_out_of_memory: bool,
    /// The first key it has declared.
    first_key: Option<(&'r [u8], Slot)>,
    /// The slot its keys are in, in a cluster.
    slot: Option<Slot>,
    resp: Resp,
    reply_resp: Resp,
    reply_at: usize,
    started: Instant,
    slow: Option<Arc<SlowRun>>,
    /// Somebody goes through the script line by line.
    debugger: Option<Box<Debugger>>,
    end: Option<End>,
    timer: Timer,
    /// Room for the places of a command with several keys.
    places: Vec<Place>,
}

impl<'r, 'c> Run<'r, 'c> {
    fn new(cx: &'r mut Cx<'c>, task: &'r Task<'r>) -> Run<'r, 'c> {
        let has = |flag| task.flags.contains(flag);
        let timer = Timer::start();
        // With one slot locked, it is that of the keys that were declared.
        let locked = cx.keys.only_slot();
        let first_key = task.keys.iter().next().map(|key| (key, locked.unwrap_or_else(|| Slot::of(key))));
        Run {
            may_write: !task.read_only && !has(ScriptFlags::NO_WRITES),
            may_oom: has(ScriptFlags::ALLOW_OOM),
            may_cross: has(ScriptFlags::COMPAT) || has(ScriptFlags::ALLOW_CROSS_SLOT_KEYS),
            wrote: false,
            is_logged: cx.keys.effects.logged,
            was_out_of_memory: is_out_of_memory(cx),
            first_key,
            slot: first_key.map(|(_, slot)| slot),
            resp: Resp::V2,
            reply_resp: cx.reply.resp,
            reply_at: cx.reply.out.len(),
            started: timer.mark(),
            slow: None,
            debugger: None,
            end: None,
            timer,
            places: Vec::new(),
            cx,
            task,
        }
    }

    fn finish(mut self, ended: Ended) -> Outcome {
        self.cx.looked_at_clock = self.timer.end_run(self.cx.stats);
        self.set_propagated(true, true);
        if self.end == Some(End::Restart) {
            self.cx.session.debugger = self.debugger.take();
        } else if let Some(debugger) = &mut self.debugger {
            debugger.end();
            log::notice("Redis synchronous debugging eval session ended");
            // By that the client knows that the session is over.
            self.cx.session.flags.insert(SessionFlags::CLOSE_AFTER_REPLY);
        }
        if let Some(slow) = &self.slow {
            self.cx.server.scripts.busy.leave(slow);
        }
        match self.end {
            Some(End::Restart) => return Outcome::NeedsWorld,
            Some(End::Discarded) => {
                self.cx.keys.effects.discard();
                return Outcome::Failed(b"ERR The server is shutting down".to_vec());
            }
            _ => {}
        }
        match ended {
            Ended::Replied => Outcome::Done,
            Ended::Failed { text, counted: true } => Outcome::Counted(text),
            Ended::Failed { text, counted: false } => Outcome::Failed(text),
            Ended::Aborted { at } => {
                let mut text = b"ERR Script killed by user with SCRIPT KILL...".to_vec();
                if let Some(at) = at {
                    text.extend_from_slice(format!(" script: {}, on {at}.", self.task.name()).as_bytes());
                }
                Outcome::Failed(text)
            }
        }
    }

    /// The slot of a key. Mostly it is the script's first.
    fn slot_of(&self, key: &[u8]) -> Slot {
        match self.first_key {
            Some((first, slot)) if first == key => slot,
            _ => Slot::of(key),
        }
    }

    /// A command a script calls, and why it may not.
    fn admitted(&self, argv: Argv<'_>) -> Result<&'static Command, Called> {
        let command = find(argv).ok_or(Called::Refused("Unknown Redis command called from script"))?;
        if !command.spec.arity_fits(argv.len()) {
            return Err(Called::Refused("Wrong number of args calling Redis command from script"));
        }
        let refuse = |text| {
            self.cx.stats.commands[command.id].rejected.add(1);
            Called::Refused(text)
        };
        let denies = || !self.cx.server.switches.scripts_not_denied.load(Ordering::Relaxed);
        if command.has(Flags::NOSCRIPT) && denies() {
            return Err(refuse("This Redis command is not allowed from script"));
        }
        let batch = self.cx.batch;
        if batch.master_link_down && !self.cx.settings.replica_serve_stale_data && !command.has(Flags::STALE)
        {
            return Err(refuse("Can not execute the command on a stale replica"));
        }
        check::permitted(self.cx.server, self.cx.session, command, argv, Context::Lua).map_err(
            |(_, text)| {
                self.cx.stats.commands[command.id].rejected.add(1);
                Called::RefusedBy([b"-ERR ACL failure in script: ", &*text].concat())
            },
        )?;
        if !self.may_write && command.spec.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE) {
            return Err(refuse("Write commands are not allowed from read-only scripts."));
        }
        if command.has(Flags::WRITE) && !self.wrote {
            self.may_begin_to_write().map_err(|error| {
                self.cx.stats.commands[command.id].rejected.add(1);
                Called::RefusedBy([b"-", error.as_bytes()].concat())
            })?;
        }
        if command.has(Flags::DENYOOM) && !self.wrote && self.was_out_of_memory && !self.may_oom {
            return Err(refuse("-OOM command not allowed when used memory > 'maxmemory'."));
        }
        Ok(command)
    }

    #[cold]
    fn may_begin_to_write(&self) -> Result<(), ReplyError> {
        let cx = &*self.cx;
        if cx.batch.role_is_replica && cx.settings.replica_read_only && !cx.session.is_obeyed() {
            return Err(ReplyError::READ_ONLY);
        }
        if cx.batch.disk_failed && !cx.batch.role_is_replica {
            return Err(cx.server.persistence.write_refusal(cx.settings));
        }
        if lacks_replicas(cx) { Err(ReplyError::NO_REPLICAS) } else { Ok(()) }
    }

    /// Sees to it that the command's keys are here, and locked.
    fn placed(&mut self, command: &'static Command, argv: Argv<'_>) -> Result<(), Called> {
        let db = self.cx.keys.db;
        if command.one_key_first {
            let place = (db, self.slot_of(argv.get(1)));
            self.routed(command, argv, &[place])?;
            return self.reached(command, &[place]);
        }
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        collect_places(command, argv, db, &mut places);
        let placed = self.routed(command, argv, &places).and_then(|()| self.reached(command, &places));
        self.places = places;
        placed
    }

    /// In a cluster, the keys have to be here, and in the script's one slot.
    fn routed(&mut self, command: &'static Command, argv: Argv<'_>, places: &[Place]) -> Result<(), Called> {
        let batch = self.cx.batch;
        let Some(routing) = batch.routing.as_ref().filter(|_| !self.cx.session.is_obeyed()) else {
            return Ok(());
        };
        let in_slot = places.iter().all(|(_, slot)| Some(*slot) == self.slot);
        // The script's own keys were looked at before it began, but not for what it does with them.
        let is_known = routing.is_settled() && (routing.state_ok || !command.has(Flags::WRITE));
        if in_slot && is_known && !command.has(Flags::PUBSUB) {
            return Ok(());
        }
        if places.iter().any(|(_, slot)| routing.is_moving(*slot)) {
            self.reached(command, places)?;
        }
        let keys = &mut self.cx.keys;
        let checked = Checked {
            server: self.cx.server,
            batch: self.cx.batch,
            session: self.cx.session,
            command,
            flags: command.spec.flags,
            argv,
            target: Target::Keys,
            // Had it not been let in, its script would not run.
            asking: in_slot,
            evicted: Default::default(),
        };
        route::check_within(routing, &checked, &mut |key| keys.exists(key)).map_err(|error| {
            Called::Refused(match () {
                () if error == ReplyError::CLUSTER_DOWN_READ_ONLY => {
                    "Script attempted to execute a write command while the cluster is down and readonly"
                }
                () if error == ReplyError::CLUSTER_DOWN => {
                    "Script attempted to execute a command while the cluster is down"
                }
                () => "Script attempted to access a non local key in a cluster node",
            })
        })?;
        let mut slot = None;
        // What does not add up is for the handler to refuse.
        let _ = command.spec.each_routed(argv, |pos| slot = Some(Slot::of(argv.get(pos))));
        if !self.may_cross && self.slot.is_some() && slot.is_some() && self.slot != slot {
            return Err(Called::Refused("Script attempted to access keys that do not hash to the same slot"));
        }
        self.slot = self.slot.or(slot);
        Ok(())
    }

    /// Locks what the command needs and the run has not.
    fn reached(&mut self, command: &'static Command, places: &[Place]) -> Result<(), Called> {
        let worldly = command.spec.flags.intersects(WORLDLY);
        if self.cx.world.is_some() {
            if worldly {
                // It locks for itself; nobody else can meanwhile.
                self.cx.keys.unlock();
            }
            return Ok(());
        }
        if worldly {
            return Err(self.stray());
        }
        for &place in places {
            if self.cx.keys.is_locked(place) {
                continue;
            }
            // One thread waits for nobody who waits for it; nor does whoever holds nothing.
            if self.cx.server.gate.threads() == 1 || !self.cx.keys.is_any_locked() {
                self.cx.keys.lock_more(place);
            } else if !self.wrote || !self.cx.keys.try_lock_more(place, STRAY_PATIENCE) {
                return Err(self.stray());
            }
        }
        Ok(())
    }

    /// The run touches what it had not declared and cannot lock now.
    #[cold]
    fn stray(&mut self) -> Called {
        self.task.reach.note_stray();
        if self.wrote {
            return Called::Refused(
                "Script attempted to access keys it did not declare, after it had written. It will run alone the \
                 next time",
            );
        }
        self.end = Some(End::Restart);
        Called::Abort
    }

    /// It has taken too long: from now on others are served meanwhile, and it can be killed.
    #[cold]
    fn become_slow(&mut self, elapsed: Duration) {
        let task = self.task;
        let kill = if task.is_eval() { "SCRIPT KILL" } else { "FUNCTION KILL" };
        log::warning(&format!(
            "Slow script detected: still in execution after {} milliseconds. You can try killing the script using the \
             {kill} command. Script name is: {}.",
            elapsed.as_millis(),
            task.name()
        ));
        let slow = Arc::new(SlowRun {
            name: task.name().into_owned(),
            is_eval: task.is_eval(),
            from_master: self.cx.session.is_obeyed(),
            wrote: AtomicBool::new(self.wrote),
            killed: AtomicBool::new(false),
            argv: ArgVec::from(task.argv),
            started: self.started,
        });
        self.cx.server.scripts.busy.enter(slow.clone());
        self.slow = Some(slow);
    }
}

fn find(argv: Argv<'_>) -> Option<&'static Command> {
    let command = table().find(argv.name())?;
    if command.subcommands.is_empty() || argv.len() < 2 {
        Some(command)
    } else {
        command.subcommand(argv.get(1))
    }
}

impl Host for Run<'_, '_> {
    fn call(&mut self, argv: Argv<'_>) -> Called {
        if self.end.is_some() {
            return Called::Abort;
        }
        let admitted = self.admitted(argv).and_then(|command| {
            self.placed(command, argv)?;
            Ok(command)
        });
        let command = match admitted {
            Ok(command) => command,
            Err(refused) => {
                self.count(&refused);
                return refused;
            }
        };
        if command.has(Flags::WRITE) && !self.wrote {
            self.wrote = true;
            if let Some(slow) = &self.slow {
                slow.wrote.store(true, Ordering::Relaxed);
            }
        }
        let cx = &mut *self.cx;
        self.reply_at = cx.reply.out.len();
        cx.reply.resp = self.resp;
        let outer = std::mem::replace(&mut cx.command, command);
        call(cx, command, argv, &mut self.timer);
        cx.command = outer;
        cx.reply.resp = self.reply_resp;
        debug_assert!(cx.wait.is_none(), "a command waits inside a script");
        // A few slow commands may take as long as many instructions.
        let threshold_ms = self.cx.settings.busy_reply_threshold_ms;
        let elapsed = self.timer.mark().duration_since(self.started);
        if threshold_ms > 0 && elapsed > Duration::from_millis(threshold_ms) && self.tick() == Verdict::Abort
        {
            self.forget_reply();
            return Called::Abort;
        }
        Called::Replied
    }

    fn reply(&self) -> &[u8] {
        &self.cx.reply.out[self.reply_at..]
    }

    fn forget_reply(&mut self) {
        self.cx.reply.out.truncate(self.reply_at);
    }

    fn debugger(&mut self) -> Option<&mut Debugger> {
        self.debugger.as_deref_mut()
    }

    fn tick(&mut self) -> Verdict {
        if self.end.is_some() {
            return Verdict::Abort;
        }
        if let Some(debugger) = &mut self.debugger
            && self.cx.server.shutdown.is_asked()
        {
            debugger.leave();
        }
        let busy = &self.cx.server.scripts.busy;
        if busy.is_ending() {
            self.end = Some(End::Discarded);
            return Verdict::Abort;
        }
        if self.slow.is_none() {
            let threshold_ms = self.cx.settings.busy_reply_threshold_ms;
            let elapsed = clock::monotonic().duration_since(self.started);
            if threshold_ms == 0 || elapsed < Duration::from_millis(threshold_ms) {
                return Verdict::Continue;
            }
            self.become_slow(elapsed);
        }
        if let Some(attendant) = &mut self.cx.attendant {
            let world: Option<&mut dyn AtRest> = match &mut self.cx.world {
                Some(world) => Some(&mut **world),
                None => None,
            };
            attendant.attend(world);
        }
        if self.slow.as_ref().is_some_and(|slow| slow.killed.load(Ordering::Relaxed)) {
            log::notice("Lua script killed by user with SCRIPT KILL.");
            self.end = Some(End::Killed);
            return Verdict::Abort;
        }
        Verdict::Continue
    }

    fn writer(&mut self) -> Reply<'_> {
        Reply::new(self.cx.reply.out, self.reply_resp)
    }

    fn set_resp(&mut self, resp: Resp) {
        self.resp = resp;
    }

    fn resp(&self) -> Resp {
        self.resp
    }

    fn set_propagated(&mut self, aof: bool, replicas: bool) {
        let effects = &mut *self.cx.keys.effects;
        effects.logged = self.is_logged && (aof || replicas);
        effects.audience = match (aof, replicas) {
            (true, false) => Audience::Aof,
            (false, true) => Audience::Replicas,
            _ => Audience::All,
        };
    }

    fn may_call(&mut self, argv: Argv<'_>) -> Option<bool> {
        let command = find(argv)?;
        Some(self.cx.session.user.as_ref().is_none_or(|user| user.check(command, argv).is_ok()))
    }

    fn count_errors(&mut self, uncounted: Vec<ReplyError>) {
        self.cx.stats.commands[self.cx.command.id].failed.add(1);
        for error in uncounted {
            self.cx.server.stats.count_error(error.code());
            self.cx.stats.error_replies.add(1);
        }
    }
}

impl Run<'_, '_> {
    fn count(&self, refused: &Called) {
        let code: &[u8] = match refused {
            Called::Refused(text) if !text.starts_with('-') => b"ERR",
            Called::Refused(text) => text[1..].split(' ').next().unwrap_or("ERR").as_bytes(),
            Called::RefusedBy(text) => text.split(|&b| b == b' ').next().unwrap_or_default().trim_ascii(),
            _ => return,
        };
        self.cx.server.stats.count_error(code.strip_prefix(b"-").unwrap_or(code));
        self.cx.stats.error_replies.add(1);
    }
}
