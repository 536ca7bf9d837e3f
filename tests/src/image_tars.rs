//! Images as tars that `docker load` and skopeo take: busybox alone, and a Debian system with nginx.

#![allow(clippy::expect_used)] // a harness fails by panicking

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::peer;

/// A tar that `docker load` takes, with busybox's applets, tagged `busybox:latest`.
///
/// # Panics
/// When it cannot be made.
pub fn busybox_tar(directory: &Path) -> PathBuf {
    image_tar(
        directory,
        "busybox:latest",
        &serde_json::json!({"Cmd": ["sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}),
    )
}

/// Like [`busybox_tar`], with a name and an image configuration (`config` of the OCI image specification) of one's own.
///
/// # Panics
/// When it cannot be made.
pub fn image_tar(directory: &Path, name: &str, config: &serde_json::Value) -> PathBuf {
    let work = tempfile::tempdir_in(directory).expect("work directory");
    let root = work.path().join("root");
    for part in ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "var/www", "home/app"] {
        fs::create_dir_all(root.join(part)).expect("image directory");
    }
    fs::copy(peer("busybox"), root.join("bin/busybox")).expect("busybox-static is installed");
    let applets = Command::new(peer("busybox"))
        .arg("--list")
        .output()
        .expect("busybox runs");
    for applet in String::from_utf8_lossy(&applets.stdout)
        .lines()
        .filter(|&applet| applet != "busybox")
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("applet");
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n",
    )
    .expect("passwd");
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:1000:\nextra:x:2000:app\n").expect("group");
    let layer = work.path().join("layer.tar");
    run(Command::new(peer("tar"))
        .args(["--owner=0", "--group=0", "--numeric-owner", "-C"])
        .arg(&root)
        .arg("-cf")
        .arg(&layer)
        .arg("."));
    archive(directory, name, config, work)
}

/// What the nginx of [`nginx_tar`] answers to `GET /`.
pub const PAGE: &str = "a page of nginx in Debian\n";

/// An image `web:latest` of a Debian system with nginx on port 80, whose log goes to the container's output.
///
/// # Panics
/// When it cannot be made.
pub fn nginx_tar(directory: &Path) -> PathBuf {
    let config = serde_json::json!({
        "Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT",
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    });
    let work = tempfile::tempdir_in(directory).expect("work directory");
    let (root, layer) = (debian_with_nginx(), work.path().join("layer.tar"));
    std::os::unix::fs::symlink(&root, &layer).expect("the layer");
    archive(directory, "web:latest", &config, work)
}

/// The root filesystem that mmdebstrap makes of the distribution's packages, as a tar. Making it takes a quarter of a minute and the network, so it is
/// kept beside what cargo builds, and made by one test at a time.
fn debian_with_nginx() -> PathBuf {
    // Raised when what follows changes.
    const RECIPE: u32 = 1;
    let suite = debian_suite();
    let program = std::env::current_exe().expect("this program");
    // target/debug/deps/PROGRAM
    let directory = program.ancestors().nth(3).expect("cargo's directory").join("roots");
    fs::create_dir_all(&directory).expect("a directory for roots");
    let kept = directory.join(format!("nginx-{suite}-{RECIPE}.tar"));
    let lock = File::create(directory.join("lock")).expect("lock file");
    lock.lock().expect("lock");
    if !kept.exists() {
        let beside = directory.join("unfinished.tar");
        let page = format!("printf '{}' > \"$1/var/www/html/index.html\"", PAGE.escape_default());
        let logs =
            "ln -sf /dev/stdout \"$1/var/log/nginx/access.log\"; ln -sf /dev/stderr \"$1/var/log/nginx/error.log\"";
        let mut command = Command::new(peer("mmdebstrap"));
        command.args(["--variant=essential", "--mode=root", "--include=nginx-light"]);
        for part in ["doc", "man", "locale", "info"] {
            command.arg(format!("--dpkgopt=path-exclude=/usr/share/{part}/*"));
        }
        for hook in [&page, logs] {
            command.arg(format!("--customize-hook={hook}"));
        }
        run(command.arg(suite).arg(&beside));
        fs::rename(&beside, &kept).expect("the finished root");
    }
    kept
}

/// The release that this machine runs, so that packages come from where its own come from; elsewhere the current one.
fn debian_suite() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    match field("ID=").as_deref() {
        Some("debian") => field("VERSION_CODENAME=").unwrap_or_else(|| "stable".to_owned()),
        _ => "stable".to_owned(),
    }
}

/// A docker-archive of the one layer `layer.tar` in `work` (a link is followed), which is used up.
fn archive(directory: &Path, name: &str, config: &serde_json::Value, work: tempfile::TempDir) -> PathBuf {
    let digest = Command::new(peer("sha256sum"))
        .arg(work.path().join("layer.tar"))
        .output()
        .expect("sha256sum runs");
    let digest = String::from_utf8_lossy(&digest.stdout)
        .split(' ')
        .next()
        .unwrap_or_default()
        .to_owned();
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let image = serde_json::json!({
        "architecture": architecture, "os": "linux", "created": "2020-01-01T00:00:00Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "test"}],
    });
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    fs::write(work.path().join("config.json"), image.to_string()).expect("image configuration");
    fs::write(work.path().join("manifest.json"), manifest.to_string()).expect("manifest");
    let tar = directory.join(format!("{}.tar", name.replace([':', '/'], "_")));
    let parts = ["manifest.json", "config.json", "layer.tar"];
    run(Command::new(peer("tar"))
        .arg("-C")
        .arg(work.path())
        .arg("-hcf")
        .arg(&tar)
        .args(parts));
    tar
}

fn run(command: &mut Command) {
    let output = command.output().expect("a command of the harness runs");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
