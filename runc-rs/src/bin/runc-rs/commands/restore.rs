//! `restore`: files become a running container.

use runc_rs::RestoreOptions;

use super::migration::{self, failure};
use super::start_options::{self as start, create_options, warn};
use crate::Failure;
use crate::foreground::{self, Signals};
use crate::grammar::{Command, Count, Flag};
use crate::invocation::Invocation;

pub(crate) const COMMAND: Command = Command {
    name: "restore",
    usage: "restore a container from a previous checkpoint",
    arguments: "<container-id>

Where \"<container-id>\" is the name for the container to be restored.",
    description: "Restores a container from the files that checkpoint saved, by criu. Without --detach the container is waited for and deleted, and its
exit code is this command's.",
    flags: &[
        start::CONSOLE_SOCKET,
        migration::IMAGE_PATH,
        migration::WORK_PATH,
        migration::TCP_ESTABLISHED,
        migration::EXT_UNIX_SK,
        migration::SHELL_JOB,
        migration::FILE_LOCKS,
        migration::MANAGE_CGROUPS_MODE,
        start::BUNDLE,
        start::DETACH,
        start::PID_FILE,
        Flag::switch("no-subreaper", "disable the use of the subreaper used to reap reparented processes"),
        start::NO_PIVOT,
        migration::EMPTY_NS,
        migration::AUTO_DEDUP,
        migration::LAZY_PAGES,
        Flag::text(
            "lsm-profile",
            "Specify an LSM profile to be used during restore in the form of TYPE:NAME.",
        ),
        Flag::text("lsm-mount-context", "Specify an LSM mount context to be used during restore."),
    ],
    count: Count::Exactly(1),
    stops: false,
    enters: false,
    run: restore,
};

fn restore(invocation: &Invocation) -> Result<u8, Failure> {
    let values = &invocation.values;
    if !rustix::process::geteuid().is_root() {
        invocation.log.warn("runc restore is untested with rootless containers");
    }
    let (id, runtime) = (invocation.id()?, invocation.runtime());
    let detach = values.switch("detach");
    let options = RestoreOptions {
        create: create_options(invocation, detach)?,
        lsm_profile: values.text("lsm-profile")?.map(str::to_owned),
        lsm_mount_context: values.text("lsm-mount-context")?.map(str::to_owned),
        common: migration::migration(invocation)?,
    };
    let signals = if detach { None } else { Some(Signals::block()?) };
    if !detach && !values.switch("no-subreaper") {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let created = runtime
        .restore(id, options)
        .map_err(|error| failure(error, invocation))?;
    warn(&created, invocation);
    let Some(signals) = signals else { return Ok(0) };
    let code = foreground::wait(&signals, created, || Ok(()));
    let deleted = runtime.delete(id, true);
    let code = code?;
    deleted?;
    Ok(code)
}
