//! `down`: stops every node of a folder; all may save first.

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::node::folder::ClusterFolder;
use crate::node::process;
use std::path::Path;

pub fn run(dir: &Path, interrupt: &Interrupt) -> Result<(), Error> {
    let folder = ClusterFolder::open(dir)?;
    match process::stop_all(&folder.nodes, interrupt)? {
        0 => say!("No node of {} was running.", folder.path.display()),
        stopped => say!("Stopped {stopped} nodes of {}.", folder.path.display()),
    }
    Ok(())
}
