//! `checkpoint`: a running container becomes files.

use std::os::fd::OwnedFd;

use runc_rs::CheckpointOptions;

use super::migration::{self, failure};
use crate::Failure;
use crate::grammar::{Command, Count, Flag};
use crate::invocation::Invocation;

pub(crate) const COMMAND: Command = Command {
    name: "checkpoint",
    usage: "checkpoint a running container",
    arguments: "<container-id>

Where \"<container-id>\" is the name of the container to be checkpointed.",
    description: "Saves the state of the container instance, by criu. The container ends, unless it is left running.",
    flags: &[
        migration::IMAGE_PATH,
        migration::WORK_PATH,
        Flag::text("parent-path", "path for previous criu image files, in pre-dump"),
        Flag::switch("leave-running", "leave the process running after checkpointing"),
        migration::TCP_ESTABLISHED,
        Flag::switch("tcp-skip-in-flight", "skip in-flight tcp connections"),
        Flag::switch("link-remap", "allow one to link unlinked files back when possible"),
        migration::EXT_UNIX_SK,
        migration::SHELL_JOB,
        migration::LAZY_PAGES,
        Flag::number("status-fd", "criu writes \\0 to this FD once lazy-pages is ready").default("-1"),
        Flag::text("page-server", "ADDRESS:PORT of the page server"),
        migration::FILE_LOCKS,
        Flag::switch(
            "pre-dump",
            "dump container's memory information only, leave the container running after this",
        ),
        migration::MANAGE_CGROUPS_MODE,
        migration::EMPTY_NS,
        migration::AUTO_DEDUP,
    ],
    count: Count::Exactly(1),
    stops: false,
    enters: false,
    run: checkpoint,
};

fn checkpoint(invocation: &Invocation) -> Result<u8, Failure> {
    let values = &invocation.values;
    if !rustix::process::geteuid().is_root() {
        invocation
            .log
            .warn("runc checkpoint is untested with rootless containers");
    }
    let options = CheckpointOptions {
        parent_path: values.path("parent-path"),
        leave_running: values.switch("leave-running"),
        tcp_skip_in_flight: values.switch("tcp-skip-in-flight"),
        link_remap: values.switch("link-remap"),
        pre_dump: values.switch("pre-dump"),
        status_fd: status_fd(if values.is_set("status-fd") {
            values.number("status-fd")
        } else {
            -1
        })?,
        page_server: values.text("page-server")?.map(page_server).transpose()?,
        common: migration::migration(invocation)?,
    };
    let goes_on = options.leave_running || options.pre_dump;
    let (id, runtime) = (invocation.id()?, invocation.runtime());
    runtime
        .checkpoint(id, options)
        .map_err(|error| failure(error, invocation))?;
    if !goes_on {
        runtime.delete(id, true)?;
    }
    Ok(0)
}

fn page_server(text: &str) -> Result<(String, u16), Failure> {
    let usage = || Failure::new("Use --page-server ADDRESS:PORT to specify page server");
    let (address, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if address.is_empty() || port.is_empty() {
        return Err(usage());
    }
    let port = port.parse().map_err(|_| Failure::new("Invalid port number"))?;
    Ok((address.to_owned(), port))
}

/// A descriptor of ours, opened anew so that it is checked: it has to be there, and writable.
fn status_fd(number: i64) -> Result<Option<OwnedFd>, Failure> {
    if number < 0 {
        return Ok(None);
    }
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/self/fd/{number}"));
    file.map(|file| Some(file.into()))
        .map_err(|error| Failure::new(format!("invalid --status-fd argument {number}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers() {
        assert_eq!(page_server("[::1]:27").unwrap(), ("::1".into(), 27));
        assert_eq!(page_server("host:27").unwrap(), ("host".into(), 27));
        for bad in ["host", ":27", "host:", "host:x", "host:70000"] {
            assert!(page_server(bad).is_err(), "{bad}");
        }
    }
}
