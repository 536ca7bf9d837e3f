//! Ordinary users and user namespaces.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use serde_json::json;

use crate::common::Bundle;

#[test]
fn cve_2014_8989_a_user_namespace_does_not_shed_a_group_that_denies() {
    /// A group of the user that may not read the file, while all others may.
    const DENIED: u32 = 1_499_999_999;
    let mut bundle = Bundle::of_user();
    bundle.user.as_mut().unwrap().groups = vec![DENIED];
    let secret = bundle.rootfs().join("secret");
    fs::write(&secret, "secret").unwrap();
    chown(&secret, Some(0), Some(DENIED)).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o604)).unwrap();
    let outcome = bundle.run_script("cat /proc/self/setgroups; cat /secret");
    assert_eq!(outcome.stdout, "deny\n", "{}", outcome.stderr);
    assert!(outcome.stderr.contains("Permission denied"), "{}", outcome.stderr);
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.create().ok();
    bundle.start().ok();
    let outcome = bundle.exec(&["/bin/sh", "-c", "cat /proc/self/setgroups; cat /secret"]);
    assert_eq!(outcome.stdout, "deny\n", "{}", outcome.stderr);
}

#[test]
fn cve_2023_25809_control_groups_without_a_namespace_are_read_only() {
    // As root with a user namespace that maps root itself, so that no permission is in the way; the configuration asks for "rw".
    let mut bundle = Bundle::new();
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    bundle
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .push("/linux/namespaces", json!({"type": "user"}));
    bundle.push(
        "/mounts",
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}),
    );
    let script = "find /sys/fs/cgroup -maxdepth 2 -type d | while read d; do mkdir $d/made && echo made $d; done; ls /sys/fs/cgroup | head -n 1";
    let outcome = bundle.run_script(&script.replace("find", "busybox find"));
    assert!(
        !outcome.stdout.contains("made") && !outcome.stdout.is_empty(),
        "{}{}",
        outcome.stdout,
        outcome.stderr
    );
    assert!(outcome.stderr.contains("Read-only file system"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("Permission denied"), "{}", outcome.stderr);
    bundle.assert_nothing_left();
}

#[test]
fn cve_2023_25809_a_bound_sys_is_read_only_all_the_way_down() {
    for mut bundle in [Bundle::of_user(), Bundle::new()] {
        if bundle.user.is_none() {
            let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            bundle
                .set("/linux/uidMappings", map.clone())
                .set("/linux/gidMappings", map)
                .push("/linux/namespaces", json!({"type": "user"}));
        }
        // What `runc spec --rootless` has.
        bundle.set(
            "/mounts/3",
            json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}),
        );
        let script = "grep ' /sys' /proc/self/mountinfo | while read a b c d place options rest; do case $options in ro|ro,*) ;; *) echo $place;; esac; done; \
            mkdir /sys/fs/cgroup/memory/runcrs-made 2>&1";
        let out = bundle.run_script(script).stdout;
        assert!(
            out.starts_with("mkdir:") && out.contains("Read-only file system"),
            "{out}"
        );
        bundle.assert_nothing_left();
    }
}
