//! The report: one table a part, ratios against the first peer.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::measure::Samples;
use crate::Result;
use crate::command::output;

/// Markdown under way.
#[derive(Debug)]
pub(crate) struct Report(String);

impl Report {
    pub(crate) fn new() -> Self {
        let kernel = output(Command::new("uname").arg("-r")).unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let mut text = String::from("# Benchmarks\n\n");
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "Our release programs against the real ones, interleaved in one run: medians, and in brackets how many times as long (or as much) as ours.\n\
             Only the ratios mean something; machines differ, and are noisy. Reproduce with `cargo xtask bench`.\n\n\
             Kernel {}, {cpus} CPUs.",
            kernel.trim()
        );
        Self(text)
    }

    pub(crate) fn section(&mut self, title: &str, about: &str) {
        eprintln!("xtask: {title}");
        let _ = write!(self.0, "\n## {title}\n\n{about}\n\n");
    }

    /// A table of medians: operations down, peers across; the first peer is ours.
    pub(crate) fn table(&mut self, unit: &str, operations: &[&str], peers: &[String], samples: &Samples) {
        let rows = operations.iter().map(|operation| {
            let values = peers.iter().map(|peer| samples.median(operation, peer)).collect();
            ((*operation).to_owned(), values)
        });
        self.values(unit, peers, &rows.collect::<Vec<_>>());
    }

    /// A table of values; the first column is ours.
    pub(crate) fn values(&mut self, unit: &str, peers: &[String], rows: &[(String, Vec<Option<f64>>)]) {
        let _ = writeln!(self.0, "| {unit} | {} |", peers.join(" | "));
        let _ = writeln!(self.0, "|---|{}", "---|".repeat(peers.len()));
        for (name, values) in rows {
            let ours = values.first().copied().flatten();
            let cells = values
                .iter()
                .enumerate()
                .map(|(column, value)| cell(*value, ours.filter(|_| column > 0)));
            let _ = writeln!(self.0, "| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }

    pub(crate) fn line(&mut self, text: &str) {
        let _ = writeln!(self.0, "{text}");
    }

    pub(crate) fn write(&self, to: &Path) -> Result<()> {
        if to == Path::new("-") {
            print!("{}", self.0);
            return Ok(());
        }
        std::fs::write(to, &self.0).map_err(|e| format!("{}: {e}", to.display()).into())
    }
}

fn cell(value: Option<f64>, ours: Option<f64>) -> String {
    match (value, ours) {
        (None, _) => "–".to_owned(),
        (Some(value), Some(ours)) if ours > 0.0 => format!("{value:.2} ({:.2}×)", value / ours),
        (Some(value), _) => format!("{value:.2}"),
    }
}
