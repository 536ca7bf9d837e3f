//! The commands, each in a file of its own with its row of the grammar; the simplest ones share [`simple`].

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod migration;
mod mounts;
mod process;
mod ps;
mod restore;
mod run;
mod simple;
mod spec;
mod start_options;
mod stats;
mod update;

use crate::grammar::Command;

/// All commands, in the order of the help.
pub(crate) const COMMANDS: &[Command] = &[
    checkpoint::COMMAND,
    create::COMMAND,
    delete::COMMAND,
    events::COMMAND,
    exec::COMMAND,
    kill::COMMAND,
    list::COMMAND,
    mounts::COMMAND,
    simple::PAUSE,
    ps::COMMAND,
    restore::COMMAND,
    simple::RESUME,
    run::COMMAND,
    spec::COMMAND,
    simple::START,
    simple::STATE,
    update::COMMAND,
    features::COMMAND,
];
