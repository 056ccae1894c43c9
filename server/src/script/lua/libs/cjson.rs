//! `cjson`: JSON with the choices, settings and errors of lua-cjson 2.1.

use super::CheckedArgs;
use super::json_text::{append_g, append_quoted, strtod};
use crate::script::lua::errors;
use mlua::{LightUserData, Lua, MultiValue, Result, Table, Value};
use std::cell::Cell;
use std::rc::Rc;

/// Nesting beyond this is refused whatever the settings say: the original is bounded by Lua's stack.
const DEPTH_MAX: i32 = 1000;

/// The settings, shared by the functions of one `cjson` table.
struct Settings {
    sparse_convert: Cell<bool>,
    sparse_ratio: Cell<i32>,
    sparse_safe: Cell<i32>,
    encode_max_depth: Cell<i32>,
    decode_max_depth: Cell<i32>,
    precision: Cell<i32>,
    keep_buffer: Cell<bool>,
    /// Infinity and nan: 0 off, 1 on, 2 as null.
    encode_invalid: Cell<i32>,
    decode_invalid: Cell<bool>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sparse_convert: Cell::new(false),
            sparse_ratio: Cell::new(2),
            sparse_safe: Cell::new(10),
            encode_max_depth: Cell::new(DEPTH_MAX),
            decode_max_depth: Cell::new(DEPTH_MAX),
            precision: Cell::new(14),
            keep_buffer: Cell::new(true),
            encode_invalid: Cell::new(0),
            decode_invalid: Cell::new(true),
        }
    }
}

pub fn library(lua: &Lua) -> Result<Table> {
    let library = lua.create_table()?;
    let settings = Rc::new(Settings::default());
    library.set("encode", with(lua, &settings, encode)?)?;
    library.set("decode", with(lua, &settings, decode)?)?;
    library.set("encode_sparse_array", with(lua, &settings, encode_sparse_array)?)?;
    library.set(
        "encode_max_depth",
        with(lua, &settings, |lua, s, args| {
            integer_setting(lua, args, "encode_max_depth", &s.encode_max_depth, 1, i32::MAX)
        })?,
    )?;
    library.set(
        "decode_max_depth",
        with(lua, &settings, |lua, s, args| {
            integer_setting(lua, args, "decode_max_depth", &s.decode_max_depth, 1, i32::MAX)
        })?,
    )?;
    library.set(
        "encode_number_precision",
        with(lua, &settings, |lua, s, args| {
            integer_setting(lua, args, "encode_number_precision", &s.precision, 1, 14)
        })?,
    )?;
    library.set(
        "encode_keep_buffer",
        with(lua, &settings, |lua, s, args| switch(lua, args, "encode_keep_buffer", 1, &s.keep_buffer))?,
    )?;
    library.set(
        "decode_invalid_numbers",
        with(lua, &settings, |lua, s, args| {
            switch(lua, args, "decode_invalid_numbers", 1, &s.decode_invalid)
        })?,
    )?;
    library.set("encode_invalid_numbers", with(lua, &settings, encode_invalid_numbers)?)?;
    library.set("new", lua.create_function(|lua, _: MultiValue| self::library(lua))?)?;
    library.set("null", Value::LightUserData(LightUserData(std::ptr::null_mut())))?;
    library.set("_NAME", "cjson")?;
    library.set("_VERSION", "2.1.0")?;
    Ok(library)
}

fn with<R: mlua::IntoLuaMulti>(
    lua: &Lua,
    settings: &Rc<Settings>,
    f: impl Fn(&Lua, &Settings, &MultiValue) -> Result<R> + 'static,
) -> Result<mlua::Function> {
    let settings = settings.clone();
    lua.create_function(move |lua, args: MultiValue| f(lua, &settings, &args))
}

fn at_most(lua: &Lua, args: &MultiValue, function: &str, most: usize) -> Result<()> {
    if args.len() > most {
        return Err(errors::argument(lua, most + 1, function, "found too many arguments"));
    }
    Ok(())
}

fn integer_setting(
    lua: &Lua,
    args: &MultiValue,
    function: &'static str,
    setting: &Cell<i32>,
    min: i32,
    max: i32,
) -> Result<i32> {
    at_most(lua, args, function, 1)?;
    set_integer(lua, args, function, 1, setting, (min, max))
}

