//! The few shapes that control files have. Whatever the text, none of these functions fails: what is not understood is left out.

use std::collections::BTreeMap;

use super::Rdma;

/// `key number` lines (`memory.stat`, `cpu.stat`). Lines of another shape are left out: kernels add them.
pub fn flat(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), crate::dir::parse_u64(value.trim())?))
    };
    text.lines().filter_map(pair).collect()
}

/// The `key=number` fields of a line of a nested-keyed file (`io.stat`).
pub fn nested(fields: &str) -> BTreeMap<&str, u64> {
    fields
        .split_whitespace()
        .filter_map(|f| f.split_once('='))
        .filter_map(|(k, v)| Some((k, v.parse().ok()?)))
        .collect()
}

/// `8:0` to its two numbers.
pub fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `mlx4_0 hca_handle=3 hca_object=max`.
pub fn rdma_line(line: &str) -> Option<Rdma> {
    let (device, rest) = line.split_once(' ')?;
    let number = |key: &str| {
        let value = rest
            .split_whitespace()
            .find_map(|f| f.strip_prefix(key)?.strip_prefix('='))?;
        if value == "max" {
            Some(u32::MAX)
        } else {
            value.parse().ok()
        }
    };
    Some(Rdma {
        device: device.to_owned(),
        hca_handles: number("hca_handle").unwrap_or(0),
        hca_objects: number("hca_object").unwrap_or(0),
    })
}

/// The page sizes of the huge-page files in a list of file names (`hugetlb.2MB.max` -> `2MB`).
pub fn page_sizes(names: impl Iterator<Item = String>, suffix: &str) -> Vec<String> {
    let mut sizes: Vec<String> = names
        .filter_map(|n| Some(n.strip_prefix("hugetlb.")?.strip_suffix(suffix)?.to_owned()))
        .filter(|size| !size.contains('.'))
        .collect();
    sizes.sort();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_makes_them_panic() {
        proptest::proptest!(|(text in "[a-z0-9_.:= \\n\\t-]{0,80}|\\PC{0,40}")| {
            let _ = (flat(&text), nested(&text), device(&text), rdma_line(&text));
            let _ = page_sizes(text.lines().map(str::to_owned), ".max");
            let _ = crate::stats::v2::Pressure::parse(&text);
            let _ = crate::stats::v2::Io::parse(&text);
            let _ = crate::Host::parse(&text, &text);
            let policy = crate::devices::Policy { allow: false, exceptions: Vec::new() };
            let _ = crate::devices::changes_v1(&text, &policy);
        });
    }

    #[test]
    fn the_shapes() {
        assert_eq!(flat("cache 12\nrss 0\nodd\nweird x\n").len(), 2);
        assert_eq!(nested("rbytes=1 wbytes=22 odd")["wbytes"], 22);
        assert_eq!(device("8:16"), Some((8, 16)));
        assert_eq!(device("8"), None);
        let rdma = rdma_line("mlx4_0 hca_handle=3 hca_object=max").unwrap();
        assert_eq!((rdma.hca_handles, rdma.hca_objects), (3, u32::MAX));
        let names = ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "hugetlb.1GB.max", "x"].map(str::to_owned);
        assert_eq!(page_sizes(names.into_iter(), ".max"), ["1GB", "2MB"]);
    }
}
