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

/// What is done in the guest, and seen there.
const SCRIPT: &str = r#"
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

# A container with a user namespace that sees its cgroup writable owns it, divides it, and exec goes where its first process is.
chmod 755 $dir
jq '.linux.namespaces += [{"type": "user"}] | .mounts[3].options -= ["ro"]
	| .linux.uidMappings = [{"containerID": 0, "hostID": 100000, "size": 65536}] | .linux.gidMappings = .linux.uidMappings
	| del(.linux.devices)' config.json >own.json
mkdir own && cp -a rootfs own/ && mv own.json own/config.json && chown -R 100000:100000 own/rootfs
run run -d -b $dir/own box </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
check "owners" "$(stat -c %u $cg $cg/cgroup.procs $cg/cgroup.subtree_control $cg/pids.max | xargs)" "100000 100000 100000 0"
run exec box sh -c 'mkdir /sys/fs/cgroup/first /sys/fs/cgroup/other && echo 1 >/sys/fs/cgroup/first/cgroup.procs'
check "exec" "$(run exec box cat /proc/self/cgroup)" 0::/
check "exec into a sub-cgroup" "$(run exec --cgroup /other box cat /proc/self/cgroup)" 0::/other
run exec box sh -c 'echo $$ >/sys/fs/cgroup/first/cgroup.procs && echo "+pids +memory" >/sys/fs/cgroup/cgroup.subtree_control'
check "exec beside the first process" "$(run exec box cat /proc/self/cgroup)" 0::/first
check "the limit above" "$(run exec box sh -c 'echo max 2>/dev/null >/sys/fs/cgroup/pids.max || echo no')" no
for wrong in ../other first/../.. nothing; do
	if run exec --cgroup $wrong box cat /proc/self/cgroup >$dir/log 2>&1; then echo "$wrong: no error"; exit 1; fi
done
run pause box
run resume box
run delete --force box
check "cgroup left" "$([ -e $cg ] && echo yes || echo no)" no

# Nobody's cgroup: it stays in ours.
run --cgroup-manager disabled run -d box </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
check "without a cgroup" "$(sed s,.*:,, /proc/$(run state box | jq .pid)/cgroup)" "$(sed s,.*:,, /proc/self/cgroup)"
run delete --force box
# Without systemd there is no driver of that name.
if run --systemd-cgroup run -d box </dev/null >$dir/log 2>&1; then echo "no error"; exit 1; fi
grep -q 'expected cgroupsPath to be of format' $dir/log || { cat $dir/log; exit 1; }
jq 'del(.linux.cgroupsPath)' config.json >own/config.json
if run --systemd-cgroup run -d -b $dir/own box </dev/null >$dir/log 2>&1; then echo "no error"; exit 1; fi
grep -q 'systemd not running on this host, cannot use systemd cgroups manager' $dir/log || { cat $dir/log; exit 1; }
check "state left" "$(ls $dir/state)" ""
echo all checked
"#;

#[test]
fn limits_devices_exec_pause_update_and_delete() {
    let script = SCRIPT
        .replace("CONFIG", &config().to_string())
        .replace("RUNTIME", ours("runc-rs").to_str().unwrap())
        .replace("BUSYBOX", peer("busybox").to_str().unwrap());
    let outcome = guest::run(&script, 512, Duration::from_secs(300));
    outcome.assert_success();
    assert!(outcome.output.contains("all checked"), "{}", outcome.output);
}
