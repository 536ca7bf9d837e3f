//! The floor under a runtime's `run`: the namespaces, mounts, root and program of `runc spec`'s configuration, by the calls that the kernel
//! wants for them and no others. No configuration, no cgroup, no state, no masks, no privileges dropped, no errors told apart.
//!
//! - `bench-floor run ROOTFS PROGRAM`: runs it so and waits for it.
//! - `bench-floor spawn`: does nothing: what it costs to start and end a static program.
//! - `bench-floor usage PROGRAM [ARGUMENT...]`: runs a program and prints the peak of its resident memory in KiB and its processor time in
//!   microseconds. A small program has to do this: the kernel counts what a process was before its `execve` too.

mod sys;

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::{CWD, Mode, OFlags, mkdir, openat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, mount_remount, unmount,
};
use rustix::process::{WaitOptions, chdir, fchdir, pivot_root, waitpid};
use rustix::system::sethostname;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let done = match mode.to_str() {
        Some("run") => {
            let rest: Result<Vec<_>, _> = arguments.map(|argument| CString::new(argument.into_vec())).collect();
            rest.map_err(io::Error::from).and_then(|rest| run(&rest))
        }
        Some("usage") => usage(arguments),
        _ => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> io::Result<()> {
    let program = arguments.next().unwrap_or_default();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // What a container holds open is not to be waited for.
        .stderr(Stdio::null())
        .spawn()?;
    let (peak, micros) = sys::wait_for_usage(child.id().cast_signed())?;
    println!("{peak} {micros}");
    Ok(())
}

fn run(arguments: &[CString]) -> io::Result<()> {
    let [rootfs, program] = arguments else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let Some(pid) = sys::clone_into_namespaces()? else {
        let failed = enter(rootfs).map_or_else(|error| error, |()| sys::execute(program));
        eprintln!("bench-floor: in the container: {failed}");
        sys::exit(1);
    };
    let ended = waitpid(Some(pid), WaitOptions::empty())?;
    match ended.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(()),
        other => Err(io::Error::other(format!("the program ended with {other:?}"))),
    }
}

fn enter(rootfs: &CString) -> io::Result<()> {
    mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    mount_bind_recursive(rootfs, rootfs)?;
    chdir(rootfs)?;
    mounts()?;
    sethostname(b"runc")?;
    let old = openat(
        CWD,
        c"/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    pivot_root(c".", c".")?;
    fchdir(&old)?;
    unmount(c".", UnmountFlags::DETACH)?;
    chdir(c"/")?;
    Ok(())
}

/// The configuration's mounts, beneath the current directory.
fn mounts() -> io::Result<()> {
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    let no_data = c"";
    mount(c"proc", c"proc", c"proc", MountFlags::empty(), no_data)?;
    mount(
        c"tmpfs",
        c"dev",
        c"tmpfs",
        MountFlags::NOSUID | MountFlags::STRICTATIME,
        c"mode=755,size=65536k",
    )?;
    for directory in [c"dev/pts", c"dev/shm", c"dev/mqueue"] {
        mkdir(directory, Mode::from_raw_mode(0o755))?;
    }
    let pts = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    mount(
        c"devpts",
        c"dev/pts",
        c"devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        pts,
    )?;
    mount(c"shm", c"dev/shm", c"tmpfs", quiet, c"mode=1777,size=65536k")?;
    mount(c"mqueue", c"dev/mqueue", c"mqueue", quiet, no_data)?;
    mount(c"sysfs", c"sys", c"sysfs", quiet | MountFlags::RDONLY, no_data)?;
    mount(c"tmpfs", c"sys/fs/cgroup", c"tmpfs", quiet, c"mode=755")?;
    for entry in std::fs::read_dir("/sys/fs/cgroup")?.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let place = std::path::Path::new("sys/fs/cgroup").join(entry.file_name());
        mkdir(&place, Mode::from_raw_mode(0o755))?;
        mount_bind_recursive(entry.path(), &place)?;
    }
    mount_remount(c"sys/fs/cgroup", quiet | MountFlags::RDONLY, no_data)?;
    Ok(())
}
