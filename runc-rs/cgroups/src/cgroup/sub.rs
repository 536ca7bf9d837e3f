//! Cgroups below a container's, for further processes of it; and the ownership of a cgroup that is handed to a container.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{Cgroup, UNIFIED};
use crate::dir::Dir;
use crate::error::{Error, Result};

/// The kernel's list of the files that whoever a cgroup is delegated to must own (Linux 4.15; cgroups(7)).
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";

impl Cgroup {
    /// The cgroup below this one that `paths` names by controller; under [`UNIFIED`] it is for all. Controllers that are not named stay
    /// where they are. Nothing is made: a process enters what is there.
    ///
    /// # Errors
    /// [`Error::NotSubCgroup`] for a path that leads out, [`Error::SubCgroupController`].
    pub fn below(&self, paths: &BTreeMap<String, PathBuf>) -> Result<Self> {
        let mut below = self.clone();
        if let Some(path) = paths.get(UNIFIED) {
            let path = descend(path)?;
            below.paths.values_mut().for_each(|directory| directory.push(&path));
            return Ok(below);
        }
        for (controller, path) in paths {
            let directory = below.paths.get_mut(controller);
            let unknown = || Error::SubCgroupController(controller.clone());
            directory.ok_or_else(unknown)?.push(descend(path)?);
        }
        Ok(below)
    }

    /// Gives the cgroup2 directory, and those of its files that the kernel lists for that, to a user: whoever is root in a container
    /// with a user namespace may then make cgroups below it. v1 is not delegated.
    ///
    /// # Errors
    /// A file that cannot be given away; files that are not there are none.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        let Some(directory) = self.unified() else {
            return Ok(());
        };
        let dir = Dir::open(directory)?;
        dir.chown(".", uid)?;
        let list = std::fs::read_to_string(DELEGATE);
        let list = list
            .as_deref()
            .unwrap_or("cgroup.procs\ncgroup.subtree_control\ncgroup.threads");
        list.lines()
            .map(str::trim)
            .filter(|file| !file.is_empty())
            .try_for_each(|file| match dir.chown(file, uid) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
                result => result,
            })
    }
}

/// The path, relative and without detours; one that climbs above its beginning is refused.
fn descend(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir if clean.pop() => {}
            Component::ParentDir => return Err(Error::NotSubCgroup(path.display().to_string())),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(pairs: &[(&str, &str)]) -> Result<BTreeMap<String, PathBuf>> {
        let paths = [("cpu", "/v1/cpu/c"), ("", "/v2/c")].map(|(k, v)| (k.to_owned(), v.into()));
        let wanted = pairs.iter().map(|(k, v)| ((*k).to_owned(), v.into())).collect();
        Ok(Cgroup::load(paths.into()).below(&wanted)?.paths)
    }

    #[test]
    fn below_for_all_or_for_one() {
        let all = below(&[("", "/a/./b/../x")]).unwrap();
        assert_eq!(all["cpu"], Path::new("/v1/cpu/c/a/x"));
        assert_eq!(all[""], Path::new("/v2/c/a/x"));
        let one = below(&[("cpu", "a")]).unwrap();
        assert_eq!(
            (one["cpu"].as_path(), one[""].as_path()),
            (Path::new("/v1/cpu/c/a"), Path::new("/v2/c"))
        );
        assert!(matches!(below(&[("", "../d")]), Err(Error::NotSubCgroup(_))));
        assert!(matches!(below(&[("cpu", "a/../../d")]), Err(Error::NotSubCgroup(_))));
        assert!(matches!(below(&[("memory", "a")]), Err(Error::SubCgroupController(_))));
    }
}
