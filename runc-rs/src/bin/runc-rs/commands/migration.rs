//! What `checkpoint` and `restore` have in common.

use runc_rs::{CgroupsMode, Error, Migration};

use crate::Failure;
use crate::grammar::{Flag, Kind};
use crate::invocation::Invocation;

pub(crate) const IMAGE_PATH: Flag = Flag::text("image-path", "path of the criu image files");
pub(crate) const WORK_PATH: Flag = Flag::text("work-path", "path for saving work files and logs");
pub(crate) const TCP_ESTABLISHED: Flag = Flag::switch("tcp-established", "allow open tcp connections");
pub(crate) const EXT_UNIX_SK: Flag = Flag::switch("ext-unix-sk", "allow external unix sockets");
pub(crate) const SHELL_JOB: Flag = Flag::switch("shell-job", "allow shell jobs");
pub(crate) const FILE_LOCKS: Flag = Flag::switch("file-locks", "handle file locks, for safety");
pub(crate) const LAZY_PAGES: Flag = Flag::switch("lazy-pages", "use userfaultfd to lazily restore memory pages");
pub(crate) const AUTO_DEDUP: Flag = Flag::switch("auto-dedup", "enable auto deduplication of memory images");
pub(crate) const MANAGE_CGROUPS_MODE: Flag = Flag::text(
    "manage-cgroups-mode",
    "cgroups mode: soft|full|strict|ignore (default: soft)",
);
pub(crate) const EMPTY_NS: Flag = Flag::new(
    "empty-ns",
    Kind::List,
    "create a namespace, but don't restore its properties",
);

/// The options that both take.
pub(crate) fn migration(invocation: &Invocation) -> Result<Migration, Failure> {
    let values = &invocation.values;
    // The network comes back empty in any case: its devices are not the runtime's affair.
    if let Some(name) = values.list("empty-ns")?.iter().find(|name| *name != "network") {
        return Err(Failure::new(format!("namespace {name:?} is not supported")));
    }
    let image_path = match values.path("image-path") {
        Some(path) => path,
        None => std::env::current_dir()?.join("checkpoint"),
    };
    Ok(Migration {
        image_path,
        work_path: values.path("work-path"),
        tcp_established: values.switch("tcp-established"),
        ext_unix_sk: values.switch("ext-unix-sk"),
        shell_job: values.switch("shell-job"),
        file_locks: values.switch("file-locks"),
        lazy_pages: values.switch("lazy-pages"),
        auto_dedup: values.switch("auto-dedup"),
        manage_cgroups: cgroups_mode(values.text("manage-cgroups-mode")?)?,
    })
}

fn cgroups_mode(text: Option<&str>) -> Result<CgroupsMode, Failure> {
    match text {
        None => Ok(CgroupsMode::Default),
        Some("soft") => Ok(CgroupsMode::Soft),
        Some("full") => Ok(CgroupsMode::Full),
        Some("strict") => Ok(CgroupsMode::Strict),
        Some("ignore") => Ok(CgroupsMode::Ignore),
        Some(_) => Err(Failure::new("Invalid manage-cgroups-mode value")),
    }
}

/// CRIU's own words go to the log, line by line.
pub(crate) fn failure(error: Error, invocation: &Invocation) -> Failure {
    if let Error::Criu { log, .. } = &error {
        for line in log {
            invocation.log.warn(line);
        }
    }
    Failure::from(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_modes() {
        assert_eq!(cgroups_mode(None).unwrap(), CgroupsMode::Default);
        assert_eq!(cgroups_mode(Some("ignore")).unwrap(), CgroupsMode::Ignore);
        assert!(cgroups_mode(Some("hard")).is_err());
    }
}
