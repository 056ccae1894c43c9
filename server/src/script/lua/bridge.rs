//! The functions scripts call in the `redis` table, and the others that the prelude needs from the host.

use super::collector::Collector;
use super::convert::{Names, ReplyReader};
use super::debug::{log_values, shown_reply, with_debugger};
use super::errors::{self, Raised};
use super::random::Lrand48;
use super::stack::{Answer, Words};
use crate::log;
use crate::script::cache::Sha;
use crate::script::engine::{Called, Host, Verdict};
use crate::script::flags::{ScriptFlags, is_valid_name};
use crate::script::libraries::FunctionSpec;
use mlua::chunk::ChunkMode;
use mlua::{Either, Error, Function, HookTriggers, IntoLua, Lua, MultiValue, Result, Table, Value, VmState};
use protocol::{Argv, Resp};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

scoped_tls_hkt::scoped_thread_local!(
    /// The server, on behalf of the script that runs on this thread.
    pub static mut HOST: for<'a> &'a mut (dyn Host + 'a)
);

/// Instructions between two looks at the clock, as in stock.
pub const TICK_INSTRUCTIONS: u32 = 100_000;

/// What the host's functions share within one Lua state.
pub struct Bridge {
    pub names: Names,
    pub collector: Collector,
    random: Lrand48,
    /// A library that is being loaded.
    pub loading: RefCell<Option<Loading>>,
    /// The hook runs before every instruction, to end a script that catches errors.
    pub is_armed: Cell<bool>,
    /// Where the script was when the host ended it.
    pub ended_at: Cell<Option<String>>,
}

#[derive(Default)]
pub struct Loading {
    pub functions: Vec<(FunctionSpec, Function)>,
    pub deadline: Option<Instant>,
}

impl Bridge {
    pub fn new(lua: &Lua) -> Result<Bridge> {
        Ok(Bridge {
            names: Names::new(lua)?,
            collector: Collector::default(),
            random: Lrand48::default(),
            loading: RefCell::default(),
            is_armed: Cell::new(false),
            ended_at: Cell::default(),
        })
    }

    /// The table the prelude is given.
    pub fn table(self: &Rc<Bridge>, lua: &Lua) -> Result<Table> {
        let host = lua.create_table()?;
        host.set("redis", self.redis(lua)?)?;
        self.put(lua, &host, "compile", |_, lua, (env, text, name)| compile(lua, env, &text, &name))?;
        self.put(lua, &host, "random", |bridge, lua, args: MultiValue| bridge.random.random(lua, &args))?;
        self.put(lua, &host, "randomseed", |bridge, lua, args: MultiValue| {
            bridge.random.randomseed(lua, &args)
        })?;
        self.put(lua, &host, "register_function", |bridge, lua, args: MultiValue| {
            bridge.register(lua, &args)
        })?;
        self.put(lua, &host, "where", |_, lua, ()| Ok(place(lua)))?;
        self.put(lua, &host, "deny", |_, lua, _: MultiValue| {
            Err::<(), _>(errors::text(lua, "Attempt to modify a readonly table"))
        })?;
        self.put(lua, &host, "missing", |_, lua, args: MultiValue| Err::<(), _>(missing(lua, &args)))?;
        self.put(lua, &host, "translate", |_, lua, error: Value| match error {
            Value::Error(error) => errors::to_value(lua, &error),
            other => Ok(other),
        })?;
        Ok(host)
    }

    fn redis(self: &Rc<Bridge>, lua: &Lua) -> Result<Table> {
        let redis = lua.create_table()?;
        self.put(lua, &redis, "call", |bridge, lua, words: Words| bridge.call(lua, &words, true))?;
        self.put(lua, &redis, "pcall", |bridge, lua, words: Words| bridge.call(lua, &words, false))?;
        self.put(lua, &redis, "log", |_, lua, args: MultiValue| log_line(lua, &args))?;
        self.put(lua, &redis, "sha1hex", |_, lua, args: MultiValue| sha1hex(lua, &args))?;
        self.put(lua, &redis, "error_reply", |bridge, lua, args: MultiValue| bridge.error_reply(lua, &args))?;
        self.put(lua, &redis, "status_reply", |_, lua, args: MultiValue| status_reply(lua, &args))?;
        self.put(lua, &redis, "setresp", |_, lua, args: MultiValue| set_resp(lua, &args))?;
        self.put(lua, &redis, "set_repl", |_, lua, args: MultiValue| set_repl(lua, &args))?;
        self.put(lua, &redis, "breakpoint", |_, _, _: MultiValue| {
            Ok(with_debugger(|debugger| debugger.ask_to_stop()).is_some())
        })?;
        self.put(lua, &redis, "debug", |_, _, args: MultiValue| {
            log_values(&args);
            Ok(())
        })?;
        self.put(lua, &redis, "acl_check_cmd", |_, _, words: Words| acl_check(&words))?;
        for (name, value) in [
            ("LOG_DEBUG", 0),
            ("LOG_VERBOSE", 1),
            ("LOG_NOTICE", 2),
            ("LOG_WARNING", 3),
            ("REPL_NONE", REPL_NONE),
            ("REPL_AOF", REPL_AOF),
            ("REPL_SLAVE", REPL_REPLICAS),
            ("REPL_REPLICA", REPL_REPLICAS),
            ("REPL_ALL", REPL_AOF | REPL_REPLICAS),
            ("REDIS_VERSION_NUM", crate::REDIS_VERSION_NUM),
        ] {
            redis.set(name, value)?;
        }
        redis.set("REDIS_VERSION", crate::REDIS_VERSION)?;
        Ok(redis)
    }

    fn put<A, R>(
        self: &Rc<Bridge>,
        lua: &Lua,
        table: &Table,
        name: &str,
        f: impl Fn(&Bridge, &Lua, A) -> Result<R> + 'static,
    ) -> Result<()>
    where
        A: mlua::FromLuaMulti,
        R: mlua::IntoLuaMulti,
    {
        let bridge = self.clone();
        table.set(name, lua.create_function(move |lua, args: A| f(&bridge, lua, args))?)
    }

    /// redis.call and redis.pcall.
    pub fn call(&self, lua: &Lua, words: &Words, raises: bool) -> Result<Answer> {
        if !HOST.is_set() {
            return Err(errors::text(lua, "commands can only be called while a script runs"));
        }
        let unlimited = Unlimited::new(lua);
        let value = match checked(words) {
            Ok(argv) => HOST.with(|host| self.called(lua, host, argv, raises)),
            Err(text) => self.fail(lua, text.as_bytes(), false, raises).map(Either::Right),
        };
        value.map(|value| Answer { value, unlimited })
    }

    fn called(
        &self,
        lua: &Lua,
        host: &mut dyn Host,
        argv: Argv<'_>,
        raises: bool,
    ) -> Result<Either<String, Value>> {
        let refused = |text: &[u8]| self.fail(lua, text, true, raises).map(Either::Right);
        match call_shown(host, argv) {
            Called::Replied => {
                let bytes = host.reply();
                let result = match bytes.split_first() {
                    Some((b'-', text)) if raises => Err(errors::reply(&[b"-", text].concat(), true)),
                    _ => ReplyReader { lua, names: &self.names, bytes }.item(),
                };
                let result = result.map(|item| item.map_left(str::to_owned));
                host.forget_reply();
                result
            }
            Called::Refused(text) => refused(text.as_bytes()),
            Called::RefusedBy(text) => refused(&text),
            Called::Abort => {
                self.arm(lua)?;
                Err(Error::external(Raised::Aborted))
            }
        }
    }

    /// The host has asked for the end.
    pub fn abort(&self, lua: &Lua) -> Result<VmState> {
        self.arm(lua)?;
        Err(Error::external(Raised::Aborted))
    }

    fn fail(&self, lua: &Lua, text: &[u8], counted: bool, raises: bool) -> Result<Value> {
        let error = errors::reply(text, counted);
        if raises { Err(error) } else { errors::to_value(lua, &error) }
    }

    /// redis.error_reply: the text gets a code unless it has one.
    fn error_reply(&self, lua: &Lua, args: &MultiValue) -> Result<Value> {
        let text = match (args.len(), args.front()) {
            (1, Some(Value::String(text))) => {
                [b"-", text.as_bytes().strip_prefix(b"-").unwrap_or(&text.as_bytes())].concat()
            }
            _ => return self.fail(lua, b"wrong number or type of arguments", false, false),
        };
        self.fail(lua, &text, false, false)
    }

    /// redis.register_function, in both its forms.
    fn register(&self, lua: &Lua, args: &MultiValue) -> Result<()> {
        let fail = |text: &str| errors::reply(text.as_bytes(), false);
        let mut loading = self.loading.borrow_mut();
        let Some(loading) = loading.as_mut() else {
            return Err(fail("redis.register_function can only be called on FUNCTION LOAD command"));
        };
        let (spec, callback) = match args.len() {
            1 => named_arguments(lua, &args[0]).map_err(|text| fail(&text))?,
            2 => positional_arguments(lua, args).map_err(|text| fail(&text))?,
            _ => return Err(fail("wrong number of arguments to redis.register_function")),
        };
        if !is_valid_name(&spec.name) {
            return Err(fail(
                "Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                 character long",
            ));
        }
        if loading.functions.iter().any(|(other, _)| other.name == spec.name) {
            return Err(fail("Function already exists in the library"));
        }
        loading.functions.push((spec, callback));
        Ok(())
    }

    /// Lets the hook run every so many instructions.
    pub fn install_hook(self: &Rc<Bridge>, lua: &Lua) -> Result<()> {
        self.is_armed.set(false);
        self.hook(lua, TICK_INSTRUCTIONS)
    }

    fn hook(self: &Rc<Bridge>, lua: &Lua, every: u32) -> Result<()> {
        let bridge = self.clone();
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(every), move |lua, _| bridge.tick(lua))
    }

    /// From here on each instruction fails: a script that catches errors does not get far.
    fn arm(&self, lua: &Lua) -> Result<()> {
        self.is_armed.set(true);
        if let (Some(source), Some(line)) = innermost(lua, 0) {
            self.ended_at.set(Some(format!("{source}:{line}")));
        }
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), |_, _| {
            Err(Error::external(Raised::Aborted))
        })
    }

    pub fn tick(&self, lua: &Lua) -> Result<VmState> {
        self.collector.pace(lua);
        let deadline = self.loading.try_borrow().ok().and_then(|loading| loading.as_ref()?.deadline);
        if deadline.is_some_and(|deadline| crate::clock::monotonic() > deadline) {
            self.is_armed.set(true);
            lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), |_, _| {
                Err(errors::reply(b"FUNCTION LOAD timeout", false))
            })?;
            return Err(errors::reply(b"FUNCTION LOAD timeout", false));
        }
        if HOST.is_set() && HOST.with(|host| host.tick()) == Verdict::Abort {
            return self.abort(lua);
        }
        Ok(VmState::Continue)
    }
}

