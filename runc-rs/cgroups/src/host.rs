//! What the host mounts where, and where this process stands in it.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The three shapes a host can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies with controllers, and a cgroup2 mount beside them.
    Hybrid,
    /// One cgroup2 hierarchy.
    V2,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The controllers bound together in it (`cpu`, `cpuacct`), or `name=systemd`; empty for cgroup2.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Which cgroup of the hierarchy is at the mountpoint: `/` unless this process itself lives in a container.
    pub root: PathBuf,
    /// The cgroup of this process in the hierarchy, as `/proc/self/cgroup` has it.
    pub own: PathBuf,
}

impl Hierarchy {
    /// The directory of the cgroup `path`: from the mountpoint when absolute, else from the cgroup of this process (from its parent
    /// when `above_own`, because on v2 a cgroup with processes cannot have children with controllers). As runc does it.
    fn directory(&self, path: &Path, above_own: bool) -> PathBuf {
        let clean = clean(path);
        if path.is_absolute() {
            return self.mountpoint.join(clean);
        }
        let own = self.own.strip_prefix(&self.root).unwrap_or(&self.own);
        let own = clean_relative(own);
        let base = if above_own {
            own.parent().unwrap_or(Path::new(""))
        } else {
            &own
        };
        self.mountpoint.join(base).join(clean)
    }
}

/// The cgroup hierarchies of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The v1 hierarchies, in the order of mountinfo.
    pub v1: Vec<Hierarchy>,
    /// The cgroup2 hierarchy.
    pub v2: Option<Hierarchy>,
    /// The controllers that cgroup2's root offers (`cgroup.controllers`).
    pub v2_controllers: Vec<String>,
}

impl Host {
    /// Reads the layout of this process's mount namespace.
    ///
    /// # Errors
    /// When `/proc` cannot be read, or no cgroup filesystem is mounted.
    pub fn detect() -> Result<Self> {
        let read = |path: &'static str| fs::read_to_string(path).map_err(Error::io("read", Path::new(path)));
        let mut host = Self::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)?;
        if let Some(v2) = &host.v2 {
            let file = v2.mountpoint.join("cgroup.controllers");
            let text = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
            host.v2_controllers = text.split_whitespace().map(str::to_owned).collect();
        }
        Ok(host)
    }

    /// The layout from the content of `/proc/self/mountinfo` and `/proc/self/cgroup`; `v2_controllers` is left empty.
    ///
    /// # Errors
    /// [`Error::NotMounted`].
    pub fn parse(mountinfo: &str, own: &str) -> Result<Self> {
        let mut host = Self {
            v1: Vec::new(),
            v2: None,
            v2_controllers: Vec::new(),
        };
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(root), Some(mountpoint), Some(fstype)) = (left.get(3), left.get(4), right.first()) else {
                continue;
            };
            let (root, mountpoint) = (unescape(root), unescape(mountpoint));
            match *fstype {
                "cgroup" => {
                    let options = right.get(2).copied().unwrap_or_default();
                    let controllers = v1_controllers(options);
                    // The first mount of a hierarchy counts; later ones are binds of it.
                    if !controllers.is_empty() && !host.v1.iter().any(|h| h.controllers == controllers) {
                        let own = own_cgroup(own, Some(&controllers));
                        host.v1.push(Hierarchy {
                            controllers,
                            mountpoint,
                            root,
                            own,
                        });
                    }
                }
                "cgroup2" if host.v2.is_none() => {
                    let own = own_cgroup(own, None);
                    host.v2 = Some(Hierarchy {
                        controllers: Vec::new(),
                        mountpoint,
                        root,
                        own,
                    });
                }
                _ => {}
            }
        }
        if host.v1.is_empty() && host.v2.is_none() {
            return Err(Error::NotMounted);
        }
        Ok(host)
    }

    /// Which shape the host has. A host where cgroup2 has all the controllers but a named v1 hierarchy (`name=systemd`) is
    /// mounted too counts as v2.
    pub fn mode(&self) -> Mode {
        let v1 = self
            .v1
            .iter()
            .any(|h| h.controllers.iter().any(|c| !c.starts_with("name=")));
        match (v1, &self.v2) {
            (true, Some(_)) => Mode::Hybrid,
            (false, Some(_)) => Mode::V2,
            _ => Mode::V1,
        }
    }

    /// The v1 hierarchy that has `controller` (`cpu`, `name=systemd`).
    pub fn v1_hierarchy(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1.iter().find(|h| h.controllers.iter().any(|c| c == controller))
    }

    /// The directories of the cgroup `path`: one `(controller, directory)` for each v1 controller, and `("", directory)` for
    /// cgroup2. Controllers that share a hierarchy share a directory.
    pub(crate) fn directories(&self, path: &Path) -> Vec<(String, PathBuf)> {
        let v2_only = self.mode() == Mode::V2;
        let mut directories = Vec::new();
        if !v2_only {
            for hierarchy in &self.v1 {
                let directory = hierarchy.directory(path, false);
                directories.extend(hierarchy.controllers.iter().map(|c| (c.clone(), directory.clone())));
            }
        }
        if let Some(v2) = &self.v2 {
            directories.push((String::new(), v2.directory(path, v2_only)));
        }
        directories
    }
}

