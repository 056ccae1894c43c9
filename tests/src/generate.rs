//! Random commands, from templates.
//!
//! | in a template | what comes of it |
//! |---|---|
//! | `word` | itself |
//! | `one\|two` | one of them |
//! | `<name>` | a word of that vocabulary, see [`Generator::draw`] |
//! | `[ … ]` | all of it or nothing |
//! | `( … )+` | all of it, one to five times |
//!
//! One command in twelve is then spoiled: an argument goes, comes, or becomes nonsense.

use crate::compare::{Compare, Lots};
use crate::known;

pub const DATABASES: usize = 2;

/// A command, and how its replies compare.
pub struct Step {
    pub argv: Vec<Vec<u8>>,
    pub compare: Compare,
}

/// Templates of a family, and the letter its keys start with.
struct Family {
    letter: char,
    templates: &'static [(&'static str, Compare)],
}

const EXACT: Compare = Compare::Exactly;
const ANY: Compare = Compare::AnyOrder;

const STRINGS: Family = Family {
    letter: 'k',
    templates: &[
        ("SET <key> <string>", EXACT),
        ("SET <key> <string> [ NX|XX ] [ GET ] [ EX <seconds> ]", EXACT),
        ("SET <key> <string> [ PX <ms> ] [ KEEPTTL ] [ NX|XX ]", EXACT),
        ("GET <key>", EXACT),
        ("GETSET <key> <string>", EXACT),
        ("GETDEL <key>", EXACT),
        ("GETEX <key> [ EX <seconds> ] [ PERSIST ]", EXACT),
        ("SETNX <key> <string>", EXACT),
        ("SETEX <key> <seconds> <string>", EXACT),
        ("PSETEX <key> <ms> <string>", EXACT),
        ("SET <key> <string> EXAT 5000000000 [ GET ]", EXACT),
        ("SET <key> <string> PXAT 5000000000000", EXACT),
        ("GETEX <key> EXAT <second>", EXACT),
        ("GETEX <key> PXAT <moment>", EXACT),
        ("APPEND <key> <string>", EXACT),
        ("STRLEN <key>", EXACT),
        ("INCR|DECR <key>", EXACT),
        ("INCRBY|DECRBY <key> <int>", EXACT),
        ("INCRBYFLOAT <key> <float>", EXACT),
        ("MGET ( <any> )+", EXACT),
        ("MSET ( <key> <string> )+", EXACT),
        ("MSETNX ( <key> <string> )+", EXACT),
        ("SETRANGE <key> <offset> <string>", EXACT),
        ("GETRANGE|SUBSTR <key> <int> <int>", EXACT),
        ("SETBIT <key> <offset> 0|1|1", EXACT),
        ("GETBIT <key> <offset>", EXACT),
        ("BITCOUNT <key> [ <int> <int> ]", EXACT),
        ("BITCOUNT <key> <int> <int> BIT|BYTE", EXACT),
        ("BITPOS <key> 0|1 [ <int> ]", EXACT),
        ("BITPOS <key> 0|1 <int> <int> [ BIT|BYTE ]", EXACT),
        ("BITOP AND|OR|XOR <key> ( <key> )+", EXACT),
        ("BITOP NOT <key> <key>", EXACT),
        ("BITFIELD|BITFIELD_RO <key> ( GET <width> <offset> )+", EXACT),
        ("BITFIELD <key> [ OVERFLOW WRAP|SAT|FAIL ] ( INCRBY|SET <width> <offset> <large> )+", EXACT),
        ("LCS <key> <key> [ LEN ] [ IDX ] [ WITHMATCHLEN ] [ MINMATCHLEN <count> ]", EXACT),
    ],
};

const LISTS: Family = Family {
    letter: 'l',
    templates: &[
        ("LPUSH|RPUSH <key> ( <element> )+", EXACT),
        ("LPUSH|RPUSH <key> ( <element> )+", EXACT),
        ("LPUSHX|RPUSHX <key> ( <element> )+", EXACT),
        ("LPOP|RPOP <key> [ <count> ]", EXACT),
        ("LLEN <key>", EXACT),
        ("LINDEX <key> <int>", EXACT),
        ("LSET <key> <int> <element>", EXACT),
        ("LRANGE <key> <int> <int>", EXACT),
        ("LRANGE <key> 0 -1", EXACT),
        ("LTRIM <key> <int> <int>", EXACT),
        ("LREM <key> <int> <element>", EXACT),
        ("LINSERT <key> BEFORE|AFTER <element> <element>", EXACT),
        ("LPOS <key> <element> [ RANK <int> ] [ COUNT <count> ] [ MAXLEN <count> ]", EXACT),
        ("LMOVE <key> <key> LEFT|RIGHT LEFT|RIGHT", EXACT),
        ("RPOPLPUSH <key> <key>", EXACT),
        ("LMPOP <keys> LEFT|RIGHT [ COUNT <count> ]", EXACT),
        ("BLPOP|BRPOP <key> <key> 0.001", EXACT),
        ("BLMOVE <key> <key> LEFT|RIGHT LEFT|RIGHT 0.001", EXACT),
        ("BRPOPLPUSH <key> <key> 0.001", EXACT),
        ("BLMPOP 0.001 <keys> LEFT|RIGHT [ COUNT <count> ]", EXACT),
        ("SORT|SORT_RO <key> ALPHA [ LIMIT <int> <int> ] [ ASC|DESC ]", EXACT),
        (
            "SORT <key> [ BY nosort|weight-*|h*->f1 ] [ LIMIT <int> <int> ] [ GET # ] [ GET k* ] [ DESC ] [ ALPHA ]",
            EXACT,
        ),
        ("SORT <any> ALPHA [ LIMIT <int> <int> ] [ DESC ] STORE <key>", EXACT),
        ("SORT <key> ALPHA GET # GET nothing GET h*->f STORE <key>", EXACT),
    ],
};

