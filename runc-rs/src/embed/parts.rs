//! Changes of a configuration, kept until it is there.

use std::fmt;
use std::path::Path;

use oci_spec::runtime::{BoxBuilder, Process, Spec};

use super::stdio::Console;

type Change = Box<dyn FnOnce(&mut Spec) + Send + Sync>;

/// In the order in which they were asked for.
#[derive(Default)]
pub(super) struct Changes(Vec<Change>);

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Changes({})", self.0.len())
    }
}

impl Changes {
    pub(super) fn push(&mut self, change: impl FnOnce(&mut Spec) + Send + Sync + 'static) {
        self.0.push(Box::new(change));
    }

    pub(super) fn process(&mut self, change: impl FnOnce(&mut Process) + Send + Sync + 'static) {
        self.push(|spec| {
            let mut process = spec.process().clone().unwrap_or_default();
            change(&mut process);
            spec.set_process(Some(process));
        });
    }

    pub(super) fn apply(self, spec: &mut Spec) {
        for change in self.0 {
            change(spec);
        }
    }
}

/// Sets one variable of an environment.
pub(super) fn set_env(process: &mut Process, name: &str, value: &str) {
    let mut env = process.env().clone().unwrap_or_default();
    env.retain(|entry| entry.split('=').next() != Some(name));
    env.push(format!("{name}={value}"));
    process.set_env(Some(env));
}

/// Whether there is a terminal, and how large.
pub(super) fn set_terminal(process: &mut Process, console: Option<&Console>) {
    process.set_terminal(Some(console.is_some()));
    if let Some(Console::Here(rows, columns)) = console {
        let size = BoxBuilder::default().height(*rows).width(*columns).build();
        process.set_console_size(size.ok());
    }
}

/// What the specification calls the root.
pub(super) fn set_root(spec: &mut Spec, path: &Path) {
    let mut root = spec.root().clone().unwrap_or_default();
    root.set_path(path.to_owned());
    spec.set_root(Some(root));
}
