//! An RDB file as a sequence of events.

use std::io::Read;

use keyspace::types::Limits;

use super::decode::{Decoder, Value, is_value_kind};
use super::error::{RdbError, Unsupported};
use super::format::{MAGIC, NEWEST_READ, kind, module, opcode};
use super::input::Input;

/// The version from which on a checksum follows the end.
const FIRST_SUMMED: u32 = 5;
/// Digits of the version behind the magic bytes.
const DIGITS: usize = 4;

#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// The thresholds that choose the encodings of what is read.
    pub limits: Limits,
    /// `rdbchecksum`: whether to compare the checksum.
    pub verify_checksum: bool,
    /// Skip what belongs to modules, as the check tool does, instead of refusing it.
    pub skip_modules: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions { limits: Limits::default(), verify_checksum: true, skip_modules: false }
    }
}

#[derive(Debug)]
pub enum Event {
    Aux {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    SelectDb(u64),
    /// A hint at how many keys the selected database has, and how many of them expire.
    Resize {
        keys: u64,
        expires: u64,
    },
    Entry(LoadedEntry),
    /// A key whose collection is empty: to be left out.
    EmptyKey {
        key: Vec<u8>,
        kind: u8,
    },
    /// The code of a function library.
    Function(Vec<u8>),
    /// Only if modules are skipped.
    ModuleAux {
        name: String,
    },
    /// Only if modules are skipped.
    ModuleKey {
        key: Vec<u8>,
        expire_at_ms: Option<i64>,
    },
    /// The file is over. No event follows.
    Eof(Checksum),
}

#[derive(Debug)]
pub struct LoadedEntry {
    pub key: Vec<u8>,
    pub value: Value,
    /// Milliseconds since the Unix epoch.
    pub expire_at_ms: Option<i64>,
    pub usage: Usage,
}

/// What the file knows about the use of a key.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Seconds since the last use.
    pub idle_s: Option<u64>,
    pub freq: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    Ok,
    /// The file was saved without one.
    Disabled,
    /// The version has none, or it was not asked for.
    Unchecked,
}

/// What the reader was at when it met an error, by the names of `redis-check-rdb`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    Start,
    ReadType,
    ReadExpire,
    ReadKey,
    ReadObjectValue,
    CheckSum,
    ReadLen,
    ReadAux,
    ReadModuleAux,
    ReadFunctions,
}

impl Doing {
    pub const fn name(self) -> &'static str {
        match self {
            Doing::Start => "start",
            Doing::ReadType => "read-type",
            Doing::ReadExpire => "read-expire",
            Doing::ReadKey => "read-key",
            Doing::ReadObjectValue => "read-object-value",
            Doing::CheckSum => "check-sum",
            Doing::ReadLen => "read-len",
            Doing::ReadAux => "read-aux",
            Doing::ReadModuleAux => "read-module-aux",
            Doing::ReadFunctions => "read-functions",
        }
    }
}

/// Reads one RDB file, and not a byte more than its [`Reader::into_parts`] gives back.
pub struct Reader<R> {
    input: Input<R>,
    options: ReadOptions,
    version: u32,
    doing: Doing,
    /// Key and type of the value being read.
    key: Option<Vec<u8>>,
    kind: Option<u8>,
}

/// What comes before a key and belongs to it.
#[derive(Default)]
struct Attributes {
    expire_at_ms: Option<i64>,
    usage: Usage,
}

impl<R: Read> Reader<R> {
    /// Reads nothing yet.
    pub fn new(inner: R, options: ReadOptions) -> Self {
        let input = Input::new(inner);
        Reader { input, options, version: 0, doing: Doing::Start, key: None, kind: None }
    }

