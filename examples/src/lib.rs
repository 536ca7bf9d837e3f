//! What the examples share: a root filesystem to run, and a configuration for it.
//!
//! Each example is a program below `examples/`; its first paragraph says what it shows and how to run it. All of them run in the project's tests.

use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use runtime_spec::Spec;
use runtime_spec::default::{Options, default_spec};

/// What examples fail with.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Makes a root filesystem of the host's static busybox (Debian's package `busybox-static`) at `rootfs`.
///
/// # Errors
/// When there is no `/bin/busybox`, or `rootfs` can't be written.
pub fn busybox(rootfs: &Path) -> Result<()> {
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join(directory))?;
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox"))
        .map_err(|e| format!("/bin/busybox (package busybox-static): {e}"))?;
    for name in ["sh", "cat", "echo", "hostname", "sleep"] {
        symlink("busybox", rootfs.join("bin").join(name))?;
    }
    Ok(())
}

/// The configuration of a container that runs `arguments` without a terminal: what `runc spec` prints, with these changes.
///
/// # Errors
/// None in practice: the default configuration is valid.
pub fn spec(rootfs: &Path, arguments: &[&str]) -> Result<Spec> {
    let mut json = serde_json::to_value(default_spec(Options::default())?)?;
    json["process"]["args"] = serde_json::json!(arguments);
    json["process"]["terminal"] = false.into();
    json["root"]["path"] = rootfs.display().to_string().into();
    Ok(serde_json::from_value(json)?)
}
