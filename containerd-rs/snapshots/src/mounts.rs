//! What mounts are made of: a plan of where files are, without mounting.

use std::path::PathBuf;

use containerd_rs_core::{Error, Mount, Result};

/// Directories behind mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dirs {
    /// One directory as it is.
    Plain {
        /// The directory.
        dir: PathBuf,
        /// Whether it may be written to.
        writable: bool,
    },
    /// An overlay.
    Overlay {
        /// The directory that gets the changes, if any.
        upper: Option<PathBuf>,
        /// The others, the uppermost first.
        lower: Vec<PathBuf>,
        /// Whether overlayfs keeps its marks in `user.` attributes.
        userxattr: bool,
    },
}

/// Reads mounts as the API has them.
///
/// # Errors
/// `Unimplemented` for other mounts than one bind mount or one overlay of the root.
pub(crate) fn dirs(mounts: &[Mount]) -> Result<Dirs> {
    let [mount] = mounts else {
        return Err(Error::Unimplemented(format!("layers on {} mounts", mounts.len())));
    };
    if !mount.target.is_empty() {
        return Err(Error::Unimplemented(format!("layers on a mount at {:?}", mount.target)));
    }
    match mount.kind.as_str() {
        "bind" | "rbind" => {
            let writable = !mount.options.iter().any(|option| option == "ro");
            Ok(Dirs::Plain {
                dir: PathBuf::from(&mount.source),
                writable,
            })
        }
        "overlay" => Ok(overlay(mount)),
        other => Err(Error::Unimplemented(format!("layers on a mount of type {other:?}"))),
    }
}

fn overlay(mount: &Mount) -> Dirs {
    let value = |key: &str| {
        let mut values = mount
            .options
            .iter()
            .filter_map(|option| option.strip_prefix(key)?.strip_prefix('='));
        values.next_back()
    };
    Dirs::Overlay {
        upper: value("upperdir").map(|path| PathBuf::from(unescape(path))),
        lower: value("lowerdir").map(split).unwrap_or_default(),
        userxattr: mount.options.iter().any(|option| option == "userxattr"),
    }
}

/// Splits a list of lower directories at colons that no backslash stands before.
fn split(list: &str) -> Vec<PathBuf> {
    let mut found = vec![String::new()];
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        match c {
            ':' => found.push(String::new()),
            c => {
                let c = if c == '\\' { chars.next().unwrap_or(c) } else { c };
                if let Some(last) = found.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    found
        .into_iter()
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect()
}

fn unescape(path: &str) -> String {
    path.replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Mount {
            kind: kind.into(),
            source: "/src".into(),
            target: String::new(),
            options,
        }
    }

    #[test]
    fn mounts_tell_their_directories() {
        assert_eq!(
            dirs(&[mount("bind", &["rw", "rbind"])]).unwrap(),
            Dirs::Plain {
                dir: "/src".into(),
                writable: true
            }
        );
        let overlay = mount(
            "overlay",
            &["index=off", "workdir=/w", "upperdir=/u", r"lowerdir=/a\:b:/c"],
        );
        assert_eq!(
            dirs(&[overlay]).unwrap(),
            Dirs::Overlay {
                upper: Some("/u".into()),
                lower: vec!["/a:b".into(), "/c".into()],
                userxattr: false
            }
        );
        assert!(dirs(&[]).is_err() && dirs(&[mount("erofs", &[])]).is_err());
    }
}
