//! `/proc`, `/sys`, and what is written to them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::common::Bundle;
use crate::{is_empty, outside};

#[test]
fn cve_2019_16884_nothing_but_procfs_is_mounted_on_proc() {
    let mut bundle = Bundle::new();
    let volume = outside(&bundle);
    for mount in [
        json!({"destination": "/proc", "type": "bind", "source": volume, "options": ["bind"]}),
        json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}),
        json!({"destination": "/x/../proc/.", "type": "tmpfs", "source": "tmpfs"}),
    ] {
        bundle.set("/mounts/0", mount);
        let words = bundle.run().err();
        assert!(
            words.contains("cannot be mounted because it is not of type proc"),
            "{words}"
        );
    }
    bundle.assert_nothing_left();
}

#[test]
fn cve_2019_19921_and_2023_28642_proc_and_sys_are_ordinary_directories() {
    for name in ["proc", "sys"] {
        let bundle = Bundle::new();
        let outside = outside(&bundle);
        let place = bundle.rootfs().join(name);
        for target in [outside.as_path(), Path::new("../outside"), Path::new("tmp")] {
            let _ = fs::remove_dir(&place);
            let _ = fs::remove_file(&place);
            symlink(target, &place).unwrap();
            let words = bundle.run().err();
            assert!(words.contains("must be mounted on ordinary directory"), "{words}");
        }
        assert!(is_empty(&outside));
        bundle.assert_nothing_left();
    }
}

#[test]
fn cve_2025_31133_masks_do_not_use_the_images_dev_null() {
    let mut bundle = Bundle::new();
    // No /dev of our own: the image's stays.
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    let target = outside(&bundle).join("secret");
    fs::write(&target, "secret").unwrap();
    let null = bundle.rootfs().join("dev/null");
    symlink("/proc/sysrq-trigger", &null).unwrap();
    let outcome = bundle.run_script("stat -c %t:%T /proc/keys; cat /dev/null");
    assert!(
        outcome.code != 0 || outcome.stdout.starts_with("1:3\n"),
        "{}",
        outcome.stdout
    );
    fs::remove_file(&null).unwrap();
    fs::write(&null, "not a device").unwrap();
    let outcome = bundle.run_script("stat -c %t:%T /proc/keys");
    assert!(
        outcome.code != 0 || outcome.stdout.starts_with("1:3\n"),
        "{}",
        outcome.stdout
    );
    assert_eq!(fs::read_to_string(&target).unwrap(), "secret");
    bundle.assert_nothing_left();
}

#[test]
fn cve_2025_52881_nothing_is_mounted_inside_proc() {
    let mut bundle = Bundle::new();
    let file = outside(&bundle).join("file");
    fs::write(&file, "untouched").unwrap();
    bundle
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}))
        .set("/process/apparmorProfile", json!("x"));
    for destination in [
        "/proc/self/attr/exec",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/tmp/../proc/1/attr",
    ] {
        bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
        bundle.push(
            "/mounts",
            json!({"destination": destination, "type": "bind", "source": file, "options": ["bind"]}),
        );
        let words = bundle.run().err();
        assert!(
            words.contains("it is inside /proc") || words.contains("no such file"),
            "{words}"
        );
    }
    // By a link of the image too.
    symlink("proc/sys", bundle.rootfs().join("innocent")).unwrap();
    bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
    bundle.push(
        "/mounts",
        json!({"destination": "/innocent", "type": "tmpfs", "source": "tmpfs"}),
    );
    assert!(bundle.run().err().contains("inside /proc"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "untouched");
    bundle.assert_nothing_left();
}

#[test]
fn cve_2019_16884_a_part_of_procfs_is_not_procfs() {
    let mut bundle = Bundle::new();
    for source in ["/proc/sys", "/proc/self/task"] {
        bundle.set(
            "/mounts/0",
            json!({"destination": "/proc", "type": "bind", "source": source, "options": ["bind"]}),
        );
        let words = bundle.run().err();
        assert!(
            words.contains("cannot be mounted because it is not of type proc"),
            "{words}"
        );
    }
}

#[test]
fn cve_2023_27561_proc_is_no_link_to_a_volume() {
    let mut bundle = Bundle::new();
    let volume = outside(&bundle);
    let place = bundle.rootfs().join("proc");
    fs::remove_dir(&place).unwrap();
    symlink("/volume", &place).unwrap();
    let bind = json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["bind"]});
    bundle.config["mounts"].as_array_mut().unwrap().insert(0, bind);
    let words = bundle.run().err();
    assert!(words.contains("must be mounted on ordinary directory"), "{words}");
    // The host's procfs does not get there by a bind either.
    bundle.set(
        "/mounts/1",
        json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}),
    );
    let words = bundle.run().err();
    assert!(words.contains("must be mounted on ordinary directory"), "{words}");
    assert!(is_empty(&volume));
    bundle.assert_nothing_left();
}

#[test]
fn cve_2025_31133_masks_do_not_use_a_volumes_dev_null() {
    // `/dev` is a volume that others write to: nothing in it is made or checked by the runtime.
    let mut bundle = Bundle::new();
    let volume = outside(&bundle);
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    bundle.push(
        "/mounts",
        json!({"destination": "/dev", "type": "bind", "source": volume, "options": ["bind"]}),
    );
    let null = volume.join("null");
    for target in ["/proc/sys/kernel/ostype", "/etc/passwd", "none"] {
        let _ = fs::remove_file(&null);
        match target {
            "none" => fs::write(&null, "secret").unwrap(),
            target => symlink(target, &null).unwrap(),
        }
        let out = bundle.run_script("stat -c %t:%T /proc/keys; cat /proc/keys").ok();
        assert_eq!(out, "1:3\n", "{target}");
    }
}