    /// The version of the file; 0 before the first event.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    pub fn doing(&self) -> Doing {
        self.doing
    }

    /// The key whose value is being read.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The type of the value being read.
    pub fn kind(&self) -> Option<u8> {
        self.kind
    }

    /// The bytes that were read ahead, past the end of the RDB file, and where they came from.
    pub fn into_parts(self) -> (Vec<u8>, R) {
        self.input.into_parts()
    }

    /// Checks the header, unless that was done: the first [`Reader::next`] does it otherwise.
    pub fn start(&mut self) -> Result<(), RdbError> {
        if self.version != 0 {
            return Ok(());
        }
        let header: [u8; MAGIC.len() + DIGITS] = self.input.array()?;
        let Some(digits) = header.strip_prefix(MAGIC) else { return Err(RdbError::Signature) };
        let version = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        if !(1..=NEWEST_READ).contains(&version) {
            return Err(RdbError::Version(version));
        }
        self.version = version;
        Ok(())
    }

    /// The next event. After an error, or [`Event::Eof`], there is nothing more to be had.
    #[expect(clippy::should_implement_trait, reason = "an iterator would go on after the end")]
    pub fn next(&mut self) -> Result<Event, RdbError> {
        self.start()?;
        let mut attributes = Attributes::default();
        loop {
            self.doing = Doing::ReadType;
            let code = self.input.u8()?;
            if is_value_kind(code) {
                return self.entry(code, attributes);
            }
            match code {
                opcode::EXPIRETIME | opcode::EXPIRETIME_MS | opcode::FREQ | opcode::IDLE => {
                    self.attribute(code, &mut attributes)?;
                }
                opcode::SLOT_INFO => {
                    for _ in 0..3 {
                        self.input.len()?;
                    }
                }
                _ => return self.record(code),
            }
        }
    }

    fn attribute(&mut self, code: u8, attributes: &mut Attributes) -> Result<(), RdbError> {
        match code {
            opcode::EXPIRETIME => {
                self.doing = Doing::ReadExpire;
                let at_s = i32::from_le_bytes(self.input.array()?);
                attributes.expire_at_ms = Some(i64::from(at_s) * 1000);
            }
            opcode::EXPIRETIME_MS => {
                self.doing = Doing::ReadExpire;
                attributes.expire_at_ms = Some(self.input.milliseconds()?);
            }
            opcode::FREQ => attributes.usage.freq = Some(self.input.u8()?),
            _ => attributes.usage.idle_s = Some(self.input.len()?),
        }
        // Stock marks "no expiry" with -1, in files as in memory.
        attributes.expire_at_ms = attributes.expire_at_ms.filter(|&at_ms| at_ms != -1);
        Ok(())
    }

    /// A record that is no key.
    fn record(&mut self, code: u8) -> Result<Event, RdbError> {
        match code {
            opcode::EOF => self.end().map(Event::Eof),
            opcode::SELECTDB => {
                self.doing = Doing::ReadLen;
                self.input.len().map(Event::SelectDb)
            }
            opcode::RESIZEDB => {
                self.doing = Doing::ReadLen;
                Ok(Event::Resize { keys: self.input.len()?, expires: self.input.len()? })
            }
            opcode::AUX => {
                self.doing = Doing::ReadAux;
                Ok(Event::Aux { name: self.input.string()?, value: self.input.string()? })
            }
            opcode::FUNCTION2 => {
                self.doing = Doing::ReadFunctions;
                self.input.string().map(Event::Function)
            }
            opcode::MODULE_AUX => self.module_aux(),
            opcode::FUNCTION_PRE_GA => Err(self.unsupported(Unsupported::FunctionPreRelease)),
            kind => Err(RdbError::UnknownType { offset: self.input.offset(), kind }),
        }
    }

    fn entry(&mut self, kind: u8, attributes: Attributes) -> Result<Event, RdbError> {
        let Attributes { expire_at_ms, usage } = attributes;
        self.kind = Some(kind);
        self.doing = Doing::ReadKey;
        let key = self.input.string()?;
        self.doing = Doing::ReadObjectValue;
        self.key = Some(key);
        let value = if kind == kind::MODULE_2 && self.options.skip_modules {
            self.input.len()?;
            self.skip_module_value()?;
            None
        } else {
            let mut decoder = Decoder { input: &mut self.input, limits: &self.options.limits };
            decoder.value(kind)?
        };
        self.kind = None;
        let key = self.key.take().unwrap_or_default();
        Ok(match value {
            Some(value) => Event::Entry(LoadedEntry { key, value, expire_at_ms, usage }),
            None if kind == kind::MODULE_2 => Event::ModuleKey { key, expire_at_ms },
            None => Event::EmptyKey { key, kind },
        })
    }

    fn module_aux(&mut self) -> Result<Event, RdbError> {
        self.doing = Doing::ReadModuleAux;
        let name = module::name(self.input.len()?);
        let (when_opcode, _when) = (self.input.len()?, self.input.len()?);
        if when_opcode != module::UINT {
            return Err(self.input.corrupt("bad when_opcode"));
        }
        if !self.options.skip_modules {
            return Err(self.unsupported(Unsupported::ModuleAux(name)));
        }
        self.skip_module_value()?;
        Ok(Event::ModuleAux { name })
    }

    fn skip_module_value(&mut self) -> Result<(), RdbError> {
        loop {
            match self.input.len()? {
                module::EOF => return Ok(()),
                module::SINT | module::UINT => drop(self.input.len()?),
                module::FLOAT => drop(self.input.array::<4>()?),
                module::DOUBLE => drop(self.input.array::<8>()?),
                module::STRING => drop(self.input.string()?),
                _ => return Err(self.input.corrupt("Invalid module value")),
            }
        }
    }

    fn end(&mut self) -> Result<Checksum, RdbError> {
        if self.version < FIRST_SUMMED {
            return Ok(Checksum::Unchecked);
        }
        self.doing = Doing::CheckSum;
        let expected = self.input.checksum();
        let found = u64::from_le_bytes(self.input.array()?);
        match found {
            _ if !self.options.verify_checksum => Ok(Checksum::Unchecked),
            0 => Ok(Checksum::Disabled),
            _ if found == expected => Ok(Checksum::Ok),
            _ => Err(RdbError::Checksum { expected, found }),
        }
    }

    fn unsupported(&self, what: Unsupported) -> RdbError {
        RdbError::Unsupported { offset: self.input.offset(), what }
    }
}
