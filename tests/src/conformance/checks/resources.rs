//! config-linux.md: resources, each read back from the container's cgroup.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::cgroups::{directory, needs_cgroups};
use crate::conformance::bundle::{Bundle, wait};
use crate::conformance::trial::{Done, Stop, Trial, elsewhere};

const FOREVER: &str = "while :; do sleep 1; done";

/// What a control file of the container's cgroup has in it; `None` when the file is not there.
fn control(bundle: &Bundle, controller: &str, file: &str) -> Result<Option<String>, Stop> {
    let path = directory(bundle.subject.place, bundle.pid()?, controller)?.join(file);
    Ok(fs::read_to_string(path).ok().map(|text| text.trim().to_owned()))
}

/// A created container with these resources. Not started: the limits are there already.
fn with<'a>(t: &Trial<'a>, field: &str, value: Value) -> Result<Bundle<'a>, Stop> {
    let mut bundle = t.bundle();
    bundle.script(FOREVER);
    bundle.set(&format!("/linux/resources/{field}"), value);
    bundle.created()?;
    Ok(bundle)
}

/// Whether the place has a controller where the runtime would use it.
fn has(t: &Trial, controller: &str) -> bool {
    if t.subject.place.v2 {
        let all = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        return all.split_whitespace().any(|name| name == controller);
    }
    Path::new("/sys/fs/cgroup").join(controller).exists()
}

/// Ends a check of a controller that the place has not.
fn needs(t: &Trial, v1: &str, v2: &str) -> Done {
    needs_cgroups(t)?;
    let controller = if t.subject.place.v2 { v2 } else { v1 };
    if !has(t, controller) {
        return elsewhere(format!("there is no cgroup controller {controller:?} here"));
    }
    Ok(())
}

/// Control files and what they have to say: of cgroup v1, or of v2.
type Files<'a> = &'a [(&'a str, &'a str, &'a str)];

fn compare(t: &mut Trial, bundle: &Bundle, controller: &str, v1: Files, v2: Files) -> Done {
    for (id, file, wanted) in if t.subject.place.v2 { v2 } else { v1 } {
        let seen = control(bundle, controller, file)?;
        t.must(
            *id,
            seen.as_deref() == Some(*wanted),
            format_args!("{file}: {seen:?}, not {wanted:?}"),
        );
    }
    Ok(())
}

/// All refused but what is listed; a later rule wins; reading and writing are told apart.
pub fn device_rules(t: &mut Trial) -> Done {
    needs(t, "devices", "memory")?;
    let mut bundle = t.bundle();
    bundle.set(
        "/linux/resources/devices",
        json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "r"},
            {"allow": true, "type": "c", "major": 7, "minor": 1, "access": "rw"},
            {"allow": true, "type": "c", "major": 7, "minor": 2, "access": "rw"},
            {"allow": false, "type": "c", "major": 7, "minor": 2, "access": "rw"},
        ]),
    );
    bundle.set(
        "/linux/devices",
        json!([
            {"type": "c", "path": "/dev/readable", "major": 1, "minor": 5},
            {"type": "c", "path": "/dev/none", "major": 1, "minor": 11},
            {"type": "c", "path": "/dev/vcs1", "major": 7, "minor": 1},
            {"type": "c", "path": "/dev/vcs2", "major": 7, "minor": 2},
        ]),
    );
    // A device without a driver answers ENXIO when the rules let it be opened.
    let said = bundle.tell(
        "try() { (eval \"exec 5$1$2\") 2>&1 | busybox grep -q 'not permitted' && echo no || echo yes; }; \
         try '<' /dev/readable; try '<' /dev/none; try '<' /dev/vcs1; try '<' /dev/vcs2; try '>' /dev/null; \
         busybox mknod /made c 1 11 2>/dev/null && echo made || echo refused",
    )?;
    let seen: Vec<&str> = said.lines().collect();
    let order = (seen.get(2), seen.get(3)) == (Some(&"yes"), Some(&"no"));
    t.must("linux.device-rules.order", order, &said);
    // Default devices are usable whatever the list says, and any device may be made but not opened: both as runc has it.
    let access = seen.first() == Some(&"yes") && seen.get(1) == Some(&"no") && seen.get(4) == Some(&"yes");
    t.must("linux.device-rules.access", access, &said);
    Ok(())
}

