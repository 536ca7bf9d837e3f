//! Who a container's process is: `USER` strings against the content of the image's `/etc/passwd` and `/etc/group`.
//!
//! The rules and the texts are those of moby's `user` package, with one difference: a line whose ids are no numbers is skipped, where the
//! original reads them as 0, which would make a mistake in an image's file into root.

/// Ids of Docker's engine are 31 bits wide.
const MAX_ID: u32 = (1 << 31) - 1;

/// Why a user could not be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name without an entry.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// A group's name without an entry.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// An id that is too large or negative.
    #[error("uids and gids must be in range 0-2147483647")]
    Range,
    /// A user that must be numeric and is not.
    #[error("bad uid: strconv.Atoi: parsing {0:?}: invalid syntax")]
    BadUid(String),
    /// A group that must be numeric and is not.
    #[error("bad gid: strconv.Atoi: parsing {0:?}: invalid syntax")]
    BadGid(String),
}

/// A line of passwd(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswdEntry {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A line of group(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEntry {
    /// Name.
    pub name: String,
    /// Group id.
    pub gid: u32,
    /// Names of the members.
    pub members: Vec<String>,
}

/// Who a process is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecUser {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, in the order of the group file.
    pub additional_gids: Vec<u32>,
    /// Home directory: of the entry, else `/`.
    pub home: String,
    /// Name, where there is an entry.
    pub name: Option<String>,
}

/// The entries of a passwd file. Lines that are none are skipped.
pub fn parse_passwd(text: &str) -> impl Iterator<Item = PasswdEntry> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = fields.nth(1).unwrap_or_default().to_owned();
        let shell = fields.next().unwrap_or_default().to_owned();
        Some(PasswdEntry {
            name: name.to_owned(),
            uid,
            gid,
            home,
            shell,
        })
    })
}

/// The entries of a group file. Lines that are none are skipped.
pub fn parse_group(text: &str) -> impl Iterator<Item = GroupEntry> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields
            .next()
            .unwrap_or_default()
            .split(',')
            .filter(|m| !m.is_empty())
            .map(str::to_owned);
        Some(GroupEntry {
            name: name.to_owned(),
            gid,
            members: members.collect(),
        })
    })
}

/// A number as Go's `strconv.Atoi` takes it; one that fits no id is `Err`.
fn numeric(text: &str) -> Option<Result<u32, Error>> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value = text
        .parse::<i64>()
        .ok()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n <= MAX_ID);
    Some(value.ok_or(Error::Range))
}

/// Resolves a `USER` string: `user`, `uid`, `user:group`, `uid:gid`, `uid:group`, `user:gid`; empty is root (uid 0).
///
/// A numeric user is an id always, with an entry or without. Supplementary groups are looked up only without an explicit group.
///
/// # Errors
/// A name without an entry, an id out of range.
pub fn resolve(spec: &str, passwd: &str, group: &str) -> Result<ExecUser, Error> {
    let (user_part, group_part) = spec.split_once(':').unwrap_or((spec, ""));
    let mut user = ExecUser {
        home: "/".to_owned(),
        ..ExecUser::default()
    };
    let id = numeric(user_part).transpose()?;
    let wanted = |entry: &PasswdEntry| match (user_part, id) {
        ("", _) => entry.uid == 0,
        (_, Some(id)) => entry.uid == id,
        (name, None) => entry.name == name,
    };
    match (parse_passwd(passwd).find(wanted), id) {
        (Some(entry), _) => {
            if entry.uid > MAX_ID || entry.gid > MAX_ID {
                return Err(Error::Range);
            }
            (user.uid, user.gid) = (entry.uid, entry.gid);
            if !entry.home.is_empty() {
                user.home = entry.home;
            }
            user.name = Some(entry.name);
        }
        (None, Some(id)) => user.uid = id,
        (None, None) if user_part.is_empty() => {}
        (None, None) => return Err(Error::NoUser(user_part.to_owned())),
    }
    if !group_part.is_empty() {
        user.gid = resolve_group(group_part, group)?;
    } else if let Some(name) = &user.name {
        let member = |entry: &GroupEntry| entry.members.contains(name) && entry.gid <= MAX_ID;
        user.additional_gids = parse_group(group).filter(member).map(|entry| entry.gid).collect();
    }
    Ok(user)
}

