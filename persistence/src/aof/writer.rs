//! The end of the AOF that is being written.
//!
//! ```text
//!  rotate           old increment synced ▶ new one made ▶ manifest names it ▶ writes go there
//!  (rewrite         the snapshot of the same moment is written as a temporary base)
//!  finish_rewrite   base renamed ▶ manifest: new base, old files history ▶ history removed ▶ manifest
//! ```
//!
//! Whatever moment the server dies at, the manifest on disk names files that are there and together hold
//! every write that was synced.

use std::fmt;
use std::io::{self, Write};

use super::manifest::{AofNames, Manifest};
use crate::storage::{Storage, StorageFile};

/// The AOF could not be synced, or not be cut back after half a write. What is on disk is unknown, and no
/// later sync can tell: the server must stop acknowledging writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Poisoned;

impl fmt::Display for Poisoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the append only file is in an unknown state after an earlier error")
    }
}

impl std::error::Error for Poisoned {}

pub struct AofWriter<S: Storage> {
    storage: S,
    names: AofNames,
    manifest: Manifest,
    file: S::File,
    /// Bytes of the file being written.
    size_bytes: u64,
    synced_bytes: u64,
    /// The file is not in the manifest: there is no base yet that it could follow.
    is_waiting: bool,
    is_poisoned: bool,
}

impl<S: Storage> AofWriter<S> {
    /// Goes on where the last server ended, with the manifest of the [`super::Plan`] whose files were loaded.
    /// An AOF that is not there is begun, with a base that `write_base` writes. `start_offset` is the
    /// replication offset where a new increment begins.
    pub fn open(
        storage: S,
        names: AofNames,
        mut manifest: Manifest,
        start_offset: Option<u64>,
        write_base: impl FnOnce(&mut S::File) -> io::Result<()>,
    ) -> io::Result<Self> {
        storage.create_folder(&names.folder)?;
        storage.sync_folder("")?;
        if manifest.is_empty() {
            let temporary = names.path(&names.temporary_base());
            let mut base = storage.create(&temporary)?;
            write_base(&mut base)?;
            base.sync()?;
            let name = manifest.add_base(&names);
            storage.rename(&temporary, &names.path(&name))?;
        }
        let (path, file) = if let Some(info) = manifest.incrs.last() {
            let path = names.path(&info.name);
            let file = storage.append(&path)?;
            (path, file)
        } else {
            let path = names.path(&manifest.add_incr(&names, start_offset));
            let file = storage.create(&path)?;
            save_manifest(&storage, &names, &manifest)?;
            (path, file)
        };
        let size_bytes = storage.size(&path)?.unwrap_or(0);
        let mut writer = AofWriter {
            storage,
            names,
            manifest,
            file,
            size_bytes,
            synced_bytes: size_bytes,
            is_waiting: false,
            is_poisoned: false,
        };
        // What was loaded may not have been synced by the server that wrote it.
        writer.sync()?;
        Ok(writer)
    }

