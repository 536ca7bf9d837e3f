//! A step of the child that failed: the text that the parent gets.

use std::fmt::Display;
use std::io;

use crate::words::Words;

/// What failed, on what, and why, in runc's words where callers match on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fail(pub(crate) String);

impl Fail {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Gives a failed call the step it belongs to.
pub(crate) trait Step<T> {
    /// `step` says what was done and on what: the error reads `step: why`.
    fn step<S: Display>(self, step: impl FnOnce() -> S) -> Result<T, Fail>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step<S: Display>(self, step: impl FnOnce() -> S) -> Result<T, Fail> {
        self.map_err(|error| Fail(format!("{}: {}", step(), Words(&error.into()))))
    }
}