fn set_integer(
    lua: &Lua,
    args: &MultiValue,
    function: &'static str,
    n: usize,
    setting: &Cell<i32>,
    (min, max): (i32, i32),
) -> Result<i32> {
    if args.get(n - 1).is_some_and(|value| !value.is_nil()) {
        let value = CheckedArgs { lua, args, function }.number(n)? as i64 as i32;
        if !(min..=max).contains(&value) {
            let what = format!("expected integer between {min} and {max}");
            return Err(errors::argument(lua, 1, function, what));
        }
        setting.set(value);
    }
    Ok(setting.get())
}

fn switch(
    lua: &Lua,
    args: &MultiValue,
    function: &'static str,
    most: usize,
    setting: &Cell<bool>,
) -> Result<bool> {
    at_most(lua, args, function, most)?;
    match args.front() {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(value)) => setting.set(*value),
        Some(_) => setting.set(option(lua, args, function, &["off", "on"])? == 1),
    }
    Ok(setting.get())
}

/// `luaL_checkoption`
fn option(lua: &Lua, args: &MultiValue, function: &'static str, options: &[&str]) -> Result<usize> {
    let text = CheckedArgs { lua, args, function }.string(1)?.to_string_lossy();
    let found = options.iter().position(|option| *option == text);
    found.ok_or_else(|| errors::argument(lua, 1, function, format!("invalid option '{text}'")))
}

fn encode_sparse_array(lua: &Lua, s: &Settings, args: &MultiValue) -> Result<(bool, i32, i32)> {
    const NAME: &str = "encode_sparse_array";
    let convert = switch(lua, args, NAME, 3, &s.sparse_convert)?;
    let ratio = set_integer(lua, args, NAME, 2, &s.sparse_ratio, (0, i32::MAX))?;
    let safe = set_integer(lua, args, NAME, 3, &s.sparse_safe, (0, i32::MAX))?;
    Ok((convert, ratio, safe))
}

fn encode_invalid_numbers(lua: &Lua, s: &Settings, args: &MultiValue) -> Result<Value> {
    const NAME: &str = "encode_invalid_numbers";
    at_most(lua, args, NAME, 1)?;
    match args.front() {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(value)) => s.encode_invalid.set(i32::from(*value)),
        Some(_) => s.encode_invalid.set(option(lua, args, NAME, &["off", "on", "null"])? as i32),
    }
    match s.encode_invalid.get() {
        2 => lua.create_string("null").map(Value::String),
        on => Ok(Value::Boolean(on == 1)),
    }
}

fn encode(lua: &Lua, settings: &Settings, args: &MultiValue) -> Result<Value> {
    if args.len() != 1 {
        return Err(errors::argument(lua, 1, "encode", "expected 1 argument"));
    }
    let mut encoder = Encoder { lua, settings, out: Vec::new() };
    encoder.value(&args[0], 0)?;
    lua.create_string(encoder.out).map(Value::String)
}

struct Encoder<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    out: Vec<u8>,
}