/// Limit, reservation, and the sum of memory and swap.
pub fn memory(t: &mut Trial) -> Done {
    needs(t, "memory", "memory")?;
    let value = json!({"limit": 67_108_864, "reservation": 33_554_432, "swap": 100_663_296});
    let bundle = with(t, "memory", value)?;
    compare(
        t,
        &bundle,
        "memory",
        &[
            ("linux.memory.limit", "memory.limit_in_bytes", "67108864"),
            ("linux.memory.reservation", "memory.soft_limit_in_bytes", "33554432"),
        ],
        &[
            ("linux.memory.limit", "memory.max", "67108864"),
            ("linux.memory.reservation", "memory.low", "33554432"),
        ],
    )?;
    // Kernels may be without swap accounting.
    let (file, wanted) = if t.subject.place.v2 {
        ("memory.swap.max", "33554432")
    } else {
        ("memory.memsw.limit_in_bytes", "100663296")
    };
    match control(&bundle, "memory", file)? {
        Some(seen) => t.same("linux.memory.swap", seen.as_str(), wanted),
        None => t.elsewhere("linux.memory.swap", "the kernel does not account swap"),
    }
    Ok(())
}

/// `-1`.
pub fn memory_unlimited(t: &mut Trial) -> Done {
    needs(t, "memory", "memory")?;
    let bundle = with(t, "memory", json!({"limit": -1}))?;
    let id = "linux.memory.unlimited";
    compare(
        t,
        &bundle,
        "memory",
        &[(id, "memory.limit_in_bytes", "9223372036854771712")],
        &[(id, "memory.max", "max")],
    )
}

/// What only cgroup v1 has.
pub fn memory_v1(t: &mut Trial) -> Done {
    needs(t, "memory", "memory")?;
    if t.subject.place.v2 {
        return elsewhere("cgroup v2 has neither");
    }
    let id = "linux.memory.v1-only";
    let bundle = with(t, "memory", json!({"swappiness": 17, "disableOOMKiller": true}))?;
    t.same(
        id,
        control(&bundle, "memory", "memory.swappiness")?.as_deref(),
        Some("17"),
    );
    let oom = control(&bundle, "memory", "memory.oom_control")?.unwrap_or_default();
    t.must(id, oom.starts_with("oom_kill_disable 1"), oom);
    Ok(())
}

/// A limit below what is used already, set by `update`.
pub fn check_before_update(t: &mut Trial) -> Done {
    needs(t, "memory", "memory")?;
    let mut bundle = t.bundle();
    bundle.set("/linux/resources/memory", json!({"limit": 134_217_728}));
    // Some megabytes of a tmpfs are the container's.
    bundle.script(&format!(
        "busybox dd if=/dev/zero of=/dev/used bs=1M count=20 2>/dev/null; echo $$ >/began; {FOREVER}"
    ));
    bundle.started()?;
    bundle.appears("began")?;
    fs::write(
        bundle.dir.join("less.json"),
        json!({"memory": {"limit": 4_194_304, "checkBeforeUpdate": true}}).to_string(),
    )?;
    let said = bundle.call(&["update", "--resources", "less.json", &bundle.id]);
    t.refused("linux.memory.check-before-update", &said);
    t.same("linux.memory.check-before-update", bundle.status()?, "running");
    Ok(())
}

/// Shares become a weight: 1 + (shares - 2) * 9999 / 262142, or the newer logarithmic conversion of runc 1.3.
pub fn cpu(t: &mut Trial) -> Done {
    needs(t, "cpu", "cpu")?;
    let bundle = with(t, "cpu", json!({"shares": 2048, "quota": 40_000, "period": 80_000}))?;
    compare(
        t,
        &bundle,
        "cpu",
        &[
            ("linux.cpu.shares", "cpu.shares", "2048"),
            ("linux.cpu.quota", "cpu.cfs_quota_us", "40000"),
            ("linux.cpu.quota", "cpu.cfs_period_us", "80000"),
        ],
        &[("linux.cpu.quota", "cpu.max", "40000 80000")],
    )?;
    if t.subject.place.v2 {
        let weight = control(&bundle, "cpu", "cpu.weight")?.unwrap_or_default();
        t.must("linux.cpu.shares", ["79", "174"].contains(&weight.as_str()), weight);
    }
    Ok(())
}

