//! Mounts of a container: attributes, id mapping, propagation, remounts, and the options of both originals.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::Command;

use common::{Bundle, Outcome, program};
use serde_json::{Value, json};

/// A bundle with a directory of the host to bind, which has a directory `sub` to mount something on.
fn with_host() -> (Bundle, PathBuf) {
    let bundle = Bundle::new();
    let host = bundle.dir.path().join("host");
    fs::create_dir_all(host.join("sub")).unwrap();
    (bundle, host)
}

fn bind(host: &std::path::Path, options: &[&str]) -> Value {
    json!({"destination": "/v", "type": "bind", "source": host, "options": options})
}

/// Runs `script` in a mount namespace of its own, whose mounts are shared among copies of it and not with the host. `RUNC` is our program.
fn in_own_mounts(bundle: &Bundle, script: &str) -> Outcome {
    bundle.write_config();
    let runc = format!("{} --root {}", program().display(), bundle.state_root().display());
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "/bin/sh", "-ec"])
        .arg(format!("mount --make-rshared /; {script}"))
        .env("RUNC", runc)
        .env("ID", &bundle.id)
        .current_dir(bundle.dir.path())
        .output()
        .unwrap()
        .into()
}

/// The options of the mounts at `/v` and `/v/sub`, from a container's own table.
const TABLE: &str = "awk '$5 ~ \"^/v\" {print $5, $6}' /proc/self/mountinfo";

#[test]
fn attributes_act_on_one_mount_and_with_an_r_on_all_beneath_it() {
    let (mut bundle, host) = with_host();
    bundle.script(TABLE);
    for (option, word) in [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("nosymfollow", "nosymfollow"),
    ] {
        for recursive in [false, true] {
            let option = if recursive {
                format!("r{option}")
            } else {
                option.to_owned()
            };
            bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
            bundle.push("/mounts", bind(&host, &["rbind", &option]));
            let table = in_own_mounts(&bundle, "mount -t tmpfs tmpfs host/sub; exec $RUNC run $ID").ok();
            let has = |path: &str| {
                let line = table
                    .lines()
                    .find(|line| line.starts_with(&format!("{path} ")))
                    .unwrap();
                line.rsplit(' ').next().unwrap().split(',').any(|flag| flag == word)
            };
            assert_eq!((has("/v"), has("/v/sub")), (true, recursive), "{option}: {table}");
        }
    }
}

#[test]
fn attributes_are_taken_away_by_their_opposites() {
    let (mut bundle, host) = with_host();
    bundle.script(TABLE);
    for (there, option, word) in [
        ("ro", "rrw", "ro"),
        ("nosuid", "rsuid", "nosuid"),
        ("nodev", "rdev", "nodev"),
        ("noexec", "rexec", "noexec"),
        ("noatime", "ratime", "noatime"),
        ("noatime", "rrelatime", "noatime"),
        ("strictatime", "rnostrictatime", "never"),
        ("nodiratime", "rdiratime", "nodiratime"),
        ("nosymfollow", "rsymfollow", "nosymfollow"),
        ("noatime", "rstrictatime", "noatime"),
    ] {
        bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
        bundle.push("/mounts", bind(&host, &["rbind", option]));
        let script = format!("mount -t tmpfs -o {there} tmpfs host/sub; exec $RUNC run $ID");
        let table = in_own_mounts(&bundle, &script).ok();
        let line = table.lines().find(|line| line.starts_with("/v/sub ")).unwrap();
        assert!(
            !line.rsplit(' ').next().unwrap().split(',').any(|flag| flag == word),
            "{option}: {line}"
        );
    }
}

/// The mapped root must reach its files.
fn own_by(bundle: &mut Bundle, uid: u32) {
    fs::set_permissions(bundle.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let owner = format!("{uid}:{uid}");
    let status = Command::new("chown")
        .args(["-R", "-h", &owner])
        .arg(bundle.rootfs())
        .status();
    assert!(status.unwrap().success());
    let maps = json!([{"containerID": 0, "hostID": uid, "size": 1000}]);
    bundle.push("/linux/namespaces", json!({"type": "user"}));
    bundle
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps);
}

