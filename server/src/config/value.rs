//! What a parameter is: its name, type, range and default, and how its value is read and written.

use std::ops::RangeInclusive;

/// A parameter's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
}

/// A parameter's type.
#[derive(Clone, Copy)]
pub enum Kind {
    Bool,
    Int(i64, i64),
    /// Bytes, with units: `1k` is 1000, `1kb` is 1024, and so on up to `g`.
    Memory(i64, i64),
    /// As `Memory`, up to the most that 64 bits hold: kept as the signed number with the same bits.
    Bytes,
    /// As `Memory`, or a percentage of maxmemory, kept as a negative number.
    MemoryOrPercent(i64, i64),
    Octal(i64, i64),
    Text,
    Choice(&'static [&'static str]),
    /// Words with a grammar of their own; the function makes the canonical text out of them and the old one.
    Custom(fn(words: &[String], old: &str) -> Result<String, String>),
}

#[derive(Clone, Copy, Default)]
pub struct Flags {
    pub immutable: bool,
    pub hidden: bool,
    pub sensitive: bool,
    pub protected: bool,
    /// Takes several words on one line.
    pub multi: bool,
    /// CONFIG SET has to wait until the dataset is read.
    pub not_while_loading: bool,
}

/// One row of the table.
pub struct Param {
    pub name: &'static str,
    /// The name of older versions.
    pub alias: Option<&'static str>,
    pub kind: Kind,
    default: Default,
    pub flags: Flags,
}

#[derive(Clone, Copy)]
enum Default {
    Bool(bool),
    Int(i64),
    Text(&'static str),
}

const NO_FLAGS: Flags = Flags {
    immutable: false,
    hidden: false,
    sensitive: false,
    protected: false,
    multi: false,
    not_while_loading: false,
};

impl Param {
    const fn new(name: &'static str, kind: Kind, default: Default) -> Param {
        Param { name, alias: None, kind, default, flags: NO_FLAGS }
    }

    pub const fn bool(name: &'static str, default: bool) -> Param {
        Param::new(name, Kind::Bool, Default::Bool(default))
    }

    pub const fn int(name: &'static str, default: i64, range: RangeInclusive<i64>) -> Param {
        Param::new(name, Kind::Int(*range.start(), *range.end()), Default::Int(default))
    }

    pub const fn memory(name: &'static str, default: i64, range: RangeInclusive<i64>) -> Param {
        Param::new(name, Kind::Memory(*range.start(), *range.end()), Default::Int(default))
    }

    pub const fn bytes(name: &'static str, default: i64) -> Param {
        Param::new(name, Kind::Bytes, Default::Int(default))
    }

    pub const fn memory_or_percent(name: &'static str, default: i64, range: RangeInclusive<i64>) -> Param {
        Param::new(name, Kind::MemoryOrPercent(*range.start(), *range.end()), Default::Int(default))
    }

    pub const fn octal(name: &'static str, default: i64, range: RangeInclusive<i64>) -> Param {
        Param::new(name, Kind::Octal(*range.start(), *range.end()), Default::Int(default))
    }

    pub const fn text(name: &'static str, default: &'static str) -> Param {
        Param::new(name, Kind::Text, Default::Text(default))
    }

    pub const fn choice(
        name: &'static str,
        choices: &'static [&'static str],
        default: &'static str,
    ) -> Param {
        Param::new(name, Kind::Choice(choices), Default::Text(default))
    }

    pub const fn custom(
        name: &'static str,
        default: &'static str,
        parse: fn(&[String], &str) -> Result<String, String>,
    ) -> Param {
        Param::new(name, Kind::Custom(parse), Default::Text(default))
    }

    pub const fn alias(mut self, alias: &'static str) -> Param {
        self.alias = Some(alias);
        self
    }

    /// Only the file and the command line can set it.
    pub const fn immutable(mut self) -> Param {
        self.flags.immutable = true;
        self
    }

    /// Left out of CONFIG GET with a pattern.
    pub const fn hidden(mut self) -> Param {
        self.flags.hidden = true;
        self
    }

    /// Its value is kept out of logs.
    pub const fn sensitive(mut self) -> Param {
        self.flags.sensitive = true;
        self
    }

    /// CONFIG SET may touch it only where `enable-protected-configs` allows.
    pub const fn protected(mut self) -> Param {
        self.flags.protected = true;
        self
    }

    pub const fn multi(mut self) -> Param {
        self.flags.multi = true;
        self
    }

