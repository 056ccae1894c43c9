//! Function libraries: which there are, and which functions they register.

use super::cache::Reach;
use super::flags::{self, ScriptFlags};
use super::{Scripts, engine};
use foldhash::HashMap;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long a client's FUNCTION LOAD may run a library's code.
pub const LOAD_TIMEOUT_MS: u64 = 500;

/// A function as a library has registered it.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    pub name: Vec<u8>,
    pub description: Option<Vec<u8>>,
    pub flags: ScriptFlags,
}

pub struct Library {
    /// Never used twice: what a thread has compiled belongs to one of these.
    pub id: u64,
    pub name: Vec<u8>,
    /// With its first line.
    pub body: Box<[u8]>,
    pub functions: Vec<FunctionSpec>,
    pub reach: Reach,
}

impl Library {
    pub fn memory_bytes(&self) -> usize {
        let functions = self.functions.iter().map(|function| size_of_val(function) + function.name.len());
        size_of::<Library>() + self.name.len() + self.body.len() + functions.sum::<usize>()
    }

    /// The Lua code: all behind the first line.
    pub fn code(&self) -> &[u8] {
        let end = self.body.iter().position(|&b| b == b'\n').unwrap_or(self.body.len());
        &self.body[end..]
    }
}

/// A set of libraries without two of a name, nor two functions of a name.
#[derive(Clone, Default)]
pub struct LibrarySet {
    libraries: BTreeMap<Vec<u8>, Arc<Library>>,
    /// By name in lower case: library, and place in it.
    functions: HashMap<Vec<u8>, (Arc<Library>, usize)>,
}

impl LibrarySet {
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.libraries.values()
    }

    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    fn take(&mut self, name: &[u8]) -> Option<Arc<Library>> {
        let library = self.libraries.remove(name)?;
        self.functions.retain(|_, (other, _)| other.id != library.id);
        Some(library)
    }

    fn put(&mut self, library: Arc<Library>) -> Result<(), Vec<u8>> {
        for function in &library.functions {
            if self.functions.contains_key(&function.name.to_ascii_lowercase()) {
                return Err([b"Function ", &function.name[..], b" already exists"].concat());
            }
        }
        for (at, function) in library.functions.iter().enumerate() {
            self.functions.insert(function.name.to_ascii_lowercase(), (library.clone(), at));
        }
        self.libraries.insert(library.name.clone(), library);
        Ok(())
    }

    /// Adds a library, in place of one of that name if `replace`.
    pub fn add(&mut self, library: Arc<Library>, replace: bool) -> Result<(), Vec<u8>> {
        if !replace && self.libraries.contains_key(&library.name) {
            return Err([b"Library '", &library.name[..], b"' already exists"].concat());
        }
        let old = self.take(&library.name);
        self.put(library).inspect_err(|_| {
            let put_back = old.map_or(Ok(()), |old| self.put(old));
            debug_assert!(put_back.is_ok(), "it was there before");
        })
    }

    /// Adds all of `other`, or nothing.
    pub fn join(&mut self, other: LibrarySet, replace: bool) -> Result<(), Vec<u8>> {
        let mut joined = self.clone();
        for library in other.iter() {
            if joined.take(&library.name).is_some() && !replace {
                return Err([b"Library ", &library.name[..], b" already exists"].concat());
            }
        }
        for library in other.iter() {
            joined.put(library.clone())?;
        }
        *self = joined;
        Ok(())
    }
}

#[derive(Default)]
pub struct Libraries {
    set: RwLock<Arc<LibrarySet>>,
    /// Grows with each change; a thread then looks which of its libraries are gone.
    epoch: AtomicU64,
    next_id: AtomicU64,
}

impl Libraries {
    pub fn current(&self) -> Arc<LibrarySet> {
        self.set.read().clone()
    }

    /// Puts another set in force. Changes are made with the world at rest or while nothing is served.
    pub fn replace(&self, set: LibrarySet) {
        *self.set.write() = Arc::new(set);
        self.epoch.fetch_add(1, Ordering::Release);
    }

    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The function of this name, in any case: its library and its place there.
    pub fn find(&self, name: &[u8]) -> Option<(Arc<Library>, usize)> {
        let set = self.set.read();
        if set.functions.is_empty() {
            return None;
        }
        set.functions.get(&name.to_ascii_lowercase()).cloned()
    }

    /// FUNCTION DELETE. False when there is no such library.
    pub fn delete(&self, name: &[u8]) -> bool {
        let mut set = LibrarySet::clone(&self.current());
        let found = set.take(name).is_some();
        if found {
            self.replace(set);
        }
        found
    }
}

impl Scripts {
    /// Runs a library's code and adds it to `set`. Returns its name. `timeout_ms` bounds the time its code may take.
    pub fn load_library(
        &self,
        set: &mut LibrarySet,
        body: &[u8],
        replace: bool,
        timeout_ms: Option<u64>,
    ) -> Result<Vec<u8>, Vec<u8>> {
        const BAD_NAME: &[u8] = b"Library names can only contain letters, numbers, or underscores(_) \
                                  and must be at least one character long";
        let head = flags::of_library(body)?;
        if !flags::is_valid_name(&head.name) {
            return Err(BAD_NAME.to_vec());
        }
        if !head.engine.eq_ignore_ascii_case(b"lua") {
            return Err([b"Engine '", &head.engine[..], b"' not found"].concat());
        }
        if !replace && set.libraries.contains_key(&head.name) {
            return Err([b"Library '", &head.name[..], b"' already exists"].concat());
        }
        let functions = engine::with(self, |engine| engine.load(head.code, timeout_ms))?;
        if functions.is_empty() {
            return Err(b"No functions registered".to_vec());
        }
        let id = self.libraries.next_id.fetch_add(1, Ordering::Relaxed);
        let reach = Reach::of(head.code);
        let name = head.name.clone();
        let library = Library { id, name: head.name, body: body.into(), functions, reach };
        set.add(Arc::new(library), replace)?;
        Ok(name)
    }
}
