//! What a container's process has, or could take from the runtime's.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::common::{self, Bundle};

#[test]
fn cve_2016_9962_a_joining_process_cannot_be_looked_into() {
    let mut bundle = Bundle::new();
    let caps = json!(["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SETUID", "CAP_SETGID"]);
    bundle.set(
        "/process/capabilities",
        json!({"bounding": caps, "effective": caps, "permitted": caps}),
    );
    let watch = "echo > /ready; while [ ! -e /stop ]; do for p in /proc/[0-9]*; do for f in $p/exe $p/cwd $p/fd/*; do readlink $f; done; done; done > /seen 2>/dev/null; echo > /done";
    bundle.script(watch);
    bundle.create().ok();
    bundle.start().ok();
    for _ in 0..40 {
        bundle.exec(&["/bin/true"]).ok();
    }
    bundle.exec(&[
        "/bin/sh",
        "-c",
        "echo > /stop; while [ ! -e /done ]; do sleep 0.01; done; sleep 0.1",
    ]);
    let seen = fs::read_to_string(bundle.rootfs().join("seen")).unwrap();
    assert!(seen.contains("/bin/busybox"), "the watcher saw nothing");
    // The own streams of the watching container lead to the test's directory; the runtime's program and descriptors must not show.
    for line in seen.lines() {
        assert!(!line.contains("runc-rs") || line.contains("create.log"), "{line}");
        assert!(!line.contains("/state/") && !line.starts_with("socket:"), "{line}");
    }
}

#[test]
fn cve_2019_5736_the_runtimes_binary_cannot_be_overwritten() {
    let mut bundle = Bundle::new();
    // A copy stands in for the installed program, so that a failure of this test harms nobody.
    let copy = bundle.dir.path().join("runtime");
    fs::copy(common::program(), &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    bundle.add_libraries(&copy);
    bundle.sleeping();
    // The program executes its own executable inside the container, and stays there, waiting for a reader of its log.
    let fifo = bundle.rootfs().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    fs::write(bundle.rootfs().join("script"), "#!/proc/self/exe\n").unwrap();
    for target in ["/proc/self/exe", "/script"] {
        Command::new("chmod")
            .arg("755")
            .arg(bundle.rootfs().join("script"))
            .status()
            .unwrap();
        let mut inside = Command::new(&copy);
        inside
            .arg("--root")
            .arg(bundle.state_root())
            .args(["exec", &bundle.id, target, "--log", "/fifo", "list"]);
        let mut inside = inside
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let attack = "for i in 1 2 3 4 5 6 7 8 9 10; do for p in /proc/[0-9]*; do case \"$(readlink $p/exe)\" in */busybox|'') ;; *) \
            exec 3< $p/exe; echo pwned > $p/exe; kill -9 ${p#/proc/}; sleep 0.2; echo pwned > /proc/self/fd/3; echo tried; exit;; esac; done; sleep 0.1; done";
        let outcome = bundle.exec(&["/bin/sh", "-c", attack]);
        // Lets it go on, should it still wait.
        let reader = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&fifo)
            .unwrap();
        inside.wait().unwrap();
        drop(reader);
        if target == "/proc/self/exe" {
            assert!(
                outcome.stdout.contains("tried"),
                "the program was not seen inside: {}",
                outcome.stderr
            );
            assert_eq!(
                outcome.stderr.matches("Read-only file system").count(),
                2,
                "{}",
                outcome.stderr
            );
        }
        assert!(fs::read(&copy).unwrap() == before, "the runtime was overwritten");
    }
}

#[test]
fn cve_2021_43784_a_flood_of_mappings_is_an_error() {
    let mut bundle = Bundle::new();
    bundle.push("/linux/namespaces", json!({"type": "user"}));
    let flood: Vec<_> = (0..20_000)
        .map(|n| json!({"containerID": n, "hostID": 100_000 + n, "size": 1}))
        .collect();
    bundle
        .set("/linux/uidMappings", json!(flood))
        .set("/linux/gidMappings", json!(flood));
    bundle.run().err();
    bundle.assert_nothing_left();
}

#[test]
fn cve_2022_24769_nothing_is_inheritable() {
    let mut bundle = Bundle::new();
    let grep = ["/bin/grep", "CapInh", "/proc/self/status"];
    bundle.set("/process/args", json!(grep));
    assert_eq!(bundle.run().ok(), "CapInh:\t0000000000000000\n");
    bundle.sleeping();
    assert_eq!(bundle.exec(&grep).ok(), "CapInh:\t0000000000000000\n");
    let with_cap = bundle.call(&[
        "exec",
        "--cap",
        "CAP_NET_RAW",
        &bundle.id,
        "/bin/grep",
        "CapInh",
        "/proc/self/status",
    ]);
    assert_eq!(with_cap.ok(), "CapInh:\t0000000000000000\n");
}

