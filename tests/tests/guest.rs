//! The guest is what the cgroup v2 tests take it for.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use engine_tests::guest;

#[test]
fn the_guest_has_cgroup_v2_and_our_files() {
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "set -e\nstat -f -c %T /sys/fs/cgroup\ncat /sys/fs/cgroup/cgroup.controllers\ntest -x {}\necho x >/usr/guest-was-here\nid -u",
        own.display()
    );
    let outcome = guest::run(&script, 512, Duration::from_secs(120));
    outcome.assert_success();
    let lines: Vec<&str> = outcome.output.lines().collect();
    assert_eq!(lines[0], "cgroup2fs");
    for controller in ["cpu", "memory", "pids"] {
        assert!(lines[1].split(' ').any(|word| word == controller), "{}", lines[1]);
    }
    assert_eq!(lines[2], "0");
    assert!(!std::path::Path::new("/usr/guest-was-here").exists());
    assert_eq!(guest::run("exit 7", 512, Duration::from_secs(120)).code, Some(7));
}
