//! From arguments to a reply: find the command, check, queue or lock and run, log, unlock.

use super::checks::{self, Checked};
use super::cx::{AtRest, Attendant, Cx, Wait};
use super::effects::Effects;
use super::keys::{Guards, Keys, Place, Rules};
use super::serve::{Tools, serve};
use super::session::{Multi, Session, SessionFlags};
use super::spec::Flags;
use super::table::{Command, table};
use crate::clock;
use crate::cluster::Routing;
use crate::commands::transactions::unwatch;
use crate::config::Settings;
use crate::evict::AccessClock;
use crate::latency::Event;
use crate::monitor;
use crate::net::Mail;
use crate::pubsub::Delivery;
use crate::server::Server;
use crate::stats::ThreadStats;
use protocol::{Args, Argv, Reply, ReplyError, Slot};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What all commands of a batch see alike: read once, after the gate was entered. Nothing in it changes while
/// the batch runs, because whoever changes it stops the world.
pub struct Batch {
    pub now_ms: i64,
    pub settings: Arc<Settings>,
    /// `None` outside cluster mode.
    pub routing: Option<Arc<Routing>>,
    pub role_is_replica: bool,
    pub master_link_down: bool,
    pub loading: Loading,
    /// The last save or write of the AOF failed, and writes are to be refused.
    pub disk_failed: bool,
    /// Somebody reads the write log.
    pub logged: bool,
    /// Writes wait for a failover to be handed over.
    pub writes_paused: bool,
    /// Every command waits.
    pub all_paused: bool,
    /// A script takes its time, and this batch is run meanwhile.
    pub busy: bool,
    /// Nothing is the case that would refuse a command, but what `busy` says.
    pub is_plain: bool,
    access: AccessClock,
}

/// Whether a dataset is being read in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loading {
    No,
    /// Most commands are refused.
    Alone,
    /// The old one is served meanwhile.
    Beside,
}

impl Loading {
    fn now(server: &Server) -> Loading {
        match () {
            () if server.loading.load(Ordering::Relaxed) => Loading::Alone,
            () if server.async_loading.load(Ordering::Relaxed) => Loading::Beside,
            () => Loading::No,
        }
    }
}

impl Batch {
    pub fn begin(server: &Server) -> Batch {
        let now_ms = clock::now_ms();
        let settings = server.config.settings_shared();
        let mut batch = Batch {
            now_ms,
            access: AccessClock::new(&settings, now_ms),
            routing: server.cluster.as_ref().map(|cluster| cluster.routing()),
            role_is_replica: server.replication.is_replica(),
            master_link_down: server.replication.is_link_down(),
            loading: Loading::now(server),
            disk_failed: server.persistence.refuses_writes(&settings),
            logged: server.log.is_active(),
            writes_paused: server.are_writes_paused(),
            all_paused: server.pause.holds_all(),
            busy: false,
            is_plain: false,
            settings,
        };
        batch.is_plain = !batch.role_is_replica
            && !batch.master_link_down
            && batch.loading == Loading::No
            && !batch.disk_failed
            && batch.settings.maxmemory_bytes == 0
            && batch.settings.min_replicas_to_write == 0;
        batch
    }
}

/// How a command ended.
pub enum Outcome {
    Done,
    /// It has to run with the world at rest: call again so. Nothing has happened yet.
    NeedsWorld,
    /// It runs a script, so somebody should be at hand to serve clients: [`Executor::execute_attended`]. Nothing has
    /// happened yet.
    NeedsAttendant,
    /// The client waits; the reply comes later.
    Wait(Wait),
    /// It has to be run again when writes may go on. Nothing has happened yet.
    Postponed,
}

/// One thread's tools for running commands.
pub struct Executor {
    pub server: Arc<Server>,
    pub stats: Arc<ThreadStats>,
    rng: fastrand::Rng,
    places: Vec<Place>,
    effects: Effects,
    /// What the client published to itself: it follows the reply.
    pushes: Vec<u8>,
    timer: Timer,
    batch_began: Instant,
    /// The slot of the next command's first argument, where that is known.
    expected_slot: Option<Slot>,
}

/// The slots a command's keys are in.
#[derive(Clone, Copy)]
pub enum Target {
    None,
    One(Slot),
    /// To be worked out key by key.
    Keys,
}

