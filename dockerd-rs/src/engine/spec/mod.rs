//! A container's configuration into an OCI runtime spec: a pure function of the record, the image's user and facts of the host.
//!
//! Whatever has to be looked up (users, devices, volumes, namespaces of other containers) is in [`Input`] already. The result is JSON, as it
//! travels: the runtime reads it with its own types, and tests here read it with oci-spec's.

mod host;
mod mounts;
mod process;
mod resources;

use std::path::PathBuf;

use runtime_spec::{OCI_VERSION_ENGINE, engine, seccomp};
use serde_json::{Value, json};

pub(crate) use host::{Device, Host, all_devices, device};
pub(crate) use process::{add as add_environment, environment, exec_process};
pub(crate) use resources::resources;

use super::model::{HostConfig, Record, Ulimit};
use crate::error::{Error, Result};

/// A namespace: its own, the host's, or one that exists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Namespace {
    /// A new one.
    #[default]
    Own,
    /// None of its own.
    Host,
    /// The one bound to this file.
    Join(PathBuf),
}

/// Who the process is, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Something of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    /// Path on the host.
    pub(crate) source: PathBuf,
    /// Path in the container.
    pub(crate) destination: String,
    /// Whether it may be written.
    pub(crate) rw: bool,
    /// `rprivate` and so on; empty for the default.
    pub(crate) propagation: String,
    /// Without the mounts beneath it.
    pub(crate) non_recursive: bool,
}

/// A device of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GivenDevice {
    pub(crate) device: Device,
    /// `rwm`.
    pub(crate) access: String,
}

/// All that the spec depends on.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) record: &'a Record,
    pub(crate) host: &'a Host,
    pub(crate) user: &'a User,
    pub(crate) network: Namespace,
    pub(crate) pid: Namespace,
    pub(crate) ipc: Namespace,
    pub(crate) uts: Namespace,
    pub(crate) cgroup_parent: &'a str,
    /// `/etc/hosts`, volumes and so on, in the order they are mounted.
    pub(crate) binds: &'a [Bind],
    pub(crate) devices: &'a [GivenDevice],
    /// Limits of the daemon's flags.
    pub(crate) default_ulimits: &'a [Ulimit],
    /// Program to run as the first process, with the container's own behind it.
    pub(crate) init: Option<&'a str>,
}

/// The spec.
///
/// # Errors
/// 400 for what cannot be: an unknown capability, a broken seccomp profile.
pub(crate) fn generate(input: &Input<'_>) -> Result<Value> {
    let record = input.record;
    let host_config = &record.host_config;
    let capabilities = capabilities(input)?;
    let mut spec = json!({
        "ociVersion": OCI_VERSION_ENGINE,
        "process": process::process(input, &capabilities)?,
        "root": {"path": "rootfs", "readonly": host_config.readonly_rootfs},
        "mounts": mounts::mounts(input),
        "linux": linux(input, &capabilities)?,
    });
    if input.uts == Namespace::Own {
        spec["hostname"] = json!(record.config.hostname);
        if !record.config.domainname.is_empty() {
            spec["linux"]["sysctl"]["kernel.domainname"] = json!(record.config.domainname);
        }
    }
    if let Some(annotations) = &host_config.annotations {
        spec["annotations"] = json!(annotations);
    }
    Ok(spec)
}

fn capabilities(input: &Input<'_>) -> Result<Vec<String>> {
    exec_capabilities(&input.record.host_config, input.host)
}

/// The capabilities a process gets. What the daemon itself does not hold is left out where it was asked for in a lump (`--privileged`, `ALL`),
/// and stays in where it was asked for by name, for the runtime to refuse.
pub(crate) fn exec_capabilities(host_config: &HostConfig, host: &Host) -> Result<Vec<String>> {
    let held: Vec<&str> = host.capabilities.iter().map(String::as_str).collect();
    if host_config.privileged {
        return Ok(host.capabilities.clone());
    }
    let add = host_config.cap_add.clone().unwrap_or_default();
    let drop = host_config.cap_drop.clone().unwrap_or_default();
    let basics: Vec<&str> = runtime_spec::caps::DOCKER_DEFAULT
        .iter()
        .copied()
        .filter(|name| held.contains(name))
        .collect();
    runtime_spec::caps::tweak(&held, &basics, &add, &drop)
        .map_err(|e| Error::invalid(format!("invalid capability: {e}")))
}

