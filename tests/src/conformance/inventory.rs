//! Every MUST of runtime-spec 1.3 that concerns Linux, by document. REQUIRED fields and what a field is said to do count too: `create` MUST apply them.

mod config;
mod features;
mod linux;
mod mounts;
mod resources;
mod runtime;
mod seccomp;

use super::must::Must;

/// The whole table, in the order of the documents.
pub fn all() -> Vec<Must> {
    let tables: [&[Must]; 7] = [
        runtime::MUSTS,
        config::MUSTS,
        mounts::MUSTS,
        linux::MUSTS,
        resources::MUSTS,
        seccomp::MUSTS,
        features::MUSTS,
    ];
    tables.concat()
}