const HASHES: Family = Family {
    letter: 'h',
    templates: &[
        ("HSET <key> ( <element> <element> )+", EXACT),
        ("HSET <key> ( <element> <int> )+", EXACT),
        ("HMSET <key> ( <element> <element> )+", EXACT),
        ("HSETNX <key> <element> <element>", EXACT),
        ("HGET <key> <element>", EXACT),
        ("HMGET <key> ( <element> )+", EXACT),
        ("HGETALL <key>", Compare::PairsInAnyOrder),
        ("HKEYS|HVALS <key>", ANY),
        ("HLEN <key>", EXACT),
        ("HDEL <key> ( <element> )+", EXACT),
        ("HEXISTS|HSTRLEN <key> <element>", EXACT),
        ("HINCRBY <key> <element> <int>", EXACT),
        ("HINCRBYFLOAT <key> <element> <float>", EXACT),
        ("HSCAN <key> 0 [ MATCH <pattern> ] [ COUNT <count> ]", Compare::Scan { pairs: true }),
        ("HRANDFIELD <key>", Compare::Lots(Lots::HashFields)),
        ("HRANDFIELD <key> <draws> [ WITHVALUES ]", Compare::Lots(Lots::HashFields)),
    ],
};

const SETS: Family = Family {
    letter: 's',
    templates: &[
        ("SADD <key> ( <element> )+", EXACT),
        ("SADD <key> ( <int> )+", EXACT),
        ("SREM <key> ( <element> )+", EXACT),
        ("SISMEMBER <key> <element>", EXACT),
        ("SMISMEMBER <key> ( <element> )+", EXACT),
        ("SCARD <key>", EXACT),
        ("SMEMBERS <key>", ANY),
        ("SMOVE <key> <key> <element>", EXACT),
        ("SINTER|SUNION|SDIFF ( <key> )+", ANY),
        ("SINTERSTORE|SUNIONSTORE|SDIFFSTORE <key> ( <key> )+", EXACT),
        ("SINTERCARD <keys> [ LIMIT <count> ]", EXACT),
        ("SORT <key> [ ALPHA ] [ LIMIT <int> <int> ] [ DESC ]", EXACT),
        ("SORT <key> ALPHA [ BY nosort ] STORE <key>", EXACT),
        ("SSCAN <key> 0 [ MATCH <pattern> ] [ COUNT <count> ]", Compare::Scan { pairs: false }),
        ("SPOP <key>", Compare::Lots(Lots::Pop)),
        ("SPOP <key> <count>", Compare::Lots(Lots::Pop)),
        ("SRANDMEMBER <key>", Compare::Lots(Lots::SetMembers)),
        ("SRANDMEMBER <key> <draws>", Compare::Lots(Lots::SetMembers)),
    ],
};

