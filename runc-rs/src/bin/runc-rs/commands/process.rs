//! The process that `exec` starts: from a file, or from the bundle's own process and the command line.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci_spec::runtime::{Capability, LinuxCapabilities, Process, User};

use crate::Failure;
use crate::invocation::Invocation;
use crate::values::Values;

/// Builds the process, with warnings. `bundle` is the container's.
pub(crate) fn build(invocation: &Invocation, bundle: &Path) -> Result<(Process, Vec<String>), Failure> {
    let mut warnings = Vec::new();
    let process = match invocation.values.path("process") {
        Some(path) => from_file(&path, &mut warnings)?,
        None => from_flags(invocation, bundle, &mut warnings)?,
    };
    // Only the reason: runc names no field.
    runtime_spec::validate::validate_process(&process).map_err(|invalid| Failure::new(invalid.reason))?;
    let label = process.selinux_label().as_deref().unwrap_or_default();
    if !label.is_empty() && !Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(Failure::new(
            "selinux label is specified in config, but selinux is disabled or not supported",
        ));
    }
    Ok((process, warnings))
}

fn from_file(path: &Path, warnings: &mut Vec<String>) -> Result<Process, Failure> {
    let text = std::fs::read(path).map_err(|error| Failure::on("open", path, error))?;
    let failed = |error| Failure::json(path, &error);
    let error = match serde_json::from_slice(&text) {
        Ok(process) => return Ok(process),
        Err(error) => error,
    };
    // Again, as part of a configuration, which forgives what Go does.
    let process: serde_json::Value = serde_json::from_slice(&text).map_err(failed)?;
    let config = serde_json::json!({"ociVersion": runtime_spec::OCI_VERSION_MAX, "process": process});
    let loaded = runtime_spec::load::load_with_warnings(&serde_json::to_vec(&config)?)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    warnings.extend(unknown_capabilities(&loaded.unknown_capabilities));
    let process = loaded.spec.process().clone();
    process.ok_or_else(|| failed(error))
}

/// runc's words for names that are no capabilities.
fn unknown_capabilities(names: &[String]) -> Option<String> {
    let words = || format!("ignoring unknown or unavailable capabilities: [{}]", names.join(" "));
    (!names.is_empty()).then(words)
}

fn from_flags(invocation: &Invocation, bundle: &Path, warnings: &mut Vec<String>) -> Result<Process, Failure> {
    let values = &invocation.values;
    if invocation.arguments.len() < 2 {
        return Err(Failure::new("process args cannot be empty"));
    }
    let spec = runc_rs::load_spec(bundle)?;
    let mut process = spec
        .process()
        .clone()
        .ok_or_else(|| Failure::new("process property must not be empty"))?;
    let mut args = Vec::new();
    for index in 1..invocation.arguments.len() {
        args.extend(invocation.argument(index)?.map(str::to_owned));
    }
    process.set_args(Some(args));
    process.set_terminal(Some(values.switch("tty")));
    if let Some(cwd) = values.text("cwd")? {
        process.set_cwd(PathBuf::from(cwd));
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(values.list("env")?);
    process.set_env(Some(env));
    process.set_user(user(values, process.user())?);
    if values.is_set("no-new-privs") {
        process.set_no_new_privileges(Some(values.switch("no-new-privs")));
    }
    if let Some(label) = values.text("process-label")? {
        process.set_selinux_label(Some(label.to_owned()));
    }
    if let Some(profile) = values.text("apparmor")? {
        process.set_apparmor_profile(Some(profile.to_owned()));
    }
    let added = values.list("cap")?;
    if !added.is_empty() {
        let sets = process.capabilities().clone().unwrap_or_default();
        process.set_capabilities(Some(add_capabilities(sets, &added, warnings)));
    }
    Ok(process)
}

/// Adds to the bounding, effective and permitted sets, to the ambient one when there is an inheritable one, and never to that
/// (CVE-2022-29162). Of unknown names the user is warned.
fn add_capabilities(mut sets: LinuxCapabilities, names: &[String], warnings: &mut Vec<String>) -> LinuxCapabilities {
    let (mut added, mut unknown) = (HashSet::new(), Vec::new());
    for name in names {
        let upper = name.to_ascii_uppercase();
        match Capability::from_str(upper.strip_prefix("CAP_").unwrap_or(&upper)) {
            Ok(capability) => {
                added.insert(capability);
            }
            Err(_) => unknown.push(name.clone()),
        }
    }
    warnings.extend(unknown_capabilities(&unknown));
    let join =
        |set: &Option<HashSet<Capability>>| Some(set.iter().flatten().copied().chain(added.iter().copied()).collect());
    let (bounding, effective, permitted) = (join(sets.bounding()), join(sets.effective()), join(sets.permitted()));
    if sets.inheritable().is_some() {
        let ambient = join(sets.ambient());
        sets.set_ambient(ambient);
    }
    sets.set_bounding(bounding);
    sets.set_effective(effective);
    sets.set_permitted(permitted);
    sets
}

fn user(values: &Values, default: &User) -> Result<User, Failure> {
    let mut user = default.clone();
    if values.is_set("user") {
        // An empty one is an error too, not the default, which may be root.
        let (uid, gid) = parse_user(values.text("user")?.unwrap_or_default())?;
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
    }
    let mut groups = user.additional_gids().clone().unwrap_or_default();
    for gid in values.numbers("additional-gids") {
        let id = u32::try_from(gid).ok().filter(|gid| *gid != u32::MAX);
        groups.push(id.ok_or_else(|| Failure::new(format!("additional-gids must be a positive number {gid}")))?);
    }
    if !groups.is_empty() {
        user.set_additional_gids(Some(groups));
    }
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
        let words =
            || format!("parsing {part} as int for {what} failed: strconv.Atoi: parsing {part:?}: invalid syntax");
        id.ok_or_else(|| Failure::new(words()))
    };
    match text.split_once(':') {
        None => Ok((number(text, "uid")?, None)),
        Some((uid, gid)) => {
            let gid = number(gid, "gid")?;
            Ok((number(uid, "uid")?, Some(gid)))
        }
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
        let mut warnings = Vec::new();
        let sets = add_capabilities(
            sets,
            &["net_raw".into(), "CAP_KILL".into(), "CAP_X".into()],
            &mut warnings,
        );
        assert_eq!(sets.effective().as_ref().map(HashSet::len), Some(2));
        assert!(sets.inheritable().is_none() && sets.ambient().is_none());
        assert_eq!(warnings, ["ignoring unknown or unavailable capabilities: [CAP_X]"]);
    }
}
