//! What a container finds inside: mounts, devices, privileges, limits, names, hooks, user namespaces.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;

use common::Bundle;
use serde_json::json;

#[test]
fn privileges_are_exactly_those_asked_for() {
    let mut bundle = Bundle::new();
    let status = bundle.run_script("cat /proc/self/status").ok();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    // CHOWN 0, DAC_OVERRIDE 1, KILL 5, SETGID 6, SETUID 7, SYS_CHROOT 18, MKNOD 27.
    let mask = format!("{:016x}", 1 | 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 18 | 1 << 27);
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(set), mask, "{set}");
    }
    assert_eq!(field("CapInh:"), "0000000000000000");
    assert_eq!(field("CapAmb:"), "0000000000000000");
    assert_eq!(field("NoNewPrivs:"), "1");
}

#[test]
fn user_groups_umask_limits_and_environment() {
    let mut bundle = Bundle::new();
    bundle
        .set(
            "/process/user",
            json!({"uid": 1000, "gid": 100, "additionalGids": [7, 8], "umask": 0o077}),
        )
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]),
        )
        .set("/process/oomScoreAdj", json!(500))
        .set("/process/env", json!(["PATH=/bin", "A=1", "A=2"]));
    fs::write(bundle.rootfs().join("etc/passwd"), "u:x:1000:100::/home/u:/bin/sh\n").unwrap();
    let script = "id -u; id -g; id -G; umask; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; echo $A $HOME; id -u > /dev/stdout";
    let out = bundle.run_script(script).ok();
    assert_eq!(out, "1000\n100\n100 7 8\n0077\n100\n200\n500\n2 /home/u\n1000\n");
}

#[test]
fn names_sysctl_and_loopback() {
    let mut bundle = Bundle::new();
    bundle
        .set(
            "/linux/sysctl",
            json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "9999"}),
        )
        .set("/domainname", json!("domain"));
    let script = "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax; ip addr show lo | grep -c UP";
    assert_eq!(bundle.run_script(script).ok(), "tester\ndomain\n1\n9999\n1\n");
    bundle.set("/linux/sysctl", json!({"kernel.core_pattern": "x"}));
    let words = bundle.run().err();
    assert!(words.contains("is not in a separate kernel namespace"), "{words}");
}

#[test]
fn devices_links_and_masks() {
    let mut bundle = Bundle::new();
    bundle.set(
        "/linux/devices",
        json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 384, "uid": 5}]),
    );
    let script = "stat -c '%n %t:%T %a %u' /dev/null /dev/fuse; readlink /dev/fd; readlink /dev/ptmx; \
        stat -c '%t:%T' /proc/keys; ls /sys/firmware | grep -c . ; echo x > /proc/sys/kernel/domainname || echo read-only; echo x > /dev/null && echo writes";
    let out = bundle.run_script(script).ok();
    assert_eq!(
        out,
        "/dev/null 1:3 666 0\n/dev/fuse a:e5 600 5\n/proc/self/fd\npts/ptmx\n1:3\n0\nread-only\nwrites\n"
    );
}

