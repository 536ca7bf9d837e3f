//! The general method against ways out of a container: a root filesystem that has something hostile at each path the runtime touches, in each
//! privilege mode, still and while a thread swaps it. Whether the container runs or is refused, nothing outside may change and nothing may be
//! left. `HOSTILE_RUNS` sets how many runs each race gets (40), `HOSTILE_ALL` tries every shape at every place.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod canary;
#[path = "../common/mod.rs"]
mod common;
mod places;

use std::process::Stdio;
use std::time::{Duration, Instant};

use canary::Canary;
use common::{Bundle, Outcome};
use places::{DIRECTORIES, FILES, Mutator, Shape};
use serde_json::json;

/// Who runs the runtime, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Root,
    UserNamespace,
    NoPivot,
    Rootless,
}

/// A bundle that touches as many paths of the image as a configuration can. With `own_dev` false `/dev` is the image's.
fn bundle(mode: Mode, own_dev: bool) -> Bundle {
    let mut bundle = if mode == Mode::Rootless {
        Bundle::of_user()
    } else {
        Bundle::new()
    };
    if mode == Mode::UserNamespace {
        let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        bundle.push("/linux/namespaces", json!({"type": "user"}));
        bundle
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map);
    }
    if !own_dev {
        let mounts = bundle.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev");
    }
    let shared = bundle.dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("file"), "shared").unwrap();
    if let Some(user) = &bundle.user {
        user.give(&shared);
    }
    let bind = |destination: &str, source: &str| json!({"destination": destination, "type": "bind", "source": source, "options": ["bind"]});
    for mount in [
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["size=64k"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}),
        json!({"destination": "/var/run", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=64k"]}),
        bind("/data/deep/mount", "shared"),
        bind("/etc/resolv.conf", "shared/file"),
        bind("/data/file", "shared/file"),
    ] {
        if mode == Mode::Rootless && mount["type"] == "cgroup" {
            continue;
        }
        bundle.push("/mounts", mount);
    }
    for path in ["/opt/masked", "/opt/masked-dir"] {
        bundle.push("/linux/maskedPaths", json!(path));
    }
    bundle.push("/linux/readonlyPaths", json!("/opt/readonly"));
    // In a user namespace nodes are the host's, bound: it has none of these.
    if !matches!(mode, Mode::Rootless | Mode::UserNamespace) {
        bundle.set(
            "/linux/devices",
            json!([{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 7, "gid": 8},
                   {"path": "/opt/nodes/fifo", "type": "p", "major": 0, "minor": 0, "fileMode": 420, "uid": 7, "gid": 8}]),
        );
    }
    bundle.set("/process/cwd", json!("/work/dir"));
    bundle.set("/process/args", json!(["tool"]));
    bundle
}