#[test]
fn mapped_ids_in_a_user_namespace() {
    let (mut bundle, host) = with_host();
    own_by(&mut bundle, 200_000);
    fs::write(host.join("file"), "").unwrap();
    chown(host.join("file"), Some(3), Some(4)).unwrap();
    // What the container's id 0 is on the disk; then what is read, and who owns what is written.
    let own = json!([{"containerID": 0, "hostID": 200_100, "size": 10}]);
    for (extra, options, seen, written) in [
        (json!({}), vec!["bind", "idmap"], "0 0\n3 4\n", 0),
        (
            json!({"uidMappings": own, "gidMappings": own}),
            vec!["bind"],
            "100 100\n103 104\n",
            u32::MAX,
        ),
    ] {
        let mut mount = bind(&host, &options);
        mount
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
        bundle.push("/mounts", mount);
        let out = bundle
            .run_script("stat -c '%u %g' /v /v/file; touch /v/new 2>/dev/null || true")
            .ok();
        assert_eq!(out, seen, "{options:?}");
        match fs::metadata(host.join("new")) {
            Ok(made) => assert_eq!((made.uid(), made.gid()), (written, written)),
            // Root of the container has no id on this mount.
            Err(_) => assert_eq!(written, u32::MAX),
        }
        let _ = fs::remove_file(host.join("new"));
    }
    bundle.assert_nothing_left();
}

