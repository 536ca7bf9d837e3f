//! `cargo xtask ci`: what a change must pass.

use std::process::Command;

use crate::Result;
use crate::command::{self, cargo};
use crate::test;

/// Runs every check, cheapest first.
///
/// # Errors
/// The first check that fails.
pub(crate) fn run() -> Result<()> {
    command::run(cargo().args(["fmt", "--all", "--check"]))?;
    // Every crate of the lock file, also those of other platforms: what follows works offline.
    command::run(cargo().args(["fetch", "--locked"]))?;
    command::run(cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    deny()?;
    command::run(
        cargo()
            .args(["doc", "--locked", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    test::run(&test::Options::default())
}

/// Licences, sources and bans. Advisories need a database from the network, so they are checked only where one can be had.
fn deny() -> Result<()> {
    const VERSION: &str = "0.20.2";
    let installed = Command::new("cargo-deny")
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success());
    if !installed {
        let mut install = cargo();
        // A debug build: it is used once, and takes a third of the time to make.
        install.args([
            "install",
            "cargo-deny",
            "--locked",
            "--debug",
            "--no-default-features",
            "--version",
            VERSION,
        ]);
        command::run(install.env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    }
    command::run(cargo().args([
        "deny",
        "--offline",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))
}
