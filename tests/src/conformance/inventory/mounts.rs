//! config.md: mounts. The options that MUST be implemented are a row each.

use crate::conformance::must::Must;
use crate::must;

/// The row of an option.
macro_rules! option {
    ($name:literal) => {
        must!(
            concat!("config.mounts.option.", $name),
            "config.md#linux-mount-options",
            concat!("the option `", $name, "`"),
            options::each
        )
    };
    (shared $name:literal) => {
        must!(
            concat!("config.mounts.option.", $name),
            "config.md#linux-mount-options",
            concat!("the option `", $name, "`"),
            options::propagation
        )
    };
}

/// The table.
#[rustfmt::skip]
pub(super) const MUSTS: &[Must] = &[
    must!("config.mounts.order", "config.md#mounts", "mounts are made in the order of the list", mounts::order),
    must!("config.mounts.relative", "config.md#mounts", "a destination that is not absolute is relative to /", mounts::relative_destination),
    must!("config.mounts.source", "config.md#mounts", "the source of a bind mount is absolute, or relative to the bundle", mounts::sources),
    must!("config.mounts.type", "config.md#posix-platform-mounts", "type is the filesystem's; of a bind mount it means nothing", mounts::types),
    must!("config.mounts.data", "config.md#linux-mount-options", "options that are not known go to the filesystem", mounts::types),
    must!("config.mounts.windows", "config.md#mounts", "destinations and the option ro on Windows; destinations on Solaris and other platforms", not "of another platform than Linux"),
    option!("async"), option!("atime"), option!("defaults"), option!("dev"), option!("diratime"), option!("dirsync"), option!("exec"),
    option!("iversion"), option!("lazytime"), option!("loud"), option!("noatime"), option!("nodev"), option!("nodiratime"), option!("noexec"),
    option!("noiversion"), option!("nolazytime"), option!("norelatime"), option!("nostrictatime"), option!("nosuid"), option!("relatime"),
    option!("remount"), option!("ro"), option!("rw"), option!("silent"), option!("strictatime"), option!("suid"), option!("sync"),
    option!("nosymfollow"), option!("symfollow"), option!("tmpcopyup"),
    option!(shared "bind"), option!(shared "rbind"), option!(shared "private"), option!(shared "rprivate"), option!(shared "shared"),
    option!(shared "rshared"), option!(shared "slave"), option!(shared "rslave"), option!(shared "unbindable"), option!(shared "runbindable"),
    must!("config.mounts.recursive", "config.md#linux-mount-options", "rro, rnosuid, rnodev, rnoexec, rnoatime and their kind reach the mounts below", options::recursive),
    must!("config.mounts.idmap", "config.md#linux-mount-options", "idmap and ridmap: the mount is mapped, with its own uidMappings and gidMappings", mounts::idmap),
    must!("config.mounts.idmap-nothing", "config.md#linux-mount-options", "idmap without mappings and without a user namespace is an error", mounts::idmap_invalid),
    must!("config.mounts.mappings-both", "config.md#posix-platform-mounts", "uidMappings without gidMappings, or the other way round, is an error", mounts::idmap_invalid),
];
