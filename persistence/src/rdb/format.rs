//! The numbers of the RDB format. `docs/formats.md` has them in tables.

use std::fmt;

pub const MAGIC: &[u8; 5] = b"REDIS";

/// The newest version that is read.
pub const NEWEST_READ: u32 = 12;

/// A version that can be written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RdbVersion {
    /// Redis 7.0: what a 7.0 peer can read, in full syncs and DUMP payloads.
    V10,
    /// Redis 7.2: set listpacks, and consumers with the time they were last active.
    V11,
    /// Redis 7.4: hashes with fields that expire.
    V12,
}

impl RdbVersion {
    pub const fn number(self) -> u16 {
        match self {
            RdbVersion::V10 => 10,
            RdbVersion::V11 => 11,
            RdbVersion::V12 => 12,
        }
    }
}

impl fmt::Display for RdbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.number())
    }
}

/// What begins a record that is not a key.
pub mod opcode {
    /// Redis 7.4 and later, cluster mode: slot, its number of keys, of expiring keys.
    pub const SLOT_INFO: u8 = 244;
    pub const FUNCTION2: u8 = 245;
    /// Functions as the release candidates of 7.0 saved them.
    pub const FUNCTION_PRE_GA: u8 = 246;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQ: u8 = 249;
    pub const AUX: u8 = 250;
    pub const RESIZEDB: u8 = 251;
    pub const EXPIRETIME_MS: u8 = 252;
    pub const EXPIRETIME: u8 = 253;
    pub const SELECTDB: u8 = 254;
    pub const EOF: u8 = 255;
}

/// What begins a key: the type of its value.
pub mod kind {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    /// Scores as text.
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    /// Scores as binary doubles.
    pub const ZSET_2: u8 = 5;
    pub const MODULE_PRE_GA: u8 = 6;
    pub const MODULE_2: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM_LISTPACKS: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    pub const LIST_QUICKLIST_2: u8 = 18;
    pub const STREAM_LISTPACKS_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    pub const STREAM_LISTPACKS_3: u8 = 21;
    /// Hashes with expiring fields as the release candidates of 7.4 saved them.
    pub const HASH_METADATA_PRE_GA: u8 = 22;
    pub const HASH_LISTPACK_EX_PRE_GA: u8 = 23;
    pub const HASH_METADATA: u8 = 24;
    pub const HASH_LISTPACK_EX: u8 = 25;

    /// The names `redis-check-rdb` gives the types.
    pub fn name(kind: u8) -> &'static str {
        const NAMES: [&str; 26] = [
            "string",
            "list-linked",
            "set-hashtable",
            "zset-v1",
            "hash-hashtable",
            "zset-v2",
            "module-pre-release",
            "module-value",
            "",
            "hash-zipmap",
            "list-ziplist",
            "set-intset",
            "zset-ziplist",
            "hash-ziplist",
            "quicklist",
            "stream",
            "hash-listpack",
            "zset-listpack",
            "quicklist-v2",
            "stream-v2",
            "set-listpack",
            "stream-v3",
            "hash-hashtable-md-pre-release",
            "hash-listpack-md-pre-release",
            "hash-hashtable-md",
            "hash-listpack-md",
        ];
        NAMES.get(usize::from(kind)).copied().unwrap_or("unknown")
    }
}

/// What a quicklist node is.
pub mod container {
    /// One element, its bytes as they are.
    pub const PLAIN: u64 = 1;
    pub const PACKED: u64 = 2;
}

/// The top two bits of a length's first byte, and what they mean.
pub mod length {
    pub const BITS_6: u8 = 0;
    pub const BITS_14: u8 = 1;
    /// The whole byte, not only the top bits.
    pub const BITS_32: u8 = 0x80;
    pub const BITS_64: u8 = 0x81;
    /// No length: the low six bits say how the string is encoded.
    pub const ENCODED: u8 = 3;
}

/// How a string is encoded that does not begin with its length.
pub mod encoding {
    pub const INT8: u8 = 0;
    pub const INT16: u8 = 1;
    pub const INT32: u8 = 2;
    pub const LZF: u8 = 3;
}

/// What a module's value is made of.
pub mod module {
    pub const EOF: u64 = 0;
    pub const SINT: u64 = 1;
    pub const UINT: u64 = 2;
    pub const FLOAT: u64 = 3;
    pub const DOUBLE: u64 = 4;
    pub const STRING: u64 = 5;

    /// Nine letters of six bits each, then ten bits of version.
    pub fn name(id: u64) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (0..9).map(|index| char::from(LETTERS[(id >> (58 - 6 * index)) as usize & 63])).collect()
    }
}

/// Version and checksum behind a DUMP payload.
pub const FOOTER_BYTES: usize = 10;
