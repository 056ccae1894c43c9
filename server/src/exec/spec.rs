//! What a command is: one row beside its code, from which everything else about it is derived.

use super::cx::Cx;
use protocol::{Args, Argv, ReplyError};

/// Calls back with the position of each key that options name.
pub type Finder = fn(Argv<'_>, &mut dyn FnMut(usize, KeyFlags));

pub type Handler = fn(&mut Cx<'_>, &mut Args<'_>) -> Result<(), ReplyError>;

bitflags::bitflags! {
    /// What the checks before execution ask about a command. The upper half is ours and is not shown.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Flags: u64 {
        const WRITE = 1 << 0;
        const READONLY = 1 << 1;
        const DENYOOM = 1 << 2;
        const ADMIN = 1 << 4;
        const PUBSUB = 1 << 5;
        const NOSCRIPT = 1 << 6;
        const BLOCKING = 1 << 8;
        const LOADING = 1 << 9;
        const STALE = 1 << 10;
        const SKIP_MONITOR = 1 << 11;
        const SKIP_SLOWLOG = 1 << 12;
        const ASKING = 1 << 13;
        const FAST = 1 << 14;
        const NO_AUTH = 1 << 15;
        const MAY_REPLICATE = 1 << 16;
        const SENTINEL = 1 << 17;
        const ONLY_SENTINEL = 1 << 18;
        const NO_MANDATORY_KEYS = 1 << 19;
        const PROTECTED = 1 << 20;
        const NO_ASYNC_LOADING = 1 << 23;
        const NO_MULTI = 1 << 24;
        const ALLOW_BUSY = 1 << 26;
        const TOUCHES_ARBITRARY_KEYS = 1 << 28;

        /// Runs with the world at rest.
        const EXCLUSIVE = 1 << 32;
        /// Looks at keys it does not name: inside a transaction, which holds locks, it needs the world at rest.
        const WALKS = 1 << 33;
        /// Is run at once inside MULTI instead of being queued.
        const NOT_QUEUED = 1 << 34;
        /// Moves keys between nodes: of a slot that is on the move, any may be named at either end.
        const MOVES_KEYS = 1 << 35;
        /// Names keys of another database too.
        const TWO_DATABASES = 1 << 36;
        /// May look at keys that its options give patterns of: the handler asks for the world at rest then.
        const PATTERNS = 1 << 43;
        /// Its write is propagated as it stands even when it changed nothing.
        const ALWAYS_PROPAGATED = 1 << 37;
        /// Runs what MULTI has queued.
        const RUNS_QUEUE = 1 << 39;
        /// Runs a script or function.
        const RUNS_SCRIPT = 1 << 40;
        /// It is a function, named by the first argument.
        const RUNS_FUNCTION = 1 << 41;
        /// It is a script, named by its SHA1.
        const BY_SHA = 1 << 42;
        /// May be sent while in RESP2's subscribed mode.
        const WHILE_SUBSCRIBED = 1 << 38;
        /// Its reply comes as pushes, which CLIENT REPLY does not hold back.
        const PUSHES = 1 << 44;
        /// Takes a short time, though stock does not call it fast.
        const BRIEF = 1 << 45;
        /// Is refused, as writes are, while the disk fails: so probes learn of it.
        const TELLS_OF_DISK = 1 << 46;
    }

    /// ACL categories.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Acl: u32 {
        const KEYSPACE = 1 << 0;
        const READ = 1 << 1;
        const WRITE = 1 << 2;
        const SET = 1 << 3;
        const SORTEDSET = 1 << 4;
        const LIST = 1 << 5;
        const HASH = 1 << 6;
        const STRING = 1 << 7;
        const BITMAP = 1 << 8;
        const HYPERLOGLOG = 1 << 9;
        const GEO = 1 << 10;
        const STREAM = 1 << 11;
        const PUBSUB = 1 << 12;
        const ADMIN = 1 << 13;
        const FAST = 1 << 14;
        const SLOW = 1 << 15;
        const BLOCKING = 1 << 16;
        const DANGEROUS = 1 << 17;
        const CONNECTION = 1 << 18;
        const TRANSACTION = 1 << 19;
        const SCRIPTING = 1 << 20;
    }

    /// What a command does with the keys of one key spec.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct KeyFlags: u16 {
        const RO = 1 << 0;
        const RW = 1 << 1;
        const OW = 1 << 2;
        const RM = 1 << 3;
        const ACCESS = 1 << 4;
        const UPDATE = 1 << 5;
        const INSERT = 1 << 6;
        const DELETE = 1 << 7;
        const NOT_KEY = 1 << 8;
        const INCOMPLETE = 1 << 9;
        const VARIABLE_FLAGS = 1 << 10;
    }
}

