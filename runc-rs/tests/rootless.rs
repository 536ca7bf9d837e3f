//! `runc-rs` run by an ordinary user, against the real kernel and Debian's `newuidmap`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::{Bundle, Outcome};
use serde_json::json;

/// What a container of an ordinary user sees of itself.
#[test]
fn one_id_mapped_without_helpers() {
    let mut bundle = Bundle::of_user();
    let script = "id; cat /proc/self/setgroups /proc/self/uid_map /proc/self/gid_map; grep -E '^(Cap(Inh|Prm|Eff|Amb)|Groups)' \
                  /proc/self/status; ls /proc/self/fd; env; touch /tmp/made; stat -c %t:%T /dev/null /dev/zero /dev/full \
                  /dev/tty /dev/random /dev/urandom; echo to /dev/null > /dev/null; hostname";
    let out = bundle.run_script(script).ok();
    let uid = bundle.owner().uid;
    let map = format!("{:>10} {uid:>10} {:>10}", 0, 1);
    assert!(out.starts_with("uid=0 gid=0\ndeny\n"), "{out}");
    assert_eq!(out.lines().filter(|line| *line == map).count(), 2, "{out}");
    // CAP_CHOWN, DAC_OVERRIDE, KILL, SETGID, SETUID, SYS_CHROOT, MKNOD; nothing that survives an exec.
    for line in [
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "CapEff:\t00000000080400e3",
        "Groups:\t ",
    ] {
        assert!(out.lines().any(|found| found == line), "{line:?} in {out}");
    }
    let env = out.split_once("\n0\n1\n2\n3\n").unwrap().1;
    assert!(env.contains("PATH=/bin\n") && !env.contains("XDG_"), "{out}");
    assert!(out.contains("1:3\n1:5\n1:7\n5:0\n1:8\n1:9\ntester\n"), "{out}");
    assert_eq!(fs::metadata(bundle.rootfs().join("tmp/made")).unwrap().uid(), uid);
    bundle.assert_nothing_left();
}

#[test]
fn the_whole_life_without_a_cgroup() {
    let mut bundle = Bundle::of_user();
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.create().ok();
    assert_eq!(bundle.state()["status"], "created");
    assert_eq!(bundle.exec(&["/bin/echo", "early"]).ok(), "early\n");
    bundle.start().ok();
    let state = bundle.state();
    assert_eq!(state["status"], "running");
    let owner = bundle.owner().uid;
    assert!(state["owner"] == "tester" || state["owner"] == format!("#{owner}"));
    let script =
        "for n in user pid net ipc uts mnt; do readlink /proc/self/ns/$n; done; cat /proc/self/setgroups; exit 7";
    let outcome = bundle.exec(&["/bin/sh", "-c", script]);
    assert_eq!(outcome.code, 7, "{}", outcome.stderr);
    for name in ["user", "pid", "net", "ipc", "uts", "mnt"] {
        let link = fs::read_link(format!("/proc/{}/ns/{name}", state["pid"])).unwrap();
        assert!(
            outcome.stdout.contains(link.to_str().unwrap()),
            "{name}: {}",
            outcome.stdout
        );
    }
    assert!(outcome.stdout.ends_with("deny\n"));
    assert_eq!(bundle.exec(&["/bin/ps"]).ok().lines().count(), 3);
    let id = bundle.id.clone();
    // runc's words for what takes a cgroup.
    for (args, words) in [
        (&["events"][..], "memory controller missing"),
        (
            &["ps"],
            "unable to get all container pids: lstat : no such file or directory",
        ),
        (
            &["pause"],
            "cannot toggle freezer: cgroups not configured for container",
        ),
        (&["resume"], "container not paused"),
        (
            &["update", "--pids-limit", "5"],
            "cannot set pids limit: container could not join or create cgroup",
        ),
    ] {
        let mut all = args.to_vec();
        all.push(&id);
        let error = bundle.call(&all).err();
        assert!(error.contains(words), "{args:?}: {error}");
    }
    assert!(
        bundle
            .call(&["events", "--stats", &id])
            .ok()
            .contains("\"type\":\"stats\"")
    );
    assert!(bundle.call(&["list"]).ok().contains("running"));
    let error = bundle.call(&["delete", &id]).err();
    assert!(error.contains("is not stopped: running"), "{error}");
    bundle.call(&["kill", &id, "KILL"]).ok();
    while bundle.state()["status"] != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.call(&["delete", &id]).ok();
    bundle.assert_nothing_left();
}

