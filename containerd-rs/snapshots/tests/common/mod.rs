//! Trees of all kinds of files, and what they look like.

// Each suite takes what it needs.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use containerd_rs_core::Mount;

/// A writable bind mount, as the snapshotter gives it for a base layer.
pub fn bind(dir: &Path) -> Vec<Mount> {
    let options = vec!["rw".to_owned(), "rbind".to_owned()];
    vec![Mount {
        kind: "bind".into(),
        source: dir.display().to_string(),
        target: String::new(),
        options,
    }]
}

/// Runs a program that must succeed.
pub fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).output().unwrap();
    assert!(
        done.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Makes one of everything.
pub fn furnish(root: &Path) {
    let path = |name: &str| root.join(name);
    fs::create_dir_all(path("usr/lib/deep/er")).unwrap();
    fs::create_dir_all(path("empty")).unwrap();
    fs::write(
        path("usr/lib/data"),
        (0..300_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>(),
    )
    .unwrap();
    fs::write(path("usr/lib/nothing"), "").unwrap();
    fs::write(path("usr/lib/deep/er/block"), [7; 512]).unwrap();
    fs::write(path("größe ☃"), "name beyond ASCII").unwrap();
    fs::create_dir_all(path(&"long".repeat(40))).unwrap();
    fs::write(
        path(&format!("{}/{}", "long".repeat(40), "name".repeat(50))),
        "long name",
    )
    .unwrap();
    symlink("usr/lib", path("lib")).unwrap();
    symlink("/nowhere/".to_owned() + &"target".repeat(30), path("dangling")).unwrap();
    fs::hard_link(path("usr/lib/data"), path("data-again")).unwrap();
    run("mknod", &[path("null").to_str().unwrap(), "c", "1", "3"]);
    run("mknod", &[path("loop").to_str().unwrap(), "b", "7", "0"]);
    run("mkfifo", &[path("pipe").to_str().unwrap()]);
    for (name, mode, owner) in [
        ("usr/lib/deep", 0o1777, (0, 0)),
        ("empty", 0o2750, (7, 8)),
        ("usr/lib/nothing", 0o000, (1000, 100)),
        ("usr/lib/deep/er/block", 0o6755, (70_000, 4_000_000_000)),
        ("pipe", 0o640, (3, 4)),
        ("null", 0o666, (0, 5)),
    ] {
        std::os::unix::fs::chown(path(name), Some(owner.0), Some(owner.1)).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::lchown(path("lib"), Some(9), Some(9)).unwrap();
    rustix::fs::setxattr(
        path("usr/lib/data"),
        "user.note",
        b"a\0=\nb",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    // cap_net_bind_service=ep, revision 2.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let block = path("usr/lib/deep/er/block");
    rustix::fs::setxattr(
        block,
        "security.capability",
        &capability,
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    for (seconds, name) in [
        (1, "lib"),
        (0, "null"),
        (1_000_000_000, "usr/lib/data"),
        (1_234_567_890, "usr/lib/deep"),
        (5, "empty"),
    ] {
        run(
            "touch",
            &["-h", "-d", &format!("@{seconds}"), path(name).to_str().unwrap()],
        );
    }
}

/// Everything that can be seen of one file.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    device: u64,
    data: Vec<u8>,
    xattrs: Vec<(String, Vec<u8>)>,
    /// The first name of the same file.
    same_as: String,
}

/// Everything that can be seen of a tree, without the root's own attributes.
pub fn look(root: &Path) -> BTreeMap<String, Seen> {
    let mut seen = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    let mut paths = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                open.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    let mut first: HashMap<u64, String> = HashMap::new();
    for path in paths {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let data = match () {
            () if meta.is_file() => fs::read(&path).unwrap(),
            () if meta.is_symlink() => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
            () => Vec::new(),
        };
        let same_as = first.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
        let what = Seen {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: meta.mtime(),
            device: meta.rdev(),
            data,
            xattrs: xattrs(&path),
            same_as,
        };
        seen.insert(name, what);
    }
    seen
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut list = vec![0; 4096];
    let n = rustix::fs::llistxattr(path, &mut list).unwrap();
    let names = list[..n].split(|b| *b == 0).filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            let mut value = vec![0; 4096];
            let n = rustix::fs::lgetxattr(path, name.as_str(), &mut value).unwrap();
            value.truncate(n);
            (name, value)
        })
        .collect();
    found.sort();
    found
}

/// Compares two trees and says what differs.
#[track_caller]
pub fn same(one: &Path, other: &Path) {
    let (one, other) = (look(one), look(other));
    for (name, seen) in &one {
        assert_eq!(Some(seen), other.get(name), "{name}");
    }
    let more: Vec<_> = other.keys().filter(|name| !one.contains_key(*name)).collect();
    assert!(more.is_empty(), "{more:?}");
}
