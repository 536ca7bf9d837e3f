//! The cgroup tests of the machine itself, once more where cgroup v2 has the controllers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;
use std::time::Duration;

use engine_tests::{guest, qemu};

/// Builds the test program of runc-rs-cgroups and says where it is.
fn test_program() -> String {
    let output = Command::new(env!("CARGO"))
        .args([
            "test",
            "--quiet",
            "--no-run",
            "--message-format",
            "json",
            "-p",
            "runc-rs-cgroups",
            "--test",
            "host",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs: Vec<String> = messages
        .filter(|m| m["target"]["name"] == "host")
        .filter_map(|m| m["executable"].as_str().map(str::to_owned))
        .collect();
    programs.into_iter().next_back().expect("a test program")
}

#[test]
fn cgroups_do_in_a_v2_guest_what_they_do_here() {
    let program = test_program();
    let outcome = guest::run(
        &format!("exec {program} --test-threads 1"),
        1024,
        Duration::from_secs(300),
    );
    outcome.assert_success();
    assert!(outcome.output.contains("test result: ok"), "{}", outcome.output);
}

/// The same with Debian's own kernel, which has what User Mode Linux has not: cpusets, huge pages, pressure stall information.
#[test]
fn cgroups_do_it_with_every_controller() {
    let program = test_program();
    let script =
        format!("cat /sys/fs/cgroup/cgroup.controllers; ls /sys/fs/cgroup/*.pressure; exec {program} --test-threads 1");
    let outcome = qemu::run(&script, 1024, Duration::from_secs(600));
    outcome.assert_success();
    for word in ["cpuset", "hugetlb", "memory.pressure", "test result: ok"] {
        assert!(outcome.output.contains(word), "{word}: {}", outcome.output);
    }
}