/// Runs a command of the program that may succeed or fail, but must end.
fn ends(bundle: &Bundle, args: &[&str]) -> Outcome {
    let log = bundle.dir.path().join("log");
    let out = std::fs::File::create(&log).unwrap();
    let mut child = bundle
        .command(args)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > limit {
            child.kill().unwrap();
            panic!("{args:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    Outcome {
        code: status.code().unwrap_or(-1),
        stdout: text.clone(),
        stderr: text,
    }
}

fn run(bundle: &Bundle, mode: Mode) -> Outcome {
    bundle.write_config();
    let mut args = vec!["run"];
    if mode == Mode::NoPivot {
        args.push("--no-pivot");
    }
    args.push(&bundle.id);
    ends(bundle, &args)
}

/// The shapes for a place: all with `HOSTILE_ALL`, else the link that is tried first by whoever attacks, and three that change from
/// place to place.
fn shapes(number: usize) -> Vec<Shape> {
    if std::env::var_os("HOSTILE_ALL").is_some() {
        return Shape::ALL.to_vec();
    }
    let rest = &Shape::ALL[1..];
    let other = |n: usize| rest[(number * 3 + n) % rest.len()];
    vec![Shape::ALL[0], other(0), other(1), other(2)]
}

/// Every place with one shape at a time.
fn every_place(mode: Mode, own_dev: bool) {
    let mut bundle = bundle(mode, own_dev);
    let canary = Canary::new(&bundle);
    let mut ran = 0;
    for (number, place) in DIRECTORIES.iter().chain(FILES).enumerate() {
        for shape in shapes(number) {
            places::lay_out(&bundle);
            shape.put(&bundle.rootfs(), place, canary.path());
            if let Some(user) = &bundle.user {
                user.give(&bundle.rootfs());
            }
            let outcome = run(&bundle, mode);
            ran += usize::from(outcome.code == 0);
            canary.assert_untouched(&format!("{mode:?} {place} {shape:?}: {}", outcome.stderr));
            bundle.assert_nothing_left();
        }
    }

    // And an image that means no harm runs.
    places::lay_out(&bundle);
    if let Some(user) = &bundle.user {
        user.give(&bundle.rootfs());
    }
    bundle.set("/process/cwd", json!("/work/dir"));
    assert_eq!(run(&bundle, mode).ok(), "the tool ran in /work/dir\n");
    // A runtime that refuses everything else would pass too.
    assert!(ran > 10, "{ran} containers ran");
    bundle.assert_no_process_left();
}

#[test]
fn every_place_as_root() {
    every_place(Mode::Root, true);
}

#[test]
fn every_place_as_root_with_the_images_dev() {
    every_place(Mode::Root, false);
}

#[test]
fn every_place_in_a_user_namespace() {
    every_place(Mode::UserNamespace, false);
}

#[test]
fn every_place_without_pivot_root() {
    every_place(Mode::NoPivot, false);
}

#[test]
fn every_place_of_an_ordinary_user() {
    every_place(Mode::Rootless, true);
}

fn runs() -> usize {
    std::env::var("HOSTILE_RUNS").map_or(40, |runs| runs.parse().unwrap())
}

/// Runs containers while a thread exchanges directories of the image with links out of it.
fn race(mode: Mode, terminal: bool) {
    let mut bundle = bundle(mode, false);
    let canary = Canary::new(&bundle);
    places::lay_out(&bundle);
    if let Some(user) = &bundle.user {
        user.give(&bundle.rootfs());
    }
    if terminal {
        bundle.set("/process/terminal", json!(true));
    }
    let mutator = Mutator::start(&bundle.rootfs(), canary.path());
    for _ in 0..runs() {
        let outcome = run(&bundle, mode);
        canary.assert_untouched(&outcome.stderr);
    }
    mutator.stop();
    canary.assert_untouched("after all");
    bundle.assert_nothing_left();
    bundle.assert_no_process_left();
}

#[test]
fn races_as_root() {
    race(Mode::Root, false);
}

#[test]
fn races_for_the_terminal() {
    race(Mode::Root, true);
}

#[test]
fn races_in_a_user_namespace() {
    race(Mode::UserNamespace, false);
}

#[test]
fn races_without_pivot_root() {
    race(Mode::NoPivot, false);
}

#[test]
fn races_of_an_ordinary_user() {
    race(Mode::Rootless, false);
}

#[test]
fn exec_into_a_root_that_changes() {
    let mut bundle = bundle(Mode::Root, false);
    bundle.set("/process/cwd", json!("/"));
    let canary = Canary::new(&bundle);
    places::lay_out(&bundle);
    bundle.sleeping();
    for place in DIRECTORIES
        .iter()
        .chain(FILES)
        .filter(|place| !place.starts_with("bin/"))
    {
        for shape in Shape::ALL {
            // From outside, so that also what lies under a mount can be replaced.
            shape.put(&bundle.rootfs(), place, canary.path());
            let id = bundle.id.clone();
            for args in [
                ["exec", "--cwd", "/work/dir", &id, "/bin/tool"],
                ["exec", "--user", "12:34", &id, "/work/dir"],
            ] {
                let outcome = ends(&bundle, &args);
                canary.assert_untouched(&format!("{place} {shape:?}: {}", outcome.stderr));
            }
            places::clear(&bundle.rootfs().join(place));
        }
    }
    places::lay_out(&bundle);
    let mutator = Mutator::start(&bundle.rootfs(), canary.path());
    let id = bundle.id.clone();
    for _ in 0..runs() / 2 {
        ends(&bundle, &["exec", "--tty", "--cwd", "/work/dir", &id, "tool"]);
        ends(&bundle, &["exec", "--user", "1:1", "--cwd", "/data/deep", &id, "tool"]);
        canary.assert_untouched("exec");
    }
    mutator.stop();
    bundle.call(&["delete", "--force", &id]).ok();
    bundle.assert_nothing_left();
    bundle.assert_no_process_left();
}

#[test]
fn exec_does_not_trust_the_containers_proc() {
    // A container that may mount covers its procfs with files of its own: labels are not written to them (CVE-2025-52881).
    let mut bundle = Bundle::new();
    let caps = json!(["CAP_SYS_ADMIN"]);
    bundle.set(
        "/process/capabilities",
        json!({"bounding": caps, "effective": caps, "permitted": caps}),
    );
    let script = "mount -t tmpfs tmpfs /proc && mkdir -p /proc/self/attr/apparmor /proc/sys/kernel /proc/thread-self && \
        for f in self/attr/exec self/attr/apparmor/exec self/oom_score_adj sysrq-trigger; do touch /proc/$f; done; touch /ready; sleep 1000";
    bundle.script(script);
    bundle.create().ok();
    bundle.start().ok();
    while !bundle.rootfs().join("ready").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let process = bundle.dir.path().join("process.json");
    let mut inside = bundle.config["process"].clone();
    inside["args"] = json!(["/bin/sh", "-c", "echo unexpected"]);
    inside["apparmorProfile"] = json!("decoy");
    inside["oomScoreAdj"] = json!(100);
    std::fs::write(&process, inside.to_string()).unwrap();
    // This kernel may or may not know labels; what counts is where they were written.
    bundle.call(&["exec", "--process", process.to_str().unwrap(), &bundle.id]);
    inside.as_object_mut().unwrap().remove("apparmorProfile");
    inside["args"] = json!([
        "/bin/sh",
        "-c",
        "cat /proc/self/attr/exec /proc/self/attr/apparmor/exec /proc/self/oom_score_adj"
    ]);
    std::fs::write(&process, inside.to_string()).unwrap();
    let seen = bundle
        .call(&["exec", "--process", process.to_str().unwrap(), &bundle.id])
        .ok();
    assert_eq!(seen, "", "written to the container's files");
}

#[test]
fn a_user_namespace_of_the_container_gets_no_procfs_without_masks() {
    // The kernel lets a user namespace mount procfs anew only where its mount namespace has a whole one. Without pivot_root the host's would
    // still be there, out of sight.
    for mode in [Mode::Root, Mode::NoPivot] {
        let mut bundle = bundle(mode, true);
        places::lay_out(&bundle);
        bundle.set("/process/cwd", json!("/"));
        // Whoever maps the id 0 needs a capability for it.
        bundle.set("/process/user/uid", json!(1000));
        let script = "busybox unshare -Ur true && echo may; busybox unshare -Urmp --fork busybox mount -t proc proc /tmp && echo whole";
        bundle.script(script);
        let outcome = run(&bundle, mode);
        assert!(outcome.stdout.starts_with("may\n"), "{}", outcome.stdout);
        assert!(!outcome.stdout.contains("whole"), "{mode:?}: {}", outcome.stdout);
        assert!(outcome.stdout.contains("permission denied"), "{}", outcome.stdout);
    }
}
