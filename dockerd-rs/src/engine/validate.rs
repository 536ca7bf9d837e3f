//! What a create request may not say, in Docker's words; and what it leaves unsaid, filled in.

use super::model::{ContainerConfig, HostConfig, Resources};
use super::spec::Host;
use crate::error::{Error, Result};
use crate::images::ImageConfig;

/// Least memory limit, in bytes.
const MIN_MEMORY: i64 = 6 << 20;

/// Fills in what the image says and the request does not (moby `daemon/commit.go`, `merge`).
pub(crate) fn merge(config: &mut ContainerConfig, image: &ImageConfig) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    let ports = config.exposed_ports.get_or_insert_default();
    for (port, value) in image.exposed_ports.iter().flatten() {
        ports.entry(port.clone()).or_insert_with(|| value.clone());
    }
    if ports.is_empty() {
        config.exposed_ports = None;
    }
    let own = config.env.take().unwrap_or_default();
    let mut environment = image.env.clone().unwrap_or_default();
    super::spec::add_environment(&mut environment, &own);
    config.env = Some(environment);
    for (key, value) in image.labels.iter().flatten() {
        config.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.is_none() {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
        config.entrypoint.clone_from(&image.entrypoint);
    } else if config
        .entrypoint
        .as_ref()
        .is_some_and(|words| words.len() == 1 && words[0].is_empty())
    {
        // `--entrypoint ""` takes the image's away.
        config.entrypoint = None;
    }
    if config.healthcheck.is_none() {
        config.healthcheck.clone_from(&image.healthcheck);
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    for (path, value) in image.volumes.iter().flatten() {
        config
            .volumes
            .get_or_insert_default()
            .entry(path.clone())
            .or_insert_with(|| value.clone());
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
}

/// Program and arguments.
pub(crate) fn command(config: &ContainerConfig) -> Result<(String, Vec<String>)> {
    let mut words = config
        .entrypoint
        .iter()
        .flatten()
        .chain(config.cmd.iter().flatten())
        .cloned();
    let path = words.next().ok_or_else(|| Error::invalid("no command specified"))?;
    Ok((path, words.collect()))
}

/// Checks the portable part.
pub(crate) fn config(config: &mut ContainerConfig) -> Result<()> {
    if !config.working_dir.is_empty() {
        if !config.working_dir.starts_with('/') {
            return Err(Error::invalid(format!(
                "the working directory '{}' is invalid, it needs to be an absolute path",
                config.working_dir
            )));
        }
        config.working_dir = clean(&config.working_dir);
    }
    for pair in config.env.iter().flatten() {
        if pair.is_empty() || pair.starts_with('=') {
            return Err(Error::invalid(format!("invalid environment variable: {pair}")));
        }
    }
    if !config.stop_signal.is_empty() {
        super::signal::parse(&config.stop_signal)?;
    }
    for port in config.exposed_ports.iter().flatten().map(|(port, _)| port) {
        super::ports::parse_exposed(port)?;
    }
    Ok(())
}

/// Checks the host's part, and fills in what Docker fills in. What is returned are warnings.
pub(crate) fn host_config(host_config: &mut HostConfig, host: &Host) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if host_config.auto_remove && !matches!(host_config.restart_policy.name.as_str(), "" | "no") {
        return Err(Error::invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    for host in host_config.extra_hosts.iter().flatten() {
        if !host.contains(':') && !host.contains('=') {
            return Err(Error::invalid(format!("bad format for add-host: \"{host}\"")));
        }
    }
    restart_policy(host_config)?;
    modes(host_config)?;
    security(host_config)?;
    if host_config
        .storage_opt
        .as_ref()
        .is_some_and(|options| !options.is_empty())
    {
        return Err(Error::invalid(
            "--storage-opt is not supported by the overlayfs snapshotter",
        ));
    }
    if host_config.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if host_config.shm_size == 0 {
        host_config.shm_size = 64 << 20;
    }
    if !(-1000..=1000).contains(&host_config.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host_config.oom_score_adj
        )));
    }
    if host_config.log_config.kind.is_empty() {
        "json-file".clone_into(&mut host_config.log_config.kind);
    }
    if !matches!(host_config.log_config.kind.as_str(), "json-file" | "none") {
        return Err(Error::invalid(format!(
            "logger: no log driver named '{}' is registered",
            host_config.log_config.kind
        )));
    }
    warnings.extend(resources(&mut host_config.resources, host)?);
    Ok(warnings)
}

