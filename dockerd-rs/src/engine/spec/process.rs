//! The process of a container, and of an exec.

use runtime_spec::caps;
use serde_json::{Value, json};

use super::{Input, User};
use crate::engine::model::{ContainerConfig, HostConfig, Ulimit};
use crate::error::{Error, Result};

/// The first process.
pub(super) fn process(input: &Input<'_>, capabilities: &[String]) -> Result<Value> {
    let record = input.record;
    let mut args = Vec::new();
    if input.init.is_some() {
        args.extend(["/sbin/docker-init".to_owned(), "--".to_owned()]);
    }
    args.push(record.path.clone());
    args.extend(record.args.iter().cloned());
    let environment = environment(&record.config, record.config.tty, &input.user.home);
    let mut process = base(
        &args,
        &environment,
        &cwd(&record.config),
        record.config.tty,
        input.user,
        capabilities,
        &record.host_config,
    )?;
    let mut limits = rlimits(input.default_ulimits, input.host.nofile_max);
    let asked = record.host_config.resources.ulimits.clone().unwrap_or_default();
    limits.retain(|limit| !asked.iter().any(|own| own.name.eq_ignore_ascii_case(&limit.name)));
    limits.extend(asked);
    process["rlimits"] = limits.iter().map(rlimit).collect::<Result<Vec<_>>>()?.into();
    process["oomScoreAdj"] = json!(record.host_config.oom_score_adj);
    let [height, width] = record.host_config.console_size;
    if record.config.tty && height > 0 && width > 0 {
        process["consoleSize"] = json!({"height": height, "width": width});
    }
    Ok(process)
}

/// The process of an exec: the container's limits, and what the request says. `args` is not empty.
pub(crate) fn exec_process(
    args: &[String],
    environment: &[String],
    cwd: &str,
    tty: bool,
    user: &User,
    capabilities: &[String],
    host_config: &HostConfig,
) -> Result<Value> {
    let mut process = base(args, environment, cwd, tty, user, capabilities, host_config)?;
    let limits = host_config
        .resources
        .ulimits
        .iter()
        .flatten()
        .map(rlimit)
        .collect::<Result<Vec<_>>>()?;
    process["rlimits"] = limits.into();
    process["oomScoreAdj"] = json!(host_config.oom_score_adj);
    Ok(process)
}

fn base(
    args: &[String],
    environment: &[String],
    cwd: &str,
    tty: bool,
    user: &User,
    capabilities: &[String],
    host_config: &HostConfig,
) -> Result<Value> {
    let sets =
        serde_json::to_value(caps::process(capabilities, false)).map_err(|e| Error::failed("capabilities", e))?;
    let mut sets = sets;
    if user.uid != 0 {
        // What execve would take away from somebody who is not root anyway; the bounding set stays.
        sets["effective"] = json!([]);
        sets["permitted"] = json!([]);
    }
    Ok(json!({
        "terminal": tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
        "args": args,
        "env": environment,
        "cwd": cwd,
        "capabilities": sets,
        "noNewPrivileges": no_new_privileges(host_config),
    }))
}

fn cwd(config: &ContainerConfig) -> String {
    if config.working_dir.is_empty() {
        "/".to_owned()
    } else {
        config.working_dir.clone()
    }
}

fn no_new_privileges(host_config: &HostConfig) -> bool {
    let options = host_config.security_opt.iter().flatten();
    options
        .filter_map(|option| option.strip_prefix("no-new-privileges"))
        .any(|rest| matches!(rest, "" | "=true" | ":true"))
}

/// The environment: Docker's defaults, then what image and client say; of a key that occurs twice the last value counts.
pub(crate) fn environment(config: &ContainerConfig, tty: bool, home: &str) -> Vec<String> {
    let mut environment = vec![
        runtime_spec::engine::DEFAULT_PATH.to_owned(),
        format!("HOSTNAME={}", config.hostname),
    ];
    if tty {
        environment.push("TERM=xterm".to_owned());
    }
    add(&mut environment, config.env.iter().flatten());
    if !home.is_empty() && !environment.iter().any(|pair| pair.starts_with("HOME=")) {
        environment.push(format!("HOME={home}"));
    }
    environment
}

/// Adds variables over those of the same name; one without a value takes the name away.
pub(crate) fn add<'a>(environment: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for pair in more {
        let key = pair.split_once('=').map_or(pair.as_str(), |(key, _)| key);
        let same = |old: &String| old.split_once('=').map_or(old.as_str(), |(key, _)| key) == key;
        match (environment.iter().position(same), pair.contains('=')) {
            (Some(at), true) => environment[at].clone_from(pair),
            (Some(at), false) => drop(environment.remove(at)),
            (None, true) => environment.push(pair.clone()),
            (None, false) => {}
        }
    }
}

/// Default limits of the daemon, none of them above what the daemon itself may have.
fn rlimits(defaults: &[Ulimit], nofile_max: u64) -> Vec<Ulimit> {
    let ceiling = i64::try_from(nofile_max).unwrap_or(i64::MAX);
    let clip = |limit: &Ulimit| {
        let mut limit = limit.clone();
        if limit.name == "nofile" && (limit.hard > ceiling || limit.hard < 0) {
            tracing::warn!(
                asked = limit.hard,
                ceiling,
                "default limit nofile is above the daemon's own: lowered"
            );
            limit.hard = ceiling;
            limit.soft = limit.soft.min(ceiling);
        }
        limit
    };
    defaults.iter().map(clip).collect()
}

fn rlimit(limit: &Ulimit) -> Result<Value> {
    const NAMES: [&str; 16] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
        "as",
    ];
    if !NAMES.contains(&limit.name.as_str()) {
        return Err(Error::invalid(format!("invalid ulimit type: {}", limit.name)));
    }
    // -1 is no limit: all bits set.
    let value = |number: i64| if number < 0 { u64::MAX } else { number.unsigned_abs() };
    Ok(
        json!({"type": format!("RLIMIT_{}", limit.name.to_uppercase()), "soft": value(limit.soft), "hard": value(limit.hard)}),
    )
}
