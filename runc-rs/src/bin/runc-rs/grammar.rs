//! What a command line may say, as data: commands and their flags. Each command's row stands beside its code in `commands`.

use crate::Failure;
use crate::invocation::Invocation;

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// Text; the last one counts.
    Text,
    /// Text; all count.
    List,
    /// An integer; the last one counts.
    Number,
    /// Integers; all count.
    Numbers,
    /// A time as Go writes it: `5s`, `1m30s`.
    Duration,
}

/// A flag, `--name` or `-short`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<&'static str>,
    pub(crate) kind: Kind,
    /// What the help says is the default; the code that reads the flag knows it too.
    pub(crate) default: Option<&'static str>,
    pub(crate) help: &'static str,
    /// Taken, but not in the help.
    pub(crate) hidden: bool,
}

impl Flag {
    pub(crate) const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            name,
            short: None,
            kind,
            default: None,
            help,
            hidden: false,
        }
    }

    pub(crate) const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Switch, help)
    }

    pub(crate) const fn text(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Text, help)
    }

    pub(crate) const fn list(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::List, help)
    }

    pub(crate) const fn number(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Number, help).default("0")
    }

    pub(crate) const fn short(self, short: &'static str) -> Self {
        Self {
            short: Some(short),
            ..self
        }
    }

    pub(crate) const fn default(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    pub(crate) const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }
}

/// How many arguments a command takes besides its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Exactly(usize),
    AtLeast(usize),
    Between(usize, usize),
}

/// A command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// One line for the list of commands.
    pub(crate) usage: &'static str,
    /// The arguments, and whatever is to be said of them.
    pub(crate) arguments: &'static str,
    pub(crate) description: &'static str,
    pub(crate) flags: &'static [Flag],
    pub(crate) count: Count,
    /// Whether the first argument ends the flags: what follows is another program's.
    pub(crate) stops: bool,
    /// Whether it enters a container, and so must run from a sealed copy of the program.
    pub(crate) enters: bool,
    pub(crate) run: fn(&Invocation) -> Result<u8, Failure>,
}

/// Flags of every command, before it or among its own.
pub(crate) const GLOBAL: &[Flag] = &[
    Flag::switch("debug", "enable debug logging"),
    Flag::text(
        "log",
        "set the log file to write runc logs to (default is '/dev/stderr')",
    ),
    Flag::text("log-format", "set the log format ('text' (default), or 'json')").default("\"text\""),
    Flag::text(
        "root",
        "root directory for storage of container state (this should be located in tmpfs)",
    )
    .default("\"/run/runc-rs\""),
    Flag::text("criu", "(obsoleted; do not use)").hidden(),
    Flag::switch(
        "systemd-cgroup",
        "enable systemd cgroup support, expects cgroupsPath to be of form \"slice:prefix:name\" for e.g. \"system.slice:runc:434234\"",
    ),
    Flag::text(
        "cgroup-manager",
        "cgroup manager: 'cgroupfs' (default), 'systemd' or 'disabled'",
    ),
    Flag::text(
        "rootless",
        "ignore cgroup permission errors ('true', 'false', or 'auto')",
    )
    .default("\"auto\""),
];
