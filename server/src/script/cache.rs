//! The script cache: bodies by SHA1, shared by all threads. What they are compiled to is each thread's own.

use super::flags::{self, ScriptFlags};
use foldhash::HashMap;
use parking_lot::RwLock;
use sha1::{Digest, Sha1};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// 40 hex digits in lower case: the name of a script.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha([u8; 40]);

/// 64 of its bits are as good as all.
impl Hash for Sha {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (first, _) = self.0.split_first_chunk::<16>().expect("40 digits");
        state.write_u128(u128::from_ne_bytes(*first));
    }
}

impl Sha {
    pub fn of(body: &[u8]) -> Sha {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 40];
        for (i, byte) in Sha1::digest(body).iter().enumerate() {
            hex[2 * i] = DIGITS[usize::from(byte >> 4)];
            hex[2 * i + 1] = DIGITS[usize::from(byte & 15)];
        }
        Sha(hex)
    }

    /// From what a client sent; anything of another length names nothing.
    pub fn parse(text: &[u8]) -> Option<Sha> {
        let mut hex: [u8; 40] = text.try_into().ok()?;
        hex.make_ascii_lowercase();
        Some(Sha(hex))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What is known about where the keys of a piece of code are.
#[derive(Default)]
pub struct Reach {
    /// It names a command that looks at more than the keys it is given.
    names_the_world: bool,
    /// It once touched a key it had not declared.
    strays: AtomicBool,
    /// It ran with the world at rest once, and did not stray.
    tried: AtomicBool,
}

impl Reach {
    pub fn of(code: &[u8]) -> Reach {
        Reach { names_the_world: super::reach::names_the_world(code), ..Reach::default() }
    }

    pub fn needs_world(&self) -> bool {
        self.names_the_world || self.strays.load(Ordering::Relaxed)
    }

    pub fn is_tried(&self) -> bool {
        self.tried.load(Ordering::Relaxed)
    }

    pub fn note_tried(&self) {
        self.tried.store(true, Ordering::Relaxed);
    }

    pub fn note_stray(&self) {
        self.strays.store(true, Ordering::Relaxed);
    }
}

pub struct Script {
    pub sha: Sha,
    pub body: Box<[u8]>,
    pub flags: ScriptFlags,
    /// Bytes of `body` before the Lua code.
    pub head_len: usize,
    pub reach: Reach,
}

impl Script {
    pub fn new(body: &[u8], sha: Sha) -> Result<Script, Vec<u8>> {
        let (flags, head_len) = flags::of_script(body)?;
        let reach = Reach::of(&body[head_len..]);
        Ok(Script { sha, body: body.into(), flags, head_len, reach })
    }

    pub fn code(&self) -> &[u8] {
        &self.body[self.head_len..]
    }
}

#[derive(Default)]
pub struct ScriptCache {
    scripts: RwLock<HashMap<Sha, Arc<Script>>>,
    /// Grows with each flush; compiled scripts of another epoch are stale.
    epoch: AtomicU64,
    bytes: AtomicU64,
}

impl ScriptCache {
    pub fn get(&self, sha: &Sha) -> Option<Arc<Script>> {
        self.scripts.read().get(sha).cloned()
    }

    /// As [`ScriptCache::get`], for who needs no more than that.
    pub fn flags_of(&self, sha: &Sha) -> Option<ScriptFlags> {
        self.scripts.read().get(sha).map(|script| script.flags)
    }

    pub fn add(&self, script: Arc<Script>) {
        let bytes = (size_of::<Script>() + script.body.len()) as u64;
        if self.scripts.write().insert(script.sha, script).is_none() {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub fn flush(&self) {
        let flushed = std::mem::take(&mut *self.scripts.write());
        self.epoch.fetch_add(1, Ordering::Release);
        self.bytes.store(0, Ordering::Relaxed);
        drop(flushed);
    }

    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub fn len(&self) -> usize {
        self.scripts.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory of the bodies and what is kept with them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
