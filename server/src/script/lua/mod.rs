//! The engine made of Lua 5.1, by mlua.
//!
//! One state per thread. What scripts can reach is made by `prelude.lua`: read-only views of the libraries, and
//! replacements of the functions that could look behind them. Every script is compiled once per state. There are no
//! globals of their own, so nothing passes from one run to the next.
//!
//! **Invariant:** no bytecode is ever loaded, the collector stands still while code is compiled, and memory is
//! limited; so the bugs known of this parser and these libraries have no way in.

mod bridge;
mod collector;
mod convert;
mod debug;
mod errors;
mod libs;
mod random;
mod stack;

use super::Scripts;
use super::cache::{Script, Sha};
use super::engine::{Code, Ended, Engine, Host, Job};
use super::libraries::{FunctionSpec, Library};
use bridge::{Bridge, HOST, LimitFromHere, Limited, Loading, compile_chunk};
use convert::{ErrorTable, ReplyWriter};
use foldhash::{HashMap, HashMapExt};
use mlua::{Either, Function, Lua, LuaOptions, StdLib, Table, Value, Variadic};
use protocol::Argv;
use stack::Returned;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How the prelude's own functions are known in stack frames.
const PRELUDE_NAME: &str = "=prelude";

/// The shared figure is brought up to date when it is wrong by so much.
const COUNT_STEP_BYTES: usize = 4096;

/// Scripts with no more keys, arguments, and bytes in each than this are handed them one by one.
const FEW_KEYS: usize = 2;
const FEW_ARGS: usize = 16;
const FEW_BYTES: usize = 1024;

/// Up to so many arguments there is a function that takes just as many.
const COUNTED_ARGS: usize = 3;

/// Scripts and functions live in separate worlds of the same state.
struct World {
    view: Table,
    run_script: Function,
    run_with_few: [FewKeys; FEW_KEYS + 1],
    run_function: Function,
    load_library: Function,
    sweep: Function,
}

/// What runs scripts with a certain number of keys.
struct FewKeys {
    /// By the number of arguments.
    counted: [Function; COUNTED_ARGS + 1],
    any: Function,
}

impl FewKeys {
    fn with(&self, args: usize) -> &Function {
        self.counted.get(args).unwrap_or(&self.any)
    }
}

pub struct Interpreter {
    lua: Lua,
    bridge: Rc<Bridge>,
    for_scripts: World,
    /// Made with the first library.
    for_functions: Option<World>,
    libraries: Table,
    scripts: HashMap<Sha, Compiled>,
    scripts_epoch: u64,
    /// By library and name.
    functions: HashMap<u64, HashMap<Vec<u8>, Function>>,
    libraries_epoch: u64,
    /// Bytes held when the shared figure was last brought up to date.
    counted_bytes: usize,
}

struct Compiled {
    function: Function,
    /// It can get at a library's own table, and so may leave something in a view.
    reaches_tables: bool,
}

impl Interpreter {
    pub fn new() -> Interpreter {
        Self::make().expect("a fresh Lua state has memory enough for the prelude")
    }

