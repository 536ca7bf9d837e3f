//! Mount options of `config.json` to attributes, propagation and filesystem data (runtime-spec, "Linux mount options").

use crate::sys::mounts as sys;

/// Attribute bits to set and to clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AttrChange {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl AttrChange {
    pub(crate) fn add(&mut self, set: u64, clear: u64) {
        self.set = (self.set & !clear) | set;
        self.clear = (self.clear & !set) | clear;
    }

    /// What to hand to the kernel: a change of the access-time mode clears the whole mode first.
    pub(crate) fn normalized(self) -> Self {
        let mut clear = self.clear;
        if (self.set | clear) & sys::ATTR_ATIME != 0 {
            clear |= sys::ATTR_ATIME;
        }
        Self { set: self.set, clear }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// The options of one mount, sorted by what they act on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// Attributes of the mount itself.
    pub(crate) attr: AttrChange,
    /// Attributes of the mount and everything beneath it (`rro`, `rnosuid`...).
    pub(crate) recursive_attr: AttrChange,
    /// Propagation changes in order: flag and whether it is recursive.
    pub(crate) propagation: Vec<(u64, bool)>,
    /// `bind` (`Some(false)`) or `rbind` (`Some(true)`).
    pub(crate) bind: Option<bool>,
    /// `remount` was given.
    pub(crate) remount: bool,
    /// Flags of the filesystem, not of the mount: `sync`, `dirsync`, `lazytime`, `mand`.
    pub(crate) superblock: Vec<&'static str>,
    /// Copy what the image has at the destination into the tmpfs.
    pub(crate) copy_up: bool,
    /// crun's: a source that is a symbolic link is made anew at the destination.
    pub(crate) copy_symlink: bool,
    /// crun's: a source that is a symbolic link is bound itself.
    pub(crate) source_nofollow: bool,
    /// crun's: a destination that is a symbolic link is covered itself.
    pub(crate) destination_nofollow: bool,
    /// `idmap` (`Some(false)`) or `ridmap` (`Some(true)`).
    pub(crate) idmap: Option<bool>,
    /// Behind `idmap=` or `ridmap=`: mappings in crun's notation.
    pub(crate) idmap_lists: Option<String>,
    /// What only the filesystem understands: `mode=755`, `newinstance`...
    pub(crate) data: Vec<String>,
}

