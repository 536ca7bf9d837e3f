//! The known ways out of a container, each tried against the real program. Named after what they were found as; what is asserted
//! is always that nothing outside the root filesystem changed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::Bundle;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

/// A host directory that the image knows and must not reach.
fn outside(bundle: &Bundle) -> std::path::PathBuf {
    let outside = bundle.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    outside
}

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
fn cve_2019_18837_a_mount_through_a_link_stays_inside() {
    let mut bundle = Bundle::new();
    let outside = outside(&bundle);
    symlink(&outside, bundle.rootfs().join("link")).unwrap();
    symlink("../../../../../..", bundle.rootfs().join("up")).unwrap();
    for destination in ["/link/made", "/up/made-by-the-runtime", "/link"] {
        bundle.config["mounts"].as_array_mut().unwrap().truncate(4);
        bundle.push(
            "/mounts",
            json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}),
        );
        bundle.run_script("true").ok();
    }
    assert!(is_empty(&outside));
    assert!(!Path::new("/made-by-the-runtime").exists());
}

#[test]
fn cve_2021_30465_and_2024_45310_a_swapped_mount_target_stays_inside() {
    let mut bundle = Bundle::new();
    let outside = outside(&bundle);
    let volume = bundle.dir.path().join("volume");
    fs::create_dir_all(volume.join("target")).unwrap();
    symlink(&outside, volume.join("link")).unwrap();
    bundle.push(
        "/mounts",
        json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["bind"]}),
    );
    for name in ["one", "two"] {
        bundle.push(
            "/mounts",
            json!({"destination": format!("/volume/target/{name}/deep"), "type": "tmpfs", "source": "tmpfs"}),
        );
    }
    bundle.script("true");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(
                    CWD,
                    volume.join("target"),
                    CWD,
                    volume.join("link"),
                    RenameFlags::EXCHANGE,
                )
                .unwrap();
            }
        });
        for _ in 0..60 {
            // Success and a clear failure are both fine.
            bundle.run();
            assert!(is_empty(&outside), "something was made outside");
        }
        stop.store(true, Ordering::Relaxed);
    });
    bundle.assert_nothing_left();
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
fn cve_2025_52565_the_console_is_not_bound_through_a_link() {
    let mut bundle = Bundle::new();
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| mount["destination"] != "/dev");
    let outside = outside(&bundle);
    fs::write(outside.join("file"), "untouched").unwrap();
    for target in [
        "/proc/sys/kernel/core_pattern".to_owned(),
        outside.join("file").display().to_string(),
        "../../outside/new".to_owned(),
    ] {
        let console = bundle.rootfs().join("dev/console");
        let _ = fs::remove_file(&console);
        symlink(&target, &console).unwrap();
        bundle.set("/process/terminal", json!(true));
        bundle.write_config();
        // `run` in the foreground makes the terminal itself.
        let words = bundle.call(&["run", &bundle.id]).err();
        assert!(words.contains("/dev/console is a symbolic link"), "{words}");
    }
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
    assert!(!outside.join("new").exists());
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
fn cve_2026_41579_a_dev_that_is_a_link_fills_nothing_outside() {
    for own_dev in [true, false] {
        let mut bundle = Bundle::new();
        if !own_dev {
            bundle.config["mounts"]
                .as_array_mut()
                .unwrap()
                .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        }
        let outside = outside(&bundle);
        let dev = bundle.rootfs().join("dev");
        let chained = bundle.rootfs().join("hop");
        symlink("../outside", &chained).unwrap();
        for target in [
            outside.as_path(),
            Path::new("../outside"),
            Path::new("hop"),
            Path::new("/hop"),
        ] {
            let _ = fs::remove_dir_all(&dev);
            let _ = fs::remove_file(&dev);
            symlink(target, &dev).unwrap();
            // Refused or made inside the root: either way the host's directory stays empty.
            bundle.run_script("true");
            assert!(is_empty(&outside), "{} as {}", target.display(), dev.display());
        }
        bundle.assert_nothing_left();
    }
}

#[test]
fn what_a_hostile_passwd_is_does_not_hold_the_runtime_up() {
    let mut bundle = Bundle::new();
    let passwd = bundle.rootfs().join("etc/passwd");
    Command::new("mkfifo").arg(&passwd).status().unwrap();
    assert_eq!(bundle.run_script("echo $HOME").ok(), "/\n");
    fs::remove_file(&passwd).unwrap();
    symlink("/dev/zero", &passwd).unwrap();
    assert_eq!(bundle.run_script("echo $HOME").ok(), "/\n");
    fs::remove_file(&passwd).unwrap();
    let mut file = fs::File::create(&passwd).unwrap();
    file.write_all(&vec![b'x'; 8 << 20]).unwrap();
    assert_eq!(bundle.run_script("echo $HOME").ok(), "/\n");
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