impl Target {
    /// The slot of all keys, where that is known.
    #[inline]
    pub fn slot(self) -> Option<Slot> {
        match self {
            Target::One(slot) => Some(slot),
            Target::None | Target::Keys => None,
        }
    }
}

impl Executor {
    pub fn new(server: Arc<Server>, seed: u64) -> Executor {
        Executor {
            stats: server.stats.thread(),
            server,
            rng: fastrand::Rng::with_seed(seed),
            places: Vec::new(),
            effects: Effects::default(),
            pushes: Vec::new(),
            timer: Timer::start(),
            batch_began: clock::monotonic(),
            expected_slot: None,
        }
    }

    /// Says which slot the first argument of the next command is in.
    #[inline]
    pub fn expect_slot(&mut self, slot: Option<Slot>) {
        self.expected_slot = slot;
    }

    /// Call it before the first command of a batch: what went before is nobody's running time.
    pub fn start_batch(&mut self) {
        self.timer = Timer::start();
        self.batch_began = self.timer.mark();
    }

    /// Call it after the last command of a batch, which began when [`Executor::start_batch`] was called.
    pub fn end_batch(&mut self) {
        self.timer.end_run(&self.stats);
        self.stats.cycles.end(&self.stats, self.timer.mark().duration_since(self.batch_began));
    }

    /// Runs one command of `session`, appending its reply to `out`.
    pub fn execute(
        &mut self,
        batch: &Batch,
        session: &mut Session,
        argv: Argv<'_>,
        out: &mut Vec<u8>,
        world: Option<&mut dyn AtRest>,
    ) -> Outcome {
        let start = out.len();
        let outcome = self.admit(batch, session, argv, out, world, None);
        self.settle(session, out, start, &outcome);
        outcome
    }

    /// As [`Executor::execute`], for commands that run scripts.
    pub fn execute_attended(
        &mut self,
        batch: &Batch,
        session: &mut Session,
        argv: Argv<'_>,
        out: &mut Vec<u8>,
        world: Option<&mut dyn AtRest>,
        attendant: &mut dyn Attendant,
    ) -> Outcome {
        let start = out.len();
        let outcome = self.admit(batch, session, argv, out, world, Some(attendant));
        self.settle(session, out, start, &outcome);
        outcome
    }

    #[inline]
    fn settle(&mut self, session: &mut Session, out: &mut Vec<u8>, start: usize, outcome: &Outcome) {
        if session.is(SessionFlags::ASKING) {
            end_asking(session, outcome);
        }
        let is_over = match outcome {
            Outcome::Done => true,
            Outcome::Wait(wait) => !matches!(wait, Wait::Keys),
            Outcome::NeedsWorld | Outcome::NeedsAttendant | Outcome::Postponed => false,
        };
        if is_over {
            settle_reply(session, out, start);
            if session.is(SessionFlags::TRACKING) {
                self.end_tracked(session);
            }
        }
        if !self.pushes.is_empty() {
            out.append(&mut self.pushes);
        }
    }

    /// A command of a client that tracks is over.
    #[cold]
    fn end_tracked(&mut self, session: &mut Session) {
        let is_queueing = session.multi.is_some();
        let is_of_client = session.last_command.is_some_and(|last| last.full_name.starts_with("client|"));
        if let Some(wishes) = &mut session.tracking {
            wishes.end_command(is_queueing, is_of_client);
        }
    }

    /// Before a command of a client that tracks: keeps the table of tracked keys within its limit.
    #[cold]
    fn trim_tracked(&self, batch: &Batch, session: &mut Session, out: &mut Vec<u8>) {
        let max_keys = batch.settings.tracking_table_max_keys;
        if self.server.tracking.is_over(max_keys) {
            let mut given_up = self.server.tracking.trim(&self.server, max_keys, batch.settings.databases);
            self.server.tracking.tell(&self.server, &mut given_up, Some(session), out);
        }
    }

