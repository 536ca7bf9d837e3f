//! `cargo xtask build`: the five programs, as users get them, in `target/release`.

use std::path::PathBuf;

use crate::Result;
use crate::command::{cargo, output, root, run};

/// The daemons and the client use the host's resolver, so they are dynamic.
const DYNAMIC: [&str; 3] = ["containerd-rs", "dockerd-rs", "docker-rs"];
/// Exec cost is the product of these: static, one codegen unit, abort on panic.
const STATIC: [(&str, &str); 2] = [
    ("runc-rs", "runc-rs"),
    ("containerd-shim-runc-rs", "containerd-shim-runc-rs-v2"),
];

/// The package and program of [`build_floor`].
pub(crate) const FLOOR: &str = "bench-floor";

/// Builds all five and returns the directory that they are in.
///
/// # Errors
/// A failing build, or a program that can't be copied.
pub(crate) fn build() -> Result<PathBuf> {
    let mut daemons = cargo();
    daemons.args(["build", "--locked", "--release"]);
    for name in DYNAMIC {
        daemons.args(["--package", name, "--bin", name]);
    }
    run(&mut daemons)?;

    build_static(&STATIC)
}

/// The floor that the benchmark of the runtime is held against, built as the runtime is.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_floor() -> Result<PathBuf> {
    build_static(&[(FLOOR, FLOOR)])
}

/// Builds the programs of these packages and returns the directory that they are in.
fn build_static(what: &[(&str, &str)]) -> Result<PathBuf> {
    let host = host_triple()?;
    let mut small = cargo();
    small.args(["build", "--locked", "--profile", "static", "--target", &host]);
    // Relative relocations in their packed form (glibc 2.36): a position-independent program reads 4 KB of them at its start, not 300.
    small.env(
        "RUSTFLAGS",
        "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs",
    );
    for (package, name) in what {
        small.args(["--package", package, "--bin", name]);
    }
    run(&mut small)?;

    let target = target_directory();
    let programs = target.join("release");
    std::fs::create_dir_all(&programs)?;
    for (_, name) in what {
        let (from, to) = (target.join(&host).join("static").join(name), programs.join(name));
        install(&from, &to).map_err(|e| format!("copy {} to {}: {e}", from.display(), to.display()))?;
    }
    Ok(programs)
}

/// Copies beside the target and renames, so that a program that is running can be replaced.
fn install(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    let beside = to.with_extension("new");
    std::fs::copy(from, &beside)?;
    std::fs::rename(&beside, to)
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn host_triple() -> Result<String> {
    let version = output(
        std::process::Command::new("rustc")
            .args(["--version", "--verbose"])
            .current_dir(root()),
    )?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .ok_or("rustc --version --verbose does not name the host")?
        .to_owned())
}