#[test]
fn a_device_that_was_not_granted_cannot_be_opened() {
    let mut bundle = Bundle::new();
    bundle.set(
        "/linux/resources",
        json!({"devices": [{"allow": false, "access": "rwm"}]}),
    );
    bundle.set(
        "/linux/devices",
        json!([{"path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11}]),
    );
    let out = bundle
        .run_script("head -c 1 /dev/zero | grep -c ''; head -c 1 /dev/kmsg2 || echo refused")
        .ok();
    assert!(out.ends_with("refused\n"), "{out}");
}

#[test]
fn mounts_of_every_kind() {
    let mut bundle = Bundle::new();
    let host = bundle.dir.path().join("host");
    fs::create_dir_all(host.join("inner")).unwrap();
    fs::write(host.join("file"), "content").unwrap();
    fs::create_dir_all(bundle.rootfs().join("copied/deep")).unwrap();
    fs::write(bundle.rootfs().join("copied/deep/x"), "from the image").unwrap();
    for mount in [
        json!({"destination": "/rw", "type": "bind", "source": host, "options": ["bind"]}),
        json!({"destination": "/made/deep/ro", "type": "bind", "source": host, "options": ["rbind", "ro", "nosuid"]}),
        json!({"destination": "/made/file", "type": "bind", "source": host.join("file"), "options": ["bind", "rro"]}),
        json!({"destination": "/copied", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m"]}),
        json!({"destination": "/tmpro", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}),
        json!({"destination": "/tmpro/below", "type": "tmpfs", "source": "tmpfs", "options": ["noexec"]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"]}),
    ] {
        bundle.push("/mounts", mount);
    }
    bundle.set("/root/readonly", json!(true));
    let script = "touch /rw/new && echo 1; touch /made/deep/ro/x || echo 2; cat /made/file; echo >> /made/file || echo 3; \
        cat /copied/deep/x; touch /copied/y && echo 4; touch /tmpro/x || echo 5; touch /tmpro/below/x && echo 6; touch /x || echo 7; \
        grep -c cgroup /proc/mounts; mkdir /sys/fs/cgroup/pids/x || echo 8";
    let outcome = bundle.run_script(script);
    let lines: Vec<String> = outcome.stdout.lines().map(str::to_owned).collect();
    assert_eq!(
        lines[..8],
        [
            "1",
            "2",
            "content3",
            "from the image4",
            "5",
            "6",
            "7",
            lines[7].as_str()
        ],
        "{}",
        outcome.stderr
    );
    assert!(lines[7].parse::<u32>().unwrap() > 5);
    assert_eq!(lines[8], "8");
    assert!(host.join("new").exists());
    bundle.assert_nothing_left();
}

#[test]
fn propagation_reaches_the_host_only_when_shared() {
    let mut bundle = Bundle::new();
    let info = "cat /proc/self/mountinfo";
    let of_root = |table: &str| {
        table
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/"))
            .unwrap()
            .to_owned()
    };
    for (propagation, has, has_not) in [
        ("private", "", "shared:"),
        ("shared", "shared:", "master:x"),
        ("unbindable", "unbindable", "shared:"),
    ] {
        bundle.set("/linux/rootfsPropagation", json!(propagation));
        let root = of_root(&bundle.run_script(info).ok());
        assert!(root.contains(has) && !root.contains(has_not), "{propagation}: {root}");
    }
    bundle.assert_nothing_left();
}

#[test]
fn a_volumes_propagation_is_its_own() {
    let mut bundle = Bundle::new();
    let host = bundle.dir.path().join("host");
    fs::create_dir(&host).unwrap();
    for (option, word) in [
        ("rshared", "shared:"),
        ("rprivate", " - "),
        ("runbindable", "unbindable"),
    ] {
        bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
        bundle.push(
            "/mounts",
            json!({"destination": "/v", "type": "bind", "source": host, "options": ["rbind", option]}),
        );
        let line = bundle.run_script("grep ' /v ' /proc/self/mountinfo").ok();
        assert!(
            line.contains(word) && (option == "rshared") == line.contains("shared:"),
            "{option}: {line}"
        );
    }
}

#[test]
fn namespaces_are_joined_by_path_and_checked_for_type() {
    let mut holder = Bundle::new();
    holder.sleeping();
    let pid = holder.state()["pid"].as_i64().unwrap();
    let mut bundle = Bundle::new();
    let path = |name: &str| format!("/proc/{pid}/ns/{name}");
    bundle.config.as_object_mut().unwrap().remove("hostname");
    bundle.set(
        "/linux/namespaces",
        json!([{"type": "pid", "path": path("pid")}, {"type": "network", "path": path("net")}, {"type": "ipc", "path": path("ipc")},
               {"type": "uts", "path": path("uts")}, {"type": "mount"}]),
    );
    let out = bundle
        .run_script("readlink /proc/self/ns/pid; readlink /proc/self/ns/net; hostname; grep -c sleep /proc/1/cmdline")
        .ok();
    let link = |name: &str| fs::read_link(path(name)).unwrap().display().to_string();
    assert_eq!(out, format!("{}\n{}\ntester\n1\n", link("pid"), link("net")));
    bundle.set("/linux/namespaces/1", json!({"type": "network", "path": path("ipc")}));
    let words = bundle.run().err();
    assert!(words.contains("is a ipc namespace, not a net namespace"), "{words}");
    bundle.assert_nothing_left();
}

#[test]
fn the_end_of_a_container_in_a_shared_pid_namespace_ends_its_processes() {
    let mut bundle = Bundle::new();
    bundle.set("/linux/namespaces", json!([{"type": "mount"}, {"type": "uts"}]));
    bundle.script("sleep 4321 & sleep 4321");
    bundle.create().ok();
    bundle.start().ok();
    bundle.call(&["delete", "--force", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn a_user_namespace_maps_root() {
    let mut bundle = Bundle::new();
    let uid = 200_000;
    bundle.push("/linux/namespaces", json!({"type": "user"}));
    bundle.push("/linux/namespaces", json!({"type": "cgroup"}));
    bundle.set(
        "/linux/uidMappings",
        json!([{"containerID": 0, "hostID": uid, "size": 1000}]),
    );
    bundle.set(
        "/linux/gidMappings",
        json!([{"containerID": 0, "hostID": uid, "size": 1000}]),
    );
    // The mapped root must reach its files.
    let path = bundle.dir.path().to_path_buf();
    std::process::Command::new("chmod")
        .arg("755")
        .arg(&path)
        .status()
        .unwrap();
    std::process::Command::new("chown")
        .args(["-R", "-h", "200000:200000"])
        .arg(bundle.rootfs())
        .status()
        .unwrap();
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.create().ok();
    bundle.start().ok();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t200000\t200000\t200000\t200000"), "{status}");
    let script = "id -u; cat /proc/self/uid_map; touch /made; echo x > /dev/null && echo null; echo $$";
    let out = bundle.exec(&["/bin/sh", "-c", script]).ok();
    assert!(out.starts_with("0\n         0     200000       1000\nnull\n"), "{out}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(bundle.rootfs().join("made")).unwrap().uid(), uid);
    bundle.call(&["delete", "-f", &bundle.id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn a_time_namespace_has_its_offset() {
    let mut bundle = Bundle::new();
    bundle.push("/linux/namespaces", json!({"type": "time"}));
    bundle.set("/linux/timeOffsets", json!({"boottime": {"secs": 1_000_000_000}}));
    let uptime: f64 = bundle
        .run_script("cat /proc/uptime")
        .ok()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(uptime > 1e9, "{uptime}");
}

#[test]
fn preserved_descriptors_arrive_and_no_others() {
    let mut bundle = Bundle::new();
    bundle.script("ls /proc/self/fd; cat <&3");
    bundle.write_config();
    let script = format!(
        "echo three > {0}/three; exec 3<{0}/three 4</dev/null 9</; exec {1} --root {2} run --preserve-fds 1 {3}",
        bundle.dir.path().display(),
        common::program().display(),
        bundle.state_root().display(),
        bundle.id
    );
    let output = std::process::Command::new("/bin/bash")
        .args(["-c", &script])
        .current_dir(bundle.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // 4 is the directory that ls itself has open.
    assert_eq!(
        text,
        "0\n1\n2\n3\n4\nthree\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_working_directory_is_made() {
    let mut bundle = Bundle::new();
    bundle.set("/process/cwd", json!("/not/yet/there"));
    assert_eq!(bundle.run_script("pwd").ok(), "/not/yet/there\n");
}

#[test]
fn a_label_the_kernel_does_not_know_is_an_error() {
    let mut bundle = Bundle::new();
    bundle.set("/process/apparmorProfile", json!("no-such-profile-anywhere"));
    let words = bundle.run().err();
    assert!(
        words.contains("unable to apply apparmor profile: apparmor failed to apply profile"),
        "{words}"
    );
    bundle.assert_nothing_left();
    bundle.set("/process/apparmorProfile", json!(""));
    for field in ["/process/selinuxLabel", "/linux/mountLabel"] {
        bundle.set(field, json!("a:b:c"));
        let words = bundle.run().err();
        assert!(
            words.contains("selinux label is specified in config, but selinux is disabled or not supported"),
            "{words}"
        );
        bundle.set(field, json!(""));
    }
    bundle.run().ok();
}

#[test]
fn broken_configurations_name_the_field() {
    let bundle = Bundle::new();
    fs::write(bundle.dir.path().join("config.json"), "{\"ociVersion\": 7}").unwrap();
    let words = bundle.call(&["create", &bundle.id]).err();
    assert!(words.contains("ociVersion"), "{words}");
    fs::remove_file(bundle.dir.path().join("config.json")).unwrap();
    assert!(
        bundle
            .call(&["create", &bundle.id])
            .err()
            .contains("JSON specification file config.json not found")
    );
    bundle.assert_nothing_left();
}

#[test]
fn system_calls_are_filtered_in_run_and_exec_with_and_without_no_new_privs() {
    let mut bundle = Bundle::new();
    bundle.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}),
    );
    for no_new_privileges in [true, false] {
        bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
        let outcome = bundle.run_script("grep Seccomp: /proc/self/status; mkdir /tmp/x");
        assert_eq!(outcome.stdout, "Seccomp:\t2\n");
        assert!(outcome.stderr.contains("No space left on device"), "{}", outcome.stderr);
        bundle.sleeping();
        assert!(
            bundle
                .exec(&["mkdir", "/tmp/x"])
                .err()
                .contains("No space left on device")
        );
        bundle.call(&["delete", "-f", &bundle.id]).ok();
    }
}

#[test]
fn notifications_reach_the_listener_with_the_containers_state() {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::AsRawFd;
    let mut bundle = Bundle::new();
    let path = bundle.dir.path().join("notify.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bundle.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "for you",
               "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}),
    );
    bundle.sleeping();
    let (stream, _) = listener.accept().unwrap();
    let mut data = [0_u8; 8192];
    let mut iov = [std::io::IoSliceMut::new(&mut data)];
    let mut space = nix::cmsg_space!(i32);
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::empty()).unwrap();
    let fds = message
        .cmsgs()
        .unwrap()
        .filter(|control| matches!(control, ControlMessageOwned::ScmRights(fds) if fds.len() == 1))
        .count();
    let length = message.bytes;
    assert_eq!(fds, 1);
    let state: serde_json::Value = serde_json::from_slice(&data[..length]).unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["metadata"], "for you");
    assert_eq!(state["pid"], bundle.state()["pid"]);
    assert_eq!(state["state"]["id"], bundle.id);
}

#[test]
fn a_mount_with_mapped_ids_shows_other_owners() {
    let mut bundle = Bundle::new();
    let host = bundle.dir.path().join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "").unwrap();
    let map = json!([{"containerID": 0, "hostID": 1234, "size": 10}]);
    bundle.push(
        "/mounts",
        json!({"destination": "/m", "type": "bind", "source": host, "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map}),
    );
    assert_eq!(bundle.run_script("stat -c '%u %g' /m/file").ok(), "1234 1234\n");
    bundle.assert_nothing_left();
}
