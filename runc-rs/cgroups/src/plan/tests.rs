use serde_json::json;

use super::*;

fn all(interface: Interface) -> Controllers {
    let v1 = [
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma",
    ];
    let v2 = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"];
    let names: &[&str] = if interface == Interface::V1 { &v1 } else { &v2 };
    names.iter().map(|n| ((*n).to_owned(), interface)).collect()
}

fn made(resources: serde_json::Value, controllers: &Controllers, current: Current) -> Result<Vec<String>> {
    let resources = serde_json::from_value(resources).unwrap();
    let writes = plan(&resources, controllers, current)?;
    Ok(writes.iter().map(|w| format!("{}={}", w.file, w.value)).collect())
}

fn v1(resources: serde_json::Value) -> Vec<String> {
    made(resources, &all(Interface::V1), Current { memory_limit: u64::MAX }).unwrap()
}

fn v2(resources: serde_json::Value) -> Vec<String> {
    made(resources, &all(Interface::V2), Current::default()).unwrap()
}

#[test]
fn what_docker_leaves_at_zero_writes_nothing() {
    let resources = json!({
        "memory": {}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
        "pids": {"limit": 0}, "blockIO": {"weight": 0}, "network": {"priorities": []}, "hugepageLimits": []
    });
    assert!(v1(resources.clone()).is_empty());
    assert!(v2(resources.clone()).is_empty());
    assert!(
        made(resources, &Controllers::new(), Current::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn cpu() {
    let resources =
        json!({"cpu": {"shares": 512, "quota": 20_000, "period": 10_000, "burst": 5, "idle": 1, "cpus": "0-1"}});
    let expected = [
        "cpuset.cpus=0-1",
        "cpu.shares=512",
        "cpu.cfs_period_us=10000",
        "cpu.cfs_quota_us=20000",
        "cpu.cfs_burst_us=5",
        "cpu.idle=1",
    ];
    assert_eq!(v1(resources.clone()), expected);
    let expected = [
        "cpuset.cpus=0-1",
        "cpu.idle=1",
        "cpu.weight=59",
        "cpu.max.burst=5",
        "cpu.max=20000 10000",
    ];
    assert_eq!(v2(resources), expected);
    assert_eq!(v2(json!({"cpu": {"quota": -1}})), ["cpu.max=max 100000"]);
    assert_eq!(v2(json!({"cpu": {"period": 50_000}})), ["cpu.max=max 50000"]);
}

#[test]
fn memory_and_swap_on_v1_keep_their_order() {
    let resources = json!({"memory": {"limit": 100, "swap": 200}});
    let at = |limit| made(resources.clone(), &all(Interface::V1), Current { memory_limit: limit }).unwrap();
    assert_eq!(
        at(u64::MAX),
        ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=200"]
    );
    assert_eq!(at(50), ["memory.memsw.limit_in_bytes=200", "memory.limit_in_bytes=100"]);
    assert_eq!(
        v1(json!({"memory": {"limit": -1}})),
        ["memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"]
    );
    let rest = json!({"memory": {"reservation": 7, "swappiness": 0, "disableOOMKiller": true, "kernelTCP": 9}});
    let expected = [
        "memory.soft_limit_in_bytes=7",
        "memory.kmem.tcp.limit_in_bytes=9",
        "memory.oom_control=1",
        "memory.swappiness=0",
    ];
    assert_eq!(v1(rest), expected);
}

#[test]
fn memory_on_v2() {
    assert_eq!(
        v2(json!({"memory": {"limit": 100, "swap": 150, "reservation": 50}})),
        ["memory.swap.max=50", "memory.max=100", "memory.low=50"]
    );
    assert_eq!(
        v2(json!({"memory": {"limit": 100, "swap": 100}})),
        ["memory.swap.max=0", "memory.max=100"]
    );
    assert_eq!(
        v2(json!({"memory": {"limit": -1}})),
        ["memory.swap.max=max", "memory.max=max"]
    );
    let error = made(
        json!({"memory": {"limit": 100, "swap": 50}}),
        &all(Interface::V2),
        Current::default(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "linux.resources.memory.swap: memory+swap limit should be >= memory limit"
    );
    let error = made(
        json!({"memory": {"swappiness": 101}}),
        &all(Interface::V1),
        Current::default(),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("invalid memory swappiness value: 101 (valid range is 0-100)")
    );
}

#[test]
fn block_devices() {
    let resources = json!({"blockIO": {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]
    }});
    let expected = [
        "blkio.weight=500",
        "blkio.weight_device=8:0 10",
        "blkio.throttle.read_bps_device=8:0 1000",
        "blkio.throttle.write_iops_device=8:16 0",
    ];
    assert_eq!(v1(resources.clone()), expected);
    let expected = [
        "io.bfq.weight=500",
        "io.bfq.weight=8:0 10",
        "io.max=8:0 rbps=1000",
        "io.max=8:16 wiops=max",
    ];
    assert_eq!(v2(resources.clone()), expected);
    let writes = plan(
        &serde_json::from_value(resources).unwrap(),
        &all(Interface::V2),
        Current::default(),
    )
    .unwrap();
    assert_eq!(
        writes[0].missing,
        Missing::Use {
            file: "io.weight".into(),
            value: "4950".into()
        }
    );
}

#[test]
fn the_rest() {
    let resources = json!({
        "pids": {"limit": -1},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
        "network": {"classID": 5, "priorities": [{"name": "eth0", "priority": 3}]},
        "rdma": {"mlx": {"hcaHandles": 3, "hcaObjects": 4}},
    });
    let expected = [
        "pids.max=max",
        "hugetlb.2MB.limit_in_bytes=9",
        "hugetlb.2MB.rsvd.limit_in_bytes=9",
        "net_cls.classid=5",
        "net_prio.ifpriomap=eth0 3",
        "rdma.max=mlx hca_handle=3 hca_object=4",
    ];
    assert_eq!(v1(resources), expected);
    let bad = json!({"hugepageLimits": [{"pageSize": "../x", "limit": 9}]});
    assert!(made(bad, &all(Interface::V2), Current::default()).is_err());
}

#[test]
fn unified_comes_last_and_only_on_v2() {
    let resources = json!({"unified": {"memory.high": "5", "cgroup.max.depth": "3", "io.max": "8:0 rbps=1\n8:16 rbps=2"}, "pids": {"limit": 2}});
    let expected = [
        "pids.max=2",
        "cgroup.max.depth=3",
        "io.max=8:0 rbps=1",
        "io.max=8:16 rbps=2",
        "memory.high=5",
    ];
    assert_eq!(v2(resources.clone()), expected);
    let error = made(resources, &all(Interface::V1), Current::default()).unwrap_err();
    assert!(matches!(error, Error::UnifiedOnV1));
}

#[test]
fn a_limit_without_its_controller_is_refused() {
    for (resources, name) in [
        (json!({"pids": {"limit": 5}}), "pids"),
        (json!({"memory": {"limit": 5}}), "memory"),
        (json!({"cpu": {"cpus": "0"}}), "cpuset"),
        (json!({"blockIO": {"weight": 100}}), "io"),
        (json!({"rdma": {"x": {}}}), "rdma"),
    ] {
        let error = made(resources, &Controllers::new(), Current::default())
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            format!("cannot set {name} limit: container could not join or create cgroup")
        );
    }
}