    fn make() -> mlua::Result<Interpreter> {
        let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, LuaOptions::default())?;
        let bridge = Rc::new(Bridge::new(&lua)?);
        let libraries = libs::all(&lua)?;
        let for_scripts = World::new(&lua, &bridge, &libraries, "script")?;
        bridge.install_hook(&lua)?;
        bridge.collector.pace(&lua);
        Ok(Interpreter {
            lua,
            bridge,
            for_scripts,
            for_functions: None,
            libraries,
            scripts: HashMap::new(),
            scripts_epoch: 0,
            functions: HashMap::new(),
            libraries_epoch: 0,
            counted_bytes: 0,
        })
    }

    /// Compiles a script unless this state has it.
    fn know(&mut self, script: &Arc<Script>) -> Result<(), Vec<u8>> {
        if self.scripts.contains_key(&script.sha) {
            return Ok(());
        }
        let function = compile_chunk(&self.lua, script.code(), "@user_script", self.for_scripts.view.clone());
        let function = function.map_err(|error| {
            format!("Error compiling script (new function): {}", errors::plain_text(&error)).into_bytes()
        })?;
        let reaches_tables = reaches_tables(script.code());
        self.scripts.insert(script.sha, Compiled { function, reaches_tables });
        Ok(())
    }

    /// Runs a library's code. Its functions are returned with their specs.
    fn load_code(
        &mut self,
        code: &[u8],
        timeout_ms: Option<u64>,
    ) -> Result<Vec<(FunctionSpec, Function)>, Vec<u8>> {
        let world = match self.for_functions.take() {
            Some(world) => world,
            None => World::new(&self.lua, &self.bridge, &self.libraries, "function")
                .map_err(|error| errors::plain_text(&error).into_bytes())?,
        };
        let world = &*self.for_functions.insert(world);
        let function = compile_chunk(&self.lua, code, "@user_function", world.view.clone());
        let function = function.map_err(|error| {
            format!("Error compiling function: {}", errors::plain_text(&error)).into_bytes()
        })?;
        let deadline = timeout_ms.map(|ms| crate::clock::monotonic() + Duration::from_millis(ms));
        *self.bridge.loading.borrow_mut() = Some(Loading { functions: Vec::new(), deadline });
        let result = {
            let _limited = Limited::new(&self.lua);
            world.load_library.call::<(bool, Value)>(function)
        };
        let loading = self.bridge.loading.borrow_mut().take().unwrap_or_default();
        self.disarm();
        let text = match result {
            Ok((true, _)) => return Ok(loading.functions),
            Ok((false, Value::Table(error))) => ErrorTable::read(&error, &self.bridge.names).text,
            Ok((false, Value::String(text))) => [b"ERR ", &*text.as_bytes()].concat(),
            Ok(_) => b"ERR".to_vec(),
            Err(error) => errors::plain_text(&error).into_bytes(),
        };
        Err([b"Error registering functions: ", &text[..]].concat())
    }

    fn function(&mut self, library: &Arc<Library>, name: &[u8]) -> Result<Function, Vec<u8>> {
        if !self.functions.contains_key(&library.id) {
            let loaded = self.load_code(library.code(), None)?;
            let by_name = loaded.into_iter().map(|(spec, function)| (spec.name, function)).collect();
            self.functions.insert(library.id, by_name);
        }
        let found = self.functions.get(&library.id).and_then(|functions| functions.get(name));
        found.cloned().ok_or_else(|| b"Function not found".to_vec())
    }

    fn disarm(&self) {
        if self.bridge.is_armed.get() {
            // Only an absurd lack of memory keeps a hook from being set, and then the next run fails too.
            let _ = self.bridge.install_hook(&self.lua);
        }
    }

    fn array(&self, args: Argv<'_>) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(args.len(), 0)?;
        args.iter().try_for_each(|arg| table.raw_push(self.lua.create_string(arg)?))?;
        Ok(table)
    }

    /// Keys and arguments as they are, where there are few: the tables are then made in Lua, without a handle for each
    /// string on the way. The last one limits the memory.
    fn few<'a>(job: &Job<'a>) -> Option<Variadic<Either<&'a str, LimitFromHere>>> {
        if job.keys.len() > FEW_KEYS || job.args.len() > FEW_ARGS || matches!(job.code, Code::Function(..)) {
            return None;
        }
        let mut words = Variadic::with_capacity(job.keys.len() + job.args.len() + 1);
        for word in job.keys.iter().chain(job.args.iter()) {
            // Any bytes will do for Lua, but those of a `str` only can be given to it directly.
            let text = (word.len() <= FEW_BYTES).then(|| std::str::from_utf8(word).ok()).flatten()?;
            words.push(Either::Left(text));
        }
        words.push(Either::Right(LimitFromHere));
        Some(words)
    }

    fn started(&mut self, host: &mut dyn Host, job: &Job<'_>) -> Result<Ended, Vec<u8>> {
        let of_library;
        let (function, sweeps, name) = match job.code {
            Code::Script(script) => {
                self.know(script)?;
                let compiled = &self.scripts[&script.sha];
                (&compiled.function, compiled.reaches_tables, script.sha.as_bytes())
            }
            Code::Function(library, name) => {
                of_library = self.function(library, name)?;
                (&of_library, true, name)
            }
        };
        let (world, run) = match (job.code, &self.for_functions) {
            (Code::Function(..), Some(world)) => (world, &world.run_function),
            _ => (&self.for_scripts, &self.for_scripts.run_script),
        };
        let is_debugged = host.debugger().is_some();
        let result = (|| {
            if let (Some(words), false) = (Self::few(job), is_debugged) {
                let _limited = Limited::soon(&self.lua);
                let run = world.run_with_few[job.keys.len()].with(job.args.len());
                return HOST.set(host, || run.call::<(bool, Returned)>((function, words)));
            }
            let (keys, args) = (self.array(job.keys)?, self.array(job.args)?);
            let _limited = Limited::new(&self.lua);
            if is_debugged {
                self.bridge.install_line_hook(&self.lua, world.view.clone())?;
            }
            HOST.set(host, || run.call::<(bool, Returned)>((function, keys, args)))
        })();
        if sweeps {
            let _ = world.sweep.call::<()>(());
        }
        let aborted = self.bridge.is_armed.get();
        if is_debugged {
            let _ = self.bridge.install_hook(&self.lua);
        }
        self.disarm();
        if aborted {
            return Ok(Ended::Aborted { at: self.bridge.ended_at.take() });
        }
        Ok(match result {
            Ok((true, Returned::Text(text))) => {
                host.writer().bulk(&text);
                Ended::Replied
            }
            Ok((true, Returned::Value(value))) => self.written(host, value),
            Ok((false, Returned::Value(Value::Table(error)))) => self.failed(&error, name),
            Ok((false, Returned::Value(Value::String(text)))) => execution_failure(name, &text.as_bytes()),
            Ok((false, Returned::Text(text))) => execution_failure(name, &text),
            Ok((false, Returned::Value(_))) => execution_failure(name, b"execution failure"),
            Err(error) => Ended::Failed {
                text: [b"ERR Error running script ", name, b", ", errors::plain_text(&error).as_bytes()]
                    .concat(),
                counted: false,
            },
        })
    }

    fn written(&self, host: &mut dyn Host, value: Value) -> Ended {
        let script_resp = host.resp();
        let mut reply = host.writer();
        let start = reply.out.len();
        let mut writer = ReplyWriter {
            names: &self.bridge.names,
            reply: &mut reply,
            script_resp,
            uncounted: Vec::new(),
            has_error: false,
        };
        let result = writer.value(value, 0);
        let (uncounted, has_error) = (std::mem::take(&mut writer.uncounted), writer.has_error);
        match result {
            Ok(()) => {
                if has_error {
                    host.count_errors(uncounted);
                }
                Ended::Replied
            }
            Err(error) => {
                host.writer().out.truncate(start);
                Ended::Failed {
                    text: [b"ERR ", errors::plain_text(&error).as_bytes()].concat(),
                    counted: false,
                }
            }
        }
    }

    fn failed(&self, error: &Table, name: &[u8]) -> Ended {
        let error = ErrorTable::read(error, &self.bridge.names);
        let mut text = error.text;
        if let (Some(source), Some(line)) = (&error.source, &error.line) {
            text.extend([b" script: ", name, b", on ", source, b":", line, b"."].concat());
        }
        Ended::Failed { text, counted: error.counted }
    }
}

