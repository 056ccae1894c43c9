//! Replies to Lua values, and Lua values to replies.

use super::errors;
use keyspace::types::number::append_double;
use mlua::{Either, IntoLua, Lua, LuaString, Result, Table, Value};
use protocol::number::parse_i64;
use protocol::{Reply, ReplyError, Resp};

/// Deepest nesting of tables in a script's reply.
const DEPTH_MAX: usize = 1000;

/// Longer texts are not looked through for whether they are UTF-8.
const SHORT_BYTES: usize = 1024;

/// Names of fields with a meaning, made once: a table of a script is asked for most of them.
pub struct Names {
    ok: LuaString,
    /// Not a name, but what most statuses say.
    done: LuaString,
    err: LuaString,
    double: LuaString,
    big_number: LuaString,
    verbatim: LuaString,
    format: LuaString,
    string: LuaString,
    map: LuaString,
    set: LuaString,
    counted: LuaString,
}

impl Names {
    pub fn new(lua: &Lua) -> Result<Names> {
        Ok(Names {
            ok: lua.create_string("ok")?,
            done: lua.create_string("OK")?,
            err: lua.create_string("err")?,
            double: lua.create_string("double")?,
            big_number: lua.create_string("big_number")?,
            verbatim: lua.create_string("verbatim_string")?,
            format: lua.create_string("format")?,
            string: lua.create_string("string")?,
            map: lua.create_string("map")?,
            set: lua.create_string("set")?,
            counted: lua.create_string("ignore_error_stats_update")?,
        })
    }
}

/// A reply of one of our own commands, being read.
pub struct ReplyReader<'a> {
    pub lua: &'a Lua,
    pub names: &'a Names,
    pub bytes: &'a [u8],
}

impl<'a> ReplyReader<'a> {
    fn line(&mut self) -> &'a [u8] {
        let end = self.bytes.iter().position(|&b| b == b'\r').unwrap_or(self.bytes.len());
        let (line, rest) = self.bytes.split_at(end);
        self.bytes = rest.get(2..).unwrap_or_default();
        line
    }

    fn length(line: &[u8]) -> Option<usize> {
        usize::try_from(parse_i64(line)?).ok()
    }

    fn bulk(&mut self, len: usize) -> &'a [u8] {
        let (bulk, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest.get(2..).unwrap_or_default();
        bulk
    }

    fn field(&self, name: &LuaString, value: impl IntoLua) -> Result<Value> {
        self.lua.create_table_from([(name, value)]).map(Value::Table)
    }

    fn text(&self, text: &[u8]) -> Result<Value> {
        self.lua.create_string(text).map(Value::String)
    }

    /// The next value, by stock's rules: an integer is a number, a null bulk is false, a null is nil, a status is a table
    /// with `ok`, and so on.
    pub fn value(&mut self) -> Result<Value> {
        let line = self.line();
        let Some((kind, line)) = line.split_first() else { return Ok(Value::Nil) };
        match kind {
            b':' => Ok(Value::Number(parse_i64(line).unwrap_or(0) as f64)),
            b'$' => match Self::length(line) {
                Some(len) => {
                    let bulk = self.bulk(len);
                    self.text(bulk)
                }
                None => Ok(Value::Boolean(false)),
            },
            b'+' if line == b"OK" => self.field(&self.names.ok, &self.names.done),
            b'+' => self.field(&self.names.ok, self.text(line)?),
            b'-' => {
                let table =
                    self.field(&self.names.err, self.text(&errors::with_code(&[b"-", line].concat()))?)?;
                if let Value::Table(table) = &table {
                    table.raw_set(&self.names.counted, true)?;
                }
                Ok(table)
            }
            b'*' | b'>' => match Self::length(line) {
                Some(len) => self.array(len),
                None => Ok(Value::Boolean(false)),
            },
            b'%' => self.map(Self::length(line).unwrap_or(0)),
            b'~' => self.set(Self::length(line).unwrap_or(0)),
            b'_' => Ok(Value::Nil),
            b'#' => Ok(Value::Boolean(line == b"t")),
            b',' => self.field(&self.names.double, Value::Number(parse_double(line))),
            b'(' => self.field(&self.names.big_number, self.text(line)?),
            b'=' => self.verbatim(Self::length(line).unwrap_or(0)),
            b'|' => {
                // Attributes are not shown to scripts.
                for _ in 0..2 * Self::length(line).unwrap_or(0) {
                    self.value()?;
                }
                self.value()
            }
            _ => Ok(Value::Nil),
        }
    }

    /// The next value. A short text is given to Lua as it is, without a handle in between.
    pub fn item(&mut self) -> Result<Either<&'a str, Value>> {
        let before = self.bytes;
        if let Some((b'$', line)) = self.line().split_first()
            && let Some(len) = Self::length(line).filter(|&len| len <= SHORT_BYTES)
            && let Ok(text) = std::str::from_utf8(self.bulk(len))
        {
            return Ok(Either::Left(text));
        }
        self.bytes = before;
        self.value().map(Either::Right)
    }

    fn array(&mut self, len: usize) -> Result<Value> {
        let (lua, mut failed) = (self.lua, None);
        let items = (0..len).map(|_| {
            self.item().unwrap_or_else(|error| {
                failed.get_or_insert(error);
                Either::Right(Value::Nil)
            })
        });
        let table = lua.create_sequence_from(items)?;
        failed.map_or(Ok(Value::Table(table)), Err)
    }

    fn map(&mut self, pairs: usize) -> Result<Value> {
        let table = self.lua.create_table_with_capacity(0, pairs)?;
        for _ in 0..pairs {
            let (key, value) = (self.value()?, self.value()?);
            table.raw_set(key, value)?;
        }
        self.field(&self.names.map, Value::Table(table))
    }

    fn set(&mut self, len: usize) -> Result<Value> {
        let table = self.lua.create_table_with_capacity(0, len)?;
        for _ in 0..len {
            table.raw_set(self.value()?, true)?;
        }
        self.field(&self.names.set, Value::Table(table))
    }

    fn verbatim(&mut self, len: usize) -> Result<Value> {
        let bulk = self.bulk(len);
        let (format, text) = bulk.split_at(bulk.len().min(4));
        let inner = self.lua.create_table_with_capacity(0, 2)?;
        inner.raw_set(&self.names.string, self.text(text)?)?;
        inner.raw_set(&self.names.format, self.text(&format[..format.len().min(3)])?)?;
        self.field(&self.names.verbatim, Value::Table(inner))
    }
}

