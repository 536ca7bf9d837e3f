//! Directories of layers in containerd's layout: `snapshots/<number>/{fs,work}`.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use containerd_rs_core::{Error, LayerRef, LayerStore, Mount, Result, SnapshotKind, Usage};

use crate::{tree, usage};

/// What directories are called while they are removed.
const DOOMED: &str = "rm-";

/// Layers for overlayfs in a directory that this process alone owns.
pub struct OverlayStore {
    root: PathBuf,
    /// Options of every overlay mount.
    options: Vec<String>,
    doomed: AtomicU64,
}

fn on(call: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let what = format!("{call} {}", path.display());
    move |e| Error::io(what, e)
}

impl OverlayStore {
    /// Opens the store, makes its directory (mode 0700) when it is missing, and finishes removals that a crash broke off.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let snapshots = root.join("snapshots");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&snapshots)
            .map_err(on("mkdir", &snapshots))?;
        let mut options = Vec::new();
        if Path::new("/sys/module/overlay/parameters/index").exists() {
            options.push("index=off".to_owned());
        }
        if in_user_namespace() {
            options.push("userxattr".to_owned());
        }
        let store = OverlayStore {
            root,
            options,
            doomed: AtomicU64::new(0),
        };
        for name in store.names()? {
            if name.starts_with(DOOMED) {
                remove_tree(&snapshots.join(name))?;
            }
        }
        Ok(store)
    }

    fn dir(&self, id: u64) -> PathBuf {
        self.root.join("snapshots").join(id.to_string())
    }

    fn fs(&self, id: u64) -> PathBuf {
        self.dir(id).join("fs")
    }

    fn names(&self) -> Result<Vec<String>> {
        let path = self.root.join("snapshots");
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(on("readdir", &path))? {
            names.push(
                entry
                    .map_err(on("readdir", &path))?
                    .file_name()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
        Ok(names)
    }

    fn fill(&self, layer: LayerRef<'_>) -> Result<()> {
        let (dir, upper) = (self.dir(layer.id), self.fs(layer.id));
        let make = |path: &Path, mode| DirBuilder::new().mode(mode).create(path).map_err(on("mkdir", path));
        make(&dir, 0o700)?;
        make(&upper, 0o755)?;
        // The root of the mount shows the upper directory's owner and mode: they go on from the parent. (The mode also
        // undoes what the umask took.)
        let (mut mode, mut owner) = (0o755, None);
        if let Some(parent) = layer.parents.first() {
            let path = self.fs(*parent);
            let meta = fs::metadata(&path).map_err(on("stat", &path))?;
            mode = meta.mode() & 0o7777;
            owner = Some((meta.uid(), meta.gid()));
        }
        if let Some((uid, gid)) = owner.filter(|owner| *owner != (0, 0)) {
            std::os::unix::fs::chown(&upper, Some(uid), Some(gid)).map_err(on("chown", &upper))?;
        }
        fs::set_permissions(&upper, fs::Permissions::from_mode(mode)).map_err(on("chmod", &upper))?;
        if layer.kind == SnapshotKind::Active {
            make(&dir.join("work"), 0o711)?;
        }
        Ok(())
    }

    fn text(&self, id: u64) -> Result<String> {
        let path = self.fs(id);
        path.to_str().map(str::to_owned).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "path {} is not UTF-8 and cannot be a mount option",
                path.display()
            ))
        })
    }

    /// Colons and backslashes would end a path in the list of lower directories.
    fn lower(&self, id: u64) -> Result<String> {
        Ok(self.text(id)?.replace('\\', "\\\\").replace(':', "\\:"))
    }
}

fn bind(source: String, mode: &str) -> Vec<Mount> {
    let options = vec![mode.to_owned(), "rbind".to_owned()];
    vec![Mount {
        kind: "bind".into(),
        source,
        target: String::new(),
        options,
    }]
}

/// Whether this process is root of a user namespace only: overlayfs then keeps its marks in `user.` attributes.
pub(crate) fn in_user_namespace() -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else {
        return false;
    };
    let mut fields = map.split_whitespace();
    (fields.next(), fields.next(), fields.next()) != (Some("0"), Some("0"), Some("4294967295"))
}

/// Removes a directory with all below; links in it are not followed. Fine when it is gone.
fn remove_tree(path: &Path) -> Result<()> {
    match tree::remove(rustix::fs::CWD, path.as_os_str().as_bytes()) {
        Err(e) if e != rustix::io::Errno::NOENT => Err(on("remove", path)(e.into())),
        _ => Ok(()),
    }
}

impl LayerStore for OverlayStore {
    fn name(&self) -> &str {
        "overlayfs"
    }

    fn create(&self, layer: LayerRef<'_>) -> Result<()> {
        if self.dir(layer.id).exists() {
            self.remove(layer.id)?;
        }
        self.fill(layer).inspect_err(|_| {
            if let Err(error) = self.remove(layer.id) {
                tracing::warn!(%error, "a half made layer stays until the next start");
            }
        })
    }

    fn mounts(&self, layer: LayerRef<'_>) -> Result<Vec<Mount>> {
        let LayerRef { id, parents, kind } = layer;
        match (kind, parents) {
            (SnapshotKind::Committed, _) => Err(Error::FailedPrecondition(format!("layer {id} is committed"))),
            (SnapshotKind::Active, []) => Ok(bind(self.text(id)?, "rw")),
            (SnapshotKind::View, []) => Ok(bind(self.text(id)?, "ro")),
            (SnapshotKind::View, [parent]) => Ok(bind(self.text(*parent)?, "ro")),
            (_, parents) => {
                let mut options = self.options.clone();
                if kind == SnapshotKind::Active {
                    options.push(format!("workdir={}", self.dir(id).join("work").display()));
                    options.push(format!("upperdir={}", self.text(id)?));
                }
                let lower: Result<Vec<_>> = parents.iter().map(|parent| self.lower(*parent)).collect();
                options.push(format!("lowerdir={}", lower?.join(":")));
                Ok(vec![Mount {
                    kind: "overlay".into(),
                    source: "overlay".into(),
                    target: String::new(),
                    options,
                }])
            }
        }
    }

    fn usage(&self, id: u64) -> Result<Usage> {
        usage::of(&self.fs(id))
    }

    fn remove(&self, id: u64) -> Result<()> {
        let path = self.dir(id);
        // Under another name first, so that a removal that is broken off is no layer any more.
        let n = self.doomed.fetch_add(1, Ordering::Relaxed);
        let doomed = self.root.join("snapshots").join(format!("{DOOMED}{id}-{n}"));
        match fs::rename(&path, &doomed) {
            Ok(()) => remove_tree(&doomed),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(on("rename", &path)(e)),
        }
    }

    fn list(&self) -> Result<Vec<u64>> {
        Ok(self.names()?.iter().filter_map(|name| name.parse().ok()).collect())
    }
}