/// Runs a command of a script. Where that is being debugged, it is shown, and what comes of it.
fn call_shown(host: &mut dyn Host, argv: Argv<'_>) -> Called {
    const SHOWN_MAX: usize = 10;
    if host.debugger().is_none_or(|debugger| !debugger.is_stepping()) {
        return host.call(argv);
    }
    let mut line = b"<redis>".to_vec();
    for word in argv.iter().take(SHOWN_MAX) {
        line.extend_from_slice(&[b" ", word].concat());
    }
    if argv.len() > SHOWN_MAX {
        line.extend_from_slice(format!(" ... ({} more)", argv.len() - SHOWN_MAX).as_bytes());
    }
    host.debugger().into_iter().for_each(|debugger| debugger.log_value(line.clone()));
    let called = host.call(argv);
    let mut line = Vec::new();
    match &called {
        Called::Replied => {
            line.extend_from_slice(b"<reply> ");
            shown_reply(host.reply(), &mut line);
        }
        Called::Refused(text) => line = format!("<error> {text}").into_bytes(),
        Called::RefusedBy(text) => line = [b"<error> ", &text[..]].concat(),
        Called::Abort => return called,
    }
    host.debugger().into_iter().for_each(|debugger| debugger.log_value(line.clone()));
    called
}

/// Bytes a state may hold while a script runs. More, and the script gets "not enough memory".
const MEMORY_MAX_BYTES: usize = 1 << 30;