    /// Checks that a command may run now, and runs it, or queues it.
    fn admit(
        &mut self,
        batch: &Batch,
        session: &mut Session,
        argv: Argv<'_>,
        out: &mut Vec<u8>,
        world: Option<&mut dyn AtRest>,
        attendant: Option<&mut dyn Attendant>,
    ) -> Outcome {
        let expected_slot = self.expected_slot.take();
        let command = match find(session, argv) {
            Ok(command) => command,
            Err((None, _)) if is_http(argv.name()) => return self.turn_away_http(batch, session),
            Err((known, error)) => {
                session.last_command = known;
                return self.refuse(session, known, &error, out);
            }
        };
        session.last_command = Some(command);
        let target = match command {
            c if c.one_key_first => Target::One(expected_slot.unwrap_or_else(|| Slot::of(argv.get(1)))),
            c if c.spec.keys.is_empty() => Target::None,
            c if c.has(Flags::RUNS_SCRIPT) && names_one_key(argv) => Target::One(Slot::of(argv.get(3))),
            _ => Target::Keys,
        };
        let flags = match command.has(Flags::RUNS_SCRIPT) {
            true => crate::script::run::effective_flags(&self.server, command, argv),
            false => command.spec.flags,
        };
        let (server, evicted) = (&self.server, Cell::default());
        let asking = session.is(SessionFlags::ASKING);
        let checked = Checked { server, batch, session, command, flags, argv, target, asking, evicted };
        let verdict = checks::all(&checked);
        if let Some(mut evicted) = checked.evicted.take() {
            // Before the reply: the client may have cached what made room for its command.
            self.server.tracking.tell(&self.server, &mut evicted, Some(session), out);
        }
        if let Err(error) = verdict {
            return self.refuse(session, Some(command), &error, out);
        }
        if session.is(SessionFlags::TRACKING) && world.is_none() {
            self.trim_tracked(batch, session, out);
        }
        if session.multi.is_some() && !command.has(Flags::NOT_QUEUED) {
            queue(session, command, flags, argv, target);
            out.extend_from_slice(b"+QUEUED\r\n");
            return Outcome::Done;
        }
        let paused = batch.all_paused || batch.writes_paused && may_write(session, command, flags);
        let held_up = if paused && !session.is(SessionFlags::LOADER) {
            Some(Outcome::Postponed)
        } else if !command.spec.flags.intersects(Flags::RUNS_SCRIPT | Flags::RUNS_QUEUE | Flags::EXCLUSIVE) {
            None
        } else if attendant.is_none() && runs_script(session, command) {
            Some(Outcome::NeedsAttendant)
        } else if world.is_none() && needs_world(session, command) {
            Some(Outcome::NeedsWorld)
        } else {
            None
        };
        if let Some(outcome) = held_up {
            return outcome;
        }
        self.run(batch, session, command, argv, target, out, world, attendant)
    }

    #[allow(clippy::too_many_arguments)] // The one place where everything meets.
    fn run(
        &mut self,
        batch: &Batch,
        session: &mut Session,
        command: &'static Command,
        argv: Argv<'_>,
        target: Target,
        out: &mut Vec<u8>,
        world: Option<&mut dyn AtRest>,
        attendant: Option<&mut dyn Attendant>,
    ) -> Outcome {
        let rules = rules(batch, session, command);
        // A replica's log is its master's stream, and nothing else.
        let logged = batch.logged && !session.is_obeyed() && !batch.role_is_replica;
        self.effects.begin(logged);
        let at_rest = world.is_some();
        let db = session.db;
        let locked = match target {
            _ if at_rest => Ok(Guards::none()),
            Target::None => Ok(Guards::none()),
            Target::One(slot) => Guards::one(&self.server, (db, slot), rules.writes),
            Target::Keys => {
                self.places.clear();
                collect_places(command, argv, db, &mut self.places);
                Guards::all(&self.server, &mut self.places, rules.writes)
            }
        };
        let Some(guards) = locked.ok() else {
            return self.refuse(session, Some(command), &self.server.scripts.busy.refusal(), out);
        };
        let wait = {
            let mut cx = Cx {
                server: &self.server,
                settings: &batch.settings,
                batch,
                stats: &self.stats,
                now_ms: batch.now_ms,
                reply: Reply::new(out, session.resp),
                session,
                keys: Keys::new(&self.server, &mut self.rng, db, guards, at_rest, rules, &mut self.effects),
                command,
                argv,
                // Spelled out, because only a bare reference is shortened to the lifetime of the rest.
                world: match world {
                    Some(world) => Some(&mut *world),
                    None => None,
                },
                wait: None,
                in_transaction: false,
                is_retry: false,
                in_script: false,
                script_time_us: None,
                looked_at_clock: None,
                attendant: match attendant {
                    Some(attendant) => Some(&mut *attendant),
                    None => None,
                },
            };
            call(&mut cx, command, argv, &mut self.timer);
            let effects = &mut *cx.keys.effects;
            if let Some(end) = effects.append_to(&self.server.log) {
                cx.session.last_write_offset = end;
            }
            if !effects.deliveries.is_empty() {
                send_off(&self.server, cx.session, &mut effects.deliveries, &mut self.pushes);
            }
            if !effects.tracked.is_empty() {
                let changes = &mut effects.tracked;
                self.server.tracking.tell(&self.server, changes, Some(cx.session), &mut self.pushes);
            }
            let wait = cx.wait.take();
            if !effects.ready.is_empty() {
                if cx.session.is(SessionFlags::LOADER) {
                    // What is read back from a file has been served in its day.
                    effects.ready.clear();
                } else {
                    let (server, stats, timer) = (&self.server, &self.stats, &mut self.timer);
                    serve(Tools { server, batch, stats, timer }, cx.keys);
                }
            }
            wait
        };
        account(&self.stats, &self.effects);
        match wait {
            None => Outcome::Done,
            Some(Wait::World) => Outcome::NeedsWorld,
            Some(wait) => Outcome::Wait(wait),
        }
    }

