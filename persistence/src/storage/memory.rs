//! A file system in memory that crashes on demand, and then remembers no more than it has to.
//!
//! ```text
//!  names now ──sync_folder──▶ names on disk          every operation counts as one
//!  bytes now ──sync─────────▶ bytes on disk          the nth one, and all after it, fail
//!  crash(loss) ──▶ what a reboot finds
//! ```

use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Storage, StorageFile, folder_of};

/// What a crash takes of the things that were not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Nothing: only the process died.
    Nothing,
    /// All of them.
    Everything,
    /// Changes of names survive up to some moment, appended bytes up to some length, drawn by this seed.
    Some(u64),
}

#[derive(Clone, Default, Debug)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Default, Debug)]
struct State {
    files: Vec<Bytes>,
    names: BTreeMap<String, usize>,
    /// The names a crash cannot take away, and the changes it can.
    durable_names: BTreeMap<String, usize>,
    unsynced_changes: Vec<NameChange>,
    operations: u64,
    crash_at: Option<u64>,
    fail_sync_at: Option<u64>,
}

#[derive(Default, Debug)]
struct Bytes {
    now: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Rename(String, String),
    Remove(String),
}

impl NameChange {
    fn folder(&self) -> &str {
        match self {
            NameChange::Set(name, _) | NameChange::Rename(_, name) | NameChange::Remove(name) => {
                folder_of(name)
            }
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Set(name, file) => drop(names.insert(name.clone(), *file)),
            NameChange::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            NameChange::Remove(name) => drop(names.remove(name)),
        }
    }
}

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }

    /// Fails the operation of this number, counted from 0, and all after it.
    pub fn crash_at(&self, operation: u64) {
        self.state().crash_at = Some(operation);
    }

    /// Fails that one operation, if it is a sync of a file.
    pub fn fail_sync_at(&self, operation: u64) {
        self.state().fail_sync_at = Some(operation);
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// What is found after a crash at this moment.
    pub fn after_crash(&self, loss: Loss) -> Memory {
        let state = self.state();
        let mut seed = match loss {
            Loss::Some(seed) => seed,
            _ => 0,
        };
        let mut draw = |most: usize| match loss {
            Loss::Nothing => most,
            Loss::Everything => 0,
            Loss::Some(_) => {
                // SplitMix64.
                seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mixed = (seed ^ seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
                ((mixed ^ mixed >> 31) % (most as u64 + 1)) as usize
            }
        };
        let mut names = state.durable_names.clone();
        let survived = draw(state.unsynced_changes.len());
        state.unsynced_changes[..survived].iter().for_each(|change| change.apply(&mut names));
        let survivor = |file: &Bytes| {
            let bytes = match file.now.strip_prefix(&file.synced[..]) {
                Some(appended) => file.now[..file.synced.len() + draw(appended.len())].to_vec(),
                None if loss == Loss::Nothing => file.now.clone(),
                None => file.synced.clone(),
            };
            Bytes { now: bytes.clone(), synced: bytes }
        };
        let files = state.files.iter().map(survivor).collect();
        let state = State { files, names: names.clone(), durable_names: names, ..State::default() };
        Memory { state: Arc::new(Mutex::new(state)) }
    }

    /// The bytes of a file, for tests to look at.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|&file| state.files[file].now.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Counts an operation, unless it is the one to crash at.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let is_dead = state.crash_at.is_some_and(|at| state.operations >= at);
        if is_dead {
            return Err(io::Error::other("crashed"));
        }
        state.operations += 1;
        Ok(state)
    }
}

impl State {
    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_changes.push(change);
    }

    fn open(&mut self, name: &str) -> usize {
        if let Ok(file) = self.file(name) {
            return file;
        }
        self.files.push(Bytes::default());
        let file = self.files.len() - 1;
        self.change(NameChange::Set(name.to_owned(), file));
        file
    }
}

impl Storage for Memory {
    type File = MemoryFile;

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut state = self.operate()?;
        let file = state.open(name);
        state.files[file].now.clear();
        Ok(MemoryFile { memory: self.clone(), file })
    }

    fn append(&self, name: &str) -> io::Result<MemoryFile> {
        let file = self.operate()?.open(name);
        Ok(MemoryFile { memory: self.clone(), file })
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let state = self.operate()?;
        let file = state.file(name)?;
        Ok(Box::new(Cursor::new(state.files[file].now.clone())))
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        let state = self.operate()?;
        Ok(state.names.get(name).map(|&file| state.files[file].now.len() as u64))
    }

    fn truncate(&self, name: &str, size: u64) -> io::Result<()> {
        let mut state = self.operate()?;
        let file = state.file(name)?;
        let file = &mut state.files[file];
        file.now.truncate(size as usize);
        file.synced = file.now.clone();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        state.file(from)?;
        state.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        state.file(name)?;
        state.change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.operate()?;
        let in_folder = state.names.keys().filter(|name| folder_of(name) == folder);
        Ok(in_folder.map(|name| name.rsplit('/').next().unwrap_or_default().to_owned()).collect())
    }

    /// Folders are there as soon as something is in them.
    fn create_folder(&self, _folder: &str) -> io::Result<()> {
        self.operate().map(drop)
    }

    /// Makes all changes up to the folder's last one durable: a journal keeps its order.
    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        let last = state.unsynced_changes.iter().rposition(|change| change.folder() == folder);
        let synced: Vec<_> = state.unsynced_changes.drain(..last.map_or(0, |last| last + 1)).collect();
        synced.iter().for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }
}

#[derive(Debug)]
pub struct MemoryFile {
    memory: Memory,
    file: usize,
}

impl Write for MemoryFile {
    /// A crash in the middle of a write leaves half of it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.file;
        match self.memory.operate() {
            Ok(mut state) => {
                state.files[file].now.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Err(error) => {
                let mut state = self.memory.state();
                if state.crash_at == Some(state.operations) {
                    state.files[file].now.extend_from_slice(&bytes[..bytes.len() / 2]);
                    state.crash_at = Some(0);
                }
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for MemoryFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.memory.operate()?;
        if state.fail_sync_at == Some(state.operations - 1) {
            return Err(io::Error::other("sync failed"));
        }
        let file = &mut state.files[self.file];
        file.synced = file.now.clone();
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        let mut state = self.memory.operate()?;
        state.files[self.file].now.truncate(size as usize);
        Ok(())
    }
}