/// Limits memory as long as it lives. Under a limit every value that goes into Lua has to expect an error, which costs
/// a protected call each; so what the server itself puts there goes without.
pub struct Limited<'a>(&'a Lua);

impl<'a> Limited<'a> {
    pub fn new(lua: &'a Lua) -> Limited<'a> {
        set_limit(lua, MEMORY_MAX_BYTES);
        Limited(lua)
    }

    /// For a call whose last argument is [`LimitFromHere`].
    pub fn soon(lua: &'a Lua) -> Limited<'a> {
        Limited(lua)
    }
}

/// An argument of a call, nil, that puts the limit in force: what is given to Lua before it need not be protected from
/// a lack of memory, which takes longer.
pub struct LimitFromHere;

impl IntoLua for LimitFromHere {
    fn into_lua(self, lua: &Lua) -> Result<Value> {
        set_limit(lua, MEMORY_MAX_BYTES);
        Ok(Value::Nil)
    }
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        set_limit(self.0, 0);
    }
}

/// Lifts the limit as long as it lives.
pub struct Unlimited(Lua);

impl Unlimited {
    fn new(lua: &Lua) -> Unlimited {
        set_limit(lua, 0);
        Unlimited(lua.clone())
    }
}

impl Drop for Unlimited {
    fn drop(&mut self) {
        set_limit(&self.0, MEMORY_MAX_BYTES);
    }
}

fn set_limit(lua: &Lua, bytes: usize) {
    // Only a state with somebody else's allocator refuses.
    let _ = lua.set_memory_limit(bytes);
}

const REPL_NONE: i64 = 0;
const REPL_AOF: i64 = 1;
const REPL_REPLICAS: i64 = 2;

/// The arguments, if they can be a command's.
fn checked(words: &Words) -> std::result::Result<Argv<'_>, &'static str> {
    match words {
        Words { is_malformed: true, .. } => {
            Err("Lua redis lib command arguments must be strings or integers")
        }
        Words { argv, .. } if argv.is_empty() => {
            Err("Please specify at least one argument for this redis lib call")
        }
        Words { argv, .. } => Ok(argv.as_argv()),
    }
}

fn acl_check(words: &Words) -> Result<bool> {
    let argv = checked(words).map_err(|text| errors::reply(text.as_bytes(), false))?;
    let allowed = HOST.is_set().then(|| HOST.with(|host| host.may_call(argv))).flatten();
    allowed.ok_or_else(|| errors::reply(b"Invalid command passed to redis.acl_check_cmd()", false))
}

/// Compiles a text to a function in an environment, for loadstring and load: `nil` and a message when it is no Lua.
fn compile(lua: &Lua, env: Table, text: &Value, name: &Value) -> Result<(Option<Function>, Option<String>)> {
    let Some(text) = lua.coerce_string(text.clone())? else {
        return Err(errors::argument_type(lua, 1, "loadstring", "string", Some(text)));
    };
    let name = lua.coerce_string(name.clone())?.unwrap_or_else(|| text.clone());
    match compile_chunk(lua, &text.as_bytes(), &name.to_string_lossy(), env) {
        Ok(function) => Ok((Some(function), None)),
        Err(error) => Ok((None, Some(errors::plain_text(&error)))),
    }
}

/// Compiles Lua code, never bytecode. The collector stands still meanwhile: this parser does not keep the name of
/// what it parses alive (CVE-2025-49844).
pub fn compile_chunk(lua: &Lua, code: &[u8], name: &str, env: Table) -> Result<Function> {
    let name = name.split('\0').next().unwrap_or_default();
    lua.gc_stop();
    let function =
        lua.load(code).set_name(name).set_mode(ChunkMode::Text).set_environment(env).into_function();
    lua.gc_restart();
    function
}

/// Where an error came from, for the prelude's handler: source and line of the innermost Lua code that is not ours.
fn place(lua: &Lua) -> (Option<String>, Option<usize>) {
    // 0 is this function and 1 the handler; a C function such as `error` is looked through.
    let is_c = lua.inspect_stack(2, |debug| debug.source().what == "C").unwrap_or(false);
    innermost(lua, if is_c { 3 } else { 2 })
}

/// Source and line of the first function from a level of the stack on that is not the prelude's.
fn innermost(lua: &Lua, mut level: usize) -> (Option<String>, Option<usize>) {
    loop {
        let at = lua.inspect_stack(level, |debug| {
            (debug.source().source.unwrap_or_default().into_owned(), debug.current_line())
        });
        match at {
            Some((source, line)) if source != super::PRELUDE_NAME => return (Some(source), line),
            Some(_) => level += 1,
            None => return (None, None),
        }
    }
}

fn missing(lua: &Lua, args: &MultiValue) -> Error {
    match args.get(1).map(|name| lua.coerce_string(name.clone())) {
        Some(Ok(Some(name))) => errors::text(
            lua,
            format_args!(
                "Script attempted to access nonexistent global variable '{}'",
                name.to_string_lossy()
            ),
        ),
        _ => errors::text(lua, "Second argument to luaProtectedTableError must be a string or number"),
    }
}

fn log_line(lua: &Lua, args: &MultiValue) -> Result<()> {
    if args.len() < 2 {
        return Err(errors::reply(b"redis.log() requires two arguments or more.", false));
    }
    let Some(level) = lua.coerce_number(args[0].clone())? else {
        return Err(errors::reply(b"First argument must be a number (log level).", false));
    };
    let level =
        log::Level::from_number(level as i64).ok_or_else(|| errors::reply(b"Invalid debug level.", false))?;
    let mut line = Vec::new();
    for (i, arg) in args.iter().enumerate().skip(1) {
        if let Some(text) = lua.coerce_string(arg.clone())? {
            if i > 1 {
                line.push(b' ');
            }
            line.extend_from_slice(&text.as_bytes());
        }
    }
    log::line(level, &String::from_utf8_lossy(&line));
    Ok(())
}

fn sha1hex(lua: &Lua, args: &MultiValue) -> Result<Value> {
    if args.len() != 1 {
        return Err(errors::reply(b"wrong number of arguments", false));
    }
    let text = lua.coerce_string(args[0].clone())?;
    let sha = text.map_or_else(|| Sha::of(b""), |text| Sha::of(&text.as_bytes()));
    lua.create_string(sha.as_bytes()).map(Value::String)
}

fn status_reply(lua: &Lua, args: &MultiValue) -> Result<Value> {
    match (args.len(), args.front()) {
        (1, Some(text @ Value::String(_))) => {
            let table = lua.create_table()?;
            table.raw_set("ok", text)?;
            Ok(Value::Table(table))
        }
        _ => errors::to_value(lua, &errors::reply(b"wrong number or type of arguments", false)),
    }
}

/// `lua_tonumber`: 0 for what is no number.
fn number(lua: &Lua, args: &MultiValue) -> Result<f64> {
    Ok(lua.coerce_number(args[0].clone())?.unwrap_or(0.0))
}

fn set_resp(lua: &Lua, args: &MultiValue) -> Result<()> {
    if args.len() != 1 {
        return Err(errors::reply(b"redis.setresp() requires one argument.", false));
    }
    let resp = match number(lua, args)? as i64 {
        2 => Resp::V2,
        3 => Resp::V3,
        _ => return Err(errors::reply(b"RESP version must be 2 or 3.", false)),
    };
    if HOST.is_set() {
        HOST.with(|host| host.set_resp(resp));
    }
    Ok(())
}

fn set_repl(lua: &Lua, args: &MultiValue) -> Result<()> {
    if args.len() != 1 {
        return Err(errors::reply(b"redis.set_repl() requires one argument.", false));
    }
    let flags = number(lua, args)? as i64;
    if flags & !(REPL_AOF | REPL_REPLICAS) != 0 {
        return Err(errors::reply(
            b"Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
            false,
        ));
    }
    if HOST.is_set() {
        HOST.with(|host| host.set_propagated(flags & REPL_AOF != 0, flags & REPL_REPLICAS != 0));
    }
    Ok(())
}

fn text_of(lua: &Lua, value: &Value) -> Option<Vec<u8>> {
    let text = lua.coerce_string(value.clone()).ok()??;
    Some(text.as_bytes().to_vec())
}

fn positional_arguments(
    lua: &Lua,
    args: &MultiValue,
) -> std::result::Result<(FunctionSpec, Function), String> {
    let name = text_of(lua, &args[0]).ok_or("first argument to redis.register_function must be a string")?;
    let Value::Function(callback) = &args[1] else {
        return Err("second argument to redis.register_function must be a function".into());
    };
    let spec = FunctionSpec { name, description: None, flags: ScriptFlags::empty() };
    Ok((spec, callback.clone()))
}

fn named_arguments(lua: &Lua, table: &Value) -> std::result::Result<(FunctionSpec, Function), String> {
    let Value::Table(table) = table else {
        return Err(
            "calling redis.register_function with a single argument is only applicable to Lua table \
                    (representing named arguments)."
                .into(),
        );
    };
    let (mut name, mut description, mut callback, mut flags) = (None, None, None, ScriptFlags::empty());
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        let key = text_of(lua, &key)
            .ok_or("named argument key given to redis.register_function is not a string")?;
        let text = |what: &str| {
            let text = text_of(lua, &value);
            text.ok_or_else(|| format!("{what} argument given to redis.register_function must be a string"))
        };
        match &*key.to_ascii_lowercase() {
            b"function_name" => name = Some(text("function_name")?),
            b"description" => description = Some(text("description")?),
            b"callback" => match &value {
                Value::Function(function) => callback = Some(function.clone()),
                _ => {
                    return Err(
                        "callback argument given to redis.register_function must be a function".into()
                    );
                }
            },
            b"flags" => {
                match &value {
                    Value::Table(list) => flags = function_flags(lua, list).ok_or("unknown flag given")?,
                    _ => {
                        return Err("flags argument to redis.register_function must be a table representing function \
                                flags"
                        .into());
                    }
                }
            }
            _ => return Err("unknown argument given to redis.register_function".into()),
        }
    }
    let name = name.ok_or("redis.register_function must get a function name argument")?;
    let callback = callback.ok_or("redis.register_function must get a callback argument")?;
    Ok((FunctionSpec { name, description, flags }, callback))
}

fn function_flags(lua: &Lua, list: &Table) -> Option<ScriptFlags> {
    let mut flags = ScriptFlags::empty();
    for i in 1.. {
        match list.raw_get(i).ok()? {
            Value::Nil => break,
            name => flags |= ScriptFlags::named(&text_of(lua, &name)?.to_ascii_lowercase())?,
        }
    }
    Some(flags)
}
