//! What a new directory needs before a process may enter it.

use std::path::{Path, PathBuf};

use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::host::Mode;

/// Makes a directory and its parents; what was made is appended to `made`, parents first.
pub(super) fn make(directory: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    match std::fs::create_dir(directory) {
        Ok(()) => {
            made.push(directory.to_owned());
            Ok(())
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let parent = directory
                .parent()
                .ok_or_else(|| Error::NotCgroup(directory.to_owned()))?;
            make(parent, made)?;
            make(directory, made)
        }
        Err(e) => Err(Error::io("mkdir", directory)(e)),
    }
}

/// Takes over from the parents what v1's cpuset and v2's controllers do not inherit by themselves.
pub(super) fn inherit(directory: &Path, mode: Mode) -> Result<()> {
    let dir = Dir::open(directory)?;
    if dir.has("cpuset.cpus") && !dir.has("cgroup.controllers") {
        inherit_cpuset(&dir)?;
    }
    // On a hybrid host the unified side is for identity; its controllers are enabled when a limit needs one.
    if mode == Mode::V2 {
        enable_controllers(directory)?;
    }
    Ok(())
}

/// A v1 cpuset takes no process while its cpus or memory nodes are empty.
fn inherit_cpuset(dir: &Dir) -> Result<()> {
    let empty = |file: &str| dir.read(file).map(|text| text.trim().is_empty());
    let (cpus, mems) = (empty("cpuset.cpus")?, empty("cpuset.mems")?);
    if !cpus && !mems {
        return Ok(());
    }
    let parent = dir
        .path()
        .parent()
        .ok_or_else(|| Error::NotCgroup(dir.path().to_owned()))?;
    let parent = Dir::open(parent)?;
    inherit_cpuset(&parent)?;
    for file in [cpus.then_some("cpuset.cpus"), mems.then_some("cpuset.mems")]
        .into_iter()
        .flatten()
    {
        dir.write(file, parent.read(file)?.trim())?;
    }
    Ok(())
}

/// Enables, in each ancestor of a v2 cgroup, the controllers that it offers. Controllers that cannot be enabled (an ancestor
/// with processes of its own, realtime processes under cpu) are left out: a limit that needs one says so when it is set.
pub(super) fn enable_controllers(directory: &Path) -> Result<()> {
    let mut ancestors: Vec<&Path> = directory
        .ancestors()
        .skip(1)
        .take_while(|a| a.join("cgroup.controllers").exists())
        .collect();
    ancestors.reverse();
    for ancestor in ancestors {
        let dir = Dir::open(ancestor)?;
        let enabled = dir.read("cgroup.subtree_control")?;
        let enabled: Vec<&str> = enabled.split_whitespace().collect();
        let offered = dir.read("cgroup.controllers")?;
        let missing: Vec<String> = offered
            .split_whitespace()
            .filter(|c| !enabled.contains(c))
            .map(|c| format!("+{c}"))
            .collect();
        if missing.is_empty() || dir.write("cgroup.subtree_control", &missing.join(" ")).is_ok() {
            continue;
        }
        for one in &missing {
            // See above: a controller that stays off is reported by the write that needs it.
            let _ = dir.write("cgroup.subtree_control", one);
        }
    }
    Ok(())
}