/// What an option does.
#[derive(Clone, Copy)]
enum Effect {
    Attr(u64, u64),
    Superblock(&'static str),
    /// Takes back a flag of the filesystem that an earlier option set.
    NoSuperblock(&'static str),
    Nothing,
    Propagation(u64),
    Bind(bool),
    Remount,
    CopyUp,
    CopySymlink,
    SourceNofollow,
    DestinationNofollow,
    Idmap(bool),
}

const MS_SHARED: u64 = libc::MS_SHARED;
const MS_SLAVE: u64 = libc::MS_SLAVE;
const MS_PRIVATE: u64 = libc::MS_PRIVATE;
const MS_UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// Options that act on attributes, each with what it sets and clears; all have a recursive twin with `r` before the name.
const ATTRIBUTES: [(&str, u64, u64); 18] = [
    ("ro", sys::ATTR_RDONLY, 0),
    ("rw", 0, sys::ATTR_RDONLY),
    ("nosuid", sys::ATTR_NOSUID, 0),
    ("suid", 0, sys::ATTR_NOSUID),
    ("nodev", sys::ATTR_NODEV, 0),
    ("dev", 0, sys::ATTR_NODEV),
    ("noexec", sys::ATTR_NOEXEC, 0),
    ("exec", 0, sys::ATTR_NOEXEC),
    ("nodiratime", sys::ATTR_NODIRATIME, 0),
    ("diratime", 0, sys::ATTR_NODIRATIME),
    ("noatime", sys::ATTR_NOATIME, sys::ATTR_STRICTATIME),
    ("strictatime", sys::ATTR_STRICTATIME, sys::ATTR_NOATIME),
    ("relatime", 0, sys::ATTR_ATIME),
    ("atime", 0, sys::ATTR_ATIME),
    ("norelatime", 0, sys::ATTR_ATIME),
    ("nostrictatime", 0, sys::ATTR_ATIME),
    ("nosymfollow", sys::ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, sys::ATTR_NOSYMFOLLOW),
];

/// All other options.
const EFFECTS: [(&str, Effect); 29] = [
    ("sync", Effect::Superblock("sync")),
    ("dirsync", Effect::Superblock("dirsync")),
    ("lazytime", Effect::Superblock("lazytime")),
    ("mand", Effect::Superblock("mand")),
    ("defaults", Effect::Nothing),
    ("async", Effect::NoSuperblock("sync")),
    ("nolazytime", Effect::NoSuperblock("lazytime")),
    ("nomand", Effect::NoSuperblock("mand")),
    ("silent", Effect::Nothing),
    ("loud", Effect::Nothing),
    ("iversion", Effect::Nothing),
    ("noiversion", Effect::Nothing),
    ("bind", Effect::Bind(false)),
    ("rbind", Effect::Bind(true)),
    ("remount", Effect::Remount),
    ("shared", Effect::Propagation(MS_SHARED)),
    ("rshared", Effect::Propagation(MS_SHARED)),
    ("slave", Effect::Propagation(MS_SLAVE)),
    ("rslave", Effect::Propagation(MS_SLAVE)),
    ("private", Effect::Propagation(MS_PRIVATE)),
    ("rprivate", Effect::Propagation(MS_PRIVATE)),
    ("unbindable", Effect::Propagation(MS_UNBINDABLE)),
    ("runbindable", Effect::Propagation(MS_UNBINDABLE)),
    ("tmpcopyup", Effect::CopyUp),
    ("copy-symlink", Effect::CopySymlink),
    ("src-nofollow", Effect::SourceNofollow),
    ("dest-nofollow", Effect::DestinationNofollow),
    ("idmap", Effect::Idmap(false)),
    ("ridmap", Effect::Idmap(true)),
];

fn attribute(name: &str) -> Option<(u64, u64)> {
    let found = ATTRIBUTES.iter().find(|(own, _, _)| *own == name);
    found.map(|(_, set, clear)| (*set, *clear))
}

fn effect(option: &str) -> Option<Effect> {
    if let Some((set, clear)) = attribute(option) {
        return Some(Effect::Attr(set, clear));
    }
    let found = EFFECTS.iter().find(|(own, _)| *own == option);
    found.map(|(_, effect)| *effect)
}

/// The names of all options that are not handed to the filesystem as data, sorted.
pub(crate) fn known() -> Vec<String> {
    let attributes = ATTRIBUTES
        .iter()
        .flat_map(|(name, _, _)| [(*name).to_owned(), format!("r{name}")]);
    let mut names: Vec<String> = attributes
        .chain(EFFECTS.iter().map(|(name, _)| (*name).to_owned()))
        .collect();
    names.sort();
    names
}

impl MountOptions {
    /// Sorts `options`; what no table knows is the filesystem's own.
    pub(crate) fn parse<'a>(options: impl IntoIterator<Item = &'a str>) -> Self {
        let mut parsed = Self::default();
        for option in options {
            parsed.add(option);
        }
        parsed
    }

    fn add(&mut self, option: &str) {
        if let Some((name @ ("idmap" | "ridmap"), lists)) = option.split_once('=') {
            self.idmap = Some(name == "ridmap");
            self.idmap_lists = Some(lists.to_owned());
            return;
        }
        match effect(option) {
            Some(Effect::Attr(set, clear)) => self.attr.add(set, clear),
            Some(Effect::Superblock(flag)) => self.superblock.push(flag),
            Some(Effect::NoSuperblock(flag)) => self.superblock.retain(|set| *set != flag),
            Some(Effect::Nothing) => {}
            Some(Effect::Propagation(flag)) => self.propagation.push((flag, option.starts_with('r'))),
            Some(Effect::Bind(recursive)) => self.bind = Some(recursive),
            Some(Effect::Remount) => self.remount = true,
            Some(Effect::CopyUp) => self.copy_up = true,
            Some(Effect::CopySymlink) => self.copy_symlink = true,
            Some(Effect::SourceNofollow) => self.source_nofollow = true,
            Some(Effect::DestinationNofollow) => self.destination_nofollow = true,
            Some(Effect::Idmap(recursive)) => self.idmap = Some(recursive),
            None => match option.strip_prefix('r').and_then(attribute) {
                Some((set, clear)) => self.recursive_attr.add(set, clear),
                None if option.is_empty() => {}
                None => self.data.push(option.to_owned()),
            },
        }
    }
}

/// `linux.rootfsPropagation` to a flag and whether it is recursive. runc takes every value as recursive for the host's tree
/// and as it stands for the container's root.
pub(crate) fn propagation(name: &str) -> Option<(u64, bool)> {
    let options = MountOptions::parse([name]);
    options.propagation.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_their_recursive_twins() {
        let options = MountOptions::parse(["ro", "nosuid", "rro", "rnoexec", "rbind", "rprivate", "size=1k"]);
        assert_eq!(
            options.attr,
            AttrChange {
                set: sys::ATTR_RDONLY | sys::ATTR_NOSUID,
                clear: 0
            }
        );
        assert_eq!(
            options.recursive_attr,
            AttrChange {
                set: sys::ATTR_RDONLY | sys::ATTR_NOEXEC,
                clear: 0
            }
        );
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.propagation, [(MS_PRIVATE, true)]);
        assert_eq!(options.data, ["size=1k"]);
    }

    #[test]
    fn a_later_option_undoes_an_earlier_one() {
        let options = MountOptions::parse(["ro", "rw", "noatime", "strictatime"]);
        assert_eq!(options.attr.set, sys::ATTR_STRICTATIME);
        assert_eq!(options.attr.normalized().clear, sys::ATTR_RDONLY | sys::ATTR_ATIME);
    }

    #[test]
    fn relatime_is_not_taken_for_a_recursive_option() {
        let options = MountOptions::parse(["relatime", "remount", "rrelatime"]);
        assert_eq!(options.attr.clear, sys::ATTR_ATIME);
        assert!(options.remount);
        assert_eq!(options.recursive_attr.clear, sys::ATTR_ATIME);
        assert!(options.data.is_empty());
    }
}
