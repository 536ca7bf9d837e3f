//! Runs the table, and the lines of the answer.

use std::collections::BTreeMap;
use std::fmt;

use super::inventory;
use super::known::{self, Difference};
use super::must::{Check, Must, Proof, Verdict};
use super::subject::Subject;
use super::trial::{Stop, Trial};

/// The answer to one MUST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The runtime does it.
    Ok,
    /// It does not, and nobody said that it would not: what was seen.
    Failed(String),
    /// It does not, and [`known`] says why.
    Differs(&'static str),
    /// It does, although [`known`] says that it does not: the list has to be mended.
    Mended(&'static str),
    /// Not looked at in this place: why.
    Elsewhere(String),
    /// Never looked at: why.
    Untestable(&'static str),
}

impl Answer {
    /// Whether a run with this answer is one that has to be looked at.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Mended(_))
    }
}

/// One line.
#[derive(Debug)]
pub struct Line {
    /// The MUST's id.
    pub id: &'static str,
    /// What was found of it.
    pub answer: Answer,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, detail) = match &self.answer {
            Answer::Ok => ("ok", ""),
            Answer::Failed(seen) => ("FAILED", seen.as_str()),
            Answer::Differs(reason) => ("differs", *reason),
            Answer::Mended(reason) => ("MENDED", *reason),
            Answer::Elsewhere(reason) => ("elsewhere", reason.as_str()),
            Answer::Untestable(reason) => ("untested", *reason),
        };
        let detail = detail.replace('\n', "; ");
        write!(
            f,
            "{word:<9} {}{}{detail}",
            self.id,
            if detail.is_empty() { "" } else { "  " }
        )
    }
}

/// Looks at every MUST whose id or check's name contains `only`, and hands each line to `tell` as soon as it is known.
pub fn run(subject: &Subject, only: &str, mut tell: impl FnMut(&Line)) {
    let musts: Vec<Must> = inventory::all()
        .into_iter()
        .filter(|must| must.id.contains(only) || matches!(must.by, Proof::Check(check) if check.name.contains(only)))
        .collect();
    // One call a check, however many MUSTs it answers.
    let mut done: BTreeMap<&str, Found> = BTreeMap::new();
    for must in &musts {
        let answer = match must.by {
            Proof::Not(reason) => Answer::Untestable(reason),
            Proof::Check(check) => {
                let found = done.entry(check.name).or_insert_with(|| look(subject, check));
                judge(known::of(subject, must.id), found.of(must.id))
            }
        };
        tell(&Line { id: must.id, answer });
    }
}

/// What a check said.
struct Found {
    said: BTreeMap<String, Verdict>,
    rest: Verdict,
}

impl Found {
    fn of(&self, id: &str) -> Verdict {
        self.said.get(id).unwrap_or(&self.rest).clone()
    }
}

fn look(subject: &Subject, check: Check) -> Found {
    let mut trial = Trial {
        subject,
        found: BTreeMap::new(),
    };
    let rest = match (check.run)(&mut trial) {
        Ok(()) => Verdict::Fails(format!("{} said nothing of it", check.name)),
        Err(Stop(verdict)) => verdict,
    };
    Found {
        said: trial.found,
        rest,
    }
}

fn judge(known: Option<&'static Difference>, verdict: Verdict) -> Answer {
    match (verdict, known) {
        (Verdict::Holds, Some(known)) if !known.sometimes => Answer::Mended(known.reason),
        (Verdict::Holds, _) => Answer::Ok,
        (Verdict::Fails(_), Some(known)) => Answer::Differs(known.reason),
        (Verdict::Fails(seen), None) => Answer::Failed(seen),
        (Verdict::Elsewhere(reason), _) => Answer::Elsewhere(reason),
    }
}