/// The text of a RESP3 double.
fn parse_double(text: &[u8]) -> f64 {
    match text {
        b"inf" => f64::INFINITY,
        b"-inf" => f64::NEG_INFINITY,
        b"nan" => f64::NAN,
        _ => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0),
    }
}

/// An error a script has returned or ended with.
pub struct ErrorTable {
    pub text: Vec<u8>,
    pub source: Option<Vec<u8>>,
    pub line: Option<Vec<u8>>,
    pub counted: bool,
}

impl ErrorTable {
    pub fn read(table: &Table, names: &Names) -> ErrorTable {
        let text_of = |value: Value| match value {
            Value::String(text) => Some(text.as_bytes().to_vec()),
            Value::Integer(n) => Some(n.to_string().into_bytes()),
            Value::Number(n) => Some(number_text(n)),
            _ => None,
        };
        let field = |name: &str| table.get(name).ok().and_then(text_of);
        ErrorTable {
            text: table.get(&names.err).ok().and_then(text_of).unwrap_or_default(),
            source: field("source"),
            line: field("line"),
            counted: matches!(table.get(&names.counted), Ok(Value::Boolean(true))),
        }
    }
}

/// What is to be told about errors inside a reply that the statistics do not know yet.
pub type Uncounted = Vec<ReplyError>;

/// Writes what a script has returned.
pub struct ReplyWriter<'a, 'r> {
    pub names: &'a Names,
    pub reply: &'a mut Reply<'r>,
    /// The version the script has chosen: it decides how booleans are written.
    pub script_resp: Resp,
    pub uncounted: Uncounted,
    /// There is an error in the reply.
    pub has_error: bool,
}

