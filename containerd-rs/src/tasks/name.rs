//! From the name of a runtime to the program of its shim.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use containerd_rs_core::{Error, Result};

/// The program's name: `io.containerd.runc.v2` is `containerd-shim-runc-v2`. A path stands for itself.
///
/// # Errors
/// `InvalidArgument`, in containerd's words.
fn program(runtime: &str) -> Result<PathBuf> {
    if runtime.starts_with('/') {
        return Ok(PathBuf::from(runtime));
    }
    let parts: Vec<&str> = runtime.split('.').collect();
    match parts.as_slice() {
        [.., name, version] if !runtime.contains('/') && !name.is_empty() && !version.is_empty() => {
            Ok(PathBuf::from(format!("containerd-shim-{name}-{version}")))
        }
        _ => Err(Error::InvalidArgument(format!(
            "invalid runtime name {runtime}, correct runtime name should be either format like `io.containerd.runc.v2` or a full path to the binary"
        ))),
    }
}

/// Finds the shim of a runtime: an absolute path, or a program in one of the directories, or in one of `PATH`.
///
/// # Errors
/// `InvalidArgument` for a name that is none; `NotFound` when the program is not installed. The words are containerd's.
pub(crate) fn resolve(runtime: &str, directories: &[PathBuf]) -> Result<PathBuf> {
    let program = program(runtime)?;
    if program.is_absolute() {
        return if is_program(&program) {
            Ok(program)
        } else {
            Err(not_installed(runtime, &program))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = directories
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(&program))
        .find(|path| is_program(path));
    found.ok_or_else(|| not_installed(runtime, &program))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn not_installed(runtime: &str, program: &Path) -> Error {
    Error::NotFound(format!(
        "runtime {runtime:?} binary not installed {:?}: file does not exist",
        program.display().to_string()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_programs() {
        for (name, expected) in [
            ("io.containerd.runc.v2", "containerd-shim-runc-v2"),
            ("io.containerd.runc-rs.v2", "containerd-shim-runc-rs-v2"),
            ("my.v1", "containerd-shim-my-v1"),
            ("/opt/shim", "/opt/shim"),
        ] {
            assert_eq!(program(name).unwrap(), Path::new(expected));
        }
        for bad in ["", "runc", "io.containerd.", "io..v2", "../x.y", "a/b.c"] {
            assert!(program(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn own_directories_come_first_and_what_is_no_program_is_passed_over() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (dud, good) = (
            one.path().join("containerd-shim-x-v2"),
            two.path().join("containerd-shim-x-v2"),
        );
        std::fs::write(&dud, "").unwrap();
        std::fs::write(&good, "").unwrap();
        std::fs::set_permissions(&good, std::fs::Permissions::from_mode(0o755)).unwrap();
        let directories = [one.path().to_owned(), two.path().to_owned()];
        assert_eq!(resolve("io.test.x.v2", &directories).unwrap(), good);
        let error = resolve("io.test.absent.v2", &directories).unwrap_err();
        assert_eq!(
            error.to_string(),
            "runtime \"io.test.absent.v2\" binary not installed \"containerd-shim-absent-v2\": file does not exist: not found"
        );
    }
}