/// Burst, and one that is greater than the quota.
pub fn cpu_burst(t: &mut Trial) -> Done {
    needs(t, "cpu", "cpu")?;
    let bundle = with(t, "cpu", json!({"quota": 40_000, "period": 80_000, "burst": 20_000}))?;
    let Some(burst) = control(
        &bundle,
        "cpu",
        if t.subject.place.v2 {
            "cpu.max.burst"
        } else {
            "cpu.cfs_burst_us"
        },
    )?
    else {
        return elsewhere("the kernel has no burst");
    };
    t.same("linux.cpu.burst", burst.as_str(), "20000");
    let mut greater = t.bundle();
    greater.script("true");
    greater.set(
        "/linux/resources/cpu",
        json!({"quota": 40_000, "period": 80_000, "burst": 50_000}),
    );
    t.refused("linux.cpu.burst-limit", &greater.create());
    Ok(())
}

/// The lowest weight of all.
pub fn cpu_idle(t: &mut Trial) -> Done {
    needs(t, "cpu", "cpu")?;
    let bundle = with(t, "cpu", json!({"idle": 1}))?;
    match control(&bundle, "cpu", "cpu.idle")? {
        Some(idle) => t.same("linux.cpu.idle", idle.as_str(), "1"),
        None => return elsewhere("the kernel has no cpu.idle"),
    }
    Ok(())
}

/// Only cgroup v1 has it, and only where all groups above have a share of it.
pub fn cpu_realtime(t: &mut Trial) -> Done {
    needs(t, "cpu", "cpu")?;
    let id = "linux.cpu.realtime";
    let above = Path::new("/sys/fs/cgroup/cpu").join(t.subject.mark());
    if t.subject.place.v2 || !Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        return elsewhere("the kernel has no realtime groups");
    }
    fs::create_dir_all(&above)?;
    if fs::write(above.join("cpu.rt_runtime_us"), "2000").is_err() {
        return elsewhere("the machine has no realtime runtime to give");
    }
    let result = with(t, "cpu", json!({"realtimePeriod": 500_000, "realtimeRuntime": 500}));
    if let Ok(bundle) = &result {
        t.same(id, control(bundle, "cpu", "cpu.rt_runtime_us")?.as_deref(), Some("500"));
        t.same(
            id,
            control(bundle, "cpu", "cpu.rt_period_us")?.as_deref(),
            Some("500000"),
        );
    }
    let failure = result.map(drop);
    fs::write(above.join("cpu.rt_runtime_us"), "0")?;
    failure
}

/// One CPU, one node.
pub fn cpu_sets(t: &mut Trial) -> Done {
    needs(t, "cpuset", "cpuset")?;
    let bundle = with(t, "cpu", json!({"cpus": "0", "mems": "0"}))?;
    let id = "linux.cpu.sets";
    let files = [(id, "cpuset.cpus", "0"), (id, "cpuset.mems", "0")];
    compare(t, &bundle, "cpuset", &files, &files)
}

/// A weight, where the kernel has one.
pub fn block_io(t: &mut Trial) -> Done {
    needs(t, "blkio", "io")?;
    throttle(t)?;
    let id = "linux.block-io.weight";
    let probe = with(t, "pids", json!({"limit": 100}))?;
    let files = if t.subject.place.v2 {
        ["io.bfq.weight", "io.weight"]
    } else {
        ["blkio.bfq.weight", "blkio.weight"]
    };
    let mut weight = None;
    for file in files {
        if control(&probe, "blkio", file)?.is_some() {
            weight = weight.or(Some(file));
        }
    }
    match weight {
        None => t.elsewhere(id, "the kernel has no weights of block devices"),
        Some(file) => {
            let bundle = with(t, "blockIO", json!({"weight": 200}))?;
            let seen = control(&bundle, "blkio", file)?.unwrap_or_default();
            // io.weight is another scale: 1 + (200 - 10) * 9999 / 990.
            t.must(
                id,
                ["200", "default 200", "default 1919"].contains(&seen.as_str()),
                seen,
            );
        }
    }
    Ok(())
}