const ZSETS: Family = Family {
    letter: 'z',
    templates: &[
        ("ZADD <key> ( <score> <element> )+", EXACT),
        ("ZADD <key> ( <score> <element> )+", EXACT),
        ("ZADD <key> [ NX|XX ] [ GT|LT ] [ CH ] [ INCR ] ( <score> <element> )+", EXACT),
        ("ZADD <key> XX|GT|LT [ CH ] INCR <score> <element>", EXACT),
        ("ZADD <lexkey> ( 0 <element> )+", EXACT),
        ("ZREM <lexkey> ( <element> )+", EXACT),
        ("ZINCRBY <key> <score> <element>", EXACT),
        ("ZREM <key> ( <element> )+", EXACT),
        ("ZSCORE|ZRANK|ZREVRANK <key> <element>", EXACT),
        ("ZRANK|ZREVRANK <key> <element> WITHSCORE", EXACT),
        ("ZMSCORE <key> ( <element> )+", EXACT),
        ("ZCARD <key>", EXACT),
        ("ZCOUNT <key> <bound> <bound>", EXACT),
        ("ZLEXCOUNT <lexkey> <lexbound> <lexbound>", EXACT),
        ("ZRANGE <key> <int> <int> [ REV ] [ WITHSCORES ]", EXACT),
        ("ZRANGE <key> <bound> <bound> BYSCORE [ REV ] [ LIMIT <int> <int> ] [ WITHSCORES ]", EXACT),
        ("ZRANGE <lexkey> <lexbound> <lexbound> BYLEX [ REV ] [ LIMIT <int> <int> ]", EXACT),
        ("ZREVRANGE <key> <int> <int> [ WITHSCORES ]", EXACT),
        ("ZRANGEBYSCORE|ZREVRANGEBYSCORE <key> <bound> <bound> [ WITHSCORES ] [ LIMIT <int> <int> ]", EXACT),
        ("ZRANGEBYLEX|ZREVRANGEBYLEX <lexkey> <lexbound> <lexbound> [ LIMIT <int> <int> ]", EXACT),
        ("ZRANGESTORE <key> <key> <int> <int> [ REV ]", EXACT),
        ("ZRANGESTORE <key> <key> <bound> <bound> BYSCORE [ REV ] [ LIMIT <int> <int> ]", EXACT),
        ("ZREMRANGEBYRANK <key> <int> <int>", EXACT),
        ("ZREMRANGEBYSCORE <key> <bound> <bound>", EXACT),
        ("ZREMRANGEBYLEX <lexkey> <lexbound> <lexbound>", EXACT),
        ("ZPOPMIN|ZPOPMAX <key> [ <count> ]", EXACT),
        ("ZMPOP <keys> MIN|MAX [ COUNT <count> ]", EXACT),
        ("BZPOPMIN|BZPOPMAX <key> <key> 0.001", EXACT),
        ("BZMPOP 0.001 <keys> MIN|MAX [ COUNT <count> ]", EXACT),
        ("SORT <key> ALPHA [ LIMIT <int> <int> ] [ DESC ]", EXACT),
        ("SORT <key> BY nosort [ LIMIT <int> <int> ] [ DESC ] [ GET # ]", EXACT),
        ("ZUNION|ZINTER <keys> [ WEIGHTS <weights> ] [ AGGREGATE SUM|MIN|MAX ] [ WITHSCORES ]", EXACT),
        ("ZDIFF <keys> [ WITHSCORES ]", EXACT),
        ("ZUNIONSTORE|ZINTERSTORE <key> <keys> [ WEIGHTS <weights> ] [ AGGREGATE SUM|MIN|MAX ]", EXACT),
        ("ZDIFFSTORE <key> <keys>", EXACT),
        ("ZINTERCARD <keys> [ LIMIT <count> ]", EXACT),
        ("ZSCAN <key> 0 [ MATCH <pattern> ] [ COUNT <count> ]", Compare::Scan { pairs: true }),
        ("ZRANDMEMBER <key>", Compare::Lots(Lots::ZSetMembers)),
        ("ZRANDMEMBER <key> <draws> [ WITHSCORES ]", Compare::Lots(Lots::ZSetMembers)),
    ],
};

const STREAM: Compare = Compare::ButForTimes;

const STREAMS: Family = Family {
    letter: 't',
    templates: &[
        ("XADD <key> <newid> ( <field> <element> )+", EXACT),
        ("XADD <key> <newid> a <element> b <element>", EXACT),
        ("XADD <key> <newid> a <element> b <element>", EXACT),
        ("XADD <key> [ NOMKSTREAM ] MAXLEN <trim> <newid> <field> <element>", EXACT),
        ("XADD <key> MINID [ =|~ ] <id> [ LIMIT <int> ] <newid> <field> <element>", EXACT),
        ("XTRIM <key> MAXLEN <trim>", EXACT),
        ("XTRIM <key> MINID [ =|~ ] <id> [ LIMIT <count> ]", EXACT),
        ("XDEL <key> ( <id> )+", EXACT),
        ("XLEN <key>", EXACT),
        ("XSETID <key> <nextid> [ ENTRIESADDED <offset> ] [ MAXDELETEDID <id> ]", EXACT),
        ("XSETID <key> <nextid> ENTRIESADDED|MAXDELETEDID|abc <int>|x|0", EXACT),
        ("XRANGE|XREVRANGE <key> <edge> <edge> [ COUNT <int> ]", EXACT),
        ("XRANGE <key> - + [ COUNT <int> ]", EXACT),
        ("XREAD [ COUNT <count> ] STREAMS <key> <id>", EXACT),
        ("XREAD [ COUNT <count> ] STREAMS <key> <key> <id> <id>|$", EXACT),
        ("XGROUP CREATE <key> <group> <id>|$|0 [ MKSTREAM ] [ ENTRIESREAD <count> ]", EXACT),
        ("XGROUP CREATE <key> <group> 0", EXACT),
        ("XGROUP SETID <key> <group> <id>|$|- [ ENTRIESREAD <count> ]", EXACT),
        ("XGROUP CREATECONSUMER|DELCONSUMER <key> <group> <consumer>", EXACT),
        ("XREADGROUP GROUP <group> <consumer> [ COUNT <count> ] [ NOACK ] STREAMS <key> >", EXACT),
        ("XREADGROUP GROUP <group> <consumer> COUNT <count> STREAMS <key> >", EXACT),
        ("XREADGROUP GROUP <group> <consumer> [ COUNT <count> ] STREAMS <key> <key> <id>|> >", EXACT),
        ("XREADGROUP GROUP <group> <consumer> [ COUNT <count> ] STREAMS <key> <id>", EXACT),
        ("XACK <key> <group> ( <id> )+", EXACT),
        ("XPENDING <key> <group>", EXACT),
        ("XPENDING <key> <group> [ IDLE <idle> ] <edge> <edge> <count> [ <consumer> ]", STREAM),
        ("XPENDING <key> <group> - + 100 [ <consumer> ]", STREAM),
        ("XCLAIM <key> <group> <consumer> <idle> ( <id> )+ [ JUSTID ]", EXACT),
        (
            "XCLAIM <key> <group> <consumer> <idle> ( <id> )+ [ IDLE <idle> ] [ TIME 1000 ] [ RETRYCOUNT <int> ] \
             [ FORCE ] [ JUSTID ] [ LASTID <id> ]",
            EXACT,
        ),
        ("XAUTOCLAIM <key> <group> <consumer> <idle> <edge> [ COUNT <count> ] [ JUSTID ]", EXACT),
        ("XINFO STREAM <key> [ FULL ] [ COUNT <int> ]", STREAM),
        ("XINFO GROUPS <key>", STREAM),
        ("XINFO CONSUMERS <key> <group>", STREAM),
        ("XREAD [ COUNT <count> ] BLOCK 1 STREAMS <key> <id>|$", EXACT),
        ("XREADGROUP GROUP <group> <consumer> BLOCK 1 STREAMS <key> >", EXACT),
        ("XINFO|XGROUP HELP", Compare::Kind),
    ],
};

