use serde_json::{Value, json};

use super::*;

/// The default config with one place changed; null removes it.
fn with(pointer: &str, value: Value) -> std::result::Result<(), String> {
    let text = crate::default::default_spec_json(crate::default::Options::default());
    let mut spec: Value = serde_json::from_str(&text).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = spec.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(map), Value::Null) => drop(map.remove(key)),
        (Value::Object(map), value) => drop(map.insert(key.to_owned(), value)),
        (Value::Array(list), value) => list.push(value),
        _ => panic!("{pointer}"),
    }
    let spec = crate::load(spec.to_string().as_bytes()).map_err(|e| e.to_string())?;
    validate(&spec).map_err(|e| e.to_string())
}

#[test]
fn the_default_config_is_good() {
    with("/x", json!(1)).unwrap();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_refusal_names_the_field_and_has_the_words_of_runc() {
    let cases = [
        (
            "/ociVersion",
            json!("nope"),
            "ociVersion: \"nope\" is not a semantic version",
        ),
        (
            "/ociVersion",
            json!("2.0.0"),
            "ociVersion: unsupported version \"2.0.0\"",
        ),
        ("/root", Value::Null, "root: root must be specified"),
        ("/root/path", json!(""), "root.path: must not be empty"),
        (
            "/process/cwd",
            json!("relative"),
            "process.cwd: Cwd must be an absolute path",
        ),
        ("/process/cwd", json!(""), "process.cwd: Cwd property must not be empty"),
        (
            "/process/cwd",
            Value::Null,
            "process.cwd: Cwd property must not be empty",
        ),
        ("/process/args", json!([]), "process.args: args must not be empty"),
        (
            "/process/args",
            json!(["a\u{0}b"]),
            "process.args[0]: must not contain a NUL byte",
        ),
        (
            "/process/oomScoreAdj",
            json!(1001),
            "process.oomScoreAdj: 1001 is not in range -1000 to 1000",
        ),
        (
            "/process/rlimits/-",
            json!({"type": "RLIMIT_NOFILE", "hard": 1, "soft": 1}),
            "process.rlimits[1].type: duplicate rlimit RLIMIT_NOFILE",
        ),
        (
            "/process/rlimits/-",
            json!({"type": "RLIMIT_CORE", "hard": 1, "soft": 2}),
            "process.rlimits[1].soft: soft limit 2 is above the hard limit 1",
        ),
        (
            "/linux/namespaces/-",
            json!({"type": "pid"}),
            "linux.namespaces[5].type: malformed spec file: duplicated ns \"pid\"",
        ),
        (
            "/linux/namespaces/-",
            json!({"type": "user"}),
            "linux.uidMappings: user namespaces enabled, but no uid mappings found",
        ),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
            "linux.uidMappings: user namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}]),
            "hostname: unable to set hostname without a private UTS namespace",
        ),
        (
            "/linux/namespaces",
            json!([{"type": "uts"}]),
            "mounts: unable to mount without a private MNT namespace",
        ),
        (
            "/linux/sysctl",
            json!({"vm.swappiness": "1"}),
            "linux.sysctl.vm.swappiness: sysctl \"vm.swappiness\" is not in a separate kernel namespace",
        ),
        (
            "/linux/sysctl",
            json!({"kernel.hostname": "x"}),
            "linux.sysctl.kernel.hostname: sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \"hostname\" field",
        ),
        (
            "/linux/rootfsPropagation",
            json!("odd"),
            "linux.rootfsPropagation: rootfsPropagation=odd is not supported",
        ),
        (
            "/linux/maskedPaths",
            json!(["proc"]),
            "linux.maskedPaths[0]: \"proc\" is not an absolute path",
        ),
        (
            "/linux/devices",
            json!([{"path": "dev/x", "type": "c", "major": 1, "minor": 1}]),
            "linux.devices[0].path: must be an absolute path",
        ),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 1}]),
            "linux.devices[0].major: -1 is not a device number",
        ),
        (
            "/linux/timeOffsets",
            json!({"monotonic": {"secs": 1}}),
            "linux.timeOffsets: time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        (
            "/hooks",
            json!({"poststop": [{"path": "x"}]}),
            "hooks.poststop[0].path: must be an absolute path",
        ),
        (
            "/linux",
            Value::Null,
            "hostname: unable to set hostname without a private UTS namespace",
        ),
    ];
    for (pointer, value, text) in cases {
        let shown = value.to_string();
        match with(pointer, value) {
            Err(error) if pointer == "/linux" => assert!(error.starts_with("mounts: "), "{error}"),
            Err(error) => assert_eq!(error, text, "{pointer} = {shown}"),
            Ok(()) => panic!("{pointer} = {shown} was taken"),
        }
    }
}

#[test]
fn sysctls_of_the_own_namespaces_are_taken() {
    let good = [
        "net.ipv4.ip_forward",
        "net/ipv4/conf/eno2.100/forwarding",
        "kernel.shm_rmid_forced",
        "fs.mqueue.msg_max",
        "kernel.domainname",
    ];
    for name in good {
        with("/linux/sysctl", json!({name: "1"})).unwrap();
    }
    for name in [
        "net./../kernel.core_pattern",
        "net/../kernel/core_pattern",
        "net..x",
        "",
        "/",
        "kernel.core_pattern",
    ] {
        with("/linux/sysctl", json!({name: "1"})).unwrap_err();
    }
}

#[test]
fn without_the_namespaces_their_sysctls_are_the_hosts() {
    let mut spec = crate::default::default_spec(crate::default::Options::default()).unwrap();
    let linux = spec.linux_mut().as_mut().unwrap();
    linux
        .namespaces_mut()
        .as_mut()
        .unwrap()
        .retain(|n| !matches!(n.typ(), LinuxNamespaceType::Network | LinuxNamespaceType::Ipc));
    for (name, words) in [
        ("net.core.somaxconn", "not allowed in host network namespace"),
        ("kernel.sem", "is not allowed in the hosts ipc namespace"),
    ] {
        let mut spec = spec.clone();
        spec.linux_mut()
            .as_mut()
            .unwrap()
            .set_sysctl(Some([(name.to_owned(), "1".to_owned())].into()));
        assert!(validate(&spec).unwrap_err().reason.ends_with(words));
    }
}

#[test]
fn overlapping_id_maps_are_refused() {
    let map = |c: u32, h: u32, s: u32| json!({"containerID": c, "hostID": h, "size": s});
    let text = crate::default::default_spec_json(crate::default::Options {
        rootless: Some((0, 0)),
        cgroup2: false,
    });
    let mut spec: Value = serde_json::from_str(&text).unwrap();
    for (maps, good) in [
        (json!([map(0, 1000, 10), map(10, 2000, 5)]), true),
        (json!([map(0, 1000, 10), map(9, 2000, 5)]), false),
        (json!([map(0, 1000, 10), map(10, 1009, 5)]), false),
        (json!([map(0, 1000, 0)]), false),
        (json!([map(0, u32::MAX, 2)]), false),
    ] {
        spec["linux"]["uidMappings"] = maps;
        let parsed = crate::load(spec.to_string().as_bytes()).unwrap();
        assert_eq!(validate(&parsed).is_ok(), good, "{}", spec["linux"]["uidMappings"]);
    }
}
