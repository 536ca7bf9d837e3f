//! Where programs are. A test that lacks one fails; it does not skip.

use std::path::{Path, PathBuf};

/// The directory of our release programs: `$ENGINE_BIN_DIR`, or `target/release` of this workspace.
///
/// # Panics
/// When the program is not there: `cargo xtask build` makes it.
pub fn ours(name: &str) -> PathBuf {
    let directory = std::env::var_os("ENGINE_BIN_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release"),
        PathBuf::from,
    );
    let path = directory.join(name);
    assert!(path.is_file(), "{} is missing: run `cargo xtask build`", path.display());
    path
}

/// A peer's program on `PATH` or in the system's directories.
///
/// # Panics
/// When it is not installed: `cargo xtask test` installs what the tests need.
pub fn peer(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    path.split(':')
        .chain(system)
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: `cargo xtask test` installs what the tests need"))
}
