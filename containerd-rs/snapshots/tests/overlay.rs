//! The layer store against the kernel's overlayfs: what is mounted shows what layers say.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use common::run;
use containerd_rs_core::{LayerRef, LayerStore as _, Mount, SnapshotKind};
use containerd_rs_snapshots::{OverlayStore, unpack_stream};
use tar::{EntryType, Header};

const ACTIVE: SnapshotKind = SnapshotKind::Active;
const VIEW: SnapshotKind = SnapshotKind::View;

/// A mount that goes with its owner.
struct Mounted(PathBuf);

impl Mounted {
    fn new(mounts: &[Mount], target: PathBuf) -> Self {
        fs::create_dir_all(&target).unwrap();
        for mount in mounts {
            let (kind, options) = (&mount.kind, mount.options.join(","));
            let kind = if kind == "bind" { "none" } else { kind };
            run(
                "mount",
                &["-t", kind, "-o", &options, &mount.source, target.to_str().unwrap()],
            );
        }
        Mounted(target)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

fn layer(members: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, data) in members {
        let mut header = Header::new_gnu();
        header.set_mode(if data.is_some() { 0o644 } else { 0o755 });
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(if data.is_some() {
            EntryType::Regular
        } else {
            EntryType::Directory
        });
        header.set_size(data.map_or(0, |data| data.len() as u64));
        archive
            .append_data(&mut header, name, data.unwrap_or("").as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap()
}

fn tree(root: &Path) -> Vec<String> {
    common::look(root).into_keys().collect()
}

/// Three layers, with whiteouts of every kind in the upper two.
fn stack(store: &OverlayStore) {
    let mut parents: Vec<u64> = Vec::new();
    let layers = [
        layer(&[
            ("a/one", Some("1")),
            ("a/two", Some("1")),
            ("b/x/y", Some("1")),
            ("c", Some("1")),
            ("gone/f", Some("1")),
        ]),
        layer(&[
            ("a/.wh.one", Some("")),
            ("b/.wh..wh..opq", Some("")),
            ("b/new", Some("2")),
            (".wh.gone", Some("")),
        ]),
        // What the second layer removed comes back as something else, whose old content must stay hidden.
        layer(&[
            (".wh.a", Some("")),
            ("a", None),
            ("a/three", Some("3")),
            ("c", None),
            ("gone/g", Some("3")),
        ]),
    ];
    for (id, bytes) in (1..).zip(layers) {
        let layer = LayerRef {
            id,
            parents: &parents,
            kind: ACTIVE,
        };
        store.create(layer).unwrap();
        unpack_stream(&bytes[..], &store.mounts(layer).unwrap()).unwrap();
        parents.insert(0, id);
    }
}

#[test]
fn what_is_mounted_shows_what_the_layers_say() {
    let dir = tempfile::tempdir().unwrap();
    let store = OverlayStore::open(dir.path().join("overlay")).unwrap();
    stack(&store);
    let view = LayerRef {
        id: 9,
        parents: &[3, 2, 1],
        kind: VIEW,
    };
    store.create(view).unwrap();
    let mounts = store.mounts(view).unwrap();
    assert!(mounts[0].options.iter().all(|option| !option.starts_with("upperdir")));
    let mounted = Mounted::new(&mounts, dir.path().join("mnt"));
    let expected = ["a", "a/three", "b", "b/new", "c", "gone", "gone/g"];
    assert_eq!(tree(&mounted.0), expected);
    drop(mounted);

    // A view of one layer is that layer.
    let view = LayerRef {
        id: 10,
        parents: &[1],
        kind: VIEW,
    };
    store.create(view).unwrap();
    let mounted = Mounted::new(&store.mounts(view).unwrap(), dir.path().join("mnt"));
    assert!(mounted.0.join("b/x/y").exists());
    assert!(fs::write(mounted.0.join("new"), "").is_err());
}

#[test]
fn a_container_writes_to_its_own_layer() {
    let dir = tempfile::tempdir().unwrap();
    let store = OverlayStore::open(dir.path().join("overlay")).unwrap();
    stack(&store);
    let own = LayerRef {
        id: 4,
        parents: &[3, 2, 1],
        kind: ACTIVE,
    };
    store.create(own).unwrap();
    let mounted = Mounted::new(&store.mounts(own).unwrap(), dir.path().join("mnt"));
    let mut file = fs::File::create(mounted.0.join("mine")).unwrap();
    file.write_all(&[1; 100_000]).unwrap();
    drop(file);
    fs::remove_file(mounted.0.join("b/new")).unwrap();
    drop(mounted);
    let usage = store.usage(4).unwrap();
    assert!(usage.size >= 100_000 && usage.size < 200_000, "{usage:?}");
    assert_eq!(usage.inodes, 4);
    store.remove(4).unwrap();
    store.remove(4).unwrap();
    let mut left = store.list().unwrap();
    left.sort_unstable();
    assert_eq!(left, [1, 2, 3]);
    assert!(!dir.path().join("overlay/snapshots/3/fs/mine").exists());
}

#[test]
fn the_layout_is_containerds_and_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = OverlayStore::open(dir.path().join("overlay")).unwrap();
    store
        .create(LayerRef {
            id: 1,
            parents: &[],
            kind: ACTIVE,
        })
        .unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join("overlay").join(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("snapshots"), mode("snapshots/1"), mode("snapshots/1/fs")),
        (0o700, 0o700, 0o755)
    );
    assert!(dir.path().join("overlay/snapshots/1/work").is_dir());
}

#[test]
fn a_removal_that_was_broken_off_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("overlay");
    drop(OverlayStore::open(&root).unwrap());
    fs::create_dir_all(root.join("snapshots/rm-7-0/fs/deep")).unwrap();
    OverlayStore::open(&root).unwrap();
    assert_eq!(fs::read_dir(root.join("snapshots")).unwrap().count(), 0);
}
