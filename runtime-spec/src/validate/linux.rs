//! The `linux` section.

use oci_spec::runtime::{Linux, LinuxDeviceType, LinuxIdMapping, LinuxNamespaceType};

use super::{Namespaces, Result, path_has_nul, refuse, sysctl};

/// Values of `rootfsPropagation`.
const PROPAGATION: [&str; 9] = [
    "",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "unbindable",
    "runbindable",
];

pub(super) fn validate(linux: &Linux, namespaces: &Namespaces) -> Result {
    namespace_list(linux)?;
    id_mappings(linux, namespaces)?;
    time_offsets(linux, namespaces)?;
    if let Some(values) = linux.sysctl() {
        sysctl::validate(values, namespaces)?;
    }
    hidden_paths(linux, namespaces)?;
    devices(linux)?;
    if let Some(mode) = linux
        .rootfs_propagation()
        .as_deref()
        .filter(|m| !PROPAGATION.contains(m))
    {
        return refuse(
            "linux.rootfsPropagation",
            format!("rootfsPropagation={mode} is not supported"),
        );
    }
    if linux.cgroups_path().as_ref().is_some_and(|p| path_has_nul(p)) {
        return refuse("linux.cgroupsPath", "must not contain a NUL byte");
    }
    if linux.net_devices().as_ref().is_some_and(|d| !d.is_empty()) && !namespaces.has(LinuxNamespaceType::Network) {
        return refuse(
            "linux.netDevices",
            "unable to move network devices without a private NET namespace",
        );
    }
    intel_rdt(linux)
}

fn namespace_list(linux: &Linux) -> Result {
    let mut seen = Vec::new();
    for (at, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let kind = namespace.typ();
        if seen.contains(&kind) {
            let name = serde_json::to_value(kind)
                .ok()
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_default();
            let reason = format!("malformed spec file: duplicated ns \"{name}\"");
            return refuse(format!("linux.namespaces[{at}].type"), reason);
        }
        seen.push(kind);
        if let Some(path) = namespace.path() {
            let field = format!("linux.namespaces[{at}].path");
            // An empty path is "no path" to the original.
            if !path.as_os_str().is_empty() && !path.is_absolute() {
                return refuse(field, "must be an absolute path");
            }
            if path_has_nul(path) {
                return refuse(field, "must not contain a NUL byte");
            }
        }
    }
    Ok(())
}

fn id_mappings(linux: &Linux, namespaces: &Namespaces) -> Result {
    let mappings = [
        ("linux.uidMappings", linux.uid_mappings()),
        ("linux.gidMappings", linux.gid_mappings()),
    ];
    let user = LinuxNamespaceType::User;
    for (field, mapping) in mappings {
        let mapping = mapping.as_deref().unwrap_or_default();
        if !mapping.is_empty() && !namespaces.has(user) {
            let reason = "user namespace mappings specified, but user namespace isn't enabled in the config";
            return refuse(field, reason);
        }
        if mapping.is_empty() && namespaces.has(user) && !namespaces.joins(user) {
            let kind = if field.contains("uid") { "uid" } else { "gid" };
            return refuse(field, format!("user namespaces enabled, but no {kind} mappings found"));
        }
        one_mapping(field, mapping)?;
    }
    Ok(())
}

