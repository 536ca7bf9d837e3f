//! Bundles: the directory a shim runs in, and all that is known of a task when nobody remembers it.
//!
//! `STATE/io.containerd.runtime.v2.task/NAMESPACE/ID/` is containerd's layout to the letter, so that shims find what they expect and
//! either manager finds the other's tasks.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use containerd_rs_core::{Error, Result};
use rustix::mount::{UnmountFlags, unmount};

/// The directory below root and state; the name of containerd's plugin.
const PLUGIN: &str = "io.containerd.runtime.v2.task";

/// Where bundles are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) state: PathBuf,
    pub(crate) root: PathBuf,
}

impl Places {
    pub(crate) fn new(root: &Path, state: &Path) -> Self {
        Places {
            state: state.join(PLUGIN),
            root: root.join(PLUGIN),
        }
    }

    /// Makes the directories that are there before any task: state may be passed through, root may not.
    pub(crate) fn prepare(&self) -> Result<()> {
        make(&self.state, 0o711)?;
        make(&self.root, 0o711)
    }

    pub(crate) fn bundle(&self, namespace: &str, id: &str) -> Bundle {
        Bundle {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            path: self.state.join(namespace).join(id),
            work: self.root.join(namespace).join(id),
        }
    }

    /// All bundles that are there, whatever state they are in. What a removal left half-way is removed.
    pub(crate) fn all(&self) -> Result<Vec<Bundle>> {
        let mut bundles = Vec::new();
        for namespace in names(&self.state)? {
            for id in names(&self.state.join(&namespace))? {
                if id.starts_with('.') {
                    let path = self.state.join(&namespace).join(&id);
                    if let Err(error) = fs::remove_dir_all(&path) {
                        tracing::warn!(path = %path.display(), %error, "an old bundle stays");
                    }
                    continue;
                }
                bundles.push(self.bundle(&namespace, &id));
            }
        }
        Ok(bundles)
    }

    /// Removes work directories without a bundle: the state directory went with a reboot, this one did not.
    pub(crate) fn remove_orphans(&self) -> Result<()> {
        for namespace in names(&self.root)? {
            for id in names(&self.root.join(&namespace))? {
                let bundle = self.bundle(&namespace, &id);
                if !bundle.path.exists() {
                    remove_tree(&bundle.work)?;
                }
            }
        }
        Ok(())
    }
}

/// The names of the directories in a directory; none when it is not there.
fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| Error::io(format!("read {}", directory.display()), e))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(format!("read {}", directory.display()), e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

fn make(path: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|e| Error::io(format!("mkdir {}", path.display()), e))
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(format!("remove {}", path.display()), e)),
        _ => Ok(()),
    }
}

/// One task's bundle.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    pub(crate) namespace: String,
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    work: PathBuf,
}

impl Bundle {
    /// Makes the directories and writes the spec.
    ///
    /// # Errors
    /// `AlreadyExists` when there is such a bundle; `Io`. Nothing is left then.
    pub(crate) fn create(&self, spec: &[u8]) -> Result<()> {
        for parent in [self.path.parent(), self.work.parent()].into_iter().flatten() {
            make(parent, 0o711)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::AlreadyExists(format!("bundle {}", self.path.display())));
            }
            other => other.map_err(|e| Error::io(format!("mkdir {}", self.path.display()), e))?,
        }
        self.fill(spec).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = remove_tree(&self.path);
            let _ = remove_tree(&self.work);
        })
    }

    fn fill(&self, spec: &[u8]) -> Result<()> {
        if let Some(gid) = remapped_root(spec) {
            // Root of a container with a user namespace of its own must get to its rootfs, and nobody else.
            let io = |e| Error::io(format!("chown {}", self.path.display()), e);
            std::os::unix::fs::chown(&self.path, Some(0), Some(gid)).map_err(io)?;
            fs::set_permissions(&self.path, Permissions::from_mode(0o710)).map_err(io)?;
        }
        make(&self.rootfs(), 0o711)?;
        // A crash may have left one; nothing that is running has it, or the bundle would have been there.
        remove_tree(&self.work)?;
        make(&self.work, 0o711)?;
        let link = self.path.join("work");
        std::os::unix::fs::symlink(&self.work, &link)
            .map_err(|e| Error::io(format!("symlink {}", link.display()), e))?;
        self.write("config.json", spec)
    }

    /// Writes a small file, for the owner only. Whole or not at all: it may be read after a crash.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let (path, new) = (self.path.join(name), self.path.join(format!(".{name}")));
        let io = |e| Error::io(format!("write {}", path.display()), e);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(io)?;
        file.write_all(content).map_err(io)?;
        fs::rename(&new, &path).map_err(io)
    }

    /// Reads a small file; `None` when it is not there.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path.join(name))
            .ok()
            .filter(|text| !text.trim().is_empty())
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// Removes all of it: what is mounted on the rootfs is taken off first, and a rootfs that is not empty then stays, with an error,
    /// since what is in it may be somebody's files.
    ///
    /// # Errors
    /// `Io` with the path that would not go.
    pub(crate) fn remove(&self) -> Result<()> {
        let rootfs = self.rootfs();
        unmount_all(&rootfs)?;
        match fs::remove_dir(&rootfs) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {}", rootfs.display()), e));
            }
            _ => {}
        }
        remove_tree(&self.work)?;
        // First out of sight, so that a crash half-way leaves nothing that looks like a bundle.
        let hidden = self.path.with_file_name(format!(".{}", self.id));
        remove_tree(&hidden)?;
        match fs::rename(&self.path, &hidden) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io(format!("rename {}", self.path.display()), e)),
            Ok(()) => remove_tree(&hidden),
        }
    }
}

