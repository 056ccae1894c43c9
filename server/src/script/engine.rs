//! The interpreter as the rest of the server sees it, and the server as the interpreter sees it.

use super::cache::Script;
use super::debugger::Debugger;
use super::libraries::{FunctionSpec, Library};
use super::{Scripts, lua::Interpreter};
use protocol::{Argv, Reply, ReplyError, Resp};
use std::cell::RefCell;
use std::sync::Arc;

/// How a run ended, apart from a reply.
pub enum Ended {
    /// The reply is written.
    Replied,
    /// An error, without the `-`. `counted` when the statistics have it already.
    Failed { text: Vec<u8>, counted: bool },
    /// The host asked for the end ([`Verdict::Abort`]); the script was at this `chunk:line`.
    Aborted { at: Option<String> },
}

/// What to run, and with what.
pub struct Job<'a> {
    pub code: Code<'a>,
    pub keys: Argv<'a>,
    pub args: Argv<'a>,
}

#[derive(Clone, Copy)]
pub enum Code<'a> {
    Script(&'a Arc<Script>),
    Function(&'a Arc<Library>, &'a [u8]),
}

/// An interpreter. A thread has one of its own.
pub trait Engine {
    /// Compiles a script for later. The error is for the client, without its code.
    fn compile(&mut self, script: &Arc<Script>) -> Result<(), Vec<u8>>;

    /// Runs a library's code to learn which functions it registers.
    fn load(&mut self, library: &[u8], timeout_ms: Option<u64>) -> Result<Vec<FunctionSpec>, Vec<u8>>;

    /// Runs a script or function.
    fn run(&mut self, host: &mut dyn Host, job: &Job<'_>) -> Ended;

    /// Forgets what was compiled but is in the cache or among the libraries no more.
    fn catch_up(&mut self, scripts: &Scripts);
}

/// Whether a script may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Continue,
    Abort,
}

/// How a command called by a script went.
pub enum Called {
    /// Its reply is in [`Host::reply`], until [`Host::forget_reply`].
    Replied,
    /// It was not run. The text has no code; the statistics know.
    Refused(&'static str),
    RefusedBy(Vec<u8>),
    /// The script is to end here.
    Abort,
}

/// What an interpreter may ask of the server on behalf of a script.
pub trait Host {
    fn call(&mut self, argv: Argv<'_>) -> Called;
    /// The reply of the last command that was called.
    fn reply(&self) -> &[u8];
    fn forget_reply(&mut self);
    /// Called every so many instructions.
    fn tick(&mut self) -> Verdict;
    /// Where the script's own reply goes.
    fn writer(&mut self) -> Reply<'_>;
    /// redis.setresp: the version in which commands reply to the script.
    fn set_resp(&mut self, resp: Resp);
    fn resp(&self) -> Resp;
    /// redis.set_repl: whether writes go to the log from here on.
    fn set_propagated(&mut self, aof: bool, replicas: bool);
    /// The reply is, or holds, an error. Those that the script made itself the statistics do not know yet.
    fn count_errors(&mut self, uncounted: Vec<ReplyError>);
    /// The session in which the script is debugged, if it is.
    fn debugger(&mut self) -> Option<&mut Debugger>;
    /// redis.acl_check_cmd; `None` when there is no such command.
    fn may_call(&mut self, argv: Argv<'_>) -> Option<bool>;
}

thread_local! {
    static ENGINE: RefCell<Option<Box<Interpreter>>> = const { RefCell::new(None) };
}

/// Uses this thread's interpreter, which is made when it is first needed.
pub fn with<R>(scripts: &Scripts, f: impl FnOnce(&mut dyn Engine) -> R) -> R {
    let mut engine = ENGINE.take().unwrap_or_else(|| Box::new(Interpreter::new()));
    engine.catch_up(scripts);
    let result = f(&mut *engine);
    ENGINE.set(Some(engine));
    result
}