/// Root has a container of the same id: its cgroup is neither entered nor removed.
#[test]
fn a_cgroup_of_somebody_else_is_left_alone() {
    let mut bundle = Bundle::of_user();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.split_once(":pids:")).unwrap().1;
    let theirs = format!("/sys/fs/cgroup/pids{own}/{}", bundle.id);
    fs::create_dir(&theirs).unwrap();
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(format!("{theirs}/cgroup.procs"), sleeper.id().to_string()).unwrap();
    let outcome = bundle.run_script("cat /proc/self/cgroup");
    let lives = sleeper.try_wait().unwrap().is_none();
    let there = fs::metadata(&theirs).is_ok();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    fs::remove_dir(&theirs).unwrap();
    assert!(!outcome.ok().contains(&bundle.id));
    assert!(lives && there);
}

/// Who is in a group that is denied must not get out of it by a namespace of his own.
#[test]
fn cve_2014_8989_a_group_that_denies_is_kept() {
    let mut bundle = Bundle::of_user();
    let group = bundle.owner().uid + 500;
    bundle.user.as_mut().unwrap().groups = vec![group];
    let file = bundle.rootfs().join("denied");
    fs::write(&file, "secret").unwrap();
    std::os::unix::fs::chown(&file, Some(0), Some(group)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    let sleeping = bundle.run_script("cat /proc/self/setgroups; cat /denied");
    assert!(sleeping.stderr.contains("Permission denied"), "{}", sleeping.stderr);
    assert_eq!(sleeping.stdout, "deny\n");
    bundle.sleeping();
    let exec = bundle.exec(&["/bin/cat", "/denied"]);
    assert!(
        exec.stderr.contains("Permission denied"),
        "{} {}",
        exec.stdout,
        exec.stderr
    );
}

#[test]
fn ranges_are_mapped_by_newuidmap_and_leave_no_group_of_the_host() {
    let mut bundle = Bundle::of_user();
    let group = bundle.owner().uid + 500;
    bundle.user.as_mut().unwrap().groups = vec![group];
    bundle.map_range().set(
        "/process/user",
        json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6]}),
    );
    bundle.set(
        "/mounts/2/options",
        json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    );
    fs::set_permissions(bundle.rootfs().join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    bundle.script("id; cat /proc/self/setgroups; grep Groups /proc/self/status; touch /tmp/made; exec sleep 1000");
    bundle.create().ok();
    bundle.start().ok();
    let log = bundle.dir.path().join("create.log");
    while !fs::read_to_string(&log).unwrap().contains("Groups") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let out = fs::read_to_string(&log).unwrap();
    assert!(
        out.contains("uid=1000 gid=1001 groups=5,6\nallow\nGroups:\t5 6 \n"),
        "{out}"
    );
    // As the container's root, and as somebody else: neither has the host's group, which would show as 65534.
    for user in ["0:0", "1000:1001"] {
        let args = [
            "exec",
            "-u",
            user,
            &bundle.id,
            "/bin/grep",
            "Groups",
            "/proc/self/status",
        ];
        let groups = bundle.call(&args).ok();
        assert_eq!(groups, "Groups:\t5 6 \n", "{user}");
    }
    let made = loop {
        if let Ok(made) = fs::metadata(bundle.rootfs().join("tmp/made")) {
            break made;
        }
    };
    assert_eq!(
        (made.uid(), made.gid()),
        (bundle.owner().range + 999, bundle.owner().range + 1000)
    );
    // Its processes have another id than the user: they can be ended all the same.
    let id = bundle.id.clone();
    bundle.call(&["delete", "--force", &id]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn what_cannot_be_had_is_refused_in_runcs_words() {
    // A namespace list without the user's, in which mappings mean nothing.
    let namespaces = json!([{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]);
    let of_root = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let table = [
        (
            vec![
                ("/linux/namespaces", namespaces),
                ("/linux/uidMappings", json!(null)),
                ("/linux/gidMappings", json!(null)),
            ],
            "rootless container requires user namespaces",
        ),
        (
            vec![("/linux/uidMappings", json!([]))],
            "user namespaces enabled, but no uid mappings found",
        ),
        (
            vec![("/linux/cgroupsPath", json!("/runcrs-refused"))],
            "unable to apply cgroup configuration: mkdir /sys/fs/cgroup/",
        ),
        (
            vec![("/linux/resources", json!({"pids": {"limit": 10}}))],
            "cannot set pids limit: container could not join or create cgroup",
        ),
        (
            vec![("/linux/resources", json!({"memory": {"limit": 10_000_000}}))],
            "cannot set memory limit: container could not join or create cgroup",
        ),
        (
            vec![("/mounts/2/options", json!(["newinstance", "gid=5"]))],
            "cannot specify gid= mount options for unmapped gid in rootless containers",
        ),
        (
            vec![("/mounts/1/options", json!(["mode=755,uid=77"]))],
            "cannot specify uid= mount options for unmapped uid in rootless containers",
        ),
        (
            vec![("/process/user/uid", json!(5))],
            "cannot set uid to unmapped user in user namespace",
        ),
        (
            vec![("/process/user/gid", json!(5))],
            "cannot set gid to unmapped user in user namespace",
        ),
        (
            vec![("/process/user/additionalGids", json!([5]))],
            "cannot set any additional groups in a rootless container",
        ),
        // Ids of somebody else.
        (
            vec![("/linux/uidMappings", of_root.clone())],
            "failed to use newuid map on ",
        ),
        (vec![("/linux/gidMappings", of_root)], "failed to use newgid map on "),
    ];
    for (changes, words) in table {
        let mut bundle = Bundle::of_user();
        for (pointer, value) in changes {
            bundle.set(pointer, value);
        }
        let error = bundle.run().err();
        assert!(error.contains(words), "{words}: {error}");
        bundle.assert_nothing_left();
    }
}

#[test]
fn without_the_tools_only_one_id_can_be_mapped() {
    let mut bundle = Bundle::of_user();
    let empty = bundle.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    bundle.set("/process/args", json!(["/bin/true"]));
    bundle.run().ok();
    bundle.map_range();
    bundle.write_config();
    // The tool that lies in the working directory is not taken by a relative PATH.
    fs::write(bundle.dir.path().join("newuidmap"), "#!/bin/sh\ntouch /tmp/taken\n").unwrap();
    fs::set_permissions(bundle.dir.path().join("newuidmap"), fs::Permissions::from_mode(0o755)).unwrap();
    let user = bundle.owner();
    let path = format!("PATH=.:{}", empty.display());
    let mut command = user.command("env");
    command.current_dir(bundle.dir.path()).arg(path).arg(user.program());
    command.arg("--root").arg(bundle.state_root()).args(["run", &bundle.id]);
    let error = Outcome::from(command.output().unwrap()).err();
    assert!(
        error.contains("failed to use newuid map on ") && error.contains("mapping tool not present"),
        "{error}"
    );
    bundle.assert_nothing_left();
}

#[test]
fn rootless_false_forgives_no_cgroup() {
    let bundle = Bundle::of_user();
    bundle.write_config();
    let error = bundle.call(&["--rootless", "false", "run", &bundle.id]).err();
    assert!(
        error.contains("unable to apply cgroup configuration") && error.contains("permission denied"),
        "{error}"
    );
    bundle.assert_nothing_left();
    bundle.call(&["--rootless", "true", "run", &bundle.id]).ok();
    bundle.call(&["--rootless", "auto", "run", &bundle.id]).ok();
    let error = bundle.call(&["--rootless", "neither", "run", &bundle.id]).err();
    assert!(
        error.contains("parsing \"neither\": invalid syntax") || error.contains("parsing \\\"neither\\\""),
        "{error}"
    );
}

/// Without a cgroup namespace the host's hierarchies must not be writable: bound with `/sys`, or mounted.
#[test]
fn cve_2023_25809_nothing_below_sys_fs_cgroup_is_writable() {
    for sys in [
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}),
        json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}),
    ] {
        let mut bundle = Bundle::of_user();
        bundle.set("/mounts/3", sys.clone());
        let options = json!(["nosuid", "noexec", "nodev", "relatime", "ro"]);
        let cgroup = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
        bundle.push("/mounts", cgroup);
        let script = "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do [ -d $d ] && mkdir $d/x; done; echo done";
        let outcome = bundle.run_script(script);
        assert_eq!(outcome.stdout, "done\n", "{}", outcome.stderr);
        assert!(!outcome.stderr.is_empty());
        for line in outcome.stderr.lines() {
            assert!(line.ends_with("Read-only file system"), "{sys}: {line}");
        }
    }
}