impl Encoder<'_> {
    fn refuse(&self, value: &Value, why: &str) -> mlua::Error {
        errors::text(self.lua, format!("Cannot serialise {}: {why}", errors::type_name(value)))
    }

    fn value(&mut self, value: &Value, depth: i32) -> Result<()> {
        match value {
            Value::String(text) => append_quoted(&mut self.out, &text.as_bytes()),
            Value::Integer(n) => self.number(*n as f64)?,
            Value::Number(n) => self.number(*n)?,
            Value::Boolean(value) => self.out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => self.out.extend_from_slice(b"null"),
            Value::Table(table) => return self.table(table, depth + 1),
            other => return Err(self.refuse(other, "type not supported")),
        }
        Ok(())
    }

    fn number(&mut self, n: f64) -> Result<()> {
        if !n.is_finite() {
            match self.settings.encode_invalid.get() {
                0 => return Err(self.refuse(&Value::Number(n), "must not be NaN or Inf")),
                1 if n.is_nan() => self.out.extend_from_slice(b"nan"),
                1 => append_g(&mut self.out, n, 14),
                _ => self.out.extend_from_slice(b"null"),
            }
            return Ok(());
        }
        if n.fract() == 0.0
            && n.abs() < 1e9
            && (n != 0.0 || n.is_sign_positive())
            && self.settings.precision.get() >= 9
        {
            self.out.extend_from_slice(itoa::Buffer::new().format(n as i64).as_bytes());
        } else {
            append_g(&mut self.out, n, self.settings.precision.get() as usize);
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: i32) -> Result<()> {
        if depth > self.settings.encode_max_depth.get().min(DEPTH_MAX) {
            return Err(errors::text(self.lua, format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_len(table)? {
            Some(len) => {
                self.out.push(b'[');
                for i in 1..=len {
                    if i > 1 {
                        self.out.push(b',');
                    }
                    self.value(&table.raw_get(i)?, depth)?;
                }
                self.out.push(b']');
            }
            None => self.object(table, depth)?,
        }
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: i32) -> Result<()> {
        self.out.push(b'{');
        let mut first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            match &key {
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.value(&key, depth)?;
                    self.out.push(b'"');
                }
                Value::String(text) => append_quoted(&mut self.out, &text.as_bytes()),
                other => return Err(self.refuse(other, "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// How long the table is as an array; `None` when it is an object, as an empty one is.
    fn array_len(&self, table: &Table) -> Result<Option<i64>> {
        let (mut max, mut items) = (0i64, 0i64);
        for pair in table.pairs::<Value, Value>() {
            match pair?.0 {
                Value::Integer(n) if n >= 1 => max = max.max(n),
                _ => return Ok(None),
            }
            items += 1;
        }
        let s = self.settings;
        let ratio = i64::from(s.sparse_ratio.get());
        if ratio > 0 && max > items.saturating_mul(ratio) && max > i64::from(s.sparse_safe.get()) {
            if !s.sparse_convert.get() {
                return Err(self.refuse(&Value::Table(table.clone()), "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok(Some(max).filter(|&max| max > 0))
    }
}

fn decode(lua: &Lua, settings: &Settings, args: &MultiValue) -> Result<Value> {
    if args.len() != 1 {
        return Err(errors::argument(lua, 1, "decode", "expected 1 argument"));
    }
    let text = CheckedArgs { lua, args, function: "decode" }.string(1)?;
    let text = text.as_bytes();
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(errors::text(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut decoder = Decoder { lua, settings, text: &text, at: 0 };
    let token = decoder.token();
    let value = decoder.value(token, 0)?;
    match decoder.token() {
        Token { kind: Kind::End, .. } => Ok(value),
        other => Err(decoder.unexpected("the end", &other)),
    }
}

struct Token {
    kind: Kind,
    at: usize,
}

enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::String(_) => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Error(text) => text,
        }
    }
}

struct Decoder<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    text: &'a [u8],
    at: usize,
}

impl Decoder<'_> {
    fn unexpected(&self, expected: &str, found: &Token) -> mlua::Error {
        let (found, at) = (found.kind.name(), found.at + 1);
        errors::text(self.lua, format!("Expected {expected} but found {found} at character {at}"))
    }

    /// The next token. The text ends where it ends, or at a NUL.
    fn token(&mut self) -> Token {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let at = self.at;
        let kind = match self.text.get(at).copied().unwrap_or(0) {
            0 => Kind::End,
            b'{' => self.single(Kind::ObjectBegin),
            b'}' => self.single(Kind::ObjectEnd),
            b'[' => self.single(Kind::ArrayBegin),
            b']' => self.single(Kind::ArrayEnd),
            b',' => self.single(Kind::Comma),
            b':' => self.single(Kind::Colon),
            b'"' => self.string().unwrap_or_else(Kind::Error),
            b'-' | b'0'..=b'9' if !self.settings.decode_invalid.get() && self.is_no_json_number() => {
                Kind::Error("invalid number")
            }
            b'-' | b'0'..=b'9' => self.number(),
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => self.word(),
            _ => Kind::Error("invalid token"),
        };
        // An error inside a string is where it was met.
        let at = if matches!(kind, Kind::Error(_)) { self.at } else { at };
        Token { kind, at }
    }

    fn single(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        kind
    }

    fn word(&mut self) -> Kind {
        let rest = &self.text[self.at..];
        for (word, kind) in
            [(&b"true"[..], Kind::Boolean(true)), (b"false", Kind::Boolean(false)), (b"null", Kind::Null)]
        {
            if rest.starts_with(word) {
                self.at += word.len();
                return kind;
            }
        }
        if self.settings.decode_invalid.get() && self.is_no_json_number() {
            return self.number();
        }
        Kind::Error("invalid token")
    }

    fn number(&mut self) -> Kind {
        match strtod(&self.text[self.at..]) {
            Some((n, len)) => {
                self.at += len;
                Kind::Number(n)
            }
            None => Kind::Error("invalid number"),
        }
    }

    /// What `strtod` would take, but JSON has not: a plus, leading zeros, hexadecimal, infinity, nan.
    fn is_no_json_number(&self) -> bool {
        let text = &self.text[self.at..];
        let digits = match text {
            [b'+', ..] => return true,
            [b'-', rest @ ..] => rest,
            _ => text,
        };
        match digits {
            [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
            [first, ..] if *first <= b'9' => false,
            _ => digits
                .get(..3)
                .is_some_and(|word| word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")),
        }
    }

    fn string(&mut self) -> std::result::Result<Kind, &'static str> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.text.get(self.at).copied().unwrap_or(0) {
                b'"' => break,
                0 => return Err("unexpected end of string"),
                b'\\' => {
                    let plain = match self.text.get(self.at + 1).copied().unwrap_or(0) {
                        b @ (b'"' | b'\\' | b'/') => b,
                        b'b' => 0x08,
                        b't' => b'\t',
                        b'n' => b'\n',
                        b'f' => 0x0c,
                        b'r' => b'\r',
                        b'u' => {
                            self.unicode(&mut out).ok_or("invalid unicode escape code")?;
                            continue;
                        }
                        _ => return Err("invalid escape code"),
                    };
                    out.push(plain);
                    self.at += 2;
                }
                b => {
                    out.push(b);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Ok(Kind::String(out))
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        digits.iter().try_fold(0, |n, &b| Some(n << 4 | char::from(b).to_digit(16)?))
    }

    /// `\uXXXX`, or two of them that make one character.
    fn unicode(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let mut code = self.hex4(self.at + 2)?;
        let mut len = 6;
        if code & 0xf800 == 0xd800 {
            let low = self.hex4(self.at + 8).filter(|low| low & 0xfc00 == 0xdc00)?;
            if code & 0x400 != 0 || self.text.get(self.at + 6..self.at + 8) != Some(b"\\u") {
                return None;
            }
            code = ((code & 0x3ff) << 10 | low & 0x3ff) + 0x1_0000;
            len = 12;
        }
        let mut utf8 = [0; 4];
        out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut utf8).as_bytes());
        self.at += len;
        Some(())
    }

    fn value(&mut self, token: Token, depth: i32) -> Result<Value> {
        Ok(match token.kind {
            Kind::String(text) => Value::String(self.lua.create_string(text)?),
            Kind::Number(n) => Value::Number(n),
            Kind::Boolean(value) => Value::Boolean(value),
            Kind::Null => Value::LightUserData(LightUserData(std::ptr::null_mut())),
            Kind::ObjectBegin => self.object(depth + 1)?,
            Kind::ArrayBegin => self.array(depth + 1)?,
            _ => return Err(self.unexpected("value", &token)),
        })
    }

    fn deeper(&self, depth: i32) -> Result<()> {
        if depth > self.settings.decode_max_depth.get().min(DEPTH_MAX) {
            let at = self.at;
            let what = format!("Found too many nested data structures ({depth}) at character {at}");
            return Err(errors::text(self.lua, what));
        }
        Ok(())
    }

    fn object(&mut self, depth: i32) -> Result<Value> {
        self.deeper(depth)?;
        let table = self.lua.create_table()?;
        let mut token = self.token();
        if matches!(token.kind, Kind::ObjectEnd) {
            return Ok(Value::Table(table));
        }
        loop {
            let Kind::String(key) = &token.kind else {
                return Err(self.unexpected("object key string", &token));
            };
            let key = self.lua.create_string(key)?;
            let colon = self.token();
            if !matches!(colon.kind, Kind::Colon) {
                return Err(self.unexpected("colon", &colon));
            }
            let next = self.token();
            table.raw_set(key, self.value(next, depth)?)?;
            let end = self.token();
            match end.kind {
                Kind::ObjectEnd => return Ok(Value::Table(table)),
                Kind::Comma => token = self.token(),
                _ => return Err(self.unexpected("comma or object end", &end)),
            }
        }
    }

    fn array(&mut self, depth: i32) -> Result<Value> {
        self.deeper(depth)?;
        let table = self.lua.create_table()?;
        let mut token = self.token();
        if matches!(token.kind, Kind::ArrayEnd) {
            return Ok(Value::Table(table));
        }
        for i in 1.. {
            table.raw_set(i, self.value(token, depth)?)?;
            let end = self.token();
            match end.kind {
                Kind::ArrayEnd => break,
                Kind::Comma => token = self.token(),
                _ => return Err(self.unexpected("comma or array end", &end)),
            }
        }
        Ok(Value::Table(table))
    }
}
