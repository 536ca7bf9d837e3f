//! The known ways out of a container, each tried against the real program. Named after what they were found as; what is asserted
//! is always that nothing outside the root filesystem changed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod paths;
mod privileges;
mod procfs;
mod users;

use std::fs;
use std::path::Path;

use common::Bundle;

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

/// A host directory that the image knows and must not reach.
fn outside(bundle: &Bundle) -> std::path::PathBuf {
    let outside = bundle.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    outside
}

/// How often a race is run: `HOSTILE_RUNS`, or 100.
fn runs() -> usize {
    std::env::var("HOSTILE_RUNS").map_or(100, |runs| runs.parse().unwrap())
}