#[test]
fn the_runtimes_own_binary_cannot_be_written() {
    let mut bundle = Bundle::of_user();
    bundle.set("/process/args", json!(["/bin/true"]));
    bundle.create().ok();
    // What runs until the program does is a sealed copy in memory.
    let exe = fs::read_link(format!("/proc/{}/exe", bundle.state()["pid"])).unwrap();
    assert_eq!(exe.to_str().unwrap(), "/memfd:runc-rs (deleted)");
    let before = fs::metadata(common::program()).unwrap();
    let mut bundle = Bundle::of_user();
    bundle.sleeping();
    let script = "echo x > /proc/self/exe; for p in /proc/[0-9]*; do echo x > $p/exe; done";
    let outcome = bundle.exec(&["/bin/sh", "-c", script]);
    assert_ne!(outcome.code, 0);
    let outcome = bundle.exec(&["/proc/self/exe", "--version"]);
    assert_ne!(outcome.code, 0, "{}", outcome.stdout);
    let after = fs::metadata(common::program()).unwrap();
    assert_eq!((before.mtime_nsec(), before.size()), (after.mtime_nsec(), after.size()));
}

#[test]
fn what_spec_writes_runs_as_it_is() {
    // Ours, and Debian's runc's.
    for program in [None, Some("runc")] {
        let mut bundle = Bundle::of_user();
        let user = bundle.owner();
        let mut command = user.command(program.map_or_else(|| user.program(), Into::into));
        command.args(["spec", "--rootless"]).current_dir(bundle.dir.path());
        Outcome::from(command.output().unwrap()).ok();
        let text = fs::read(bundle.dir.path().join("config.json")).unwrap();
        bundle.config = serde_json::from_slice(&text).unwrap();
        bundle.set("/process/terminal", json!(false));
        bundle.script("id; cat /proc/self/setgroups; hostname; ls /sys/kernel");
        let out = bundle.run().ok();
        assert!(out.starts_with("uid=0 gid=0\ndeny\nrunc\n"), "{out}");
    }
}