const HYPERLOGLOGS: Family = Family {
    letter: 'p',
    templates: &[
        ("PFADD <key> ( <drop> )+", EXACT),
        ("PFADD <key> ( <drop> )+", EXACT),
        ("PFADD <key> ( <drop> )+ ( <drop> )+ ( <drop> )+ ( <drop> )+ ( <drop> )+ ( <drop> )+", EXACT),
        ("PFADD <key> [ <string> ]", EXACT),
        ("PFCOUNT <key>", EXACT),
        ("PFCOUNT ( <key> )+", EXACT),
        ("PFMERGE <key> ( <key> )+", EXACT),
        ("PFDEBUG GETREG|DECODE|ENCODING|TODENSE|nothing <key>", EXACT),
        ("GET|STRLEN <key>", EXACT),
        ("DEL <key>", EXACT),
    ],
};

const PLACES: Family = Family {
    letter: 'g',
    templates: &[
        ("GEOADD <key> ( <place> <element> )+", EXACT),
        ("GEOADD <key> [ NX|XX ] [ CH ] ( <place> <element> )+", EXACT),
        ("GEODIST <key> <element> <element> [ <unit> ]", EXACT),
        ("GEOHASH|GEOPOS <key> ( <element> )+", EXACT),
        ("GEOSEARCH <key> FROMMEMBER <element> BYRADIUS <length> <unit> [ ASC|DESC ] [ WITHDIST ]", EXACT),
        (
            "GEOSEARCH <key> FROMLONLAT <place> BYRADIUS <length> <unit> [ WITHCOORD ] [ WITHDIST ] [ WITHHASH ] \
             [ COUNT <count> ] [ ANY ] [ ASC|DESC ]",
            EXACT,
        ),
        (
            "GEOSEARCH <key> FROMLONLAT <place> BYBOX <length> <length> <unit> [ WITHCOORD ] [ ASC|DESC ] \
             [ COUNT <count> ] [ ANY ] [ WITHDIST ]",
            EXACT,
        ),
        (
            "GEOSEARCH <key> [ FROMMEMBER <element> ] [ FROMLONLAT <place> ] [ BYBOX <length> <length> <unit> ] ASC|km|ANY",
            EXACT,
        ),
        (
            "GEOSEARCHSTORE <key> <key> FROMMEMBER <element> BYBOX <length> <length> <unit> [ COUNT <count> ] [ STOREDIST ]",
            EXACT,
        ),
        (
            "GEOSEARCHSTORE <key> <key> FROMLONLAT <place> BYRADIUS <length> <unit> [ STOREDIST ] [ WITHDIST ]",
            EXACT,
        ),
        (
            "GEORADIUS|GEORADIUS_RO <key> <place> <length> <unit> [ WITHCOORD ] [ WITHDIST ] [ WITHHASH ] \
             [ COUNT <count> ] [ ANY ] [ ASC|DESC ]",
            EXACT,
        ),
        ("GEORADIUS <key> <place> <length> <unit> [ COUNT <count> ] STORE|STOREDIST <key>", EXACT),
        ("GEORADIUS_RO <key> <place> <length> <unit> STORE <key>", EXACT),
        (
            "GEORADIUSBYMEMBER|GEORADIUSBYMEMBER_RO <key> <element> <length> <unit> [ WITHCOORD ] [ WITHDIST ] \
             [ COUNT <count> ] [ ANY ] [ ASC|DESC ]",
            EXACT,
        ),
        ("GEORADIUSBYMEMBER <key> <element> <length> <unit> [ WITHHASH ] STORE|STOREDIST <key>", EXACT),
        ("ZREM <key> ( <element> )+", EXACT),
    ],
};