/// A rate for the first block device that the kernel lets have one.
fn throttle(t: &mut Trial) -> Done {
    let id = "linux.block-io.throttle";
    let devices = fs::read_dir("/sys/block").map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let devices: Vec<std::path::PathBuf> = devices.unwrap_or_default();
    let Some(number) = devices
        .iter()
        .find_map(|path| fs::read_to_string(path.join("dev")).ok())
    else {
        t.elsewhere(id, "there is no block device here");
        return Ok(());
    };
    let number = number.trim().to_owned();
    let (major, minor) = number.split_once(':').unwrap_or_default();
    let device = |rate: u64| json!([{"major": major.parse::<u64>().unwrap_or(0), "minor": minor.parse::<u64>().unwrap_or(0), "rate": rate}]);
    let bundle = with(
        t,
        "blockIO",
        json!({"throttleReadBpsDevice": device(1_048_576), "throttleWriteIOPSDevice": device(77)}),
    )?;
    if t.subject.place.v2 {
        let seen = control(&bundle, "io", "io.max")?.unwrap_or_default();
        let wanted = format!("{number} rbps=1048576 wbps=max riops=max wiops=77");
        t.same(id, seen, wanted);
        return Ok(());
    }
    let read = control(&bundle, "blkio", "blkio.throttle.read_bps_device")?.unwrap_or_default();
    let write = control(&bundle, "blkio", "blkio.throttle.write_iops_device")?.unwrap_or_default();
    t.same(id, (read, write), (format!("{number} 1048576"), format!("{number} 77")));
    Ok(())
}

/// The machine's first page size.
pub fn hugepages(t: &mut Trial) -> Done {
    needs(t, "hugetlb", "hugetlb")?;
    let bundle = with(t, "hugepageLimits", json!([{"pageSize": "2MB", "limit": 4_194_304}]))?;
    let id = "linux.hugepages";
    compare(
        t,
        &bundle,
        "hugetlb",
        &[(id, "hugetlb.2MB.limit_in_bytes", "4194304")],
        &[(id, "hugetlb.2MB.max", "4194304")],
    )
}

/// Only cgroup v1 has it.
pub fn network(t: &mut Trial) -> Done {
    needs_cgroups(t)?;
    if t.subject.place.v2 || !has(t, "net_cls") {
        return elsewhere("there is no cgroup controller net_cls here");
    }
    let bundle = with(
        t,
        "network",
        json!({"classID": 1_048_577, "priorities": [{"name": "lo", "priority": 5}]}),
    )?;
    t.same(
        "linux.network",
        control(&bundle, "net_cls", "net_cls.classid")?.as_deref(),
        Some("1048577"),
    );
    let map = control(&bundle, "net_prio", "net_prio.ifpriomap")?.unwrap_or_default();
    t.must("linux.network", map.contains("lo 5"), map);
    Ok(())
}

/// A limit, and none.
pub fn pids(t: &mut Trial) -> Done {
    needs(t, "pids", "pids")?;
    for (limit, wanted) in [(21, "21"), (-1, "max")] {
        let bundle = with(t, "pids", json!({"limit": limit}))?;
        let files = [("linux.pids", "pids.max", wanted)];
        compare(t, &bundle, "pids", &files, &files)?;
    }
    Ok(())
}

/// Files of cgroup v2 by their names: such as have a field of their own, and such as have none.
pub fn unified(t: &mut Trial) -> Done {
    needs_cgroups(t)?;
    if !t.subject.place.v2 {
        return elsewhere("only cgroup v2 has it");
    }
    let bundle = with(
        t,
        "unified",
        json!({"pids.max": "31", "memory.high": "50331648", "memory.oom.group": "1", "cgroup.max.depth": "7"}),
    )?;
    let (known, unknown) = ("linux.unified.controllers", "linux.unified.unknown");
    compare(
        t,
        &bundle,
        "",
        &[],
        &[
            (known, "pids.max", "31"),
            (known, "memory.high", "50331648"),
            (unknown, "memory.oom.group", "1"),
            (unknown, "cgroup.max.depth", "7"),
        ],
    )
}

/// A controller that no kernel has; on cgroup v1, any.
pub fn unified_absent(t: &mut Trial) -> Done {
    needs_cgroups(t)?;
    let mut bundle = t.bundle();
    bundle.script("true");
    bundle.set("/linux/resources/unified", json!({"nosuch.max": "1"}));
    t.refused("linux.unified.absent", &bundle.create());
    Ok(())
}

/// Realtime runtime, which cgroup v2 has nothing for.
pub fn no_conversion(t: &mut Trial) -> Done {
    needs_cgroups(t)?;
    if !t.subject.place.v2 {
        return elsewhere("nothing is converted on cgroup v1");
    }
    let mut bundle = t.bundle();
    bundle.script("true");
    bundle.set(
        "/linux/resources/cpu",
        json!({"realtimeRuntime": 1000, "realtimePeriod": 100_000}),
    );
    let said = bundle.create();
    let id = "linux.unified.no-conversion";
    if said.went_well() {
        wait("the container", || Ok(bundle.status()? == "created"))?;
    }
    t.refused(id, &said);
    Ok(())
}