/// The documentation group, as COMMAND DOCS names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Pubsub,
    Transactions,
    Connection,
    Server,
    Scripting,
    Hyperloglog,
    Cluster,
    Sentinel,
    Geo,
    Stream,
    Bitmap,
}

impl Group {
    pub fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::Pubsub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::Hyperloglog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Sentinel => "sentinel",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
        }
    }
}

/// Where the search for keys begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    Index(usize),
    /// After this word, searched from this argument on (from the end when negative).
    Keyword(&'static str, i32),
    Unknown,
}

/// Which arguments after the beginning are keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Find {
    /// Up to `last` (relative to the beginning; negative counts from the end), every `step`th; a `limit` above
    /// one takes only that fraction of the arguments.
    Range {
        last: i32,
        step: usize,
        limit: usize,
    },
    /// An argument tells how many; offsets are relative to the beginning.
    KeyNum {
        index: usize,
        first: usize,
        step: usize,
    },
    Unknown,
}

/// One way in which a command names keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeySpec {
    pub begin: Begin,
    pub find: Find,
    pub flags: KeyFlags,
}

impl KeySpec {
    const fn new(begin: Begin, find: Find) -> KeySpec {
        KeySpec { begin, find, flags: KeyFlags::empty() }
    }

    /// One key, argument `pos`, unless a `find` follows.
    pub const fn index(pos: usize) -> KeySpec {
        KeySpec::new(Begin::Index(pos), Find::Range { last: 0, step: 1, limit: 0 })
    }

    pub const fn keyword(word: &'static str, from: i32) -> KeySpec {
        KeySpec::new(Begin::Keyword(word, from), Find::Range { last: 0, step: 1, limit: 0 })
    }

    /// Keys that only running the command can tell.
    pub const fn unknown() -> KeySpec {
        KeySpec::new(Begin::Unknown, Find::Unknown)
    }

    pub const fn range(mut self, last: i32, step: usize, limit: usize) -> KeySpec {
        self.find = Find::Range { last, step, limit };
        self
    }

    pub const fn keynum(mut self, index: usize, first: usize, step: usize) -> KeySpec {
        self.find = Find::KeyNum { index, first, step };
        self
    }

    pub const fn flags(mut self, flags: KeyFlags) -> KeySpec {
        self.flags = flags;
        self
    }

    /// Calls `f` with the position of each key. `Err` when the arguments do not add up.
    #[inline]
    pub fn each(&self, argv: Argv<'_>, f: &mut impl FnMut(usize)) -> Result<(), BadKeys> {
        let argc = argv.len();
        let begin = match self.begin {
            Begin::Index(pos) => pos,
            Begin::Keyword(word, from) => match keyword_position(argv, word, from) {
                Some(pos) => pos + 1,
                None => return Ok(()),
            },
            Begin::Unknown => return Ok(()),
        };
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                let last = match last {
                    last if last >= 0 => begin + last as usize,
                    -1 if limit > 1 => begin + (argc - begin.min(argc)) / limit - 1,
                    last => argc.checked_sub(last.unsigned_abs() as usize).ok_or(BadKeys)?,
                };
                (begin, last, step)
            }
            Find::KeyNum { index, first, step } => {
                if begin + index >= argc {
                    return Err(BadKeys);
                }
                let count = protocol::number::parse_i64(argv.get(begin + index))
                    .filter(|&n| n >= 0)
                    .ok_or(BadKeys)?;
                if count == 0 {
                    return Ok(());
                }
                let last =
                    (count as usize - 1).checked_mul(step).and_then(|span| span.checked_add(begin + first));
                (begin + first, last.ok_or(BadKeys)?, step)
            }
            Find::Unknown => return Ok(()),
        };
        if last >= argc && first <= last {
            return Err(BadKeys);
        }
        (first..=last).step_by(step).for_each(f);
        Ok(())
    }
}

