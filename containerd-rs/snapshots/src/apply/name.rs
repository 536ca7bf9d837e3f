//! Names of members: cleaned, and kept inside.

use containerd_rs_core::{Error, Result};

/// Where a member is: the directory, beneath the root and without `.` and `..`, and the name in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    /// Components of the parent with `/` between them; empty: the root itself.
    pub(crate) parent: Vec<u8>,
    /// One component.
    pub(crate) name: &'a [u8],
}

/// Cleans a name as Go's `filepath.Clean` does. A leading slash is the root's. `None`: it is the root itself.
///
/// # Errors
/// `InvalidArgument` when it leads out of the root.
pub(crate) fn place(path: &[u8]) -> Result<Option<Place<'_>>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return Err(outside(path));
                }
            }
            part if part.contains(&0) || part.len() > 255 => return Err(outside(path)),
            part => parts.push(part),
        }
    }
    let Some(name) = parts.pop() else { return Ok(None) };
    Ok(Some(Place {
        parent: parts.join(&b'/'),
        name,
    }))
}

/// The whole path of a place.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}

fn outside(path: &[u8]) -> Error {
    Error::InvalidArgument(format!(
        "\"{}\" is outside of the root: invalid archive",
        path.escape_ascii()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(path: &str) -> Option<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        place(path.as_bytes())
            .unwrap()
            .map(|place| (text(&place.parent), text(place.name)))
    }

    #[test]
    fn names_are_cleaned() {
        for path in ["a/b/c", "/a/b/c", "./a//b/./c/", "a/x/../b/c", "//a/b/c"] {
            assert_eq!(cleaned(path), Some(("a/b".into(), "c".into())), "{path}");
        }
        assert_eq!(cleaned("c"), Some((String::new(), "c".into())));
        for path in ["", ".", "/", "./", "a/.."] {
            assert_eq!(cleaned(path), None, "{path}");
        }
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for path in ["..", "../a", "a/../../b", "/..", "a\0b"] {
            assert!(place(path.as_bytes()).is_err(), "{path}");
        }
        assert!(place(&[b'x'; 256]).is_err());
    }
}