/// Seldom: corrupt ones stay so.
const CORRUPTION: Family = Family {
    letter: 'p',
    templates: &[
        ("APPEND <key> 1|10", EXACT),
        ("SETRANGE <key> 20 5|0", EXACT),
        ("SETRANGE <key> 4 <string>", EXACT),
        ("SET <key> HYLL|HYLL0123456789012345", EXACT),
    ],
};

/// Seldom: most groups are to live long.
const DESTRUCTION: Family = Family {
    letter: 't',
    templates: &[
        ("XADD <key> 18446744073709551615-18446744073709551615 a b", EXACT),
        ("XGROUP DESTROY <key> <group>", EXACT),
        ("XDEL <key> ( <id> )+", EXACT),
        ("DEL <key>", EXACT),
    ],
};

const NEAR_MS: Compare = Compare::Near(10_000);
const NEAR_SECONDS: Compare = Compare::Near(10);

const KEYS: Family = Family {
    letter: 'k',
    templates: &[
        ("DEL|UNLINK ( <any> )+", EXACT),
        ("EXISTS|TOUCH ( <any> )+", EXACT),
        ("TYPE <any>", EXACT),
        ("EXPIRE <any> <seconds> [ NX|XX ] [ GT|LT ]", EXACT),
        ("PEXPIRE <any> <ms> [ NX|XX ] [ GT|LT ]", EXACT),
        ("EXPIREAT <any> <second> [ NX|XX|GT|LT ]", EXACT),
        ("PEXPIREAT <any> <moment> [ NX|XX|GT|LT ]", EXACT),
        ("TTL|EXPIRETIME <any>", NEAR_SECONDS),
        ("PTTL|PEXPIRETIME <any>", NEAR_MS),
        ("PERSIST <any>", EXACT),
        ("KEYS <pattern>", ANY),
        ("SCAN 0 [ MATCH <pattern> ] [ COUNT <count> ] [ TYPE <type> ]", Compare::Scan { pairs: false }),
        ("SCAN abc", Compare::Scan { pairs: false }),
        ("DBSIZE", EXACT),
        ("RANDOMKEY", Compare::Lots(Lots::Keys)),
        ("RENAME|RENAMENX <any> <any>", EXACT),
        ("MOVE <any> <db>", EXACT),
        ("COPY <any> <any> [ DB <db> ] [ REPLACE ]", EXACT),
        ("SWAPDB <db> <db>", EXACT),
        ("SELECT 0|1", EXACT),
        ("SELECT 0|1", EXACT),
        ("WATCH ( <any> )+", EXACT),
        ("UNWATCH", EXACT),
        ("OBJECT ENCODING|REFCOUNT|FREQ <any>", EXACT),
        ("OBJECT IDLETIME <any>", Compare::Kind),
        ("OBJECT HELP", Compare::Kind),
        ("DUMP <any>", Compare::Payload),
        ("DUMP <any>", Compare::Payload),
        ("RESTORE|RESTORE-ASKING <any> 0|<ms> <payload> [ REPLACE ]", EXACT),
        ("RESTORE <any> 0 <payload> REPLACE", EXACT),
        ("RESTORE <any> <moment> <payload> ABSTTL [ REPLACE ] [ IDLETIME|FREQ <count> ]", EXACT),
        ("MEMORY USAGE <any> [ SAMPLES <count> ]", Compare::Kind),
        ("WAIT 0 <count>", EXACT),
        ("PUBLISH|SPUBLISH <element> <string>", EXACT),
    ],
};

/// Seldom, lest there be nothing to work on.
const FLUSHES: Family = Family {
    letter: 'k',
    templates: &[("FLUSHALL|FLUSHDB [ ASYNC|SYNC ]", EXACT), ("FLUSHDB nonsense", EXACT)],
};

const FAMILIES: [&Family; 12] = [
    &STRINGS,
    &LISTS,
    &HASHES,
    &SETS,
    &ZSETS,
    &ZSETS,
    &STREAMS,
    &STREAMS,
    &HYPERLOGLOGS,
    &PLACES,
    &PLACES,
    &KEYS,
];

/// The letters keys of each type start with. Of those with an `x` all members have the same score, which is
/// what ranges of members are defined for.
const LETTERS: &str = "klhsztpg";
const KEYS_PER_LETTER: usize = 4;

const NONSENSE: [&str; 12] = [
    "",
    "abc",
    "-1",
    "0",
    "1.5",
    "9223372036854775807",
    "-9223372036854775808",
    "nan",
    "(",
    "LIMIT",
    " 1",
    "COUNT",
];

pub struct Generator {
    rng: fastrand::Rng,
    letter: char,
    /// How many keys were named after their number.
    numkeys: usize,
    /// The time of the newest ID of an entry.
    newest_ms: u64,
    /// Whether SORT stores lists.
    sorts_into_lists: bool,
    /// Replies of DUMP.
    payloads: Vec<Vec<u8>>,
}