fn linux(input: &Input<'_>, capabilities: &[String]) -> Result<Value> {
    let record = input.record;
    let host_config = &record.host_config;
    let mut linux = json!({
        "namespaces": namespaces(input),
        "cgroupsPath": format!("{}/{}", input.cgroup_parent.trim_end_matches('/'), record.id),
        "resources": resources::all(input)?,
        "sysctl": sysctls(input),
        "devices": input.devices.iter().map(|given| given.device.to_oci()).collect::<Vec<_>>(),
    });
    if !host_config.privileged {
        let masked = host_config.masked_paths.clone();
        let readonly = host_config.readonly_paths.clone();
        linux["maskedPaths"] = masked.map_or_else(|| json!(engine::MASKED_PATHS), |paths| json!(paths));
        linux["readonlyPaths"] = readonly.map_or_else(|| json!(engine::READONLY_PATHS), |paths| json!(paths));
    }
    if let Some(profile) = seccomp_profile(input, capabilities)? {
        linux["seccomp"] = profile;
    }
    Ok(linux)
}

fn namespaces(input: &Input<'_>) -> Vec<Value> {
    let private = input.host.cgroup2 && !input.record.host_config.privileged;
    let cgroup = match input.record.host_config.cgroupns_mode.as_str() {
        "host" => Namespace::Host,
        "private" => Namespace::Own,
        _ if private => Namespace::Own,
        _ => Namespace::Host,
    };
    let all = [
        ("mount", &Namespace::Own),
        ("network", &input.network),
        ("uts", &input.uts),
        ("pid", &input.pid),
        ("ipc", &input.ipc),
        ("cgroup", &cgroup),
    ];
    let one = |(kind, namespace): (&str, &Namespace)| match namespace {
        Namespace::Own => Some(json!({"type": kind})),
        Namespace::Host => None,
        Namespace::Join(path) => Some(json!({"type": kind, "path": path})),
    };
    all.into_iter().filter_map(one).collect()
}

fn sysctls(input: &Input<'_>) -> Value {
    let mut sysctls = input.record.host_config.sysctls.clone().unwrap_or_default();
    // Docker's: in a network namespace of its own, binding low ports and sending pings need no capability.
    if input.network != Namespace::Host {
        sysctls
            .entry("net.ipv4.ip_unprivileged_port_start".to_owned())
            .or_insert_with(|| "0".to_owned());
        sysctls
            .entry("net.ipv4.ping_group_range".to_owned())
            .or_insert_with(|| "0 2147483647".to_owned());
    }
    json!(sysctls)
}

fn seccomp_profile(input: &Input<'_>, capabilities: &[String]) -> Result<Option<Value>> {
    let host_config = &input.record.host_config;
    let options = host_config.security_opt.iter().flatten();
    let asked = options
        .filter_map(|option| option.split_once(['=', ':']))
        .filter(|(key, _)| *key == "seccomp")
        .map(|(_, value)| value)
        .next_back();
    let context = seccomp::Context::native(capabilities);
    let profile = match asked {
        Some("unconfined") => return Ok(None),
        None | Some("builtin" | "default") if host_config.privileged || !input.host.seccomp => return Ok(None),
        None | Some("builtin" | "default") => seccomp::default_profile(&context),
        Some(text) => seccomp::load_profile(text.as_bytes(), &context).map_err(|e| Error::invalid(e.to_string()))?,
    };
    serde_json::to_value(profile)
        .map(Some)
        .map_err(|e| Error::failed("seccomp profile", e))
}

#[cfg(test)]
mod tests;