fn keyword_position(argv: Argv<'_>, word: &str, from: i32) -> Option<usize> {
    let is_word = |&i: &usize| argv.get(i).eq_ignore_ascii_case(word.as_bytes());
    match usize::try_from(from) {
        Ok(from) => (from..argv.len()).find(is_word),
        Err(_) => (1..=argv.len().checked_sub(from.unsigned_abs() as usize)?).rev().find(is_word),
    }
}

/// Which arguments of a command are channels that its user must be allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelSpec {
    /// Only the first argument is one; otherwise all are.
    is_first_only: bool,
    /// They are patterns of channels.
    pub are_patterns: bool,
}

impl ChannelSpec {
    pub const FIRST: ChannelSpec = ChannelSpec { is_first_only: true, are_patterns: false };
    pub const ALL: ChannelSpec = ChannelSpec { is_first_only: false, are_patterns: false };
    pub const ALL_PATTERNS: ChannelSpec = ChannelSpec { is_first_only: false, are_patterns: true };

    pub fn positions(self, argc: usize) -> std::ops::Range<usize> {
        1..if self.is_first_only { argc.min(2) } else { argc }
    }
}

/// The arguments do not name keys as the command's key specs say.
#[derive(Debug, PartialEq, Eq)]
pub struct BadKeys;

/// A command's row.
pub struct CommandSpec {
    /// Lower case; a subcommand's own part only.
    pub name: &'static str,
    /// Number of arguments with the name; at least so many when negative.
    pub arity: i32,
    pub flags: Flags,
    pub handler: Handler,
    pub keys: &'static [KeySpec],
    /// Finds the keys that key specs cannot tell.
    pub finder: Option<Finder>,
    /// Key specs cannot tell any key: they say what the command may look like, and the finder which it has.
    finds_all: bool,
    pub channels: Option<ChannelSpec>,
    pub acl: Acl,
    pub group: Group,
    pub since: &'static str,
    pub subcommands: &'static [CommandSpec],
}