/// The cgroup2 directory that a process is in.
///
/// # Errors
/// As [`Host::detect`]; a process that is gone; [`Error::NotMounted`] on a host without cgroup2.
pub fn unified_of(pid: i32) -> Result<PathBuf> {
    let file = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let own = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
    let mountinfo = Path::new("/proc/self/mountinfo");
    let mountinfo = fs::read_to_string(mountinfo).map_err(Error::io("read", mountinfo))?;
    let host = Host::parse(&mountinfo, &own)?;
    let v2 = host.v2.ok_or(Error::NotMounted)?;
    let own = v2.own.strip_prefix(&v2.root).unwrap_or(&v2.own);
    Ok(v2.mountpoint.join(clean_relative(own)))
}

/// The cgroup of a container: `linux.cgroupsPath` of its config, or, when that is absent or empty, its id (relative, so below
/// the cgroup of the runtime itself), as runc's cgroupfs driver has it.
pub fn container_path(cgroups_path: Option<&Path>, id: &str) -> PathBuf {
    match cgroups_path {
        Some(path) if !path.as_os_str().is_empty() => {
            let cleaned = clean(path);
            if path.is_absolute() {
                Path::new("/").join(cleaned)
            } else {
                cleaned
            }
        }
        _ => PathBuf::from(id),
    }
}

/// The path without `.`, `..` and doubled slashes, relative; `..` never climbs above the top.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

fn clean_relative(path: &Path) -> PathBuf {
    clean(path)
}

/// Superblock options that are no controllers.
fn v1_controllers(options: &str) -> Vec<String> {
    const FLAGS: [&str; 8] = [
        "rw",
        "ro",
        "none",
        "xattr",
        "clone_children",
        "noprefix",
        "cpuset_v2_mode",
        "favordynmods",
    ];
    options
        .split(',')
        .filter(|o| !FLAGS.contains(o) && !o.starts_with("release_agent=") && !o.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The cgroup of this process from `/proc/self/cgroup`: `id:controllers:path`, id 0 and no controllers for cgroup2.
fn own_cgroup(text: &str, controllers: Option<&[String]>) -> PathBuf {
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let hit = match controllers {
            Some(wanted) => names.split(',').any(|n| wanted.iter().any(|w| w == n)),
            None => id == "0" && names.is_empty(),
        };
        if hit {
            return PathBuf::from(path);
        }
    }
    PathBuf::from("/")
}

/// Undoes mountinfo's octal escapes (`\040`).
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let octal = (bytes[i] == b'\\').then(|| bytes.get(i + 1..i + 4)).flatten();
        let value = octal
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        match value {
            Some(byte) => {
                out.push(byte);
                i += 4;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    use std::os::unix::ffi::OsStringExt;
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";
    const OWN: &str = "4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/user/scope\n";

    #[test]
    fn a_hybrid_host_is_read_from_mountinfo() {
        let host = Host::parse(HYBRID, OWN).unwrap();
        assert_eq!(host.mode(), Mode::Hybrid);
        assert_eq!(host.v1.len(), 3);
        assert_eq!(
            host.v1_hierarchy("cpuacct").unwrap().mountpoint,
            Path::new("/sys/fs/cgroup/cpu,cpuacct")
        );
        assert_eq!(host.v1_hierarchy("memory").unwrap().own, Path::new("/a/b"));
        assert_eq!(host.v1_hierarchy("name=systemd").unwrap().controllers, ["name=systemd"]);
    }

    #[test]
    fn absolute_paths_start_at_the_mount_and_relative_ones_at_the_own_cgroup() {
        let host = Host::parse(HYBRID, OWN).unwrap();
        let of = |path: &str, controller: &str| {
            let all = host.directories(Path::new(path));
            all.into_iter().find(|(c, _)| c == controller).unwrap().1
        };
        assert_eq!(of("/docker/x", "memory"), Path::new("/sys/fs/cgroup/memory/docker/x"));
        assert_eq!(of("x", "memory"), Path::new("/sys/fs/cgroup/memory/a/b/x"));
        assert_eq!(of("x", ""), Path::new("/sys/fs/cgroup/unified/user/scope/x"));
        assert_eq!(of("/../../etc", "cpu"), Path::new("/sys/fs/cgroup/cpu,cpuacct/etc"));
    }

    #[test]
    fn on_v2_a_relative_path_is_a_sibling_of_the_own_cgroup() {
        let host = Host::parse("1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/user/scope\n").unwrap();
        assert_eq!(host.mode(), Mode::V2);
        assert_eq!(
            host.directories(Path::new("x")),
            [(String::new(), PathBuf::from("/sys/fs/cgroup/user/x"))]
        );
    }

    #[test]
    fn within_a_container_the_own_cgroup_is_taken_relative_to_the_mount_root() {
        let host = Host::parse(
            "1 0 0:1 /docker/c /cg rw - cgroup cgroup rw,pids\n",
            "3:pids:/docker/c/sub\n",
        )
        .unwrap();
        assert_eq!(host.directories(Path::new("x"))[0].1, Path::new("/cg/sub/x"));
    }

    #[test]
    fn an_empty_cgroups_path_means_the_id() {
        assert_eq!(container_path(None, "c1"), Path::new("c1"));
        assert_eq!(container_path(Some(Path::new("")), "c1"), Path::new("c1"));
        assert_eq!(container_path(Some(Path::new("/a//b/../c")), "c1"), Path::new("/a/c"));
        assert_eq!(container_path(Some(Path::new("../../a")), "c1"), Path::new("a"));
    }

    #[test]
    fn no_cgroup_mount_is_an_error() {
        assert!(matches!(Host::parse("", ""), Err(Error::NotMounted)));
        assert!(matches!(Host::parse("x - cgroup\n - \n", ""), Err(Error::NotMounted)));
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape(r"/a\040b\134"), Path::new(r"/a b\"));
        assert_eq!(unescape(r"/a\04"), Path::new(r"/a\04"));
    }
}