/// Takes off everything mounted on a path, with what is mounted below.
fn unmount_all(path: &Path) -> Result<()> {
    loop {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // No mount point (any more), or no such directory.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(e) => return Err(Error::io(format!("unmount {}", path.display()), e)),
        }
    }
}

/// The host's group of the container's root when the spec maps groups, in a user namespace of its own.
fn remapped_root(spec: &[u8]) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Spec {
        linux: Option<Linux>,
    }
    #[derive(serde::Deserialize)]
    struct Linux {
        #[serde(default, rename = "gidMappings")]
        gid_mappings: Vec<Mapping>,
    }
    #[derive(serde::Deserialize)]
    struct Mapping {
        #[serde(rename = "containerID")]
        container: u32,
        #[serde(rename = "hostID")]
        host: u32,
    }
    let spec: Spec = serde_json::from_slice(spec).ok()?;
    let mappings = spec.linux?.gid_mappings;
    mappings
        .iter()
        .find(|mapping| mapping.container == 0)
        .map(|mapping| mapping.host)
        .filter(|gid| *gid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> (tempfile::TempDir, Places) {
        let directory = tempfile::tempdir().unwrap();
        let places = Places::new(&directory.path().join("root"), &directory.path().join("state"));
        places.prepare().unwrap();
        (directory, places)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn bundle_has_the_layout_and_modes_of_containerd() {
        let (_directory, places) = places();
        let bundle = places.bundle("ns", "c1");
        bundle.create(b"{}").unwrap();
        assert!(bundle.path.ends_with("state/io.containerd.runtime.v2.task/ns/c1"));
        assert_eq!((mode(&bundle.path), mode(&bundle.rootfs())), (0o700, 0o711));
        assert_eq!(mode(&bundle.path.join("config.json")), 0o600);
        assert_eq!(fs::read_link(bundle.path.join("work")).unwrap(), bundle.work);
        assert!(matches!(bundle.create(b"{}"), Err(Error::AlreadyExists(_))));
        assert_eq!(places.all().unwrap().len(), 1);
        bundle.remove().unwrap();
        assert!(!bundle.path.exists() && !bundle.work.exists());
        assert!(places.all().unwrap().is_empty());
        bundle.remove().unwrap();
    }

    #[test]
    fn rootfs_with_files_in_it_is_not_removed() {
        let (_directory, places) = places();
        let bundle = places.bundle("ns", "c1");
        bundle.create(b"{}").unwrap();
        fs::write(bundle.rootfs().join("precious"), "x").unwrap();
        assert!(bundle.remove().is_err());
        assert!(bundle.rootfs().join("precious").exists());
    }

    #[test]
    fn half_removed_bundles_and_work_of_lost_ones_go() {
        let (_directory, places) = places();
        let bundle = places.bundle("ns", "gone");
        bundle.create(b"{}").unwrap();
        fs::rename(&bundle.path, bundle.path.with_file_name(".gone")).unwrap();
        assert!(places.all().unwrap().is_empty());
        assert!(!bundle.path.with_file_name(".gone").exists());
        places.remove_orphans().unwrap();
        assert!(!bundle.work.exists());
    }

    #[test]
    fn group_of_a_remapped_root_is_found() {
        let spec = br#"{"linux":{"gidMappings":[{"containerID":0,"hostID":5000,"size":10}]}}"#;
        assert_eq!(remapped_root(spec), Some(5000));
        assert_eq!(remapped_root(b"{}"), None);
        assert_eq!(remapped_root(b"broken"), None);
    }
}
