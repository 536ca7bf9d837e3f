//! Medians of interleaved rounds.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// Samples by operation and peer: milliseconds, or whatever else is counted.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<(String, String), Vec<f64>>);

impl Samples {
    pub(crate) fn add(&mut self, operation: &str, peer: &str, took: Duration) {
        self.add_value(operation, peer, took.as_secs_f64() * 1e3);
    }

    pub(crate) fn add_value(&mut self, operation: &str, peer: &str, value: f64) {
        self.0
            .entry((operation.to_owned(), peer.to_owned()))
            .or_default()
            .push(value);
    }

    /// The median; `None` when nothing was measured.
    pub(crate) fn median(&self, operation: &str, peer: &str) -> Option<f64> {
        let mut sorted = self.0.get(&(operation.to_owned(), peer.to_owned()))?.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

/// Runs a command to its successful end and says how long it took; its output is dropped.
pub(crate) fn time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let status = command
        .status()
        .map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    let took = begin.elapsed();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let mut samples = Samples::default();
        for millis in [5, 1, 9] {
            samples.add("run", "a", Duration::from_millis(millis));
        }
        assert_eq!(samples.median("run", "a"), Some(5.0));
        assert_eq!(samples.median("run", "b"), None);
    }
}
