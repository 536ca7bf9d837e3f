//! How a pull is drawn: one bar a layer on a terminal, one line a step elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal as _;

use bollard::models::ProgressDetail;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::images::To;

/// The drawing of one pull.
pub(crate) struct Progress {
    to: To,
    bars: Option<MultiProgress>,
    layers: HashMap<String, ProgressBar>,
}

impl Progress {
    pub(crate) fn new(to: To) -> Self {
        let target = match to {
            To::Stdout if std::io::stdout().is_terminal() => Some(ProgressDrawTarget::stdout()),
            To::Stderr if std::io::stderr().is_terminal() => Some(ProgressDrawTarget::stderr()),
            _ => None,
        };
        Self {
            to,
            bars: target.map(MultiProgress::with_draw_target),
            layers: HashMap::new(),
        }
    }

    /// One message of the engine's stream: about a layer when it has an id, else about the pull.
    pub(crate) fn update(&mut self, id: Option<&str>, status: Option<&str>, detail: Option<&ProgressDetail>) {
        let status = status.unwrap_or_default();
        match (&self.bars, id) {
            (Some(bars), Some(id)) if !status.starts_with("Pulling from") => {
                let bar = self
                    .layers
                    .entry(id.to_owned())
                    .or_insert_with(|| bars.add(new_bar(id)));
                draw(bar, status, detail);
            }
            // Without a terminal, the many steps of a bar are one line when they begin, and no more.
            (None, Some(_)) if detail.is_some_and(|detail| detail.current.is_some()) => {}
            (_, Some(id)) => self.line(&format!("{id}: {status}")),
            (_, None) => self.line(status),
        }
    }

    fn line(&self, text: &str) {
        match (&self.bars, self.to) {
            // An error of the terminal leaves nothing to tell it on.
            (Some(bars), _) => drop(bars.println(text)),
            (None, To::Stdout) => println!("{text}"),
            (None, To::Stderr) => eprintln!("{text}"),
            (None, To::Nowhere) => {}
        }
    }
}

fn new_bar(id: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_style(plain()).with_prefix(id.to_owned());
    bar.tick();
    bar
}

fn draw(bar: &ProgressBar, status: &str, detail: Option<&ProgressDetail>) {
    bar.set_message(status.to_owned());
    let current = detail.and_then(|detail| u64::try_from(detail.current?).ok());
    let total = detail
        .and_then(|detail| u64::try_from(detail.total?).ok())
        .filter(|total| *total > 0);
    match (current, total) {
        (Some(current), Some(total)) => {
            bar.set_style(measured());
            bar.set_length(total);
            bar.set_position(current);
        }
        _ => bar.set_style(plain()),
    }
    if matches!(status, "Pull complete" | "Already exists") {
        bar.abandon();
    }
}

fn plain() -> ProgressStyle {
    ProgressStyle::with_template("{prefix}: {msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn measured() -> ProgressStyle {
    let style = ProgressStyle::with_template("{prefix}: {msg:11} [{bar:40}] {bytes}/{total_bytes}");
    style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
