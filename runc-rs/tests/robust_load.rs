//! Many containers while both processors are busy: none hangs, nothing leaks. `RUNC_RS_RUNS` says how many.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::Bundle;
use serde_json::json;

/// Counts what could pile up: cgroups with our name, entries of `/dev/shm` and `/tmp` aside from the bundles, mounts.
fn leftovers(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        for entry in fs::read_dir(hierarchy.path()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(mark) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(mark)).map(str::to_owned));
    found
}

#[test]
fn a_thousand_times_true_under_load() {
    let given = std::env::var("RUNC_RS_RUNS").ok();
    let wanted: usize = given.and_then(|text| text.parse().ok()).unwrap_or(60);
    let mark = format!("runcrs-test-{}-", std::process::id());
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let runners: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut bundle = Bundle::new();
                    bundle.set("/process/args", json!(["/bin/true"]));
                    bundle.write_config();
                    while done.fetch_add(1, Ordering::Relaxed) < wanted {
                        let mut command = Command::new("timeout");
                        command
                            .args(["120"])
                            .arg(common::program())
                            .arg("--root")
                            .arg(bundle.state_root())
                            .args(["run", "--bundle"])
                            .arg(bundle.dir.path())
                            .arg(&bundle.id);
                        let output = command.output().unwrap();
                        assert!(
                            output.status.success(),
                            "{}: {}",
                            output.status,
                            String::from_utf8_lossy(&output.stderr)
                        );
                    }
                    bundle.assert_no_process_left();
                    bundle.assert_nothing_left();
                })
            })
            .collect();
        let ends: Vec<_> = runners.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        for end in ends {
            end.unwrap();
        }
    });
    assert_eq!(leftovers(&mark), Vec::<String>::new());
}