fn one_mapping(field: &str, mapping: &[LinuxIdMapping]) -> Result {
    // /proc/PID/uid_map takes 340 lines since Linux 4.15.
    if mapping.len() > 340 {
        return refuse(field, format!("{} mappings, the kernel takes 340", mapping.len()));
    }
    for (at, map) in mapping.iter().enumerate() {
        if map.size() == 0 {
            return refuse(format!("{field}[{at}].size"), "must not be zero");
        }
        for (name, first) in [("containerID", map.container_id()), ("hostID", map.host_id())] {
            if first.checked_add(map.size()).is_none() {
                return refuse(format!("{field}[{at}].{name}"), "the range ends above the largest id");
            }
        }
    }
    let overlap = |first: fn(&LinuxIdMapping) -> u32| {
        let mut ranges: Vec<(u64, u64)> = mapping
            .iter()
            .map(|m| (u64::from(first(m)), u64::from(first(m)) + u64::from(m.size())))
            .collect();
        ranges.sort_unstable();
        ranges.windows(2).any(|pair| pair[0].1 > pair[1].0)
    };
    if overlap(LinuxIdMapping::container_id) || overlap(LinuxIdMapping::host_id) {
        return refuse(field, "two mappings overlap");
    }
    Ok(())
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|o| !o.is_empty()) else {
        return Ok(());
    };
    let field = "linux.timeOffsets";
    if !namespaces.has(LinuxNamespaceType::Time) {
        return refuse(
            field,
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        );
    }
    if namespaces.joins(LinuxNamespaceType::Time) {
        return refuse(
            field,
            "time namespace offsets specified, but the time namespace is joined, not made",
        );
    }
    match offsets
        .iter()
        .find(|(clock, _)| !matches!(clock.as_str(), "monotonic" | "boottime"))
    {
        Some((clock, _)) => refuse(field, format!("{clock:?} is not a clock: monotonic, boottime")),
        None => match offsets
            .iter()
            .find(|(_, o)| o.nanosecs().is_some_and(|n| n >= 1_000_000_000))
        {
            Some((clock, _)) => refuse(format!("{field}.{clock}.nanosecs"), "must be below 1000000000"),
            None => Ok(()),
        },
    }
}

fn hidden_paths(linux: &Linux, namespaces: &Namespaces) -> Result {
    let lists = [
        ("linux.maskedPaths", linux.masked_paths()),
        ("linux.readonlyPaths", linux.readonly_paths()),
    ];
    for (field, paths) in lists {
        let paths = paths.as_deref().unwrap_or_default();
        if !paths.is_empty() && !namespaces.has(LinuxNamespaceType::Mount) {
            return refuse(field, "unable to restrict sys entries without a private MNT namespace");
        }
        if let Some(at) = paths.iter().position(|p| !p.starts_with('/') || p.contains('\0')) {
            return refuse(
                format!("{field}[{at}]"),
                format!("{:?} is not an absolute path", paths[at]),
            );
        }
    }
    Ok(())
}

fn devices(linux: &Linux) -> Result {
    for (at, device) in linux.devices().iter().flatten().enumerate() {
        let field = |name: &str| format!("linux.devices[{at}].{name}");
        if !device.path().is_absolute() || path_has_nul(device.path()) {
            return refuse(field("path"), "must be an absolute path");
        }
        match device.typ() {
            LinuxDeviceType::A => return refuse(field("type"), "\"a\" is not the type of a device node"),
            LinuxDeviceType::P => continue,
            LinuxDeviceType::B | LinuxDeviceType::C | LinuxDeviceType::U => {}
        }
        let number = |n: i64, bits: u32| (0..1 << bits).contains(&n);
        if !number(device.major(), 32) {
            return refuse(field("major"), format!("{} is not a device number", device.major()));
        }
        if !number(device.minor(), 32) {
            return refuse(field("minor"), format!("{} is not a device number", device.minor()));
        }
    }
    let rules = linux.resources().as_ref().and_then(|r| r.devices().as_ref());
    for (at, rule) in rules.into_iter().flatten().enumerate() {
        if rule
            .access()
            .as_ref()
            .is_some_and(|a| !a.chars().all(|c| "rwm".contains(c)))
        {
            let reason = format!(
                "{:?} is not made of r, w and m",
                rule.access().as_deref().unwrap_or_default()
            );
            return refuse(format!("linux.resources.devices[{at}].access"), reason);
        }
    }
    Ok(())
}

fn intel_rdt(linux: &Linux) -> Result {
    let id = linux.intel_rdt().as_ref().and_then(|r| r.clos_id().as_deref());
    match id {
        // The root of resctrl is the default class; an empty name is none.
        Some(id) if id != "/" && (id == "." || id == ".." || id.contains(['/', '\0'])) => {
            refuse("linux.intelRdt.closID", format!("invalid intelRdt.ClosID {id:?}"))
        }
        _ => Ok(()),
    }
}