/// Payloads kept for RESTORE.
const PAYLOADS: usize = 40;

impl Generator {
    pub fn new(seed: u64) -> Generator {
        let rng = fastrand::Rng::with_seed(seed);
        Generator {
            rng,
            letter: 'k',
            numkeys: 0,
            newest_ms: 1_000,
            sorts_into_lists: true,
            payloads: Vec::new(),
        }
    }

    /// Without SORT … STORE: stock 7.0 cuts what that stores into nodes of 8 KB, whatever the directive says.
    pub fn without_sorted_lists(mut self) -> Generator {
        self.sorts_into_lists = false;
        self
    }

    /// What DUMP has said, for RESTORE.
    pub fn keep_payload(&mut self, payload: &[u8]) {
        if self.payloads.len() < PAYLOADS {
            return self.payloads.push(payload.to_vec());
        }
        let at = self.rng.usize(..PAYLOADS);
        self.payloads[at] = payload.to_vec();
    }

    /// Whether a word is one of our keys.
    pub fn is_key(word: &[u8]) -> bool {
        matches!(word, [letter, b'0'..=b'9'] if LETTERS.contains(*letter as char) || *letter == b'x')
    }

    /// One of our keys, of any type.
    pub fn any_key(rng: &mut fastrand::Rng) -> String {
        let letters: Vec<char> = LETTERS.chars().collect();
        format!("{}{}", letters[rng.usize(..letters.len())], rng.usize(..KEYS_PER_LETTER))
    }

    pub fn step(&mut self) -> Step {
        let family = match self.rng.u32(..2_000) {
            0 => &FLUSHES,
            1..20 => &DESTRUCTION,
            20..25 => &CORRUPTION,
            _ => self.pick(&FAMILIES),
        };
        self.letter = family.letter;
        let (mut template, mut compare) = self.pick(family.templates);
        while !self.sorts_into_lists && template.starts_with("SORT") && template.contains("STORE") {
            (template, compare) = self.pick(family.templates);
        }
        let mut argv = Vec::new();
        let words: Vec<&str> = template.split(' ').collect();
        self.expand(&words, &mut argv);
        // A score that slips in would leave ranges of members without a meaning, and stock 7.0 lets the last ID
        // go behind deleted ones.
        let is_delicate = template.contains("<lexkey>") || template.contains("<nextid>");
        if !is_delicate && self.rng.u32(..12) == 0 {
            self.spoil(&mut argv, compare);
        }
        if self.rng.u32(..8) == 0 {
            argv[0].make_ascii_lowercase();
        }
        Step { argv, compare }
    }

    /// What a transaction queues. Nothing that draws lots or has to be called again.
    pub fn queue(&mut self) -> Vec<Step> {
        let steps: Vec<Step> = (0..self.rng.usize(..8)).map(|_| self.step()).collect();
        let repeatable = |step: &Step| {
            !matches!(step.compare, Compare::Lots(_) | Compare::Scan { .. }) && !known::is_newer(&step.argv)
        };
        steps.into_iter().filter(repeatable).collect()
    }

