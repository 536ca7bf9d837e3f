//! Debian's podman and buildah of an ordinary user, with `runc-rs` as their runtime.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::Command;

use engine_tests::bundle::{busybox_rootfs, say};
use engine_tests::programs::{ours, peer};

#[allow(dead_code, unreachable_pub)]
#[path = "../../runc-rs/tests/common/user.rs"]
mod user;

fn program() -> PathBuf {
    ours("runc-rs")
}

/// What the user does, and the assertions; `$RUNC` is the runtime, `$TAR` an archive of a root filesystem.
const SCRIPT: &str = r#"
set -eu
cd $HOME
say() { echo "$*" >&2; exit 1; }
check() { [ "$2" = "$3" ] || say "$1: '$2', not '$3'"; }
podman() { command podman --log-level=error --storage-driver vfs --events-backend file --cgroup-manager cgroupfs --runtime $RUNC "$@"; }
limits="--ulimit nofile=20000:20000 --ulimit nproc=10000:10000"
podman import --change 'ENV PATH=/bin' $TAR bb 2>import.log >/dev/null || say "$(cat import.log)"

podman run -d --name c --network none $limits bb /bin/sleep 1000 >/dev/null
check owner "$(podman exec c id -u)" 0
check "first map" "$(podman exec c head -n 1 /proc/self/uid_map | awk '{print $1, $2, $3}')" "0 $(id -u) 1"
check "other user" "$(podman exec --user 1000 c id -u)" 1000
code=0; podman exec c /nope 2>/dev/null || code=$?
check "missing program" $code 127
check "exec's terminal" "$(script -qec "$(declare -f podman); podman exec -t c tty" /dev/null | grep -o '/dev/pts/[0-9]*')" /dev/pts/0
podman ps --format '{{.Names}} {{.Status}}' | grep -q '^c Up' || say "not up"
podman kill c >/dev/null
check "killed" "$(podman wait c)" 137
podman rm c >/dev/null

mkdir volume
check "kept id" "$(podman run --rm --network none $limits --userns=keep-id -v $PWD/volume:/v bb sh -c 'touch /v/x; id -u')" "$(id -u)"
check "owner of a file" "$(stat -c %u volume/x)" "$(id -u)"
code=0; podman run --rm --network none $limits --user 1000:1000 bb sh -c 'exit 42' || code=$?
check "exit code" $code 42
# podman loses what a container says that ends at once, whatever its runtime.
check "run's terminal" "$(script -qec "$(declare -f podman); podman run --rm -it --network none $limits bb sh -c 'tty; sleep 1'" /dev/null | grep -o '/dev/pts/[0-9]*')" /dev/pts/0

podman pod create --name p --network none --infra-image bb --infra-command '/bin/sleep 1000' >/dev/null
podman run -d --pod p --name a $limits bb sleep 1000 >/dev/null
check "containers of the pod" "$(podman pod ps --format '{{.Status}} {{.NumberOfContainers}}')" "Running 2"
check "shared namespace" "$(podman exec a readlink /proc/self/ns/ipc)" "$(podman run --rm --pod p $limits bb readlink /proc/self/ns/ipc)"
podman pod rm -f -t 0 p >/dev/null

printf 'FROM localhost/bb\nRUN echo built > /made\nCMD ["cat", "/made"]\n' >Dockerfile
for isolation in oci rootless; do
	buildah --storage-driver vfs bud --no-cache --runtime $RUNC --isolation $isolation $limits --network none -t made . >build.log 2>&1 \
		|| say "$(cat build.log)"
	check "built by $isolation" "$(podman run --rm --network none $limits localhost/made)" built
done
podman rm -fa -t 0 >/dev/null
check "containers left" "$(ls $XDG_RUNTIME_DIR/runc-rs)" ""
podman unshare rm -rf $HOME/.local
echo all checked
"#;

#[test]
fn run_exec_terminals_volumes_pods_and_builds() {
    for needed in ["podman", "buildah", "newuidmap", "newgidmap"] {
        peer(needed);
    }
    let dir = tempfile::tempdir().unwrap();
    let (rootfs, tar) = (dir.path().join("rootfs"), dir.path().join("rootfs.tar"));
    busybox_rootfs(&rootfs);
    say(Command::new("tar").arg("-C").arg(&rootfs).arg("-cf").arg(&tar).arg(".")).ok();
    let user = user::User::new();
    user.give(dir.path());
    let mut command = user.command("bash");
    command
        .args(["-c", SCRIPT])
        .env("RUNC", user.program())
        .env("TAR", &tar);
    let said = say(&mut command).ok();
    assert!(said.ends_with("all checked\n"), "{said}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(user.program().to_str().unwrap()), "{mounts}");
}
