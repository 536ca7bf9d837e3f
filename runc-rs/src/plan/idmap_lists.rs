//! crun's way of writing the mappings of a mount into its options: `idmap=uids=0-1000-10#10-2000-5;gids=0-1000-10`, where each triplet is
//! first id on the disk, first id that is seen, and how many.

use std::fmt::Write;

/// Lines for `uid_map` and `gid_map`; `None` when it is no such list. Ids relative to the container's (`@`) are not taken.
pub(crate) fn parse(text: &str) -> Option<(String, String)> {
    let (mut uids, mut gids) = (String::new(), String::new());
    for list in text.split(';').filter(|list| !list.is_empty()) {
        let (kind, triplets) = list.split_once('=')?;
        let lines = match kind {
            "uids" => &mut uids,
            "gids" => &mut gids,
            _ => return None,
        };
        for triplet in triplets.split('#') {
            let mut numbers = triplet.split('-').map(|number| number.parse::<u32>().ok());
            let (from, to, length) = (numbers.next()??, numbers.next()??, numbers.next()??);
            let fits = length > 0 && from.checked_add(length).is_some() && to.checked_add(length).is_some();
            if numbers.next().is_some() || !fits {
                return None;
            }
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{from} {to} {length}");
        }
    }
    (!uids.is_empty() && !gids.is_empty()).then_some((uids, gids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triplets() {
        let both = parse("uids=0-1000-10#10-2000-5;gids=0-7-1").unwrap();
        assert_eq!(both, ("0 1000 10\n10 2000 5\n".into(), "0 7 1\n".into()));
        for bad in [
            "",
            "uids=0-1-2",
            "uids=0-1;gids=0-1-2",
            "uids=0-1-0;gids=0-1-2",
            "uids=@0-1-2;gids=0-1-2",
            "x=0-1-2",
            "uids=0-1-2-3;gids=0-1-2",
            "uids=4294967295-1-2;gids=0-1-2",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
