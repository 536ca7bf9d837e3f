//! Device rules as `DevicePolicy=` and `DeviceAllow=`.

use super::bus::Value;
use super::properties::Property;
use crate::devices::{Match, Policy};

/// The properties of a policy.
///
/// systemd knows only lists of what is allowed. A policy that allows by default is told as "deny all", and the program (or v1 list)
/// that is put in force afterwards says the rest; "allow everything" it has.
pub(super) fn properties(policy: &Policy, version: u32) -> Vec<Property> {
    let list = |entries| Property::new("DeviceAllow", Value::Array("(ss)".to_owned(), entries));
    let mode = |mode: &str| Property::new("DevicePolicy", Value::str(mode));
    match (policy.allow, policy.exceptions.is_empty()) {
        (true, true) => return vec![mode("auto"), list(Vec::new())],
        (true, false) => return vec![mode("strict"), list(Vec::new())],
        (false, _) => {}
    }
    let entry = |(device, access): &(Match, crate::devices::Access)| {
        let path = path(device, version)?;
        Some(Value::Struct(vec![Value::str(path), Value::str(access.text())]))
    };
    let entries = policy.exceptions.iter().filter_map(entry).collect();
    // The empty list first: in an update it empties what was there.
    vec![mode("strict"), list(Vec::new()), list(entries)]
}

/// How systemd names a set of devices. A minor number for every major it cannot say; numbers for whole majors only since 240.
fn path(device: &Match, version: u32) -> Option<String> {
    let kind = if device.block { "block" } else { "char" };
    match (device.major, device.minor) {
        (None, None) => Some(format!("{kind}-*")),
        (None, Some(_)) => None,
        (Some(major), None) => (version >= 240).then(|| format!("{kind}-{major}")),
        (Some(major), Some(minor)) => {
            let path = format!("/dev/{kind}/{major}:{minor}");
            // Before 240 it looks the node up, and complains about one that is not there.
            (version >= 240 || std::path::Path::new(&path).exists()).then_some(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::{default_rules, fold};

    #[test]
    fn the_default_rules_become_a_list() {
        let properties = properties(&fold(&default_rules()).unwrap(), 252);
        assert_eq!(properties[0], Property::new("DevicePolicy", Value::str("strict")));
        let Value::Array(signature, entries) = &properties[2].value else {
            panic!("{properties:?}")
        };
        assert_eq!(signature, "(ss)");
        let entry = |path: &str, access: &str| Value::Struct(vec![Value::str(path), Value::str(access)]);
        assert!(entries.contains(&entry("/dev/char/1:3", "rwm")), "{entries:?}");
        assert!(entries.contains(&entry("char-*", "m")), "{entries:?}");
        assert!(entries.contains(&entry("char-136", "rwm")), "{entries:?}");
    }

    #[test]
    fn everything_allowed_is_auto_and_a_list_of_denials_is_strict() {
        let mut policy = Policy {
            allow: true,
            exceptions: Vec::new(),
        };
        assert_eq!(properties(&policy, 252)[0].value, Value::str("auto"));
        let device = Match {
            block: false,
            major: Some(1),
            minor: Some(3),
        };
        policy.exceptions.push((device, crate::devices::Access(7)));
        assert_eq!(properties(&policy, 252)[0].value, Value::str("strict"));
    }
}
