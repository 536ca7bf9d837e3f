//! What a checking function says its findings to.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::bundle::{Bundle, Said};
use super::must::Verdict;
use super::subject::Subject;

/// Why a checking function ended early. What it had not said by then gets this verdict.
#[derive(Debug)]
pub struct Stop(pub Verdict);

/// What a checking function returns.
pub type Done = Result<(), Stop>;

impl From<String> for Stop {
    fn from(seen: String) -> Self {
        Self(Verdict::Fails(seen))
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self(Verdict::Fails(format!("the suite's own step failed: {error}")))
    }
}

/// Ends a check that can't be made in this place.
///
/// # Errors
/// Always: for use with `?`.
pub fn elsewhere<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop(Verdict::Elsewhere(reason.into())))
}

/// One call of a checking function.
pub struct Trial<'a> {
    /// The runtime, and the place.
    pub subject: &'a Subject,
    /// What was said so far, by the ids of the MUSTs.
    pub found: BTreeMap<String, Verdict>,
}

impl<'a> Trial<'a> {
    /// A bundle with the configuration that the place allows for.
    ///
    /// # Panics
    /// When the bundle's files can't be made.
    pub fn bundle(&self) -> Bundle<'a> {
        Bundle::new(self.subject)
    }

    /// Says of a MUST whether it `holds`, and what was seen. Said twice, the first failure stays.
    pub fn must(&mut self, id: impl Into<String>, holds: bool, seen: impl Debug) {
        let verdict = if holds {
            Verdict::Holds
        } else {
            Verdict::Fails(format!("{seen:?}"))
        };
        self.say(id, verdict);
    }

    /// As [`Trial::must`], of two values that have to be the same.
    pub fn same<A: Debug + PartialEq<B>, B: Debug>(&mut self, id: impl Into<String>, seen: A, wanted: B) {
        let holds = seen == wanted;
        self.must(id, holds, format_args!("{seen:?}, not {wanted:?}"));
    }

    /// Says that an operation was refused as it has to be.
    pub fn refused(&mut self, id: impl Into<String>, said: &Said) {
        self.must(id, said.refused(), format_args!("not refused: {said:?}"));
    }

    /// Says that a MUST can't be looked at in this place.
    pub fn elsewhere(&mut self, id: impl Into<String>, reason: &str) {
        self.say(id, Verdict::Elsewhere(reason.to_owned()));
    }

    fn say(&mut self, id: impl Into<String>, verdict: Verdict) {
        let place = self.found.entry(id.into()).or_insert(Verdict::Holds);
        if *place == Verdict::Holds {
            *place = verdict;
        }
    }
}
