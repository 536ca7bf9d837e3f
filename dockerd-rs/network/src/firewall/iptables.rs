//! The firewall by iptables, for kernels without nftables (User Mode Linux) and for those who ask for it.
//!
//! The kernel's old interface replaces whole tables and has no way to say "this and no more", so the program that knows how to
//! live with that is started: `iptables-restore --noflush`, once for each change, which replaces our own chains
//! atomically in each table and leaves the rest. Here a container does cost rules, and a process when its ports change.

mod text;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Firewall, Publication, Ruleset, Watch};
use crate::error::{Error, Result};
use text::Chains;

/// Where the programs are looked for beside `PATH`, which daemons often have without the `sbin` ones.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// Our chains in the tables of iptables.
#[derive(Debug)]
pub(crate) struct Iptables {
    /// `iptables` or `iptables-legacy`, with its path.
    program: PathBuf,
    restore: PathBuf,
    chains: Chains,
    /// We set the policy of FORWARD.
    guarding: bool,
}

impl Iptables {
    /// The first of these programs that is there with its `-restore`: `iptables`, `iptables-legacy`.
    pub(crate) fn find(programs: &[&str], table: &str) -> Option<Self> {
        programs.iter().find_map(|name| {
            let (program, restore) = (locate(name)?, locate(&format!("{name}-restore"))?);
            Some(Self {
                program,
                restore,
                chains: Chains::new(table),
                guarding: false,
            })
        })
    }

    fn restore(&self, text: &str) -> Result<()> {
        let run = || -> io::Result<Output> {
            let mut command = Command::new(&self.restore);
            command
                .args(["--noflush", "--wait"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(text.as_bytes())?;
            }
            child.wait_with_output()
        };
        check(&self.restore, run())
    }

    fn run(&self, table: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .args(["--wait", "-t", table])
            .args(arguments)
            .stdin(Stdio::null());
        check(&self.program, command.output())
    }

    fn write(&self, rules: &Ruleset) -> Result<()> {
        self.restore(&self.chains.restore(rules))
    }
}

fn locate(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    dirs.map(|dir| dir.join(name)).find(|program| program.is_file())
}

fn check(program: &Path, output: io::Result<Output>) -> Result<()> {
    let what = || program.display().to_string();
    let output = output.map_err(|source| Error::Firewall { what: what(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Firewall {
        what: what(),
        source: io::Error::other(told),
    })
}

impl Firewall for Iptables {
    fn replace(&mut self, rules: &Ruleset) -> Result<()> {
        self.write(rules)?;
        for jump in self.chains.jumps() {
            if self.run(jump.table, &jump.arguments("-C")).is_err() {
                self.run(jump.table, &jump.arguments("-I"))?;
            }
        }
        if rules.guard {
            // As Docker does it: others' rules may still accept what theirs is.
            self.run("filter", &["-P", "FORWARD", "DROP"])?;
            self.guarding = true;
        }
        Ok(())
    }

    fn publish(&mut self, rules: &Ruleset, _: &[Publication]) -> Result<()> {
        self.write(rules)
    }

    fn withdraw(&mut self, rules: &Ruleset, _: &[Publication]) -> Result<()> {
        self.write(rules)
    }

    fn remove(&mut self) -> Result<()> {
        // A chain cannot go while something jumps to it.
        for jump in self.chains.jumps() {
            if self.run(jump.table, &jump.arguments("-C")).is_ok() {
                self.run(jump.table, &jump.arguments("-D"))?;
            }
        }
        self.restore(&self.chains.delete())?;
        if self.guarding {
            self.run("filter", &["-P", "FORWARD", "ACCEPT"])?;
        }
        Ok(())
    }

    fn watch(&self) -> Result<Option<Watch>> {
        Ok(None)
    }
}
