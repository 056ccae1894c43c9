//! The folder of a cluster on this machine: one folder per node, named after its port.
//!
//! ```text
//!  DIR/7000/redis.conf   written once, then the node's own (CONFIG REWRITE)
//!          /node.log     the node's log
//!          /node.pid     the process, while there is one
//!          /output.log   what the process printed outside its log, from its last start
//!          /nodes.conf, dump.rdb, appendonlydir/
//! ```

use super::conf;
use crate::address::Address;
use crate::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct NodeFolder {
    pub port: u16,
    /// Absolute.
    pub path: PathBuf,
}

impl NodeFolder {
    pub fn address(&self) -> Address {
        Address::local(self.port)
    }

    pub fn conf_path(&self) -> PathBuf {
        self.path.join("redis.conf")
    }

    pub fn pid_path(&self) -> PathBuf {
        self.path.join("node.pid")
    }

    pub fn log_path(&self) -> PathBuf {
        self.path.join("node.log")
    }

    pub fn output_path(&self) -> PathBuf {
        self.path.join("output.log")
    }

    /// The password in the node's redis.conf.
    pub fn password(&self) -> Option<String> {
        conf::value(&fs::read_to_string(self.conf_path()).ok()?, "requirepass")
    }
}

#[derive(Debug)]
pub struct ClusterFolder {
    /// Absolute, without links.
    pub path: PathBuf,
    /// In the order of their ports.
    pub nodes: Vec<NodeFolder>,
    /// Made by this process, to be undone should the rest fail.
    made: Vec<PathBuf>,
}

impl ClusterFolder {
    /// The cluster that lives in `path`; `None` when no node has its folder there.
    pub fn find(path: &Path) -> Result<Option<ClusterFolder>, Error> {
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("open", path, error)),
        };
        let entries = fs::read_dir(&path).map_err(|error| Error::file("read the folder", &path, error))?;
        let mut nodes: Vec<NodeFolder> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let port = path.file_name()?.to_str()?.parse().ok()?;
                path.join("redis.conf").is_file().then_some(NodeFolder { port, path })
            })
            .collect();
        nodes.sort_by_key(|node| node.port);
        Ok((!nodes.is_empty()).then_some(ClusterFolder { path, nodes, made: Vec::new() }))
    }

    /// As [`ClusterFolder::find`], for commands that need one.
    pub fn open(path: &Path) -> Result<ClusterFolder, Error> {
        ClusterFolder::find(path)?.ok_or_else(|| {
            Error::Usage(format!("{} holds no cluster made by 'balas cluster up'", path.display()))
        })
    }

    /// Makes the folders and redis.conf files of a new cluster; on an error nothing is left of them.
    pub fn make(
        path: &Path,
        ports: &[u16],
        settings: Option<&str>,
        password: Option<&str>,
    ) -> Result<ClusterFolder, Error> {
        let mut folder = ClusterFolder { path: path.to_owned(), nodes: Vec::new(), made: Vec::new() };
        match folder.fill(ports, settings, password) {
            Ok(()) => Ok(folder),
            Err(error) => {
                folder.unmake();
                Err(error)
            }
        }
    }

    fn fill(&mut self, ports: &[u16], settings: Option<&str>, password: Option<&str>) -> Result<(), Error> {
        if !self.path.exists() {
            let create = fs::create_dir_all(&self.path);
            create.map_err(|error| Error::file("create", &self.path, error))?;
            self.made.push(self.path.clone());
        }
        self.path = self.path.canonicalize().map_err(|error| Error::file("open", &self.path, error))?;
        for &port in ports {
            let node = NodeFolder { port, path: self.path.join(port.to_string()) };
            // A folder that is there already holds somebody's data.
            fs::create_dir(&node.path).map_err(|error| Error::file("create", &node.path, error))?;
            self.made.push(node.path.clone());
            let text = conf::text(settings, port, &node.path, &node.pid_path(), password);
            write_private(&node.conf_path(), &text)
                .map_err(|error| Error::file("write", node.conf_path(), error))?;
            self.nodes.push(node);
        }
        Ok(())
    }

    /// Removes what this process made, and no other file.
    pub fn unmake(&mut self) {
        for path in self.made.drain(..).rev() {
            let is_node = path != self.path;
            // What cannot be removed stays, and says so by being there.
            let _ = if is_node { fs::remove_dir_all(&path) } else { fs::remove_dir(&path) };
        }
    }

    pub fn is_new(&self) -> bool {
        !self.made.is_empty()
    }

    pub fn addresses(&self) -> Vec<Address> {
        self.nodes.iter().map(NodeFolder::address).collect()
    }

    pub fn password(&self) -> Option<String> {
        self.nodes.iter().find_map(NodeFolder::password)
    }
}

/// Writes a file that may hold a password.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
