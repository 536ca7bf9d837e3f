//! `cargo xtask bench`.
use crate::Result;
use clap::Args;
/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {}
/// Measures.
///
/// # Errors
/// None yet.
pub(crate) fn run(_options: &Options) -> Result<()> {
    Err("not written yet".into())
}