fn restart_policy(host_config: &HostConfig) -> Result<()> {
    let policy = &host_config.restart_policy;
    match policy.name.as_str() {
        "" | "no" | "always" | "unless-stopped" if policy.maximum_retry_count != 0 => Err(Error::invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        )),
        "on-failure" if policy.maximum_retry_count < 0 => Err(Error::invalid(
            "invalid restart policy: maximum retry count cannot be negative",
        )),
        "" | "no" | "always" | "unless-stopped" | "on-failure" => Ok(()),
        other => Err(Error::invalid(format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        ))),
    }
}

fn modes(host_config: &HostConfig) -> Result<()> {
    let namespace = |mode: &str| {
        matches!(mode, "" | "host" | "private") || mode.strip_prefix("container:").is_some_and(|name| !name.is_empty())
    };
    if !namespace(&host_config.pid_mode) {
        return Err(Error::invalid(format!("invalid PID mode: {}", host_config.pid_mode)));
    }
    if !namespace(&host_config.ipc_mode) && !matches!(host_config.ipc_mode.as_str(), "shareable" | "none") {
        return Err(Error::invalid(format!("invalid IPC mode: {}", host_config.ipc_mode)));
    }
    if !matches!(host_config.uts_mode.as_str(), "" | "host") {
        return Err(Error::invalid(format!("invalid UTS mode: {}", host_config.uts_mode)));
    }
    if !matches!(host_config.cgroupns_mode.as_str(), "" | "host" | "private") {
        return Err(Error::invalid(format!(
            "invalid cgroup namespace mode: {}",
            host_config.cgroupns_mode
        )));
    }
    if !matches!(host_config.userns_mode.as_str(), "" | "host") {
        return Err(Error::invalid(format!(
            "invalid USER mode: {}",
            host_config.userns_mode
        )));
    }
    let joins = host_config.network_mode.starts_with("container:");
    if joins
        && host_config
            .port_bindings
            .as_ref()
            .is_some_and(|bindings| !bindings.is_empty())
    {
        return Err(Error::invalid(
            "conflicting options: port publishing and the container type network mode",
        ));
    }
    Ok(())
}

fn security(host_config: &HostConfig) -> Result<()> {
    for option in host_config.security_opt.iter().flatten() {
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (key, value) {
            ("no-new-privileges", "" | "true" | "false") | ("seccomp" | "label", _) => {}
            ("apparmor", "unconfined") => {}
            ("apparmor", profile) if !std::path::Path::new("/sys/kernel/security/apparmor").exists() => {
                return Err(Error::invalid(format!(
                    "apparmor profile {profile:?}: the kernel has no AppArmor"
                )));
            }
            ("apparmor", profile) => return Err(Error::not_implemented(format!("apparmor profile {profile:?}"))),
            _ => return Err(Error::invalid(format!("invalid --security-opt 2: {option:?}"))),
        }
    }
    if host_config
        .resources
        .device_requests
        .as_ref()
        .is_some_and(|requests| !requests.is_empty())
    {
        return Err(Error::internal(
            "could not select device driver \"\" with capabilities: [[gpu]]",
        ));
    }
    Ok(())
}

