//! Paths of the image that lead out of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::common::Bundle;
use crate::{is_empty, outside, runs};

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
        for _ in 0..runs() {
            // Success and a clear failure are both fine.
            bundle.run();
            assert!(is_empty(&outside), "something was made outside");
        }
        stop.store(true, Ordering::Relaxed);
    });
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
fn cve_2025_24965_no_file_is_written_through_a_link() {
    // Whatever the runtime makes in a root filesystem: places for mounts, nodes, links, the console.
    let mut bundle = Bundle::new();
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| mount["destination"] != "/dev");
    let outside = outside(&bundle);
    fs::write(outside.join("file"), "untouched").unwrap();
    bundle.push(
        "/mounts",
        json!({"destination": "/place", "type": "bind", "source": outside.join("file"), "options": ["bind", "ro"]}),
    );
    bundle.set(
        "/linux/devices",
        json!([{"path": "/node", "type": "c", "major": 1, "minor": 3, "fileMode": 0o777, "uid": 5, "gid": 5}]),
    );
    for name in ["place", "node", "dev/null", "dev/fd", "dev/ptmx", "dev/zero"] {
        for target in ["new", "file"] {
            let path = bundle.rootfs().join(name);
            let _ = fs::remove_file(&path);
            symlink(outside.join(target), &path).unwrap();
            bundle.run_script("true");
            assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{name} -> {target}");
            fs::remove_file(&path).unwrap();
        }
    }
    bundle.assert_nothing_left();
}

#[test]
fn cve_2025_52565_the_terminal_does_not_come_from_a_swapped_directory() {
    // Without a devpts of its own `/dev/pts` is the image's, which swaps it for the host's; with one, the swap is of what lies under the mount.
    let mut bundle = Bundle::new();
    let outside = outside(&bundle);
    fs::write(outside.join("ptmx"), "untouched").unwrap();
    let dev = bundle.rootfs().join("dev");
    fs::create_dir(dev.join("pts")).unwrap();
    symlink(&outside, dev.join("link")).unwrap();
    bundle.set("/process/terminal", json!(true));
    bundle.script("tty");
    for own in [true, false] {
        bundle.config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| mount["destination"] != "/dev" && (own || mount["destination"] != "/dev/pts"));
        bundle.write_config();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    renameat_with(CWD, dev.join("pts"), CWD, dev.join("link"), RenameFlags::EXCHANGE).unwrap();
                }
            });
            for _ in 0..runs() / 4 {
                let outcome = bundle.call(&["run", &bundle.id]);
                assert!(
                    outcome.code != 0 || own,
                    "a terminal without devpts: {}",
                    outcome.stdout
                );
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_to_string(outside.join("ptmx")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }
    bundle.assert_nothing_left();
}

#[test]
fn a_mount_with_long_data_is_not_placed_by_name() {
    // Values that the new mount interface does not take go through mount(2), which wants a path.
    let mut bundle = Bundle::new();
    let outside = outside(&bundle);
    let volume = bundle.dir.path().join("volume");
    let layer = bundle.dir.path().join("layer".repeat(50));
    for directory in [
        &volume.join("target"),
        &layer,
        &bundle.dir.path().join("upper"),
        &bundle.dir.path().join("work"),
    ] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(layer.join("seen"), "from the layer").unwrap();
    let data = format!("lowerdir={}", layer.display());
    symlink(&outside, volume.join("link")).unwrap();
    bundle.push(
        "/mounts",
        json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["bind"]}),
    );
    bundle.push(
        "/mounts",
        json!({"destination": "/volume/target", "type": "overlay", "source": "overlay", "options": [
            data, format!("upperdir={}", bundle.dir.path().join("upper").display()),
            format!("workdir={}", bundle.dir.path().join("work").display()), "nosuid", "nodev"]}),
    );
    let outcome = bundle
        .run_script("cat /volume/target/seen; grep /volume/target /proc/self/mountinfo")
        .ok();
    assert!(
        outcome.starts_with("from the layer") && outcome.contains("nosuid,nodev"),
        "{outcome}"
    );
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
        for _ in 0..runs() / 4 {
            bundle.run();
            assert!(is_empty(&outside));
        }
        stop.store(true, Ordering::Relaxed);
    });
    bundle.assert_nothing_left();
}

#[test]
fn a_shared_root_does_not_appear_on_the_host() {
    // The mount that the root lies on is cut off from the host's, also when its name has to be escaped in mountinfo.
    let mut bundle = Bundle::new();
    bundle.set("/linux/rootfsPropagation", json!("shared"));
    bundle.script("true").write_config();
    let place = bundle.dir.path().join("a place");
    fs::create_dir(&place).unwrap();
    let script = "mount -t tmpfs tmpfs \"$1\" && mount --make-shared \"$1\" && cp -a \"$2\" config.json \"$1\" && cd \"$1\" && shift 2 && \
        \"$@\" && grep -c 'a.040place' /proc/self/mountinfo";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(&place)
        .arg(bundle.rootfs())
        .arg(crate::common::program())
        .arg("--root")
        .arg(bundle.state_root())
        .args(["run", &bundle.id])
        .current_dir(bundle.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(text, "1\n", "more than the tmpfs itself");
}

#[test]
fn a_link_does_not_choose_the_filesystem_that_is_reconfigured() {
    // The options of a remount would go to a filesystem of the host's, by way of a volume and a link of the image's to it.
    let mut bundle = Bundle::new();
    let volume = bundle.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::create_dir(bundle.rootfs().join("place")).unwrap();
    let options =
        |options: &[&str]| json!({"destination": "/place", "type": "tmpfs", "source": "tmpfs", "options": options});
    let bind = json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["bind"]});
    bundle.push("/mounts", bind);
    bundle.push("/mounts", options(&["size=1m"]));
    bundle.push("/mounts", options(&["remount", "size=2m"]));
    bundle
        .script("grep -o ' /place .*' /proc/self/mountinfo; grep -o ' /volume .*' /proc/self/mountinfo")
        .write_config();
    let script =
        "mount -t tmpfs -o size=1m tmpfs volume && \"$@\"; grep -o 'volume .*size=[0-9]*k' /proc/self/mountinfo";
    let run = || {
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        shell
            .arg(crate::common::program())
            .arg("--root")
            .arg(bundle.state_root())
            .args(["run", &bundle.id]);
        let output = shell.current_dir(bundle.dir.path()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let plain = run();
    assert!(plain.contains("/place") && plain.contains("size=2048k"), "{plain}");
    let place = bundle.rootfs().join("place");
    fs::remove_dir(&place).unwrap();
    symlink("volume", &place).unwrap();
    // The mount on it is left out: only the remount looks the link up.
    let mut config = bundle.config.clone();
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| mount["destination"] != "/place" || mount["options"][0] == "remount");
    fs::write(bundle.dir.path().join("config.json"), config.to_string()).unwrap();
    let linked = run();
    assert!(linked.lines().last().unwrap().ends_with("size=1024k"), "{linked}");
}
