//! What the parts have in common: root filesystems, images, and where programs are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::command::output;

/// A program on `PATH` or in the system's directories.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let directories = path.split(':').chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"]);
    directories
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
}

/// A root filesystem of static busybox and the names it goes by.
pub(crate) fn busybox(rootfs: &Path) -> Result<()> {
    let program = find("busybox").ok_or("busybox is not installed (package busybox-static)")?;
    let bin = rootfs.join("bin");
    fs::create_dir_all(&bin)?;
    for directory in ["dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join(directory))?;
    }
    fs::copy(program, bin.join("busybox"))?;
    for name in ["sh", "true", "sleep", "cat", "echo"] {
        symlink("busybox", bin.join(name))?;
    }
    Ok(())
}

/// A `docker save` archive of one layer: `rootfs` under the name `name`, for `docker load` and `ctr image import`.
pub(crate) fn archive(rootfs: &Path, name: &str, to: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let layer = work.path().join("layer.tar");
    output(
        Command::new("tar")
            .arg("-C")
            .arg(rootfs)
            .arg("-cf")
            .arg(&layer)
            .arg("."),
    )?;
    let sum = output(Command::new("sha256sum").arg(&layer))?;
    let digest = sum.split_whitespace().next().ok_or("sha256sum printed nothing")?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "config": { "Cmd": ["/bin/sh"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    fs::write(work.path().join("config.json"), config.to_string())?;
    fs::write(work.path().join("manifest.json"), manifest.to_string())?;
    let files = ["config.json", "layer.tar", "manifest.json"];
    output(
        Command::new("tar")
            .arg("-C")
            .arg(work.path())
            .arg("-cf")
            .arg(to)
            .args(files),
    )?;
    Ok(())
}
