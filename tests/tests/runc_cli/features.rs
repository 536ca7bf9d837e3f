//! What the programs say they can do.

use serde_json::json;

use crate::side::{self, Pair};

/// What a client of runc finds in its features it finds in ours.
#[test]
fn features_are_all_there() {
    let pair = Pair::new();
    let read =
        |side: &side::Side| -> serde_json::Value { serde_json::from_str(&side.call(&["features"]).ok()).unwrap() };
    let (runc, ours) = (read(&pair.runc), read(&pair.ours));
    // No options since runc 1.2, and architectures without a table.
    let gone = |name: &str| ["acl", "noacl"].contains(&name) || name.starts_with("SCMP_ARCH_MIPS");
    let foreign = |name: &str| name.starts_with("SCMP_ARCH_PPC") || name.starts_with("SCMP_ARCH_S390");
    for list in [
        "/hooks",
        "/mountOptions",
        "/linux/namespaces",
        "/linux/capabilities",
        "/linux/seccomp/actions",
        "/linux/seccomp/operators",
        "/linux/seccomp/archs",
    ] {
        let of = |features: &serde_json::Value| features.pointer(list).unwrap().as_array().unwrap().clone();
        let own = of(&ours);
        for name in of(&runc) {
            let text = name.as_str().unwrap();
            assert!(own.contains(&name) || gone(text) || foreign(text), "{list}: {text}");
        }
    }
    for (key, value) in [
        (
            "/linux/cgroup",
            json!({"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true}),
        ),
        ("/linux/apparmor", json!({"enabled": true})),
        ("/linux/selinux", json!({"enabled": true})),
        (
            "/linux/intelRdt",
            json!({"enabled": true, "schemata": true, "monitoring": true}),
        ),
        ("/linux/mountExtensions", json!({"idmap": {"enabled": true}})),
        ("/linux/netDevices", json!({"enabled": true})),
        ("/linux/seccomp/enabled", json!(true)),
        ("/ociVersionMin", json!("1.0.0")),
        ("/ociVersionMax", json!("1.3.0")),
        (
            "/potentiallyUnsafeConfigAnnotations",
            json!(["org.systemd.property.", "org.criu.config"]),
        ),
    ] {
        assert_eq!(ours.pointer(key), Some(&value), "{key}");
    }
    for list in [
        "/linux/memoryPolicy/modes",
        "/linux/memoryPolicy/flags",
        "/linux/seccomp/knownFlags",
        "/linux/seccomp/supportedFlags",
    ] {
        assert!(!ours.pointer(list).unwrap().as_array().unwrap().is_empty(), "{list}");
    }
    pair.finish();
}
