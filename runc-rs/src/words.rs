//! System errors in the words that runc's callers know: lower case, without Rust's error number.

use std::fmt;
use std::io;

/// Displays an error as Go does: `no such file or directory`.
pub(crate) struct Words<'a>(pub(crate) &'a io::Error);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = match (self.0.raw_os_error(), text.rfind(" (os error ")) {
            (Some(_), Some(end)) => text.get(..end).unwrap_or(&text),
            _ => &text,
        };
        let mut characters = text.chars();
        if let Some(first) = characters.next() {
            write!(f, "{}", first.to_lowercase())?;
        }
        f.write_str(characters.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_go_writes_them() {
        let text = |code| Words(&io::Error::from_raw_os_error(code)).to_string();
        assert_eq!(text(libc::ENOENT), "no such file or directory");
        assert_eq!(text(libc::EACCES), "permission denied");
        assert_eq!(text(libc::EPERM), "operation not permitted");
        assert_eq!(text(libc::ENOTDIR), "not a directory");
    }
}