#[test]
fn state_lies_in_the_runtime_directory_where_no_root_is_given() {
    let mut bundle = Bundle::of_user();
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.write_config();
    let user = bundle.owner();
    let call = |args: &[&str]| {
        let mut command = user.command(user.program());
        let log = fs::File::create(bundle.dir.path().join("log")).unwrap();
        command
            .args(args)
            .current_dir(bundle.dir.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let status = command.status().unwrap();
        let text = fs::read_to_string(bundle.dir.path().join("log")).unwrap();
        assert!(status.success(), "{args:?}: {text}");
        text
    };
    call(&["create", &bundle.id]);
    let root = user.runtime_dir().join("runc-rs");
    let stat = fs::metadata(&root).unwrap();
    // The sticky bit keeps it from being tidied away.
    assert_eq!((stat.mode() & 0o7777, stat.uid()), (0o1700, user.uid));
    assert!(root.join(&bundle.id).is_dir());
    assert!(call(&["list", "-q"]).contains(&bundle.id));
    call(&["delete", "--force", &bundle.id]);
    assert!(!root.join(&bundle.id).exists());
}

#[test]
fn namespaces_of_another_container_are_joined() {
    let mut first = Bundle::of_user();
    first.sleeping();
    let pid = first.state()["pid"].clone();
    // A second one of the same user, in all namespaces of the first but the mount namespace.
    let mut second = Bundle::of_user();
    second.user = None;
    let user = first.user.take().unwrap();
    user.give(second.dir.path());
    let namespaces = ["user", "pid", "net", "ipc", "uts"].map(|file| {
        let kind = if file == "net" { "network" } else { file };
        json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")})
    });
    second
        .set("/linux/namespaces", json!(namespaces))
        .push("/linux/namespaces", json!({"type": "mount"}));
    let linux = second.config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    second.config.as_object_mut().unwrap().remove("hostname");
    let mounts = second.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/sys");
    second.user = Some(user);
    let outcome = second.run_script("for n in user pid net ipc uts; do readlink /proc/self/ns/$n; done; ps; exit 3");
    first.user = second.user.take();
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    for name in ["user", "pid", "net", "ipc", "uts"] {
        let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert!(
            outcome.stdout.contains(link.to_str().unwrap()),
            "{name}: {}",
            outcome.stdout
        );
    }
    assert!(outcome.stdout.contains("/bin/sleep 1000"), "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("no cgroup and no private pid namespace"),
        "{}",
        outcome.stderr
    );
    first.call(&["delete", "--force", &first.id]).ok();
}

#[test]
fn hooks_of_the_user_reach_the_namespaces() {
    let mut bundle = Bundle::of_user();
    let found = bundle.dir.path().join("found");
    let script = format!(
        "pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*'); readlink /proc/$pid/ns/net > {}",
        found.display()
    );
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    bundle.set("/hooks", json!({"createRuntime": hook}));
    let inside = bundle.run_script("readlink /proc/self/ns/net").ok();
    assert_eq!(fs::read_to_string(found).unwrap(), inside);
}

#[test]
fn clocks_of_a_time_namespace_are_set_in_a_user_namespace() {
    let mut bundle = Bundle::of_user();
    bundle
        .push("/linux/namespaces", json!({"type": "time"}))
        .set("/linux/timeOffsets", json!({"boottime": {"secs": 1_000_000}}));
    let out = bundle.run_script("cat /proc/self/timens_offsets").ok();
    assert!(
        out.lines()
            .any(|line| line.split_whitespace().eq(["boottime", "1000000", "0"])),
        "{out}"
    );
}

#[test]
fn a_terminal_for_run_and_exec() {
    let mut bundle = Bundle::of_user();
    bundle.set("/process/terminal", json!(true));
    bundle.script("tty; test -c /dev/console && echo console");
    bundle.write_config();
    let in_terminal = |bundle: &Bundle, args: &str| {
        let user = bundle.owner();
        let root = bundle.state_root();
        let line = format!("{} --root {} {args}", user.program().display(), root.display());
        let mut command = user.command("script");
        command
            .args(["-qec", &line, "/dev/null"])
            .current_dir(bundle.dir.path());
        Outcome::from(command.output().unwrap()).ok()
    };
    let out = in_terminal(&bundle, &format!("run {}", bundle.id));
    assert!(out.contains("/dev/pts/0") && out.contains("console"), "{out}");
    let mut bundle = Bundle::of_user();
    bundle.sleeping();
    let out = in_terminal(&bundle, &format!("exec -t {} /bin/tty", bundle.id));
    assert!(out.contains("/dev/pts/0"), "{out}");
}

/// Root of a user namespace that somebody else made: of an ordinary user's, with and without a further namespace.
#[test]
fn inside_a_user_namespace() {
    for further in [false, true] {
        let mut bundle = Bundle::of_user();
        if further {
            let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
            bundle
                .set("/linux/uidMappings", map.clone())
                .set("/linux/gidMappings", map);
        } else {
            let linux = bundle.config["linux"].as_object_mut().unwrap();
            linux.remove("uidMappings");
            linux.remove("gidMappings");
            linux["namespaces"]
                .as_array_mut()
                .unwrap()
                .retain(|namespace| namespace["type"] != "user");
        }
        bundle.script("cat /proc/self/uid_map; echo x > /dev/null; exec sleep 1000");
        bundle.write_config();
        let user = bundle.owner();
        let line = "set -e; r() { $PROGRAM --root $STATE \"$@\"; }
                    r create c </dev/null >log 2>&1 || { cat log; exit 1; }
                    r start c; r exec c /bin/id; r list -q; r state c | grep status; r delete --force c";
        let mut command = user.command("unshare");
        command
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", line])
            .env("PROGRAM", user.program())
            .env("STATE", bundle.state_root())
            .current_dir(bundle.dir.path());
        let out = Outcome::from(command.output().unwrap());
        assert_eq!(out.code, 0, "{} {}", out.stdout, out.stderr);
        assert!(
            out.stdout.starts_with("uid=0 gid=0\nc\n  \"status\": \"running\""),
            "{}",
            out.stdout
        );
    }
}

/// A bundle for `runc-rs` in a container: in `/inner`, with a user namespace of its own. The outer root's programs are bound.
fn inner_bundle(outer: &Bundle) {
    let rootfs = outer.rootfs().join("inner/rootfs");
    for name in ["bin", "proc", "dev", "sys"] {
        fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let kinds = ["pid", "ipc", "uts", "mount", "network", "user"];
    let namespaces: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    let config = json!({
        "ociVersion": "1.0.2", "hostname": "inner",
        "process": {
            "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], "cwd": "/", "noNewPrivileges": true,
            "args": ["/bin/sh", "-c", "hostname; echo $$; cat /proc/self/uid_map; echo x > /dev/null"],
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/bin", "type": "bind", "source": "/bin", "options": ["rbind", "ro"]},
        ],
        "linux": {"uidMappings": map, "gidMappings": map, "namespaces": namespaces},
    });
    fs::write(outer.rootfs().join("inner/config.json"), config.to_string()).unwrap();
}

/// In a container of root's with a user namespace, and in one of an ordinary user's.
#[test]
fn nested_in_a_container_with_a_user_namespace() {
    for of_user in [false, true] {
        let mut outer = if of_user { Bundle::of_user() } else { Bundle::new() };
        outer.add_libraries(common::program());
        inner_bundle(&outer);
        let program = match &outer.user {
            Some(user) => user.program(),
            None => {
                let map = json!([{"containerID": 0, "hostID": 1_450_000_000, "size": 65536}]);
                outer
                    .set("/linux/uidMappings", map.clone())
                    .set("/linux/gidMappings", map);
                outer.push("/linux/namespaces", json!({"type": "user"}));
                common::program().to_path_buf()
            }
        };
        let bind = json!({"destination": "/runc-rs", "type": "bind", "source": program, "options": ["bind", "ro"]});
        outer.push("/mounts", bind);
        let all = json!([
            "CAP_SYS_ADMIN",
            "CAP_SETUID",
            "CAP_SETGID",
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_SYS_CHROOT",
            "CAP_KILL",
            "CAP_SETFCAP"
        ]);
        for set in ["bounding", "effective", "permitted"] {
            outer.set(&format!("/process/capabilities/{set}"), all.clone());
        }
        let owner = outer.user.as_ref().map_or(1_450_000_000, |user| user.uid);
        chown_all(&outer, owner);
        // With what is masked in the outer /proc the kernel refuses an inner one, and the error says why.
        let script = "/runc-rs --root /tmp/state run -b /inner inner";
        let error = outer.run_script(script).err();
        assert!(
            error.contains("operation not permitted (VFS: Mount too revealing)"),
            "{error}"
        );
        outer
            .set("/linux/maskedPaths", json!([]))
            .set("/linux/readonlyPaths", json!([]));
        let outcome = outer.run_script(script);
        assert_eq!(outcome.code, 0, "{of_user}: {} {}", outcome.stdout, outcome.stderr);
        assert!(outcome.stdout.starts_with("inner\n1\n"), "{}", outcome.stdout);
        assert!(
            outcome.stdout.contains(&format!("{:>10} {:>10} {:>10}", 0, 0, 1)),
            "{}",
            outcome.stdout
        );
        outer.assert_nothing_left();
    }
}

fn chown_all(bundle: &Bundle, owner: u32) {
    fs::set_permissions(bundle.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let rootfs = bundle.rootfs();
    let status = std::process::Command::new("chown")
        .args(["-R", &format!("{owner}:{owner}")])
        .arg(rootfs)
        .status();
    assert!(status.unwrap().success());
}
