//! `runc-rs` of an ordinary user on a machine with cgroup v2: with a delegated cgroup, and without.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use engine_tests::guest;
use engine_tests::programs::{ours, peer};
use serde_json::{Value, json};

/// A container of user 1000. With `limits` it asks for some; `cgroup` is whether it gets a cgroup namespace.
fn config(limits: bool, cgroup_namespace: bool, path: Option<&str>) -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "user"];
    namespaces.extend(cgroup_namespace.then_some("cgroup"));
    let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({"type": kind})).collect();
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/sleep", "1000"], "env": ["PATH=/bin"], "cwd": "/", "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
        ],
        "linux": {
            "uidMappings": map, "gidMappings": map, "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/sys/firmware"], "readonlyPaths": ["/proc/sys"],
        }
    });
    if limits {
        config["linux"]["resources"] = json!({
            "devices": [{"allow": false, "access": "rwm"}],
            "memory": {"limit": 33_554_432}, "pids": {"limit": 25}, "cpu": {"quota": 50_000, "period": 100_000},
        });
    }
    if let Some(path) = path {
        config["linux"]["cgroupsPath"] = json!(path);
    }
    config
}

const SCRIPT: &str = r#"
set -eu
dir=/tmp/box; mkdir -p $dir/xdg; cd $dir
cp PROGRAM $dir/runc-rs
grep -q ':1000:' /etc/passwd || echo "tester:x:1000:1000::$dir:/bin/sh" >>/etc/passwd
bundle() {
	mkdir -p $1/rootfs/bin $1/rootfs/proc $1/rootfs/sys $1/rootfs/dev
	cp BUSYBOX $1/rootfs/bin/busybox
	for a in sh sleep cat ls mkdir; do ln -s busybox $1/rootfs/bin/$a; done
	cat >$1/config.json
}
bundle limited <<'END'
LIMITED
END
bundle plain <<'END'
PLAIN
END
bundle named <<'END'
NAMED
END
chown -R 1000:1000 $dir
home=/sys/fs/cgroup/home; mkdir -p $home/shell
echo '+cpu +memory +pids' >$home/cgroup.subtree_control
chown 1000:1000 $home $home/cgroup.procs $home/cgroup.threads $home/cgroup.subtree_control
chown -R 1000:1000 $home/shell
# In the delegated cgroup, and outside.
inside() { sh -c 'echo 0 >$0/cgroup.procs; exec "$@"' $home/shell "$@"; }
outside() { sh -c 'echo 0 >$0/cgroup.procs; exec "$@"' /sys/fs/cgroup "$@"; }
run() { where=$1; shift; $where setpriv --reuid 1000 --regid 1000 --clear-groups env XDG_RUNTIME_DIR=$dir/xdg $dir/runc-rs "$@" </dev/null; }
check() { [ "$2" = "$3" ] || { echo "$1: $2, not $3"; exit 1; }; }
says() { grep -q "$2" $dir/log || { echo "$1: $(cat $dir/log)"; exit 1; }; }
writes='for d in /sys/fs/cgroup /sys/fs/cgroup/*/ /sys/fs/cgroup/home/shell; do mkdir $d/x 2>/dev/null && echo written; done; echo end'

# Delegated: everything works.
run inside create -b limited box >$dir/log 2>&1 || { cat $dir/log; exit 1; }
cg=$home/box
check memory.max $(cat $cg/memory.max) 33554432
check pids.max $(cat $cg/pids.max) 25
check cpu.max "$(cat $cg/cpu.max)" "50000 100000"
check processes $(cat $cg/cgroup.procs | wc -l) 1
run inside start box
check "own view" "$(run inside exec box cat /proc/self/cgroup)" "0::/"
check "mounted view" "$(run inside exec box cat /sys/fs/cgroup/pids.max)" 25
check "written below /sys/fs/cgroup" "$(run inside exec box sh -c "$writes")" end
check listed "$(run inside ps -f json box 2>/dev/null)" "[$(cat $cg/cgroup.procs)]"
run inside pause box 2>$dir/log
says pause 'runc pause may fail if you don.t have the full access to cgroups'
check frozen $(grep -c 'frozen 1' $cg/cgroup.events) 1
run inside resume box 2>/dev/null
run inside update --pids-limit 40 --memory 67108864 box
check "updated pids" $(cat $cg/pids.max) 40
check "updated memory" $(cat $cg/memory.max) 67108864
run inside events --stats box | grep '"type":"stats"' >/dev/null
# From outside of what is delegated nobody may be moved in: the process goes without.
check "from outside" "$(run outside exec box sh -c 'echo in')" in
run inside kill box KILL
for i in $(seq 100); do run inside state box | grep -q '"stopped"' && break; sleep 0.1; done
run inside delete box
check "cgroup left" "$([ -e $cg ] && echo yes || echo no)" no
check "state left" "$(ls $dir/xdg/runc-rs)" ""

# Not delegated: without limits and without a path it goes without a cgroup.
run outside run -d -b plain box >$dir/log 2>&1 || { cat $dir/log; exit 1; }
check "written below /sys/fs/cgroup" "$(run outside exec box sh -c "$writes")" end
run outside ps box >$dir/log 2>&1 && exit 1
says ps 'unable to get all container pids'
run outside pause box >$dir/log 2>&1 && exit 1
says pause 'freezer'
run outside delete --force box
run outside run -b limited box >$dir/log 2>&1 && exit 1
says limits 'rootless needs no limits + no cgrouppath when no permission is granted for cgroups'
says limits 'permission denied'
run outside run -b named box >$dir/log 2>&1 && exit 1
says path 'unable to apply cgroup configuration'
says path 'permission denied'
check "state left" "$(ls $dir/xdg/runc-rs)" ""
check "mounts left" "$(grep -c $dir/ /proc/self/mountinfo || true)" 0
check "cgroups left" "$(ls -d $home/*/ /sys/fs/cgroup/*/ | grep -c box || true)" 0
echo all checked
"#;

#[test]
fn delegated_or_not() {
    let script = SCRIPT
        .replace("LIMITED", &config(true, true, None).to_string())
        .replace("PLAIN", &config(false, false, None).to_string())
        .replace("NAMED", &config(false, false, Some("/elsewhere/box")).to_string())
        .replace("PROGRAM", ours("runc-rs").to_str().unwrap())
        .replace("BUSYBOX", peer("busybox").to_str().unwrap());
    let outcome = guest::run(&script, 512, Duration::from_secs(300));
    outcome.assert_success();
    assert!(outcome.output.contains("all checked"), "{}", outcome.output);
}
