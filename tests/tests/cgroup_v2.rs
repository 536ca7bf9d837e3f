//! On a machine with cgroup v2: limits are there as the container sees them, devices are denied by the kernel, freezing and killing work, and
//! nothing stays behind. One boot of the guest for all of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use engine_tests::guest;
use engine_tests::programs::{ours, peer};
use serde_json::{Value, json};

/// A bundle whose container prints what it sees of its limits, and tries a device that it may not open.
const INSIDE: &str = "
cd /sys/fs/cgroup
for file in memory.max memory.swap.max pids.max cpu.max cpu.weight; do echo $file=$(cat $file); done
mknod /tmp/disk b 7 0
cat /tmp/disk >/dev/null 2>/tmp/error || echo disk: $(sed 's/.*: //' /tmp/error)
echo null >/dev/null && echo null: fine
";

fn bundle(directory: &Path, name: &str, arguments: Value) -> String {
    let bundle = directory.join(name);
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    for directory in ["dev", "proc", "sys", "tmp"] {
        fs::create_dir(bundle.join("rootfs").join(directory)).unwrap();
    }
    fs::copy(peer("busybox"), bin.join("busybox")).unwrap();
    for applet in ["sh", "cat", "echo", "mknod", "sed", "sleep"] {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    let status = Command::new(ours("runc-rs"))
        .arg("spec")
        .current_dir(&bundle)
        .status()
        .unwrap();
    assert!(status.success());
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config["root"]["readonly"] = false.into();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = arguments;
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set]
            .as_array_mut()
            .unwrap()
            .push("CAP_MKNOD".into());
    }
    config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "type": "cgroup" }));
    config["linux"]["cgroupsPath"] = format!("/engine-test/{name}").into();
    config["linux"]["resources"] = json!({
        "devices": [{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" }],
        "memory": { "limit": 67_108_864, "swap": 100_663_296 },
        "pids": { "limit": 20 },
        "cpu": { "quota": 50_000, "period": 100_000, "shares": 512 },
    });
    fs::write(&path, config.to_string()).unwrap();
    bundle.display().to_string()
}

#[test]
fn limits_devices_freezing_and_killing_on_cgroup_v2() {
    let directory = tempfile::Builder::new()
        .prefix("cgroup-v2-")
        .tempdir_in("/var/tmp")
        .unwrap();
    let limits = bundle(directory.path(), "limits", json!(["sh", "-c", INSIDE]));
    let staying = bundle(directory.path(), "staying", json!(["sleep", "1000"]));
    let script = format!(
        r#"
set -eu
runc() {{ {runc} --root /run/state "$@"; }}
runc run --bundle {limits} limits
cgroup=/sys/fs/cgroup/engine-test/staying
runc run --detach --bundle {staying} staying </dev/null >/dev/null 2>&1
echo pids.max=$(cat $cgroup/pids.max)
runc pause staying; echo frozen=$(grep frozen $cgroup/cgroup.events); runc resume staying
runc exec staying cat /proc/self/cgroup
runc update --pids-limit 33 staying; echo updated=$(cat $cgroup/pids.max)
runc kill staying KILL
while runc state staying | grep -q '"running"'; do sleep 0.1; done
runc delete staying
test ! -e $cgroup && echo gone
test -z "$(runc list -q)" && echo none
"#,
        runc = ours("runc-rs").display()
    );
    let outcome = guest::run(&script, 768, Duration::from_secs(180));
    outcome.assert_success();
    let expected = [
        "memory.max=67108864",
        "memory.swap.max=33554432",
        "pids.max=20",
        "cpu.max=50000 100000",
        "cpu.weight=59",
        "disk: Operation not permitted",
        "null: fine",
        "frozen=frozen 1",
        "0::/",
        "updated=33",
        "gone",
        "none",
    ];
    let lines: Vec<&str> = outcome.output.lines().collect();
    for line in expected {
        assert!(lines.contains(&line), "no {line:?} in:\n{}", outcome.output);
    }
}