/// Checks limits; shared with `update`.
pub(crate) fn resources(resources: &mut Resources, host: &Host) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let invalid = |text: String| Err(Error::invalid(text));
    if resources.memory != 0 && resources.memory < MIN_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB".to_owned());
    }
    if resources.memory > 0 && resources.memory_swap > 0 && resources.memory_swap < resources.memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage".to_owned());
    }
    if resources.memory == 0 && resources.memory_swap > 0 {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage".to_owned());
    }
    if resources.memory > 0 && resources.memory_swap == 0 {
        resources.memory_swap = resources.memory * 2;
    }
    if resources.memory > 0 && resources.memory_swap > 0 && !host.swap_limit {
        warnings.push("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.".to_owned());
        resources.memory_swap = -1;
    }
    if resources
        .memory_swappiness
        .is_some_and(|value| !(-1..=100).contains(&value))
    {
        let value = resources.memory_swappiness.unwrap_or_default();
        return invalid(format!(
            "Invalid value: {value}, valid memory swappiness range is 0-100"
        ));
    }
    if resources.memory_reservation > 0 && resources.memory > 0 && resources.memory < resources.memory_reservation {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage".to_owned());
    }
    if resources.nano_cpus > 0 && resources.cpu_period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set".to_owned());
    }
    if resources.nano_cpus > 0 && resources.cpu_quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set".to_owned());
    }
    let most = i64::try_from(host.cpus)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000_000);
    if resources.nano_cpus < 0 || resources.nano_cpus > most {
        return invalid(format!(
            "range of CPUs is from 0.01 to {}.00, as there are only {} CPUs available",
            host.cpus, host.cpus
        ));
    }
    if resources.cpu_period != 0 && !(1000..=1_000_000).contains(&resources.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".to_owned(),
        );
    }
    if resources.cpu_quota > 0 && resources.cpu_quota < 1000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)".to_owned());
    }
    cpuset(&resources.cpuset_cpus, host.cpus)?;
    if resources.blkio_weight > 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000".to_owned());
    }
    if resources.pids_limit.is_some_and(|limit| limit <= 0) {
        resources.pids_limit = resources.pids_limit.filter(|limit| *limit < 0).map(|_| -1);
    }
    for limit in resources.ulimits.iter().flatten() {
        if limit.hard >= 0 && limit.soft > limit.hard {
            return invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                limit.soft, limit.hard
            ));
        }
    }
    Ok(warnings)
}

/// `0-2,4`: ranges are judged by their ends, never counted through.
fn cpuset(text: &str, cpus: usize) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let wrong = || Error::invalid(format!("Invalid value {text} for cpuset cpus"));
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let low: usize = low.trim().parse().map_err(|_| wrong())?;
        let high: usize = high.trim().parse().map_err(|_| wrong())?;
        if low > high {
            return Err(wrong());
        }
        if high >= cpus {
            return Err(Error::invalid(format!(
                "Requested CPUs are not available - requested {text}, available: 0-{}",
                cpus.saturating_sub(1)
            )));
        }
    }
    Ok(())
}

/// A path without `.`, `..` and doubled slashes, from the root.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entrypoint_of_the_request_hides_the_images_command() {
        let image = ImageConfig {
            entrypoint: Some(vec!["e".into()]),
            cmd: Some(vec!["c".into()]),
            env: Some(vec!["A=1".into()]),
            ..ImageConfig::default()
        };
        let run = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| {
            let list = |words: Option<&[&str]>| words.map(|words| words.iter().map(|w| (*w).to_owned()).collect());
            let mut config = ContainerConfig {
                entrypoint: list(entrypoint),
                cmd: list(cmd),
                env: Some(vec!["A=2".into()]),
                ..ContainerConfig::default()
            };
            merge(&mut config, &image);
            assert_eq!(config.env.as_deref(), Some(["A=2".to_owned()].as_slice()));
            command(&config).map(|(path, args)| format!("{path} {}", args.join(" ")))
        };
        assert_eq!(run(None, None).unwrap(), "e c");
        assert_eq!(run(None, Some(&["x"])).unwrap(), "e x");
        assert_eq!(run(Some(&["y"]), None).unwrap(), "y ");
        assert_eq!(run(Some(&[""]), Some(&["z"])).unwrap(), "z ");
        assert_eq!(run(Some(&[""]), None).unwrap_err().message, "no command specified");
    }

    #[test]
    fn limits_are_judged_in_dockers_words() {
        let host = Host {
            cpus: 2,
            swap_limit: true,
            ..Host::default()
        };
        let mut limits = Resources {
            memory: 64 << 20,
            ..Resources::default()
        };
        resources(&mut limits, &host).unwrap();
        assert_eq!(limits.memory_swap, 128 << 20);
        let refuse = |mut limits: Resources| resources(&mut limits, &host).unwrap_err().message;
        assert_eq!(
            refuse(Resources {
                memory: 1024,
                ..Resources::default()
            }),
            "Minimum memory limit allowed is 6MB"
        );
        assert!(
            refuse(Resources {
                nano_cpus: 3_000_000_000,
                ..Resources::default()
            })
            .starts_with("range of CPUs is from 0.01 to 2.00")
        );
        assert!(
            refuse(Resources {
                cpuset_cpus: "0-999999999".into(),
                ..Resources::default()
            })
            .starts_with("Requested CPUs are not available")
        );
    }

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean("/a//b/../c/."), "/a/c");
        assert_eq!(clean("/.."), "/");
    }
}
