//! A program that runs a command in a container by itself: no daemon, no shim, no runtime program.
//!
//! `embed_runtime [COMMAND...]`, as root. The container's first process is a child of this program, its output comes through a pipe, and a second
//! process is put beside it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use engine_examples::{Result, busybox, spec};
use runc_rs::{CreateOptions, ExecOptions, Io, Runtime};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

fn main() -> Result<()> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let command: Vec<&str> = match command.is_empty() {
        true => vec!["sh", "-c", "echo hello from $(hostname); exit 7"],
        false => command.iter().map(String::as_str).collect(),
    };
    let directory = tempfile::tempdir()?;
    let rootfs = directory.path().join("rootfs");
    busybox(&rootfs)?;
    let runtime = Runtime::new(directory.path().join("state"));

    // The builder of the configuration is oci-spec's; no config.json is written.
    let (io, mut output) = piped()?;
    let options = CreateOptions {
        spec: Some(spec(&rootfs, &command)?),
        io,
        ..CreateOptions::new(directory.path())
    };
    let created = runtime.create("embedded", options)?;
    println!("created: {:?}", runtime.state("embedded")?.status);
    runtime.start("embedded")?;
    let code = wait(created.pid)?;
    let mut text = String::new();
    output.read_to_string(&mut text)?;
    runtime.delete("embedded", false)?;
    print!("output: {text}");
    println!("exit status: {code}");
    two_processes(&runtime, &rootfs, directory.path())
}

/// A container whose first process only waits, and a second process in it.
fn two_processes(runtime: &Runtime, rootfs: &std::path::Path, bundle: &std::path::Path) -> Result<()> {
    let waiting = spec(rootfs, &["sleep", "1000"])?;
    let mut process = waiting
        .process()
        .clone()
        .ok_or("the default configuration has a process")?;
    let init = runtime.create(
        "second",
        CreateOptions {
            spec: Some(waiting),
            ..CreateOptions::new(bundle)
        },
    )?;
    runtime.start("second")?;
    process.set_args(Some(
        ["echo", "hello from a second process"].map(str::to_owned).to_vec(),
    ));
    let (io, mut output) = piped()?;
    let exec = runtime.exec(
        "second",
        ExecOptions {
            io,
            ..ExecOptions::new(process)
        },
    )?;
    let code = wait(exec.pid)?;
    let mut text = String::new();
    output.read_to_string(&mut text)?;
    print!("{text}");
    kill_process(Pid::from_raw(init.pid).ok_or("pid 0")?, Signal::KILL)?;
    wait(init.pid)?;
    runtime.delete("second", false)?;
    if code == 0 {
        Ok(())
    } else {
        Err(format!("exec ended with {code}").into())
    }
}

/// No input, and both outputs into one pipe.
fn piped() -> Result<(Io, File)> {
    let (reader, writer) = std::io::pipe()?;
    let stdin = OwnedFd::from(File::open("/dev/null")?);
    let io = Io::Fds {
        stdin,
        stdout: writer.try_clone()?.into(),
        stderr: writer.into(),
    };
    Ok((io, OwnedFd::from(reader).into()))
}

/// Reaps a child: the library leaves that to its caller.
fn wait(pid: i32) -> Result<i32> {
    let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty())?.ok_or("waitpid returned nothing")?;
    Ok(status
        .exit_status()
        .or_else(|| Some(128 + status.terminating_signal()?))
        .unwrap_or(-1))
}
