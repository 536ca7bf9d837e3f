//! `runc-rs` on a kernel with SELinux and a policy: the guest. The policy is as small as one can be, and permissive; what counts is which
//! label everything has.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use engine_tests::guest;
use engine_tests::programs::{ours, peer};
use serde_json::json;

/// Classes that a policy must have, three types, and contexts for what the kernel makes by itself.
const POLICY: &str = "
class process
class file
class dir
class filesystem
SIDS
class process { transition dyntransition }
class file { entrypoint }
class dir { search }
class filesystem { mount }
type base_t;
type box_t;
type box_file_t;
role system_r;
role system_r types { base_t box_t };
allow base_t box_t:process transition;
user system_u roles { system_r };
CONTEXTS
fs_use_trans tmpfs system_u:object_r:base_t;
fs_use_trans devpts system_u:object_r:base_t;
fs_use_trans mqueue system_u:object_r:base_t;
genfscon proc / system_u:object_r:base_t
genfscon sysfs / system_u:object_r:base_t
";

/// The kernel's initial contexts, in the order of their numbers.
const SIDS: [&str; 27] = [
    "kernel",
    "security",
    "unlabeled",
    "fs",
    "file",
    "file_labels",
    "init",
    "any_socket",
    "port",
    "netif",
    "netmsg",
    "node",
    "igmp_packet",
    "icmp_socket",
    "tcp_socket",
    "sysctl_modprobe",
    "sysctl",
    "sysctl_fs",
    "sysctl_kernel",
    "sysctl_net",
    "sysctl_net_unix",
    "sysctl_vm",
    "sysctl_dev",
    "kmod",
    "policy",
    "scmp_packet",
    "devnull",
];

fn policy() -> String {
    let each = |line: fn(&str) -> String| SIDS.iter().map(|sid| line(sid)).collect::<String>();
    POLICY.replace("SIDS\n", &each(|sid| format!("sid {sid}\n"))).replace(
        "CONTEXTS\n",
        &each(|sid| format!("sid {sid} system_u:system_r:base_t\n")),
    )
}

fn config() -> serde_json::Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", "cat /proc/self/attr/current; echo; sleep 1000"], "env": ["PATH=/bin"], "cwd": "/",
            "selinuxLabel": "system_u:system_r:box_t",
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "mountLabel": "system_u:object_r:box_file_t",
        },
    })
}

#[test]
fn processes_mounts_and_keyrings_have_their_labels() {
    let script = r#"
set -eu
dir=$(mktemp -d); cd $dir
cat > policy.conf <<'END'
POLICY
END
CHECKPOLICY -U allow -o policy policy.conf >/dev/null
mkdir -p rootfs/bin rootfs/proc rootfs/sys rootfs/dev
cp BUSYBOX rootfs/bin/busybox
for a in sh sleep cat grep awk; do ln -s busybox rootfs/bin/$a; done
cat > config.json <<'END'
CONFIG
END
run() { RUNTIME --root $dir/state "$@"; }
check() { [ "$2" = "$3" ] || { echo "$1: $2, not $3"; exit 1; }; }
mount -t selinuxfs selinuxfs /sys/fs/selinux
dd if=policy of=/sys/fs/selinux/load bs=1M 2>/dev/null
check enforcing $(cat /sys/fs/selinux/enforce) 0
check "the runtime's own label" "$(tr -d '\0' < /proc/self/attr/current)" system_u:system_r:base_t
run create box </dev/null >$dir/log 2>&1 || { cat $dir/log; exit 1; }
run start box
sleep 1
check "label of run" "$(tr -d '\0' < $dir/log)" system_u:system_r:box_t
check "label of exec" "$(run exec box cat /proc/self/attr/current | tr -d '\0')" system_u:system_r:box_t
check "label of exec, asked for" "$(run exec --process-label system_u:system_r:base_t box cat /proc/self/attr/current | tr -d '\0')" system_u:system_r:base_t
check "keys of the program" "$(run exec box cat /proc/self/attr/keycreate | tr -d '\0')" ""
run exec box awk '/context=system_u:object_r:box_file_t/ {print $2}' /proc/mounts > $dir/labelled
check "labelled mounts" "$(echo $(cat $dir/labelled))" "/dev /dev/pts"
# All instances of mqueue in a namespace are one filesystem, which has its label on the root.
check "labelled root" "$(stat -c %C /proc/$(run state box | grep '"pid"' | tr -cd 0-9)/root/dev/mqueue)" system_u:object_r:box_file_t
run delete -f box
sed -i s/system_r:box_t/system_r:moon_t/ config.json
run run box </dev/null >$dir/log 2>&1 && { echo "an unknown label was taken"; exit 1; }
grep -q "invalid argument" $dir/log || { cat $dir/log; exit 1; }
"#;
    let script = script
        .replace("CONFIG", &config().to_string())
        .replace("CHECKPOLICY", &peer("checkpolicy").display().to_string())
        .replace("POLICY", &policy())
        .replace("BUSYBOX", &peer("busybox").display().to_string())
        .replace("RUNTIME", &ours("runc-rs").display().to_string());
    guest::run(&script, 512, Duration::from_secs(300)).assert_success();
}