impl CommandSpec {
    pub const fn new(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> CommandSpec {
        CommandSpec {
            name,
            arity,
            flags,
            handler,
            keys: &[],
            finder: None,
            finds_all: false,
            channels: None,
            acl: Acl::empty(),
            group: Group::Generic,
            since: "1.0.0",
            subcommands: &[],
        }
    }

    pub const fn keys(mut self, keys: &'static [KeySpec]) -> CommandSpec {
        self.keys = keys;
        self
    }

    pub const fn finder(mut self, finder: Finder) -> CommandSpec {
        self.finder = Some(finder);
        self
    }

    /// As [`CommandSpec::finder`], for all keys: the key specs are only shown.
    pub const fn finder_of_all(mut self, finder: Finder) -> CommandSpec {
        self.finds_all = true;
        self.finder(finder)
    }

    pub const fn channels(mut self, channels: ChannelSpec) -> CommandSpec {
        self.channels = Some(channels);
        self
    }

    pub const fn acl(mut self, acl: Acl) -> CommandSpec {
        self.acl = acl;
        self
    }

    pub const fn group(mut self, group: Group) -> CommandSpec {
        self.group = group;
        self
    }

    pub const fn since(mut self, since: &'static str) -> CommandSpec {
        self.since = since;
        self
    }

    pub const fn subcommands(mut self, subcommands: &'static [CommandSpec]) -> CommandSpec {
        self.subcommands = subcommands;
        self
    }

    pub fn arity_fits(&self, argc: usize) -> bool {
        if self.arity >= 0 { argc == self.arity as usize } else { argc >= self.arity.unsigned_abs() as usize }
    }

    /// Calls `f` with the position of each key the command names.
    #[inline]
    pub fn each_key(&self, argv: Argv<'_>, mut f: impl FnMut(usize, KeyFlags)) -> Result<(), BadKeys> {
        for spec in self.keys {
            if !spec.flags.contains(KeyFlags::NOT_KEY) && !self.finds_all {
                spec.each(argv, &mut |pos| f(pos, spec.flags))?;
            }
        }
        if let Some(finder) = self.finder {
            finder(argv, &mut f);
        }
        Ok(())
    }

    /// As [`CommandSpec::each_key`], with the names that are routed as keys are and are none: shard channels.
    pub fn each_routed(&self, argv: Argv<'_>, mut f: impl FnMut(usize)) -> Result<(), BadKeys> {
        for spec in self.keys.iter().filter(|spec| spec.flags.contains(KeyFlags::NOT_KEY)) {
            spec.each(argv, &mut |pos| f(pos))?;
        }
        self.each_key(argv, |pos, _| f(pos))
    }

    /// The ACL categories, those that follow from the flags included.
    pub fn acl_categories(&self) -> Acl {
        let mut acl = self.acl;
        let mut add = |condition: bool, category: Acl| {
            if condition {
                acl |= category;
            }
        };
        let has = |flag| self.flags.contains(flag);
        add(has(Flags::WRITE), Acl::WRITE);
        add(has(Flags::READONLY) && !self.acl.contains(Acl::SCRIPTING), Acl::READ);
        add(has(Flags::ADMIN), Acl::ADMIN | Acl::DANGEROUS);
        add(has(Flags::PUBSUB), Acl::PUBSUB);
        add(has(Flags::FAST), Acl::FAST);
        add(has(Flags::BLOCKING), Acl::BLOCKING);
        if !acl.contains(Acl::FAST) {
            acl |= Acl::SLOW;
        }
        acl
    }
}

/// What this call does with its key, where that depends on the other arguments.
pub fn flags_of_call(spec: &CommandSpec, argv: Argv<'_>, flags: KeyFlags) -> KeyFlags {
    if !flags.contains(KeyFlags::VARIABLE_FLAGS) {
        return flags;
    }
    let has = |word: &str| argv.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let reads_and_writes = KeyFlags::RW | KeyFlags::ACCESS | KeyFlags::UPDATE;
    match spec.group {
        // SET with GET, against SET.
        Group::String if argv.iter().skip(3).any(|arg| arg.eq_ignore_ascii_case(b"GET")) => reads_and_writes,
        Group::String => KeyFlags::OW | KeyFlags::UPDATE,
        // BITFIELD with nothing but GET.
        Group::Bitmap if !has("SET") && !has("INCRBY") => KeyFlags::RO | KeyFlags::ACCESS,
        _ => reads_and_writes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ArgVec;

    fn keys(spec: KeySpec, line: &str) -> Result<Vec<usize>, BadKeys> {
        let argv: ArgVec = line.split(' ').map(str::as_bytes).collect();
        let mut found = Vec::new();
        spec.each(argv.as_argv(), &mut |pos| found.push(pos))?;
        Ok(found)
    }

    #[test]
    fn no_two_flags_share_a_bit() {
        use bitflags::Flags as _;
        let one_by_one = Flags::FLAGS.iter().map(|flag| flag.value().bits().count_ones()).sum::<u32>();
        assert_eq!(one_by_one, Flags::all().bits().count_ones());
        assert_eq!(one_by_one as usize, Flags::FLAGS.len());
    }

    #[test]
    fn each_form_of_key_spec_finds_its_keys() {
        assert_eq!(keys(KeySpec::index(1), "set k v"), Ok(vec![1]));
        assert_eq!(keys(KeySpec::index(1).range(-1, 2, 0), "mset a 1 b 2"), Ok(vec![1, 3]));
        assert_eq!(keys(KeySpec::index(1).range(-2, 1, 0), "blpop a b 0"), Ok(vec![1, 2]));
        assert_eq!(keys(KeySpec::index(1).keynum(0, 1, 1), "zunion 2 a b x"), Ok(vec![2, 3]));
        assert_eq!(keys(KeySpec::index(1).keynum(0, 1, 1), "zunion 3 a b"), Err(BadKeys));
        assert_eq!(keys(KeySpec::index(1).keynum(0, 1, 1), "zunion x a b"), Err(BadKeys));
        assert_eq!(keys(KeySpec::index(1).keynum(0, 1, 1), "zunion 9223372036854775807 a b"), Err(BadKeys));
        let streams = KeySpec::keyword("STREAMS", 1).range(-1, 1, 2);
        assert_eq!(keys(streams, "xread count 1 streams a b 0 0"), Ok(vec![4, 5]));
        assert_eq!(keys(streams, "xread count 1"), Ok(vec![]));
        let migrate = KeySpec::keyword("KEYS", -2).range(-1, 1, 0);
        assert_eq!(keys(migrate, "migrate h p  0 1 keys a b"), Ok(vec![7, 8]));
    }
}
