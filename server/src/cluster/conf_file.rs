//! nodes.conf on disk: read once, then held and replaced.
//!
//! **Invariant:** as long as the process lives it holds a lock (`flock`) on the file of this name, as stock does, so that no
//! second node takes up the same identity.
//!
//! Stock locks the file it finds at start and later puts another in its place, which nobody holds. Here the new file is
//! locked before it takes the name, and the old one let go after.

use crate::config::strerror;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub struct ConfFile {
    path: PathBuf,
    /// As the configuration calls it.
    name: String,
    /// The file of that name, locked.
    held: Mutex<Flock<File>>,
}

impl ConfFile {
    /// Takes the file of this name in `dir` for this process, and makes an empty one if there is none. Returns what is in
    /// it, too. The error says why it cannot be had.
    pub fn open(dir: &Path, name: &str) -> io::Result<(ConfFile, Vec<u8>)> {
        let path = dir.join(name);
        let mut file = loop {
            let file = open_locked(&path, name)?;
            // Another node may have put a new file in its place since it was opened; what is locked then is no file's.
            if has_name(&file, &path) {
                break file;
            }
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((ConfFile { path, name: name.to_owned(), held: Mutex::new(file) }, bytes))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts another text in place of what is there, by way of a temporary file, so that a crash leaves the old one or the
    /// new one.
    pub fn save(&self, text: &str, fsync: bool) -> io::Result<()> {
        let temporary = self.path.with_extension(format!("tmp-{}", std::process::id()));
        let mut held = self.held.lock();
        // Nobody else knows the name.
        let mut file = lock(File::create(&temporary)?, &self.name)?;
        file.write_all(text.as_bytes())?;
        if fsync {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, &self.path)?;
        *held = file;
        if fsync && let Some(dir) = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }
}

fn open_locked(path: &Path, name: &str) -> io::Result<Flock<File>> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = opened.map_err(|error| {
        let text = format!("Can't open {name} in order to acquire a lock: {}", strerror(&error));
        io::Error::new(error.kind(), text)
    })?;
    lock(file, name)
}

fn lock(file: File, name: &str) -> io::Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => io::Error::other(format!(
            "Sorry, the cluster configuration file {name} is already used by a different Redis Cluster node. Please make \
             sure that different nodes use different cluster configuration files."
        )),
        errno => io::Error::other(format!("Impossible to lock {name}: {}", errno.desc())),
    })
}

fn has_name(file: &File, path: &Path) -> bool {
    let inode = |found: std::fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(named)) => inode(held) == inode(named),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_held_over_all_that_is_saved() {
        let folder = std::env::temp_dir().join(format!("balas-conf-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let open = || ConfFile::open(&folder, "nodes.conf");
        let (held, bytes) = open().unwrap();
        assert!(bytes.is_empty());
        for text in ["one", "two"] {
            let error = open().err().expect("it is held");
            assert!(error.to_string().contains("nodes.conf is already used"), "{error}");
            held.save(text, true).unwrap();
        }
        drop(held);
        assert_eq!(open().unwrap().1, b"two");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left behind");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
