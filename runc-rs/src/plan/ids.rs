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

/// Whether an id inside the namespace is covered by the mapping lines.
pub(crate) fn contains(lines: &str, id: u32) -> bool {
    lines.lines().any(|line| {
        let mut fields = line.split(' ').map(|field| field.parse::<u64>().unwrap_or(0));
        let (inside, _, size) = (fields.next(), fields.next(), fields.next());
        inside
            .zip(size)
            .is_some_and(|(inside, size)| (inside..inside.saturating_add(size)).contains(&u64::from(id)))
    })
}

/// The id outside the namespace that stands behind `inside`; none for one that is not mapped.
pub(crate) fn outside(lines: &str, inside: u32) -> Option<u32> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(' ').map(|field| field.parse::<u32>().ok());
        let (first, host, size) = (fields.next()??, fields.next()??, fields.next()??);
        let offset = inside.checked_sub(first).filter(|offset| *offset < size)?;
        host.checked_add(offset)
    })
}

/// Whether the lines map `outside`, one id, and nothing else: all that an ordinary user may write himself.
pub(crate) fn maps_only(lines: &str, outside: u32) -> bool {
    let fields: Vec<&str> = lines.split_whitespace().collect();
    matches!(fields.as_slice(), [_, host, "1"] if *host == outside.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_looked_for_in_every_line() {
        let map = "0 1000 1\n1 100000 65535\n";
        assert!(contains(map, 0) && contains(map, 1) && contains(map, 65535));
        assert!(!contains(map, 65536) && !contains("", 0));
        assert_eq!(
            (outside(map, 0), outside(map, 7), outside(map, 65536)),
            (Some(1000), Some(100_006), None)
        );
        assert!(maps_only("5 1000 1\n", 1000));
        assert!(!maps_only("0 1000 2\n", 1000) && !maps_only("0 1001 1\n", 1000) && !maps_only(map, 1000));
    }
}