    /// Serves those who wait for a key that another thread has taken away.
    pub fn serve_key(&mut self, batch: &Batch, db: usize, key: Box<[u8]>) {
        let nobody = Session::new(0, String::new(), String::new(), batch.now_ms);
        let logged = batch.logged && !batch.role_is_replica;
        self.effects.begin(logged);
        let rules = Rules { writes: true, ..lookup_rules(batch, &nobody, false) };
        let guards = Guards::none();
        let keys = Keys::new(&self.server, &mut self.rng, db, guards, false, rules, &mut self.effects);
        keys.effects.ready.push_back((db, key));
        let (server, stats, timer) = (&self.server, &self.stats, &mut self.timer);
        serve(Tools { server, batch, stats, timer }, keys);
        account(&self.stats, &self.effects);
    }

    #[cold]
    fn refuse(
        &mut self,
        session: &mut Session,
        command: Option<&'static Command>,
        error: &ReplyError,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if command.is_some_and(|command| command.has(Flags::RUNS_QUEUE)) {
            return self.refuse_exec(session, command, error, out);
        }
        if let Some(multi) = &mut session.multi {
            multi.aborted = true;
        }
        self.count_error(command, error);
        Reply::new(out, session.resp).error(error);
        Outcome::Done
    }

    /// EXEC itself, when it is refused, ends the transaction. Its client is told why in stock's way: within another
    /// error, without the word ERR, unless it has to look for the slot elsewhere.
    fn refuse_exec(
        &mut self,
        session: &mut Session,
        command: Option<&'static Command>,
        error: &ReplyError,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if session.multi.take().is_some() {
            unwatch(&self.server, session);
        }
        self.count_error(command, error);
        let mut reply = Reply::new(out, session.resp);
        if error.is_about_routing() {
            reply.error(error);
        } else {
            let reason = error.as_bytes().strip_prefix(b"ERR ").unwrap_or(error.as_bytes());
            let text = [b"EXECABORT Transaction discarded because of: ", reason].concat();
            reply.error(&ReplyError::new(text));
        }
        Outcome::Done
    }

    /// A browser was made to speak to us by somebody else's page: nothing of what it says may be carried out.
    #[cold]
    fn turn_away_http(&mut self, batch: &Batch, session: &mut Session) -> Outcome {
        session.flags.insert(SessionFlags::CLOSE_AFTER_REPLY);
        let told_at_ms = &self.server.told_of_http_at_ms;
        if batch.now_ms - told_at_ms.load(Ordering::Relaxed) > HTTP_WARNING_INTERVAL_MS {
            told_at_ms.store(batch.now_ms, Ordering::Relaxed);
            crate::log::warning(
                "Possible SECURITY ATTACK detected: somebody sends POST or Host: as commands, as a browser does that \
                 a page has been made to misuse (cross protocol scripting). The connection is closed.",
            );
        }
        Outcome::Done
    }

    /// Answers what is no command at all, and has the connection closed.
    #[cold]
    pub fn refuse_bytes(&self, session: &mut Session, error: &ReplyError, out: &mut Vec<u8>) {
        self.count_error(None, error);
        let start = out.len();
        Reply::new(out, session.resp).error(error);
        settle_reply(session, out, start);
        session.flags.insert(SessionFlags::CLOSE_AFTER_REPLY);
    }