    /// Whether the next commands are to be a transaction.
    pub fn wants_transaction(&mut self) -> bool {
        self.rng.u32(..40) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.usize(..choices.len())]
    }

    fn expand(&mut self, mut words: &[&str], argv: &mut Vec<Vec<u8>>) {
        while let Some((&word, rest)) = words.split_first() {
            let closing = |mark: &str| rest.iter().position(|&word| word == mark).expect("a closed group");
            match word {
                "[" => {
                    let end = closing("]");
                    if self.rng.u32(..5) < 2 {
                        self.expand(&rest[..end], argv);
                    }
                    words = &rest[end + 1..];
                }
                "(" => {
                    let end = closing(")+");
                    for _ in 0..self.rng.usize(1..=5) {
                        self.expand(&rest[..end], argv);
                    }
                    words = &rest[end + 1..];
                }
                _ => {
                    let choices: Vec<&str> = word.split('|').collect();
                    let word = self.pick(&choices);
                    match word.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
                        Some(name) => self.draw(name, argv),
                        None => argv.push(word.into()),
                    }
                    words = rest;
                }
            }
        }
    }

    /// Appends what a vocabulary gives.
    fn draw(&mut self, name: &str, argv: &mut Vec<Vec<u8>>) {
        let word = match name {
            "payload" => {
                let payload = self.payload();
                return argv.push(payload);
            }
            // One in ten is of another type.
            "key" if self.rng.u32(..10) > 0 => self.key(self.letter),
            "key" | "any" => {
                let letters: Vec<char> = LETTERS.chars().collect();
                let letter = self.pick(&letters);
                self.key(letter)
            }
            "lexkey" => self.key('x'),
            "keys" => return self.keys(argv),
            "drop" => format!("drop {}", self.rng.u32(..3_000)),
            "place" => return self.place(argv),
            "length" => match self.rng.u32(..12) {
                0 => self.pick(&["0", "-1", "1e300", "x"]).into(),
                _ => format!("{}", 10f64.powf(self.rng.f64() * 5.0) as f32),
            },
            "unit" if self.rng.u32(..20) == 0 => "yd".into(),
            "unit" => self.pick(&["m", "km", "KM", "ft", "mi"]).into(),
            "weights" => {
                for _ in 0..self.numkeys {
                    self.draw("score", argv);
                }
                return;
            }
            "element" => self.element(),
            "field" => self.pick(&["a", "b", "c", "", "7"]).into(),
            "newid" => self.new_id(),
            "nextid" => {
                self.newest_ms += 1;
                format!("{}-0", self.newest_ms)
            }
            "id" => self.id(),
            "edge" => match self.rng.u32(..8) {
                0 => "-".into(),
                1 => "+".into(),
                2 | 3 => format!("({}", self.id()),
                _ => self.id(),
            },
            "trim" => {
                let sign = self.pick(&["", "=", "~", "~"]);
                if !sign.is_empty() {
                    argv.push(sign.into());
                }
                self.rng.u32(..30).to_string()
            }
            "group" => self.pick(&["g1", "g1", "g2"]).into(),
            "consumer" => self.pick(&["alice", "bob", "carol"]).into(),
            // So far apart that time does not matter while the test runs.
            "idle" => self.pick(&["0", "0", "10000000", "100000000"]).into(),
            "width" => {
                format!("{}{}", self.pick(&["i", "u"]), self.pick(&["1", "3", "8", "33", "63", "64", "65"]))
            }
            "large" => {
                let shift = self.rng.u32(..64);
                (self.rng.i64(..) >> shift).to_string()
            }
            "string" => self.string(),
            "int" => self.rng.i64(-12..=12).to_string(),
            "offset" => self.rng.u32(..80).to_string(),
            "count" => self.rng.u32(..8).to_string(),
            "draws" => self.rng.i64(-10..=15).to_string(),
            "float" => {
                self.pick(&["1.5", "-0.25", "10", "3.0e2", "0.1", "-3.3333", "1e-7", "inf", "x"]).into()
            }
            "score" => self.score(),
            "bound" => {
                let mark = self.pick(&["", "", "("]);
                format!("{mark}{}", self.score())
            }
            "lexbound" => match self.rng.u32(..6) {
                0 => "-".into(),
                1 => "+".into(),
                2 | 3 => format!("[{}", self.element()),
                _ => format!("({}", self.element()),
            },
            "pattern" => {
                self.pick(&["*", "?", "[a-m]*", "*[0-2]", "[^a]*", "l*", "z?", "\\a", "[", "nothing"]).into()
            }
            "type" => {
                self.pick(&["string", "list", "set", "zset", "hash", "stream", "nothing", "ZSET"]).into()
            }
            "db" => self.pick(&["0", "1", "1", "0", "99", "-1", "x"]).into(),
            // Far apart, so that none is met and none changes places while the test runs.
            "seconds" if self.rng.u32(..10) == 0 => self.pick(&["0", "-5", "9223372036854775"]).into(),
            "seconds" => self.rng.u64(10_000..100_000_000).to_string(),
            "ms" if self.rng.u32(..10) == 0 => self.pick(&["0", "-5", "9223372036854775807"]).into(),
            "ms" => self.rng.u64(10_000_000..100_000_000_000).to_string(),
            "second" => self.pick(&["1", "5000000000", "6000000000", "7000000000"]).into(),
            "moment" => self.pick(&["1", "5000000000000", "6000000000000", "7000000000001"]).into(),
            _ => unreachable!("no vocabulary {name}"),
        };
        argv.push(word.into_bytes());
    }

    /// An ID for an entry, greater than those before as a rule.
    fn new_id(&mut self) -> String {
        self.newest_ms += self.rng.u64(..2);
        let (ms, seq) = (self.newest_ms, self.rng.u32(..3));
        match self.rng.u32(..10) {
            0 => self.id(),
            1 => format!("{}", ms + 1),
            2..5 => format!("{ms}-{seq}"),
            _ => format!("{ms}-*"),
        }
    }

    /// An ID an entry may have.
    fn id(&mut self) -> String {
        let ms = self.newest_ms - self.rng.u64(..60);
        match self.rng.u32(..12) {
            0 => self.pick(&["0", "0-0", "0-1"]).into(),
            1 => format!("{ms}-2"),
            2..=5 => format!("{ms}-1"),
            6 | 7 => format!("{ms}"),
            _ => format!("{ms}-0"),
        }
    }

    /// A longitude and a latitude: half of them near to each other.
    fn place(&mut self, argv: &mut Vec<Vec<u8>>) {
        let mut degrees = |most: f64, near: f64| match self.rng.u32(..8) {
            0..4 => near + self.rng.f64(),
            _ => (self.rng.f64() * 2.0 - 1.0) * most,
        };
        let (longitude, latitude) = (degrees(180.0, 13.0), degrees(85.0, 38.0));
        let (longitude, latitude) = match self.rng.u32(..40) {
            0 => (180.0, 85.05112878),
            1 => (-181.0, latitude),
            2 => (longitude, f64::INFINITY),
            _ => (longitude, latitude),
        };
        argv.extend([longitude, latitude].map(|degrees| format!("{degrees}").into_bytes()));
    }

    /// What DUMP has said, damaged now and then.
    fn payload(&mut self) -> Vec<u8> {
        if self.payloads.is_empty() {
            return b"\x00\x03abc".to_vec();
        }
        let at = self.rng.usize(..self.payloads.len());
        let mut payload = self.payloads[at].clone();
        if self.rng.u32(..10) == 0 {
            let at = self.rng.usize(..payload.len());
            payload[at] ^= 1 << self.rng.u32(..8);
        }
        payload
    }

    fn key(&mut self, letter: char) -> String {
        format!("{letter}{}", self.rng.usize(..KEYS_PER_LETTER))
    }

    fn keys(&mut self, argv: &mut Vec<Vec<u8>>) {
        self.numkeys = self.rng.usize(1..=4);
        let said = match self.rng.u32(..25) {
            0 => self.pick(&["0", "-1", "x", "99", "5"]).into(),
            _ => self.numkeys.to_string(),
        };
        argv.push(said.into_bytes());
        for _ in 0..self.numkeys {
            self.draw("key", argv);
        }
    }

    fn element(&mut self) -> String {
        match self.rng.u32(..20) {
            0 => String::new(),
            1 => "a long element of 30 bytes ...".into(),
            2 => self.pick(&["9223372036854775807", "-9223372036854775808", "32768", "-128", "007"]).into(),
            3..8 => self.rng.i64(-3..=12).to_string(),
            _ => {
                self.pick(&["a", "b", "c", "d", "e", "f", "aa", "ab", "word", "Word", "\u{e9}", "x*y"]).into()
            }
        }
    }

    fn string(&mut self) -> String {
        match self.rng.u32(..6) {
            0 => self.rng.i64(-100..20_000).to_string(),
            1 => self.pick(&["1.5", "-0.1", "9223372036854775807", "00", "3e5", " 1"]).into(),
            2 => self.element(),
            _ => (0..self.rng.usize(..60)).map(|_| self.pick(&['a', 'b', 'c', 'd', 'e'])).collect(),
        }
    }

    fn score(&mut self) -> String {
        match self.rng.u32(..10) {
            0 => self.pick(&["inf", "-inf", "+inf", "0", "-0", "1e3", "0x10", "0.1"]).into(),
            1 | 2 => format!("{}", f64::from(self.rng.i32(-40..40)) / 4.0),
            _ => self.rng.i32(-10..10).to_string(),
        }
    }

    /// Makes a command wrong, or at least strange.
    fn spoil(&mut self, argv: &mut Vec<Vec<u8>>, compare: Compare) {
        // A great number of draws takes both servers' memory, and a cursor means something to one only.
        if matches!(compare, Compare::Lots(_) | Compare::Scan { .. }) {
            argv.truncate(self.rng.usize(1..=argv.len()));
            return;
        }
        let at = self.rng.usize(1..=argv.len());
        let nonsense = self.pick(&NONSENSE).as_bytes().to_vec();
        match self.rng.u32(..3) {
            0 if at < argv.len() => drop(argv.remove(at)),
            1 if at < argv.len() => argv[at] = nonsense,
            _ => argv.insert(at, nonsense),
        }
        if waits_long(argv) {
            argv.truncate(1);
        }
    }
}

