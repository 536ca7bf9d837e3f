//! runtime-spec 1.3, MUST by MUST: for `runc-rs` on cgroup v1, on v2 and as an ordinary user, and for Debian's runc and crun beside it.
//!
//! `tests/CONFORMANCE.md` says how another runtime is looked at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use engine_tests::bundle::{Said, say};
use engine_tests::conformance::inventory;
use engine_tests::conformance::known::DIFFERENCES;
use engine_tests::conformance::must::Proof;
use engine_tests::guest::{self, Init};
use engine_tests::programs::{ours, peer};

const SUITE: &str = env!("CARGO_BIN_EXE_conformance");

/// The lines of a run by their ids, after a look at them: none may say `FAILED` or `MENDED`, and each MUST has just one.
fn lines(said: &str) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    for line in said.lines() {
        let mut words = line.split_whitespace();
        let (Some(word), Some(id)) = (words.next(), words.next()) else {
            continue;
        };
        if ["ok", "FAILED", "differs", "MENDED", "elsewhere", "untested"].contains(&word) {
            assert!(
                lines.insert(id.to_owned(), word.to_owned()).is_none(),
                "two lines for {id}"
            );
        }
    }
    let bad: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("FAILED") || line.starts_with("MENDED"))
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    let all: BTreeSet<String> = inventory::all().iter().map(|must| must.id.to_owned()).collect();
    let told: BTreeSet<String> = lines.keys().cloned().collect();
    assert_eq!(told, all, "{said}");
    lines
}

/// A run on this machine that has to have nothing to look at.
fn run(command: &mut Command) -> BTreeMap<String, String> {
    let Said { code, stdout, stderr } = say(command);
    let lines = lines(&stdout);
    assert_eq!(code, 0, "{stdout}{stderr}");
    lines
}

/// Programs where everybody can reach them: a build directory may be its owner's alone.
fn reachable(programs: &[&Path]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copies = programs.iter().map(|program| {
        let copy = directory.path().join(program.file_name().unwrap());
        fs::copy(program, &copy).unwrap();
        copy
    });
    let copies = copies.collect();
    (directory, copies)
}

#[test]
fn every_must_has_a_test_or_a_reason() {
    let all = inventory::all();
    let ids: BTreeSet<&str> = all.iter().map(|must| must.id).collect();
    assert_eq!(ids.len(), all.len(), "an id is there twice");
    for must in &all {
        assert!(must.section.contains(".md#") && must.says.len() > 10, "{}", must.id);
        if let Proof::Not(reason) = must.by {
            assert!(reason.len() > 10, "{}", must.id);
        }
    }
    for known in DIFFERENCES {
        assert!(ids.contains(known.id), "{} is no MUST", known.id);
        assert!(known.reason.len() > 10, "{}", known.id);
    }
}

/// `RUNTIME` and `RUNTIME_FLAGS` name another one than ours.
#[test]
fn the_runtime_on_this_machine() {
    let runtime = std::env::var_os("RUNTIME").map_or_else(|| ours("runc-rs"), PathBuf::from);
    let flags = std::env::var("RUNTIME_FLAGS").unwrap_or_default();
    let lines = run(Command::new(SUITE).arg(runtime).args(flags.split_whitespace()));
    // Were a whole section to be looked at elsewhere only, nobody would see it fail.
    let elsewhere = lines.values().filter(|word| *word == "elsewhere").count();
    assert!(elsewhere < 20, "{elsewhere} of {} are not looked at", lines.len());
}

#[test]
fn debians_runc_beside_it() {
    run(Command::new(SUITE).arg(peer("runc")));
}

/// crun refuses the hybrid layout while its cgroup2 hierarchy is mounted, and leaves directories where that was.
#[test]
fn debians_crun_beside_it() {
    let script = "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified && mount -t tmpfs none /sys/fs/cgroup/unified; fi; \
        exec \"$0\" \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "slave", "sh", "-c", script, SUITE]);
    run(command.arg(peer("crun")));
}

#[test]
fn runc_rs_as_an_ordinary_user() {
    let (_directory, programs) = reachable(&[Path::new(SUITE), &ours("runc-rs")]);
    let runtime_directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(runtime_directory.path(), Some(65534), Some(65534)).unwrap();
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--inh-caps=-all",
    ]);
    command
        .env("XDG_RUNTIME_DIR", runtime_directory.path())
        .env("HOME", "/");
    run(command.args(programs));
}

/// What depends on how cgroups are made.
const CGROUPS: [&str; 3] = ["cgroups::", "resources::", "lifecycle::"];

/// A run in a guest: of the whole table, or of some checks. A call takes some twenty times as long as here, and a guest has one CPU.
fn run_in_guest(init: Init, runtime: &Path, flags: &str, only: &[&str]) {
    // The check of network devices makes a pair of them.
    let mut script = "modprobe veth; cd /tmp; set -e\n".to_owned();
    for only in only {
        script += &format!("{SUITE} --only {only:?} {} {flags} 2>&1\n", runtime.display());
    }
    let outcome = guest::run_with(init, &script, 1024, Duration::from_secs(580));
    if *only == [""] {
        lines(&outcome.output);
    }
    outcome.assert_success();
}

#[test]
fn runc_rs_on_cgroup_v2() {
    run_in_guest(Init::Script, &ours("runc-rs"), "", &[""]);
}

#[test]
fn runc_rs_under_systemd() {
    run_in_guest(Init::Systemd, &ours("runc-rs"), "--systemd-cgroup", &CGROUPS);
}

#[test]
fn debians_runc_on_cgroup_v2() {
    run_in_guest(Init::Script, &peer("runc"), "", &CGROUPS);
}
