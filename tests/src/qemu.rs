//! A machine with Debian's own kernel: QEMU without acceleration, over this machine's own files.
//!
//! For what User Mode Linux ([`crate::guest`]) lacks: CRIU, cpusets, pressure stall information, time namespaces, AppArmor. It has one CPU, cgroup v2, and no
//! network but its loopback. Everything is emulated: an exec costs some sixty times the host's, so one boot serves a whole suite.
//!
//! The kernel is Debian's package, unpacked and not installed: `cargo xtask test` puts it into [`KERNEL`].

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::{Init, Outcome};
use crate::programs;

/// Where the kernel's package is unpacked.
pub const KERNEL: &str = "/var/cache/engine-tests/kernel";

/// What the initial file system needs to reach the host's files.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// Boots a guest with `memory` MiB, runs `script` as root in `bash`, and powers off. The guest is killed after `limit`.
///
/// # Panics
/// When QEMU or the kernel is missing or can't be started.
pub fn run(script: &str, memory: u32, limit: Duration) -> Outcome {
    run_with(Init::Script, script, memory, limit)
}

/// As [`run`], with this process 1.
///
/// # Panics
/// As [`run`].
pub fn run_with(init: Init, script: &str, memory: u32, limit: Duration) -> Outcome {
    // Not below /tmp: the guest has a /tmp of its own in its overlay, and must find these files where they are here.
    let directory = tempfile::Builder::new()
        .prefix("qemu-")
        .tempdir_in("/var/tmp")
        .expect("a directory in /var/tmp");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("script"), script).expect("write the script");
    fs::write(path("systemd"), include_str!("guest-systemd.sh")).expect("write systemd's set-up");
    let version = version();
    initial_file_system(&version, &path("initrd"), directory.path());
    let (log, output) = (path("log"), path("output"));
    let mut child = Command::new(programs::peer("qemu-system-x86_64"))
        .args(["-accel", "tcg", "-cpu", "max,la57=off", "-M", "q35", "-smp", "1"])
        .args([
            "-m",
            &memory.to_string(),
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(Path::new(KERNEL).join(format!("boot/vmlinuz-{version}")))
        .arg("-initrd")
        .arg(path("initrd"))
        .args([
            "-virtfs",
            "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        ])
        .args(["-serial", &format!("file:{}", log.display())])
        .args(["-serial", &format!("file:{}", output.display())])
        .arg("-append")
        .arg(format!(
            "console=ttyS0 panic=-1 rdinit=/init nokaslr mitigations=off quiet GUEST_DIR={} GUEST_KERNEL={KERNEL} {}",
            directory.path().display(),
            init.arguments().join(" ")
        ))
        .stdin(Stdio::null())
        .spawn()
        .expect("start qemu-system-x86_64");
    let end = Instant::now() + limit;
    while child.try_wait().expect("wait for the guest").is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
    };
    let (output, code) = crate::guest::split_code(&read(&output));
    Outcome {
        code,
        output,
        log: read(&log),
    }
}

/// The version of the unpacked kernel, whose modules are indexed.
fn version() -> String {
    let modules = Path::new(KERNEL).join("lib/modules");
    let entry = fs::read_dir(&modules).ok().and_then(|mut entries| entries.next()?.ok());
    let version = entry
        .unwrap_or_else(|| panic!("{} is missing: `cargo xtask test` makes it", modules.display()))
        .file_name();
    version.to_string_lossy().into_owned()
}

/// Packs busybox, the modules and the first process.
fn initial_file_system(version: &str, to: &Path, scratch: &Path) {
    let root = scratch.join("initramfs");
    for directory in ["bin", "proc", "sys", "dev", "mnt", "host"] {
        fs::create_dir_all(root.join(directory)).expect("mkdir");
    }
    fs::copy(programs::peer("busybox"), root.join("bin/busybox")).expect("copy busybox");
    for applet in [
        "sh",
        "mount",
        "mkdir",
        "modprobe",
        "ln",
        "cat",
        "chmod",
        "chroot",
        "poweroff",
        "pivot_root",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("symlink");
    }
    fs::write(root.join("init"), include_str!("qemu-init.sh")).expect("write the guest's init");
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).expect("chmod the guest's init");
    for module in MODULES {
        let mut modprobe = Command::new(programs::peer("modprobe"));
        let listed = modprobe
            .args(["-d", KERNEL, "-S", version, "--show-depends", module])
            .output();
        let listed = listed.expect("start modprobe");
        let text = String::from_utf8_lossy(&listed.stdout);
        for path in text.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let path = Path::new(path.trim());
            let name = path.strip_prefix(KERNEL).expect("a module of the guest's kernel");
            let target = root.join(name);
            fs::create_dir_all(target.parent().expect("a directory")).expect("mkdir");
            fs::copy(path, target).expect("copy a module");
        }
    }
    let depmod = Command::new(programs::peer("depmod"))
        .arg("-b")
        .arg(&root)
        .arg(version)
        .output();
    assert!(depmod.is_ok_and(|output| output.status.success()), "depmod");
    let pack = format!("find . | cpio --quiet -o -H newc > {}", to.display());
    let packed = Command::new("sh").args(["-c", &pack]).current_dir(&root).status();
    assert!(
        packed.is_ok_and(|status| status.success()),
        "cpio of the initial file system"
    );
}
