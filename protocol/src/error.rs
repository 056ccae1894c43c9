//! What a client sees when a command fails: the exact texts, in one place.

use crate::slot::Slot;
use std::borrow::Cow;

/// What is longer is no code.
const CODE_LEN_MAX: usize = 30;

/// An error reply without its leading `-` and trailing CRLF: a code word, a space, a text.
///
/// Texts that stock Redis also sends are byte for byte the same: clients match on them.
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyError(Cow<'static, [u8]>);

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl ReplyError { $($(#[$doc])* pub const $name: ReplyError = ReplyError::fixed($text);)* }
    };
}

errors! {
    SYNTAX = "ERR syntax error";
    WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
    NO_SUCH_KEY = "ERR no such key";
    NOT_INTEGER = "ERR value is not an integer or out of range";
    NOT_FLOAT = "ERR value is not a valid float";
    OUT_OF_RANGE = "ERR value is out of range";
    MUST_BE_POSITIVE = "ERR value is out of range, must be positive";
    INDEX_OUT_OF_RANGE = "ERR index out of range";
    OFFSET_OUT_OF_RANGE = "ERR offset is out of range";
    SAME_OBJECT = "ERR source and destination objects are the same";
    STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    INCR_OVERFLOW = "ERR increment or decrement would overflow";
    INCR_NAN = "ERR increment would produce NaN or Infinity";
    SCORE_NAN = "ERR resulting score is not a number (NaN)";
    BUSY_KEY = "BUSYKEY Target key name already exists.";
    INVALID_CURSOR = "ERR invalid cursor";
    INVALID_DB = "ERR invalid DB index";
    DB_OUT_OF_RANGE = "ERR DB index is out of range";
    TIMEOUT_NOT_FLOAT = "ERR timeout is not a float or out of range";
    TIMEOUT_NEGATIVE = "ERR timeout is negative";
    TIMEOUT_NOT_INTEGER = "ERR timeout is not an integer or out of range";
    TIMEOUT_OUT_OF_RANGE = "ERR timeout is out of range";
    NO_AUTH = "NOAUTH Authentication required.";
    NO_PROTO = "NOPROTO unsupported protocol version";
    WRONG_PASS = "WRONGPASS invalid username-password pair or user is disabled.";
    OOM = "OOM command not allowed when used memory > 'maxmemory'.";
    LOADING = "LOADING Redis is loading the dataset in memory";
    MASTER_DOWN = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    READ_ONLY = "READONLY You can't write against a read only replica.";
    NO_REPLICAS = "NOREPLICAS Not enough good replicas to write.";
    EXEC_ABORT = "EXECABORT Transaction discarded because of previous errors.";
    CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot";
    TRY_AGAIN = "TRYAGAIN Multiple keys request during rehashing of slot";
    CLUSTER_DOWN = "CLUSTERDOWN The cluster is down";
    CLUSTER_DOWN_READ_ONLY = "CLUSTERDOWN The cluster is down and only accepts read commands";
    CLUSTER_DOWN_UNBOUND = "CLUSTERDOWN Hash slot not served";
    CLUSTER_DISABLED = "ERR This instance has cluster support disabled";
    NESTED_MULTI = "ERR MULTI calls can not be nested";
    EXEC_WITHOUT_MULTI = "ERR EXEC without MULTI";
    DISCARD_WITHOUT_MULTI = "ERR DISCARD without MULTI";
    WATCH_INSIDE_MULTI = "ERR WATCH inside MULTI is not allowed";
    NO_SCRIPT = "NOSCRIPT No matching script. Please use EVAL.";
    NO_PERM_DEBUG = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.";
}

impl ReplyError {
    /// An error whose text is known beforehand.
    pub const fn fixed(text: &'static str) -> ReplyError {
        ReplyError(Cow::Borrowed(text.as_bytes()))
    }

    /// An error whose text quotes something. Line breaks become spaces: they would end the reply early.
    pub fn new(text: impl Into<Vec<u8>>) -> ReplyError {
        let mut text = text.into();
        for b in &mut text {
            if matches!(b, b'\r' | b'\n') {
                *b = b' ';
            }
        }
        ReplyError(Cow::Owned(text))
    }

    /// Wrong number of arguments; `name` is the command's full name, `config|get`.
    pub fn arity(name: &str) -> ReplyError {
        ReplyError::new(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// An expiry that is zero, negative or too far; `name` is the command's full name.
    pub fn invalid_expire(name: &str) -> ReplyError {
        ReplyError::new(format!("ERR invalid expire time in '{name}' command"))
    }

    pub fn unknown_command<'a>(name: &[u8], args: impl Iterator<Item = &'a [u8]>) -> ReplyError {
        // Stock quotes at most 128 bytes of the name and stops adding arguments at 128 bytes of them.
        let quote = |bytes: &[u8], most: usize| bytes[..bytes.len().min(most)].to_vec();
        let mut quoted = Vec::new();
        for arg in args {
            if quoted.len() >= 128 {
                break;
            }
            let most = 128 - quoted.len();
            quoted.push(b'\'');
            quoted.extend(quote(arg, most));
            quoted.extend_from_slice(b"' ");
        }
        let mut text = b"ERR unknown command '".to_vec();
        text.extend(quote(name, 128));
        text.extend_from_slice(b"', with args beginning with: ");
        text.extend(quoted);
        ReplyError::new(text)
    }

    pub fn unknown_subcommand(container: &str, sub: &[u8]) -> ReplyError {
        let mut text = b"ERR unknown subcommand '".to_vec();
        text.extend_from_slice(&sub[..sub.len().min(128)]);
        text.extend_from_slice(b"'. Try ");
        text.extend(container.to_ascii_uppercase().bytes());
        text.extend_from_slice(b" HELP.");
        ReplyError::new(text)
    }

    /// As [`ReplyError::unknown_subcommand`], where it is known and does not take these arguments.
    pub fn subcommand_syntax(container: &[u8], sub: &[u8]) -> ReplyError {
        let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
        text.extend_from_slice(&sub[..sub.len().min(128)]);
        text.extend_from_slice(b"'. Try ");
        text.extend(container.to_ascii_uppercase());
        text.extend_from_slice(b" HELP.");
        ReplyError::new(text)
    }

    /// `-MOVED slot host:port`
    pub fn moved(slot: Slot, host: &str, port: u16) -> ReplyError {
        ReplyError::new(format!("MOVED {slot} {host}:{port}"))
    }

    /// `-ASK slot host:port`
    pub fn ask(slot: Slot, host: &str, port: u16) -> ReplyError {
        ReplyError::new(format!("ASK {slot} {host}:{port}"))
    }

    /// Whether it says that the keys' slot, or all of them, are not served here, now, or together.
    pub fn is_about_routing(&self) -> bool {
        matches!(self.code(), b"MOVED" | b"ASK" | b"TRYAGAIN" | b"CROSSSLOT" | b"CLUSTERDOWN")
    }

    /// The refusal of a client from elsewhere while protected mode is on and no password is set.
    pub fn protected_mode() -> ReplyError {
        ReplyError::fixed(
            "DENIED Redis is running in protected mode because protected mode is enabled and no password is set \
             for the default user. In this mode connections are only accepted from the loopback interface. If you \
             want to connect from external computers to Redis you may adopt one of the following solutions: 1) \
             Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback \
             interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is \
             not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. \
             2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and \
             setting the protected mode option to 'no', and then restarting the server. 3) If you started the \
             server manually just for testing, restart it with the '--protected-mode no' option. 4) Set up an \
             authentication password for the default user. NOTE: You only need to do one of the above things in \
             order for the server to start accepting connections from the outside.",
        )
    }

    /// Code and text, as they follow the `-`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first word, by which `INFO errorstats` counts, if it is one that could be a code.
    pub fn code(&self) -> &[u8] {
        let longest = &self.0[..self.0.len().min(CODE_LEN_MAX + 1)];
        longest.iter().position(|&b| b == b' ').map_or(b"ERR", |end| &longest[..end])
    }
}

impl std::fmt::Debug for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl std::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl std::error::Error for ReplyError {}
