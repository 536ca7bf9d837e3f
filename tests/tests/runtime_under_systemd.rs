//! `runc-rs --systemd-cgroup` beside Debian's runc on machines with systemd as process 1, cgroup v2 and v1: the guests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use engine_tests::guest::{self, Init};
use engine_tests::programs::{ours, peer};
use engine_tests::qemu;
use serde_json::json;

/// What the containers are: limits on every controller the guest has, a granted and a refused device, properties by annotation. The shares
/// are those for which runc 1.1 has the same weight as later ones.
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
        ],
        "annotations": {
            "org.systemd.property.TimeoutStopSec": "7", "org.systemd.property.CollectMode": "'inactive-or-failed'"
        },
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/kcore"],
            "devices": [{"path": "/dev/granted", "type": "c", "major": 1, "minor": 5}, {"path": "/dev/refused", "type": "c", "major": 1, "minor": 11}],
            "resources": {
                "devices": [{"allow": false, "access": "rwm"}],
                "memory": {"limit": 33_554_432, "reservation": 16_777_216}, "pids": {"limit": 25},
                "cpu": {"quota": 50_000, "period": 100_000, "shares": 262_144},
            },
        }
    })
}

/// One script of what all share and these.
fn whole(scripts: &[&str]) -> String {
    let mut script = format!(
        "RUNTIME={} PEER={} BUSYBOX={}\n{}\ncat >$dir/config.json <<'END'\n{}\nEND\n",
        ours("runc-rs").display(),
        peer("runc").display(),
        peer("busybox").display(),
        include_str!("systemd/common.sh"),
        config()
    );
    script.extend(scripts.iter().copied());
    script
}

fn run(init: Init, scripts: &[&str]) {
    guest::run_with(init, &whole(scripts), 1024, Duration::from_secs(600)).assert_success();
}

#[test]
fn units_are_those_of_runc() {
    let (system, user) = (include_str!("systemd/system.sh"), include_str!("systemd/user.sh"));
    run(Init::Systemd, &[system, user]);
}

#[test]
fn units_are_those_of_runc_on_v1() {
    run(Init::SystemdV1, &[include_str!("systemd/system.sh")]);
}

#[test]
fn units_have_every_controller_of_a_stock_kernel() {
    peer("criu");
    let script = whole(&[include_str!("systemd/every.sh")]);
    qemu::run_with(Init::Systemd, &script, 1536, Duration::from_secs(900)).assert_success();
}
