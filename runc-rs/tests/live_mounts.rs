//! `mounts`: what is mounted in a running container, seen from inside, and unseen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Bundle, Outcome};
use serde_json::{Value, json};

fn mounts(bundle: &Bundle, action: &str, mounts: &Value) -> Outcome {
    let file = bundle.dir.path().join("mounts.json");
    fs::write(&file, mounts.to_string()).unwrap();
    bundle.call(&["mounts", action, &bundle.id, file.to_str().unwrap()])
}

fn cat(bundle: &Bundle, path: &str) -> String {
    bundle.exec(&["cat", path]).ok()
}

fn data(bundle: &Bundle) -> std::path::PathBuf {
    let data = bundle.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "from outside").unwrap();
    data
}

fn everything_is_mounted_and_taken_away(bundle: &Bundle) {
    let data = data(bundle);
    let list = json!([
        {"destination": "/mnt/dir", "source": data, "options": ["bind", "ro"]},
        {"destination": "/mnt/one", "type": "bind", "source": data.join("file")},
        {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "nosuid"]},
        {"destination": "/late", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
    ]);
    mounts(bundle, "add", &list).ok();
    assert_eq!(cat(bundle, "/mnt/dir/file"), "from outside");
    assert_eq!(cat(bundle, "/mnt/one"), "from outside");
    let script = "echo x > /mnt/dir/made || echo 1; echo x > /late/made || echo 2; echo x > /scratch/made && echo 3";
    assert_eq!(bundle.exec(&["sh", "-c", script]).ok(), "1\n2\n3\n");
    let own = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!own.contains(&bundle.id), "mounted outside: {own}");
    mounts(bundle, "remove", &list).ok();
    let inside = cat(bundle, "/proc/mounts");
    assert!(!inside.contains("/mnt") && !inside.contains("/scratch"), "{inside}");
    let again = mounts(bundle, "remove", &list).err();
    assert!(again.contains("umount /late: "), "{again}");
}

#[test]
fn mounts_come_and_go_while_the_container_runs() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    everything_is_mounted_and_taken_away(&bundle);
    bundle.call(&["pause", &bundle.id]).ok();
    let list = json!([{"destination": "/x", "type": "tmpfs", "source": "tmpfs"}]);
    mounts(&bundle, "add", &list).ok();
    bundle.call(&["resume", &bundle.id]).ok();
    assert!(cat(&bundle, "/proc/mounts").contains("/x tmpfs"));
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn so_they_do_in_a_user_namespace() {
    let mut bundle = Bundle::new();
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    bundle
        .set("/linux/uidMappings", ids.clone())
        .set("/linux/gidMappings", ids);
    bundle.push("/linux/namespaces", json!({"type": "user"}));
    std::process::Command::new("chown")
        .args(["-R", "100000:100000"])
        .arg(bundle.rootfs())
        .status()
        .unwrap();
    std::process::Command::new("chmod")
        .arg("755")
        .arg(bundle.dir.path())
        .status()
        .unwrap();
    bundle.sleeping();
    everything_is_mounted_and_taken_away(&bundle);
}

#[test]
fn a_link_in_the_container_leads_nowhere_else() {
    let mut bundle = Bundle::new();
    let outside = bundle.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bundle.rootfs().join("link")).unwrap();
    symlink("/proc", bundle.rootfs().join("proclink")).unwrap();
    bundle.sleeping();
    let at = |destination: &str| json!([{"destination": destination, "type": "tmpfs", "source": "tmpfs"}]);
    mounts(&bundle, "add", &at("/link/x")).ok();
    assert!(fs::read_dir(&outside).unwrap().next().is_none(), "made outside");
    for destination in ["/proc/1", "/proclink/1", "/proclink"] {
        let words = mounts(&bundle, "add", &at(destination)).err();
        assert!(
            words.contains("cannot be mounted because it is"),
            "{destination}: {words}"
        );
    }
}

#[test]
fn what_cannot_be_is_said() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    let tmpfs = json!([{"destination": "/x", "type": "tmpfs", "source": "tmpfs"}]);
    for (action, list, words) in [
        ("swap", &tmpfs, "unknown command swap"),
        ("add", &json!({}), "invalid type: map, expected a sequence"),
        ("add", &json!([{"destination": "/"}]), "a mount cannot cover the root"),
        (
            "remove",
            &json!([{"destination": "/a/.."}]),
            "the root is not taken away",
        ),
        (
            "add",
            &json!([{"destination": "/x", "source": "/nope", "options": ["bind"]}]),
            "open_tree /nope: no such file or directory",
        ),
        (
            "add",
            &json!([{"destination": "/x", "type": "nofs", "source": "none"}]),
            "no such device",
        ),
        (
            "add",
            &json!([{"destination": "/x", "type": "cgroup", "source": "none"}]),
            "control groups are not mounted",
        ),
        ("remove", &tmpfs, "umount /x: "),
    ] {
        let said = mounts(&bundle, action, list).err();
        assert!(said.contains(words), "{action} {list}: {said}");
    }
    bundle.call(&["kill", &bundle.id, "KILL"]).ok();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while bundle.state()["status"] != "stopped" {
        assert!(std::time::Instant::now() < end, "it does not end");
    }
    assert!(mounts(&bundle, "add", &tmpfs).err().contains("container not running"));
}
