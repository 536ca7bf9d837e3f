//! The spec as data: read back with the types that runtimes read it with.

use std::collections::BTreeMap;

use runtime_spec::oci::Spec;

use super::*;
use crate::engine::model::{ContainerConfig, LogFrom, MountPoint, RunState, VERSION};

fn record() -> Record {
    Record {
        version: VERSION,
        id: "c".repeat(64),
        name: "web".into(),
        created: String::new(),
        path: "sh".into(),
        args: vec!["-c".into(), "true".into()],
        image_id: String::new(),
        platform: "linux".into(),
        config: ContainerConfig {
            hostname: "box".into(),
            env: Some(vec!["A=1".into(), "PATH=/bin".into()]),
            ..ContainerConfig::default()
        },
        host_config: HostConfig::default(),
        networks: BTreeMap::new(),
        mounts: Vec::new(),
        endpoints: Vec::new(),
        log: LogFrom::Shim,
        state: RunState::default(),
        restart_count: 0,
        stopped_by_user: false,
        complete: true,
        started_once: false,
    }
}

fn host() -> Host {
    let held = runtime_spec::caps::ALL
        .iter()
        .filter(|name| **name != "CAP_SYS_RESOURCE");
    Host {
        seccomp: true,
        nofile_max: 20_000,
        capabilities: held.map(|name| (*name).to_owned()).collect(),
        ..Host::default()
    }
}

fn value<'a>(record: &'a Record, change: impl FnOnce(&mut Input<'a>)) -> Result<Value> {
    let host: &'static Host = Box::leak(Box::new(host()));
    let user: &'static User = Box::leak(Box::new(User {
        home: "/root".into(),
        ..User::default()
    }));
    let mut input = Input {
        record,
        host,
        user,
        network: Namespace::Join("/run/netns/x".into()),
        pid: Namespace::Own,
        ipc: Namespace::Own,
        uts: Namespace::Own,
        cgroup_parent: "/docker",
        binds: &[],
        devices: &[],
        default_ulimits: &[],
        init: None,
    };
    change(&mut input);
    generate(&input)
}

#[test]
fn a_plain_container_is_what_the_runtime_can_read() {
    let value = value(&record(), |_| {}).unwrap();
    let spec: Spec = serde_json::from_value(value.clone()).unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.args().as_ref().unwrap(), &["sh", "-c", "true"]);
    assert_eq!(
        process.env().as_ref().unwrap(),
        &["PATH=/bin", "HOSTNAME=box", "A=1", "HOME=/root"]
    );
    assert_eq!(value["linux"]["cgroupsPath"], format!("/docker/{}", "c".repeat(64)));
    assert_eq!(
        value["linux"]["namespaces"][1],
        json!({"type": "network", "path": "/run/netns/x"})
    );
    assert_eq!(
        value["process"]["capabilities"]["bounding"].as_array().unwrap().len(),
        14
    );
    assert!(value["linux"]["seccomp"]["syscalls"].as_array().unwrap().len() > 1);
    assert!(value["linux"]["maskedPaths"].as_array().unwrap().len() > 5);
    assert_eq!(value["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"], "0");
}