    fn count_error(&self, command: Option<&'static Command>, error: &ReplyError) {
        self.server.stats.count_error(error.code());
        self.stats.error_replies.add(1);
        if let Some(command) = command {
            self.stats.commands[command.id].rejected.add(1);
        }
    }
}

/// Runs a command's handler, with all that is counted about it. Its keys are locked.
pub fn call(cx: &mut Cx<'_>, command: &'static Command, argv: Argv<'_>, timer: &mut Timer) {
    timer.before(command, cx.stats);
    cx.looked_at_clock = None;
    let dirty_before = cx.keys.effects.dirty;
    let start = cx.reply.out.len();
    let skipped = if command.is_subcommand { 2 } else { 1 };
    let is_monitored = cx.server.monitors.is_any();
    // Before what it calls, and once: a run that may be begun again is not shown, but begun with the world at rest.
    if is_monitored && command.has(Flags::RUNS_SCRIPT) {
        if cx.world.is_none() && !cx.in_transaction && !cx.session.is(SessionFlags::LOADER) {
            cx.wait = Some(Wait::World);
            timer.skip();
            return;
        }
        monitor::show(cx, command, argv);
    }
    let result = (command.spec.handler)(cx, &mut Args::new(argv, skipped));
    let stats = &cx.stats.commands[command.id];
    if let Err(error) = result {
        cx.reply.out.truncate(start);
        if matches!(cx.wait, Some(Wait::World)) {
            return;
        }
        cx.reply.error(&error);
        cx.server.stats.count_error(error.code());
        cx.stats.error_replies.add(1);
        stats.failed.add(1);
    }
    let changed = cx.keys.effects.dirty != dirty_before || command.has(Flags::ALWAYS_PROPAGATED);
    let db = cx.session.db;
    cx.keys.effects.finish_command(db, argv, changed);
    if cx.session.is(SessionFlags::TRACKING) {
        remember_keys(cx, command, argv);
    }
    if is_monitored && !command.has(Flags::RUNS_SCRIPT) && !matches!(cx.wait, Some(Wait::World)) {
        monitor::show(cx, command, argv);
    }
    // Who waits for keys is counted when that is over, and so is the time it takes.
    if matches!(cx.wait, Some(Wait::Keys | Wait::World)) {
        timer.skip();
        return;
    }
    stats.calls.add(1);
    cx.stats.processed.add(1);
    let slower_than = match command.has(Flags::EXCLUSIVE) {
        // It may be CONFIG SET, which goes by what it has set.
        true => cx.server.settings().slowlog_slower_than_micros,
        false => cx.settings.slowlog_slower_than_micros,
    };
    let is_fine = (0..RUNS_FROM_MICROS).contains(&slower_than);
    let Some(nanos) = timer.after(command, is_fine, cx.stats, cx.looked_at_clock) else { return };
    let event = if command.has(Flags::FAST) { Event::FastCommand } else { Event::Command };
    cx.server.latency.note(cx.settings.latency_monitor_threshold_ms, event, nanos / 1000);
    if slower_than >= 0 && nanos / 1000 >= slower_than as u64 && !command.has(Flags::SKIP_SLOWLOG) {
        cx.server.slowlog.record(cx, argv, nanos / 1000);
    }
}

/// Has the keys' slots note that the client has read them.
#[cold]
fn remember_keys(cx: &mut Cx<'_>, command: &Command, argv: Argv<'_>) {
    let is_read =
        command.has(Flags::READONLY) && !command.spec.flags.intersects(Flags::RUNS_SCRIPT | Flags::PUBSUB);
    if !is_read || matches!(cx.wait, Some(Wait::World)) {
        return;
    }
    let mut positions = Vec::new();
    if command.spec.each_key(argv, |at, _| positions.push(at)).is_ok() {
        positions.into_iter().for_each(|at| cx.keys.remember(argv.get(at), cx.session));
    }
}

/// Below this `slowlog-log-slower-than`, in microseconds, every command is timed on its own.
const RUNS_FROM_MICROS: i64 = 1000;
/// Calls of a run that are timed together.
const RUN_CALLS: u32 = 16;

/// Times commands, each from the end of the one before. Reading the clock costs as much as a twentieth of a GET,
/// so calls of the same O(1) command in a row are timed together.
pub struct Timer {
    mark: Instant,
    /// The command of the run, and how many of its calls are not accounted for yet.
    run: Option<(&'static Command, u32)>,
}

impl Timer {
    pub fn start() -> Timer {
        Timer { mark: clock::monotonic(), run: None }
    }

