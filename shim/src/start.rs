//! `start`: leave a serving process behind for the container's group, or find the one that is there, and say where it listens.
//!
//! It is all or nothing. The child serves only after it was told to go on, which is the last thing that `start` does: should `start` fail or be
//! killed at any point before, the child reads end of file instead, removes the socket and ends.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use containerd_proto::containerd::runc::v1::Options;

use crate::args::Args;
use crate::bootstrap::Request;
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::socket::{self, Claim};
use crate::{cgroup, sys};

/// Descriptor of the listening socket in the serving process.
pub(crate) const LISTENER_FD: i32 = 3;
/// Descriptor on which the serving process is told to go on.
pub(crate) const GO_FD: i32 = 4;

/// Removes the socket when `start` does not come to its end.
struct Undo<'a>(Option<&'a Path>);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            // The error that brought us here is the one to report.
            let _ = socket::release(path);
        }
    }
}

/// Runs `start` in the bundle that is the current directory. `reply` is called with the answer once everything stands.
///
/// # Errors
/// Any step; nothing is left behind then.
pub(crate) fn start(
    args: &Args,
    environment: impl Fn(&str) -> Option<String>,
    stdin: &[u8],
    reply: impl FnOnce(&[u8]) -> std::io::Result<()>,
) -> Result<()> {
    check(args)?;
    let request = Request::new(args, &environment, stdin);
    let here = std::env::current_dir().map_err(Error::system("getcwd"))?;
    let bundle = Bundle::new(here);
    let group = bundle.group(&args.id)?;
    let path = socket::path(
        &request.socket_directory,
        &request.grpc_address,
        &args.namespace,
        &group,
    );
    let address = format!("unix://{}", path.display());
    let answer = request.answer(&address);
    let reply = |answer: &[u8]| reply(answer).map_err(Error::system("write the answer"));

    let listener = match socket::claim(&path)? {
        Claim::Live => {
            bundle.write_address(&address)?;
            return reply(&answer);
        }
        Claim::Ours(listener) => listener,
    };
    let mut undo = Undo(Some(&path));
    bundle.write_address(&address)?;
    let (wait, mut go) = std::io::pipe().map_err(Error::system("pipe"))?;
    let executable = executable()?;
    let core_scheduling = environment("SCHED_CORE").is_some_and(|v| !v.is_empty());
    let mut command = command(args, &request, &path, &executable, core_scheduling)?;
    sys::inherit(&mut command, &[listener.as_fd(), wait.as_fd()]);
    let child = command.spawn().map_err(Error::system("start the serving process"))?;
    settle(&child, &request.options)?;
    reply(&answer)?;
    go.write_all(b"g").map_err(Error::system("start the serving process"))?;
    undo.0 = None;
    Ok(())
}

fn check(args: &Args) -> Result<()> {
    if args.namespace.is_empty() {
        return Err(Error::Invalid("shim namespace cannot be empty".to_owned()));
    }
    if args.id.is_empty() {
        return Err(Error::Invalid("shim id cannot be empty".to_owned()));
    }
    Ok(())
}

fn command(
    args: &Args,
    request: &Request,
    socket: &Path,
    executable: &OwnedFd,
    core_scheduling: bool,
) -> Result<Command> {
    let shown = std::env::current_exe().map_err(Error::system("readlink /proc/self/exe"))?;
    let mut command = Command::new(format!("/proc/self/fd/{}", executable.as_raw_fd()));
    command
        .arg0(shown)
        .args([
            "-namespace",
            &args.namespace,
            "-id",
            &args.id,
            "-address",
            &request.grpc_address,
        ])
        .arg("-socket")
        .arg(socket)
        .env("TTRPC_ADDRESS", &request.ttrpc_address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if request.debug {
        command.arg("-debug");
    }
    sys::detach(&mut command, core_scheduling);
    Ok(command)
}

/// What the serving process executes: this program, from where a container cannot write to it (CVE-2019-5736). Its number is out of the way of
/// those that the child finds its own descriptors at.
fn executable() -> Result<OwnedFd> {
    let sealed = runc_rs::sealed::executable().map_err(Error::system("seal the program"))?;
    rustix::io::fcntl_dupfd_cloexec(&sealed, 16).map_err(Error::system("dup"))
}

/// Puts the child where it belongs: into the cgroup for shims, and one step nearer to the out-of-memory killer than the manager.
fn settle(child: &Child, options: &Options) -> Result<()> {
    if !options.shim_cgroup.is_empty() {
        cgroup::join(&options.shim_cgroup, child.id())?;
    }
    let read = |path: &str| std::fs::read_to_string(path).map_err(Error::file("read", Path::new(path)));
    let score: i32 = read(&format!("/proc/{}/oom_score_adj", parent_id()))?
        .trim()
        .parse()
        .unwrap_or(0);
    let path = format!("/proc/{}/oom_score_adj", child.id());
    let wanted = (score + 1).min(1000);
    if read(&path)?.trim().parse() == Ok(wanted) {
        return Ok(());
    }
    let written = File::options()
        .write(true)
        .open(&path)
        .and_then(|mut f| f.write_all(wanted.to_string().as_bytes()));
    match written {
        // Lowering needs CAP_SYS_RESOURCE; who started us with a higher score than the manager's wanted it so.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        other => other.map_err(Error::file("write", Path::new(&path))),
    }
}