fn execution_failure(name: &[u8], text: &[u8]) -> Ended {
    const SHOWN_BYTES: usize = 100;
    let text = &text[..text.len().min(SHOWN_BYTES)];
    Ended::Failed { text: [b"ERR Error running script ", name, b", ", text].concat(), counted: false }
}

impl Engine for Interpreter {
    fn compile(&mut self, script: &Arc<Script>) -> Result<(), Vec<u8>> {
        self.know(script)
    }

    fn load(&mut self, code: &[u8], timeout_ms: Option<u64>) -> Result<Vec<FunctionSpec>, Vec<u8>> {
        let loaded = self.load_code(code, timeout_ms)?;
        Ok(loaded.into_iter().map(|(spec, _)| spec).collect())
    }

    fn run(&mut self, host: &mut dyn Host, job: &Job<'_>) -> Ended {
        let ended = self.started(host, job);
        self.bridge.collector.tidy(&self.lua);
        ended.unwrap_or_else(|text| Ended::Failed { text: [b"ERR ", &text[..]].concat(), counted: false })
    }

    fn catch_up(&mut self, scripts: &Scripts) {
        let (cached, libraries) = (scripts.cache.epoch(), scripts.libraries.epoch());
        if cached != self.scripts_epoch {
            self.scripts_epoch = cached;
            self.scripts.clear();
            let _ = self.lua.gc_collect();
        }
        if libraries != self.libraries_epoch {
            self.libraries_epoch = libraries;
            let set = scripts.libraries.current();
            self.functions.retain(|id, _| set.iter().any(|library| library.id == *id));
            let _ = self.lua.gc_collect();
        }
        let bytes = self.lua.used_memory();
        if bytes.abs_diff(self.counted_bytes) < COUNT_STEP_BYTES {
            return;
        }
        // Wraps around on the way down, and back on the way up.
        let grown = (bytes as u64).wrapping_sub(self.counted_bytes as u64);
        scripts.vm_bytes.fetch_add(grown, std::sync::atomic::Ordering::Relaxed);
        self.counted_bytes = bytes;
    }
}

impl World {
    fn new(lua: &Lua, bridge: &Rc<Bridge>, libraries: &Table, kind: &str) -> mlua::Result<World> {
        let prelude = lua.load(include_str!("prelude.lua")).set_name(PRELUDE_NAME).into_function()?;
        let world: Table = prelude.call((bridge.table(lua)?, lua.globals(), libraries, kind))?;
        let runner: Function = world.get("runner")?;
        let few = |keys: usize| -> mlua::Result<FewKeys> {
            let counted = |args: usize| runner.call((keys, args));
            Ok(FewKeys {
                counted: [counted(0)?, counted(1)?, counted(2)?, counted(3)?],
                any: runner.call(keys)?,
            })
        };
        Ok(World {
            view: world.get("view")?,
            run_script: world.get("run_script")?,
            run_with_few: [few(0)?, few(1)?, few(2)?],
            run_function: world.get("run_function")?,
            load_library: world.get("load_library")?,
            sweep: world.get("sweep")?,
        })
    }
}

/// Whether code can name the table library, by itself or through what shows all globals.
fn reaches_tables(code: &[u8]) -> bool {
    [&b"table"[..], b"_G", b"env", b"pairs", b"next"]
        .iter()
        .any(|word| memchr::memmem::find(code, word).is_some())
}