    /// When it was started, or last looked at the clock.
    pub fn mark(&self) -> Instant {
        self.mark
    }

    /// A command is about to run: a run of another one ends.
    #[inline]
    fn before(&mut self, command: &'static Command, stats: &ThreadStats) {
        if self.run.is_some_and(|(other, _)| other.id != command.id) {
            self.end_run(stats);
        }
    }

    /// A command has run; `now`, if it has just looked at the clock itself. Returns the time it took, with its run, in
    /// nanoseconds; `None` while the run goes on.
    #[inline]
    fn after(
        &mut self,
        command: &'static Command,
        is_fine: bool,
        stats: &ThreadStats,
        now: Option<Instant>,
    ) -> Option<u64> {
        let calls = self.run.map_or(0, |(_, calls)| calls) + 1;
        self.run = Some((command, calls));
        if command.spec.flags.intersects(Flags::FAST | Flags::BRIEF) && calls < RUN_CALLS && !is_fine {
            return None;
        }
        Some(self.end_run_at(now.unwrap_or_else(clock::monotonic), stats))
    }

    /// A command has begun and will be run again: its time is nobody's.
    #[cold]
    fn skip(&mut self) {
        *self = Timer::start();
    }

    /// Accounts for the run that goes on. If there is one, it looks at the clock, and returns what it saw.
    pub fn end_run(&mut self, stats: &ThreadStats) -> Option<Instant> {
        self.run?;
        let now = clock::monotonic();
        self.end_run_at(now, stats);
        Some(now)
    }