#[test]
fn cve_2024_21626_no_descriptor_of_the_host_leads_out() {
    let mut bundle = Bundle::new();
    let leak = |command: String| {
        let script = format!("for n in 3 4 5 6 7 8 9 10 11 12; do eval \"exec $n</\"; done; exec {command}");
        Command::new("/bin/bash")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let program = format!(
        "{} --root {}",
        common::program().display(),
        bundle.state_root().display()
    );
    let bundle_dir = bundle.dir.path().display().to_string();
    for n in 3..=20 {
        bundle.set("/process/cwd", json!(format!("/proc/self/fd/{n}")));
        bundle.script("ls");
        bundle.write_config();
        let output = leak(format!("{program} run -b {bundle_dir} {}", bundle.id));
        assert!(
            !output.status.success(),
            "run with cwd of descriptor {n}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    bundle.set("/process/cwd", json!("/"));
    bundle.sleeping();
    for n in 3..=20 {
        let output = leak(format!("{program} exec --cwd /proc/self/fd/{n} {} ls", bundle.id));
        assert!(
            !output.status.success(),
            "exec with cwd of descriptor {n}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let output = leak(format!("{program} exec {} ls /proc/self/fd", bundle.id));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0\n1\n2\n3\n",
        "3 is the directory that ls itself reads"
    );
}

#[test]
fn cve_2026_30892_a_user_that_is_no_number_is_an_error() {
    let mut bundle = Bundle::new();
    bundle.sleeping();
    for bad in ["1000:", ":100", "a", "-1", "4294967295", "4294967296", "1x", ""] {
        let words = bundle.call(&["exec", "-u", bad, &bundle.id, "id"]).err();
        assert!(
            words.contains("exec failed") || words.contains("error:"),
            "{bad:?}: {words}"
        );
    }
    assert!(
        bundle
            .call(&["exec", "-u", "1000:100", &bundle.id, "id"])
            .ok()
            .starts_with("uid=1000 gid=100")
    );
}

#[test]
fn a_running_container_shows_no_descriptor_of_the_host() {
    let mut bundle = Bundle::new();
    bundle.script("ls -l /proc/self/fd /proc/1/fd; echo end");
    bundle.write_config();
    let mut child = bundle
        .command(&["run", &bundle.id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .collect();
    child.wait().unwrap();
    assert_eq!(lines.last().unwrap(), "end");
    let pipes = lines.iter().filter(|line| line.contains("pipe:")).count();
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("/state/") || line.contains("socket:"))
            && pipes > 0,
        "{lines:?}"
    );
}

#[test]
fn cve_2016_9962_not_with_every_capability_of_a_user_namespace() {
    // The container's root holds CAP_SYS_PTRACE over its user namespace, which the joining process is in: that it cannot be dumped protects it.
    let mut bundle = Bundle::new();
    let caps = json!([
        "CAP_SYS_PTRACE",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_SYS_ADMIN"
    ]);
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    bundle
        .set(
            "/process/capabilities",
            json!({"bounding": caps, "effective": caps, "permitted": caps}),
        )
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .push("/linux/namespaces", json!({"type": "user"}));
    let watch = "echo > /ready; while [ ! -e /stop ]; do for p in /proc/[0-9]*; do for f in $p/exe $p/cwd $p/fd/* $p/environ; do \
        case $f in */environ) grep -a -o SECRET $f;; *) readlink $f;; esac; done; done; done > /seen 2>/dev/null; echo > /done";
    bundle.script(watch);
    bundle.create().ok();
    bundle.start().ok();
    for _ in 0..40 {
        let mut exec = bundle.command(&["exec", &bundle.id, "/bin/true"]);
        assert!(exec.env("SECRET", "SECRET").status().unwrap().success());
    }
    let end = "echo > /stop; while [ ! -e /done ]; do sleep 0.01; done; sleep 0.1";
    bundle.exec(&["/bin/sh", "-c", end]);
    let seen = fs::read_to_string(bundle.rootfs().join("seen")).unwrap();
    assert!(seen.contains("/bin/busybox"), "the watcher saw nothing");
    for line in seen.lines() {
        assert!(!line.contains("runc-rs") || line.contains("create.log"), "{line}");
        assert!(
            !line.contains("/state/") && !line.starts_with("socket:") && line != "SECRET",
            "{line}"
        );
    }
}

#[test]
fn cve_2021_43784_a_flood_of_mounts_is_right_or_an_error() {
    let mut bundle = Bundle::new();
    // More than 64 KiB of them, with room for a namespace path to be smuggled in.
    for n in 0..300 {
        let destination = format!("/tmp/{n:0>240}");
        bundle.push(
            "/mounts",
            json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["size=4k"]}),
        );
    }
    let out = bundle
        .run_script("grep -c ' /tmp/0' /proc/self/mountinfo; readlink /proc/self/ns/user")
        .ok();
    let host = fs::read_link("/proc/self/ns/user").unwrap();
    assert_eq!(out, format!("300\n{}\n", host.display()));
    bundle.assert_nothing_left();
}

#[test]
fn cve_2024_21626_a_preserved_directory_is_no_way_out() {
    let mut bundle = Bundle::new();
    let program = format!(
        "{} --root {}",
        common::program().display(),
        bundle.state_root().display()
    );
    let directory = bundle.dir.path().to_path_buf();
    let call = |command: String| {
        let script = format!("exec 3</; exec {program} {command}");
        Command::new("/bin/bash")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .current_dir(&directory)
            .output()
            .unwrap()
    };
    bundle.set("/process/cwd", json!("/proc/self/fd/3"));
    bundle.set("/process/args", json!(["/bin/ls", "."]));
    bundle.write_config();
    let output = call(format!("run --preserve-fds 1 {}", bundle.id));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && words.contains("outside of container mount namespace root"),
        "{words}"
    );
    // A link of the image's to it, and a way back from it.
    for cwd in ["/link", "/proc/self/fd/3/../../etc", "/proc/thread-self/fd/3"] {
        bundle.set("/process/cwd", json!(cwd));
        let _ = fs::remove_file(bundle.rootfs().join("link"));
        symlink("/proc/self/fd/3", bundle.rootfs().join("link")).unwrap();
        bundle.write_config();
        let output = call(format!("run --preserve-fds 1 {}", bundle.id));
        assert!(
            !output.status.success(),
            "{cwd}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}
