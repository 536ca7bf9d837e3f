//! Units and slices: from `linux.cgroupsPath` to a unit's name, from a slice's name to its place in the tree.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manager::Scope;
use crate::error::{Error, Result};

/// A container's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    /// `PREFIX-NAME.scope`, or a slice's name.
    pub name: String,
    /// The slice it lies in; empty for the manager's default.
    pub slice: String,
    /// What it is called in its description.
    pub title: String,
    /// Whose unit it is.
    pub scope: Scope,
}

impl Unit {
    /// The unit of `linux.cgroupsPath`, which with this driver is `SLICE:PREFIX:NAME`; without one it is `runc-ID.scope` in the
    /// default slice. A name that ends in `.slice` is a slice of its own, without the prefix. As runc has it.
    ///
    /// # Errors
    /// [`Error::SystemdPath`] for another form, [`Error::SliceName`].
    pub fn new(cgroups_path: Option<&Path>, id: &str, scope: Scope) -> Result<Self> {
        let path = cgroups_path.map(Path::to_string_lossy).unwrap_or_default();
        let (slice, prefix, title) = if path.is_empty() {
            ("", "runc", id)
        } else {
            let parts: Vec<&str> = path.split(':').collect();
            let [slice, prefix, name] = parts.as_slice() else {
                return Err(Error::SystemdPath(path.into_owned()));
            };
            (*slice, *prefix, *name)
        };
        let name = if title.ends_with(".slice") {
            title.to_owned()
        } else {
            format!("{prefix}-{title}.scope")
        };
        // systemd refuses these itself; we make a path of it first.
        if name.contains('/') || title.is_empty() {
            return Err(Error::SystemdPath(path.into_owned()));
        }
        if !slice.is_empty() {
            expand_slice(slice)?;
        }
        Ok(Self {
            name,
            slice: slice.to_owned(),
            title: title.to_owned(),
            scope,
        })
    }

    /// Whether it is a slice, which has no processes of its own.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// The slice it lies in, by name.
    pub fn parent(&self) -> &str {
        match (self.slice.as_str(), self.scope) {
            ("", Scope::System) => "system.slice",
            ("", Scope::User) => "user.slice",
            (slice, _) => slice,
        }
    }

    /// The unit's cgroup, from the top of the manager's own tree; relative.
    ///
    /// # Errors
    /// [`Error::SliceName`].
    pub fn path(&self) -> Result<PathBuf> {
        // runc takes the default slice as it is: neither has a dash.
        Ok(expand_slice(self.parent())?.join(&self.name))
    }
}

/// Where a slice lies: a dash in its name stands for a level of the tree (systemd.slice(5)), so `a-b.slice` is `a.slice/a-b.slice`
/// and `-.slice` is the top. Relative.
///
/// # Errors
/// [`Error::SliceName`]: no `.slice` at the end, a slash, an empty part between dashes.
pub fn expand_slice(slice: &str) -> Result<PathBuf> {
    let invalid = || Error::SliceName(slice.to_owned());
    let name = slice.strip_suffix(".slice").ok_or_else(invalid)?;
    if slice.contains('/') {
        return Err(invalid());
    }
    let mut path = PathBuf::new();
    if name == "-" {
        return Ok(path);
    }
    for (end, _) in name.match_indices('-').chain([(name.len(), "")]) {
        let prefix = name.get(..end).unwrap_or_default();
        if prefix.is_empty() || prefix.ends_with('-') {
            return Err(invalid());
        }
        path.push(format!("{prefix}.slice"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_expand_as_systemd_nests_them() {
        let path = |slice| expand_slice(slice).unwrap();
        assert_eq!(path("-.slice"), Path::new(""));
        assert_eq!(path("system.slice"), Path::new("system.slice"));
        assert_eq!(path("a-b-c.slice"), Path::new("a.slice/a-b.slice/a-b-c.slice"));
        for wrong in [
            "",
            ".slice",
            "a",
            "a/b.slice",
            "-a.slice",
            "a-.slice",
            "a--b.slice",
            "a.scope",
        ] {
            assert!(matches!(expand_slice(wrong), Err(Error::SliceName(_))), "{wrong}");
        }
    }

    #[test]
    fn the_cgroups_path_has_three_parts() {
        let unit = |path: Option<&str>| Unit::new(path.map(Path::new), "c1", Scope::System);
        let plain = unit(None).unwrap();
        assert_eq!((plain.name.as_str(), plain.parent()), ("runc-c1.scope", "system.slice"));
        let docker = unit(Some("a-b.slice:docker:0123")).unwrap();
        assert_eq!(docker.path().unwrap(), Path::new("a.slice/a-b.slice/docker-0123.scope"));
        let pod = unit(Some("kubepods.slice::kubepods-x.slice")).unwrap();
        assert_eq!(pod.path().unwrap(), Path::new("kubepods.slice/kubepods-x.slice"));
        assert!(pod.is_slice());
        let user = Unit::new(Some(Path::new(":libpod:c1")), "c1", Scope::User).unwrap();
        assert_eq!(user.path().unwrap(), Path::new("user.slice/libpod-c1.scope"));
        for wrong in [
            "/a/b",
            "a:b",
            "a:b:c:d",
            "system.slice:a/..:b",
            "system.slice:x:",
            "nothing:x:y",
        ] {
            assert!(unit(Some(wrong)).is_err(), "{wrong}");
        }
        let text = unit(Some("/a/b")).unwrap_err().to_string();
        assert_eq!(
            text,
            r#"expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/a/b" instead"#
        );
    }

    #[test]
    fn no_slice_climbs() {
        proptest::proptest!(|(name in "[a-z./-]{0,12}(\\.slice)?")| {
            if let Ok(path) = expand_slice(&name) {
                assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))), "{path:?}");
            }
        });
    }
}
