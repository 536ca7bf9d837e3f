//! The process that `exec` starts: from a file, or from the bundle's own process and the command line.

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;

use oci_spec::runtime::{Capability, LinuxCapabilities, Process, User};

use crate::Failure;
use crate::args::ExecArgs;

/// Builds the process. `bundle` is the container's.
pub(crate) fn build(args: &ExecArgs, bundle: &Path) -> Result<Process, Failure> {
    if let Some(path) = &args.process {
        let text = std::fs::read(path).map_err(|error| Failure::new(format!("open {}: {error}", path.display())))?;
        return serde_json::from_slice(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())));
    }
    let spec = runc_rs::load_spec(bundle)?;
    let mut process = spec
        .process()
        .clone()
        .ok_or_else(|| Failure::new("process property must not be empty"))?;
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(args.env.iter().cloned());
    process.set_env(Some(env));
    process.set_user(user(args, process.user())?);
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(label) = &args.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if let Some(profile) = &args.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if !args.cap.is_empty() {
        let capabilities = add_capabilities(process.capabilities().clone().unwrap_or_default(), &args.cap)?;
        process.set_capabilities(Some(capabilities));
    }
    Ok(process)
}

/// Adds to the bounding, effective and permitted sets, never to the inheritable one (CVE-2022-29162).
fn add_capabilities(mut sets: LinuxCapabilities, names: &[String]) -> Result<LinuxCapabilities, Failure> {
    let mut added = HashSet::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let known = Capability::from_str(upper.strip_prefix("CAP_").unwrap_or(&upper));
        added.insert(known.map_err(|_| Failure::new(format!("unknown capability {name:?}")))?);
    }
    let join =
        |set: &Option<HashSet<Capability>>| Some(set.iter().flatten().copied().chain(added.iter().copied()).collect());
    let (bounding, effective, permitted) = (join(sets.bounding()), join(sets.effective()), join(sets.permitted()));
    sets.set_bounding(bounding);
    sets.set_effective(effective);
    sets.set_permitted(permitted);
    Ok(sets)
}

fn user(args: &ExecArgs, default: &User) -> Result<User, Failure> {
    let mut user = default.clone();
    if let Some(text) = &args.user {
        let (uid, gid) = parse_user(text)?;
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
    }
    let mut groups = user.additional_gids().clone().unwrap_or_default();
    groups.extend(&args.additional_gids);
    user.set_additional_gids(Some(groups));
    Ok(user)
}

/// `UID[:GID]`, both plain decimal numbers that are ids: anything else is an error, never a guess (CVE-2026-30892).
fn parse_user(text: &str) -> Result<(u32, Option<u32>), Failure> {
    let number = |part: &str, what: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let id = digits
            .then(|| part.parse::<u32>().ok())
            .flatten()
            .filter(|id| *id != u32::MAX);
        id.ok_or_else(|| Failure::new(format!("parsing {part:?} as int for {what} failed: invalid syntax")))
    };
    match text.split_once(':') {
        None => Ok((number(text, "uid")?, None)),
        Some((uid, gid)) => Ok((number(uid, "uid")?, Some(number(gid, "gid")?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_2026_30892_a_user_is_the_exact_id_or_an_error() {
        assert_eq!(parse_user("1000").unwrap(), (1000, None));
        assert_eq!(parse_user("1000:5").unwrap(), (1000, Some(5)));
        for bad in [
            "1000:",
            ":100",
            "a",
            "-1",
            "+1",
            "4294967295",
            "4294967296",
            "1x",
            "",
            "1:2:3",
            " 1",
            "0x0",
        ] {
            assert!(parse_user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn cve_2022_29162_added_capabilities_are_not_inheritable() {
        let sets: LinuxCapabilities = serde_json::from_str("{}").unwrap();
        let sets = add_capabilities(sets, &["net_raw".into(), "CAP_KILL".into()]).unwrap();
        assert_eq!(sets.effective().as_ref().map(HashSet::len), Some(2));
        assert!(sets.inheritable().is_none() && sets.ambient().is_none());
    }
}
