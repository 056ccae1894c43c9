//! The debugger's hook: where a script stops, and what can be looked at and run there.

use super::bridge::{Bridge, HOST, compile_chunk};
use super::convert::number_text;
use super::errors;
use super::stack::Words;
use crate::script::debugger::{Act, Debugger};
use crate::script::engine::Verdict;
use mlua::debug::{Debug, DebugEvent};
use mlua::{HookTriggers, Lua, MultiValue, Result, Table, Value, VmState};
use protocol::ArgVec;
use std::rc::Rc;

/// Tables within tables are shown so deep.
const DEPTH_MAX: usize = 10;
const SCRIPT: &str = "user_script";

/// Does something with the session of the script that runs, if it is debugged.
pub fn with_debugger<R>(f: impl FnOnce(&mut Debugger) -> R) -> Option<R> {
    if !HOST.is_set() {
        return None;
    }
    HOST.with(|host| host.debugger().map(f))
}

impl Bridge {
    /// Lets the hook run before every line, too. `env` is what the script sees.
    pub fn install_line_hook(self: &Rc<Bridge>, lua: &Lua, env: Table) -> Result<()> {
        self.is_armed.set(false);
        let bridge = self.clone();
        let triggers =
            HookTriggers::new().every_line().every_nth_instruction(super::bridge::TICK_INSTRUCTIONS);
        lua.set_global_hook(triggers, move |lua, at| match at.event() {
            DebugEvent::Line => bridge.at_line(lua, at, &env),
            _ => bridge.tick(lua),
        })
    }

    fn at_line(&self, lua: &Lua, at: &Debug<'_>, env: &Table) -> Result<VmState> {
        let is_script = at.source().short_src.is_some_and(|source| source.contains(SCRIPT));
        let line = at.current_line().unwrap_or(0);
        if !is_script || with_debugger(|debugger| debugger.arrive(line)) != Some(true) {
            return Ok(VmState::Continue);
        }
        loop {
            let Some(act) = with_debugger(Debugger::next_act) else { return Ok(VmState::Continue) };
            match act {
                Act::Done => {}
                Act::Wait if HOST.with(|host| host.tick()) == Verdict::Abort => {
                    return self.abort(lua);
                }
                Act::Wait => {}
                Act::Resume => return Ok(VmState::Continue),
                Act::Abort => return Err(errors::reply(b"script aborted for user request", false)),
                Act::Fail(text) => return Err(errors::reply(text.as_bytes(), false)),
                Act::Eval(code) => {
                    let line = match self.eval(lua, &code, env) {
                        Ok(value) => [b"<retval> ", &*shown(&value, 0)].concat(),
                        Err(error) => format!("<error> {}", errors::plain_text(&error)).into_bytes(),
                    };
                    answer(line);
                }
                Act::Call(words) => {
                    let argv = words.iter().map(Vec::as_slice).collect::<ArgVec>();
                    with_debugger(|debugger| debugger.set_stepping(true));
                    // Whatever comes of it has been logged.
                    let _ = self.call(lua, &Words::from(argv), false);
                    with_debugger(|debugger| {
                        debugger.set_stepping(false);
                        debugger.send();
                    });
                }
                Act::Print(name) => answer(print(env, name.as_deref())),
                Act::Trace => trace(lua),
            }
        }
    }

    /// Runs a text as an expression, or else as a statement.
    fn eval(&self, lua: &Lua, code: &[u8], env: &Table) -> Result<Value> {
        let expression = [b"return ", code].concat();
        compile_chunk(lua, &expression, "@ldb_eval", env.clone())
            .or_else(|_| compile_chunk(lua, code, "@ldb_eval", env.clone()))?
            .call(())
    }
}

fn answer(line: Vec<u8>) {
    with_debugger(|debugger| {
        debugger.log_value(line);
        debugger.send();
    });
}

/// There is no way to a local variable that would not be a way out of the sandbox.
fn print(env: &Table, name: Option<&[u8]>) -> Vec<u8> {
    match name {
        Some(name @ (b"KEYS" | b"ARGV")) => match env.get::<Value>(&*String::from_utf8_lossy(name)) {
            Ok(value) => [b"<value> ", &*shown(&value, 0)].concat(),
            Err(_) => b"No such variable.".to_vec(),
        },
        Some(_) => b"No such variable. Local ones cannot be shown.".to_vec(),
        None => b"Local variables cannot be shown.".to_vec(),
    }
}

