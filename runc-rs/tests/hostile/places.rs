//! The paths of an image that the runtime touches, what can be there, and who swaps it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};

use crate::common::Bundle;

/// Where directories are expected.
pub(crate) const DIRECTORIES: &[&str] = &[
    "dev",
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
    "proc",
    "sys",
    "etc",
    "var",
    "var/run",
    "data",
    "data/deep",
    "data/deep/mount",
    "opt",
    "opt/masked-dir",
    "opt/readonly",
    "opt/nodes",
    "work",
    "work/dir",
];

/// Where files, nodes or links are expected.
pub(crate) const FILES: &[&str] = &[
    "dev/null",
    "dev/zero",
    "dev/ptmx",
    "dev/console",
    "dev/fd",
    "dev/stdin",
    "dev/extra",
    "dev/pts/ptmx",
    "etc/passwd",
    "etc/group",
    "etc/resolv.conf",
    "data/file",
    "opt/masked",
    "opt/nodes/fifo",
    "bin/tool",
];

/// What is there instead.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Absolute,
    Relative,
    Chained,
    Dangling,
    ToFile,
    Climbing,
    Circle,
    SelfRoot,
    SelfCwd,
    SelfFd,
    SelfExe,
    Fifo,
    Socket,
    Device,
    File,
    Directory,
}

impl Shape {
    pub(crate) const ALL: [Self; 16] = [
        Self::Absolute,
        Self::Relative,
        Self::Chained,
        Self::Dangling,
        Self::ToFile,
        Self::Climbing,
        Self::Circle,
        Self::SelfRoot,
        Self::SelfCwd,
        Self::SelfFd,
        Self::SelfExe,
        Self::Fifo,
        Self::Socket,
        Self::Device,
        Self::File,
        Self::Directory,
    ];

    /// Replaces `place` of the root filesystem.
    pub(crate) fn put(self, rootfs: &Path, place: &str, canary: &Path) {
        let path = rootfs.join(place);
        clear(&path);
        if fs::create_dir_all(path.parent().unwrap()).is_err() {
            return;
        }
        let up = "../".repeat(place.split('/').count());
        let canary_name = canary.file_name().unwrap().to_str().unwrap();
        let link = |target: &str| symlink(target, &path).unwrap();
        let outside = canary.to_str().unwrap();
        match self {
            Self::Absolute => link(outside),
            Self::Relative => link(&format!("{up}{canary_name}/deep")),
            Self::Chained => {
                let hop = rootfs.join("hop");
                clear(&hop);
                symlink(outside, &hop).unwrap();
                link("/hop");
            }
            Self::Dangling => link(&format!("{outside}/new")),
            Self::ToFile => link(&format!("{outside}/file")),
            Self::Climbing => link(&format!("{}climbed", "../".repeat(40))),
            Self::Circle => link(path.file_name().unwrap().to_str().unwrap()),
            Self::SelfRoot => link(&format!("/proc/self/root{outside}")),
            Self::SelfCwd => link(&format!("/proc/self/cwd/../{canary_name}")),
            Self::SelfFd => link("/proc/self/fd/4"),
            Self::SelfExe => link("/proc/self/exe"),
            Self::Fifo => mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap(),
            Self::Socket => drop(UnixListener::bind(&path).unwrap()),
            // A loop device: it has a driver, and to open it would show.
            Self::Device => mknodat(
                CWD,
                &path,
                FileType::BlockDevice,
                Mode::from_raw_mode(0o666),
                makedev(7, 99),
            )
            .unwrap(),
            Self::File => fs::write(&path, "a file").unwrap(),
            Self::Directory => fs::create_dir(&path).unwrap(),
        }
    }
}

/// Takes away whatever is there.
pub(crate) fn clear(path: &Path) {
    let Ok(stat) = fs::symlink_metadata(path) else { return };
    if stat.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

/// The root filesystem of an image that means no harm. Programs stay: to copy them takes longest.
pub(crate) fn lay_out(bundle: &Bundle) {
    let rootfs = bundle.rootfs();
    for entry in fs::read_dir(&rootfs).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "bin" {
            clear(&entry.path());
        }
    }
    for place in DIRECTORIES.iter().chain(&["tmp"]) {
        fs::create_dir_all(rootfs.join(place)).unwrap();
    }
    for name in [
        "etc/passwd",
        "etc/group",
        "etc/resolv.conf",
        "data/file",
        "opt/masked",
        "var/run/file",
    ] {
        fs::write(rootfs.join(name), "root:x:0:0::/root:/bin/sh\n").unwrap();
    }
    let tool = rootfs.join("bin/tool");
    clear(&tool);
    fs::write(&tool, "#!/bin/sh\necho the tool ran in $(pwd)\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A thread that exchanges places of the image with links beside them, round and round.
pub(crate) struct Mutator {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Mutator {
    /// `places` of the root filesystem get a twin that leads to the canary.
    pub(crate) fn start(rootfs: &Path, canary: &Path) -> Self {
        let places = [
            "dev",
            "dev/pts",
            "proc",
            "sys",
            "etc",
            "var/run",
            "data",
            "data/deep",
            "opt/nodes",
            "work",
            "etc/resolv.conf",
            "opt/masked",
        ];
        let mut pairs = Vec::new();
        for place in places {
            let path = rootfs.join(place);
            let twin = path.with_extension("twin");
            clear(&twin);
            symlink(canary, &twin).unwrap();
            pairs.push((path, twin));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                for (path, twin) in &pairs {
                    // A parent may be a link at the moment.
                    let _ = renameat_with(CWD, path, CWD, twin, RenameFlags::EXCHANGE);
                }
            }
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}