/// Whether what is behind BLOCK is not a few milliseconds. Beyond all time stock 7.0 does not wait at all.
fn blocks_long(argv: &[Vec<u8>]) -> bool {
    let mut behind = argv.iter().skip_while(|word| !word.eq_ignore_ascii_case(b"BLOCK")).skip(1);
    behind.next().is_some_and(|ms| ms != b"1")
}

/// Whether a command waits for ever, or longer than tests do.
fn waits_long(argv: &[Vec<u8>]) -> bool {
    let at = match argv[0].to_ascii_uppercase().as_slice() {
        b"BLPOP" | b"BRPOP" | b"BLMOVE" | b"BRPOPLPUSH" | b"BZPOPMIN" | b"BZPOPMAX" => argv.len() - 1,
        b"BLMPOP" | b"BZMPOP" => 1,
        b"XREAD" | b"XREADGROUP" => return blocks_long(argv),
        // Stock cuts the number of replicas down to 32 bits.
        b"WAIT" => return argv.get(1).is_some_and(|replicas| replicas != b"0"),
        // A time that was meant to be absolute: soon over.
        b"RESTORE" => return argv.get(2).is_some_and(|ttl| ttl == b"1"),
        _ => return false,
    };
    let timeout = argv.get(at).and_then(|text| std::str::from_utf8(text).ok()?.parse::<f64>().ok());
    timeout.is_some_and(|seconds| !(0.0001..0.1).contains(&seconds) && (0.0..1e15).contains(&seconds.abs()))
}
