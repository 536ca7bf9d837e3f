//! The distribution's packages that the tests need: peers, and tools that make images and terminals.

use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::command::run;

/// A program, library or file (by its path), and the Debian package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("dockerd", "docker.io"),
    ("runc", "runc"),
    ("crun", "crun"),
    ("podman", "podman"),
    ("buildah", "buildah"),
    ("conmon", "conmon"),
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("umoci", "umoci"),
    ("busybox", "busybox-static"),
    ("mmdebstrap", "mmdebstrap"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("ps", "procps"),
    ("openssl", "openssl"),
    ("curl", "curl"),
    ("script", "bsdutils"),
    ("socat", "socat"),
    ("strace", "strace"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("newuidmap", "uidmap"),
    ("mkfs.ext4", "e2fsprogs"),
    ("linux.uml", "user-mode-linux"),
    ("systemctl", "systemd"),
    ("dbus-daemon", "dbus"),
    ("/usr/lib/systemd/user/dbus.socket", "dbus-user-session"),
    ("useradd", "passwd"),
    ("jq", "jq"),
    ("depmod", "kmod"),
    ("libseccomp.so.2", "libseccomp2"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("cpio", "cpio"),
    ("criu", "criu"),
    ("checkpolicy", "checkpolicy"),
];

/// The docker CLI has more than one package; the first that installs serves.
const DOCKER: &[&str] = &["docker-cli", "docker.io"];

/// Installs whatever is missing.
///
/// # Errors
/// When `apt-get` fails; the text names the packages.
pub(crate) fn install_missing() -> Result<()> {
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    let docker = !is_installed("docker");
    if missing.is_empty() && !docker {
        return Ok(());
    }
    run(Command::new("apt-get").args(["-q", "update"]))?;
    if !missing.is_empty() {
        install(&missing)?;
    }
    if docker {
        DOCKER
            .iter()
            .map(|package| install(&[package]))
            .find(Result::is_ok)
            .ok_or("no docker CLI can be installed")??;
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    run(apt
        .args([
            "-q",
            "-y",
            "-o",
            "DPkg::Lock::Timeout=300",
            "install",
            "--no-install-recommends",
        ])
        .args(packages))
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let system = [
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
    ];
    path.split(':')
        .chain(system)
        .any(|directory| Path::new(directory).join(program).exists())
}
