//! User and group id mappings as the kernel reads them.

use std::fmt::Write;

use oci_spec::runtime::LinuxIdMapping;

/// The mappings of a user namespace: contents of `uid_map` and `gid_map`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) uids: String,
    pub(crate) gids: String,
}

/// One line `inside outside length` for each mapping.
pub(crate) fn lines(mappings: Option<&[LinuxIdMapping]>) -> String {
    let mut text = String::new();
    for mapping in mappings.unwrap_or_default() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} {} {}",
            mapping.container_id(),
            mapping.host_id(),
            mapping.size()
        );
    }
    text
}
