//! Names within an archive. They are keys of a map and nothing else; still, one that leads out is refused, since nobody
//! means well with it.

use crate::error::{Error, Result};

/// Brings a member's name to one form: `./a//b/` is `a/b`.
///
/// # Errors
/// For absolute names and names with `..`.
pub(crate) fn member_name(raw: &str) -> Result<String> {
    let bad = || {
        Error::internal(format!(
            "invalid archive member {raw:?}: path is outside of the archive"
        ))
    };
    if raw.starts_with('/') {
        return Err(bad());
    }
    let mut parts = Vec::new();
    for part in raw.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(bad()),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// What a link in the directory of `member` points to: `a/layer.tar` and `../b/layer.tar` make `b/layer.tar`.
///
/// # Errors
/// For links that lead out of the archive.
pub(crate) fn sibling(member: &str, target: &str) -> Result<String> {
    let bad = || {
        Error::internal(format!(
            "invalid archive member {member:?}: link to {target:?} leads out of the archive"
        ))
    };
    if target.starts_with('/') {
        return Err(bad());
    }
    let mut parts: Vec<&str> = member.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(bad)?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_are_refused() {
        assert_eq!(member_name("./a//b/").unwrap(), "a/b");
        for bad in ["/etc/passwd", "../x", "a/../../x", "a/.."] {
            assert!(member_name(bad).is_err(), "{bad}");
        }
        assert_eq!(sibling("a/layer.tar", "../b/layer.tar").unwrap(), "b/layer.tar");
        for bad in ["/etc/shadow", "../../x", "../a/../../x"] {
            assert!(sibling("a/layer.tar", bad).is_err(), "{bad}");
        }
    }
}
