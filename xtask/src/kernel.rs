//! Debian's kernel for the tests that boot one in QEMU: unpacked, not installed, so that the machine's own boot is not touched.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::command::run;

/// Where the suites look for it (`tests/src/qemu.rs`).
const KERNEL: &str = "/var/cache/engine-tests/kernel";

/// Unpacks the newest kernel of the distribution, once.
///
/// # Errors
/// When the package cannot be had or unpacked.
pub(crate) fn unpack() -> Result<()> {
    if Path::new(KERNEL).exists() {
        return Ok(());
    }
    let package = newest()?;
    eprintln!("xtask: unpacking {package} for the tests' guest");
    let work = format!("{KERNEL}.new");
    // What an earlier run may have left half done.
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    // apt drops its privileges for downloads, which it could not write here then.
    let unsandboxed = ["-o", "APT::Sandbox::User=root"];
    run(Command::new("apt-get")
        .arg("-q")
        .args(unsandboxed)
        .args(["download", &package])
        .current_dir(&work))?;
    let archive = fs::read_dir(&work)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| format!("no archive of {package} was downloaded"))?;
    run(Command::new("dpkg").arg("-x").arg(&archive).arg(&work))?;
    fs::remove_file(archive)?;
    let modules = Path::new(&work).join("lib/modules");
    let version = fs::read_dir(&modules)?
        .next()
        .ok_or("a kernel without modules")??
        .file_name();
    run(Command::new("depmod").args(["-b", &work]).arg(version))?;
    fs::rename(&work, KERNEL)?;
    Ok(())
}

/// The package that `linux-image-amd64` stands for.
fn newest() -> Result<String> {
    let depends = || {
        let output = Command::new("apt-cache")
            .args(["depends", "linux-image-amd64"])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: ").map(str::to_owned));
        Ok::<_, Box<dyn std::error::Error>>(line)
    };
    if let Some(package) = depends()? {
        return Ok(package);
    }
    run(Command::new("apt-get").args(["-q", "update"]))?;
    depends()?.ok_or_else(|| "linux-image-amd64 is not known to apt".into())
}
