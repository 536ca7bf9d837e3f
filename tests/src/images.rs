//! What suites about images share: archives made by hand, and a look at what the manager holds.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE};

/// Each test runs over the manager in the daemon's process, over ours apart, and over Debian's containerd.
#[macro_export]
macro_rules! over_each {
    ($($name:ident),* $(,)?) => {
        mod embedded { $( #[test] fn $name() { super::$name(engine_tests::daemon::Manager::Embedded); } )* }
        mod ours { $( #[test] fn $name() { super::$name(engine_tests::daemon::Manager::Ours); } )* }
        mod debian { $( #[test] fn $name() { super::$name(engine_tests::daemon::Manager::Debian); } )* }
    };
}

/// What a command said, on both of its outputs.
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs `docker`, which must fail, and gives what it said.
pub fn fails<const N: usize>(d: &Daemon, args: [&str; N]) -> String {
    let output = d.output(args);
    assert!(!output.status.success(), "docker {args:?} succeeded: {}", text(&output));
    text(&output)
}

/// What `docker image inspect` says of an image.
///
/// # Panics
/// When there is none.
pub fn inspect(d: &Daemon, image: &str) -> Value {
    let all: Value = serde_json::from_str(&d.ok(["image", "inspect", image])).unwrap();
    all[0].clone()
}

/// Waits until content store and ingests of the manager hold no file, and no image is listed.
pub fn assert_empty(d: &Daemon) {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut files = Vec::new();
        blobs(d.directory(), &mut files);
        let images = d.ok(["images", "-aq"]);
        if files.is_empty() && images.is_empty() {
            return;
        }
        assert!(
            Instant::now() < end,
            "left behind: {files:?}, images {images:?}\n{}",
            d.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn blobs(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let shown = path.display().to_string();
        if path.is_dir() && !path.is_symlink() {
            if !shown.ends_with("/registry") {
                blobs(&path, found);
            }
        } else if shown.contains("/blobs/") || shown.contains("/ingest/") {
            found.push(path);
        }
    }
}

/// A tar of members, written to a file of the daemon's directory.
pub fn tar_file(d: &Daemon, name: &str, members: &[(&str, &[u8])]) -> PathBuf {
    let path = d.directory().join(name);
    fs::write(&path, tar_bytes(members)).unwrap();
    path
}

/// A tar of files.
///
/// # Panics
/// When it cannot be made.
pub fn tar_bytes(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in members {
        builder
            .append(&header(name, data.len(), tar::EntryType::Regular), *data)
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// A header with a name that libraries would refuse to write.
pub fn header(name: &str, size: usize, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size as u64);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// An image config with these layers.
pub fn config_of(diff_ids: &[String]) -> String {
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
}

/// A docker-archive of one layer.
pub fn docker_archive(layer: &[u8], diff_id: &str) -> Vec<u8> {
    let config = config_of(&[diff_id.to_owned()]);
    let manifest = json!([{"Config": "c.json", "RepoTags": ["bad:1"], "Layers": ["l.tar"]}]).to_string();
    tar_bytes(&[
        ("l.tar", layer),
        ("c.json", config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
    ])
}

/// Sends bytes to `docker load`.
///
/// # Panics
/// When it cannot be run.
pub fn load(d: &Daemon, bytes: &[u8]) -> Output {
    let path = d.directory().join("archive");
    fs::write(&path, bytes).unwrap();
    let output = d
        .docker(["load"])
        .stdin(fs::File::open(&path).unwrap())
        .output()
        .unwrap();
    fs::remove_file(path).unwrap();
    output
}

/// Waits for an ingest of some size.
pub fn wait_for_ingest(d: &Daemon) {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut files = Vec::new();
        blobs(d.directory(), &mut files);
        let big =
            |p: &PathBuf| p.display().to_string().contains("/ingest/") && p.metadata().is_ok_and(|m| m.len() > 500_000);
        if files.iter().any(big) {
            return;
        }
        assert!(Instant::now() < end, "no ingest: {files:?}\n{}", d.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}
