//! Where files live: one folder, with what a crash may take away made explicit.
//!
//! A name is relative to the folder, with at most one folder of its own in front: `appendonlydir/x.aof`.
//!
//! **Invariant:** bytes are safe after [`StorageFile::sync`], names (creation, renaming, removal) after
//! [`Storage::sync_folder`] of the folder they are in, and nothing is safe before.

mod disk;
mod memory;

pub use disk::{Disk, write_atomically};
pub use memory::{Loss, Memory, MemoryFile};

use std::io::{self, Read, Write};

pub trait Storage: Send + Sync {
    type File: StorageFile;

    /// Makes an empty file, or empties one.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to write at its end; makes it where absent.
    fn append(&self, name: &str) -> io::Result<Self::File>;

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// `None` if there is no such file.
    fn size(&self, name: &str) -> io::Result<Option<u64>>;

    fn truncate(&self, name: &str, size: u64) -> io::Result<()>;

    /// Replaces what was there under the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Names of the files in a folder, without the folder's; none if it does not exist. `""` is the root.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes a folder if it is not there.
    fn create_folder(&self, folder: &str) -> io::Result<()>;

    fn sync_folder(&self, folder: &str) -> io::Result<()>;
}

pub trait StorageFile: Write + Send {
    /// Returns when all that was written is safe. After an error nobody knows what is.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file, and goes on writing at its new end.
    fn truncate(&mut self, size: u64) -> io::Result<()>;
}

/// The folder a name is in.
pub fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}