    /// Begins an AOF while the server runs: writes are kept aside until a rewrite has given them a base.
    pub fn open_waiting(storage: S, names: AofNames, manifest: Manifest) -> io::Result<Self> {
        storage.create_folder(&names.folder)?;
        storage.sync_folder("")?;
        let file = storage.create(&names.path(&names.temporary_incr()))?;
        Ok(AofWriter {
            storage,
            names,
            manifest,
            file,
            size_bytes: 0,
            synced_bytes: 0,
            is_waiting: true,
            is_poisoned: false,
        })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes of the increment being written.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Bytes of it that are safe.
    pub fn synced_bytes(&self) -> u64 {
        self.synced_bytes
    }

    /// True until the first rewrite of an AOF that was begun while the server ran.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// Appends whole commands. If they cannot all be written, what was is taken back, and the same bytes may
    /// be tried again later.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.refuse_if_poisoned()?;
        if let Err(error) = self.file.write_all(bytes) {
            self.is_poisoned = self.file.truncate(self.size_bytes).is_err();
            return Err(error);
        }
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Returns when all that was written is safe. After an error nothing is written any more: the kernel may
    /// have dropped the pages it could not write, and would report success the next time.
    pub fn sync(&mut self) -> io::Result<()> {
        self.refuse_if_poisoned()?;
        if let Err(error) = self.file.sync() {
            self.is_poisoned = true;
            return Err(error);
        }
        self.synced_bytes = self.size_bytes;
        Ok(())
    }

    /// The start of a rewrite: what is written from now on goes to a new increment, and the dataset of this
    /// moment to the base that [`AofWriter::create_base`] opens. If it fails, the old increment is written on.
    pub fn rotate(&mut self, start_offset: Option<u64>) -> io::Result<()> {
        // Else a crash could lose the end of this increment and keep the beginning of the next.
        self.sync()?;
        if self.is_waiting {
            return self.restart_waiting();
        }
        let mut manifest = self.manifest.clone();
        let name = manifest.add_incr(&self.names, start_offset);
        let file = self.storage.create(&self.names.path(&name))?;
        if let Err(error) = self.save(&manifest) {
            // The manifest may or may not name the new file now: both are whole AOFs as long as it is empty
            // and there. But the number must not be given out again with other contents.
            self.manifest.add_incr(&self.names, start_offset);
            self.manifest.incrs.pop();
            return Err(error);
        }
        self.manifest = manifest;
        self.file = file;
        (self.size_bytes, self.synced_bytes) = (0, 0);
        Ok(())
    }

    /// While there is no base, nothing written so far is needed: the snapshot has it.
    fn restart_waiting(&mut self) -> io::Result<()> {
        self.file.truncate(0)?;
        (self.size_bytes, self.synced_bytes) = (0, 0);
        Ok(())
    }

    /// The file a rewrite writes the base to. It has to be synced before [`AofWriter::finish_rewrite`].
    pub fn create_base(&self) -> io::Result<S::File> {
        self.storage.create(&self.names.path(&self.names.temporary_base()))
    }

    /// Whether the base that is finished next is an RDB file.
    pub fn set_rdb_base(&mut self, rdb_base: bool) {
        self.names.rdb_base = rdb_base;
    }

    /// The base is written and synced: it takes the place of all increments but the one being written.
    /// Returns the names of the files that were removed.
    pub fn finish_rewrite(&mut self, start_offset: Option<u64>) -> io::Result<Vec<String>> {
        self.sync()?;
        let mut manifest = self.manifest.clone();
        let base = manifest.add_base(&self.names);
        let temporary = self.names.path(&self.names.temporary_base());
        self.storage.rename(&temporary, &self.names.path(&base))?;
        if self.is_waiting {
            let name = manifest.add_incr(&self.names, start_offset);
            let temporary = self.names.path(&self.names.temporary_incr());
            self.storage.rename(&temporary, &self.names.path(&name))?;
            // From here on the file has another name, whatever becomes of the manifest.
            self.is_poisoned = true;
        }
        manifest.retire_incrs(1);
        self.save(&manifest)?;
        self.manifest = manifest;
        (self.is_waiting, self.is_poisoned) = (false, false);
        self.remove_history()
    }

    /// Removes the files of the past, and then their names from the manifest.
    pub fn remove_history(&mut self) -> io::Result<Vec<String>> {
        let mut removed = Vec::new();
        for info in &self.manifest.history {
            let path = self.names.path(&info.name);
            if self.storage.size(&path)?.is_some() {
                self.storage.remove(&path)?;
            }
            removed.push(info.name.clone());
        }
        if !removed.is_empty() {
            let mut manifest = self.manifest.clone();
            manifest.history.clear();
            self.save(&manifest)?;
            self.manifest = manifest;
        }
        Ok(removed)
    }

    /// Ends the AOF; what was written is safe.
    pub fn close(mut self) -> io::Result<()> {
        self.sync()
    }

    fn save(&self, manifest: &Manifest) -> io::Result<()> {
        save_manifest(&self.storage, &self.names, manifest)
    }

    fn refuse_if_poisoned(&self) -> io::Result<()> {
        if self.is_poisoned { Err(io::Error::other(Poisoned)) } else { Ok(()) }
    }
}

/// Puts a manifest in place of the one on disk.
pub(super) fn save_manifest(storage: &impl Storage, names: &AofNames, manifest: &Manifest) -> io::Result<()> {
    let temporary = names.path(&names.temporary_manifest());
    let mut file = storage.create(&temporary)?;
    file.write_all(manifest.format().as_bytes())?;
    file.sync()?;
    // What it names has to be there before it is.
    storage.sync_folder(&names.folder)?;
    storage.rename(&temporary, &names.path(&names.manifest()))?;
    storage.sync_folder(&names.folder)
}
