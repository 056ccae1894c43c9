//! What to do at start: which files to load, which to remove, whether to move an AOF of old.

use std::fmt;
use std::io::{self, Read};

use super::manifest::{AofNames, Manifest, ManifestError};
use super::writer::save_manifest;
use crate::storage::Storage;

/// What was found. Nothing has been changed but, where [`Plan::was_upgraded`] says so, the place of an AOF
/// from before there were manifests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    pub manifest: Manifest,
    /// To be loaded in this order. Empty if there is no AOF.
    pub files: Vec<PlannedFile>,
    /// Temporary files of a server that died, in the AOF's folder. Files of the past are in the manifest.
    pub leftovers: Vec<String>,
    pub was_upgraded: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedFile {
    /// Without the AOF's folder.
    pub name: String,
    pub size_bytes: u64,
    pub is_base: bool,
    pub start_offset: Option<u64>,
    /// Nothing follows but empty files. Only this one may end in the middle of a command.
    pub is_last: bool,
}

#[derive(Debug)]
pub enum PlanError {
    Manifest(ManifestError),
    /// The manifest names a file that is not there.
    Missing {
        name: String,
    },
    Io(io::Error),
}

impl From<io::Error> for PlanError {
    fn from(error: io::Error) -> Self {
        PlanError::Io(error)
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Manifest(error) => error.fmt(f),
            PlanError::Missing { name } => {
                write!(f, "The append log file {name} doesn't exist: No such file or directory")
            }
            PlanError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PlanError {}

/// Looks at the data folder.
pub fn plan(storage: &impl Storage, names: &AofNames) -> Result<Plan, PlanError> {
    let mut manifest = read_manifest(storage, names)?;
    let was_upgraded = upgrade(storage, names, &mut manifest)?;
    let mut files = Vec::new();
    let infos = manifest.base.iter().map(|info| (info, true));
    for (info, is_base) in infos.chain(manifest.incrs.iter().map(|info| (info, false))) {
        let (name, start_offset) = (info.name.clone(), info.start_offset);
        match storage.size(&names.path(&name))? {
            Some(size_bytes) => {
                files.push(PlannedFile { name, size_bytes, is_base, start_offset, is_last: false });
            }
            None => return Err(PlanError::Missing { name }),
        }
    }
    let mut nothing_follows = true;
    for file in files.iter_mut().rev() {
        file.is_last = nothing_follows;
        nothing_follows &= file.size_bytes == 0;
    }
    let temporary = format!("temp-{}", names.file);
    let mut leftovers = storage.list(&names.folder)?;
    leftovers.retain(|name| name.starts_with(&temporary));
    Ok(Plan { manifest, files, leftovers, was_upgraded })
}

fn read_manifest(storage: &impl Storage, names: &AofNames) -> Result<Manifest, PlanError> {
    let path = names.path(&names.manifest());
    if storage.size(&path)?.is_none() {
        return Ok(Manifest::default());
    }
    let mut text = Vec::new();
    storage.read(&path)?.read_to_end(&mut text)?;
    Manifest::parse(&text).map_err(PlanError::Manifest)
}

/// Moves an AOF of before Redis 7 into the folder and makes it the base. The manifest comes first: if the
/// server dies between the two, it says at the next start that the move is still to be done.
fn upgrade(storage: &impl Storage, names: &AofNames, manifest: &mut Manifest) -> Result<bool, PlanError> {
    if storage.size(&names.file)?.is_none() {
        return Ok(false);
    }
    let old = Manifest::of_old_file(names);
    let inside = names.path(&names.file);
    let is_half_done =
        manifest.base == old.base && manifest.incrs.is_empty() && storage.size(&inside)?.is_none();
    if !manifest.is_empty() && !is_half_done {
        return Ok(false);
    }
    storage.create_folder(&names.folder)?;
    storage.sync_folder("")?;
    save_manifest(storage, names, &old)?;
    storage.rename(&names.file, &inside)?;
    storage.sync_folder(&names.folder)?;
    storage.sync_folder("")?;
    *manifest = old;
    Ok(true)
}