impl ReplyWriter<'_, '_> {
    pub fn value(&mut self, value: Value, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            self.reply.error(&ReplyError::fixed("ERR reached lua stack limit"));
            return Ok(());
        }
        match value {
            Value::String(text) => self.reply.bulk(&text.as_bytes()),
            Value::Boolean(value) => match self.script_resp {
                Resp::V2 if value => self.reply.integer(1),
                Resp::V2 => self.reply.null(),
                Resp::V3 => self.reply.boolean(value),
            },
            Value::Integer(n) => self.reply.integer(n),
            Value::Number(n) => self.reply.integer(to_integer(n)),
            Value::Table(table) => self.table(&table, depth)?,
            _ => self.reply.null(),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> Result<()> {
        let names = self.names;
        if let Value::String(_) = table.raw_get(&names.err)? {
            let error = ErrorTable::read(table, names);
            let text = ReplyError::new(error.text);
            self.reply.error(&text);
            self.has_error = true;
            if !error.counted {
                self.uncounted.push(text);
            }
            return Ok(());
        }
        if let Value::String(text) = table.raw_get(&names.ok)? {
            self.reply.simple_bytes(&text.as_bytes());
            return Ok(());
        }
        match table.raw_get(&names.double)? {
            Value::Integer(n) => return self.double(n as f64),
            Value::Number(n) => return self.double(n),
            _ => {}
        }
        if let Value::String(digits) = table.raw_get(&names.big_number)? {
            let digits: Vec<u8> = digits.as_bytes().iter().map(|&b| unbroken(b)).collect();
            self.reply.big_number(&digits);
            return Ok(());
        }
        if let Value::Table(verbatim) = table.raw_get(&names.verbatim)?
            && let Value::String(format) = verbatim.raw_get(&names.format)?
            && let Value::String(text) = verbatim.raw_get(&names.string)?
        {
            let mut format = format.as_bytes().to_vec();
            format.resize(3, b' ');
            self.reply.verbatim(&String::from_utf8_lossy(&format), &text.as_bytes());
            return Ok(());
        }
        if let Value::Table(map) = table.raw_get(&names.map)? {
            let (at, mut pairs) = (self.reply.out.len(), 0);
            for pair in map.pairs::<Value, Value>() {
                let (key, value) = pair?;
                self.value(key, depth + 1)?;
                self.value(value, depth + 1)?;
                pairs += 1;
            }
            self.head(at, |reply| reply.map(pairs));
            return Ok(());
        }
        if let Value::Table(set) = table.raw_get(&names.set)? {
            let (at, mut members) = (self.reply.out.len(), 0);
            for pair in set.pairs::<Value, Value>() {
                self.value(pair?.0, depth + 1)?;
                members += 1;
            }
            self.head(at, |reply| reply.set(members));
            return Ok(());
        }
        self.array(table, depth)
    }

    /// The values from 1 on, up to the first nil.
    fn array(&mut self, table: &Table, depth: usize) -> Result<()> {
        let at = self.reply.out.len();
        let mut len = 0;
        // One at a time: only so many values can be held at once.
        loop {
            match table.raw_get(len + 1)? {
                Value::Nil => break,
                value => self.value(value, depth + 1)?,
            }
            len += 1;
        }
        self.head(at, |reply| reply.array(len));
        Ok(())
    }

    /// Puts a head before what has been written since `at`: only now is known how much that is.
    fn head(&mut self, at: usize, write: impl FnOnce(&mut Reply<'_>)) {
        let mut head = Vec::with_capacity(24);
        write(&mut Reply::new(&mut head, self.reply.resp));
        self.reply.out.splice(at..at, head);
    }

    fn double(&mut self, n: f64) -> Result<()> {
        let mut text = Vec::new();
        if n.is_nan() {
            text.extend_from_slice(b"nan");
        } else {
            append_double(&mut text, n);
        }
        self.reply.double_text(&text);
        Ok(())
    }
}

fn unbroken(b: u8) -> u8 {
    if matches!(b, b'\r' | b'\n') { b' ' } else { b }
}

/// C's conversion on the machines stock runs on: what does not fit becomes the least integer.
fn to_integer(n: f64) -> i64 {
    const LEAST: f64 = i64::MIN as f64;
    if (LEAST..-LEAST).contains(&n) { n as i64 } else { i64::MIN }
}

/// A number as an argument of a command: an integer where it is one, otherwise the shortest text that reads back.
pub fn number_text(n: f64) -> Vec<u8> {
    let mut text = Vec::with_capacity(24);
    // Stock's bound: half of what an integer can be.
    if n.fract() == 0.0 && n.abs() <= (i64::MAX / 2) as f64 {
        text.extend_from_slice(itoa::Buffer::new().format(n as i64).as_bytes());
    } else if n.is_nan() {
        text.extend_from_slice(if n.is_sign_negative() { b"-nan" } else { b"nan" });
    } else {
        append_double(&mut text, n);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By 7.2.6; 7.0 writes numbers otherwise.
    #[test]
    fn numbers_are_written_as_by_stock() {
        let texts = [
            (4611686018427387904.0, "4611686018427387904"),
            (4611686018427388928.0, "4611686018427389000"),
            (-9223372036854775808.0, "-9223372036854776000"),
            (-0.0, "0"),
            (1e-7, "1e-7"),
            (0.1 + 0.2, "0.30000000000000004"),
        ];
        for (number, text) in texts {
            assert_eq!(String::from_utf8(number_text(number)).unwrap(), text);
        }
    }
}