#[test]
fn the_hosts_namespaces_are_left_out() {
    let mut record = record();
    record.host_config.resources.ulimits = Some(vec![Ulimit {
        name: "nofile".into(),
        soft: 5,
        hard: -1,
    }]);
    let value = value(&record, |input| {
        input.network = Namespace::Host;
        input.pid = Namespace::Host;
        input.uts = Namespace::Host;
    })
    .unwrap();
    let kinds: Vec<_> = value["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["mount", "ipc"]);
    assert!(value.get("hostname").is_none());
    assert_eq!(value["linux"]["sysctl"], json!({}));
    assert_eq!(
        value["process"]["rlimits"],
        json!([{"type": "RLIMIT_NOFILE", "soft": 5, "hard": u64::MAX}])
    );
}

#[test]
fn privileged_gets_what_the_daemon_holds_and_names_are_kept_for_the_runtime_to_refuse() {
    let mut record = record();
    record.host_config.cap_add = Some(vec!["SYS_RESOURCE".into()]);
    let bounding = |value: &Value| value["process"]["capabilities"]["bounding"].as_array().unwrap().clone();
    assert!(bounding(&value(&record, |_| {}).unwrap()).contains(&json!("CAP_SYS_RESOURCE")));
    record.host_config.cap_add = Some(vec!["ALL".into()]);
    assert_eq!(bounding(&value(&record, |_| {}).unwrap()).len(), 40);
    record.host_config = HostConfig {
        privileged: true,
        ..HostConfig::default()
    };
    let privileged = value(&record, |_| {}).unwrap();
    assert_eq!(bounding(&privileged).len(), 40);
    assert!(privileged["linux"].get("seccomp").is_none() && privileged["linux"].get("maskedPaths").is_none());
    record.host_config = HostConfig {
        cap_add: Some(vec!["NONSENSE".into()]),
        ..HostConfig::default()
    };
    assert!(value(&record, |_| {}).is_err());
}

#[test]
fn limits_arrive_where_the_runtime_looks() {
    let mut record = record();
    let limits = &mut record.host_config.resources;
    (limits.memory, limits.memory_swap, limits.nano_cpus, limits.pids_limit) =
        (64 << 20, 128 << 20, 1_500_000_000, Some(50));
    let value = value(&record, |_| {}).unwrap();
    let resources = &value["linux"]["resources"];
    assert_eq!(resources["memory"], json!({"limit": 64 << 20, "swap": 128 << 20}));
    assert_eq!(resources["cpu"], json!({"period": 100_000, "quota": 150_000}));
    assert_eq!(resources["pids"], json!({"limit": 50}));
}

#[test]
fn mounts_come_parents_first_and_cover_defaults() {
    let mut record = record();
    let tmpfs = |destination: &str, options: &[&str]| MountPoint {
        kind: "tmpfs".into(),
        name: String::new(),
        source: PathBuf::new(),
        destination: destination.into(),
        driver: String::new(),
        mode: String::new(),
        rw: true,
        propagation: String::new(),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        anonymous: false,
        make_source: false,
        copy_up: false,
        subpath: String::new(),
        non_recursive: false,
    };
    record.mounts = vec![tmpfs("/data/sub", &["size=1m", "exec"]), tmpfs("/dev/shm", &[])];
    let bind = Bind {
        source: "/srv".into(),
        destination: "/data".into(),
        rw: false,
        propagation: String::new(),
        non_recursive: false,
    };
    let value = value(&record, |input| input.binds = std::slice::from_ref(&bind)).unwrap();
    let mounts = value["mounts"].as_array().unwrap();
    let of = |destination: &str| {
        mounts
            .iter()
            .filter(|m| m["destination"] == destination)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("/dev/shm").len(), 1);
    assert_eq!(of("/data")[0]["options"], json!(["rbind", "rprivate", "ro"]));
    assert_eq!(
        of("/data/sub")[0]["options"],
        json!(["nosuid", "nodev", "size=1m", "exec"])
    );
    let at = |destination: &str| mounts.iter().position(|m| m["destination"] == destination).unwrap();
    assert!(at("/data") < at("/data/sub"));
}

#[test]
fn somebody_else_than_root_has_no_capabilities_in_force() {
    let user = User {
        uid: 1000,
        gid: 1000,
        groups: vec![2000],
        home: String::new(),
    };
    let process = exec_process(
        &["id".into()],
        &[],
        "/",
        false,
        &user,
        &["CAP_CHOWN".into()],
        &HostConfig::default(),
    )
    .unwrap();
    assert_eq!(process["capabilities"]["effective"], json!([]));
    assert_eq!(process["capabilities"]["bounding"], json!(["CAP_CHOWN"]));
    assert_eq!(
        process["user"],
        json!({"uid": 1000, "gid": 1000, "additionalGids": [2000]})
    );
}