    fn end_run_at(&mut self, now: Instant, stats: &ThreadStats) -> u64 {
        let Some((command, calls)) = self.run.take() else { return 0 };
        let nanos = now.duration_since(self.mark).as_nanos() as u64;
        self.mark = now;
        stats.ran(command.id, nanos, calls);
        nanos
    }
}

#[inline]
fn account(stats: &ThreadStats, effects: &Effects) {
    let &Effects { dirty, hits, misses, expired, .. } = effects;
    if dirty > 0 {
        stats.changes.add(dirty);
    }
    if hits + misses + expired > 0 {
        stats.hits.add(hits);
        stats.misses.add(misses);
        stats.expired.add(expired);
    }
}

/// Whether a script is given one key, which most are.
fn names_one_key(argv: Argv<'_>) -> bool {
    argv.len() > 3 && argv.get(2) == b"1"
}

/// Least time between two warnings of HTTP.
const HTTP_WARNING_INTERVAL_MS: i64 = 60_000;

/// Whether a command that is none is a line of an HTTP request.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Why arguments cannot be run, and the command they name, if there is one.
type Misfit = (Option<&'static Command>, ReplyError);

/// The command these arguments name, with its arity checked.
fn find(session: &Session, argv: Argv<'_>) -> Result<&'static Command, Misfit> {
    let name = argv.name();
    let command = match session.last_command {
        Some(last) if last.is_called(name) => last,
        _ => table()
            .find(name)
            .ok_or_else(|| (None, ReplyError::unknown_command(name, argv.tail(1).iter())))?,
    };
    let command = if !command.subcommands.is_empty() && argv.len() > 1 {
        let sub = argv.get(1);
        let unknown = || (None, ReplyError::unknown_subcommand(command.spec.name, sub));
        command.subcommand(sub).ok_or_else(unknown)?
    } else {
        command
    };
    if !command.spec.arity_fits(argv.len()) {
        return Err((Some(command), ReplyError::arity(&command.full_name)));
    }
    Ok(command)
}

#[inline]
pub fn rules(batch: &Batch, session: &Session, command: &'static Command) -> Rules {
    let rules = lookup_rules(batch, session, command.has(Flags::READONLY));
    // PFCOUNT keeps what it has counted.
    Rules { writes: rules.writes || command.has(Flags::MAY_REPLICATE), ..rules }
}

#[inline]
fn lookup_rules(batch: &Batch, session: &Session, reads_only: bool) -> Rules {
    let obeyed = session.is_obeyed();
    Rules {
        now_ms: batch.now_ms,
        access: batch.access,
        removes_expired: !batch.role_is_replica && !batch.writes_paused,
        ignores_expiry: obeyed,
        touches: !session.is(SessionFlags::NO_TOUCH),
        notify: batch.settings.notify,
        // A transaction or a script may write whatever its own flags say.
        writes: !reads_only,
    }
}

fn needs_world(session: &Session, command: &Command) -> bool {
    command.has(Flags::EXCLUSIVE)
        || command.has(Flags::RUNS_QUEUE) && session.multi.as_ref().is_some_and(|multi| multi.needs_world)
}

/// Whether a client's command runs a script. What comes from files has nobody to be kept waiting.
#[inline]
fn runs_script(session: &Session, command: &Command) -> bool {
    let queued = |multi: &Multi| multi.flags.contains(Flags::RUNS_SCRIPT);
    (command.has(Flags::RUNS_SCRIPT)
        || command.has(Flags::RUNS_QUEUE) && session.multi.as_deref().is_some_and(queued))
        && !session.is(SessionFlags::LOADER)
}

fn may_write(session: &Session, command: &Command, flags: Flags) -> bool {
    let queued = session
        .multi
        .as_ref()
        .is_some_and(|multi| multi.has_writes || multi.flags.contains(Flags::MAY_REPLICATE));
    flags.intersects(Flags::WRITE.union(Flags::MAY_REPLICATE)) || command.has(Flags::RUNS_QUEUE) && queued
}

fn queue(session: &mut Session, command: &'static Command, flags: Flags, argv: Argv<'_>, target: Target) {
    let multi = session.multi.as_mut().expect("checked by the caller");
    multi.needs_world |= command.spec.flags.intersects(
        Flags::EXCLUSIVE | Flags::WALKS | Flags::TWO_DATABASES | Flags::PATTERNS | Flags::RUNS_SCRIPT,
    );
    multi.has_writes |= flags.contains(Flags::WRITE);
    multi.flags |= flags;
    multi.common_flags &= flags;
    multi.queue.push(command, argv, target);
}

/// The places of the keys a command names. What does not add up is left for the handler to refuse, which may
/// look at the keys before it.
pub fn collect_places(command: &Command, argv: Argv<'_>, db: usize, places: &mut Vec<Place>) {
    let _ = command.spec.each_key(argv, |pos, _| places.push((db, Slot::of(argv.get(pos)))));
}

/// Posts what was published to the threads of those who listen. The publisher's own goes to `pushes`.
#[cold]
fn send_off(server: &Server, session: &Session, deliveries: &mut Vec<Delivery>, pushes: &mut Vec<u8>) {
    for delivery in deliveries.drain(..) {
        if delivery.thread == session.thread && delivery.clients.contains(&session.id) {
            delivery.give(session, pushes);
        }
        server.post(delivery.thread, Mail::Deliver { delivery: Box::new(delivery), publisher: session.id });
    }
}

/// ASKING holds for one command, or for one transaction: a client follows ASK with ASKING, MULTI and the rest.
#[cold]
fn end_asking(session: &mut Session, outcome: &Outcome) {
    let will_be_called_again =
        matches!(outcome, Outcome::NeedsWorld | Outcome::NeedsAttendant | Outcome::Postponed);
    let was_it = session.last_command.is_some_and(|last| last.spec.name == "asking");
    if !(will_be_called_again || was_it || session.multi.is_some()) {
        session.flags.remove(SessionFlags::ASKING);
    }
}

/// CLIENT REPLY: takes back what is not to be sent.
#[inline]
pub fn settle_reply(session: &mut Session, out: &mut Vec<u8>, start: usize) {
    const ANY: SessionFlags =
        SessionFlags::REPLY_OFF.union(SessionFlags::REPLY_SKIP).union(SessionFlags::REPLY_SKIP_NEXT);
    if session.flags.intersects(ANY) {
        hold_back_reply(session, out, start);
    }
}

#[cold]
fn hold_back_reply(session: &mut Session, out: &mut Vec<u8>, start: usize) {
    const SILENT: SessionFlags = SessionFlags::REPLY_OFF.union(SessionFlags::REPLY_SKIP);
    if session.flags.intersects(SILENT) && !session.last_command.is_some_and(|last| last.has(Flags::PUSHES)) {
        out.truncate(start);
    }
    let skip_next = session.is(SessionFlags::REPLY_SKIP_NEXT);
    session.flags.remove(SessionFlags::REPLY_SKIP | SessionFlags::REPLY_SKIP_NEXT);
    if skip_next {
        session.flags.insert(SessionFlags::REPLY_SKIP);
    }
}