fn trace(lua: &Lua) {
    let mut level = 0;
    let mut frames = Vec::new();
    while let Some(frame) = lua.inspect_stack(level, |at| {
        let is_script = at.source().short_src.is_some_and(|source| source.contains(SCRIPT));
        is_script.then(|| (at.names().name.map(|name| name.into_owned()), at.current_line().unwrap_or(0)))
    }) {
        frames.extend(frame.map(|frame| (level, frame)));
        level += 1;
    }
    with_debugger(|debugger| {
        for (level, (name, line)) in frames {
            let place = if level == 0 { "In" } else { "From" };
            debugger.log(&format!("{place} {}:", name.as_deref().unwrap_or("top level")));
            debugger.log_source(line);
        }
        debugger.send();
    });
}

/// redis.debug: shows values in the debugger's console.
pub fn log_values(values: &MultiValue) {
    let values: Vec<Vec<u8>> = values.iter().map(|value| shown(value, 0)).collect();
    with_debugger(|debugger| {
        let head = format!("<debug> line {}: ", debugger.current_line());
        debugger.log_value([head.as_bytes(), &values.join(&b", "[..])].concat());
    });
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    crate::monitor::append_quoted(&mut out, text);
    out
}

/// A value as the debugger shows it.
fn shown(value: &Value, depth: usize) -> Vec<u8> {
    if depth == DEPTH_MAX {
        return b"<max recursion level reached! Nested table?>".to_vec();
    }
    match value {
        Value::Nil => b"nil".to_vec(),
        Value::Boolean(flag) => flag.to_string().into_bytes(),
        Value::Integer(n) => n.to_string().into_bytes(),
        Value::Number(n) => number_text(*n),
        Value::String(text) => quoted(&text.as_bytes()),
        Value::Table(table) => shown_table(table, depth + 1),
        other => format!("\"{}@{:p}\"", other.type_name(), other.to_pointer()).into_bytes(),
    }
}

fn shown_table(table: &Table, depth: usize) -> Vec<u8> {
    let pairs: Vec<(Value, Value)> = table.pairs::<Value, Value>().filter_map(Result::ok).collect();
    let is_at = |(at, (key, _)): (usize, &(Value, Value))| match key {
        Value::Integer(n) => *n == at as i64 + 1,
        Value::Number(n) => *n == at as f64 + 1.0,
        _ => false,
    };
    let is_array = pairs.iter().enumerate().all(is_at);
    let parts: Vec<Vec<u8>> = pairs
        .iter()
        .map(|(key, value)| match is_array {
            true => shown(value, depth),
            false => [b"[", &*shown(key, depth), b"]=", &*shown(value, depth)].concat(),
        })
        .collect();
    [b"{", &*parts.join(&b"; "[..]), b"}"].concat()
}

/// A reply as the debugger shows it: `bytes` begin with it. Returns what comes after it.
pub fn shown_reply<'b>(bytes: &'b [u8], out: &mut Vec<u8>) -> &'b [u8] {
    let end = memchr::memmem::find(bytes, b"\r\n").unwrap_or(bytes.len());
    let (line, rest) = (&bytes[..end], bytes.get(end + 2..).unwrap_or_default());
    let Some((&kind, text)) = line.split_first() else { return rest };
    let len = protocol::number::parse_i64(text);
    match kind {
        b'$' | b'=' if len.is_some_and(|len| len >= 0) => {
            let len = (len.unwrap_or(0) as usize).min(rest.len());
            out.extend(quoted(&rest[..len]));
            return rest.get(len + 2..).unwrap_or_default();
        }
        b'$' | b'*' if len == Some(-1) => out.extend_from_slice(b"NULL"),
        b'_' => out.extend_from_slice(b"(null)"),
        b'#' => out.extend_from_slice(if text == b"t" { b"#true" } else { b"#false" }),
        b',' => out.extend([b"(double) ", text].concat()),
        b'*' | b'~' | b'%' | b'>' => return shown_items(kind, len.unwrap_or(0), rest, out),
        b':' | b'(' => out.extend_from_slice(text),
        _ => out.extend(quoted(line)),
    }
    rest
}

fn shown_items<'b>(kind: u8, count: i64, mut rest: &'b [u8], out: &mut Vec<u8>) -> &'b [u8] {
    let (open, close): (&[u8], &[u8]) = match kind {
        b'~' => (b"~(", b")"),
        b'%' => (b"{", b"}"),
        _ => (b"[", b"]"),
    };
    out.extend_from_slice(open);
    for item in 0..count.max(0) {
        if item > 0 {
            out.push(b',');
        }
        rest = shown_reply(rest, out);
        if kind == b'%' {
            out.extend_from_slice(b" => ");
            rest = shown_reply(rest, out);
        }
    }
    out.extend_from_slice(close);
    rest
}
