//! A directory of the host that an image knows the way to, and that must not change.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::common::Bundle;

/// All that can be seen of one file: inode, mode, owner, links, device, times, contents.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    numbers: [u64; 6],
    changed: (i64, i64),
    modified: (i64, i64),
    contents: Vec<u8>,
}

/// The directory, and what it looked like at first. Everybody may write to it, so that no permission protects it.
pub(crate) struct Canary {
    path: PathBuf,
    before: BTreeMap<PathBuf, Look>,
}

impl Canary {
    /// Makes it beside the bundle's root filesystem: `rootfs/../canary`.
    pub(crate) fn new(bundle: &Bundle) -> Self {
        let path = bundle.dir.path().join("canary");
        for directory in ["empty", "deep/er"] {
            fs::create_dir_all(path.join(directory)).unwrap();
        }
        for file in ["file", "deep/er/file"] {
            fs::write(path.join(file), "untouched").unwrap();
        }
        for name in ["", "empty", "deep", "deep/er", "file", "deep/er/file"] {
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let before = look(&path);
        Self { path, before }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Compares. Also looks for what a link that climbs too far would make at the top.
    pub(crate) fn assert_untouched(&self, context: &str) {
        assert_eq!(look(&self.path), self.before, "{context}");
        for name in ["/climbed", "/hop", "/opt/masked", "/opt/nodes", "/data/deep"] {
            assert!(!Path::new(name).exists(), "{name} was made on the host: {context}");
        }
    }
}

fn look(top: &Path) -> BTreeMap<PathBuf, Look> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![top.to_path_buf()];
    while let Some(path) = ahead.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let mut contents = Vec::new();
        if stat.is_dir() {
            ahead.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if stat.is_file() {
            contents = fs::read(&path).unwrap();
        }
        let numbers = [
            stat.ino(),
            u64::from(stat.mode()),
            u64::from(stat.uid()),
            u64::from(stat.gid()),
            stat.nlink(),
            stat.rdev(),
        ];
        let look = Look {
            numbers,
            changed: (stat.ctime(), stat.ctime_nsec()),
            modified: (stat.mtime(), stat.mtime_nsec()),
            contents,
        };
        found.insert(path, look);
    }
    found
}
