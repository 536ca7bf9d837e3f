//! The default config against the one that runc writes, byte for byte but for the version.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use runtime_spec::default::{Options, default_spec_json};

fn runc_spec(extra: &[&str]) -> String {
    let bundle = tempfile::tempdir().unwrap();
    let status = Command::new("runc")
        .arg("spec")
        .args(extra)
        .current_dir(bundle.path())
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read_to_string(bundle.path().join("config.json")).unwrap()
}

/// Without what differs between versions of runc: the line of the version, and the ambient capabilities that those before 1.2 gave.
fn body(config: &str) -> String {
    let config = match config.split_once(",\n\t\t\t\"ambient\": [") {
        Some((before, rest)) => format!("{before}{}", rest.split_once(']').unwrap().1),
        None => config.to_owned(),
    };
    let lines: Vec<&str> = config.lines().filter(|l| !l.contains("\"ociVersion\"")).collect();
    assert_eq!(lines.len() + 1, config.lines().count());
    lines.join("\n")
}

#[test]
fn the_default_config_is_the_one_of_runc() {
    let cgroup2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let ours = default_spec_json(Options {
        rootless: None,
        cgroup2,
    });
    assert_eq!(body(&ours), body(&runc_spec(&[])));
}

#[test]
fn so_is_the_rootless_one() {
    let cgroup2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let ours = default_spec_json(Options {
        rootless: Some((uid, gid)),
        cgroup2,
    });
    assert_eq!(body(&ours), body(&runc_spec(&["--rootless"])));
}
