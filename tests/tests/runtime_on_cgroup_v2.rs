//! `runc-rs` on a machine with cgroup v2 only, and an older kernel: the guest.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use engine_tests::guest;
use engine_tests::programs::{ours, peer};
use serde_json::json;

/// What the container is: limits on every controller the guest has, device rules, namespaces of all kinds but user and time.
fn config() -> serde_json::Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_MKNOD"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/sleep", "1000"], "env": ["PATH=/bin"], "cwd": "/", "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "cgroupsPath": "/parent/box",
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
            "maskedPaths": ["/proc/kcore", "/sys/firmware"], "readonlyPaths": ["/proc/sys"],
            "devices": [{"path": "/dev/granted", "type": "c", "major": 1, "minor": 5}, {"path": "/dev/refused", "type": "c", "major": 1, "minor": 11}],
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}],
                "memory": {"limit": 33_554_432}, "pids": {"limit": 25}, "cpu": {"quota": 50_000, "period": 100_000, "shares": 512},
            },
        }
    })
}

#[test]
fn limits_devices_exec_pause_update_and_delete() {
    let script = r#"
set -eu
dir=$(mktemp -d); cd $dir
mkdir -p rootfs/bin rootfs/proc rootfs/sys rootfs/dev
cp BUSYBOX rootfs/bin/busybox
for a in sh sleep cat head readlink ls mkdir; do ln -s busybox rootfs/bin/$a; done
cat > config.json <<'END'
CONFIG
END
run() { RUNTIME --root $dir/state "$@"; }
check() { [ "$2" = "$3" ] || { echo "$1: $2, not $3"; exit 1; }; }
run create box </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
cg=/sys/fs/cgroup/parent/box
check memory.max $(cat $cg/memory.max) 33554432
check pids.max $(cat $cg/pids.max) 25
check cpu.max "$(cat $cg/cpu.max)" "50000 100000"
check processes $(cat $cg/cgroup.procs | wc -l) 1
run start box
check status $(run state box | grep -c '"running"') 1
check "own view" "$(run exec box cat /proc/self/cgroup)" "0::/"
check "mounted view" "$(run exec box cat /sys/fs/cgroup/pids.max)" 25
check granted $(run exec box sh -c 'head -c 1 /dev/granted >/dev/null && echo yes') yes
check refused $(run exec box sh -c 'head -c 1 /dev/refused 2>/dev/null || echo no') no
check "read-only" $(run exec box sh -c 'mkdir /sys/fs/cgroup/x 2>/dev/null || echo no') no
run pause box
check frozen $(grep -c 'frozen 1' $cg/cgroup.events) 1
check paused $(run state box | grep -c '"paused"') 1
run resume box
run update --pids-limit 40 --memory 67108864 box
check "updated pids" $(cat $cg/pids.max) 40
check "updated memory" $(cat $cg/memory.max) 67108864
run events --stats box | grep -q '"type":"stats"'
run kill box KILL
for i in $(seq 100); do run state box | grep -q '"stopped"' && break; sleep 0.1; done
run delete box
check "cgroup left" "$([ -e $cg ] && echo yes || echo no)" no
check "state left" "$(ls $dir/state)" ""
run run -d box </dev/null >$dir/log 2>&1
run delete --force box
check "cgroup left" "$([ -e $cg ] && echo yes || echo no)" no
check "mounts left" "$(grep -c $dir/rootfs /proc/self/mountinfo || true)" 0
echo all checked
"#;
    let script = script
        .replace("CONFIG", &config().to_string())
        .replace("RUNTIME", ours("runc-rs").to_str().unwrap())
        .replace("BUSYBOX", peer("busybox").to_str().unwrap());
    let outcome = guest::run(&script, 512, Duration::from_secs(300));
    outcome.assert_success();
    assert!(outcome.output.contains("all checked"), "{}", outcome.output);
}
