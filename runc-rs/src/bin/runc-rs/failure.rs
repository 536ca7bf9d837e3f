//! A failed command.

use std::io;
use std::path::Path;

use runc_rs::Error;

/// What to say, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl Failure {
    /// With exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 1,
        }
    }

    /// `action path: why`, in the words of a system error.
    pub(crate) fn on(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        Error::File { action, path, source }.into()
    }

    /// A file that is no JSON of its kind; one that is cut off in Go's words.
    pub(crate) fn json(path: &Path, error: &serde_json::Error) -> Self {
        if error.is_eof() {
            return Self::new("unexpected EOF");
        }
        Self::new(format!("{}: {error}", path.display()))
    }

    /// With words before the message.
    pub(crate) fn within(self, words: &str) -> Self {
        Self {
            message: format!("{words}: {}", self.message),
            ..self
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}