#[test]
fn mapped_ids_of_a_joined_user_namespace() {
    let mut holder = Bundle::new();
    own_by(&mut holder, 300_000);
    holder.sleeping();
    let pid = holder.state()["pid"].as_i64().unwrap();
    let (mut bundle, host) = with_host();
    own_by(&mut bundle, 300_000);
    bundle.config["linux"].as_object_mut().unwrap().remove("uidMappings");
    bundle.config["linux"].as_object_mut().unwrap().remove("gidMappings");
    let last = bundle.config["linux"]["namespaces"].as_array().unwrap().len() - 1;
    let path = format!("/proc/{pid}/ns/user");
    bundle.set(
        &format!("/linux/namespaces/{last}"),
        json!({"type": "user", "path": path}),
    );
    bundle.push("/mounts", bind(&host, &["bind", "idmap"]));
    assert_eq!(bundle.run_script("stat -c '%u %g' /v").ok(), "0 0\n");
    // Mappings beside the path, as containerd gives them.
    for (first, fits) in [(300_000, true), (300_001, false)] {
        let maps = json!([{"containerID": 0, "hostID": first, "size": 1000}]);
        bundle
            .set("/linux/uidMappings", maps.clone())
            .set("/linux/gidMappings", maps);
        let outcome = bundle.run();
        let words = if fits {
            "both a userns path to join and a matching"
        } else {
            "both namespace path and non-matching mapping"
        };
        assert!(
            outcome.stderr.contains(words) && (outcome.code == 0) == fits,
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn ids_beneath_a_mount_are_mapped_by_ridmap_only() {
    let (mut bundle, host) = with_host();
    let map = json!([{"containerID": 0, "hostID": 77, "size": 10}]);
    bundle.script("stat -c %u /v /v/sub");
    for (option, expected) in [("idmap", "77\n0\n"), ("ridmap", "77\n77\n")] {
        let mut mount = bind(&host, &["rbind", option]);
        mount["uidMappings"] = map.clone();
        mount["gidMappings"] = map.clone();
        bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
        bundle.push("/mounts", mount);
        let out = in_own_mounts(&bundle, "mount -t tmpfs tmpfs host/sub; exec $RUNC run $ID").ok();
        assert_eq!(out, expected, "{option}");
    }
    // crun's notation.
    bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
    bundle.push("/mounts", bind(&host, &["bind", "idmap=uids=0-55-10;gids=0-66-10"]));
    assert_eq!(bundle.run_script("stat -c '%u %g' /v").ok(), "55 66\n");
    let mount =
        json!({"destination": "/v", "type": "tmpfs", "source": "tmpfs", "uidMappings": map, "gidMappings": map});
    bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
    bundle.push("/mounts", mount);
    assert_eq!(bundle.run_script("stat -c %u /v").ok(), "77\n");
    bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
    bundle.push("/mounts", bind(&host, &["rbind", "idmap"]));
    let words = bundle.run().err();
    assert!(
        words.contains("id-mapped mounts must have both uid and gid mappings specified"),
        "{words}"
    );
}

#[test]
fn a_source_that_the_containers_root_cannot_reach_is_bound_all_the_same() {
    let (mut bundle, host) = with_host();
    own_by(&mut bundle, 200_000);
    fs::write(host.join("sub/file"), "here").unwrap();
    fs::set_permissions(&host, fs::Permissions::from_mode(0o700)).unwrap();
    bundle.push("/mounts", bind(&host.join("sub"), &["bind"]));
    assert_eq!(bundle.run_script("cat /v/file").ok(), "here");
}

#[test]
fn the_roots_propagation() {
    for (propagation, appears) in [
        ("", true),
        ("slave", true),
        ("rslave", true),
        ("private", false),
        ("rprivate", false),
        ("unbindable", false),
        ("runbindable", false),
        ("shared", false),
        ("rshared", false),
    ] {
        let mut bundle = Bundle::new();
        bundle.set("/linux/rootfsPropagation", json!(propagation));
        bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
        let script = "mount --bind rootfs rootfs; mount --make-shared rootfs; $RUNC run -d $ID >/dev/null 2>&1 </dev/null; \
            mount -t tmpfs late rootfs/tmp; $RUNC exec $ID grep -c ' /tmp ' /proc/self/mountinfo || true; \
            $RUNC exec $ID awk '$5 == \"/\" {print $7}' /proc/self/mountinfo; $RUNC delete -f $ID; umount rootfs/tmp; grep -c runcrs.*rootfs /proc/self/mountinfo";
        let out = in_own_mounts(&bundle, script).ok();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], if appears { "1" } else { "0" }, "{propagation}: {out}");
        let word = match propagation.trim_start_matches('r') {
            "" | "slave" => "master:",
            "shared" => "shared:",
            "unbindable" => "unbindable",
            _ => "-",
        };
        assert!(lines[1].starts_with(word), "{propagation}: {out}");
        // Nothing of the container's came out.
        assert_eq!(lines[2], "1", "{propagation}: {out}");
    }
}

#[test]
fn a_volumes_propagation_in_both_directions() {
    // Option, propagation of the root, whether the host's later mount comes in, whether the container's goes out.
    for (option, root, comes_in, goes_out) in [
        ("rprivate", "rshared", false, false),
        ("rslave", "rshared", true, false),
        ("rshared", "rshared", true, true),
        ("rslave", "rslave", true, false),
        ("rshared", "rslave", true, false),
        ("rslave", "rprivate", false, false),
    ] {
        let (mut bundle, host) = with_host();
        fs::create_dir(host.join("out")).unwrap();
        let caps = json!(["CAP_SYS_ADMIN"]);
        bundle.set(
            "/process/capabilities",
            json!({"bounding": caps, "effective": caps, "permitted": caps}),
        );
        bundle.set("/linux/rootfsPropagation", json!(root));
        bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
        bundle.push("/mounts", bind(&host, &["rbind", option]));
        let script = "mount --bind host host; mount --make-shared host; $RUNC run -d $ID >/dev/null 2>&1 </dev/null; \
            mount -t tmpfs late host/sub; $RUNC exec $ID grep -c ' /v/sub ' /proc/self/mountinfo || true; \
            $RUNC exec $ID mount -t tmpfs inner /v/out; grep -q host/out /proc/self/mountinfo && echo 1 || echo 0; \
            umount host/out 2>/dev/null || true; $RUNC delete -f $ID";
        let out = in_own_mounts(&bundle, script).ok();
        let expected = format!("{}\n{}\n", u8::from(comes_in), u8::from(goes_out));
        assert_eq!(out, expected, "{option} in {root}");
    }
}

#[test]
fn an_unsafe_propagation_is_refused_without_pivot_root() {
    let mut bundle = Bundle::new();
    bundle.set("/linux/rootfsPropagation", json!("rprivate"));
    bundle.write_config();
    let words = bundle.call(&["run", "--no-pivot", &bundle.id]).err();
    assert!(
        words.contains("rootfsPropagation of [r]private is not safe without pivot_root"),
        "{words}"
    );
    bundle.set("/linux/rootfsPropagation", json!("moon"));
    let words = bundle.run().err();
    assert!(words.contains("rootfsPropagation=moon is not supported"), "{words}");
}

#[test]
fn remounts_change_the_mount_or_the_filesystem() {
    let mut bundle = Bundle::new();
    bundle.push(
        "/mounts",
        json!({"destination": "/v", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}),
    );
    for (options, mount, filesystem) in [
        (vec!["remount", "ro"], "ro,relatime", "size=1024k"),
        (vec!["remount", "size=2m", "nosuid"], "rw,nosuid,relatime", "size=2048k"),
        (vec!["remount", "bind", "noexec"], "rw,noexec,relatime", "size=1024k"),
    ] {
        bundle.config["mounts"].as_array_mut().unwrap().truncate(5);
        bundle.push(
            "/mounts",
            json!({"destination": "/v", "type": "tmpfs", "source": "tmpfs", "options": options}),
        );
        let out = bundle
            .run_script("awk '$5 == \"/v\" {print $6, $NF}' /proc/self/mountinfo")
            .ok();
        let (attributes, data) = out.trim().split_once(' ').unwrap();
        assert_eq!(attributes, mount, "{options:?}");
        assert!(data.contains(filesystem), "{options:?}: {data}");
    }
}

#[test]
fn options_of_one_filesystem_do_not_go_to_a_bind_mount() {
    let (mut bundle, host) = with_host();
    bundle.push("/mounts", bind(&host, &["bind", "mode=755"]));
    let words = bundle.run().err();
    assert!(
        words.contains("bind mounts cannot have any filesystem-specific options applied"),
        "{words}"
    );
    bundle.assert_nothing_left();
}

#[test]
fn tmpcopyup_keeps_owners_modes_and_links() {
    let mut bundle = Bundle::new();
    let from = bundle.rootfs().join("copied");
    fs::create_dir_all(from.join("deep")).unwrap();
    fs::write(from.join("deep/x"), "text").unwrap();
    fs::set_permissions(from.join("deep/x"), fs::Permissions::from_mode(0o4711)).unwrap();
    chown(from.join("deep"), Some(12), Some(34)).unwrap();
    fs::set_permissions(&from, fs::Permissions::from_mode(0o1770)).unwrap();
    symlink("deep/x", from.join("link")).unwrap();
    bundle.push(
        "/mounts",
        json!({"destination": "/copied", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}),
    );
    let script = "stat -c '%a %u %g' /copied /copied/deep /copied/deep/x; readlink /copied/link; cat /copied/link; touch /copied/y || echo read-only";
    let expected = "1770 0 0\n755 12 34\n4711 0 0\ndeep/x\ntextread-only\n";
    assert_eq!(bundle.run_script(script).ok(), expected);
    assert!(!from.join("y").exists());
}

#[test]
fn links_as_crun_treats_them() {
    let (mut bundle, host) = with_host();
    symlink("/etc/target", host.join("link")).unwrap();
    fs::write(host.join("file"), "file").unwrap();
    symlink("/elsewhere", bundle.rootfs().join("inside")).unwrap();
    fs::write(bundle.rootfs().join("elsewhere"), "untouched").unwrap();
    for (source, destination, option) in [
        ("link", "/made/link", "copy-symlink"),
        ("link", "/over", "src-nofollow"),
        ("file", "/inside", "dest-nofollow"),
    ] {
        let source = host.join(source);
        bundle.push(
            "/mounts",
            json!({"destination": destination, "type": "bind", "source": source, "options": ["bind", option]}),
        );
    }
    let script = "readlink /made/link; readlink /over; cat /inside /elsewhere; grep -c /made/link /proc/self/mountinfo";
    let outcome = bundle.run_script(script);
    assert_eq!(
        outcome.stdout, "/etc/target\n/etc/target\nfileuntouched0\n",
        "{}",
        outcome.stderr
    );
}