    pub const fn not_while_loading(mut self) -> Param {
        self.flags.not_while_loading = true;
        self
    }

    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.alias.is_some_and(|alias| alias.eq_ignore_ascii_case(name))
    }

    pub fn default_value(&self) -> Value {
        match self.default {
            Default::Bool(b) => Value::Bool(b),
            Default::Int(n) => Value::Int(n),
            Default::Text(text) => Value::Text(text.to_owned()),
        }
    }

    /// The value `words` spell. `old` is the value so far, which some custom parameters add to.
    pub fn parse(&self, words: &[String], old: &Value) -> Result<Value, String> {
        if let Kind::Custom(parse) = self.kind {
            let old = if let Value::Text(old) = old { old } else { "" };
            return parse(words, old).map(Value::Text);
        }
        let [word] = words else { return Err("wrong number of arguments".into()) };
        match self.kind {
            Kind::Bool => match word.to_ascii_lowercase().as_str() {
                "yes" => Ok(Value::Bool(true)),
                "no" => Ok(Value::Bool(false)),
                _ => Err("argument must be 'yes' or 'no'".into()),
            },
            Kind::Int(min, max) => {
                let n = protocol::number::parse_i64(word.as_bytes());
                within(n.ok_or("argument couldn't be parsed into an integer")?, min, max)
            }
            Kind::Memory(min, max) => {
                within(memory(word).ok_or("argument must be a memory value")?, min, max)
            }
            Kind::Bytes => {
                let bytes = bytes(word).ok_or("argument must be a memory value")?;
                Ok(Value::Int(bytes.cast_signed()))
            }
            Kind::MemoryOrPercent(_, max) => match word.strip_suffix('%') {
                Some(percent) => match percent.parse::<i64>() {
                    Ok(percent) if (0..=100).contains(&percent) => Ok(Value::Int(-percent)),
                    Ok(percent) if percent > 100 => {
                        Err("percentage argument must be less or equal to 100".into())
                    }
                    _ => Err("argument must be a memory or percent value".into()),
                },
                None => within(memory(word).ok_or("argument must be a memory or percent value")?, 0, max),
            },
            Kind::Octal(min, max) => {
                let n = i64::from_str_radix(word, 8);
                within(n.map_err(|_| "argument couldn't be parsed as an octal number")?, min, max)
            }
            Kind::Text => Ok(Value::Text(word.clone())),
            Kind::Choice(choices) => match choices.iter().find(|choice| choice.eq_ignore_ascii_case(word)) {
                Some(choice) => Ok(Value::Text((*choice).to_owned())),
                None => Err(format!("argument(s) must be one of the following: {}", choices.join(", "))),
            },
            Kind::Custom(_) => unreachable!("handled above"),
        }
    }
}

impl Value {
    /// As CONFIG GET shows it.
    pub fn to_text(&self, param: &Param) -> String {
        match (self, param.kind) {
            (Value::Bool(true), _) => "yes".into(),
            (Value::Bool(false), _) => "no".into(),
            (Value::Int(n), Kind::Octal(..)) => format!("{n:o}"),
            (Value::Int(n), Kind::Bytes) => n.cast_unsigned().to_string(),
            (Value::Int(n), Kind::MemoryOrPercent(..)) if *n < 0 => format!("{}%", -n),
            (Value::Int(n), _) => n.to_string(),
            (Value::Text(text), _) => text.clone(),
        }
    }
}

fn within(n: i64, min: i64, max: i64) -> Result<Value, String> {
    if (min..=max).contains(&n) {
        Ok(Value::Int(n))
    } else {
        Err(format!("argument must be between {min} and {max} inclusive"))
    }
}

/// What a number of bytes that does not fit is taken for: no range has it.
const TOO_LARGE: i64 = -1;

/// Bytes from a number with an optional unit, in any case; no number is zero.
pub fn memory(text: &str) -> Option<i64> {
    let (digits, unit) = number_and_unit(text)?;
    if digits.is_empty() {
        return Some(0);
    }
    Some(digits.parse::<i64>().ok().and_then(|n| n.checked_mul(unit)).unwrap_or(TOO_LARGE))
}

/// As [`memory`]; what does not fit is the most that does.
fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = number_and_unit(text)?;
    let n = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) };
    Some(n.saturating_mul(unit.unsigned_abs()))
}

fn number_and_unit(text: &str) -> Option<(&str, i64)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    Some((&text[..digits], unit))
}
