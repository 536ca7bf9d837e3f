//! The id mappings of a new user namespace, written by the parent: directly where the kernel lets it, else by `newuidmap` and
//! `newgidmap`, which know from `/etc/subuid` and `/etc/subgid` what more an ordinary user may have.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;
use crate::plan::ids;
use crate::rootless::is_unprivileged;

/// Writes the mappings of a user namespace that process `pid` has just made. Each map is one write, as the kernel demands.
pub(crate) fn write(pid: i32, uids: &str, gids: &str) -> Result<(), Error> {
    // Who may not leave a group may not become able to by a namespace of his own: a group can be there to deny (CVE-2014-8989). The
    // kernel takes an ordinary user's own map only after this word; `newgidmap` says it where it must.
    if is_unprivileged() && ids::maps_only(gids, rustix::process::getegid().as_raw()) {
        write_file(pid, "setgroups", "deny")?;
    }
    write_map(pid, "uid_map", uids, "newuidmap")?;
    write_map(pid, "gid_map", gids, "newgidmap")
}

fn write_file(pid: i32, file: &str, text: &str) -> Result<(), Error> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::write(&path, text).map_err(|error| Error::file("write", path, error))
}

fn write_map(pid: i32, file: &str, map: &str, tool: &str) -> Result<(), Error> {
    match write_file(pid, file, map) {
        Err(Error::File { source, .. }) if source.raw_os_error() == Some(libc::EPERM) && is_unprivileged() => {
            run_tool(pid, map, tool)
        }
        result => result,
    }
}

/// `newuidmap PID INSIDE OUTSIDE COUNT...`.
fn run_tool(pid: i32, map: &str, tool: &str) -> Result<(), Error> {
    // runc's words, which say "newuid map" and "newgid map".
    let failed = |why: &dyn std::fmt::Display| {
        let name = tool.strip_suffix("map").unwrap_or(tool);
        Error::Process(format!("failed to use {name} map on {pid}: {why}"))
    };
    let program = find(tool, &std::env::var_os("PATH").unwrap_or_default())
        .ok_or_else(|| failed(&format_args!("{tool}: mapping tool not present")))?;
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(map.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(&String::from_utf8_lossy(&output.stderr).trim()))
}

/// The program in an absolute directory of `path`: never in one that depends on where we are.
fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| Path::new(OsStr::from_bytes(directory)))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_taken_from_absolute_directories_only() {
        let directory = tempfile::tempdir().unwrap();
        let tool = directory.path().join("tool");
        std::fs::write(&tool, "").unwrap();
        let path: std::ffi::OsString = format!(".:relative:/nonexistent:{}", directory.path().display()).into();
        assert_eq!(find("tool", &path), None);
        std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(find("tool", &path), Some(tool));
    }
}