/// The id of a group by name or number.
///
/// # Errors
/// A name without an entry, an id out of range.
pub fn resolve_group(name: &str, group: &str) -> Result<u32, Error> {
    if let Some(id) = numeric(name) {
        return id;
    }
    let entry = parse_group(group).find(|entry| entry.name == name);
    match entry {
        Some(entry) if entry.gid <= MAX_ID => Ok(entry.gid),
        Some(_) => Err(Error::Range),
        None => Err(Error::NoGroup(name.to_owned())),
    }
}

/// The ids of `--group-add`, each once.
///
/// # Errors
/// As [`resolve_group`].
pub fn additional_groups<S: AsRef<str>>(names: &[S], group: &str) -> Result<Vec<u32>, Error> {
    let mut ids = Vec::new();
    for name in names {
        let id = resolve_group(name.as_ref(), group)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// `uid` or `uid:gid` in numbers, as `runc exec --user` takes it: exactly these ids or an error, never a guess.
///
/// # Errors
/// Anything but one or two decimal numbers below 2^31.
pub fn parse_ids(text: &str) -> Result<(u32, Option<u32>), Error> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let uid = numeric(uid).ok_or_else(|| Error::BadUid(uid.to_owned()))??;
    let gid = gid
        .map(|g| numeric(g).ok_or_else(|| Error::BadGid(g.to_owned()))?)
        .transpose()?;
    Ok((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # comment\n\
        broken:x:abc:def::/:\n\
        alice:x:1000:1001:Alice:/home/alice:/bin/bash\n\
        alice:x:7:7::/second:/bin/false\n\
        1234:x:55:55::/odd:\n\
        huge:x:4294967295:1::/h:\n\
        short:x:8\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:alice,bob\naudio:x:29:alice\nbad:x:zz:alice\n\nstaff:x:50:bob\n";

    fn ids(spec: &str) -> (u32, u32) {
        let user = resolve(spec, PASSWD, GROUP).unwrap_or_else(|e| panic!("{spec}: {e}"));
        (user.uid, user.gid)
    }

    #[test]
    fn every_form_of_user() {
        assert_eq!(ids(""), (0, 0));
        assert_eq!(ids("alice"), (1000, 1001));
        assert_eq!(ids("1000"), (1000, 1001));
        assert_eq!(ids("1000:"), (1000, 1001));
        assert_eq!(ids("alice:staff"), (1000, 50));
        assert_eq!(ids("alice:77"), (1000, 77));
        assert_eq!(ids("9999"), (9999, 0));
        assert_eq!(ids("9999:wheel"), (9999, 10));
        assert_eq!(ids(":29"), (0, 29));
        let alice = resolve("alice", PASSWD, GROUP).unwrap();
        assert_eq!(alice.additional_gids, [10, 29]);
        assert_eq!(alice.home, "/home/alice");
        assert!(
            resolve("alice:staff", PASSWD, GROUP)
                .unwrap()
                .additional_gids
                .is_empty()
        );
        assert_eq!(resolve("9999", "", "").unwrap().home, "/");
    }

    #[test]
    fn a_numeric_name_is_an_id() {
        assert_eq!(ids("1234"), (1234, 0));
    }

    #[test]
    fn a_broken_line_makes_nobody_root() {
        let error = resolve("broken", PASSWD, GROUP).unwrap_err().to_string();
        assert_eq!(error, "unable to find user broken: no matching entries in passwd file");
        assert_eq!(resolve("alice:bad", PASSWD, GROUP), Err(Error::NoGroup("bad".into())));
    }

    #[test]
    fn ids_out_of_range_are_refused() {
        for spec in [
            "2147483648",
            "-1",
            "4294967296",
            "18446744073709551616",
            "huge",
            "0:2147483648",
            "0:-1",
        ] {
            assert_eq!(resolve(spec, PASSWD, GROUP), Err(Error::Range), "{spec}");
        }
        assert_eq!(ids("2147483647").0, 2_147_483_647);
    }

    #[test]
    fn exec_ids_are_exact_or_an_error() {
        assert_eq!(parse_ids("1000"), Ok((1000, None)));
        assert_eq!(parse_ids("1000:100"), Ok((1000, Some(100))));
        for bad in [
            "",
            "1000:",
            ":100",
            "a",
            "1x",
            "-1",
            "4294967296",
            "1:2:3",
            " 1",
            "0x10",
            "1:-1",
            "٣",
        ] {
            assert!(parse_ids(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn group_add() {
        assert_eq!(additional_groups(&["wheel", "29", "10"], GROUP).unwrap(), [10, 29]);
        assert!(additional_groups(&["nope"], GROUP).is_err());
    }
}
